//! The merged tree → the typed [`Manifest`].
//!
//! What a single value may be, the table has checked: a value that is not right is absent here and has its finding
//! already. What is reported here are contradictions between values of one map: keys that exclude each other, shares that
//! do not add up, cross-origin rules that no browser accepts.

mod gateway;
mod recovery;

use crate::code::Code;
use crate::finding::{Finding, Spanned};
use crate::grammar::lexical::{self, Read};
use crate::grammar::variables::{Environment, fill};
use crate::manifest::{
    Callee, Context, Downstream, EnvEntry, FieldMatch, Health, HealthProbe, HostPort, Manifest, Relation,
    Service, Version,
};
use crate::yaml::{Entry, Node, Text};

/// Reads the merged tree.
pub(crate) fn read(tree: &Node, environment: &Environment) -> (Manifest, Vec<Finding>) {
    let mut reader = Reader { environment, findings: Vec::new() };
    let manifest = reader.manifest(tree);
    (manifest, reader.findings)
}

struct Reader<'e> {
    environment: &'e Environment,
    findings: Vec<Finding>,
}

/// A value behind a key, unless it is nothing.
fn field<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.get(key).filter(|node| !node.is_null())
}

/// The entries behind a key.
fn entries<'n>(node: &'n Node, key: &str) -> &'n [Entry] {
    field(node, key).map_or(&[], Node::entries)
}

/// A scalar as a value; absent if it is not right, which has been reported.
fn value<T>(node: &Node, read: impl FnOnce(&str) -> Read<T>) -> Option<Spanned<T>> {
    let scalar = node.scalar()?;
    read(&scalar.text).ok().map(|value| Spanned::new(value, node.span))
}

/// The scalar behind a key as a value.
fn scalar<T>(node: &Node, key: &str, read: impl FnOnce(&str) -> Read<T>) -> Option<Spanned<T>> {
    value(field(node, key)?, read)
}

/// The scalars of a list behind a key.
fn list<T>(node: &Node, key: &str, read: impl Fn(&str) -> Read<T>) -> Vec<Spanned<T>> {
    let items = field(node, key).map_or(&[][..], Node::items);
    items.iter().filter_map(|item| value(item, &read)).collect()
}

/// A key as a value.
fn name<T>(key: &Text, read: impl FnOnce(&str) -> Read<T>) -> Option<Spanned<T>> {
    read(&key.scalar.text).ok().map(|value| Spanned::new(value, key.span))
}

/// A number that fits into 32 bits.
fn number(min: u64, max: u64) -> impl Fn(&str) -> Read<u32> {
    move |text| lexical::integer(text, min, max).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

fn port(text: &str) -> Read<u16> {
    lexical::integer(text, 1, 65_535).map(|value| u16::try_from(value).unwrap_or(u16::MAX))
}

fn status(text: &str) -> Read<u16> {
    lexical::status(text)
}

/// `service METHOD /path`, with the places of its parts.
fn callee(text: &Text) -> Option<Callee> {
    let read = lexical::callee(&text.scalar.text).ok()?;
    let service = Spanned::new(read.service.clone(), text.part(0, read.service.len()));
    let end = text.scalar.text.trim_end().len();
    let endpoint = read.endpoint.map(|(endpoint, start)| Spanned::new(endpoint, text.part(start, end)));
    Some(Callee { span: text.span, service, endpoint })
}

fn callee_node(node: &Node) -> Option<Callee> {
    callee(&node.text()?)
}

/// `name: value`, where `*` stands for any value.
fn field_match(entry: &Entry, read: impl FnOnce(&str) -> Read<String>) -> Option<FieldMatch> {
    let name = name(&entry.key, read)?;
    let value = value(&entry.value, lexical::free_text)?.map(|text| (text != "*").then_some(text));
    Some(FieldMatch { name, value })
}

impl Reader<'_> {
    fn error(&mut self, code: Code, span: crate::finding::Span, message: impl Into<String>, remedy: &str) {
        self.findings.push(Finding::error(code, span, message).remedy(remedy));
    }

    fn manifest(&mut self, tree: &Node) -> Manifest {
        let mut manifest = Manifest {
            span: crate::finding::Span { end: tree.span.start, ..tree.span },
            system: scalar(tree, "system", lexical::name),
            contexts: entries(tree, "contexts").iter().filter_map(context).collect(),
            external: list(tree, "external", lexical::host_port),
            trust_domain: field(tree, "trust")
                .and_then(|trust| scalar(trust, "domain", lexical::trust_domain)),
            ..Manifest::default()
        };
        let relations = field(tree, "relations").map_or(&[][..], Node::items);
        manifest.relations = relations.iter().flat_map(Node::entries).filter_map(relation).collect();
        manifest.services =
            entries(tree, "services").iter().filter_map(|entry| self.service(entry)).collect();
        manifest.gateway = tree
            .entries()
            .iter()
            .find(|entry| entry.key.scalar.text == "gateway")
            .and_then(|entry| self.gateway(entry));
        manifest.resilience =
            entries(tree, "resilience").iter().filter_map(|entry| self.resilience(entry)).collect();
        manifest.rollout = entries(tree, "rollout").iter().filter_map(|entry| self.rollout(entry)).collect();
        if let Some(node) = field(tree, "observe") {
            manifest.observe = self.observe(node);
        }
        manifest
    }

    fn service(&mut self, entry: &Entry) -> Option<Service> {
        let node = &entry.value;
        let calls = field(node, "calls").map_or(&[][..], Node::items);
        Some(Service {
            name: name(&entry.key, lexical::name)?,
            // As it is written: a command that is refused is still one, and one finding says what is wrong with it.
            run: scalar(node, "run", lexical::text),
            build: scalar(node, "build", lexical::text),
            url: scalar(node, "url", lexical::service_url),
            has_place: ["run", "url"].iter().any(|key| field(node, key).is_some()),
            port: scalar(node, "port", port),
            protocol: scalar(node, "protocol", lexical::protocol),
            api: scalar(node, "api", lexical::file),
            calls: calls.iter().filter_map(callee_node).collect(),
            replicas: scalar(node, "replicas", number(0, 100)),
            env: self.env(node),
            cwd: scalar(node, "cwd", lexical::file),
            health: field(node, "health").map(|health| self.health(health)),
            external: list::<HostPort>(node, "external", lexical::host_port),
            versions: entries(node, "versions").iter().filter_map(|entry| self.version(entry)).collect(),
        })
    }

    fn version(&mut self, entry: &Entry) -> Option<Version> {
        let node = &entry.value;
        Some(Version {
            name: name(&entry.key, lexical::name)?,
            run: scalar(node, "run", lexical::text),
            build: scalar(node, "build", lexical::text),
            env: self.env(node),
            cwd: scalar(node, "cwd", lexical::file),
            port: scalar(node, "port", port),
            replicas: scalar(node, "replicas", number(0, 100)),
        })
    }

    fn env(&mut self, node: &Node) -> Vec<EnvEntry> {
        entries(node, "env").iter().filter_map(|entry| self.env_entry(entry)).collect()
    }

    fn env_entry(&mut self, entry: &Entry) -> Option<EnvEntry> {
        let name = name(&entry.key, lexical::variable)?;
        let written = value(&entry.value, lexical::free_text)?;
        let filled = fill(&written.value, self.environment).ok()?;
        let secret = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY"];
        let upper = name.to_ascii_uppercase();
        // `TOKEN_URL` and `SECRET_FILE` say where it is, not what it is.
        if secret.iter().any(|word| upper.ends_with(word)) && !written.is_empty() && !written.contains("${") {
            let message =
                format!("`{}` looks like a secret, and its value stands in the manifest", name.value);
            let remedy = format!("set it in the environment of weft and write \"${{{}}}\"", name.value);
            self.findings.push(Finding::warning(Code::SecretInPlainText, name.span, message).remedy(remedy));
        }
        Some(EnvEntry { name, value: Spanned::new(filled, written.span), written: written.value })
    }

    fn health(&mut self, node: &Node) -> Health {
        if node.scalar().is_some() {
            return Health { probe: value(node, lexical::health), interval: None, timeout: None };
        }
        let path = scalar(node, "path", lexical::http_path).map(|path| path.map(HealthProbe::Path));
        let grpc = scalar(node, "grpc", lexical::only_true).map(|said| said.map(|()| HealthProbe::Grpc));
        let tcp = scalar(node, "tcp", lexical::only_true).map(|said| said.map(|()| HealthProbe::Tcp));
        self.one_of(node, &["path", "grpc", "tcp"]);
        Health {
            probe: path.or(grpc).or(tcp),
            interval: scalar(node, "interval", lexical::duration),
            timeout: scalar(node, "timeout", lexical::duration),
        }
    }

    /// Reports keys beyond the first of those of which one may be said. Returns how many are there.
    fn one_of(&mut self, node: &Node, keys: &[&str]) -> usize {
        let said: Vec<&Entry> = node
            .entries()
            .iter()
            .filter(|entry| keys.contains(&entry.key.scalar.text.as_str()) && !entry.value.is_null())
            .collect();
        for entry in said.iter().skip(1) {
            let (first, second) = (&said[0].key, &entry.key);
            let message = format!("`{}` and `{}` exclude each other", first.scalar.text, second.scalar.text);
            let finding = Finding::error(Code::KeysExclude, second.span, message);
            self.findings.push(finding.remedy("keep one of them").note(first.span, "the other is said here"));
        }
        said.len()
    }

    /// Reports keys that say nothing beside another one.
    fn useless(&mut self, node: &Node, keys: &[&str], beside: &str) {
        for entry in node.entries() {
            let key = entry.key.scalar.text.as_str();
            if keys.contains(&key) && !entry.value.is_null() {
                let message = format!("`{key}` does nothing beside {beside}");
                self.error(Code::KeysExclude, entry.key.span, message, &format!("remove `{key}`"));
            }
        }
    }
}

fn context(entry: &Entry) -> Option<Context> {
    let services = entry.value.items().iter().filter_map(|item| value(item, lexical::name)).collect();
    Some(Context { name: name(&entry.key, lexical::context_name)?, services })
}

/// `upstream > downstream: pattern`
fn relation(entry: &Entry) -> Option<Relation> {
    let key = &entry.key;
    let text = &key.scalar.text;
    let (upstream, downstream, second) = lexical::relation(text).ok()?;
    let pattern = value(&entry.value, lexical::relation_pattern)?;
    let second = key.part(second, text.trim_end().len());
    let first = text.len() - text.trim_start().len();
    let upstream_span = key.part(first, first + upstream.len());
    let end = entry.value.span.end.max(key.span.end);
    let span = if entry.value.span.file == key.span.file {
        crate::finding::Span { end, ..key.span }
    } else {
        key.span
    };
    Some(Relation {
        span,
        upstream: Spanned::new(upstream, upstream_span),
        downstream: Spanned::<Downstream>::new(downstream, second),
        pattern,
    })
}
