//! Field names that the data plane asks about, each with a number.
//!
//! A number makes "is there a `content-length`" one bit test and comparing names one byte comparison. The table
//! that turns wire bytes into a number is built at compile time.

macro_rules! known_names {
    ($($(#[$meta:meta])* $id:ident = $text:literal,)*) => {
        /// A field name the data plane asks about (or [`Known::Other`]: any other name).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Known {
            /// A name without a number; its text is in the head.
            Other,
            $(
                #[doc = concat!("`", $text, "`")]
                $id,
            )*
        }

        const NAMES: &[&str] = &["", $($text,)*];
        const IDS: &[Known] = &[Known::Other, $(Known::$id,)*];
    };
}

known_names! {
    Host = "host",
    // Framing and what concerns one connection only.
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    KeepAlive = "keep-alive",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Expect = "expect",
    Http2Settings = "http2-settings",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticationInfo = "proxy-authentication-info",
    ProxyStatus = "proxy-status",
    MaxForwards = "max-forwards",
    // Content.
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    Range = "range",
    // Who is calling.
    Authorization = "authorization",
    WwwAuthenticate = "www-authenticate",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    UserAgent = "user-agent",
    // Proxies on the way.
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedClientCert = "x-forwarded-client-cert",
    XRealIp = "x-real-ip",
    Via = "via",
    // Tracing.
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    XRequestId = "x-request-id",
    Baggage = "baggage",
    // Our own.
    WeftCaller = "weft-caller",
    WeftPrincipal = "weft-principal",
    WeftDeadline = "weft-deadline",
    WeftAttempt = "weft-attempt",
    WeftPosition = "weft-position",
    WeftAfter = "weft-after",
    WeftConversation = "weft-conversation",
    IdempotencyKey = "idempotency-key",
    // gRPC.
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcTimeout = "grpc-timeout",
    GrpcEncoding = "grpc-encoding",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    GrpcStatusDetailsBin = "grpc-status-details-bin",
    GrpcRetryPushbackMs = "grpc-retry-pushback-ms",
    GrpcPreviousRpcAttempts = "grpc-previous-rpc-attempts",
    XGrpcWeb = "x-grpc-web",
    XUserAgent = "x-user-agent",
    // Responses.
    Date = "date",
    Server = "server",
    RetryAfter = "retry-after",
    Location = "location",
    Allow = "allow",
    Age = "age",
    Expires = "expires",
    Vary = "vary",
    Etag = "etag",
    LastModified = "last-modified",
    CacheControl = "cache-control",
    CacheStatus = "cache-status",
    Pragma = "pragma",
    StrictTransportSecurity = "strict-transport-security",
    AltSvc = "alt-svc",
    RateLimit = "ratelimit",
    RateLimitPolicy = "ratelimit-policy",
    // Conditions.
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    IfUnmodifiedSince = "if-unmodified-since",
    IfRange = "if-range",
    // Browsers from elsewhere (CORS).
    Origin = "origin",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    // WebSocket.
    SecWebSocketKey = "sec-websocket-key",
    SecWebSocketAccept = "sec-websocket-accept",
    SecWebSocketVersion = "sec-websocket-version",
    SecWebSocketProtocol = "sec-websocket-protocol",
    SecWebSocketExtensions = "sec-websocket-extensions",
}

impl Known {
    /// All names but [`Known::Other`], in the order of their numbers, which begin at 1.
    pub fn all() -> impl Iterator<Item = Known> {
        IDS.iter().copied().skip(1)
    }

    /// The name, lower-case; empty for [`Known::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES[self as usize]
    }

    /// The number of a name, whatever its case.
    pub fn from_bytes(name: &[u8]) -> Known {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return Known::Other };
        let mut slot = slot_of(name.len(), *first, *last, name[name.len() / 2]);
        loop {
            let id = TABLE[slot];
            if id == 0 {
                return Known::Other;
            }
            if is_same_name(name, NAMES[id as usize].as_bytes()) {
                return IDS[id as usize];
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Whether it concerns one connection only and is never forwarded (RFC 9110, 7.6.1), or frames the message
    /// and is written anew.
    pub fn is_hop_by_hop(self) -> bool {
        HOP_BY_HOP & self.bit() != 0
    }

    /// Whether a trailer field of this name is dropped, because it would change what was already decided
    /// (RFC 9110, 6.5.1): framing, routing, authentication, conditions, how to read the content, and whatever
    /// says who is calling.
    pub fn is_forbidden_in_trailers(self) -> bool {
        (HOP_BY_HOP | FORBIDDEN_IN_TRAILERS) & self.bit() != 0
    }

    /// One bit per name; none for [`Known::Other`].
    pub(crate) const fn bit(self) -> u128 {
        match self as u8 {
            0 => 0,
            id => 1 << (id - 1),
        }
    }
}

const fn bits(names: &[Known]) -> u128 {
    let mut set = 0;
    let mut at = 0;
    while at < names.len() {
        set |= names[at].bit();
        at += 1;
    }
    set
}

const HOP_BY_HOP: u128 = bits(&[
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::KeepAlive,
    Known::Te,
    Known::Upgrade,
    Known::Http2Settings,
    Known::ProxyConnection,
    Known::ProxyAuthenticate,
    Known::ProxyAuthorization,
    Known::ProxyAuthenticationInfo,
]);

const FORBIDDEN_IN_TRAILERS: u128 = bits(&[
    Known::Host,
    Known::Trailer,
    Known::Expect,
    Known::MaxForwards,
    Known::ContentType,
    Known::ContentEncoding,
    Known::ContentRange,
    Known::Range,
    Known::Authorization,
    Known::WwwAuthenticate,
    Known::Cookie,
    Known::SetCookie,
    Known::Forwarded,
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XForwardedClientCert,
    Known::XRealIp,
    Known::Via,
    Known::WeftCaller,
    Known::WeftPrincipal,
    Known::WeftDeadline,
    Known::WeftAttempt,
    Known::WeftPosition,
    Known::WeftAfter,
    Known::WeftConversation,
    Known::IdempotencyKey,
    Known::Date,
    Known::RetryAfter,
    Known::Location,
    Known::Age,
    Known::Expires,
    Known::Vary,
    Known::CacheControl,
    Known::Pragma,
    Known::IfMatch,
    Known::IfNoneMatch,
    Known::IfModifiedSince,
    Known::IfUnmodifiedSince,
    Known::IfRange,
    Known::Origin,
]);

/// Whether wire bytes are a known name, whatever their case, eight bytes at a time: this runs for every field of
/// every message. Two bytes are the same letter if they differ at most in the bit that is the case, and only in a
/// letter: of what known names hold (letters, digits, `-`), letters alone have the bit above it.
fn is_same_name(wire: &[u8], name: &[u8]) -> bool {
    const UPPER: u64 = u64::from_ne_bytes([0x40; 8]);
    let differs = |wire: &[u8; 8], name: &[u8; 8]| {
        let name = u64::from_ne_bytes(*name);
        (u64::from_ne_bytes(*wire) ^ name) & !((name & UPPER) >> 1) != 0
    };
    if wire.len() != name.len() {
        return false;
    }
    let (Some(wire_last), Some(name_last)) = (wire.last_chunk(), name.last_chunk()) else {
        return wire.iter().zip(name).all(|(wire, name)| (wire ^ name) & !((name & 0x40) >> 1) == 0);
    };
    let (wire_words, name_words) = (wire.as_chunks().0, name.as_chunks().0);
    !differs(wire_last, name_last)
        && !wire_words.iter().zip(name_words).any(|(wire, name)| differs(wire, name))
}

const SLOTS: usize = 512;

// `bit` has room for 128 names, and the search below ends only if slots stay free.
const _: () = assert!(NAMES.len() <= 128 && NAMES.len() * 4 < SLOTS);

// What `is_same_name` takes for granted.
const _: () = {
    let mut id = 1;
    while id < NAMES.len() {
        let name = NAMES[id].as_bytes();
        let mut at = 0;
        while at < name.len() {
            assert!(name[at] == b'-' || name[at].is_ascii_lowercase() || name[at].is_ascii_digit());
            at += 1;
        }
        id += 1;
    }
};

const fn slot_of(len: usize, first: u8, last: u8, middle: u8) -> usize {
    let first = (first | 0x20) as usize;
    let last = (last | 0x20) as usize;
    let middle = (middle | 0x20) as usize;
    (len * 67 + first * 31 + last * 7 + middle * 131) % SLOTS
}

static TABLE: [u8; SLOTS] = {
    let mut table = [0_u8; SLOTS];
    let mut id = 1;
    while id < NAMES.len() {
        let name = NAMES[id].as_bytes();
        let mut slot = slot_of(name.len(), name[0], name[name.len() - 1], name[name.len() / 2]);
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = id as u8;
        id += 1;
    }
    table
};
