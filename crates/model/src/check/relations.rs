//! The context map by itself: no two relations about the same pair, none that means nothing.

use std::collections::BTreeMap;

use crate::check::{Report, note};
use crate::code::Code;
use crate::model::{ContextId, Model, Relation, RelationId};

pub(super) fn check(model: &Model, report: &mut Report) {
    let mut directed: BTreeMap<(ContextId, Option<ContextId>), RelationId> = BTreeMap::new();
    for (index, relation) in model.relations.iter().enumerate() {
        let id = RelationId(index);
        alone(model, relation, report);
        let pair = (relation.upstream, relation.downstream);
        if let Some(first) = directed.get(&pair) {
            repeated(model, *first, id, report);
            continue;
        }
        if let Some(downstream) = relation.downstream
            && let Some(first) = directed.get(&(downstream, Some(relation.upstream)))
            && (relation.pattern.is_mutual() || model.relations[first.0].pattern.is_mutual())
        {
            repeated(model, *first, id, report);
        }
        directed.insert(pair, id);
    }
}

fn alone(model: &Model, relation: &Relation, report: &mut Report) {
    let name = model.context_name(relation.upstream);
    if relation.downstream == Some(relation.upstream) {
        let message = format!("context `{name}` is related to itself");
        report.error(
            Code::RelationToItself,
            relation.span,
            message,
            "remove it: inside a context, services may call each other",
        );
    }
    if relation.downstream.is_none() && !relation.pattern.allows_any() {
        let pattern = relation.pattern.as_str();
        let message = format!("`{pattern}` is agreed with one context, not with any");
        report.error(
            Code::RelationNeedsContext,
            relation.span,
            message,
            "name the context, or use `open-host`",
        );
    }
}

fn repeated(model: &Model, first: RelationId, second: RelationId, report: &mut Report) {
    let (one, other) = (&model.relations[first.0], &model.relations[second.0]);
    let same = one.pattern == other.pattern;
    let message = if same {
        format!("`{}` says again what was said", model.show_relation(second))
    } else {
        format!("`{}` contradicts `{}`", model.show_relation(second), model.show_relation(first))
    };
    let finding = report.error(Code::RelationRepeated, other.span, message, "keep one of them");
    note(finding, one.span, "the first");
}
