//! What a manifest may say: one table of every key, from which the check of shapes, the JSON Schema and the reference
//! page come, so that none of the three can know a key that another does not.
//!
//! A key of the manifest's design that this version does not build is in the table too ([`Later`]): it is refused by
//! name. Any other key is unknown. Three shapes make up everything: a scalar (its [`Form`] says which texts), a list, a
//! map (an [`Object`] with known keys, or entries with free keys); a place may take several of them, short and long.

pub mod check;
pub mod lexical;
mod reference;
mod schema;
mod table;
pub mod variables;

pub use reference::reference;
pub use schema::schema;
pub use table::{MANIFEST, TEAM_KEYS};

use lexical::Mistake;

/// What stands at a place: any of the three that are there.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// One text, number or boolean.
    pub scalar: Option<&'static Form>,
    /// A list of such things.
    pub list: Option<&'static Shape>,
    /// A map.
    pub map: Option<Fields>,
}

/// Which maps.
#[derive(Debug, Clone, Copy)]
pub enum Fields {
    /// Known keys.
    Object(&'static Object),
    /// Free keys.
    Entries(&'static Entries),
}

/// A map with free keys.
#[derive(Debug)]
pub struct Entries {
    /// What a key is.
    pub key: &'static Form,
    /// What stands behind each.
    pub value: Shape,
}

/// A map with known keys.
#[derive(Debug)]
pub struct Object {
    /// Title on the reference page: the path to it, e.g. `services.NAME`.
    pub path: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its keys, in the order in which people write them.
    pub keys: &'static [Key],
    /// Keys that are known and not built.
    pub later: &'static [Later],
    /// The key that a scalar in the place of this map stands for: `GET /me: users` is `GET /me: { to: users }`.
    pub short: Option<&'static str>,
}

/// A key with everything that is known about it.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What stands behind it.
    pub shape: Shape,
    /// What it does: one or two sentences.
    pub doc: &'static str,
    /// What holds where it is not said; empty where that is nothing.
    pub default: &'static str,
    /// A value as it is written in a manifest.
    pub example: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

/// A key of the design that this version refuses by name.
#[derive(Debug)]
pub struct Later {
    /// As written.
    pub name: &'static str,
    /// What it will do.
    pub doc: &'static str,
}

/// Which texts a scalar may have.
pub struct Form {
    /// With its article: "a duration".
    pub what: &'static str,
    /// As it is written.
    pub example: &'static str,
    /// Reads it and forgets the value.
    pub read: fn(&str) -> Result<(), Mistake>,
    /// How an editor checks it.
    pub json: Json,
    /// Whether `${NAME}` may stand in it.
    pub variables: Variables,
}

/// Whether `${NAME}` is filled in from the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variables {
    /// Filled in.
    Filled,
    /// Refused: it would be taken for text and ignored.
    Refused,
    /// Text like any other.
    Text,
}

/// The type of a scalar in JSON and in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// Text that matches; empty: any text.
    Pattern(&'static str),
    /// One of these texts.
    Words(&'static [&'static str]),
    /// A whole number, both bounds included.
    Integer(u64, u64),
    /// One of these whole numbers.
    Numbers(&'static [u64]),
    /// `true` or `false`.
    Boolean,
    /// `true` alone.
    True,
    /// Text, number or boolean, taken as text.
    Anything,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }
}

impl Object {
    /// A key by name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// A key that is not built, by name.
    pub fn later(&self, name: &str) -> Option<&'static Later> {
        self.later.iter().find(|later| later.name == name)
    }
}

impl Shape {
    /// A scalar.
    pub const fn scalar(form: &'static Form) -> Shape {
        Shape { scalar: Some(form), list: None, map: None }
    }

    /// A list.
    pub const fn list(item: &'static Shape) -> Shape {
        Shape { scalar: None, list: Some(item), map: None }
    }

    /// A map with known keys.
    pub const fn object(object: &'static Object) -> Shape {
        Shape { scalar: None, list: None, map: Some(Fields::Object(object)) }
    }

    /// A map with free keys.
    pub const fn entries(entries: &'static Entries) -> Shape {
        Shape { scalar: None, list: None, map: Some(Fields::Entries(entries)) }
    }

    /// This, or one scalar: the short form.
    pub const fn or_scalar(self, form: &'static Form) -> Shape {
        Shape { scalar: Some(form), ..self }
    }

    /// This, or a map with free keys.
    pub const fn or_entries(self, entries: &'static Entries) -> Shape {
        Shape { map: Some(Fields::Entries(entries)), ..self }
    }

    /// What stands behind a key of a map of this shape.
    pub fn below(&self, key: &str) -> Option<&'static Shape> {
        match self.map? {
            Fields::Object(object) => object.key(key).map(|key| &key.shape),
            Fields::Entries(entries) => Some(&entries.value),
        }
    }

    /// For people: "a duration, or a list of …".
    pub fn describe(&self) -> String {
        let mut ways = Vec::new();
        if let Some(form) = self.scalar {
            ways.push(form.what.to_owned());
        }
        if let Some(item) = self.list {
            let what = item.scalar.map_or("maps", |form| form.what);
            ways.push(format!("a list (each item {})", what.trim_start_matches("maps")));
            if item.scalar.is_none() {
                ways.pop();
                ways.push("a list of maps".to_owned());
            }
        }
        match self.map {
            Some(Fields::Object(_)) => ways.push("a map of settings".to_owned()),
            Some(Fields::Entries(entries)) => ways.push(format!("a map (each key {})", entries.key.what)),
            None => {}
        }
        ways.join(" or ")
    }
}

/// Every object of the table, from the root down, each once.
pub fn objects() -> Vec<&'static Object> {
    fn visit(shape: &'static Shape, found: &mut Vec<&'static Object>) {
        if let Some(item) = shape.list {
            visit(item, found);
        }
        match shape.map {
            Some(Fields::Object(object)) if !found.iter().any(|known| std::ptr::eq(*known, object)) => {
                found.push(object);
                object.keys.iter().for_each(|key| visit(&key.shape, found));
            }
            Some(Fields::Entries(entries)) => visit(&entries.value, found),
            _ => {}
        }
    }
    let mut found = vec![&MANIFEST];
    MANIFEST.keys.iter().for_each(|key| visit(&key.shape, &mut found));
    found
}

#[cfg(test)]
mod tests;
