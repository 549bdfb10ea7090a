//! OpenAPI 3.0 and 3.1, through the same tree as the manifest: paths, methods, and three keys of each operation.

use crate::api::{Api, ApiKind, OPERATIONS_MAX, Operation, repeats, too_many};
use crate::code::Code;
use crate::finding::{FileId, Finding, excerpt};
use crate::pattern::{EndpointPattern, PathPattern, Segment, literal};
use crate::yaml::{self, Entry, Node};

/// Fixed fields of a path item that are methods (OpenAPI 3.1, section 4.8.9.1).
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

pub(super) fn read(file: FileId, bytes: &[u8]) -> (Option<Api>, Vec<Finding>) {
    let (tree, mut findings) = yaml::parse(file, bytes);
    let Some(tree) = tree else { return (None, findings) };
    if let Some(finding) = version_mistake(&tree) {
        findings.push(finding);
        return (None, findings);
    }
    let mut api = Api { kind: ApiKind::OpenApi, operations: Vec::new() };
    for path in tree.get("paths").map(Node::entries).unwrap_or_default() {
        if path.key.scalar.text.starts_with("x-") {
            continue;
        }
        read_path(path, &mut api, &mut findings);
        if api.operations.len() > OPERATIONS_MAX {
            findings.push(too_many(path.key.span));
            return (None, findings);
        }
    }
    (Some(api), findings)
}

fn version_mistake(tree: &Node) -> Option<Finding> {
    if let Some(swagger) = tree.get("swagger") {
        let finding = Finding::error(Code::ApiNotSupported, swagger.span, "Swagger 2 is not read");
        return Some(finding.remedy("convert the file to OpenAPI 3; most editors of OpenAPI do it"));
    }
    let Some(version) = tree.get("openapi") else {
        let finding =
            Finding::error(Code::ApiUnreadable, tree.span, "this is no OpenAPI file: `openapi` is missing");
        return Some(finding.remedy("begin the file with `openapi: 3.1.0`, or name a `.proto` file"));
    };
    let text = version.scalar().map_or("", |scalar| scalar.text.as_str());
    let known = ["3.0", "3.1"]
        .iter()
        .any(|known| text.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    (!known).then(|| {
        let message = format!("OpenAPI `{}` is not read", excerpt(text));
        Finding::error(Code::ApiNotSupported, version.span, message).remedy("use OpenAPI 3.0 or 3.1")
    })
}

fn read_path(entry: &Entry, api: &mut Api, findings: &mut Vec<Finding>) {
    let path = match path_pattern(&entry.key.scalar.text) {
        Ok(path) => path,
        Err(why) => {
            let finding = Finding::error(Code::ApiUnreadable, entry.key.span, format!("not a path: {why}"));
            findings.push(finding.remedy("write it as `/path/{name}`"));
            return;
        }
    };
    for field in entry.value.entries() {
        let name = field.key.scalar.text.as_str();
        if name == "$ref" {
            let message = "a path item that is only referred to (`$ref`) is not read";
            let finding = Finding::error(Code::ApiNotSupported, field.key.span, message);
            findings.push(finding.remedy("write its operations here"));
        } else if METHODS.contains(&name) {
            api.operations.push(operation(name, &path, field, findings));
        }
    }
}

fn operation(method: &str, path: &PathPattern, field: &Entry, findings: &mut Vec<Finding>) -> Operation {
    let method = method.to_ascii_uppercase();
    let mut flag = |key: &str| {
        let node = field.value.get(key)?;
        match node.scalar().filter(|scalar| scalar.plain).map(|scalar| scalar.text.as_str()) {
            Some("true") => Some((true, node.span)),
            Some("false") => Some((false, node.span)),
            _ => {
                let message = format!("`{key}` is `true` or `false`");
                let finding = Finding::error(Code::NotABoolean, node.span, message);
                findings.push(finding.remedy("write `true` or `false`, without quotes"));
                None
            }
        }
    };
    let published = flag("x-published").is_some_and(|(value, _)| value);
    let idempotent = flag("x-idempotent");
    if let Some((false, span)) = idempotent
        && repeats(&method)
    {
        let message =
            format!("`{method}` is idempotent by the meaning of the method (RFC 9110, section 9.2.2)");
        findings.push(
            Finding::error(Code::ApiNotSupported, span, message)
                .remedy("remove `x-idempotent: false`, and use POST for what must not be repeated"),
        );
    }
    Operation {
        endpoint: EndpointPattern::Http { method: Some(method), path: path.clone(), query: None },
        span: field.key.span,
        id: field.value.get("operationId").and_then(Node::scalar).map(|scalar| scalar.text.clone()),
        published,
        idempotent: idempotent.is_some_and(|(value, _)| value),
    }
}

/// A templated path. What our patterns cannot say (`/{name}.{ext}`) is any one segment: an API matches a little more then.
fn path_pattern(text: &str) -> Result<PathPattern, String> {
    let Some(rest) = text.strip_prefix('/') else { return Err("it does not start with `/`".to_owned()) };
    if text.contains(['?', '#']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a path holds no query, fragment or space".to_owned());
    }
    if rest.is_empty() {
        return Ok(PathPattern { segments: Vec::new() });
    }
    let count = rest.split('/').count();
    let mut seen: Vec<&str> = Vec::new();
    let segment = |(index, part): (usize, &'_ str)| -> Result<Segment, String> {
        match (part, index + 1 == count) {
            ("", true) => Ok(Segment::Literal(String::new())),
            ("", _) => Err("an empty segment never matches: paths are made canonical first".to_owned()),
            _ if !part.contains(['{', '}', '*']) => {
                literal(part).map(Segment::Literal).map_err(|refused| refused.reason)
            }
            // A star is a character here, and a pattern has none that is.
            _ if part.contains('*') => Ok(Segment::Any),
            _ => Ok(format!("/{part}")
                .parse::<PathPattern>()
                .ok()
                .and_then(|path| path.segments.into_iter().next()))
            .map(|one| one.unwrap_or(Segment::Any)),
        }
    };
    let mut segments = Vec::new();
    for (index, part) in rest.split('/').enumerate() {
        let one = segment((index, part))?;
        let repeated = matches!(one, Segment::Param(_)) && seen.contains(&part);
        seen.push(part);
        segments.push(if repeated { Segment::Any } else { one });
    }
    Ok(PathPattern { segments })
}
