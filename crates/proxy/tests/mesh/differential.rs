//! What Weft forwards means one thing: nginx, HAProxy and Node's server read of it the same requests as a strict reader of
//! ours does, whatever was sent. Otherwise it was refused, and none of them saw anything.
//!
//! Three ways lead to each server: through an edge alone (HTTP/1.1 on both sides), through an edge and a sidecar, and
//! through two sidecars (HTTP/2 between them). Two more begin with HTTP/2, at an edge alone and at one with a sidecar. A case
//! that fails names itself; one that was made at random names its seed. `cargo xtask differ --mutations N` makes more.

mod answers;
mod backends;
mod corpus;
mod seen;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use backends::Backend;
use corpus::Case;
use seen::Seen;
use streams::Stream;
use weft_proxy::Limits;
use weft_proxy::fuzzing::codec::{BodyDecoder, BodyEvent, HeadLimits, HeadScan, parse_request};
use weft_proxy::fuzzing::head::Head;

use crate::hostile::frame;
use crate::support::wire::Wire;
use crate::support::{Mesh, mesh, within};

/// Cases made at random where nobody says how many.
const MUTATIONS: u64 = 150;

const SERVERS: [&str; 3] = ["nginx", "haproxy", "node"];

/// What lies between a client and a server.
struct Way {
    name: &'static str,
    /// Whether the client is a service, with a sidecar for what it calls; otherwise it comes to the edge.
    from_service: bool,
    /// Whether the server has a sidecar.
    to_service: bool,
    /// Whether the client speaks HTTP/2.
    http2: bool,
}

/// A way to a server.
struct Lane {
    way: &'static Way,
    entry: SocketAddr,
    backend: Backend,
    _mesh: Mesh,
}

/// What a case came to on one lane.
#[derive(Debug)]
struct Outcome {
    /// Of the first final answer.
    status: Option<u16>,
    seen: Vec<Seen>,
}

const WAYS: [Way; 5] = [
    Way { name: "edge", from_service: false, to_service: false, http2: false },
    Way { name: "edge and sidecar", from_service: false, to_service: true, http2: false },
    Way { name: "two sidecars", from_service: true, to_service: true, http2: false },
    Way { name: "HTTP/2 to an edge", from_service: false, to_service: false, http2: true },
    Way { name: "HTTP/2 to an edge and a sidecar", from_service: false, to_service: true, http2: true },
];

async fn lane(way: &'static Way, backend: Backend) -> Lane {
    let direct = format!("url: \"http://127.0.0.1:{}\"", backend.port);
    let api = if way.to_service { "run: x" } else { direct.as_str() };
    let manifest = format!(
        "system: test\nservices:\n  web: {{ run: x, calls: [api] }}\n  api: {{ {api} }}\n\
         resilience: {{ api: {{ retry: none, timeout: 5s }} }}\ngateway: {{ auth: none, timeout: 5s, routes: {{ ANY /**: api }} }}\n"
    );
    // Nobody waits for these but a case whose end we foresaw wrongly.
    let limits = Limits { head_timeout: std::time::Duration::from_secs(5), ..Limits::default() };
    let mut recipe = mesh(&manifest).limits(limits).on("web", backend.port);
    if way.to_service {
        recipe = recipe.on("api", backend.port);
    }
    let mesh = recipe.start().await;
    let entry = if way.from_service { mesh.toward("web", "api") } else { mesh.edge_address() };
    Lane { way, entry, backend, _mesh: mesh }
}

impl Lane {
    /// Sends a case, and tells what came of it.
    async fn run(&mut self, number: usize, case: &Case) -> Outcome {
        let status = match self.way.http2 {
            true => self.open(&case.bytes).await,
            false => finals(&self.send(&case.bytes).await).first().copied(),
        };
        let marker = format!("GET /barrier-{number} HTTP/1.1\r\nHost: barrier\r\nConnection: close\r\n\r\n");
        let mut wire = Wire::to(self.entry).await;
        wire.write(&marker).await;
        let answer = wire.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        let mut seen = Vec::new();
        loop {
            let one = within("what was seen", self.backend.seen.recv()).await.unwrap();
            if one.is_barrier() {
                assert_eq!(one.target, format!("/barrier-{number}"), "a marker of another case");
                break;
            }
            seen.push(self.normal(one));
        }
        Outcome { status, seen }
    }

    /// A service with an address of its own is called by that.
    fn normal(&self, mut seen: Seen) -> Seen {
        if seen.host == format!("127.0.0.1:{}", self.backend.port) {
            "itself".clone_into(&mut seen.host);
        }
        seen
    }

    /// Sends bytes and a last request that closes, and reads to the end.
    async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let last = b"GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n".as_slice();
        let all = [bytes, last].concat();
        let (answers, ends) = forecast(&all, self.way);
        let mut wire = Wire::to(self.entry).await;
        wire.try_write(&all).await;
        let mut got = Vec::new();
        if !ends {
            // It waits for more than will come. What is whole is answered first, because who leaves is not served.
            while finals(&got).len() < answers {
                let more = wire.some().await;
                if more.is_empty() {
                    break;
                }
                got.extend(more);
            }
            wire.finish().await;
        }
        got.extend(wire.rest().await);
        got
    }

    /// Sends the frames of one stream, which end it, and reads until the edge has ended it too. The status of its answer, if
    /// there is one and the static table holds it.
    async fn open(&self, frames: &[u8]) -> Option<u16> {
        const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let mut wire = Wire::to(self.entry).await;
        let settings = frame(4, 0, 0, &[]);
        wire.try_write([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], frames].concat()).await;
        let mut status = None;
        loop {
            let head = wire.try_bytes(9).await?;
            let payload = wire.try_bytes(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).await?;
            match head[3] {
                // RST_STREAM and GOAWAY: what was answered before it does not count.
                3 | 7 => return None,
                // Interim answers have no index there.
                1 if status.is_none() => {
                    let index = usize::from(payload[0]).checked_sub(0x88);
                    status = index.and_then(|index| STATUSES.get(index).copied());
                }
                _ => {}
            }
            if head[3] <= 1 && head[4] & 1 != 0 {
                return status;
            }
        }
    }
}

/// How many whole requests stand in these bytes, and whether their connection ends by itself. Only says when to stop
/// waiting: where it is wrong the case takes longer and nothing else.
fn forecast(mut bytes: &[u8], way: &Way) -> (usize, bool) {
    let limits = if way.from_service { HeadLimits::MESH } else { HeadLimits::EDGE };
    let mut answers = 0;
    loop {
        let mut head = Head::new();
        let parsed = match parse_request(bytes, &mut HeadScan::default(), &limits, &mut head) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return (answers, false),
            Err(_) => return (answers, true),
        };
        bytes = &bytes[parsed.head_bytes..];
        let mut decoder = BodyDecoder::new(parsed.framing);
        loop {
            match decoder.decode(bytes) {
                Ok((taken, BodyEvent::Data(_))) => bytes = &bytes[taken..],
                Ok((taken, BodyEvent::End)) => {
                    bytes = &bytes[taken..];
                    break;
                }
                Ok((_, BodyEvent::More)) => return (answers, false),
                Err(_) => return (answers, true),
            }
        }
        answers += 1;
        if !parsed.keep_alive {
            return (answers, true);
        }
    }
}

/// The statuses of the answers in these bytes, interim ones left out. No body of an answer here holds such a line.
fn finals(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let statuses = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok());
    statuses.filter(|status| *status >= 200).collect()
}

/// Why a server refuses what is a request by the letter, so that it does not see it at all. That is its right: a request
/// that it reads in another way is what must not be.
fn may_refuse(server: &str, seen: &Seen) -> bool {
    let method = seen.method.as_str();
    match server {
        // It knows methods of letters, and no target but a path.
        "nginx" => {
            !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b'-')
                || seen.target == "*"
        }
        // A WebSocket without a key is none (RFC 6455, 4.1), `PRI` begins HTTP/2 (RFC 9113, 3.4), and a name has a length of one
        // byte.
        "haproxy" => {
            let has = |name: &str| seen.fields.iter().any(|(have, _)| have == name);
            (has("upgrade") && !has("sec-websocket-key"))
                || method == "PRI"
                || seen.fields.iter().any(|(name, _)| name.len() > 255)
        }
        // It knows the methods that are registered.
        "node" => !NODE_METHODS.contains(&method),
        _ => false,
    }
}

const NODE_METHODS: [&str; 14] = [
    "DELETE", "GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "COPY", "MOVE", "LOCK",
    "UNLOCK", "M-SEARCH",
];

/// What is wrong with an outcome, compared with what the recorder saw.
fn difference(server: &str, recorded: &Outcome, outcome: &Outcome) -> Option<String> {
    let mut theirs = outcome.seen.iter().peekable();
    // Who refuses one request closes its connection, and what came behind it on that may be lost with it.
    let mut refused = false;
    for ours in &recorded.seen {
        let next = theirs.peek().copied();
        refused |= may_refuse(server, ours);
        match next {
            Some(seen) if same(server, ours, seen) => drop(theirs.next()),
            _ if may_refuse(server, ours) => {}
            None if refused => {}
            other => return Some(format!("{server} saw {other:?}\n  where the recorder saw {ours:?}")),
        }
    }
    theirs.next().map(|more| format!("{server} saw {more:?}\n  and the recorder nothing"))
}

fn same(server: &str, ours: &Seen, theirs: &Seen) -> bool {
    let fields = server != "node" || ours.fields == theirs.fields;
    let is =
        |seen: &Seen| (seen.method.clone(), seen.target.clone(), seen.host.clone(), seen.bytes, seen.sum);
    fields && is(ours) == is(theirs)
}

/// A number from the environment of a longer run.
fn said(name: &str) -> Option<u64> {
    std::env::var_os(name).map(|text| text.to_str().unwrap().parse().unwrap())
}

/// Of what somebody thought, and that is so much, what chance makes.
fn and_mutations<T>(mut all: Vec<T>, least: usize, mutated: fn(&[T], u64) -> T) -> Vec<T> {
    assert!(all.len() >= least, "{} cases", all.len());
    let seeds = match said("WEFT_DIFFER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..said("WEFT_DIFFER_MUTATIONS").unwrap_or(MUTATIONS),
    };
    let more: Vec<T> = seeds.map(|seed| mutated(&all, seed)).collect();
    all.extend(more);
    all
}

#[tokio::test]
async fn three_servers_read_what_is_forwarded_as_one() {
    if !backends::have(&SERVERS) {
        return;
    }
    let (_running, ways) = backends::start(WAYS.len()).await;
    let mut lanes = Vec::new();
    for (way, backends) in WAYS.iter().zip(ways) {
        for backend in backends {
            lanes.push(lane(way, backend).await);
        }
    }
    let cases = Arc::new(and_mutations(corpus::all(), 400, corpus::mutated));
    let streams = and_mutations(streams::all(), 250, streams::mutated);
    let opened: Arc<Vec<Case>> = Arc::new(streams.iter().map(Stream::case).collect());
    let sent = |way: &Way| if way.http2 { &opened } else { &cases };
    let runs: Vec<_> = lanes
        .into_iter()
        .map(|mut lane| {
            let cases = Arc::clone(sent(lane.way));
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for (number, case) in cases.iter().enumerate() {
                    outcomes.push(lane.run(number, case).await);
                }
                (lane.way, lane.backend.name, outcomes)
            })
        })
        .collect();
    let mut wrong = Vec::new();
    let mut recorded: Vec<Outcome> = Vec::new();
    for run in runs {
        let (way, server, outcomes) = run.await.unwrap();
        if server == "recorder" {
            recorded = outcomes;
            match way.http2 {
                true => faults(way, &streams, &recorded, &mut wrong),
                false => refusals(way, &cases, &recorded, &mut wrong),
            }
            continue;
        }
        for ((case, ours), theirs) in sent(way).iter().zip(&recorded).zip(&outcomes) {
            if let Some(difference) = difference(server, ours, theirs) {
                let bytes = String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(600)]).into_owned();
                wrong.push(format!("{} ({}): {difference}\n  for {bytes:?}", case.name, way.name));
            }
        }
    }
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differences:\n{shown}", wrong.len());
}

/// What is to be refused is, with that status, and reaches nobody.
fn refusals(way: &Way, cases: &[Case], outcomes: &[Outcome], wrong: &mut Vec<String>) {
    for (case, outcome) in cases.iter().zip(outcomes) {
        let Some(status) = case.refused else { continue };
        // This is HTTP/2, and is answered in it.
        if case.bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
            continue;
        }
        // A mesh takes longer heads and underscores; see `HeadLimits`.
        if way.from_service && (case.name.contains("underscore") || case.name.starts_with("size/")) {
            continue;
        }
        if outcome.status != Some(status) || !outcome.seen.is_empty() {
            wrong.push(format!("{} ({}): not {status} but {outcome:?}", case.name, way.name));
        }
    }
}

/// What was read of each stream is what was asked.
fn faults(way: &Way, streams: &[Stream], outcomes: &[Outcome], wrong: &mut Vec<String>) {
    for (stream, outcome) in streams.iter().zip(outcomes) {
        if let Some(fault) = stream.fault(outcome) {
            wrong.push(format!("({}) {fault}", way.name));
        }
    }
}
