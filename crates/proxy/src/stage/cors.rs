//! Cross-origin requests (Fetch standard, CORS protocol): preflights are answered here, answers get their fields.

use weft_model::code::Code;
use weft_model::plan::{CorsPlan, RoutePlan};

use crate::head::{Head, HeadError, Known, Method, Version};
use crate::rescue::Ended;

/// Fields in which an answer of gRPC that is only a head says how the call ended.
const GRPC_ENDING: &str = "grpc-status, grpc-message, grpc-status-details-bin";

/// Whether a request is a preflight.
pub(crate) fn is_preflight(head: &Head) -> bool {
    head.method() == Method::Options && head.has(Known::Origin) && head.has(Known::AccessControlRequestMethod)
}

/// The origin that the answer names, if the request's is allowed.
fn allowed_origin<'h>(cors: &CorsPlan, head: &'h Head) -> Option<&'h str> {
    let origin = head.get_str(Known::Origin)?;
    let any = cors.origins.iter().any(|allowed| allowed == "*");
    (any || cors.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))).then_some(origin)
}

/// Answers a preflight.
///
/// # Errors
/// The origin, the method or a field is not listed.
pub(crate) fn preflight(
    route: &RoutePlan,
    cors: &CorsPlan,
    head: &Head,
    answer: &mut Head,
) -> Result<(), Ended> {
    let refuse = |what: &str| Err(Ended::new(Code::CorsDenied, what).by(&route.origin));
    if allowed_origin(cors, head).is_none() {
        return refuse("this origin is not listed");
    }
    let method = head.get_str(Known::AccessControlRequestMethod).unwrap_or_default();
    if !cors.methods.iter().any(|allowed| allowed == method) {
        return refuse("this method is not listed");
    }
    let asked = head.get_str(Known::AccessControlRequestHeaders).unwrap_or_default();
    let listed =
        |name: &str| cors.headers.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(name));
    if !asked.split(',').map(str::trim).filter(|name| !name.is_empty()).all(listed) {
        return refuse("a field that the request wants to send is not listed");
    }
    answer.start_response(204, Version::Http11);
    let filled = fields(cors, head, answer).and_then(|()| {
        answer.push_known(Known::AccessControlAllowMethods, cors.methods.join(", ").as_bytes())?;
        if !asked.is_empty() {
            answer.push_known(Known::AccessControlAllowHeaders, asked.as_bytes())?;
        }
        answer.push_known(Known::AccessControlMaxAge, cors.max_age_s.to_string().as_bytes())
    });
    filled.map_err(|_| Ended::from(Code::Internal))
}

/// Adds to an answer what a browser needs to show it to a script of another origin. What the service said itself is
/// replaced: two answers to one question are none.
///
/// # Errors
/// The head has no room.
pub(crate) fn fields(cors: &CorsPlan, head: &Head, answer: &mut Head) -> Result<(), HeadError> {
    for known in [
        Known::AccessControlAllowOrigin,
        Known::AccessControlAllowCredentials,
        Known::AccessControlExposeHeaders,
    ] {
        answer.remove(known);
    }
    let any = cors.origins.iter().any(|allowed| allowed == "*");
    if !any {
        answer.push_known(Known::Vary, b"origin")?;
    }
    let Some(origin) = allowed_origin(cors, head) else { return Ok(()) };
    answer.push_known(Known::AccessControlAllowOrigin, if any { b"*" } else { origin.as_bytes() })?;
    if cors.credentials {
        answer.push_known(Known::AccessControlAllowCredentials, b"true")?;
    }
    let mut expose = cors.expose.join(", ");
    if answer.has(Known::GrpcStatus) {
        // An answer of gRPC without a body says here how the call ended; a page that cannot read it takes it for no answer.
        let separator = if expose.is_empty() { "" } else { ", " };
        expose = format!("{expose}{separator}{GRPC_ENDING}");
    }
    if !expose.is_empty() {
        answer.push_known(Known::AccessControlExposeHeaders, expose.as_bytes())?;
    }
    Ok(())
}
