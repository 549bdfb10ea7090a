//! Synchronous cycles: services that wait for each other in a circle. Only partners may: they are changed together.
//!
//! A circle is allowed if it crosses contexts, and wherever it crosses them, they are partners.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::check::{Report, note};
use crate::code::Code;
use crate::finding::Span;
use crate::manifest::RelationPattern;
use crate::model::{Model, ServiceId};

/// How a call stands to the context map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Inside one context, or without contexts.
    Inside,
    /// Between partners.
    Partners,
    /// Between others.
    Across,
}

/// Most circles that are shown at once.
const CIRCLES_MAX: usize = 50;

type Edges = BTreeMap<ServiceId, BTreeMap<ServiceId, (Span, Step)>>;

pub(super) fn check(model: &Model, report: &mut Report) {
    let mut edges = edges(model);
    strip(&mut edges);
    let no_partners = |step: Step| step != Step::Partners;
    // One circle is shown for services that are in several: the work stays small, and mending the first shows the next.
    let mut shown: Vec<BTreeSet<ServiceId>> = Vec::new();
    for (from, callees) in &edges {
        for (to, (_, step)) in callees {
            if shown.len() == CIRCLES_MAX {
                return;
            }
            if shown.iter().any(|circle| circle.contains(from) && circle.contains(to)) {
                continue;
            }
            // A circle without partners, or one that also crosses contexts that are no partners.
            let back = match step {
                Step::Partners => None,
                Step::Inside => path(&edges, *to, *from, &no_partners),
                Step::Across => path(&edges, *to, *from, &|_| true),
            };
            let Some(circle) = back else { continue };
            shown.push(circle.iter().copied().collect());
            refuse(model, &edges, *from, &circle, report);
        }
    }
}

fn edges(model: &Model) -> Edges {
    let mut edges = Edges::new();
    for (id, service) in model.ids() {
        for call in service.calls.iter().filter(|call| call.callee != id) {
            let step = match (service.context, model.service(call.callee).context) {
                (Some(from), Some(to)) if from != to => match model.relation(from, to) {
                    Some(relation) if model.relations[relation.0].pattern == RelationPattern::Partnership => {
                        Step::Partners
                    }
                    _ => Step::Across,
                },
                _ => Step::Inside,
            };
            edges.entry(id).or_default().entry(call.callee).or_insert((call.span, step));
        }
    }
    edges
}

/// Takes away services from which no circle is reached, the last callees first. Nothing is left of a system without
/// circles, so that a large one costs little.
fn strip(edges: &mut Edges) {
    let mut callers: BTreeMap<ServiceId, Vec<ServiceId>> = BTreeMap::new();
    for (caller, callees) in edges.iter() {
        for callee in callees.keys() {
            callers.entry(*callee).or_default().push(*caller);
        }
    }
    let mut ends: Vec<ServiceId> = callers.keys().filter(|id| !edges.contains_key(id)).copied().collect();
    while let Some(end) = ends.pop() {
        for caller in callers.get(&end).into_iter().flatten() {
            let Some(callees) = edges.get_mut(caller) else { continue };
            callees.remove(&end);
            if callees.is_empty() {
                edges.remove(caller);
                ends.push(*caller);
            }
        }
    }
}

/// The shortest way from one service to another over allowed steps, both ends included.
fn path(
    edges: &Edges,
    from: ServiceId,
    to: ServiceId,
    allowed: &dyn Fn(Step) -> bool,
) -> Option<Vec<ServiceId>> {
    let mut came: BTreeMap<ServiceId, ServiceId> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way = vec![to];
            while let Some(before) = came.get(way.last()?).filter(|_| way.last() != Some(&from)) {
                way.push(*before);
            }
            way.reverse();
            return Some(way);
        }
        for (callee, (_, step)) in edges.get(&at).into_iter().flatten() {
            if allowed(*step) && *callee != from && !came.contains_key(callee) {
                came.insert(*callee, at);
                next.push_back(*callee);
            }
        }
    }
    None
}

/// `circle` leads from the callee back to `start`.
fn refuse(model: &Model, edges: &Edges, start: ServiceId, circle: &[ServiceId], report: &mut Report) {
    let around: Vec<ServiceId> = std::iter::once(start).chain(circle.iter().copied()).collect();
    let names: Vec<String> = around.iter().map(|id| format!("`{}`", model.service(*id).name())).collect();
    let mut spans = around.windows(2).filter_map(|pair| {
        edges.get(&pair[0]).and_then(|callees| callees.get(&pair[1])).map(|(span, _)| *span)
    });
    let Some(first) = spans.next() else { return };
    let message = format!("a synchronous cycle outside a partnership: {}", names.join(" → "));
    let remedy =
        "turn one of the calls round, or make it a `partnership` of two contexts that are released together";
    let finding = report.error(Code::SynchronousCycle, first, message, remedy);
    for span in spans {
        note(finding, span, "then this call");
    }
}
