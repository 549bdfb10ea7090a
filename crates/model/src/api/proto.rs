//! `.proto` files: the methods of their services. Imports are not followed: names of messages do not matter here.

use prost_types::uninterpreted_option::NamePart;
use prost_types::{FileDescriptorProto, MethodDescriptorProto, UninterpretedOption};

use crate::api::{Api, ApiKind, OPERATIONS_MAX, Operation, too_many};
use crate::code::Code;
use crate::finding::{FileId, Finding, Span, excerpt};
use crate::pattern::EndpointPattern;
use crate::yaml::FILE_BYTES_MAX;

pub(super) fn read(file: FileId, name: &str, bytes: &[u8]) -> (Option<Api>, Vec<Finding>) {
    let whole = Span { file, start: 0, end: 0, line: 1, column: 1 };
    if bytes.len() > FILE_BYTES_MAX {
        let finding =
            Finding::error(Code::FileTooLarge, whole, "the file is larger than 1 MiB").remedy("split it");
        return (None, vec![finding]);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let finding = Finding::error(Code::NotUtf8, whole, "the file is not UTF-8 text");
        return (None, vec![finding.remedy("save it as UTF-8")]);
    };
    let places = Places::new(file, text);
    match protox_parse::parse(name, text) {
        Ok(parsed) => collect(&parsed, &places),
        Err(error) => {
            let span = error.span().map_or(whole, |range| places.bytes(range.start, range.end));
            let message = format!("not a `.proto` file: {}", excerpt(&error.to_string()));
            let finding = Finding::error(Code::ApiUnreadable, span, message);
            (None, vec![finding.remedy("correct it there; `protoc` shows the same")])
        }
    }
}

fn collect(parsed: &FileDescriptorProto, places: &Places<'_>) -> (Option<Api>, Vec<Finding>) {
    let mut api = Api { kind: ApiKind::Proto, operations: Vec::new() };
    let package = parsed.package.as_deref().unwrap_or_default();
    for (service_index, service) in parsed.service.iter().enumerate() {
        let name = service.name.as_deref().unwrap_or_default();
        let full = if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") };
        for (method_index, method) in service.method.iter().enumerate() {
            let span = places.method(parsed, service_index, method_index);
            if api.operations.len() == OPERATIONS_MAX {
                return (None, vec![too_many(span)]);
            }
            api.operations.push(operation(&full, method, span));
        }
    }
    let mut findings = Vec::new();
    if api.operations.is_empty() {
        let finding = Finding::error(
            Code::ApiUnreadable,
            places.bytes(0, 0),
            "the file declares no service with methods",
        );
        findings.push(finding.remedy("name the file that holds `service … { rpc … }`"));
    }
    (Some(api), findings)
}

fn operation(service: &str, method: &MethodDescriptorProto, span: Span) -> Operation {
    let options =
        method.options.as_ref().map(|options| options.uninterpreted_option.as_slice()).unwrap_or_default();
    let level = options.iter().find(|option| is_named(option, "idempotency_level"));
    let level = level.and_then(|option| option.identifier_value.as_deref());
    let name = method.name.clone().unwrap_or_default();
    Operation {
        endpoint: EndpointPattern::Grpc { service: service.to_owned(), method: name },
        span,
        id: None,
        published: false,
        idempotent: matches!(level, Some("IDEMPOTENT" | "NO_SIDE_EFFECTS")),
    }
}

fn is_named(option: &UninterpretedOption, name: &str) -> bool {
    matches!(option.name.as_slice(), [NamePart { name_part, is_extension: false }] if name_part == name)
}

/// Places in the text. Descriptors count lines and columns from 0.
struct Places<'t> {
    file: FileId,
    text: &'t str,
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(file: FileId, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Places { file, text, lines }
    }

    fn bytes(&self, start: usize, end: usize) -> Span {
        let start = self.text.floor_char_boundary(start);
        let line = self.lines.partition_point(|at| *at <= start).max(1);
        let column = self.text[self.lines[line - 1]..start].chars().count() + 1;
        let clamp = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let end = self.text.floor_char_boundary(end.max(start));
        Span {
            file: self.file,
            start: clamp(start),
            end: clamp(end),
            line: clamp(line),
            column: clamp(column),
        }
    }

    /// Place of a method's declaration, up to the end of its line.
    fn method(&self, parsed: &FileDescriptorProto, service: usize, method: usize) -> Span {
        let clamp = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        // Field 6 of a file are services, field 2 of a service are methods (descriptor.proto).
        let path = [6, clamp(service), 2, clamp(method)];
        let location =
            parsed.source_code_info.iter().flat_map(|info| &info.location).find(|at| at.path == path);
        let line =
            location.and_then(|at| at.span.first()).and_then(|line| usize::try_from(*line).ok()).unwrap_or(0);
        let column = location.and_then(|at| at.span.get(1)).and_then(|column| usize::try_from(*column).ok());
        let first = self.lines.get(line).copied().unwrap_or(0);
        let last = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let start = self.text[first..last]
            .char_indices()
            .nth(column.unwrap_or(0))
            .map_or(first, |(at, _)| first + at);
        self.bytes(start, last.max(start))
    }
}
