//! Tests of the codec: tables of bytes in and verdict out, named by the section of the RFC they are about, and
//! seeded properties.
//!
//! Every row of every table is also fed cut in two at each place and a byte at a time: the network's cuts must
//! never change a verdict.

mod bodies;
mod properties;
mod replay;
mod requests;
mod responses;
mod writing;

use super::*;
use crate::head::{Head, Method, TargetForm, Version};

/// A row: a name (`RFC-section/what`), bytes, the verdict in words.
type Row = (&'static str, &'static [u8], &'static str);

/// What parsing one request came to.
type Outcome = Result<Option<(ParsedRequest, Seen)>, HeadRefusal>;

/// Everything a parsed head says, in a form that compares and prints.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    form: TargetForm,
    path: String,
    query: Option<String>,
    authority: String,
    version: Version,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
}

fn see(head: &Head) -> Seen {
    Seen {
        method: head.method_str().to_owned(),
        form: head.target_form(),
        path: head.path().to_owned(),
        query: head.query().map(str::to_owned),
        authority: head.authority().to_owned(),
        version: head.version(),
        status: head.status(),
        fields: head.iter().map(|field| (field.name_str().to_owned(), field.value.to_vec())).collect(),
    }
}

/// Parses bytes that arrive in pieces that end at `cuts`, stopping at the first verdict.
fn request_in_pieces(bytes: &[u8], cuts: impl Iterator<Item = usize>, limits: &HeadLimits) -> Outcome {
    let mut scan = HeadScan::default();
    let mut head = Head::new();
    for end in cuts.chain([bytes.len()]) {
        if let Some(parsed) = parse_request(&bytes[..end], &mut scan, limits, &mut head)? {
            return Ok(Some((parsed, see(&head))));
        }
    }
    Ok(None)
}

/// Parses bytes at once, and again cut in every way the tables cut them; all must agree.
fn request(name: &str, bytes: &[u8], limits: &HeadLimits) -> Outcome {
    let whole = request_in_pieces(bytes, std::iter::empty(), limits);
    let singly = request_in_pieces(bytes, 0..bytes.len(), limits);
    assert_eq!(whole, singly, "{name}: a byte at a time");
    // Long rows are about limits; cutting them everywhere costs much and shows nothing new.
    let step = 1 + bytes.len() / 512;
    for cut in (0..bytes.len()).step_by(step) {
        assert_eq!(whole, request_in_pieces(bytes, std::iter::once(cut), limits), "{name}: cut at {cut}");
    }
    whole
}

/// The words of a refusal as the tables write them: `400 bare_lf`.
fn refusal_words(refusal: HeadRefusal) -> String {
    format!("{} {}", refusal.status(), refusal.reason())
}

/// The words of a framing as the tables write them.
fn framing_words(framing: BodyFraming) -> String {
    match framing {
        BodyFraming::None => "none".to_owned(),
        BodyFraming::Length(length) => length.to_string(),
        BodyFraming::Chunked => "chunked".to_owned(),
        BodyFraming::UntilClose => "close".to_owned(),
    }
}

/// Runs a table and reports all rows that differ at once.
fn check_rows(rows: &[Row], verdict: impl Fn(&str, &[u8]) -> String) {
    let mut names = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, bytes, expected) in rows {
        assert!(names.insert(name), "two rows are named {name}");
        let got = verdict(name, bytes);
        if got != *expected {
            wrong.push(format!("{name}: expected {expected:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// How many rows the tables of verdicts hold together; the project promises at least 200.
#[test]
fn the_tables_hold_at_least_200_rows() {
    let rows = requests::rows() + responses::rows() + bodies::rows();
    assert!(rows >= 200, "{rows} rows");
}

/// The rows as inputs of the fuzz targets, by the name of the target.
pub(crate) fn seeds() -> [(&'static str, Vec<Vec<u8>>); 4] {
    // One cut in the middle; see `fuzzing::Cuts`.
    let cut = |bytes: &[u8]| [&[1, 128], bytes].concat();
    let requests: Vec<Vec<u8>> = requests::bytes();
    let targets = requests.iter().filter_map(|bytes| bytes.split(|byte| *byte == b' ').nth(1));
    [
        ("path", targets.map(<[u8]>::to_vec).collect()),
        ("http1_request", requests.iter().map(|bytes| cut(bytes)).collect()),
        ("http1_response", responses::bytes().map(|bytes| [&[0], &cut(bytes)[..]].concat()).collect()),
        ("body", bodies::bytes().map(cut).collect()),
    ]
}
