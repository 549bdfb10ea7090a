//! The strict subset of YAML: what becomes a tree, and what becomes a finding.

use super::*;

fn tree(text: &str) -> Node {
    let (tree, findings) = parse(FileId(0), text.as_bytes());
    assert_eq!(findings, [], "{text}");
    tree.unwrap()
}

fn refused(text: &str) -> Finding {
    let (_, findings) = parse(FileId(0), text.as_bytes());
    assert_eq!(findings.len(), 1, "{text}: {findings:?}");
    findings.into_iter().next().unwrap()
}

fn slice(text: &str, span: Span) -> &str {
    &text[span.start as usize..span.end as usize]
}

fn check_spans(text: &str, node: &Node) {
    match &node.kind {
        Kind::Scalar(scalar) => {
            if let Some(offset) = scalar.verbatim {
                let slice = slice(text, node.span);
                assert_eq!(&slice[offset as usize..][..scalar.text.len()], scalar.text);
            }
            if !scalar.is_null() {
                let line =
                    text.trim_start_matches('\u{feff}').lines().nth(node.span.line as usize - 1).unwrap();
                let column: String = line.chars().skip(node.span.column as usize - 1).collect();
                assert!(column.starts_with(slice(text, node.span).lines().next().unwrap()), "{text}");
            }
        }
        Kind::List(items) => items.iter().for_each(|item| check_spans(text, item)),
        Kind::Map(entries) => entries.iter().for_each(|entry| {
            assert_eq!(slice(text, entry.key.span).trim_matches(['"', '\'']), entry.key.scalar.text);
            check_spans(text, &entry.value);
        }),
    }
}

#[test]
fn spans_point_at_what_was_said() {
    for text in [
        "a: 1\nb: [x, 'y z', \"q\"]\nc:\n  d: é {not a map}\n  ü: 'x'\n",
        "a: 1\r\nb: two words   # why\r\nc:\r\n  - é\r\n  - f\r\n",
        "\u{feff}a: x\nb: y\n",
        "{\"a\": [1, 2, {\"b\": \"c\"}], \"d\": \"e\\n\"}",
        "a: |\n  block\n  text\nb: >\n  folded\n  text\nc: x\n",
    ] {
        check_spans(text, &tree(text));
    }
}

#[test]
fn a_tree_of_maps_and_lists() {
    let root = tree("a: {b: [1, two]}\nc:\n");
    assert_eq!(root.get("a").unwrap().get("b").unwrap().items()[1].scalar().unwrap().text, "two");
    assert!(root.get("c").unwrap().is_null());
    assert_eq!(slice("a: {b: [1, two]}\nc:\n", root.get("a").unwrap().span), "{b: [1, two]}");
}

#[test]
fn json_is_taken_as_it_is() {
    let root = tree("{\n\t\"a\":{\"b\":[1,true,null,\"x\\/y\"]},\n\t\"c\":\"\\u00e9\"\n}");
    assert_eq!(root.get("c").unwrap().scalar().unwrap().text, "é");
    assert_eq!(root.get("a").unwrap().get("b").unwrap().items()[3].scalar().unwrap().text, "x/y");
}

#[test]
fn an_empty_file_is_nothing() {
    assert!(tree("").is_null());
    assert!(tree("# only a comment\n").is_null());
}

#[test]
fn an_endpoint_with_braces_in_a_list_gets_its_own_remedy() {
    for text in [
        "calls: [catalog, inventory GET /stock/{sku}]\n",
        "x: { to: inventory GET /stock/{sku}, timeout: 1s }\n",
        "x: { inventory GET /stock/{sku}: y }\n",
        "x: [ inventory GET /stock/{sku}/a ]\n",
        "x: { to: inventory GET /stock/{sku} }\n",
    ] {
        let finding = refused(text);
        let remedy = finding.remedy.unwrap();
        assert!(
            remedy.starts_with("write \"inventory GET /stock/{sku}"),
            "{text}: {} {remedy}",
            finding.message
        );
        assert!(slice(text, finding.span).starts_with("inventory GET"), "{text}");
    }
}

#[test]
fn what_is_outside_the_subset_is_refused() {
    for (text, code) in [
        ("a: &x 1\n", Code::CustomTag),
        ("a: !!str 1\n", Code::CustomTag),
        ("a: !own 1\n", Code::CustomTag),
        ("a: 1\na: 2\n", Code::DuplicateKey),
        ("a: 1\n---\nb: 2\n", Code::SeveralDocuments),
        ("a: \u{1}\n", Code::YamlSyntax),
        ("a: 1\rb: 2\n", Code::YamlSyntax),
        ("a: 'x\n", Code::YamlSyntax),
        ("a: b: c\n", Code::YamlSyntax),
        ("a:\n\t- b\n", Code::YamlSyntax),
        ("a: *\n", Code::YamlSyntax),
        ("a: *b\n", Code::YamlSyntax),
        ("[a, b]: c\n", Code::YamlSyntax),
        (": c\n", Code::YamlSyntax),
        ("a: [1, 2\n", Code::YamlSyntax),
        ("a: 1]\nb: ]\n", Code::YamlSyntax),
        ("a: 1\n b: 2\n", Code::YamlSyntax),
    ] {
        let finding = refused(text);
        assert_eq!(finding.code, code, "{text}: {finding:?}");
        assert!(finding.remedy.is_some());
    }
}

#[test]
fn limits_hold() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(refused(&deep).code, Code::TooDeep);
    let deep = (0..60).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
    assert_eq!(refused(&deep).code, Code::TooDeep);
    let many = format!("[{}]", "1,".repeat(NODES_MAX + 1));
    assert_eq!(refused(&many).code, Code::FileTooLarge);
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    assert_eq!(parse(FileId(0), &large).1[0].code, Code::FileTooLarge);
}

#[test]
fn bytes_that_are_no_text_are_a_finding() {
    for (bytes, line, column) in
        [(&b"\xff\xfea\0"[..], 1, 1), (b"a: b\n\xc3\x28", 2, 1), (b"a: b\0", 1, 5), (b"\xef\xbb", 1, 1)]
    {
        let (tree, findings) = parse(FileId(0), bytes);
        assert!(tree.is_none());
        assert_eq!((findings[0].span.line, findings[0].span.column), (line, column));
    }
}

#[test]
fn slips_of_syntax_are_named_for_what_they_are() {
    for (text, place, message) in [
        ("a: b\nservice\n", (2, 1), "a `:` is missing behind `service`"),
        ("service\na: b\n", (1, 1), "a `:` is missing behind `service`"),
        ("a: b\n  c: d\n", (2, 4), "a key with a value stands here, and the line above has a value already"),
        ("a: b: c\n", (1, 5), "a second `: ` on the same line"),
        ("a: \"\\q\"\n", (1, 4), "a backslash in double quotes starts an escape, and this one is not known"),
        ("a: \"b\" c\n", (1, 8), "something stands behind the closing quote or bracket"),
        ("{a: b} c\n", (1, 8), "something stands behind the closing quote or bracket"),
        ("a: b #c\n  d\n", (1, 6), "a comment stands in the middle of a text of several lines"),
        ("a: {b: c\nd: e\n", (1, 4), "this `{` is never closed"),
        ("a: [1,\n", (1, 4), "this `[` is never closed"),
        ("a: 'x\n", (1, 4), "a quote is opened and never closed"),
        ("a: @x\n", (1, 4), "a value cannot start with `@`"),
    ] {
        let finding = refused(text);
        assert_eq!(
            (finding.message.as_str(), (finding.span.line, finding.span.column)),
            (message, place),
            "{text}"
        );
    }
}
