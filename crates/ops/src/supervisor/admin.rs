//! The one question that the supervisor asks of control: a bootstrap for a process that is about to start.
//!
//! One request on one connection over loopback; an HTTP client would bring a pool, redirects and proxies that must not
//! be between a secret and its owner.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_trust::bootstrap::{BOOTSTRAP_BYTES_MAX, Bootstrap};

/// How long one question may take.
pub const LIMIT: Duration = Duration::from_secs(5);
/// The same for a role that can start without it.
pub const LIMIT_IF_KEPT: Duration = Duration::from_secs(1);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = BOOTSTRAP_BYTES_MAX as u64 + 64 * 1024;
/// Bytes of the token's file.
const TOKEN_BYTES_MAX: usize = 4096;

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Control cannot be reached, or its token cannot be read.
    #[error("control cannot be asked: {0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("control did not answer in time")]
    Late,
    /// Refused.
    #[error("control refused ({status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said, at most 500 letters.
        detail: String,
    },
    /// Not an answer as expected; its text is not quoted, because it may hold a token.
    #[error("control's answer is not understood: {0}")]
    Answer(&'static str),
}

impl AdminError {
    /// Whether control is not there to ask, in contrast to one that has something against it.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Late)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    bootstrap: Bootstrap,
}

/// Asks control at `admin` for the bootstrap of an instance (`POST /v1/tokens`).
///
/// # Errors
/// Control is away, refuses, or answers something else.
pub async fn bootstrap(
    admin: SocketAddr,
    token_file: &Path,
    service: &str,
    instance: &str,
    version: &str,
) -> Result<Bootstrap, AdminError> {
    let token = std::fs::read_to_string(token_file)?;
    let token = token.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(AdminError::Answer("the admin token is not one"));
    }
    let asked = serde_json::json!({ "service": service, "instance": instance, "version": version });
    let body = asked.to_string();
    let request = format!(
        "POST /v1/tokens HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(admin, request.as_bytes()).await?;
    let body = parse(&answer)?;
    let answer: TokenAnswer =
        serde_json::from_slice(body).map_err(|_| AdminError::Answer("its JSON is another"))?;
    Ok(answer.bootstrap)
}

/// The same, or [`AdminError::Late`].
///
/// # Errors
/// Those of `asked`.
pub async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, AdminError>>,
) -> Result<T, AdminError> {
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(AdminError::Late))
}

async fn exchange(admin: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The body of a whole answer with a `content-length`, as control gives it.
fn parse(answer: &[u8]) -> Result<&[u8], AdminError> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(AdminError::Answer("its head has no end"))?;
    let (head, body) = answer.split_at(end + 4);
    let head = std::str::from_utf8(head).map_err(|_| AdminError::Answer("its head is no text"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status: u16 = status
        .and_then(|line| line.get(..3)?.parse().ok())
        .ok_or(AdminError::Answer("its first line has no status"))?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|(_, value)| value.trim().parse::<usize>().ok());
    if length != Some(body.len()) {
        return Err(AdminError::Answer("its length is another than it says"));
    }
    if status != 200 {
        let detail = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(500).collect();
        return Err(AdminError::Refused { status, detail });
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap(), b"{}");
        for (answer, why) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"[..], "its length"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{}", "its head has no end"),
            (b"HTTP/1.1 200 OK\r\n\r\n{}", "its length"),
            (b"HTTP/1.1 x\r\ncontent-length: 0\r\n\r\n", "its first line"),
            (b"\xff\r\n\r\n", "its head is no text"),
            (b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nno\x1b!", "control refused (404): no!"),
        ] {
            let error = parse(answer).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
