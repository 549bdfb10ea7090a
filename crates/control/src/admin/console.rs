//! The console's files, in the executable. They hold no data: what is shown is fetched with the token.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};

use super::{Text, refused};

const ASSETS: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("../../web/index.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("../../web/console.css")),
    ("/console.js", "text/javascript; charset=utf-8", include_str!("../../web/console.js")),
    ("/layout.js", "text/javascript; charset=utf-8", include_str!("../../web/layout.js")),
    ("/picture.js", "text/javascript; charset=utf-8", include_str!("../../web/picture.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../../web/icon.svg")),
];

/// The file at `path`; `None` where there is none.
pub(super) fn asset(method: &Method, path: &str) -> Option<Response<Text>> {
    let path = if path == "/favicon.ico" { "/icon.svg" } else { path };
    let (_, kind, text) = ASSETS.iter().find(|(name, _, _)| *name == path)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "this is a page");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(response);
    }
    let mut response = Response::new(Text::Whole(Bytes::from_static(text.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}
