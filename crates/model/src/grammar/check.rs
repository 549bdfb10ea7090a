//! A tree of nodes against the table: every key, every shape, every text, all mistakes at once.
//!
//! Each file is checked by itself, before files are merged, so that a mistake is reported where it stands even if an
//! overlay replaces it. What must be there is asked of the merged whole ([`complete`]).

use crate::code::Code;
use crate::finding::{Finding, Span, did_you_mean, excerpt};
use crate::sources::FINDINGS_MAX;
use crate::yaml::{Entry, Kind, Node, Scalar, Text};

use super::lexical::Mistake;
use super::variables::{Environment, fill};
use super::{Fields, Form, Json, Object, Shape, Variables};

/// Checks a file against `object`. In an overlay a null removes what another file said.
pub fn check(node: &Node, object: &'static Object, overlay: bool, environment: &Environment) -> Vec<Finding> {
    let mut checker = Checker { findings: Vec::new(), environment, overlay };
    checker.shape(node, &Shape::object(object), &Place::root());
    checker.findings
}

/// Reports the required keys that are missing in the merged whole.
pub fn complete(node: &Node, object: &'static Object) -> Vec<Finding> {
    let mut findings = Vec::new();
    let start = Span { end: node.span.start, ..node.span };
    require(node, &Shape::object(object), &Place::root(), start, &mut findings);
    findings
}

/// Where the check stands, for messages.
struct Place {
    /// Path of keys, e.g. `services.orders`; empty at the root.
    path: String,
    /// The last key, e.g. `orders`.
    key: String,
    /// Whether it is an item of the list behind that key.
    item: bool,
}

impl Place {
    fn root() -> Self {
        Place { path: String::new(), key: "the manifest".into(), item: false }
    }

    fn below(&self, key: &str) -> Place {
        let key = excerpt(key);
        let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
        Place { path, key: format!("`{key}`"), item: false }
    }

    /// What a value belongs to; nothing where it is an item of a list, for which the key alone would mislead.
    fn subject(&self) -> Option<&str> {
        (!self.item).then_some(self.key.as_str())
    }

    fn name(&self) -> String {
        if self.path.is_empty() { "the manifest".into() } else { format!("`{}`", self.path) }
    }
}

struct Checker<'e> {
    findings: Vec<Finding>,
    environment: &'e Environment,
    overlay: bool,
}

impl Checker<'_> {
    fn shape(&mut self, node: &Node, shape: &Shape, place: &Place) {
        match &node.kind {
            _ if node.is_null() && (self.overlay || shape.list.is_some() || shape.map.is_some()) => {}
            Kind::Scalar(scalar) => match shape.scalar {
                Some(form) => {
                    self.scalar(&Text { scalar: scalar.clone(), span: node.span }, form, place.subject());
                }
                None => self.findings.push(wrong_shape(node, shape, place)),
            },
            Kind::List(items) => match shape.list {
                Some(item) => items.iter().for_each(|node| self.item(node, item, place)),
                None => self.findings.push(wrong_shape(node, shape, place)),
            },
            Kind::Map(entries) => match shape.map {
                Some(Fields::Object(object)) => {
                    entries.iter().for_each(|entry| self.known(entry, object, place));
                }
                Some(Fields::Entries(free)) => {
                    for entry in entries {
                        self.scalar(&entry.key, free.key, None);
                        self.shape(&entry.value, &free.value, &place.below(&entry.key.scalar.text));
                    }
                }
                None => self.findings.push(wrong_shape(node, shape, place)),
            },
        }
    }

    fn item(&mut self, node: &Node, shape: &Shape, place: &Place) {
        if node.is_null() {
            let message = format!("an item of {} is empty", place.key);
            let finding = Finding::error(Code::WrongType, node.span, message);
            self.findings.push(finding.remedy("write a value behind the `-`, or remove the line"));
            return;
        }
        let place = Place { path: place.path.clone(), key: place.key.clone(), item: true };
        self.shape(node, shape, &place);
    }

    fn known(&mut self, entry: &Entry, object: &'static Object, place: &Place) {
        // Looking for what was meant costs; nobody reads that many findings.
        if self.findings.len() > FINDINGS_MAX {
            return;
        }
        let name = entry.key.scalar.text.as_str();
        if let Some(key) = object.key(name) {
            self.shape(&entry.value, &key.shape, &place.below(name));
        } else if let Some(later) = object.later(name) {
            let message = format!("`{name}` ({}) is not supported in this version", later.doc);
            let finding = Finding::error(Code::NotBuilt, entry.key.span, message);
            self.findings.push(
                finding.remedy(format!("remove `{name}`: it is refused so that it is not silently ignored")),
            );
        } else {
            self.findings.push(unknown_key(&entry.key, object, place));
        }
    }

    /// `key` is absent where the text is a key itself, or an item of a list.
    fn scalar(&mut self, text: &Text, form: &'static Form, key: Option<&str>) {
        let value = &text.scalar.text;
        match form.variables {
            Variables::Text => {}
            Variables::Refused if value.contains("${") => {
                let message = format!("`${{…}}` is not filled in here, where {} stands", form.what);
                let finding = Finding::error(Code::BadReference, text.span, message);
                self.findings.push(finding.remedy(
                    "write the value; variables are filled in only in `env` of a service and in `observe.traces`",
                ));
                return;
            }
            Variables::Refused => {}
            Variables::Filled => return self.filled(text, form, key),
        }
        self.read(text, value, form, key);
    }

    fn filled(&mut self, text: &Text, form: &'static Form, key: Option<&str>) {
        match fill(&text.scalar.text, self.environment) {
            // What came from the environment is not quoted in a message: it may be a secret.
            Ok(value) if value != text.scalar.text => {
                if let Err(mistake) = (form.read)(&value) {
                    let message = format!("what is filled in here is not {}", form.what);
                    let remedy = format!("set the variable to {} such as `{}`", form.what, form.example);
                    self.findings.push(Finding::error(mistake.code, text.span, message).remedy(remedy));
                }
            }
            Ok(value) => self.read(text, &value, form, key),
            Err(mistakes) => {
                self.findings.extend(mistakes.into_iter().map(|mistake| not_filled(text, mistake)));
            }
        }
    }

    fn read(&mut self, text: &Text, value: &str, form: &'static Form, key: Option<&str>) {
        let finding = match (form.read)(value) {
            Err(mistake) => Some(not_of_form(text, form, key, mistake)),
            Ok(()) => wrong_type(&text.scalar, form).map(|(is, remedy)| {
                let message = match key {
                    Some(key) => format!("{key} must be {}, and {is}", form.what),
                    None => format!("{} must stand here, and {is}", form.what),
                };
                Finding::error(Code::WrongType, text.span, message).remedy(remedy)
            }),
        };
        self.findings.extend(finding);
    }
}

fn not_filled(text: &Text, mistake: Mistake) -> Finding {
    let (start, end) = mistake.part.unwrap_or((0, text.scalar.text.len()));
    let written = excerpt(text.scalar.text.get(start..end).unwrap_or(""));
    let message = match mistake.code {
        Code::NotBuilt => format!("`{written}` is not supported in this version"),
        _ => format!("`{written}` cannot be filled in"),
    };
    Finding::error(mistake.code, text.part(start, end), message).remedy(mistake.why)
}

fn not_of_form(text: &Text, form: &Form, key: Option<&str>, mistake: Mistake) -> Finding {
    let span = mistake.part.map_or(text.span, |(start, end)| text.part(start, end));
    let value = excerpt(&text.scalar.text);
    let null = text.scalar.is_null();
    let part = mistake.part.and_then(|(start, end)| text.scalar.text.get(start..end));
    let message = match (mistake.code, key) {
        (Code::NeedsShell, Some(key)) => {
            format!("{key} is run without a shell, and `{}` needs one", excerpt(part.unwrap_or(&value)))
        }
        (Code::NotBuilt, Some(key)) => format!("{key}: `{value}` is not supported in this version"),
        (Code::NotBuilt, None) => format!("`{value}` is not supported in this version"),
        (_, Some(key)) if null => format!("{key} has no value, and must be {}", form.what),
        (Code::OutOfRange, Some(key)) => format!("{key} is out of range: `{value}`"),
        (_, Some(key)) if value.is_empty() => format!("{key} must be {}, and is empty", form.what),
        (_, Some(key)) => format!("{key} must be {}, and `{value}` is not", form.what),
        (_, None) => format!("`{value}` is not {}", form.what),
    };
    let remedy = if null { format!("write for example `{}`", form.example) } else { mistake.why };
    Finding::error(mistake.code, span, message).remedy(remedy)
}

/// A text of the right form and the wrong type: `"7001"` for a port, `true` for a command.
fn wrong_type(scalar: &Scalar, form: &Form) -> Option<(String, String)> {
    let value = excerpt(&scalar.text);
    match form.json {
        Json::Integer(..) | Json::Numbers(_) | Json::Boolean | Json::True if !scalar.plain => {
            Some((format!("`\"{value}\"` is text"), format!("write it without quotes: `{value}`")))
        }
        Json::Anything if scalar.is_null() => {
            Some(("nothing stands here".into(), "write `\"\"` for an empty text".into()))
        }
        Json::Pattern(_) | Json::Words(_) => scalar
            .other_type()
            .map(|other| (format!("`{value}` is {other}"), format!("put it in quotes: `\"{value}\"`"))),
        _ => None,
    }
}

fn wrong_shape(node: &Node, shape: &Shape, place: &Place) -> Finding {
    let is = match &node.kind {
        Kind::Scalar(scalar) if scalar.text.is_empty() => "this is empty".to_owned(),
        Kind::Scalar(scalar) => format!("`{}` is text", excerpt(&scalar.text)),
        Kind::List(_) => "this is a list".to_owned(),
        Kind::Map(_) => "this is a map".to_owned(),
    };
    let message = match place.subject() {
        Some(key) => format!("{key} must be {}, and {is}", shape.describe()),
        None => format!("an item of {} must be {}, and {is}", place.key, shape.describe()),
    };
    let finding = Finding::error(Code::WrongType, node.span, message);
    match &node.kind {
        Kind::Scalar(scalar) if shape.map.is_some() && !scalar.plain && scalar.text.contains(": ") => finding
            .remedy(format!(
                "the quotes make it a text: write `{}` without them",
                excerpt(scalar.text.trim())
            )),
        Kind::Scalar(scalar) if shape.map.is_some() && scalar.text.contains(':') => {
            finding.remedy("a space is missing behind the colon: write `key: value`")
        }
        Kind::Scalar(scalar) if shape.list.is_some() => {
            finding.remedy(format!("write a list: `[{}]`", excerpt(&scalar.text)))
        }
        _ => match shape_example(shape) {
            Some(example) => finding.remedy(format!("write for example `{example}`")),
            None => finding,
        },
    }
}

fn shape_example(shape: &Shape) -> Option<String> {
    let quoted = |form: &Form| {
        if form.example.contains(['{', ':']) {
            format!("\"{}\"", form.example)
        } else {
            form.example.to_owned()
        }
    };
    if let Some(item) = shape.list {
        return shape_example(item).map(|item| format!("[{item}]"));
    }
    if let Some(form) = shape.scalar {
        return Some(quoted(form));
    }
    match shape.map? {
        Fields::Object(object) => {
            let said = |key: &super::Key| (!key.example.is_empty()).then(|| key.example.to_owned());
            let made = || object.keys.iter().find_map(|key| Some((key.name, shape_example(&key.shape)?)));
            let of_key = object.keys.iter().find_map(|key| Some((key.name, said(key)?)));
            of_key.or_else(made).map(|(name, example)| format!("{{ {name}: {example} }}"))
        }
        Fields::Entries(entries) => {
            let value = shape_example(&entries.value)?;
            Some(format!("{{ {}: {value} }}", quoted(entries.key)))
        }
    }
}

fn unknown_key(key: &Text, object: &'static Object, place: &Place) -> Finding {
    let name = &key.scalar.text;
    let shown = excerpt(name);
    let message = format!("`{shown}` is not a key of {}", place.name());
    let finding = Finding::error(Code::UnknownKey, key.span, message);
    let known = object.keys.iter().map(|key| key.name);
    let all = known.clone().chain(object.later.iter().map(|later| later.name));
    if let Some(near) = did_you_mean(name, all) {
        return finding.remedy(format!("did you mean `{near}`?"));
    }
    let elsewhere: Vec<&str> = super::objects()
        .into_iter()
        .filter(|other| other.key(name).is_some() && !std::ptr::eq(*other, object))
        .map(|other| other.path)
        .collect();
    if !elsewhere.is_empty() && elsewhere.len() <= 2 {
        return finding.remedy(format!("`{shown}` is a key of `{}`", elsewhere.join("` and of `")));
    }
    finding.remedy(format!("the keys here are {}", known.collect::<Vec<_>>().join(", ")))
}

fn require(node: &Node, shape: &Shape, place: &Place, at: Span, findings: &mut Vec<Finding>) {
    match (&node.kind, shape.map) {
        (Kind::List(items), _) => {
            if let Some(item) = shape.list {
                items.iter().for_each(|node| require(node, item, place, node.span, findings));
            }
        }
        (Kind::Map(entries), Some(Fields::Entries(free))) => {
            for entry in entries {
                let place = place.below(&entry.key.scalar.text);
                require(&entry.value, &free.value, &place, entry.key.span, findings);
            }
        }
        (_, Some(Fields::Object(object))) if shape.scalar.is_none() || !node.entries().is_empty() => {
            for key in object.keys {
                match node.entries().iter().find(|entry| entry.key.scalar.text == key.name) {
                    Some(entry) => {
                        require(&entry.value, &key.shape, &place.below(key.name), entry.key.span, findings);
                    }
                    None if key.required && !misspelt(node, object, key.name) => {
                        findings.push(missing(key, place, at));
                    }
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// Whether an unknown key stands there that was meant to be `name`: then one finding says it.
fn misspelt(node: &Node, object: &Object, name: &str) -> bool {
    node.entries().iter().any(|entry| {
        let said = entry.key.scalar.text.as_str();
        object.key(said).is_none() && did_you_mean(said, [name]).is_some()
    })
}

fn missing(key: &super::Key, place: &Place, at: Span) -> Finding {
    let message = format!("{} has no `{}`", place.name(), key.name);
    let remedy = match key.example {
        "" => format!("add `{}`", key.name),
        example => format!("add for example `{}: {example}`", key.name),
    };
    Finding::error(Code::MissingKey, at, message).remedy(remedy)
}
