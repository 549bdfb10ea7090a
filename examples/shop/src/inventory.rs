//! inventory: what is in stock, what is reserved of it, and a stream of every change.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::http::{Answer, Body, Call, Frame, Problem, Service, full, json, stopped, stream};

/// Pieces of each product at the start. The last one is what nobody can buy.
const STOCK: [(&str, u32); 12] = [
    ("tea-assam", 5000),
    ("tea-sencha", 5000),
    ("tea-oolong", 5000),
    ("tea-puerh", 5000),
    ("coffee-sidamo", 5000),
    ("coffee-huila", 5000),
    ("coffee-decaf", 5000),
    ("pot-glass", 800),
    ("pot-iron", 800),
    ("cup-plain", 9000),
    ("cup-blue", 9000),
    ("kettle-copper", 0),
];
/// Most reservations at a time.
const RESERVATIONS_MAX: usize = 10_000;
/// Changes that a slow listener may be behind; then it is told that it missed some.
const BEHIND_MAX: usize = 256;
/// A comment is sent when nothing else was for so long, so that a dead listener is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) struct Inventory {
    shelf: Mutex<Shelf>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Shelf {
    reservations: HashMap<String, NewReservation>,
    /// How many reservations there ever were.
    count: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Stock {
    pub(crate) sku: String,
    pub(crate) available: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewReservation {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) what: NewReservation,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The reservation that was made or given up.
    pub(crate) reservation: String,
    pub(crate) kind: ChangeKind,
    #[serde(flatten)]
    pub(crate) stock: Stock,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    Reserved,
    Released,
}

impl Service for Inventory {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        match (call.route().0, &call.route().1[..]) {
            ("GET", ["stock", "changes"]) => Ok(self.changes(call)),
            ("GET", ["stock", sku]) => Ok(json(200, &self.shelf().stock(sku)?)),
            ("POST", ["reservations"]) => {
                let wanted = call.json().await?;
                let (reservation, stock) = self.shelf().reserve(wanted)?;
                self.tell(&reservation.id, ChangeKind::Reserved, stock);
                Ok(json(201, &reservation))
            }
            ("DELETE", ["reservations", id]) => {
                let released = self.shelf().release(id);
                if let Some(stock) = released {
                    self.tell(id, ChangeKind::Released, stock);
                }
                Ok(no_content())
            }
            _ => Err(Problem::no_such_operation(&call)),
        }
    }
}

impl Inventory {
    pub(crate) fn new() -> Self {
        Self { shelf: Mutex::default(), changes: broadcast::Sender::new(BEHIND_MAX) }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, reservation: &str, kind: ChangeKind, stock: Stock) {
        // Nobody may be listening, and that is fine.
        drop(self.changes.send(Change { reservation: reservation.to_owned(), kind, stock }));
    }

    /// Server-sent events, without end: `ready` first, then each change.
    fn changes(&self, call: Call) -> Answer {
        let (sender, body) = stream();
        let (mut changes, mut stop) = (self.changes.subscribe(), call.stop);
        tokio::spawn(async move {
            let mut next = "event: ready\ndata: {}\n\n".to_owned();
            while sender.send(Frame::data(next.into())).await.is_ok() {
                next = tokio::select! {
                    () = sender.closed() => return,
                    () = stopped(&mut stop) => return,
                    () = tokio::time::sleep(KEEP_ALIVE) => ": still here\n\n".to_owned(),
                    change = changes.recv() => match change {
                        Ok(change) => format!("event: change\ndata: {}\n\n", serde_json::to_string(&change).unwrap_or_default()),
                        Err(broadcast::error::RecvError::Lagged(missed)) => format!("event: missed\ndata: {missed}\n\n"),
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                };
            }
        });
        event_stream(body)
    }
}

impl Shelf {
    fn stock(&self, sku: &str) -> Result<Stock, Problem> {
        let found = STOCK.iter().find(|(known, _)| *known == sku);
        let (sku, pieces) =
            found.ok_or_else(|| Problem::new(404, format!("there is no stock of `{sku}`")))?;
        let reserved: u32 =
            self.reservations.values().filter(|held| held.sku == *sku).map(|held| held.quantity).sum();
        Ok(Stock { sku: (*sku).to_owned(), available: pieces.saturating_sub(reserved) })
    }

    fn reserve(&mut self, what: NewReservation) -> Result<(Reservation, Stock), Problem> {
        let mut stock = self.stock(&what.sku)?;
        if what.quantity == 0 {
            return Err(Problem::new(422, "nothing is reserved by a quantity of 0"));
        }
        let left = stock.available.checked_sub(what.quantity);
        stock.available =
            left.ok_or_else(|| Problem::new(409, format!("only {} in stock", stock.available)))?;
        if self.reservations.len() >= RESERVATIONS_MAX {
            return Err(Problem::new(503, "too many reservations are open"));
        }
        self.count += 1;
        let id = format!("r-{}", self.count);
        self.reservations.insert(id.clone(), what.clone());
        Ok((Reservation { id, what }, stock))
    }

    /// Gives up a reservation; nothing if there is none, so that it may be said twice.
    fn release(&mut self, id: &str) -> Option<Stock> {
        let held = self.reservations.remove(id)?;
        self.stock(&held.sku).ok()
    }
}

fn event_stream(body: Body) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn no_content() -> Answer {
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(quantity: u32) -> NewReservation {
        NewReservation { sku: "pot-iron".to_owned(), quantity }
    }

    #[test]
    fn what_is_reserved_is_not_available_until_it_is_released() {
        let mut shelf = Shelf::default();
        let (reservation, stock) = shelf.reserve(wanted(799)).unwrap();
        assert_eq!(stock.available, 1);
        assert_eq!(shelf.reserve(wanted(2)).unwrap_err().status, 409);
        assert_eq!(shelf.release(&reservation.id).unwrap().available, 800);
        assert!(shelf.release(&reservation.id).is_none());
    }

    #[test]
    fn reservations_have_a_limit() {
        let mut shelf = Shelf::default();
        for number in 0..RESERVATIONS_MAX {
            shelf
                .reservations
                .insert(format!("x-{number}"), NewReservation { sku: "cup-blue".to_owned(), quantity: 0 });
        }
        assert_eq!(shelf.reserve(wanted(1)).unwrap_err().status, 503);
        assert_eq!(shelf.reserve(wanted(0)).unwrap_err().status, 422);
    }
}
