//! The smallest things that a manifest says: durations, names, endpoints, addresses …
//!
//! One function for each reads a text and either gives the typed value or says why not. The grammar's table names them,
//! the check of shapes and the typed reading both call them, so that nothing passes the one and fails the other.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use weft_stdx::units::{self, DurationRange, Percent, Rate, UnitError};

use crate::code::Code;
use crate::command::{self, CommandError};
use crate::finding::excerpt;
use crate::manifest::{
    AccessLog, Auth, Downstream, HealthProbe, HostPort, RelationPattern, RouteKey, Scheme, ServiceUrl,
};
use crate::pattern::{EndpointPattern, PathPattern, literal_path};
use crate::plan::{Balance, HashKey, Protocol, TracesOver};

/// Why a text is not what its place takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Which public code.
    pub code: Code,
    /// What to do about it: a clause for people.
    pub why: String,
    /// The part of the text that is wrong, in bytes, where it is not the whole.
    pub part: Option<(usize, usize)>,
}

/// What a text was read as, or why it was not.
pub type Read<T> = Result<T, Mistake>;

fn wrong<T>(code: Code, why: impl Into<String>) -> Read<T> {
    Err(Mistake { code, why: why.into(), part: None })
}

/// `unit` is the one to propose for a bare number.
fn quantity<T>(result: Result<T, UnitError>, unit: &str) -> Read<T> {
    result.or_else(|error| match error {
        UnitError::NoUnit { number, units } if units.contains(',') => wrong(
            Code::BadQuantity,
            format!("the unit is missing: write for example `{number}{unit}` (there are {units})"),
        ),
        UnitError::NoUnit { number, .. } => wrong(Code::BadQuantity, format!("write `{number}{unit}`")),
        error => wrong(Code::BadQuantity, error.to_string()),
    })
}

/// `250ms`, `10s`. Zero is refused: no time limit of nothing makes sense.
pub fn duration(text: &str) -> Read<Duration> {
    let value = quantity(units::parse_duration(text), "s")?;
    if value.is_zero() {
        return wrong(Code::OutOfRange, "write a time above zero, for example `10s`");
    }
    Ok(value)
}

/// `25ms..250ms`
pub fn duration_range(text: &str) -> Read<DurationRange> {
    quantity(DurationRange::from_str(text), "ms")
}

/// `5%`
pub fn percent(text: &str) -> Read<Percent> {
    quantity(Percent::from_str(text), "%")
}

/// `10/s`
pub fn rate(text: &str) -> Read<Rate> {
    quantity(Rate::from_str(text), "/s")
}

/// A whole decimal number between two bounds, both included.
pub fn integer(text: &str, min: u64, max: u64) -> Read<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return wrong(
            Code::WrongType,
            format!("write a whole number from {min} to {max}, in decimal digits"),
        );
    }
    match text.parse::<u64>() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => wrong(Code::OutOfRange, format!("write a number from {min} to {max}")),
    }
}

/// `true` or `false`
pub fn boolean(text: &str) -> Read<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => wrong(Code::NotABoolean, "write `true` or `false`"),
    }
}

/// Name of a system, context, service or version: `[a-z][a-z0-9-]{0,62}`, so that it can stand in a host name.
pub fn name(text: &str) -> Read<String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() {
        return wrong(Code::BadName, "it is empty; write a name such as `orders`");
    }
    if text.len() > 63 {
        return wrong(Code::BadName, "a name has at most 63 characters");
    }
    if let Some((before, _)) = text.split_once(':') {
        let why = format!("a space is missing behind the colon: write `{}: …`", excerpt(before));
        return wrong(Code::BadName, why);
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(good) {
        let suggestion: String = text
            .to_lowercase()
            .chars()
            .map(|c| if good(c) { c } else { '-' })
            .skip_while(|c| !c.is_ascii_lowercase())
            .collect();
        let suggestion = suggestion.trim_end_matches('-');
        let like = if suggestion.is_empty() { "orders" } else { suggestion };
        return wrong(
            Code::BadName,
            format!(
                "a name starts with a small letter and goes on with small letters, digits and `-`, such as `{like}`"
            ),
        );
    }
    Ok(text.to_owned())
}

/// Name of a context: as [`name`], and not `any`.
pub fn context_name(text: &str) -> Read<String> {
    if text == "any" {
        return wrong(Code::ReservedName, "`any` stands for every context in `relations`; use another name");
    }
    name(text)
}

/// Any text with something in it.
pub fn text(text: &str) -> Read<String> {
    if text.trim().is_empty() {
        return wrong(Code::BadValue, "it is empty");
    }
    Ok(text.to_owned())
}

/// A command that can be started without a shell.
pub fn command(text: &str) -> Read<String> {
    let part = |code, why: String, part| Err(Mistake { code, why, part });
    match command::split(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(CommandError::Empty) => wrong(Code::BadValue, "it is empty; write a program and its arguments"),
        Err(CommandError::Shell { part: found, .. }) => {
            let whole = excerpt(text.trim_end());
            let whole = if whole == text.trim_end() { command::quote(text) } else { "'…'".to_owned() };
            part(Code::NeedsShell, format!("to have a shell run it, write: sh -c {whole}"), Some(found))
        }
        Err(CommandError::Unclosed { quote, at }) => {
            let why = match quote {
                '\\' => "the backslash at its end stands before nothing; remove it".to_owned(),
                quote => {
                    format!("this {quote} has no end; add it, or write \\{quote} for the character itself")
                }
            };
            part(Code::BadValue, why, Some((at, at + quote.len_utf8())))
        }
        Err(CommandError::Assignment(_)) => {
            wrong(Code::BadValue, "variables are not set in front of a command; say them under `env`")
        }
        Err(error @ CommandError::TooLong) => wrong(Code::BadValue, error.to_string()),
    }
}

/// Any text.
pub fn free_text(text: &str) -> Read<String> {
    Ok(text.to_owned())
}

/// Name of a variable of a process.
pub fn variable(text: &str) -> Read<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(good) {
        return wrong(Code::BadName, "a variable has letters, digits and `_`, and no digit in front");
    }
    Ok(text.to_owned())
}

/// A path in the file system; relative ones start at the manifest's folder.
pub fn file(text: &str) -> Read<String> {
    if text.trim().is_empty() {
        return wrong(Code::BadValue, "it is empty; write a path, relative to the folder of the manifest");
    }
    if text.starts_with('~') {
        return wrong(
            Code::BadValue,
            "`~` is not expanded; write a path relative to the folder of the manifest",
        );
    }
    Ok(text.to_owned())
}

/// `/path` of HTTP, without query; in its canonical form.
pub fn http_path(text: &str) -> Read<String> {
    plain_path(text, "/healthz")
}

/// A path without wildcards, query and parameters; `example` is one.
fn plain_path(text: &str, example: &str) -> Read<String> {
    if !text.starts_with('/') {
        return wrong(Code::BadValue, format!("a path starts with `/`: write `/{}`", excerpt(text)));
    }
    if text.contains(['?', '#', '\\', '{', '}', '*'])
        || text.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        let why =
            format!("write a plain path such as `{example}`: no query, no wildcard, no parameter, no space");
        return wrong(Code::BadValue, why);
    }
    literal_path(text).map_err(|refused| Mistake { code: Code::BadValue, why: refused.reason, part: None })
}

/// Prefix of `rewrite`: as [`http_path`].
pub fn rewrite(text: &str) -> Read<String> {
    plain_path(text, "/v2/orders")
}

/// `/path`, `grpc` or `tcp`
pub fn health(text: &str) -> Read<HealthProbe> {
    match text {
        "grpc" => Ok(HealthProbe::Grpc),
        "tcp" => Ok(HealthProbe::Tcp),
        _ if text.starts_with('/') => http_path(text).map(HealthProbe::Path),
        _ => wrong(Code::BadValue, "write a path such as `/healthz`, `grpc` or `tcp`"),
    }
}

/// `http`, `grpc` or `tcp`
pub fn protocol(text: &str) -> Read<Protocol> {
    match text {
        "http" => Ok(Protocol::Http),
        "grpc" => Ok(Protocol::Grpc),
        "tcp" => Ok(Protocol::Tcp),
        _ => {
            wrong(Code::BadValue, "write `http`, `grpc` or `tcp`, or leave it out: then it is seen by itself")
        }
    }
}

/// A host name or an address, without brackets; lower case.
fn host(text: &str) -> Read<String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => wrong(Code::BadAddress, format!("`{}` is not an IPv6 address", excerpt(inner))),
        };
    }
    let text = text.to_ascii_lowercase();
    if text.is_empty() {
        return wrong(Code::BadAddress, "the host is missing: write for example `127.0.0.1:8080`");
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if digits && text.parse::<std::net::Ipv4Addr>().is_err() {
        return wrong(Code::BadAddress, format!("`{}` is not an IPv4 address", excerpt(&text)));
    }
    if text.len() > 253 || !text.split('.').all(label) {
        return wrong(
            Code::BadAddress,
            format!("`{}` is neither a host name nor an address", excerpt(&text)),
        );
    }
    Ok(text)
}

fn port(text: &str) -> Read<u16> {
    match integer(text, 1, 65_535) {
        Ok(value) => u16::try_from(value).or_else(|_| wrong(Code::BadAddress, "a port is at most 65535")),
        Err(_) => wrong(
            Code::BadAddress,
            format!("`{}` is not a port: write a number from 1 to 65535", excerpt(text)),
        ),
    }
}

/// `HOST:PORT`, IPv6 in brackets.
pub fn host_port(text: &str) -> Read<HostPort> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or(rest);
        let port = match scheme {
            _ if rest.contains(':') => "",
            "https" => ":443",
            _ => ":80",
        };
        return wrong(
            Code::BadAddress,
            format!("only host and port stand here: write `{}{port}`", excerpt(rest)),
        );
    }
    let Some((name, number)) = text.rsplit_once(':') else {
        let why = if text.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("the host is missing: write `127.0.0.1:{}`", excerpt(text))
        } else {
            format!("the port is missing: write for example `{}:443`", excerpt(text))
        };
        return wrong(Code::BadAddress, why);
    };
    if name.is_empty() {
        let why = format!(
            "the host is missing: write `127.0.0.1:{number}` for this machine alone, `0.0.0.0:{number}` for every network",
            number = excerpt(number)
        );
        return wrong(Code::BadAddress, why);
    }
    if name.contains(':') && !name.starts_with('[') {
        return wrong(Code::BadAddress, "an IPv6 address stands in brackets: write for example `[::1]:8080`");
    }
    Ok(HostPort { host: host(name)?, port: port(number)? })
}

/// `ADDRESS:PORT` to listen on: names are not looked up, so that it never depends on a resolver who can reach the system.
pub fn listen_address(text: &str) -> Read<HostPort> {
    let read = host_port(text)?;
    if read.host.parse::<IpAddr>().is_ok() {
        return Ok(read);
    }
    let loopback = if read.host == "localhost" { "" } else { ", `0.0.0.0` for every network" };
    let why = format!(
        "an address stands here, no name: write `127.0.0.1:{}` for this machine alone{loopback}",
        read.port
    );
    wrong(Code::BadAddress, why)
}

/// `none` or `ADDRESS:PORT`
pub fn metrics(text: &str) -> Read<Option<HostPort>> {
    if text == "none" { Ok(None) } else { listen_address(text).map(Some) }
}

/// `10.0.0.0/8`
pub fn network(text: &str) -> Read<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        return wrong(
            Code::BadAddress,
            format!("the length is missing: write `{text}/{bits}` for this one address"),
        );
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return wrong(Code::BadAddress, "write a network such as `10.0.0.0/8` or `fd00::/8`");
    };
    if network.trunc() != network {
        return wrong(
            Code::BadAddress,
            format!("bits are set behind the prefix: write `{}`", network.trunc()),
        );
    }
    Ok(network)
}

/// `http://HOST[:PORT][/prefix]`, `https://…` or `tcp://HOST:PORT`
pub fn service_url(text: &str) -> Read<ServiceUrl> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong(
            Code::BadUrl,
            format!("the scheme is missing: write `http://{0}` or `https://{0}`", excerpt(text)),
        );
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "tcp" => Scheme::Tcp,
        _ => {
            return wrong(
                Code::BadUrl,
                format!("`{}` is not known here: use `http`, `https` or `tcp`", excerpt(scheme)),
            );
        }
    };
    if rest.contains(['?', '#', '@', ' ']) {
        return wrong(Code::BadUrl, "a URL here has a host, a port and a path: no user, query or fragment");
    }
    let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (name, number) = match authority.rsplit_once(':') {
        Some((name, number)) if !number.ends_with(']') => (name, Some(port(number)?)),
        _ => (authority, None),
    };
    let prefix = prefix.trim_end_matches('/');
    if scheme == Scheme::Tcp && (number.is_none() || !prefix.is_empty()) {
        return wrong(
            Code::BadUrl,
            "`tcp` needs a port and takes no path: write for example `tcp://db.internal:5432`",
        );
    }
    if !prefix.is_empty() {
        http_path(prefix)?;
    }
    Ok(ServiceUrl { scheme, host: host(name)?, port: number, prefix: prefix.to_owned() })
}

/// `http://HOST:PORT` of an OTLP receiver.
pub fn otlp_url(text: &str) -> Read<String> {
    let url = service_url(text)?;
    if url.scheme == Scheme::Tcp {
        return wrong(
            Code::BadUrl,
            "OTLP goes over `http` or `https`: write for example `http://127.0.0.1:4317`",
        );
    }
    if url.port.is_none() {
        return wrong(Code::BadUrl, "the port is missing: 4317 for `over: grpc`, 4318 for `over: http`");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// `none` or `otlp URL`; the URL for the latter.
pub fn traces(text: &str) -> Read<Option<String>> {
    match text.split_once(' ') {
        _ if text == "none" => Ok(None),
        Some(("otlp", url)) => {
            let start = text.len() - url.trim_start().len();
            otlp_url(url.trim())
                .map(Some)
                .map_err(|mistake| Mistake { part: Some((start, text.len())), ..mistake })
        }
        _ => wrong(Code::BadValue, "write `none` or `otlp http://127.0.0.1:4317`"),
    }
}

/// `grpc` or `http`
pub fn traces_over(text: &str) -> Read<TracesOver> {
    match text {
        "grpc" => Ok(TracesOver::Grpc),
        "http" => Ok(TracesOver::Http),
        _ => wrong(Code::BadValue, "write `grpc` or `http`"),
    }
}

/// `off`, `full` or a share
pub fn access_log(text: &str) -> Read<AccessLog> {
    match text {
        "off" => Ok(AccessLog::Off),
        "full" => Ok(AccessLog::Full),
        _ => match percent(text) {
            Ok(share) => Ok(AccessLog::Sampled(share)),
            Err(mistake) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(mistake),
            Err(_) => wrong(Code::BadValue, "write `off`, `full` or a share such as `1%`"),
        },
    }
}

/// `none`: all other authentication is not built.
pub fn auth(text: &str) -> Read<Auth> {
    if text == "none" {
        return Ok(Auth::None);
    }
    wrong(
        Code::NotBuilt,
        "`auth: none` is the only authentication so far; it leaves the route open to everyone",
    )
}

/// SPIFFE trust domain (SPIFFE-ID §2.1): lower-case letters, digits, `.`, `-`, `_`.
pub fn trust_domain(text: &str) -> Read<String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 255 || !text.chars().all(good) {
        return wrong(
            Code::BadName,
            "a trust domain has small letters, digits, `.`, `-` and `_`, such as `shop.test`",
        );
    }
    Ok(text.to_owned())
}

// --- endpoints and routes -----------------------------------------------------------------------------------------

/// A service with or without an endpoint; the second is the endpoint's offset in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalleeText {
    /// Name of a service.
    pub service: String,
    /// The endpoint and where it starts.
    pub endpoint: Option<(EndpointPattern, usize)>,
}

/// `service`, `service METHOD /path` or `service package.Service/Method`
pub fn callee(text: &str) -> Read<CalleeText> {
    let (service, rest) = text.split_once(' ').unwrap_or((text, ""));
    if service.starts_with('/') || rest.is_empty() && service.contains('/') || method_like(service) {
        return wrong(
            Code::BadEndpoint,
            format!("the service comes first: write for example `orders {}`", excerpt(text)),
        );
    }
    let service = name(service).map_err(|mistake| Mistake { part: Some((0, service.len())), ..mistake })?;
    let start = text.len() - rest.trim_start().len();
    if rest.trim().is_empty() {
        return Ok(CalleeText { service, endpoint: None });
    }
    match rest.parse::<EndpointPattern>() {
        Ok(endpoint) => Ok(CalleeText { service, endpoint: Some((endpoint, start)) }),
        Err(error) => Err(Mistake {
            code: Code::BadEndpoint,
            why: error.to_string(),
            part: Some((start, start + rest.trim().len())),
        }),
    }
}

fn method_like(text: &str) -> bool {
    matches!(
        text,
        "ANY" | "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "TRACE" | "QUERY"
    )
}

/// `METHOD /path` or `METHOD host/path`
pub fn route_key(text: &str) -> Read<RouteKey> {
    let Some((method, rest)) = text.split_once(' ') else {
        let why = if text.starts_with('/') {
            format!("the method is missing: write `GET {0}` or `ANY {0}`", excerpt(text))
        } else {
            "write a method and a path, such as `GET /orders/{id}`".to_owned()
        };
        return wrong(Code::BadEndpoint, why);
    };
    if let Some(why) = method_mistake(method, "a route for each method, or one for `ANY`") {
        return Err(Mistake { code: Code::BadEndpoint, why, part: Some((0, method.len())) });
    }
    let trimmed = rest.trim();
    let start = text.len() - rest.trim_start().len();
    let whole = Some((start, start + trimmed.len()));
    let in_part = |mistake: Mistake| Mistake { code: Code::BadEndpoint, part: whole, ..mistake };
    let slash = trimmed.find('/').unwrap_or(trimmed.len());
    let (host_text, path) = trimmed.split_at(slash);
    if path.is_empty() {
        let why = format!("a path starts with `/`: write `{} /{}`", excerpt(method), excerpt(trimmed));
        return Err(Mistake { code: Code::BadEndpoint, why, part: whole });
    }
    if path.contains('?') {
        let why = "a route has no query; use `match: { query: { name: value } }` in its long form";
        return Err(Mistake { code: Code::BadEndpoint, why: why.to_owned(), part: whole });
    }
    let host = if host_text.is_empty() { None } else { Some(route_host(host_text).map_err(in_part)?) };
    let path = path.parse::<PathPattern>().map_err(|error| Mistake {
        code: Code::BadEndpoint,
        why: error.to_string(),
        part: whole,
    })?;
    let method = (method != "ANY").then(|| method.to_owned());
    Ok(RouteKey { text: text.to_owned(), host, method, path })
}

fn route_host(text: &str) -> Read<String> {
    let (wild, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
    if rest.contains(':') && !rest.starts_with('[') {
        return wrong(
            Code::BadEndpoint,
            "a route's host has no port: a route answers on every address of `listen`",
        );
    }
    let host = host(rest)?;
    match host.parse::<IpAddr>() {
        Ok(_) if !wild.is_empty() => {
            wrong(Code::BadEndpoint, "`*.` stands before a name, not before an address")
        }
        // As it stands in a request.
        Ok(IpAddr::V6(address)) => Ok(format!("[{address}]")),
        _ => Ok(format!("{wild}{host}")),
    }
}

/// `upstream > downstream`; the offset of the second name.
pub fn relation(text: &str) -> Read<(String, Downstream, usize)> {
    let Some((upstream, downstream)) = text.split_once('>') else {
        return wrong(
            Code::BadValue,
            "write `upstream > downstream: pattern`, for example `catalog > sales: open-host`",
        );
    };
    let second = text.len() - downstream.trim_start().len();
    let part = |start: usize, text: &str| Some((start, start + text.trim().len()));
    let upstream = context_name(upstream.trim()).map_err(|m| Mistake { part: part(0, upstream), ..m })?;
    let downstream = match downstream.trim() {
        "any" => Downstream::Any,
        other => Downstream::Context(name(other).map_err(|m| Mistake { part: part(second, other), ..m })?),
    };
    Ok((upstream, downstream, second))
}

/// Patterns of relations, with what they mean on the wire.
pub const RELATIONS: &[(&str, RelationPattern, &str)] = &[
    ("open-host", RelationPattern::OpenHost, "the downstream may call what the upstream publishes"),
    ("customer-supplier", RelationPattern::CustomerSupplier, "that downstream may call"),
    ("conformist", RelationPattern::Conformist, "that downstream may call; nothing is translated"),
    (
        "anticorruption",
        RelationPattern::Anticorruption,
        "that downstream calls through its facade only; direct calls are denied",
    ),
    (
        "partnership",
        RelationPattern::Partnership,
        "both ways; the only place where synchronous cycles are allowed",
    ),
    ("published-language", RelationPattern::PublishedLanguage, "events only; synchronous calls are denied"),
    ("shared-kernel", RelationPattern::SharedKernel, "both ways"),
    ("separate-ways", RelationPattern::SeparateWays, "nobody: the same as saying nothing, but said"),
];

/// One of [`RELATIONS`].
pub fn relation_pattern(text: &str) -> Read<RelationPattern> {
    if let Some((_, pattern, _)) = RELATIONS.iter().find(|(name, ..)| *name == text) {
        return Ok(*pattern);
    }
    let names = RELATIONS.iter().map(|(name, ..)| *name);
    match crate::finding::did_you_mean(text, names.clone()) {
        Some(near) => wrong(Code::BadValue, format!("did you mean `{near}`?")),
        None => wrong(Code::BadValue, format!("use one of {}", names.collect::<Vec<_>>().join(", "))),
    }
}

/// `service` or `service 10%`; the share with its offset.
pub fn mirror(text: &str) -> Read<(String, Option<(Percent, usize)>)> {
    let Some((service, rest)) = text.split_once(' ') else { return name(text).map(|name| (name, None)) };
    let start = text.len() - rest.trim_start().len();
    let share = percent(rest.trim()).map_err(|m| Mistake { part: Some((start, text.len())), ..m })?;
    Ok((name(service)?, Some((share, start))))
}

// --- HTTP ---------------------------------------------------------------------------------------------------------

/// RFC 9110 §5.6.2.
fn token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Name of a field, lower case.
pub fn field_name(text: &str) -> Read<String> {
    if text.contains('*') {
        return wrong(Code::BadName, "`*` stands for no header here: write the names");
    }
    if !token(text) || text.len() > 256 {
        return wrong(Code::BadName, "a header has letters, digits and `-`, such as `x-request-id`");
    }
    Ok(text.to_ascii_lowercase())
}

/// Name of a field that a request can have at the edge, lower case.
pub fn edge_field_name(text: &str) -> Read<String> {
    let name = field_name(text)?;
    if name.contains('_') {
        return wrong(Code::BadName, "no request has it: names with `_` are refused at the edge (W2026)");
    }
    if name.starts_with("weft-") {
        return wrong(Code::BadName, "no request has it: headers of Weft's own are taken away at the edge");
    }
    let framing = ["connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding"];
    if framing.contains(&name.as_str()) {
        return wrong(
            Code::BadName,
            format!("`{name}` is of the connection, not of the request: nothing can look at it"),
        );
    }
    Ok(name)
}

/// Name of a field that a rule may set or remove: not one that frames, routes or traces the message.
pub fn editable_field_name(text: &str) -> Read<String> {
    let name = field_name(text)?;
    let framing = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if framing.contains(&name.as_str()) || name.starts_with("weft-") {
        return wrong(Code::BadValue, format!("`{name}` belongs to the connection and is set by Weft alone"));
    }
    Ok(name)
}

/// Value of a field (RFC 9110 §5.5), without space around it.
pub fn field_value(text: &str) -> Read<String> {
    if text.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return wrong(Code::BadValue, "a header's value is one line without control characters");
    }
    if !text.is_ascii() {
        return wrong(Code::BadValue, "a header's value has ASCII characters only");
    }
    if text.trim() != text {
        return wrong(Code::BadValue, "a header's value has no space around it");
    }
    Ok(text.to_owned())
}

/// Name of a query parameter.
pub fn query_name(text: &str) -> Read<String> {
    if text.is_empty() || text.contains(['&', '=', '#', ' ']) {
        return wrong(Code::BadName, "write the name of one query parameter, such as `page`");
    }
    Ok(text.to_owned())
}

/// A method that a page of another origin may use.
pub fn method(text: &str) -> Read<String> {
    match method_mistake(text, "one method for each item of the list") {
        Some(why) => wrong(Code::BadValue, why),
        None => Ok(text.to_owned()),
    }
}

/// Why a text is no method of the edge: methods are capitals and `-`, as all of IANA's registry, and two of them are
/// never served.
fn method_mistake(text: &str, several: &str) -> Option<String> {
    let shown = excerpt(text);
    if matches!(text, "CONNECT" | "TRACE") {
        return Some(format!("`{shown}` is never served at the edge (W2016)"));
    }
    if text.contains(['|', ',', '*']) {
        return Some(format!("`{shown}` is not one method: write {several}"));
    }
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    (!good).then(|| format!("`{shown}` is not a method: write it in capitals, e.g. `GET`, or `ANY`"))
}

/// `*` or `scheme://host[:port]` (RFC 6454 §6.2), lower case.
pub fn origin(text: &str) -> Read<String> {
    if text == "*" {
        return Ok("*".to_owned());
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return wrong(Code::BadUrl, format!("an origin has a scheme: write `https://{}`", excerpt(text)));
    };
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(of_scheme) {
        return wrong(
            Code::BadUrl,
            format!("`{}` is not a scheme: write for example `https`", excerpt(scheme)),
        );
    }
    if authority.contains(['/', '?', '#']) {
        let host = authority.split(['/', '?', '#']).next().unwrap_or("");
        return wrong(
            Code::BadUrl,
            format!("an origin has no path: write `{}://{}`", excerpt(scheme), excerpt(host)),
        );
    }
    if authority.contains('*') {
        return wrong(
            Code::BadUrl,
            "wildcards in origins are not understood: list the origins, or write `*` alone",
        );
    }
    let (name, number) = match authority.rsplit_once(':') {
        Some((name, number)) if !number.ends_with(']') => (name, Some(port(number)?)),
        _ => (authority, None),
    };
    host(name)?;
    let default = matches!((scheme, number), ("http", Some(80)) | ("https", Some(443)));
    if default {
        return wrong(Code::BadUrl, format!("browsers leave the usual port out: write `{scheme}://{name}`"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Where a redirect leads: a path or an absolute URL; `{param}` may stand in it.
pub fn redirect_target(text: &str) -> Read<String> {
    let absolute = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = absolute.map_or(text.starts_with('/') && !text.starts_with("//"), |rest| !rest.is_empty());
    if !good || !text.is_ascii() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
        return wrong(Code::BadUrl, "write a path such as `/new` or a URL such as `https://example.org/new`");
    }
    if let Some(rest) = absolute {
        redirect_authority(rest.split(['/', '?', '#']).next().unwrap_or_default())?;
    }
    let hex =
        |at: usize| text.get(at + 1..at + 3).is_some_and(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
    if text.match_indices('%').any(|(at, _)| !hex(at)) {
        return wrong(Code::BadUrl, "behind `%` stand two hexadecimal digits; `%` itself is `%25`");
    }
    let mut outside = text;
    while let Some((before, after)) = outside.split_once('{') {
        let Some((_, after)) = after.split_once('}').filter(|(name, _)| !name.contains('{')) else { break };
        if before.contains('}') {
            break;
        }
        outside = after;
    }
    if outside.contains(['{', '}']) {
        return wrong(
            Code::BadUrl,
            "a brace stands alone: write `{name}` for a parameter of the route's path",
        );
    }
    Ok(text.to_owned())
}

/// Host and port of a redirect's URL; what is filled in is known at run time only.
fn redirect_authority(text: &str) -> Read<()> {
    if text.contains('{') {
        return Ok(());
    }
    match text.rsplit_once(':') {
        Some((name, number)) if !number.ends_with(']') => host(name).and(port(number)).map(drop),
        _ => host(text).map(drop),
    }
}

/// Status of a redirect.
pub fn redirect_status(text: &str) -> Read<u16> {
    match text {
        "301" => Ok(301),
        "302" => Ok(302),
        "303" => Ok(303),
        "307" => Ok(307),
        "308" => Ok(308),
        _ => wrong(Code::OutOfRange, "write 301, 302, 303, 307 or 308"),
    }
}

/// Status of a fixed answer: a final one.
pub fn status(text: &str) -> Read<u16> {
    let value = integer(text, 200, 599)?;
    u16::try_from(value).or_else(|_| wrong(Code::OutOfRange, "write a status from 200 to 599"))
}

/// Status of a fixed fallback. `stale` needs the cache, which is not built.
pub fn fallback(text: &str) -> Read<u16> {
    if text == "stale" {
        return wrong(
            Code::NotBuilt,
            "it needs the cache; write a fixed answer: `fallback: { status: 200, body: … }`",
        );
    }
    status(text)
}

/// `least_loaded` or `round_robin`
pub fn balance(text: &str) -> Read<Balance> {
    match text {
        "least_loaded" => Ok(Balance::LeastLoaded),
        "round_robin" => Ok(Balance::RoundRobin),
        _ => wrong(Code::BadValue, "write `least_loaded`, `round_robin` or `{ ring: header x-user }`"),
    }
}

/// `header NAME`, `cookie NAME` or `address`
pub fn ring(text: &str) -> Read<HashKey> {
    match text.split_once(' ') {
        None if text == "address" => Ok(HashKey::Address),
        Some(("header", name)) => field_name(name.trim()).map(HashKey::Header),
        Some(("cookie", name)) if token(name.trim()) => Ok(HashKey::Cookie(name.trim().to_owned())),
        _ => wrong(Code::BadValue, "write `header NAME`, `cookie NAME` or `address`"),
    }
}

/// `auto`
pub fn tls(text: &str) -> Read<()> {
    if text == "auto" { Ok(()) } else { wrong(Code::BadValue, "write `auto` or `{ cert: FILE, key: FILE }`") }
}

/// `none`
pub fn no_retry(text: &str) -> Read<()> {
    if text == "none" { Ok(()) } else { wrong(Code::BadValue, "write `none` or `{ attempts: 2 }`") }
}

/// `true`, where `false` would say nothing.
pub fn only_true(text: &str) -> Read<()> {
    match boolean(text)? {
        true => Ok(()),
        false => wrong(Code::BadValue, "write `true`, or remove the key"),
    }
}
