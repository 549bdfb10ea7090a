//! Calls: what the context map allows, what the callee publishes, and what is said twice.

use crate::check::{Report, note};
use crate::code::Code;
use crate::derive::allow;
use crate::manifest::RelationPattern;
use crate::model::{Call, ContextId, Model, RelationId, Service};
use crate::pattern::EndpointPattern;
use crate::resolve::list;

pub(super) fn check(model: &Model, report: &mut Report) {
    for (id, caller) in model.ids() {
        for (index, call) in caller.calls.iter().enumerate() {
            if call.callee == id {
                let message = format!("`{}` calls itself", caller.name());
                report.error(Code::CallToItself, call.span, message, "remove the call");
                continue;
            }
            repeated(model, caller, index, report);
            across(model, caller, call, report);
        }
    }
}

/// A call that an earlier or later one covers.
fn repeated(model: &Model, caller: &Service, index: usize, report: &mut Report) {
    let call = &caller.calls[index];
    let covers = |(at, other): &(usize, &Call)| {
        let same = other.callee == call.callee && *at != index;
        let wider = match (&other.endpoint, &call.endpoint) {
            (None, None) => *at < index,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(other), Some(one)) => other.covers(one) && (!one.covers(other) || *at < index),
        };
        same && wider
    };
    if let Some((_, other)) = caller.calls.iter().enumerate().find(covers) {
        let name = model.service(call.callee).name();
        let message = format!("this call of `{name}` is covered by another one");
        let finding = report.error(Code::CallRepeated, call.span, message, "keep one of them");
        note(finding, other.span, "by this one");
    }
}

fn across(model: &Model, caller: &Service, call: &Call, report: &mut Report) {
    let callee = model.service(call.callee);
    if model.contexts.is_empty() {
        return;
    }
    let (from, to) = match (caller.context, callee.context) {
        (Some(from), Some(to)) => (from, to),
        (from, _) => {
            homeless(if from.is_none() { caller } else { callee }, caller, callee, call, report);
            return;
        }
    };
    if from == to {
        return;
    }
    let Some(id) = model.relation(from, to) else {
        missing(model, (caller, from), (callee, to), call, report);
        return;
    };
    let pattern = model.relations[id.0].pattern;
    if let Some((why, remedy)) = forbidden(pattern) {
        let message = format!("`{}` may not call `{}`: {why}", caller.name(), callee.name());
        let finding = report.error(Code::RelationForbids, call.span, message, remedy);
        note(finding, model.relations[id.0].span, "the relation of their contexts");
    } else if pattern == RelationPattern::OpenHost {
        published(model, caller, call, id, report);
    }
}

fn homeless(service: &Service, caller: &Service, callee: &Service, call: &Call, report: &mut Report) {
    let message = format!(
        "`{}` may not call `{}`: `{}` is in no context",
        caller.name(),
        callee.name(),
        service.name()
    );
    let remedy = format!("add `{}` to one of the `contexts`", service.name());
    let finding = report.error(Code::RelationMissing, call.span, message, remedy);
    note(finding, service.said.name.span, "in no context");
}

fn missing(
    model: &Model,
    (caller, from): (&Service, ContextId),
    (callee, to): (&Service, ContextId),
    call: &Call,
    report: &mut Report,
) {
    let (from, to) = (model.context_name(from), model.context_name(to));
    let message = format!(
        "`{}` (context `{from}`) may not call `{}` (context `{to}`): no relation says so",
        caller.name(),
        callee.name()
    );
    let remedy = format!("if it may, add `- {to} > {from}: customer-supplier` to `relations`");
    report.error(Code::RelationMissing, call.span, message, remedy);
}

/// Why a relation allows no call at all, and what to do.
fn forbidden(pattern: RelationPattern) -> Option<(&'static str, &'static str)> {
    match pattern {
        RelationPattern::PublishedLanguage => Some((
            "`published-language` is for events only",
            "listen to its events, or make it `customer-supplier`",
        )),
        RelationPattern::Anticorruption => Some((
            "`anticorruption` denies direct calls, and facades are not built in this version",
            "make it `conformist` until facades are built",
        )),
        RelationPattern::SeparateWays => {
            Some(("their contexts go `separate-ways`", "remove the call, or change the relation"))
        }
        RelationPattern::OpenHost
        | RelationPattern::CustomerSupplier
        | RelationPattern::Conformist
        | RelationPattern::Partnership
        | RelationPattern::SharedKernel => None,
    }
}

/// A call of an open host reaches published operations only.
fn published(model: &Model, caller: &Service, call: &Call, relation: RelationId, report: &mut Report) {
    let callee = model.service(call.callee);
    let Some(api) = callee.api.as_ref().filter(|api| api.marks_published()) else { return };
    let Some(endpoint) = &call.endpoint else { return };
    if allow::endpoints(model, caller, call).is_some_and(|open| !open.is_empty()) {
        return;
    }
    let open: Vec<String> = api
        .operations
        .iter()
        .filter(|operation| operation.published)
        .map(|operation| operation.endpoint.to_string())
        .collect();
    let message = format!("`{endpoint}` of `{}` is not published to other contexts", callee.name());
    let remedy = format!("call one of {}, or mark it `x-published: true`", list(&open));
    let finding = report.error(Code::NotPublished, call.span, message, remedy);
    note(finding, model.relations[relation.0].span, "an open host shows what it publishes, no more");
    let declared = api.operations.iter().find(|operation| covers(&operation.endpoint, endpoint));
    if let Some(operation) = declared {
        note(finding, operation.span, "declared here");
    }
}

fn covers(declared: &EndpointPattern, called: &EndpointPattern) -> bool {
    declared.covers(called) || declared.intersects(called)
}
