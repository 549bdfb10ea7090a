//! What stays open while everything changes: WebSockets and server-sent events, each message looked at.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use weft_testkit::http;
use weft_testkit::websocket;

use super::*;

/// Between two messages.
const BEAT: Duration = Duration::from_millis(20);
/// Messages of a WebSocket that is closed then, and another one opened.
const SHORT: u64 = 50;
/// Events of a stream.
const EVENTS: u64 = 20;

/// Messages until the end: whoever fails ends with why.
type Talk = fn(SocketAddr, &AtomicBool) -> io::Result<u64>;

/// Who keeps a connection open for its own sake.
const TALKS: [(&str, Talk); 3] = [
    ("one WebSocket all the time", |to, stop| socket(to, stop, u64::MAX)),
    ("WebSockets one after the other", |to, stop| many(to, stop, |to, stop| socket(to, stop, SHORT))),
    ("server-sent events", |to, stop| many(to, stop, events)),
];

/// Talks until they are stopped.
pub(super) struct Streams {
    stop: Arc<AtomicBool>,
    talks: Vec<(&'static str, JoinHandle<io::Result<u64>>)>,
}

impl Streams {
    /// Starts all of them toward a gateway that leads to a `testkit-service`.
    pub(super) fn start(to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let talks = TALKS.map(|(name, talk)| {
            let stop = Arc::clone(&stop);
            (name, std::thread::spawn(move || talk(to, &stop)))
        });
        Self { stop, talks: talks.into() }
    }

    /// Ends them; what none of them should have met.
    pub(super) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut unusual = Vec::new();
        for (name, talk) in self.talks {
            match talk.join().expect("a talk panics at nothing") {
                Ok(messages) if messages > 0 => say(&format!("  {name}: {messages} messages")),
                Ok(_) => unusual.push(format!("{name}: no message")),
                Err(error) => unusual.push(format!("{name}: {error}")),
            }
        }
        unusual
    }
}

fn many(to: SocketAddr, stop: &AtomicBool, talk: Talk) -> io::Result<u64> {
    let mut messages = 0;
    while !stop.load(Ordering::Relaxed) {
        messages += talk(to, stop)?;
    }
    Ok(messages)
}

fn socket(to: SocketAddr, stop: &AtomicBool, most: u64) -> io::Result<u64> {
    let mut client = Client::connect(to)?;
    websocket::open(&mut client, "/ws")?;
    let mut messages = 0;
    while messages < most && !stop.load(Ordering::Relaxed) {
        let text = format!("message {messages}");
        websocket::send(&mut client, &text)?;
        let heard = websocket::receive(&mut client)?;
        if heard != text {
            return Err(io::Error::other(format!("{heard} came back of {text}")));
        }
        messages += 1;
        pass(BEAT);
    }
    Ok(messages)
}

fn events(to: SocketAddr, _: &AtomicBool) -> io::Result<u64> {
    let mut client = Client::connect(to)?;
    client.write(format!("GET /events/{EVENTS} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())?;
    for number in 1..=EVENTS {
        let next = http::send(to, &Request::new("POST", "/next"))?;
        if next.status != 204 {
            return Err(io::Error::other(next.outcome()));
        }
        if number == 1 {
            let head = client.read_head()?;
            if head.status != 200 {
                return Err(io::Error::other(head.outcome()));
            }
        }
        let heard = client.read_chunk()?.unwrap_or_default();
        if heard != format!("data: {number}\n\n").into_bytes() {
            return Err(io::Error::other(format!("event {number} is {}", String::from_utf8_lossy(&heard))));
        }
        pass(BEAT);
    }
    match client.read_chunk()? {
        None => Ok(EVENTS),
        Some(more) => Err(io::Error::other(format!("after the last: {}", String::from_utf8_lossy(&more)))),
    }
}
