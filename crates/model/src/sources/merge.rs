//! Several trees into one. What a file said keeps the place of that file.

use crate::code::Code;
use crate::finding::{Finding, did_you_mean, excerpt};
use crate::grammar::{Fields, Shape};
use crate::yaml::{Entry, Kind, Node, Scalar, Text};

/// Adds a team's file: maps are united, lists are joined; what two files say is a finding.
pub(super) fn team(main: &mut Node, team: Node, findings: &mut Vec<Finding>) {
    let Kind::Map(entries) = team.kind else { return };
    for entry in entries {
        match entry.key.scalar.text.as_str() {
            "contexts" | "services" | "resilience" | "rollout" | "relations" => join(main, entry, findings),
            "gateway" => routes(main, entry, findings),
            // Everything else was refused, or has been followed (`include`).
            _ => {}
        }
    }
}

/// Merges an overlay: map into map, null removes, everything else is replaced. A short form under a map is the long form
/// that it stands for.
///
/// A name that is to be removed and is not there, such as that of a service, is a warning: a slip of the pen would leave
/// in force what is meant to be gone.
pub(super) fn overlay(base: &mut Node, over: Node, shape: Option<&Shape>, findings: &mut Vec<Finding>) {
    if let (Kind::Map(_), Some(key)) = (&over.kind, shape.and_then(short)) {
        lengthen(base, key);
    }
    match (&mut base.kind, over.kind) {
        (Kind::Map(base), Kind::Map(over)) => {
            over.into_iter().for_each(|entry| overlay_entry(base, entry, shape, findings));
        }
        (_, kind) => *base = Node { span: over.span, kind },
    }
}

fn overlay_entry(base: &mut Vec<Entry>, entry: Entry, shape: Option<&Shape>, findings: &mut Vec<Finding>) {
    let found = base.iter().position(|known| known.key.scalar.text == entry.key.scalar.text);
    let below = shape.and_then(|shape| shape.below(&entry.key.scalar.text));
    match found {
        Some(at) if entry.value.is_null() => drop(base.remove(at)),
        Some(at) if matches!(entry.value.kind, Kind::Map(_)) => {
            overlay(&mut base[at].value, entry.value, below, findings);
        }
        Some(at) => base[at] = entry,
        None if entry.value.is_null() => {
            if let Some(Fields::Entries(_)) = shape.and_then(|shape| shape.map) {
                findings.push(removes_nothing(&entry.key, base));
            }
        }
        None => base.push(without_nulls(entry)),
    }
}

fn removes_nothing(key: &Text, base: &[Entry]) -> Finding {
    let name = &key.scalar.text;
    let message = format!("`{}` is removed here, and is not there", excerpt(name));
    let finding = Finding::warning(Code::NotReachable, key.span, message);
    match did_you_mean(name, base.iter().map(|entry| entry.key.scalar.text.as_str())) {
        Some(near) => finding.remedy(format!("did you mean `{near}`?")),
        None => finding.remedy("remove the line, or correct the name"),
    }
}

/// The key that a scalar at this place stands for.
fn short(shape: &Shape) -> Option<&'static str> {
    match shape.map? {
        Fields::Object(object) => object.short,
        Fields::Entries(_) => None,
    }
}

/// `orders` → `{ to: orders }`
fn lengthen(node: &mut Node, key: &str) {
    if node.is_null() || node.scalar().is_none() {
        return;
    }
    let scalar = Scalar { text: key.to_owned(), plain: true, verbatim: None };
    let value = Node { span: node.span, kind: std::mem::replace(&mut node.kind, Kind::List(Vec::new())) };
    node.kind = Kind::Map(vec![Entry { key: Text { scalar, span: node.span }, value }]);
}

/// A null that removes nothing says nothing.
fn without_nulls(mut entry: Entry) -> Entry {
    if let Kind::Map(entries) = &mut entry.value.kind {
        let kept = std::mem::take(entries).into_iter().filter(|entry| !entry.value.is_null());
        *entries = kept.map(without_nulls).collect();
    }
    entry
}

/// Adds a team's map or list to the one of the same key.
fn join(main: &mut Node, entry: Entry, findings: &mut Vec<Finding>) {
    let Kind::Map(known) = &mut main.kind else { return };
    match known.iter_mut().find(|other| other.key.scalar.text == entry.key.scalar.text) {
        None => known.push(entry),
        Some(other) => match (&mut other.value.kind, entry.value.kind) {
            (Kind::Map(into), Kind::Map(from)) => {
                from.into_iter().for_each(|entry| add(into, entry, findings));
            }
            (Kind::List(into), Kind::List(from)) => into.extend(from),
            (Kind::Scalar(scalar), kind) if scalar.is_null() => {
                other.value = Node { span: entry.value.span, kind };
            }
            // A wrong shape has been reported.
            _ => {}
        },
    }
}

fn add(into: &mut Vec<Entry>, entry: Entry, findings: &mut Vec<Finding>) {
    let name = &entry.key.scalar.text;
    match into.iter().find(|known| known.key.scalar.text == *name) {
        None => into.push(entry),
        Some(first) => {
            let message = format!("`{}` is said in two files", excerpt(name));
            let finding = Finding::error(Code::SaidTwice, entry.key.span, message).label("again here");
            findings.push(
                finding.remedy("keep it in the file that owns it").note(first.key.span, "first said here"),
            );
        }
    }
}

/// A team's `gateway` has only routes; the edge itself belongs to the main file.
fn routes(main: &mut Node, entry: Entry, findings: &mut Vec<Finding>) {
    let Kind::Map(known) = &mut main.kind else { return };
    let Some(gateway) = known.iter_mut().find(|other| other.key.scalar.text == "gateway") else {
        let message = "routes need a gateway, and the main file has none";
        let finding = Finding::error(Code::IncludeForeign, entry.key.span, message);
        findings.push(
            finding.remedy("add `gateway: { listen: \"127.0.0.1:8080\", auth: none }` to the main file"),
        );
        return;
    };
    let Kind::Map(entries) = entry.value.kind else { return };
    for entry in entries.into_iter().filter(|entry| entry.key.scalar.text == "routes") {
        join(&mut gateway.value, entry, findings);
    }
}
