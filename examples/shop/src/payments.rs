//! payments: what was paid for past orders, and giving it back.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::http::{Answer, Call, Client, Problem, Service, json, passed_on};
use crate::order_book::Order;

/// Orders of the time before this program started, with what was paid for each, in cents.
pub(crate) const PAID: [(&str, i64); 4] =
    [("past-1", 4430), ("past-2", 1290), ("past-3", 8900), ("past-4", 700)];

pub(crate) struct Payments {
    refunded: Mutex<HashSet<String>>,
    orders: Client,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Payment {
    pub(crate) order: String,
    /// Cents.
    pub(crate) amount: i64,
    /// `open`, `captured` or `refunded`.
    pub(crate) status: String,
}

impl Service for Payments {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        let (method, path) = call.route();
        match (method, &path[..]) {
            ("GET", ["payments", order]) => Ok(json(200, &self.payment(order, &call).await?)),
            ("POST", ["refunds", order]) => {
                let payment = self.payment(order, &call).await?;
                match payment.status.as_str() {
                    "open" => Err(Problem::new(409, format!("nothing was paid yet for `{order}`"))),
                    "refunded" => Ok(json(200, &payment)),
                    _ => {
                        // At most one for each of the past orders, so the set is bounded.
                        self.refunded().insert(payment.order.clone());
                        Ok(json(201, &Payment { status: "refunded".to_owned(), ..payment }))
                    }
                }
            }
            _ => Err(Problem::no_such_operation(&call)),
        }
    }
}

impl Payments {
    /// `orders`: the URL of orders.
    pub(crate) fn new(orders: &str) -> Result<Self> {
        Ok(Self { refunded: Mutex::default(), orders: Client::new(orders)? })
    }

    fn refunded(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.refunded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was paid for a past order; for a new one, what is to be paid, as orders says.
    async fn payment(&self, order: &str, call: &Call) -> Result<Payment, Problem> {
        if let Some((id, amount)) = PAID.iter().find(|(id, _)| *id == order) {
            let status = if self.refunded().contains(*id) { "refunded" } else { "captured" };
            return Ok(Payment { order: (*id).to_owned(), amount: *amount, status: status.to_owned() });
        }
        let path = format!("/orders/{order}");
        let known: Option<Order> = self.orders.get("orders", &path, passed_on(&call.head.headers)).await?;
        let known = known.ok_or_else(|| Problem::new(404, format!("there is no order `{order}`")))?;
        Ok(Payment { order: known.id, amount: known.total, status: "open".to_owned() })
    }
}
