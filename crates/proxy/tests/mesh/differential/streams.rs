//! What is sent over HTTP/2: requests as lists of fields, frames of data and trailers, written in literals that no table and no
//! check stands behind, and changes made of them at random.
//!
//! A stream is one request or none. So beside what the servers say of each other there is a truth to hold them against: what
//! was read is what was asked, and nothing in it comes from elsewhere.

mod rows;

use super::Outcome;
use super::corpus::{self, Case};
use super::seen::{Seen, sum};
use crate::hostile::frame;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The largest frame that nobody has to allow (RFC 9113, 6.5.2).
const FRAME_BYTES: usize = 16 * 1024;

/// What must become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It reaches nobody.
    Refused,
    Read,
    /// Either is right, as long as all say the same.
    Either,
}

type Field = (Vec<u8>, Vec<u8>);

/// A request as a list of what its frames hold.
#[derive(Clone, Debug, Default)]
struct Asked {
    fields: Vec<Field>,
    /// One part for each DATA frame.
    data: Vec<Vec<u8>>,
    trailers: Vec<Field>,
}

/// A stream that is opened, and how it must end.
#[derive(Clone)]
pub(super) struct Stream {
    name: String,
    asked: Asked,
    end: End,
}

/// All that somebody thought of.
pub(super) fn all() -> Vec<Stream> {
    rows::all()
}

impl std::fmt::Display for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        for (kind, fields) in [("", &self.fields), ("trailer ", &self.trailers)] {
            for (name, value) in fields.iter().take(12) {
                write!(out, "{kind}\"{}\" = \"{}\"; ", cut(name), cut(value))?;
            }
        }
        self.data.iter().try_for_each(|part| write!(out, "data \"{}\"; ", cut(part)))
    }
}

impl Asked {
    /// The frames of stream 1; the last of them ends it.
    fn frames(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        let has_trailers = !self.trailers.is_empty();
        head(&self.fields, self.data.is_empty() && !has_trailers, &mut frames);
        for (at, part) in self.data.iter().enumerate() {
            let last = at + 1 == self.data.len() && !has_trailers;
            frames.extend(frame(DATA, if last { END_STREAM } else { 0 }, 1, part));
        }
        if has_trailers {
            head(&self.trailers, true, &mut frames);
        }
        frames
    }

    fn field(&self, name: &[u8]) -> &[u8] {
        self.fields.iter().find(|(have, _)| have == name).map_or(b"", |(_, value)| value)
    }

    /// Whether a field that was read stands in what was sent; cookies are put together on the way (RFC 9113, 8.2.3).
    fn says(&self, (name, value): &(String, String)) -> bool {
        let sent = |parts: &mut dyn Iterator<Item = &Field>| {
            let values = parts.filter(|(have, _)| have == name.as_bytes());
            values.map(|(_, value)| text(value).trim_matches([' ', '\t']).to_owned()).collect::<Vec<_>>()
        };
        let values = sent(&mut self.fields.iter().chain(&self.trailers));
        values.contains(value) || (name == "cookie" && *value == sent(&mut self.fields.iter()).join("; "))
    }
}

/// Bytes as the recorder tells them: a letter for each.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A block of fields in as many frames as it needs.
fn head(fields: &[Field], ends: bool, frames: &mut Vec<u8>) {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed, with a new name (RFC 7541, 6.2.2).
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    let count = block.len().div_ceil(FRAME_BYTES).max(1);
    for number in 0..count {
        let part = &block[number * FRAME_BYTES..block.len().min((number + 1) * FRAME_BYTES)];
        let whole = if number + 1 == count { END_HEADERS } else { 0 };
        let (kind, flags) = match number {
            0 => (HEADERS, whole | if ends { END_STREAM } else { 0 }),
            _ => (CONTINUATION, whole),
        };
        frames.extend(frame(kind, flags, 1, part));
    }
}

/// A string without Huffman's code: its length as an integer with a prefix of seven bits (RFC 7541, 5.1), and its bytes.
fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len().checked_sub(0x7f) {
        None => block.push(bytes.len() as u8),
        Some(mut rest) => {
            block.push(0x7f);
            while rest >= 0x80 {
                block.push((rest % 0x80) as u8 | 0x80);
                rest /= 0x80;
            }
            block.push(rest as u8);
        }
    }
    block.extend_from_slice(bytes);
}

impl Stream {
    /// What is sent and compared like any other case.
    pub(super) fn case(&self) -> Case {
        Case { name: self.name.clone(), bytes: self.asked.frames(), refused: None }
    }

    /// What is wrong with what the recorder saw, and with what the client was told of it.
    pub(super) fn fault(&self, recorded: &Outcome) -> Option<String> {
        let told = recorded.status == Some(200);
        let fault = match (recorded.seen.as_slice(), self.end) {
            ([], End::Read) => "it was refused".to_owned(),
            ([], _) if told => "nobody saw it, and its client was told that all is well".to_owned(),
            ([], _) => return None,
            ([_], End::Refused) => "it was not refused".to_owned(),
            ([_], _) if !told => "it was read, and its client was told otherwise".to_owned(),
            ([seen], _) => self.foreign(seen)?,
            _ => "one stream became several requests".to_owned(),
        };
        Some(format!("{}: {fault}: {recorded:?}\n  for {}", self.name, self.asked))
    }

    /// What a request that was read says and the one that was sent does not.
    fn foreign(&self, seen: &Seen) -> Option<String> {
        let asked = &self.asked;
        let body = asked.data.concat();
        let named = [b":authority".as_slice(), b"host"].map(|name| text(asked.field(name)));
        let hosts = seen.host == "itself" || named.iter().any(|name| name.eq_ignore_ascii_case(&seen.host));
        if seen.method != text(asked.field(b":method")) {
            return Some("another method".to_owned());
        }
        if !hosts {
            return Some("another host".to_owned());
        }
        if (seen.bytes, seen.sum) != (body.len(), sum(&body)) {
            return Some("another body".to_owned());
        }
        let ours = |(name, value): &(String, String)| name == "x-forwarded-proto" && value == "http";
        let field = seen.fields.iter().find(|field| !ours(field) && !asked.says(field))?;
        Some(format!("{field:?}, which was not sent"))
    }
}

/// A stream that nobody thought of: one or two of the others, changed in up to four places.
pub(super) fn mutated(streams: &[Stream], seed: u64) -> Stream {
    let mut rng = fastrand::Rng::with_seed(seed);
    let pick = |rng: &mut fastrand::Rng| &streams[rng.usize(..streams.len())];
    let first = pick(&mut rng);
    let (mut name, mut asked) = (format!("seed {seed} of {}", first.name), first.asked.clone());
    if rng.u8(..4) == 0 {
        let second = pick(&mut rng);
        name += &format!(" and {}", second.name);
        // Both begin with their pseudo-fields: what is cut there is seldom a request.
        let own = |field: &&Field| !field.0.starts_with(b":");
        asked.fields.extend(second.asked.fields.iter().filter(own).cloned());
        asked.data.extend(second.asked.data.iter().cloned());
        asked.trailers.extend(second.asked.trailers.iter().cloned());
    }
    for _ in 0..rng.usize(1..=4) {
        change(&mut asked, &mut rng);
    }
    Stream { name, asked, end: End::Either }
}

fn change(asked: &mut Asked, rng: &mut fastrand::Rng) {
    let fields = if rng.u8(..4) == 0 { &mut asked.trailers } else { &mut asked.fields };
    let (at, to) = (rng.usize(..fields.len().max(1)), rng.usize(..=fields.len()));
    match rng.u8(..8) {
        0..=2 if at < fields.len() => corpus::change(&mut fields[at].1, rng),
        3 if at < fields.len() => corpus::change(&mut fields[at].0, rng),
        // A field again, or at another place.
        4 if at < fields.len() => fields.insert(to, fields[at].clone()),
        5 if at < fields.len() => {
            let field = fields.remove(at);
            fields.insert(to.min(fields.len()), field);
        }
        6 if at < asked.data.len() => {
            let part = &mut asked.data[at];
            corpus::change(part, rng);
            part.truncate(FRAME_BYTES);
        }
        _ => {
            let at = rng.usize(..=asked.data.len());
            let mut part = Vec::new();
            corpus::change(&mut part, rng);
            asked.data.insert(at, part);
        }
    }
}
