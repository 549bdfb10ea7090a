//! Which of several matching routes wins: the one order that `weft check`, `weft explain` and the gateway follow.
//!
//! `docs/routing.md` says it for people. The order is total for routes that can match the same request, because what would
//! be undecided is refused ([`overlap`]).

use std::cmp::Ordering;

use crate::pattern::{PathPattern, Segment, method_covers};
use crate::plan::{FieldMatch, RoutePlan};

/// Orders two routes that match the same request: `Less` wins.
///
/// 1. **Path**, segment by segment from the left: a literal before `{name}` or `*`, these before `**`. So the longest
///    literal beginning wins.
/// 2. **Method**: a named one before `ANY`. (`GET` takes `HEAD` too; an own `HEAD` route goes first.)
/// 3. **Host**: an exact one before `*.example.org`, that before none.
/// 4. **Fields**, then **query parameters**: more exact values, then more names.
///
/// What is still equal is ordered by its key, so that sorting is the same everywhere.
pub fn precedence(a: &RoutePlan, b: &RoutePlan) -> Ordering {
    path_order(&a.path, &b.path)
        .then_with(|| method_rank(a.method.as_deref()).cmp(&method_rank(b.method.as_deref())))
        .then_with(|| host_rank(a.host.as_deref()).cmp(&host_rank(b.host.as_deref())))
        .then_with(|| fields_rank(&b.headers).cmp(&fields_rank(&a.headers)))
        .then_with(|| fields_rank(&b.query).cmp(&fields_rank(&a.query)))
        .then_with(|| a.key.cmp(&b.key))
        .then_with(|| a.origin.cmp(&b.origin))
}

/// Why `a` goes before `b`, for people: which rule of [`precedence`] decides.
pub fn decided_by(a: &RoutePlan, b: &RoutePlan) -> &'static str {
    if path_order(&a.path, &b.path) != Ordering::Equal {
        "its path is less specific"
    } else if method_rank(a.method.as_deref()) != method_rank(b.method.as_deref()) {
        "its method is less specific"
    } else if host_rank(a.host.as_deref()) != host_rank(b.host.as_deref()) {
        "its host is less specific"
    } else if fields_rank(&a.headers) != fields_rank(&b.headers) {
        "it asks for fewer fields"
    } else {
        "it asks for fewer query parameters"
    }
}

/// Whether some request matches both routes and rules 1 to 4 do not say which one wins, or only by counting.
pub fn overlap(a: &RoutePlan, b: &RoutePlan) -> bool {
    same_shape(&a.path, &b.path)
        && a.method == b.method
        && a.host == b.host
        && compatible(&a.headers, &b.headers)
        && compatible(&a.query, &b.query)
        && !(narrower(a, b) || narrower(b, a))
}

/// Whether a request's head matches. `header` and `query` tell whether one of the values of a name fits.
pub fn matches(
    route: &RoutePlan,
    method: &str,
    host: &str,
    path: &str,
    header: &dyn Fn(&FieldMatch) -> bool,
    query: &dyn Fn(&FieldMatch) -> bool,
) -> bool {
    method_covers(route.method.as_deref(), method)
        && host_matches(route.host.as_deref(), host)
        && route.path.matches(path)
        && route.headers.iter().all(header)
        && route.query.iter().all(query)
}

/// The host of an authority as routes compare it: lower case, without port; an IPv6 address keeps its brackets.
pub(crate) fn host_of(authority: &str) -> String {
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority[..end].to_ascii_lowercase()
}

/// Whether a host (lower case, without port) is meant. `*.example.org` stands for exactly one more label.
pub fn host_matches(want: Option<&str>, host: &str) -> bool {
    match want {
        None => true,
        Some(want) => match want.strip_prefix("*.") {
            None => want == host,
            Some(domain) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain)
            }
        },
    }
}

/// Whether one of the parameters of a request's query (without `?`) is meant. Names and values are compared as forms are
/// read (WHATWG URL, 5.1): escapes decoded, `+` a space. An escape that is none stands for itself.
pub fn query_matches(want: &FieldMatch, query: &str) -> bool {
    let same = |written: &str, want: &str| form_bytes(written).eq(want.bytes());
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.any(|(name, value)| {
        same(name, &want.name) && want.value.as_deref().is_none_or(|want| same(value, want))
    })
}

fn form_bytes(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, length) = match *rest {
            [b'%', high, low, ..] => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map_or((b'%', 1), |(high, low)| (high << 4 | low, 3))
            }
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (byte, 1),
            [] => return None,
        };
        rest = &rest[length..];
        Some(byte)
    })
}

fn path_order(a: &PathPattern, b: &PathPattern) -> Ordering {
    let (mut ours, mut theirs) = (a.segments.iter(), b.segments.iter());
    loop {
        let ranks = (segment_rank(ours.next()), segment_rank(theirs.next()));
        match ranks.0.cmp(&ranks.1) {
            Ordering::Equal if ranks.0 == END => break,
            Ordering::Equal => {}
            decided => return decided,
        }
    }
    // Equal ranks, different literals: they never match the same path; any fixed order will do.
    literals(a).cmp(literals(b))
}

fn literals(path: &PathPattern) -> impl Iterator<Item = &str> {
    path.segments
        .iter()
        .filter_map(|segment| if let Segment::Literal(text) = segment { Some(text.as_str()) } else { None })
}

const END: u8 = 1;

fn segment_rank(segment: Option<&Segment>) -> u8 {
    match segment {
        Some(Segment::Literal(_)) => 0,
        None => END,
        Some(Segment::Param(_) | Segment::Any) => 2,
        Some(Segment::Rest) => 3,
    }
}

fn method_rank(method: Option<&str>) -> u8 {
    match method {
        Some("HEAD") => 0,
        Some(_) => 1,
        None => 2,
    }
}

fn host_rank(host: Option<&str>) -> u8 {
    match host {
        Some(host) if !host.starts_with("*.") => 0,
        Some(_) => 1,
        None => 2,
    }
}

fn fields_rank(fields: &[FieldMatch]) -> (usize, usize) {
    (fields.iter().filter(|field| field.value.is_some()).count(), fields.len())
}

/// Whether two paths match exactly the same: equal but for the names of parameters.
fn same_shape(a: &PathPattern, b: &PathPattern) -> bool {
    let same = |pair: (&Segment, &Segment)| match pair {
        (Segment::Literal(a), Segment::Literal(b)) => a == b,
        (a, b) => segment_rank(Some(a)) == segment_rank(Some(b)),
    };
    a.segments.len() == b.segments.len() && a.segments.iter().zip(&b.segments).all(same)
}

/// Whether one request can satisfy both lists: no name has two different exact values.
///
/// A repeated field could carry both values; that is refused as ambiguous elsewhere, so it does not count here.
fn compatible(a: &[FieldMatch], b: &[FieldMatch]) -> bool {
    !a.iter().any(|x| {
        b.iter().any(|y| x.name == y.name && x.value.is_some() && y.value.is_some() && x.value != y.value)
    })
}

/// Whether `a` asks for all that `b` asks for, and for more.
fn narrower(a: &RoutePlan, b: &RoutePlan) -> bool {
    let implies = |ours: &[FieldMatch], theirs: &[FieldMatch]| {
        theirs.iter().all(|want| {
            ours.iter()
                .any(|have| have.name == want.name && (want.value.is_none() || have.value == want.value))
        })
    };
    let rank = |route: &RoutePlan| (fields_rank(&route.headers), fields_rank(&route.query));
    implies(&a.headers, &b.headers) && implies(&a.query, &b.query) && rank(a) > rank(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ActionPlan, FieldEdits, FixedResponse, Origin};
    use weft_stdx::rng::Rng;

    #[test]
    fn the_host_of_an_authority_has_no_port() {
        for (authority, host) in [
            ("Shop.Test:80", "shop.test"),
            ("shop.test", "shop.test"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn a_parameter_is_compared_as_it_is_meant() {
        let check = |query: &str, name: &str, value: Option<&str>, expected: bool| {
            let want = FieldMatch { name: name.to_owned(), value: value.map(str::to_owned) };
            assert_eq!(query_matches(&want, query), expected, "{query} for {want:?}");
        };
        check("page=2", "page", Some("2"), true);
        check("p%61ge=%32", "page", Some("2"), true);
        check("q=a+b&q=a%20c", "q", Some("a c"), true);
        check("q=a+b", "q", Some("a+b"), false);
        check("q=%C3%bC", "q", Some("ü"), true);
        check("q=100%&r=%4", "q", Some("100%"), true);
        check("q=100%&r=%4", "r", Some("%4"), true);
        check("q=a=b", "q", Some("a=b"), true);
        check("page", "page", None, true);
        check("page", "page", Some(""), true);
        check("pages=2", "page", None, false);
        check("", "page", None, false);
    }

    fn route(key: &str, headers: &[(&str, Option<&str>)], query: &[(&str, Option<&str>)]) -> RoutePlan {
        let (method, target) = key.split_once(' ').unwrap();
        let (host, path) = target.split_at(target.find('/').unwrap());
        let fields = |list: &[(&str, Option<&str>)]| {
            let field = |(name, value): &(&str, Option<&str>)| FieldMatch {
                name: (*name).to_owned(),
                value: value.map(str::to_owned),
            };
            list.iter().map(field).collect()
        };
        RoutePlan {
            key: key.to_owned(),
            origin: Origin::default(),
            host: (!host.is_empty()).then(|| host.to_owned()),
            method: (method != "ANY").then(|| method.to_owned()),
            path: path.parse().unwrap(),
            headers: fields(headers),
            query: fields(query),
            action: ActionPlan::Respond(FixedResponse {
                status: 204,
                headers: Vec::new(),
                body: String::new(),
            }),
            timeout_ms: None,
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits::default(),
            cors: None,
            mirror: None,
        }
    }

    #[test]
    fn the_more_specific_goes_first() {
        let one = |key: &str| route(key, &[], &[]);
        for (winner, loser) in [
            (one("GET /a/b"), one("GET /a/{x}")),
            (one("ANY /a/{x}"), one("GET /a/**")),
            (one("GET /a"), one("GET /a/**")),
            (one("GET /a/b/{x}"), one("GET /a/{y}/c")),
            (one("GET /a"), one("ANY /a")),
            (one("HEAD /a"), one("GET /a")),
            (one("GET s.test/a"), one("GET *.test/a")),
            (one("GET *.test/a"), one("GET /a")),
            (one("GET /a"), one("ANY s.test/a")),
            (route("GET /a", &[("x", Some("1"))], &[]), route("GET /a", &[("x", None)], &[])),
            (route("GET /a", &[("x", None)], &[]), one("GET /a")),
            (route("GET /a", &[], &[("q", None)]), one("GET /a")),
        ] {
            assert_eq!(precedence(&winner, &loser), Ordering::Less, "{} before {}", winner.key, loser.key);
            assert_eq!(precedence(&loser, &winner), Ordering::Greater, "{} after {}", loser.key, winner.key);
            assert!(!overlap(&winner, &loser), "{} and {}", winner.key, loser.key);
        }
    }

    #[test]
    fn what_is_undecided_overlaps() {
        let by = |name: &str, value: &str| route("GET /a", &[(name, Some(value))], &[]);
        assert!(overlap(&route("GET /a/{x}", &[], &[]), &route("GET /a/*", &[], &[])));
        assert!(overlap(&by("x", "1"), &by("y", "1")));
        assert!(!overlap(&by("x", "1"), &by("x", "2")));
        assert!(overlap(&by("x", "1"), &route("GET /a", &[], &[("q", None)])));
    }

    /// For all routes that do not overlap and all requests: of two that match, rules 1 to 4 decide, not the key.
    #[test]
    fn the_order_is_total_where_nothing_overlaps() {
        let (methods, hosts) = (["GET", "HEAD", "ANY"], ["", "s.test", "*.test"]);
        let paths = ["/", "/**", "/a", "/a/", "/a/**", "/{x}", "/*", "/a/{x}", "/{x}/b", "/a/b", "/*/**"];
        let fields: [&[(&str, Option<&str>)]; 4] =
            [&[], &[("x", Some("1"))], &[("x", None)], &[("y", Some("1"))]];
        let mut rng = Rng::seeded(7);
        let mut routes = Vec::new();
        for _ in 0..300 {
            let key =
                format!("{} {}{}", methods[rng.below(3)], hosts[rng.below(3)], paths[rng.below(paths.len())]);
            routes.push(route(&key, fields[rng.below(4)], fields[rng.below(4)]));
        }
        let yes = |_: &FieldMatch| true;
        let takes = |route: &RoutePlan, path: &str| matches(route, "HEAD", "s.test", path, &yes, &yes);
        let mut decided = 0;
        for path in ["/", "/a", "/a/", "/a/b", "/c", "/c/b", "/a/b/c"] {
            for (index, a) in routes.iter().enumerate() {
                for b in routes[..index].iter().filter(|b| takes(a, path) && takes(b, path)) {
                    let contradict = !compatible(&a.headers, &b.headers) || !compatible(&a.query, &b.query);
                    let mut renamed = b.clone();
                    renamed.key.clone_from(&a.key);
                    let by_rules = precedence(a, &renamed) != Ordering::Equal;
                    assert!(overlap(a, b) || contradict || by_rules, "{} and {} on {path}", a.key, b.key);
                    decided += usize::from(by_rules);
                }
            }
        }
        assert!(decided > 1_000, "{decided} pairs");
    }
}
