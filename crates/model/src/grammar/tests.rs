use std::collections::HashSet;

use super::*;
use crate::finding::FileId;
use crate::yaml;

/// Every example of the table passes the check of its own key, so that no remedy names what would be refused.
#[test]
fn every_example_is_right() {
    for object in objects() {
        for key in object.keys.iter().filter(|key| !key.example.is_empty()) {
            let text = format!("{}: {}\n", key.name, key.example);
            let (tree, findings) = yaml::parse(FileId(0), text.as_bytes());
            assert_eq!(findings, [], "{}: {text}", object.path);
            let environment = [("ORDERS_DB".to_owned(), "x".to_owned())].into();
            let findings = check::check(&tree.unwrap(), object, false, &environment);
            assert_eq!(findings, [], "{}: {text}", object.path);
        }
    }
}

#[test]
fn a_name_stands_once_in_its_object_and_every_key_says_what_it_does() {
    for object in objects() {
        let mut names = HashSet::new();
        let later = object.later.iter().map(|later| later.name);
        for name in object.keys.iter().map(|key| key.name).chain(later) {
            assert!(names.insert(name), "{}: {name}", object.path);
        }
        for key in object.keys {
            assert!(key.doc.ends_with('.'), "{}.{}: {}", object.path, key.name, key.doc);
        }
    }
}

#[test]
fn every_form_takes_its_own_example() {
    fn visit(shape: &Shape) {
        if let Some(form) = shape.scalar {
            assert_eq!(
                (form.read)(form.example).is_ok(),
                !form.example.contains("${") || form.variables == Variables::Filled,
                "{form:?}"
            );
        }
        if let Some(item) = shape.list {
            visit(item);
        }
        if let Some(Fields::Entries(entries)) = shape.map {
            assert!((entries.key.read)(entries.key.example).is_ok(), "{:?}", entries.key);
            visit(&entries.value);
        }
    }
    objects().iter().flat_map(|object| object.keys).for_each(|key| visit(&key.shape));
}

#[test]
fn the_schema_refers_only_to_what_it_defines() {
    let schema = schema();
    let text = schema.to_string();
    for part in text.split("\"$ref\":\"#/$defs/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name}");
    }
    assert_eq!(schema["$defs"].as_object().unwrap().len(), objects().len(), "two objects share a name");
    let port = &schema["$defs"]["services-NAME"]["properties"]["port"];
    assert_eq!((&port["type"], &port["maximum"]), (&"integer".into(), &65_535.into()));
    assert_eq!(schema["$defs"]["services-NAME"]["properties"]["publishes"]["not"], serde_json::json!({}));
}

#[test]
fn variables_are_filled_in() {
    let environment = [("A".to_owned(), "1".to_owned()), ("B_2".to_owned(), "two".to_owned())].into();
    let fill = |text: &str| variables::fill(text, &environment);
    assert_eq!(fill("x${A}y${B_2}").unwrap(), "x1ytwo");
    assert_eq!(fill("$${A} $A ${A}").unwrap(), "${A} $A 1");
    assert_eq!(fill("${C}${D").unwrap_err().len(), 2);
    assert_eq!(fill("${secret:vault/x}").unwrap_err()[0].code, crate::code::Code::NotBuilt);
    assert!(fill("${A:-b}").unwrap_err()[0].why.contains("no default"));
}
