//! Request methods as a small number: routes and retries compare them on every request.

/// A request method (RFC 9110, 9; `PATCH` RFC 5789; `QUERY` RFC 10008).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
    /// QUERY
    Query,
    /// Any other token; its text is in the head.
    Other,
}

impl Method {
    /// Reads a method. Methods are case-sensitive: `get` is [`Method::Other`].
    pub fn from_bytes(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            b"QUERY" => Method::Query,
            _ => Method::Other,
        }
    }

    /// The method's text; empty for [`Method::Other`], whose text the head has.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Query => "QUERY",
            Method::Other => "",
        }
    }

    /// The method in metrics and spans. Methods that nobody defined are one, so that they cannot be made up without end.
    pub fn label(self) -> &'static str {
        match self {
            Method::Other => "_OTHER",
            known => known.as_str(),
        }
    }

    /// Whether it asks for no change (RFC 9110, 9.2.1). Of an unknown method nothing is promised.
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace | Method::Query)
    }

    /// Whether sending it twice is as good as once (RFC 9110, 9.2.2). Of an unknown method nothing is promised.
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}
