//! "A team's file speaks only for its own contexts": what that means, key by key.
//!
//! The file declares contexts. Its services belong to them; its relations have one of them on a side; `resilience` and
//! `rollout` name its services; `gateway` has only `routes`, which lead to its services. The rest is the main file's.

use crate::code::Code;
use crate::finding::{Finding, Span, did_you_mean, excerpt};
use crate::grammar::{MANIFEST, TEAM_KEYS, lexical};
use crate::manifest::Downstream;
use crate::yaml::{Entry, Node, Text};

/// Reports everything in an included file that it may not say.
pub(super) fn check(tree: &Node, start: Span, findings: &mut Vec<Finding>) {
    let mut check = Check { own: Own::new(tree), findings };
    if check.own.contexts.is_empty() {
        let message = "an included file declares the contexts that it speaks for, and this one declares none";
        let remedy = "add `contexts: { NAME: [SERVICE, …] }` with the services of this file";
        check.findings.push(Finding::error(Code::IncludeForeign, start, message).remedy(remedy));
    }
    tree.entries().iter().for_each(|entry| check.root(entry));
}

/// What the file speaks for.
struct Own {
    contexts: Vec<String>,
    services: Vec<String>,
}

impl Own {
    fn new(tree: &Node) -> Self {
        let contexts = tree.get("contexts").map_or(&[][..], Node::entries);
        let scalar = |node: &Node| node.scalar().map(|scalar| scalar.text.clone());
        Own {
            contexts: contexts.iter().map(|entry| entry.key.scalar.text.clone()).collect(),
            services: contexts.iter().flat_map(|entry| entry.value.items()).filter_map(scalar).collect(),
        }
    }
}

struct Check<'f> {
    own: Own,
    findings: &'f mut Vec<Finding>,
}

impl Check<'_> {
    fn root(&mut self, entry: &Entry) {
        match entry.key.scalar.text.as_str() {
            // Unknown keys have been reported by the table.
            name if !TEAM_KEYS.contains(&name) && MANIFEST.key(name).is_some() => {
                let message = format!("`{name}` is said in the main file only");
                let remedy = format!("move `{name}` to the main file");
                self.refuse(entry.key.span, message, remedy);
            }
            "services" | "resilience" | "rollout" => {
                entry.value.entries().iter().for_each(|entry| self.service(&entry.key));
            }
            "relations" => {
                entry
                    .value
                    .items()
                    .iter()
                    .flat_map(Node::entries)
                    .for_each(|entry| self.relation(&entry.key));
            }
            "gateway" => entry.value.entries().iter().for_each(|entry| self.gateway(entry)),
            _ => {}
        }
    }

    fn refuse(&mut self, span: Span, message: String, remedy: String) {
        self.findings.push(Finding::error(Code::IncludeForeign, span, message).remedy(remedy));
    }

    fn service(&mut self, name: &Text) {
        let text = &name.scalar.text;
        if lexical::name(text).is_err() || self.own.services.contains(text) {
            return;
        }
        let message = format!("`{}` belongs to no context of this file", excerpt(text));
        let remedy = match did_you_mean(text, self.own.services.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match self.own.contexts.first() {
                Some(context) => format!(
                    "add it to a context here (`{context}: [{}, …]`), or say this in the file that owns it",
                    excerpt(text)
                ),
                None => "declare its context here, or say this in the file that owns it".to_owned(),
            },
        };
        self.refuse(name.span, message, remedy);
    }

    fn relation(&mut self, key: &Text) {
        let Ok((upstream, downstream, _)) = lexical::relation(&key.scalar.text) else { return };
        let own = |name: &String| self.own.contexts.contains(name);
        if own(&upstream) || matches!(&downstream, Downstream::Context(name) if own(name)) {
            return;
        }
        let message = "none of the two contexts is declared in this file".to_owned();
        self.refuse(
            key.span,
            message,
            "say it in the file of one of the two, or in the main file".to_owned(),
        );
    }

    fn gateway(&mut self, entry: &Entry) {
        let name = &entry.key.scalar.text;
        if name != "routes" {
            if MANIFEST.key("gateway").is_some() {
                let message = format!("`gateway.{}` is said in the main file only", excerpt(name));
                self.refuse(
                    entry.key.span,
                    message,
                    format!("move `{}` to `gateway` in the main file", excerpt(name)),
                );
            }
            return;
        }
        for route in entry.value.entries() {
            self.target(&route.value);
            for key in ["to", "mirror"] {
                route.value.get(key).into_iter().for_each(|node| self.target(node));
            }
            let to = route.value.get("to").map_or(&[][..], Node::entries);
            to.iter().for_each(|entry| self.endpoint(&entry.key));
            if let Some(mirror) = route.value.get("mirror").and_then(|mirror| mirror.get("to")) {
                self.target(mirror);
            }
        }
    }

    fn target(&mut self, node: &Node) {
        if let Some(text) = node.text() {
            self.endpoint(&text);
        }
    }

    /// The service in front of an endpoint.
    fn endpoint(&mut self, text: &Text) {
        let mut name = text.clone();
        let length = text.scalar.text.find(' ').unwrap_or(text.scalar.text.len());
        name.span = text.part(0, length);
        name.scalar.text.truncate(length);
        self.service(&name);
    }
}
