//! Server-sent events for the console: the status when it changes, the edges each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{Refusal, Text};
use crate::shared::Shared;
use crate::status::status_of;

/// Pages that may be open.
const STREAMS_MAX: usize = 32;
/// Time between two looks at the edges.
const EDGES_INTERVAL: Duration = Duration::from_secs(1);
/// Changes that come within this are shown together.
const COALESCE: Duration = Duration::from_millis(200);
/// Events that wait for a slow page; it then misses some, and each holds everything.
const QUEUE: usize = 2;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A place among the open streams.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken = OPEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < STREAMS_MAX).then_some(open + 1)
        });
        taken.ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) fn open(shared: &Arc<Shared>) -> Result<Response<Text>, Refusal> {
    let many = || Refusal(StatusCode::TOO_MANY_REQUESTS, format!("{STREAMS_MAX} pages are open already"));
    let place = Place::take().ok_or_else(many)?;
    let (sender, queue) = mpsc::channel(QUEUE);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let _place = place;
        feed(&shared, &sender).await;
    });
    let mut response = Response::new(Text::Events(queue));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// Feeds a page until it goes away.
async fn feed(shared: &Shared, sender: &mpsc::Sender<Bytes>) {
    let mut shows = shared.shows();
    let mut ticks = tokio::time::interval(EDGES_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    shows.mark_changed();
    loop {
        let event = tokio::select! {
            _ = ticks.tick() => event("edges", &shared.edges()),
            changed = shows.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(COALESCE).await;
                shows.borrow_and_update();
                event("status", &status_of(shared))
            }
            () = sender.closed() => return,
        };
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

fn event(name: &str, value: &impl serde::Serialize) -> Bytes {
    // JSON has no line breaks of its own, so one `data` field holds it.
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    format!("event: {name}\ndata: {json}\n\n").into()
}
