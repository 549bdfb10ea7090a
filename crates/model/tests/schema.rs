//! The JSON Schema takes every manifest that `weft check` takes, and refuses unknown keys, keys that are not built, wrong
//! types and words. Patterns are left to editors: what they say is tested in the table's own forms.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weft_model::finding::FileId;
use weft_model::yaml::{self, Kind, Node};

/// A manifest as an editor's YAML parser sees it.
fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::List(items) => items.iter().map(value).collect(),
        Kind::Map(entries) => {
            entries.iter().map(|entry| (entry.key.scalar.text.clone(), value(&entry.value))).collect()
        }
        Kind::Scalar(scalar) => match scalar.other_type() {
            Some("nothing") => Value::Null,
            Some("a boolean") => json!(scalar.text == "true"),
            Some(_) => scalar.text.parse::<i64>().map_or_else(|_| json!(0.5), Value::from),
            None => json!(scalar.text),
        },
    }
}

fn type_is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the schema has the type `{other}`"),
    }
}

/// The keywords that the schema uses, but patterns.
fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let all = |list: &Value, test: &dyn Fn(&Value) -> bool| {
        list.as_array().is_none_or(|list| list.iter().all(test))
    };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
        && !valid(root, root.pointer(reference.trim_start_matches('#')).unwrap(), value)
    {
        return false;
    }
    let types = match &schema["type"] {
        Value::Null => true,
        Value::String(name) => type_is(name, value),
        names => names.as_array().unwrap().iter().any(|name| type_is(name.as_str().unwrap(), value)),
    };
    let not = schema.get("not").is_none_or(|not| !valid(root, not, value));
    let words = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    let any = schema["anyOf"].as_array().is_none_or(|ways| ways.iter().any(|way| valid(root, way, value)));
    let number = value.as_i64().is_none_or(|number| {
        schema["minimum"].as_i64().is_none_or(|min| number >= min)
            && schema["maximum"].as_i64().is_none_or(|max| number <= max)
    });
    let items = schema.get("items").is_none_or(|items| all(value, &|item| valid(root, items, item)));
    let keys = value.as_object().is_none_or(|map| {
        all(&schema["required"], &|name| map.contains_key(name.as_str().unwrap()))
            && map.iter().all(|(name, value)| {
                match (schema["properties"].get(name), &schema["additionalProperties"]) {
                    (Some(property), _) => valid(root, property, value),
                    (None, Value::Bool(more)) => *more,
                    (None, Value::Null) => true,
                    (None, more) => valid(root, more, value),
                }
            })
    });
    types && not && words && any && number && items && keys
}

fn case_is_valid(name: &str, file: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/form").join(name).join(file);
    let (tree, findings) = yaml::parse(FileId(0), &fs::read(path).unwrap());
    assert_eq!(findings, [], "{name}");
    let schema = weft_model::grammar::schema();
    valid(&schema, &schema, &value(&tree.unwrap()))
}

#[test]
fn what_check_takes_the_schema_takes() {
    for (name, file) in [
        ("good-minimal", "weft.yaml"),
        ("good-everything", "weft.yaml"),
        ("good-json", "weft.yaml"),
        ("good-overlay", "weft.ci.yaml"),
        ("good-team", "weft.yaml"),
        ("good-team", "teams/sales.yaml"),
        ("good-variable", "weft.yaml"),
    ] {
        assert!(case_is_valid(name, file), "{name}/{file}");
    }
}

#[test]
fn the_schema_refuses_wrong_keys_types_and_words() {
    for name in [
        "unknown-key-near",
        "unknown-key-far",
        "not-built-section",
        "not-built-service-key",
        "not-built-join",
        "not-built-auth",
        "missing-tls-key",
        "shape-list-for-text",
        "shape-text-for-list",
        "shape-text-for-map",
        "shape-list-for-map",
        "shape-boolean-for-text",
        "shape-quoted-number",
        "shape-not-a-boolean",
        "port-too-large",
        "duration-no-unit",
        "percent-no-sign",
        "protocol-unknown",
        "relation-pattern-near",
        "listen-port-only",
    ] {
        assert!(!case_is_valid(name, "weft.yaml"), "{name}");
    }
}
