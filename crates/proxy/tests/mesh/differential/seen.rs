//! What a server saw, and a server that writes down every byte: strict, and sharing no code with what is tested.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::wire::{Wire, service};

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    /// Of the body, without what frames it.
    pub(super) bytes: usize,
    pub(super) sum: u32,
    /// End-to-end fields, names in small letters, sorted; empty where the server is a proxy that edits them.
    pub(super) fields: Vec<(String, String)>,
}

/// Fields that differ from request to request, or that frame it.
const OWN: [&str; 12] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "traceparent",
    "transfer-encoding",
    "weft-deadline",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-request-id",
    "weft-caller",
];

impl Seen {
    /// What Node said.
    pub(super) fn from_node(line: &Value) -> Self {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let number = |name: &str| line[name].as_u64().unwrap();
        let pairs = |name: &str| {
            let words: Vec<String> =
                line[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
            words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>()
        };
        Seen {
            method: text("method"),
            target: text("target"),
            host: text("host"),
            bytes: usize::try_from(number("bytes")).unwrap(),
            sum: u32::try_from(number("sum")).unwrap(),
            fields: end_to_end(pairs("fields").into_iter().chain(pairs("trailers"))),
        }
    }

    /// A request that only marks where a case ends.
    pub(super) fn is_barrier(&self) -> bool {
        self.target.starts_with("/barrier-")
    }
}

fn end_to_end(fields: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut fields: Vec<_> = fields
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .collect();
    fields.sort();
    fields
}

/// FNV-1a of 32 bits, which is the same in any language.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A server that tells what it sees, and answers each request with nothing. Returns its port.
pub(super) async fn recorder(tell: mpsc::Sender<Seen>, fields: bool) -> u16 {
    let tell = Arc::new(tell);
    service(move |mut wire| {
        let tell = Arc::clone(&tell);
        async move {
            while let Some(mut seen) = request(&mut wire).await {
                if !fields {
                    seen.fields.clear();
                }
                let told = tell.send(seen).await;
                if told.is_err() || !wire.try_write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await {
                    return;
                }
            }
        }
    })
    .await
}

/// Reads a request by the letter of RFC 9112; `None` at the end of the connection, also in the middle of a request.
///
/// # Panics
/// If a request is not by the letter.
async fn request(wire: &mut Wire) -> Option<Seen> {
    let head = wire.until(b"\r\n\r\n").await?;
    let shown = String::from_utf8_lossy(&head).into_owned();
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text[..text.len() - 4].split("\r\n");
    let words: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let [method, target, "HTTP/1.1"] = words.as_slice() else { panic!("no request line in {shown:?}") };
    let mut fields = Vec::new();
    for line in lines {
        fields.push(field(line));
    }
    let one = |name: &str| {
        let mut found = fields.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.clone());
        assert!(found.next().is_none(), "`{name}` stands twice in {shown:?}");
        first
    };
    let (length, coding) = (one("content-length"), one("transfer-encoding"));
    let host = one("host").unwrap_or_default();
    assert!(length.is_none() || coding.is_none(), "both a length and a coding in {shown:?}");
    assert!(coding.is_none_or(|coding| coding == "chunked"), "a coding in {shown:?}");
    let is_chunked = one("transfer-encoding").is_some();
    let body = if is_chunked {
        chunks(wire, &mut fields).await?
    } else {
        let length = length.map_or(0, |text| {
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "a length in {shown:?}");
            text.parse().unwrap()
        });
        whole(wire, length).await?
    };
    Some(Seen {
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        host,
        bytes: body.len(),
        sum: sum(&body),
        fields: end_to_end(fields.into_iter()),
    })
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    let is_token = !name.is_empty() && name.chars().all(|one| one.is_ascii_graphic() && one != ':');
    assert!(is_token && !line.contains(['\r', '\n', '\0']), "no field: {line:?}");
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// So many bytes; `None` where the connection ends before.
async fn whole(wire: &mut Wire, count: usize) -> Option<Vec<u8>> {
    wire.try_bytes(count).await
}

async fn chunks(wire: &mut Wire, fields: &mut Vec<(String, String)>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = wire.until(b"\r\n").await?;
        let digits = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_number, "a chunk of {digits:?}");
        let size = usize::from_str_radix(digits, 16).unwrap();
        if size == 0 {
            break;
        }
        let chunk = whole(wire, size + 2).await?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with {:?}", &chunk[size..]);
        body.extend_from_slice(&chunk[..size]);
    }
    loop {
        let line = wire.until(b"\r\n").await?;
        if line.len() == 2 {
            return Some(body);
        }
        let text: String = line[..line.len() - 2].iter().map(|byte| char::from(*byte)).collect();
        fields.push(field(&text));
    }
}
