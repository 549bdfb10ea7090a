//! The admin API and the console, over HTTP/1.1 on loopback.
//!
//! Any page in a browser, and any other user of the machine, can reach a loopback port. So every answer with data needs the
//! token of `admin.token`, which only its owner can read; a request that names another host (DNS rebinding) or comes from
//! another origin is refused before anything else. The console's pages hold no data and need no token.

mod console;
mod events;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use weft_model::finding::{did_you_mean, excerpt};
use weft_trust::bootstrap::Bootstrap;

use crate::hub::GATEWAY;
use crate::identities::{IdentitiesError, Revoke};
use crate::metrics::Format;
use crate::shared::Shared;
use crate::status::status_of;
use crate::store::{self, Durable};

/// Bytes of a request's body: a few names.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A request's body must be there by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const TOKEN_BYTES: usize = 32;

/// The secret that opens the admin API.
pub(crate) struct AdminToken(String);

impl AdminToken {
    /// The token in the file, or a new one. The same for every start, so that a restart locks nobody out.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let kept = store::read(path, 1024)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let token = kept.map(|text| text.trim().to_owned());
        if let Some(token) = token.filter(|token| token.len() == 2 * TOKEN_BYTES) {
            // A copy or a restore may have opened it to others.
            store::replace(path, token.as_bytes(), Durable::No)?;
            return Ok(Self(token));
        }
        let mut bytes = [0_u8; TOKEN_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| std::io::Error::other("the system has no randomness"))?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        store::replace(path, token.as_bytes(), Durable::Yes)?;
        Ok(Self(token))
    }

    fn opens(&self, fields: &HeaderMap) -> bool {
        let given = fields.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        given.is_some_and(|(_, token)| {
            verify_slices_are_equal(token.trim().as_bytes(), self.0.as_bytes()).is_ok()
        })
    }
}

/// A body of this API.
pub(crate) enum Text {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Text {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(std::mem::take(bytes)),
            Self::Events(queue) => std::task::ready!(queue.poll_recv(context)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// A refusal of this API.
struct Refusal(StatusCode, String);

/// What `POST /v1/tokens` asks.
#[derive(Debug, Deserialize)]
struct TokenRequest {
    service: String,
    instance: String,
}

/// What `POST /v1/tokens` answers.
#[derive(Serialize)]
struct TokenAnswer {
    token: String,
    /// The whole bootstrap of the process, ready to be handed over.
    bootstrap: Bootstrap,
}

/// Answers one request of the admin listener.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    token: Arc<AdminToken>,
    request: Request<Incoming>,
) -> Response<Text> {
    let answered = match from_here(request.headers(), None) {
        Err(refusal) => Err(refusal),
        Ok(()) => match console::asset(request.method(), request.uri().path()) {
            Some(asset) => Ok(asset),
            None => route(&shared, &token, request).await,
        },
    };
    let mut response = answered.unwrap_or_else(|Refusal(status, detail)| refused(status, &detail));
    harden(response.headers_mut());
    response
}

async fn route(
    shared: &Arc<Shared>,
    token: &AdminToken,
    request: Request<Incoming>,
) -> Result<Response<Text>, Refusal> {
    if !token.opens(request.headers()) {
        let detail = "this needs `authorization: Bearer` with the token of the file `admin.token`";
        return Err(Refusal(StatusCode::UNAUTHORIZED, detail.to_owned()));
    }
    match (request.method().clone(), request.uri().path()) {
        (Method::GET, "/v1/status") => Ok(answered(&status_of(shared))),
        (Method::GET, "/v1/edges") => Ok(answered(&shared.edges())),
        (Method::GET, "/v1/findings") => Ok(answered(&findings(shared))),
        (Method::GET, "/v1/events") => events::open(shared),
        (Method::POST, "/v1/tokens") => mint(shared, &parsed(request).await?),
        (Method::POST, "/v1/revoke") => revoke(shared, &parsed(request).await?),
        (Method::POST, "/v1/reinstate") => reinstate(shared, &parsed(request).await?),
        (_, "/v1/status" | "/v1/edges" | "/v1/findings" | "/v1/events") => Err(wrong_method("GET")),
        (_, "/v1/tokens" | "/v1/revoke" | "/v1/reinstate") => Err(wrong_method("POST")),
        _ => Err(Refusal(StatusCode::NOT_FOUND, "there is no such resource".to_owned())),
    }
}

fn wrong_method(right: &str) -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("only {right} is answered here"))
}

/// Answers one request of the metrics listener: counters hold no secrets, and scrapers have no token.
///
/// Metrics tell names of services and how busy they are. On loopback they are for this machine alone, so a name that was
/// bent to it is refused as the admin API refuses it; whoever lets them listen elsewhere lets others read them, by any
/// name.
pub(crate) fn scraped<B>(shared: &Shared, local: SocketAddr, request: &Request<B>) -> Response<Text> {
    if local.ip().is_loopback() {
        let metrics = shared.metrics_address();
        let own = metrics.as_deref().and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
        if let Err(Refusal(status, detail)) = from_here(request.headers(), own) {
            return refused(status, &detail);
        }
    }
    if request.uri().path() != "/metrics" {
        return refused(StatusCode::NOT_FOUND, "metrics are at /metrics");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    }
    let format = Format::wanted(request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()));
    let mut response = Response::new(Text::Whole(shared.metrics(format).into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

fn findings(shared: &Shared) -> serde_json::Value {
    let instances = shared.hub().instances(shared.now());
    let refused = instances.into_iter().filter_map(|one| {
        let reason = one.refused.or(one.edge_refused);
        reason.map(|reason| json!({ "instance": one.instance, "plan": one.plan, "reason": reason }))
    });
    json!({ "refused": shared.refused_reload(), "instances": refused.collect::<Vec<_>>() })
}

/// The gateway as people call it has another name in its identity.
fn identity_name(service: &str) -> &str {
    if service == "gateway" { GATEWAY } else { service }
}

fn mint(shared: &Shared, asked: &TokenRequest) -> Result<Response<Text>, Refusal> {
    let service = identity_name(&asked.service);
    if !shared.is_planned(service) {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("no plan in force is for `{}`", asked.service)));
    }
    let token = shared.identities.mint(service, &asked.instance).map_err(|error| broken(&error))?;
    let mesh = shared.addresses.get().map(|all| all.mesh.to_string()).unwrap_or_default();
    let made = || -> Result<_, IdentitiesError> {
        Ok((shared.identities.bundle()?, shared.identities.id_of(service)?))
    };
    let (bundle, id) = made().map_err(|error| broken(&error))?;
    let bootstrap = Bootstrap::new(mesh, bundle, id, asked.instance.clone(), token.clone())
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    if shared.hub().expect_anew(&asked.instance) {
        shared.changed();
    }
    Ok(answered(&TokenAnswer { token, bootstrap }))
}

fn revoke(shared: &Shared, what: &Revoke) -> Result<Response<Text>, Refusal> {
    let meant = match what {
        Revoke::Service(service) => Revoke::Service(identity_name(service).to_owned()),
        other => other.clone(),
    };
    match (shared.revoke(&meant), what) {
        (Ok(true), _) => Ok(answered(&json!({ "revoked": what }))),
        (Ok(false), Revoke::Service(service)) => {
            Err(Refusal(StatusCode::NOT_FOUND, unknown_service(shared, service)))
        }
        (Ok(false), _) => Err(Refusal(StatusCode::NOT_FOUND, "nobody has such an identity".to_owned())),
        (Err(error), _) => Err(broken(&error)),
    }
}

fn unknown_service(shared: &Shared, service: &str) -> String {
    let published = shared.hub().published().cloned();
    let known = published.iter().flat_map(|published| published.versions()).map(|(name, _)| name);
    let near = did_you_mean(service, known).map(|near| format!(": did you mean `{near}`?"));
    let service = excerpt(service);
    format!("no service with an identity is named `{service}`{}", near.unwrap_or_default())
}

#[derive(Deserialize)]
struct Reinstate {
    service: String,
}

fn reinstate(shared: &Shared, what: &Reinstate) -> Result<Response<Text>, Refusal> {
    shared.reinstate(identity_name(&what.service)).map_err(|error| broken(&error))?;
    Ok(answered(&json!({ "reinstated": what.service })))
}

fn broken(error: &IdentitiesError) -> Refusal {
    let status = match error {
        IdentitiesError::Enrol(_) | IdentitiesError::Id(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal(status, error.to_string())
}

/// Refuses what a page of another site, or a name that was bent to this address, sends.
/// `own` is another name that the manifest gives the address.
fn from_here(fields: &HeaderMap, own: Option<&str>) -> Result<(), Refusal> {
    let host = fields.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (name, _) = name_and_port(host);
    if !is_loopback_name(host) && !own.is_some_and(|own| own.eq_ignore_ascii_case(name)) {
        let detail = "the host of the request is not a loopback name";
        return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, detail.to_owned()));
    }
    let origin = fields.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    if origin.is_some_and(|origin| origin != format!("http://{host}")) {
        return Err(Refusal(StatusCode::FORBIDDEN, "requests of other origins are refused".to_owned()));
    }
    let site = fields.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| matches!(site, "cross-site" | "same-site")) && origin.is_some() {
        return Err(Refusal(StatusCode::FORBIDDEN, "requests of other sites are refused".to_owned()));
    }
    Ok(())
}

fn name_and_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    }
}

fn is_loopback_name(host: &str) -> bool {
    let (name, port) = name_and_port(host);
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let loopback = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port.parse::<u16>().is_ok() && (loopback || name.eq_ignore_ascii_case("localhost"))
}

async fn parsed<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let json = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // A form of another site can send everything but this type without being asked.
    if !json.is_some_and(|kind| kind.starts_with("application/json")) {
        let detail = "the body must be `content-type: application/json`";
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail.to_owned()));
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body)
        .await
        .map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned()))?
        .map_err(|error| Refusal(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("the body is not as expected: {error}")))
}

fn answered(value: &impl Serialize) -> Response<Text> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Text::Whole(bytes.into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// RFC 9457.
fn refused(status: StatusCode, detail: &str) -> Response<Text> {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = json!({ "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(Text::Whole(problem.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Fields that keep a browser from doing anything with an answer but showing it on our own page.
fn harden(fields: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Folder;

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_loopback_names_and_our_own_origin_are_answered() {
        for (host, origin, good) in [
            ("127.0.0.1:7700", None, true),
            ("localhost:7700", Some("http://localhost:7700"), true),
            ("[::1]:7700", None, true),
            ("[::1]", None, true),
            ("127.0.0.9", None, true),
            ("LOCALHOST:1", None, true),
            ("evil.test:7700", None, false),
            ("localhost.evil.test", None, false),
            ("127.0.0.1.evil.test:7700", None, false),
            ("10.0.0.1:7700", None, false),
            ("localhost:port", None, false),
            ("", None, false),
            ("127.0.0.1:7700", Some("http://evil.test"), false),
            ("127.0.0.1:7700", Some("null"), false),
            ("127.0.0.1:7700", Some("http://127.0.0.1:7701"), false),
        ] {
            let mut all = fields(&[("host", host)]);
            if let Some(origin) = origin {
                all.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(from_here(&all, None).is_ok(), good, "{host} {origin:?}");
        }
        assert!(from_here(&HeaderMap::new(), None).is_err());
        for (host, good) in [
            ("LapTop:9464", true),
            ("laptop", true),
            ("localhost:9464", true),
            ("top:9464", false),
            ("laptop.evil.test", false),
        ] {
            assert_eq!(from_here(&fields(&[("host", host)]), Some("laptop")).is_ok(), good, "{host}");
        }
    }

    #[test]
    fn the_token_is_kept_for_the_next_start_and_nothing_else_opens() {
        let folder = Folder::new();
        let path = folder.0.join("admin.token");
        let token = AdminToken::open(&path).unwrap();
        let again = AdminToken::open(&path).unwrap();
        assert_eq!(token.0, again.0);
        let bearer = format!("Bearer {}", token.0);
        assert!(token.opens(&fields(&[("authorization", &bearer)])));
        assert!(token.opens(&fields(&[("authorization", &bearer.replace("Bearer", "bearer"))])));
        for wrong in ["", "Bearer", "Bearer ", "Basic x", &bearer[..bearer.len() - 1], &token.0] {
            assert!(!token.opens(&fields(&[("authorization", wrong)])), "{wrong}");
        }
        std::fs::write(&path, "short").unwrap();
        assert_ne!(AdminToken::open(&path).unwrap().0, "short");
    }
}
