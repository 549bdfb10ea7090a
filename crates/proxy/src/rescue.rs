//! Refusal or fault → answer: one place decides status, body, gRPC status and the fate of the connection together.
//!
//! HTTP callers get RFC 9457 `application/problem+json` with our stable code and RFC 9209 `Proxy-Status`; gRPC callers get
//! a trailers-only response. What is said names the rule and its line, never a secret and never an address of the inside.

use std::fmt::Write as _;

use weft_model::code::{Code, Kind};
use weft_model::plan::{FixedResponse, Origin};

use crate::head::{Head, HeadError, Known, Version};

/// An exchange that we end ourselves.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) code: Code,
    /// What exactly, for people; empty where the code says it all.
    pub(crate) detail: String,
    /// The line that says so.
    pub(crate) rule: Option<Origin>,
    /// Methods that the path has, for 405.
    pub(crate) allow: Vec<String>,
    /// Overrides the code's `Retry-After`.
    pub(crate) retry_after_s: Option<u32>,
}

impl From<Code> for Ended {
    fn from(code: Code) -> Self {
        Ended { code, detail: String::new(), rule: None, allow: Vec::new(), retry_after_s: None }
    }
}

impl Ended {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Ended { detail: detail.into(), ..Ended::from(code) }
    }

    pub(crate) fn by(mut self, rule: &Origin) -> Self {
        self.rule = Some(rule.clone());
        self
    }
}

/// Whether a request is gRPC, by its content type.
pub(crate) fn is_grpc(head: &Head) -> bool {
    let Some(kind) = head.get(Known::ContentType) else { return false };
    match kind.strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || matches!(rest[0], b'+' | b';'),
        None => false,
    }
}

/// Fills `head` and returns the body for a request that we end ourselves.
pub(crate) fn answer(ended: &Ended, grpc: bool, request_id: &str, head: &mut Head) -> Vec<u8> {
    // A refusal without a status is one of a connection, told to whoever spoke HTTP there all the same.
    let status = ended.code.status().unwrap_or(if ended.code.kind() == Kind::Refusal { 400 } else { 500 });
    head.start_response(if grpc { 200 } else { status }, Version::Http11);
    let body = if grpc { grpc_fields(ended, head) } else { problem(ended, status, request_id, head) };
    match body {
        Ok(body) => body,
        // Only a text that does not fit a head can get here; the bare status is still the right answer.
        Err(_) => {
            head.start_response(status, Version::Http11);
            Vec::new()
        }
    }
}

fn grpc_fields(ended: &Ended, head: &mut Head) -> Result<Vec<u8>, HeadError> {
    head.push_known(Known::ContentType, b"application/grpc")?;
    grpc_trailers(ended, head)?;
    if let Some(seconds) = ended.retry_after_s.or(ended.code.retry_after_s()) {
        head.push_known(Known::GrpcRetryPushbackMs, (u64::from(seconds) * 1000).to_string().as_bytes())?;
    }
    Ok(Vec::new())
}

/// Status and message of gRPC, where the answer had already begun.
///
/// # Errors
/// The head has no room.
pub(crate) fn grpc_trailers(ended: &Ended, head: &mut Head) -> Result<(), HeadError> {
    let mut message = format!("{} {}", ended.code.as_str(), ended.code.name());
    if !ended.detail.is_empty() {
        let _ = write!(message, ": {}", ended.detail);
    }
    head.push_known(Known::GrpcStatus, ended.code.grpc_status().unwrap_or(2).to_string().as_bytes())?;
    head.push_known(Known::GrpcMessage, percent_encode(&message).as_bytes())
}

fn problem(ended: &Ended, status: u16, request_id: &str, head: &mut Head) -> Result<Vec<u8>, HeadError> {
    let mut body = serde_json::json!({
        "type": format!("https://weft.dev/errors#{}", ended.code.as_str()),
        "title": ended.code.summary(),
        "status": status,
        "code": ended.code.as_str(),
        "name": ended.code.name(),
        "remedy": ended.code.remedy(),
    });
    if let Some(fields) = body.as_object_mut() {
        if !ended.detail.is_empty() {
            fields.insert("detail".to_owned(), ended.detail.clone().into());
        }
        if let Some(rule) = &ended.rule {
            fields.insert("rule".to_owned(), format!("{}:{}:{}", rule.file, rule.line, rule.column).into());
        }
        if !request_id.is_empty() {
            fields.insert("request_id".to_owned(), request_id.into());
        }
    }
    head.push_known(Known::ContentType, b"application/problem+json")?;
    head.push_known(
        Known::ProxyStatus,
        format!("weft; error={}; details=\"{}\"", token(ended.code), ended.code.as_str()).as_bytes(),
    )?;
    if !ended.allow.is_empty() {
        head.push_known(Known::Allow, ended.allow.join(", ").as_bytes())?;
    }
    if let Some(seconds) = ended.retry_after_s.or(ended.code.retry_after_s()) {
        head.push_known(Known::RetryAfter, seconds.to_string().as_bytes())?;
    }
    let mut text = body.to_string().into_bytes();
    text.push(b'\n');
    Ok(text)
}

/// The registered error type of RFC 9209, 2.3, that says the same as our code.
fn token(code: Code) -> &'static str {
    match code {
        Code::ConnectFailed | Code::ExternalFailed => "connection_refused",
        Code::ConnectTimeout => "connection_timeout",
        Code::NoEndpoint => "destination_unavailable",
        Code::UpstreamReset | Code::UpstreamClosed | Code::UpstreamTruncated => "connection_terminated",
        Code::UpstreamProtocol => "http_protocol_error",
        Code::UpstreamHeadTooLarge => "http_response_header_section_size",
        Code::Timeout | Code::TryTimeout | Code::StreamIdle => "http_response_timeout",
        Code::TlsHandshakeFailed => "tls_protocol_error",
        Code::IdentityMismatch => "tls_certificate_error",
        Code::NameNotFound => "dns_error",
        Code::UpstreamNotUpgraded => "http_upgrade_failed",
        Code::Internal => "proxy_internal_error",
        Code::NoRoute => "destination_not_found",
        Code::NotAllowed | Code::NoIdentity | Code::PeerNotOwner => "http_request_denied",
        Code::Overloaded | Code::QueueTimeout | Code::TooManyConnections => "connection_limit_reached",
        _ => "http_request_error",
    }
}

/// Fills `head` with a fixed answer and returns its body.
pub(crate) fn fixed(answer: &FixedResponse, head: &mut Head) -> Vec<u8> {
    head.start_response(answer.status, Version::Http11);
    for (name, value) in &answer.headers {
        // `weft check` refused what is not a field.
        let _ = head.push(name.as_bytes(), value.as_bytes());
    }
    if !answer.body.is_empty() && !head.has(Known::ContentType) {
        let _ = head.push_known(Known::ContentType, b"text/plain; charset=utf-8");
    }
    answer.body.clone().into_bytes()
}

/// `grpc-message` holds printable ASCII only (gRPC over HTTP/2, "Responses").
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_can_end_an_exchange_has_an_answer_in_both_worlds() {
        for code in Code::ALL.iter().copied().filter(|code| (2000..4000).contains(&code.number())) {
            let mut head = Head::new();
            let body = answer(&Ended::new(code, "why"), false, "r-1", &mut head);
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], code.as_str());
            assert_eq!(problem["status"], head.status());
            assert!(head.status() >= 400, "{code}");
            answer(&Ended::from(code), true, "", &mut head);
            assert_eq!(head.status(), 200);
            assert_ne!(head.get_str(Known::GrpcStatus), Some("0"), "{code}");
        }
    }

    #[test]
    fn a_message_is_printable_ascii() {
        assert_eq!(percent_encode("50 % größer\n"), "50 %25 gr%C3%B6%C3%9Fer%0A");
    }
}
