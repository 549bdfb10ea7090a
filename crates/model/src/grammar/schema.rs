//! The table as a JSON Schema (draft 2020-12), so that editors complete and check a manifest.

use serde_json::{Map, Value, json};

use super::{Fields, Form, Json, Key, MANIFEST, Object, Shape, objects};

/// The schema of `weft.yaml`.
pub fn schema() -> Value {
    let definitions: Map<String, Value> =
        objects().into_iter().map(|object| (definition_name(object), object_schema(object))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "weft.yaml",
        "description": MANIFEST.doc,
        "$ref": format!("#/$defs/{}", definition_name(&MANIFEST)),
        "$defs": definitions,
    })
}

/// A name that can stand in a reference: `services.NAME` → `services-NAME`.
fn definition_name(object: &Object) -> String {
    let path = object.path.split(',').next().unwrap_or("");
    path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

fn object_schema(object: &Object) -> Value {
    let mut properties = Map::new();
    for key in object.keys {
        properties.insert(key.name.into(), key_schema(key));
    }
    for later in object.later {
        let description = format!("Not supported in this version: {}.", later.doc);
        properties
            .insert(later.name.into(), json!({ "not": {}, "description": description, "deprecated": true }));
    }
    // A required key of the whole may stand in another file, and an overlay says only what differs.
    let whole = std::ptr::eq(object, &raw const MANIFEST);
    let required: Vec<&str> =
        object.keys.iter().filter(|key| key.required && !whole).map(|key| key.name).collect();
    let mut schema = json!({
        "type": ["object", "null"],
        "description": object.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn key_schema(key: &Key) -> Value {
    let mut schema = shape_schema(&key.shape);
    let default = if key.default.is_empty() { String::new() } else { format!(" Default: {}.", key.default) };
    schema["description"] = json!(format!("{}{default}", key.doc));
    schema
}

fn shape_schema(shape: &Shape) -> Value {
    let mut ways = Vec::new();
    if let Some(form) = shape.scalar {
        ways.push(form_schema(form));
    }
    if let Some(item) = shape.list {
        ways.push(json!({ "type": ["array", "null"], "items": shape_schema(item) }));
    }
    match shape.map {
        Some(Fields::Object(object)) => {
            ways.push(json!({ "$ref": format!("#/$defs/{}", definition_name(object)) }));
        }
        Some(Fields::Entries(entries)) => {
            let mut map =
                json!({ "type": ["object", "null"], "additionalProperties": shape_schema(&entries.value) });
            if let Json::Pattern(pattern) = entries.key.json
                && !pattern.is_empty()
            {
                map["propertyNames"] = json!({ "pattern": pattern });
            }
            ways.push(map);
        }
        None => {}
    }
    if ways.len() == 1 { ways.remove(0) } else { json!({ "anyOf": ways }) }
}

fn form_schema(form: &Form) -> Value {
    let mut schema = match form.json {
        Json::Pattern("") => json!({ "type": "string" }),
        Json::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Json::Words(words) => json!({ "type": "string", "enum": words }),
        Json::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Json::Numbers(numbers) => json!({ "type": "integer", "enum": numbers }),
        Json::Boolean => json!({ "type": "boolean" }),
        Json::True => json!({ "const": true }),
        Json::Anything => json!({ "type": ["string", "number", "boolean"] }),
    };
    let example = match form.json {
        Json::Integer(..) | Json::Numbers(_) => form.example.parse::<u64>().map_or(Value::Null, Value::from),
        Json::Boolean | Json::True => json!(true),
        _ => json!(form.example),
    };
    schema["examples"] = json!([example]);
    schema
}
