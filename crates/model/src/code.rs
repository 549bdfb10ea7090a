//! Public codes of findings, refusals and faults. Generated from `errors.toml` by `cargo xtask bless`; not edited by hand.

use std::fmt;

/// A public code. Displayed as e.g. `W2001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[rustfmt::skip]
pub enum Code {
    /// W1001: The text is not YAML.
    YamlSyntax,
    /// W1002: The file is not UTF-8 text.
    NotUtf8,
    /// W1003: The file, or all files together, are larger than the limit.
    FileTooLarge,
    /// W1004: A key stands twice in one mapping.
    DuplicateKey,
    /// W1005: Tags, anchors, aliases and merge keys of YAML are not part of the manifest.
    CustomTag,
    /// W1006: Only `true` and `false` are booleans.
    NotABoolean,
    /// W1007: The manifest has no such key at this place.
    UnknownKey,
    /// W1008: The value has another shape than this key takes.
    WrongType,
    /// W1009: A key that must be there is not.
    MissingKey,
    /// W1010: The value is not one that this key takes.
    BadValue,
    /// W1011: Not a duration, size, rate, share or range.
    BadQuantity,
    /// W1012: Not an address.
    BadAddress,
    /// W1013: Not a URL that is understood here.
    BadUrl,
    /// W1014: Not a name.
    BadName,
    /// W1015: Not an endpoint.
    BadEndpoint,
    /// W1016: The key is part of the manifest, but this version does not do it yet.
    NotBuilt,
    /// W1017: The file that is named cannot be read.
    FileMissing,
    /// W1018: The path leads out of the folder of the manifest.
    PathOutside,
    /// W1019: Files include each other in a circle.
    IncludeCycle,
    /// W1020: An included file speaks for a context that is not its own, or says what only the main file may say.
    IncludeForeign,
    /// W1021: Two files say the same thing.
    SaidTwice,
    /// W1022: `${…}` is not understood, or not allowed at this place.
    BadReference,
    /// W1023: Lists and maps are nested, or files include each other, deeper than the limit.
    TooDeep,
    /// W1024: The file holds more than one YAML document.
    SeveralDocuments,
    /// W1025: There are more findings than are shown.
    TooManyFindings,
    /// W1026: The overlay that `--env` names does not exist.
    OverlayMissing,
    /// W1027: A value looks like a secret.
    SecretInPlainText,
    /// W1028: Two keys that exclude each other are both set, or none of those of which one is needed.
    KeysExclude,
    /// W1029: A number is outside its range.
    OutOfRange,
    /// W1030: The command holds what only a shell understands, and none is used.
    NeedsShell,
    /// W1031: The folder that a service runs in does not exist.
    FolderMissing,
    /// W1032: The certificate of the gateway, or its private key, is not what TLS can be served with.
    CertificateUnusable,
    /// W1101: No service has this name.
    UnknownService,
    /// W1102: The API of the service has no such endpoint.
    UnknownEndpoint,
    /// W1103: No context has this name.
    UnknownContext,
    /// W1104: A service belongs to exactly one context.
    ServiceInTwoContexts,
    /// W1105: A call across contexts that no relation allows.
    RelationMissing,
    /// W1106: The relation of the two contexts does not allow this call.
    RelationForbids,
    /// W1107: The callee's context is an open host, and this operation is not published.
    NotPublished,
    /// W1108: Two relations say something about the same two contexts.
    RelationRepeated,
    /// W1109: A context is related to itself.
    RelationToItself,
    /// W1110: Services call each other in a circle outside a partnership.
    SynchronousCycle,
    /// W1111: A service calls itself through the mesh.
    CallToItself,
    /// W1112: A call is declared twice.
    CallRepeated,
    /// W1114: The service does not speak what is asked of it here.
    ProtocolMismatch,
    /// W1115: A retry is asked for an operation that is not idempotent.
    RetryNotIdempotent,
    /// W1116: An inner time limit is above the outer one and can never be reached.
    TimeoutOrder,
    /// W1117: Two routes match the same requests and neither is more specific.
    RouteOverlap,
    /// W1118: It is not said who may use the route.
    AuthNotSaid,
    /// W1119: The name is reserved for Weft's own parts.
    ReservedName,
    /// W1120: Two things want the same port.
    PortClash,
    /// W1121: The service has no such version.
    UnknownVersion,
    /// W1122: Weights or shares do not add up.
    BadShares,
    /// W1123: The redirect leads back to its own route.
    RedirectLoop,
    /// W1124: Two things would set the same environment variable of a service.
    VariableClash,
    /// W1125: The API file is neither OpenAPI 3 nor a `.proto` file that can be read.
    ApiUnreadable,
    /// W1126: The API file uses something that is not read.
    ApiNotSupported,
    /// W1127: A service neither runs here nor is said to run elsewhere.
    NothingToRun,
    /// W1128: A service that runs elsewhere (`url`) cannot have what only a process here has.
    RunsElsewhere,
    /// W1129: A parameter is used that the route's path does not have.
    UnknownParameter,
    /// W1130: The rewrite has nothing to replace.
    RewriteUseless,
    /// W1131: Cross-origin rules that browsers refuse or that open more than is meant.
    CorsContradiction,
    /// W1132: The service cannot answer this health probe.
    HealthMismatch,
    /// W1133: The callee has this path, but not with this method.
    MethodMismatch,
    /// W1134: An external host repeats another, or names a service of the system.
    ExternalNotPlain,
    /// W1135: Nothing ever uses this.
    NotReachable,
    /// W1136: A relation that is agreed between two contexts names `any`.
    RelationNeedsContext,
    /// W2001: No route matches the request.
    NoRoute,
    /// W2002: Routes match the path, none the method.
    MethodNotAllowed,
    /// W2003: The caller may not call this endpoint.
    NotAllowed,
    /// W2004: The caller did not prove an identity of the mesh.
    NoIdentity,
    /// W2005: Where the request ends is ambiguous or wrongly said (RFC 9112, section 6).
    BadFraming,
    /// W2006: The request's head is not valid HTTP.
    BadHead,
    /// W2007: The request's head is larger, or has more fields, than the limit.
    HeadTooLarge,
    /// W2008: The request line is longer than the limit.
    UriTooLong,
    /// W2009: Not a version of HTTP that is spoken here.
    VersionNotSupported,
    /// W2010: The request's body is larger than the limit.
    BodyTooLarge,
    /// W2011: The path cannot be made canonical without guessing (encoded slash, backslash, NUL, broken percent-encoding, out of the root).
    BadPath,
    /// W2012: The host is missing, repeated, malformed, or contradicts the request's target.
    BadHost,
    /// W2013: As many requests as the limit allows are open and queued.
    Overloaded,
    /// W2014: The request waited in the queue for as long as its time limit allowed.
    QueueTimeout,
    /// W2016: The method (CONNECT, TRACE) is not served here.
    MethodNotSupported,
    /// W2017: The outside host is not declared.
    ExternalNotDeclared,
    /// W2018: The service does not declare calls to this service of the system.
    CalleeNotDeclared,
    /// W2020: The local port belongs to another service: the peer is not a process that the supervisor started for it.
    PeerNotOwner,
    /// W2022: `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// W2023: The request's head did not arrive in time.
    HeadTimeout,
    /// W2024: The request's body stopped arriving.
    BodyTimeout,
    /// W2025: The preflight asks for an origin, method or field that `cors` does not list.
    CorsDenied,
    /// W2026: A field's name holds `_` or another character that is refused at the edge.
    BadFieldName,
    /// W2028: As many connections as the limit allows are open.
    TooManyConnections,
    /// W2029: The HTTP/2 connection sent more resets, settings, pings or empty frames than a client in good faith does.
    Http2Abuse,
    /// W2030: `grpc-timeout` or `weft-deadline` is not a duration.
    BadDeadline,
    /// W2031: A plain connection reached a port of the mesh, where only mutual TLS is spoken.
    PlainConnection,
    /// W2032: The gRPC-Web request cannot be translated.
    BadGrpcWeb,
    /// W2033: The process has no plan or no identity yet.
    NotReady,
    /// W3001: No connection to the upstream could be made.
    ConnectFailed,
    /// W3002: The upstream did not accept a connection in time.
    ConnectTimeout,
    /// W3003: The upstream has no instance that is well.
    NoEndpoint,
    /// W3004: The upstream reset the connection or the stream before it answered.
    UpstreamReset,
    /// W3005: The upstream closed the connection before it answered.
    UpstreamClosed,
    /// W3006: The upstream closed in the middle of its answer; the downstream connection is cut so that the loss is seen.
    UpstreamTruncated,
    /// W3007: The upstream's answer is not valid HTTP, or its framing is ambiguous.
    UpstreamProtocol,
    /// W3008: The head of the upstream's answer is larger than the limit.
    UpstreamHeadTooLarge,
    /// W3009: The upstream did not answer within the time limit.
    Timeout,
    /// W3010: The last try toward the upstream passed its own time limit.
    TryTimeout,
    /// W3011: Nothing passed in either direction for as long as the idle limit.
    StreamIdle,
    /// W3012: The caller left before the answer was complete. Only logged: there is nobody to tell.
    DownstreamGone,
    /// W3013: The TLS handshake with the upstream failed.
    TlsHandshakeFailed,
    /// W3014: The upstream proved another identity than the one that is called.
    IdentityMismatch,
    /// W3015: The host of the upstream's `url` cannot be found by DNS.
    NameNotFound,
    /// W3017: The upstream answered an upgrade with a protocol that was not asked for.
    UpstreamNotUpgraded,
    /// W3018: Weft itself failed.
    Internal,
    /// W3019: The outside host could not be reached.
    ExternalFailed,
}

/// What a code is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The manifest is wrong.
    Finding,
    /// We said no.
    Refusal,
    /// Something broke.
    Fault,
}

struct Entry {
    number: u16,
    id: &'static str,
    name: &'static str,
    kind: Kind,
    status: Option<u16>,
    grpc: Option<u8>,
    closes: bool,
    retry_after_s: Option<u32>,
    summary: &'static str,
    remedy: &'static str,
}

impl Code {
    fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// The code as text, e.g. `W2001`.
    pub fn as_str(self) -> &'static str {
        self.entry().id
    }

    /// The code's number, e.g. 2001.
    pub fn number(self) -> u16 {
        self.entry().number
    }

    /// Its name, e.g. `no_route`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What it is about.
    pub fn kind(self) -> Kind {
        self.entry().kind
    }

    /// HTTP status with which an exchange ends, where one can.
    pub fn status(self) -> Option<u16> {
        self.entry().status
    }

    /// Number of the gRPC status with which a call ends, where one can.
    pub fn grpc_status(self) -> Option<u8> {
        self.entry().grpc
    }

    /// Whether the downstream's HTTP/1.1 connection is closed after the answer.
    pub fn closes(self) -> bool {
        self.entry().closes
    }

    /// Value of `Retry-After` that goes with the answer, in seconds.
    pub fn retry_after_s(self) -> Option<u32> {
        self.entry().retry_after_s
    }

    /// What it means: sentences.
    pub fn summary(self) -> &'static str {
        self.entry().summary
    }

    /// What to do about it: sentences.
    pub fn remedy(self) -> &'static str {
        self.entry().remedy
    }

    /// The code of this text, e.g. of `W2001`.
    pub fn from_id(id: &str) -> Option<Code> {
        Self::ALL.iter().copied().find(|code| code.as_str() == id)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[rustfmt::skip]
impl Code {
    /// All of them, by number.
    pub const ALL: [Code; 114] = [
        Code::YamlSyntax, Code::NotUtf8, Code::FileTooLarge, Code::DuplicateKey,
        Code::CustomTag, Code::NotABoolean, Code::UnknownKey, Code::WrongType,
        Code::MissingKey, Code::BadValue, Code::BadQuantity, Code::BadAddress,
        Code::BadUrl, Code::BadName, Code::BadEndpoint, Code::NotBuilt,
        Code::FileMissing, Code::PathOutside, Code::IncludeCycle, Code::IncludeForeign,
        Code::SaidTwice, Code::BadReference, Code::TooDeep, Code::SeveralDocuments,
        Code::TooManyFindings, Code::OverlayMissing, Code::SecretInPlainText, Code::KeysExclude,
        Code::OutOfRange, Code::NeedsShell, Code::FolderMissing, Code::CertificateUnusable,
        Code::UnknownService, Code::UnknownEndpoint, Code::UnknownContext, Code::ServiceInTwoContexts,
        Code::RelationMissing, Code::RelationForbids, Code::NotPublished, Code::RelationRepeated,
        Code::RelationToItself, Code::SynchronousCycle, Code::CallToItself, Code::CallRepeated,
        Code::ProtocolMismatch, Code::RetryNotIdempotent, Code::TimeoutOrder, Code::RouteOverlap,
        Code::AuthNotSaid, Code::ReservedName, Code::PortClash, Code::UnknownVersion,
        Code::BadShares, Code::RedirectLoop, Code::VariableClash, Code::ApiUnreadable,
        Code::ApiNotSupported, Code::NothingToRun, Code::RunsElsewhere, Code::UnknownParameter,
        Code::RewriteUseless, Code::CorsContradiction, Code::HealthMismatch, Code::MethodMismatch,
        Code::ExternalNotPlain, Code::NotReachable, Code::RelationNeedsContext, Code::NoRoute,
        Code::MethodNotAllowed, Code::NotAllowed, Code::NoIdentity, Code::BadFraming,
        Code::BadHead, Code::HeadTooLarge, Code::UriTooLong, Code::VersionNotSupported,
        Code::BodyTooLarge, Code::BadPath, Code::BadHost, Code::Overloaded,
        Code::QueueTimeout, Code::MethodNotSupported, Code::ExternalNotDeclared, Code::CalleeNotDeclared,
        Code::PeerNotOwner, Code::ExpectationFailed, Code::HeadTimeout, Code::BodyTimeout,
        Code::CorsDenied, Code::BadFieldName, Code::TooManyConnections, Code::Http2Abuse,
        Code::BadDeadline, Code::PlainConnection, Code::BadGrpcWeb, Code::NotReady,
        Code::ConnectFailed, Code::ConnectTimeout, Code::NoEndpoint, Code::UpstreamReset,
        Code::UpstreamClosed, Code::UpstreamTruncated, Code::UpstreamProtocol, Code::UpstreamHeadTooLarge,
        Code::Timeout, Code::TryTimeout, Code::StreamIdle, Code::DownstreamGone,
        Code::TlsHandshakeFailed, Code::IdentityMismatch, Code::NameNotFound, Code::UpstreamNotUpgraded,
        Code::Internal, Code::ExternalFailed,
    ];
}

#[rustfmt::skip]
static TABLE: [Entry; 114] = [
    Entry { number: 1001, id: "W1001", name: "yaml_syntax", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The text is not YAML.",
        remedy: "Correct the text at the place that is shown; quote what holds `{`, `}`, `:` or `#`." },
    Entry { number: 1002, id: "W1002", name: "not_utf8", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The file is not UTF-8 text.",
        remedy: "Save the file as UTF-8." },
    Entry { number: 1003, id: "W1003", name: "file_too_large", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The file, or all files together, are larger than the limit.",
        remedy: "Split the system, or take what is not a manifest out of the file." },
    Entry { number: 1004, id: "W1004", name: "duplicate_key", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A key stands twice in one mapping.",
        remedy: "Keep one of the two." },
    Entry { number: 1005, id: "W1005", name: "custom_tag", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Tags, anchors, aliases and merge keys of YAML are not part of the manifest.",
        remedy: "Say the value where it is needed; quote it if it is meant as text." },
    Entry { number: 1006, id: "W1006", name: "not_a_boolean", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Only `true` and `false` are booleans.",
        remedy: "Write `true` or `false`." },
    Entry { number: 1007, id: "W1007", name: "unknown_key", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The manifest has no such key at this place.",
        remedy: "Use one of the keys that are listed, or remove it." },
    Entry { number: 1008, id: "W1008", name: "wrong_type", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The value has another shape than this key takes.",
        remedy: "Write the shape that the message names." },
    Entry { number: 1009, id: "W1009", name: "missing_key", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A key that must be there is not.",
        remedy: "Add the key." },
    Entry { number: 1010, id: "W1010", name: "bad_value", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The value is not one that this key takes.",
        remedy: "Use one of the values that the message names." },
    Entry { number: 1011, id: "W1011", name: "bad_quantity", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Not a duration, size, rate, share or range.",
        remedy: "Write a number with its unit: `250ms`, `64KiB`, `100/s`, `5%`, `200ms..5m`." },
    Entry { number: 1012, id: "W1012", name: "bad_address", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Not an address.",
        remedy: "Write `HOST:PORT`, e.g. `127.0.0.1:8080`." },
    Entry { number: 1013, id: "W1013", name: "bad_url", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Not a URL that is understood here.",
        remedy: "Write `http://HOST:PORT` or `https://HOST`." },
    Entry { number: 1014, id: "W1014", name: "bad_name", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Not a name.",
        remedy: "Names are lower-case letters, digits and `-`, start with a letter and have at most 63 characters." },
    Entry { number: 1015, id: "W1015", name: "bad_endpoint", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Not an endpoint.",
        remedy: "Write `METHOD /path/{param}` or `package.Service/Method`, in quotes where it stands inside `{ }` or `[ ]`." },
    Entry { number: 1016, id: "W1016", name: "not_built", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The key is part of the manifest, but this version does not do it yet.",
        remedy: "Remove the key: it would do nothing, and nothing is ignored in silence." },
    Entry { number: 1017, id: "W1017", name: "file_missing", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The file that is named cannot be read.",
        remedy: "Correct the path; it is relative to the folder of the manifest." },
    Entry { number: 1018, id: "W1018", name: "path_outside", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The path leads out of the folder of the manifest.",
        remedy: "Keep the file inside that folder." },
    Entry { number: 1019, id: "W1019", name: "include_cycle", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Files include each other in a circle.",
        remedy: "Remove one of the includes." },
    Entry { number: 1020, id: "W1020", name: "include_foreign", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "An included file speaks for a context that is not its own, or says what only the main file may say.",
        remedy: "Move it into the file of that context, or into the main file." },
    Entry { number: 1021, id: "W1021", name: "said_twice", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Two files say the same thing.",
        remedy: "Keep it in one of them." },
    Entry { number: 1022, id: "W1022", name: "bad_reference", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "`${…}` is not understood, or not allowed at this place.",
        remedy: "`${NAME}` is allowed in a service's `env` and in connection blocks only." },
    Entry { number: 1023, id: "W1023", name: "too_deep", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Lists and maps are nested, or files include each other, deeper than the limit.",
        remedy: "Write it flat." },
    Entry { number: 1024, id: "W1024", name: "several_documents", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The file holds more than one YAML document.",
        remedy: "Remove the `---` between them; use `include` for several files." },
    Entry { number: 1025, id: "W1025", name: "too_many_findings", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "There are more findings than are shown.",
        remedy: "Correct those that are shown and check again." },
    Entry { number: 1026, id: "W1026", name: "overlay_missing", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The overlay that `--env` names does not exist.",
        remedy: "Create it beside the manifest, or use another name." },
    Entry { number: 1027, id: "W1027", name: "secret_in_plain_text", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A value looks like a secret.",
        remedy: "Take it from the environment with `${NAME}`." },
    Entry { number: 1028, id: "W1028", name: "keys_exclude", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Two keys that exclude each other are both set, or none of those of which one is needed.",
        remedy: "Keep exactly one of them." },
    Entry { number: 1029, id: "W1029", name: "out_of_range", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A number is outside its range.",
        remedy: "Use a number inside the range that the message names." },
    Entry { number: 1030, id: "W1030", name: "needs_shell", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The command holds what only a shell understands, and none is used.",
        remedy: "Write `sh -c '…'` with the whole command between the quotes." },
    Entry { number: 1031, id: "W1031", name: "folder_missing", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The folder that a service runs in does not exist.",
        remedy: "Correct `cwd`; it is relative to the folder of the manifest." },
    Entry { number: 1032, id: "W1032", name: "certificate_unusable", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The certificate of the gateway, or its private key, is not what TLS can be served with.",
        remedy: "Name a PEM file with the chain, leaf first, and one with the private key of the leaf." },
    Entry { number: 1101, id: "W1101", name: "unknown_service", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "No service has this name.",
        remedy: "Correct the name, or declare the service under `services`." },
    Entry { number: 1102, id: "W1102", name: "unknown_endpoint", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The API of the service has no such endpoint.",
        remedy: "Correct the endpoint, or add it to the API file." },
    Entry { number: 1103, id: "W1103", name: "unknown_context", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "No context has this name.",
        remedy: "Correct the name, or declare the context under `contexts`." },
    Entry { number: 1104, id: "W1104", name: "service_in_two_contexts", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A service belongs to exactly one context.",
        remedy: "Keep it in the context whose language it speaks." },
    Entry { number: 1105, id: "W1105", name: "relation_missing", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A call across contexts that no relation allows.",
        remedy: "Add the relation if the two contexts may talk so, or remove the call." },
    Entry { number: 1106, id: "W1106", name: "relation_forbids", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The relation of the two contexts does not allow this call.",
        remedy: "Change the relation if it is wrong, or remove the call." },
    Entry { number: 1107, id: "W1107", name: "not_published", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The callee's context is an open host, and this operation is not published.",
        remedy: "Call a published operation, or mark this one `x-published: true` in the API of the callee." },
    Entry { number: 1108, id: "W1108", name: "relation_repeated", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Two relations say something about the same two contexts.",
        remedy: "Keep one of them." },
    Entry { number: 1109, id: "W1109", name: "relation_to_itself", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A context is related to itself.",
        remedy: "Remove the relation: inside a context, services may call each other." },
    Entry { number: 1110, id: "W1110", name: "synchronous_cycle", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Services call each other in a circle outside a partnership.",
        remedy: "Turn one of the calls round, or declare the contexts a `partnership` if they are changed and released together." },
    Entry { number: 1111, id: "W1111", name: "call_to_itself", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A service calls itself through the mesh.",
        remedy: "Remove the call." },
    Entry { number: 1112, id: "W1112", name: "call_repeated", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A call is declared twice.",
        remedy: "Keep one of them; a call without an endpoint covers all endpoints of the callee." },
    Entry { number: 1114, id: "W1114", name: "protocol_mismatch", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The service does not speak what is asked of it here.",
        remedy: "Correct the endpoint, or the `protocol` of the service." },
    Entry { number: 1115, id: "W1115", name: "retry_not_idempotent", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A retry is asked for an operation that is not idempotent.",
        remedy: "Remove the retry, or declare the operation idempotent in its API (`x-idempotent: true`, `idempotency_level`)." },
    Entry { number: 1116, id: "W1116", name: "timeout_order", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "An inner time limit is above the outer one and can never be reached.",
        remedy: "Lower the inner limit or raise the outer one." },
    Entry { number: 1117, id: "W1117", name: "route_overlap", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Two routes match the same requests and neither is more specific.",
        remedy: "Make one of them more specific, or remove it." },
    Entry { number: 1118, id: "W1118", name: "auth_not_said", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "It is not said who may use the route.",
        remedy: "Write `auth: none` on the route, or on `gateway`, to open it to everyone." },
    Entry { number: 1119, id: "W1119", name: "reserved_name", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The name is reserved for Weft's own parts.",
        remedy: "Use another name." },
    Entry { number: 1120, id: "W1120", name: "port_clash", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Two things want the same port.",
        remedy: "Give one of them another port; a service without `port` gets a free one." },
    Entry { number: 1121, id: "W1121", name: "unknown_version", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The service has no such version.",
        remedy: "Declare it under `versions` of the service." },
    Entry { number: 1122, id: "W1122", name: "bad_shares", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Weights or shares do not add up.",
        remedy: "Shares add up to 100 % at most, weights to more than nothing." },
    Entry { number: 1123, id: "W1123", name: "redirect_loop", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The redirect leads back to its own route.",
        remedy: "Redirect to another path." },
    Entry { number: 1124, id: "W1124", name: "variable_clash", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Two things would set the same environment variable of a service.",
        remedy: "Rename one of the services, or remove the variable from `env`." },
    Entry { number: 1125, id: "W1125", name: "api_unreadable", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The API file is neither OpenAPI 3 nor a `.proto` file that can be read.",
        remedy: "Correct the file at the place that is shown." },
    Entry { number: 1126, id: "W1126", name: "api_not_supported", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The API file uses something that is not read.",
        remedy: "Write the operation out in the file." },
    Entry { number: 1127, id: "W1127", name: "nothing_to_run", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A service neither runs here nor is said to run elsewhere.",
        remedy: "Give it `run` (a command) or `url` (where it runs)." },
    Entry { number: 1128, id: "W1128", name: "runs_elsewhere", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A service that runs elsewhere (`url`) cannot have what only a process here has.",
        remedy: "Remove the key, or replace `url` by `run`." },
    Entry { number: 1129, id: "W1129", name: "unknown_parameter", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A parameter is used that the route's path does not have.",
        remedy: "Use a parameter of the route's path, or add it there." },
    Entry { number: 1130, id: "W1130", name: "rewrite_useless", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The rewrite has nothing to replace.",
        remedy: "Give the route a literal prefix such as `/shop/**`, or remove the rewrite." },
    Entry { number: 1131, id: "W1131", name: "cors_contradiction", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Cross-origin rules that browsers refuse or that open more than is meant.",
        remedy: "List the origins that may send credentials; `*` stands alone and without credentials." },
    Entry { number: 1132, id: "W1132", name: "health_mismatch", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The service cannot answer this health probe.",
        remedy: "Probe what the service speaks: a path for HTTP, `grpc` for gRPC, `tcp` for anything." },
    Entry { number: 1133, id: "W1133", name: "method_mismatch", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "The callee has this path, but not with this method.",
        remedy: "Use one of the methods that the message names." },
    Entry { number: 1134, id: "W1134", name: "external_not_plain", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "An external host repeats another, or names a service of the system.",
        remedy: "List each outside host once; call services of the system by `calls`." },
    Entry { number: 1135, id: "W1135", name: "not_reachable", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "Nothing ever uses this.",
        remedy: "Remove it, or add what should use it." },
    Entry { number: 1136, id: "W1136", name: "relation_needs_context", kind: Kind::Finding, status: None, grpc: None, closes: false, retry_after_s: None,
        summary: "A relation that is agreed between two contexts names `any`.",
        remedy: "Name the context, or use `open-host`." },
    Entry { number: 2001, id: "W2001", name: "no_route", kind: Kind::Refusal, status: Some(404), grpc: Some(12), closes: false, retry_after_s: None,
        summary: "No route matches the request.",
        remedy: "Add a route to `gateway.routes`; `weft explain` shows what each request matches." },
    Entry { number: 2002, id: "W2002", name: "method_not_allowed", kind: Kind::Refusal, status: Some(405), grpc: Some(12), closes: false, retry_after_s: None,
        summary: "Routes match the path, none the method.",
        remedy: "Use a method of the `Allow` field, or add a route for this one." },
    Entry { number: 2003, id: "W2003", name: "not_allowed", kind: Kind::Refusal, status: Some(403), grpc: Some(7), closes: false, retry_after_s: None,
        summary: "The caller may not call this endpoint.",
        remedy: "Declare the call under `calls` of the caller, and the relation of their contexts if they differ." },
    Entry { number: 2004, id: "W2004", name: "no_identity", kind: Kind::Refusal, status: Some(403), grpc: Some(16), closes: true, retry_after_s: None,
        summary: "The caller did not prove an identity of the mesh.",
        remedy: "Call through the sidecar of the caller; nothing reaches a service past it." },
    Entry { number: 2005, id: "W2005", name: "bad_framing", kind: Kind::Refusal, status: Some(400), grpc: Some(13), closes: true, retry_after_s: None,
        summary: "Where the request ends is ambiguous or wrongly said (RFC 9112, section 6).",
        remedy: "Send one valid `Content-Length`, or `Transfer-Encoding: chunked` alone." },
    Entry { number: 2006, id: "W2006", name: "bad_head", kind: Kind::Refusal, status: Some(400), grpc: Some(13), closes: true, retry_after_s: None,
        summary: "The request's head is not valid HTTP.",
        remedy: "Correct the client: the head is read strictly, and what is ambiguous is refused." },
    Entry { number: 2007, id: "W2007", name: "head_too_large", kind: Kind::Refusal, status: Some(431), grpc: Some(8), closes: true, retry_after_s: None,
        summary: "The request's head is larger, or has more fields, than the limit.",
        remedy: "Send fewer or shorter fields (often: cookies)." },
    Entry { number: 2008, id: "W2008", name: "uri_too_long", kind: Kind::Refusal, status: Some(414), grpc: Some(8), closes: true, retry_after_s: None,
        summary: "The request line is longer than the limit.",
        remedy: "Send the data in a body." },
    Entry { number: 2009, id: "W2009", name: "version_not_supported", kind: Kind::Refusal, status: Some(505), grpc: Some(12), closes: true, retry_after_s: None,
        summary: "Not a version of HTTP that is spoken here.",
        remedy: "Use HTTP/1.1 or HTTP/2." },
    Entry { number: 2010, id: "W2010", name: "body_too_large", kind: Kind::Refusal, status: Some(413), grpc: Some(8), closes: true, retry_after_s: None,
        summary: "The request's body is larger than the limit.",
        remedy: "Send less." },
    Entry { number: 2011, id: "W2011", name: "bad_path", kind: Kind::Refusal, status: Some(400), grpc: Some(3), closes: true, retry_after_s: None,
        summary: "The path cannot be made canonical without guessing (encoded slash, backslash, NUL, broken percent-encoding, out of the root).",
        remedy: "Send a plain path; put such characters into the query or the body." },
    Entry { number: 2012, id: "W2012", name: "bad_host", kind: Kind::Refusal, status: Some(400), grpc: Some(3), closes: true, retry_after_s: None,
        summary: "The host is missing, repeated, malformed, or contradicts the request's target.",
        remedy: "Send exactly one `Host`." },
    Entry { number: 2013, id: "W2013", name: "overloaded", kind: Kind::Refusal, status: Some(503), grpc: Some(14), closes: false, retry_after_s: Some(1),
        summary: "As many requests as the limit allows are open and queued.",
        remedy: "Try later; add instances, or raise `limit` if the service can bear more." },
    Entry { number: 2014, id: "W2014", name: "queue_timeout", kind: Kind::Refusal, status: Some(503), grpc: Some(14), closes: false, retry_after_s: Some(1),
        summary: "The request waited in the queue for as long as its time limit allowed.",
        remedy: "Try later; add instances, or raise `limit` if the service can bear more." },
    Entry { number: 2016, id: "W2016", name: "method_not_supported", kind: Kind::Refusal, status: Some(501), grpc: Some(12), closes: true, retry_after_s: None,
        summary: "The method (CONNECT, TRACE) is not served here.",
        remedy: "Use CONNECT only at the sidecar's forward proxy; TRACE is never served." },
    Entry { number: 2017, id: "W2017", name: "external_not_declared", kind: Kind::Refusal, status: Some(403), grpc: Some(7), closes: false, retry_after_s: None,
        summary: "The outside host is not declared.",
        remedy: "Add `HOST:PORT` to `external` of the manifest or of the service. A service of the system is named under `calls` instead, and called by its name." },
    Entry { number: 2018, id: "W2018", name: "callee_not_declared", kind: Kind::Refusal, status: Some(403), grpc: Some(7), closes: false, retry_after_s: None,
        summary: "The service does not declare calls to this service of the system.",
        remedy: "Add it to `calls` of the service that calls." },
    Entry { number: 2020, id: "W2020", name: "peer_not_owner", kind: Kind::Refusal, status: Some(403), grpc: Some(7), closes: true, retry_after_s: None,
        summary: "The local port belongs to another service: the peer is not a process that the supervisor started for it.",
        remedy: "Call through the variables that the own process was given." },
    Entry { number: 2022, id: "W2022", name: "expectation_failed", kind: Kind::Refusal, status: Some(417), grpc: Some(3), closes: true, retry_after_s: None,
        summary: "`Expect` asks for something other than `100-continue`.",
        remedy: "Send `Expect: 100-continue` or no `Expect`." },
    Entry { number: 2023, id: "W2023", name: "head_timeout", kind: Kind::Refusal, status: Some(408), grpc: Some(4), closes: true, retry_after_s: None,
        summary: "The request's head did not arrive in time.",
        remedy: "Send the head at once." },
    Entry { number: 2024, id: "W2024", name: "body_timeout", kind: Kind::Refusal, status: Some(408), grpc: Some(4), closes: true, retry_after_s: None,
        summary: "The request's body stopped arriving.",
        remedy: "Send the body without long pauses." },
    Entry { number: 2025, id: "W2025", name: "cors_denied", kind: Kind::Refusal, status: Some(403), grpc: Some(7), closes: false, retry_after_s: None,
        summary: "The preflight asks for an origin, method or field that `cors` does not list.",
        remedy: "Add it to `cors` of the route or of the gateway." },
    Entry { number: 2026, id: "W2026", name: "bad_field_name", kind: Kind::Refusal, status: Some(400), grpc: Some(3), closes: true, retry_after_s: None,
        summary: "A field's name holds `_` or another character that is refused at the edge.",
        remedy: "Use letters, digits and `-` in field names." },
    Entry { number: 2028, id: "W2028", name: "too_many_connections", kind: Kind::Refusal, status: Some(503), grpc: Some(14), closes: true, retry_after_s: Some(1),
        summary: "As many connections as the limit allows are open.",
        remedy: "Keep fewer connections open; use HTTP/2." },
    Entry { number: 2029, id: "W2029", name: "http2_abuse", kind: Kind::Refusal, status: None, grpc: None, closes: true, retry_after_s: None,
        summary: "The HTTP/2 connection sent more resets, settings, pings or empty frames than a client in good faith does.",
        remedy: "Correct the client." },
    Entry { number: 2030, id: "W2030", name: "bad_deadline", kind: Kind::Refusal, status: Some(400), grpc: Some(3), closes: false, retry_after_s: None,
        summary: "`grpc-timeout` or `weft-deadline` is not a duration.",
        remedy: "Send digits and a unit, as the gRPC protocol says." },
    Entry { number: 2031, id: "W2031", name: "plain_connection", kind: Kind::Refusal, status: Some(400), grpc: Some(3), closes: true, retry_after_s: None,
        summary: "A plain connection reached a port of the mesh, where only mutual TLS is spoken.",
        remedy: "Call through the sidecar of the caller, or come in by the gateway." },
    Entry { number: 2032, id: "W2032", name: "bad_grpc_web", kind: Kind::Refusal, status: Some(400), grpc: Some(3), closes: false, retry_after_s: None,
        summary: "The gRPC-Web request cannot be translated.",
        remedy: "Send `application/grpc-web` or `application/grpc-web-text` with valid framing." },
    Entry { number: 2033, id: "W2033", name: "not_ready", kind: Kind::Refusal, status: Some(503), grpc: Some(14), closes: false, retry_after_s: Some(1),
        summary: "The process has no plan or no identity yet.",
        remedy: "Wait until it is ready; `weft status` shows what it waits for." },
    Entry { number: 3001, id: "W3001", name: "connect_failed", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "No connection to the upstream could be made.",
        remedy: "See that the service runs and listens on its `PORT`." },
    Entry { number: 3002, id: "W3002", name: "connect_timeout", kind: Kind::Fault, status: Some(504), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The upstream did not accept a connection in time.",
        remedy: "See that the service runs and is not overloaded." },
    Entry { number: 3003, id: "W3003", name: "no_endpoint", kind: Kind::Fault, status: Some(503), grpc: Some(14), closes: false, retry_after_s: Some(1),
        summary: "The upstream has no instance that is well.",
        remedy: "`weft status` shows its instances; the log of the service says why they are not well." },
    Entry { number: 3004, id: "W3004", name: "upstream_reset", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The upstream reset the connection or the stream before it answered.",
        remedy: "Look at the log of the service." },
    Entry { number: 3005, id: "W3005", name: "upstream_closed", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The upstream closed the connection before it answered.",
        remedy: "Look at the log of the service." },
    Entry { number: 3006, id: "W3006", name: "upstream_truncated", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: true, retry_after_s: None,
        summary: "The upstream closed in the middle of its answer; the downstream connection is cut so that the loss is seen.",
        remedy: "Look at the log of the service." },
    Entry { number: 3007, id: "W3007", name: "upstream_protocol", kind: Kind::Fault, status: Some(502), grpc: Some(13), closes: false, retry_after_s: None,
        summary: "The upstream's answer is not valid HTTP, or its framing is ambiguous.",
        remedy: "Correct the service; see that `protocol` says what it speaks." },
    Entry { number: 3008, id: "W3008", name: "upstream_head_too_large", kind: Kind::Fault, status: Some(502), grpc: Some(13), closes: false, retry_after_s: None,
        summary: "The head of the upstream's answer is larger than the limit.",
        remedy: "Send fewer or shorter fields." },
    Entry { number: 3009, id: "W3009", name: "timeout", kind: Kind::Fault, status: Some(504), grpc: Some(4), closes: false, retry_after_s: None,
        summary: "The upstream did not answer within the time limit.",
        remedy: "Make the operation faster, or set `timeout` on the route or under `resilience`." },
    Entry { number: 3010, id: "W3010", name: "try_timeout", kind: Kind::Fault, status: Some(504), grpc: Some(4), closes: false, retry_after_s: None,
        summary: "The last try toward the upstream passed its own time limit.",
        remedy: "Make the operation faster, or raise `per_try_timeout`." },
    Entry { number: 3011, id: "W3011", name: "stream_idle", kind: Kind::Fault, status: Some(504), grpc: Some(4), closes: true, retry_after_s: None,
        summary: "Nothing passed in either direction for as long as the idle limit.",
        remedy: "Send something now and then (a ping, an SSE comment)." },
    Entry { number: 3012, id: "W3012", name: "downstream_gone", kind: Kind::Fault, status: Some(499), grpc: Some(1), closes: true, retry_after_s: None,
        summary: "The caller left before the answer was complete. Only logged: there is nobody to tell.",
        remedy: "Nothing, unless it is frequent: then the operation is slower than its callers are patient." },
    Entry { number: 3013, id: "W3013", name: "tls_handshake_failed", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The TLS handshake with the upstream failed.",
        remedy: "The log names the reason; in the mesh, `weft status` shows identities and their expiry." },
    Entry { number: 3014, id: "W3014", name: "identity_mismatch", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The upstream proved another identity than the one that is called.",
        remedy: "See who listens at that address; the endpoint is not used meanwhile." },
    Entry { number: 3015, id: "W3015", name: "name_not_found", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The host of the upstream's `url` cannot be found by DNS.",
        remedy: "Correct the `url`, or the resolver of the machine." },
    Entry { number: 3017, id: "W3017", name: "upstream_not_upgraded", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: false, retry_after_s: None,
        summary: "The upstream answered an upgrade with a protocol that was not asked for.",
        remedy: "Correct the service." },
    Entry { number: 3018, id: "W3018", name: "internal", kind: Kind::Fault, status: Some(500), grpc: Some(13), closes: true, retry_after_s: None,
        summary: "Weft itself failed.",
        remedy: "Report it with the log; this is a defect." },
    Entry { number: 3019, id: "W3019", name: "external_failed", kind: Kind::Fault, status: Some(502), grpc: Some(14), closes: true, retry_after_s: None,
        summary: "The outside host could not be reached.",
        remedy: "See that the host and port that `external` declares are right and up." },
];
