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
