//! One customer: what it asks, and what it expects to hear.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::catalog::{self, Cart, PRODUCTS, Product, Products, WISHFUL_CART};
use crate::grpc::{self, Channel, Status, health};
use crate::http::{Client, Received, full};
use crate::inventory::{Change, ChangeKind, Reservation, Stock};
use crate::load::tally::{Tally, Unexpected};
use crate::order_book::Order;
use crate::orders::OrderList;
use crate::payments::{PAID, Payment};
use crate::pricing::{
    self, BatchGetPricesReply, BatchGetPricesRequest, GetPriceRequest, Price, QuoteItem, QuoteLine,
};
use crate::shipping::{PARCELS, Parcel};
use crate::users::{CUSTOMERS, User, VISITOR};

/// How long a customer waits after an answer that it did not expect, so that a broken system is not flooded.
const PAUSE_AFTER_UNEXPECTED: Duration = Duration::from_millis(50);
/// How long the next event of a stream may take.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Customer {
    id: &'static str,
    name: &'static str,
    /// Tells apart the requests of customers who share a name, and those of two loads.
    run: String,
    asked: u64,
    rounds: u64,
    pub(crate) http: Client,
    pricing: Channel,
    pub(crate) tally: Arc<Tally>,
    /// Whether what is asked is a gateway with the shop's manifest.
    pub(crate) edge: bool,
}

/// What a check says of a good answer, or what it wanted instead.
pub(crate) type Verdict<T> = Result<T, String>;

impl Customer {
    pub(crate) fn new(number: u32, http: Client, http2: Client, tally: Arc<Tally>, edge: bool) -> Self {
        let (id, name) = CUSTOMERS[number as usize % CUSTOMERS.len()];
        let run = format!("load-{:x}-{number}", std::process::id());
        Self { id, name, run, asked: 0, rounds: 0, http, pricing: Channel::over(http2), tally, edge }
    }

    /// Everything that a customer does on one visit.
    pub(crate) async fn round(&mut self) {
        self.rounds += 1;
        self.browse().await;
        let Some(cart) = self.look_into_cart().await else { return };
        self.ask_prices(&cart).await;
        self.order(&cart).await;
        match self.rounds % 4 {
            1 => self.look_at_the_past().await,
            2 => self.try_what_is_refused().await,
            3 => self.watch_and_quote(&cart).await,
            _ => {}
        }
    }

    async fn browse(&mut self) {
        self.get("/products", |answer| {
            let products: Products = body(answer, 200)?;
            same(products.items.len(), PRODUCTS.len())
        })
        .await;
        let (sku, name, category) = PRODUCTS[self.rounds as usize % PRODUCTS.len()];
        let wanted = Product { sku: sku.to_owned(), name: name.to_owned(), category: category.to_owned() };
        let canary = self.edge && self.rounds.is_multiple_of(4);
        let headers = if canary { one_header("x-canary", "yes") } else { HeaderMap::new() };
        let path = format!("/products/{sku}");
        self.ask(Method::GET, &path, headers, Bytes::new(), |answer| {
            same(body::<Product>(answer, 200)?, wanted)?;
            match header(answer, "x-catalog-edition") {
                "1" if !canary => Ok(()),
                "2" => Ok(()),
                other => {
                    Err(format!("an edition of the catalog, not `{other}` (canary asked for: {canary})"))
                }
            }
        })
        .await;
        self.get("/products?ids=cup-blue,unknown,tea-assam", |answer| {
            let products: Products = body(answer, 200)?;
            same(products.items.iter().map(|p| p.sku.as_str()).collect(), vec!["cup-blue", "tea-assam"])
        })
        .await;
    }

    async fn look_into_cart(&mut self) -> Option<Cart> {
        let id = format!("cart-{}", self.id);
        let wanted = catalog::cart(&id).ok()?;
        self.get(&format!("/carts/{id}"), |answer| {
            let cart: Cart = body(answer, 200)?;
            same(&cart, &wanted)?;
            Ok(cart)
        })
        .await
    }

    async fn ask_prices(&mut self, cart: &Cart) {
        let pricing = self.pricing.clone();
        let skus: Vec<String> = cart.items.iter().map(|item| item.sku.clone()).collect();
        let wanted: Vec<Price> = skus.iter().filter_map(|sku| pricing::price(sku).ok()).collect();
        let question = GetPriceRequest { sku: skus[0].clone() };
        let call =
            |headers| async move { pricing.unary::<Price>(pricing::GET_PRICE, headers, &question).await };
        let first = wanted[0].clone();
        self.ask_grpc(pricing::GET_PRICE, call, |price| same(said(price)?, first)).await;

        let (pricing, question) = (self.pricing.clone(), BatchGetPricesRequest { skus });
        let call = |headers| async move {
            pricing.unary::<BatchGetPricesReply>(pricing::BATCH_GET_PRICES, headers, &question).await
        };
        self.ask_grpc(pricing::BATCH_GET_PRICES, call, |reply| same(said(reply)?.prices, wanted)).await;
    }

    /// Orders, orders again with the same key, and finds the order in three places.
    async fn order(&mut self, cart: &Cart) {
        let key = format!("{}-{}", self.run, self.rounds);
        let total: i64 = cart.items.iter().map(|i| i64::from(i.quantity) * price_of(&i.sku)).sum();
        // 200 at once, where something on the way lost the first answer and asked again.
        let Some(order) = self.place(&key, &cart.id, &[201, 200], total).await else { return };
        self.tally.ordered();
        if self.place(&key, &cart.id, &[200], total).await.is_some_and(|again| again.id != order.id) {
            let got = "another order for the same idempotency-key".to_owned();
            self.report("POST /orders", got, format!("the order {}", order.id)).await;
        }
        self.get(&format!("/orders/{}", order.id), |answer| same(body::<Order>(answer, 200)?, order.clone()))
            .await;
        self.get(&format!("/orders?customer={}&limit=40", self.id), |answer| {
            let list: OrderList = body(answer, 200)?;
            if list.items.contains(&order) { Ok(()) } else { Err(format!("a list with {}", order.id)) }
        })
        .await;
        self.get(&format!("/payments/{}", order.id), |answer| {
            same(
                body::<Payment>(answer, 200)?,
                Payment { order: order.id.clone(), amount: total, status: "open".into() },
            )
        })
        .await;
    }

    async fn place(&mut self, key: &str, cart: &str, wanted: &[u16], total: i64) -> Option<Order> {
        let wish = json!({ "customer": self.id, "cart": cart }).to_string();
        let customer = self.id;
        self.ask(Method::POST, "/orders", one_header("idempotency-key", key), Bytes::from(wish), |answer| {
            let status = wanted.iter().find(|status| **status == answer.status).unwrap_or(&wanted[0]);
            let order: Order = body(answer, *status)?;
            same((order.customer.as_str(), order.cart.as_str(), order.total), (customer, cart, total))?;
            same(header(answer, "location"), format!("/orders/{}", order.id).as_str())?;
            Ok(order)
        })
        .await
    }

    async fn look_at_the_past(&mut self) {
        let wanted = User { id: self.id.to_owned(), name: self.name.to_owned() };
        self.get(&format!("/users/{}", self.id), |answer| same(body::<User>(answer, 200)?, wanted)).await;
        let (order, tracking, status) = PARCELS[self.rounds as usize % PARCELS.len()];
        let wanted = Parcel { order: order.into(), tracking: Some(tracking.into()), status: status.into() };
        self.get(&format!("/parcels/{order}"), |answer| same(body::<Parcel>(answer, 200)?, wanted)).await;
        let (order, amount) = PAID[0];
        self.get(&format!("/payments/{order}"), |answer| {
            same(
                body::<Payment>(answer, 200)?,
                Payment { order: order.into(), amount, status: "captured".into() },
            )
        })
        .await;
        // Only the first to ask gets 201; everybody may ask.
        let (order, amount) = PAID[3];
        self.ask(Method::POST, &format!("/refunds/{order}"), HeaderMap::new(), Bytes::new(), |answer| {
            let payment: Payment = body(answer, if answer.status == 201 { 201 } else { 200 })?;
            same(payment, Payment { order: order.into(), amount, status: "refunded".into() })
        })
        .await;
    }

    async fn try_what_is_refused(&mut self) {
        self.get("/products/unknown", |answer| refused(answer, 404)).await;
        self.get("/orders/unknown", |answer| refused(answer, 404)).await;
        let wish = |customer: &str, cart: &str| {
            Bytes::from(json!({ "customer": customer, "cart": cart }).to_string())
        };
        let key = |what: &str| one_header("idempotency-key", what);
        let own = wish(self.id, &format!("cart-{}", self.id));
        self.ask(Method::POST, "/orders", HeaderMap::new(), own, |answer| refused(answer, 400)).await;
        let visitor = wish(VISITOR.0, "cart-zoe");
        self.ask(Method::POST, "/orders", key("visitor"), visitor, |answer| refused(answer, 403)).await;
        let wishful = wish(CUSTOMERS[0].0, WISHFUL_CART);
        self.ask(Method::POST, "/orders", key("wishful"), wishful, |answer| refused(answer, 409)).await;
        let broken = Bytes::from_static(b"{\"customer\":");
        self.ask(Method::POST, "/orders", key("broken"), broken, |answer| refused(answer, 422)).await;

        let (pricing, question) = (self.pricing.clone(), GetPriceRequest { sku: "unknown".to_owned() });
        let call =
            |headers| async move { pricing.unary::<Price>(pricing::GET_PRICE, headers, &question).await };
        self.ask_grpc(pricing::GET_PRICE, call, |price| match price {
            Err(status) if status.code == grpc::NOT_FOUND => Ok(()),
            other => Err(format!("NOT_FOUND, not {other:?}")),
        })
        .await;
    }

    /// The two streaming methods, to their ends.
    async fn watch_and_quote(&mut self, cart: &Cart) {
        let (pricing, skus) = (self.pricing.clone(), vec!["tea-assam".to_owned(), "cup-blue".to_owned()]);
        let wanted: Vec<Price> =
            [&skus[..]; 3].concat().iter().filter_map(|sku| pricing::price(sku).ok()).collect();
        let question = pricing::WatchPricesRequest { skus, interval_ms: 10, rounds: 3 };
        let call = |headers| async move {
            let mut prices = pricing.ask_many::<Price>(pricing::WATCH_PRICES, headers, &question).await?;
            let mut heard = Vec::new();
            while let Some(price) = prices.receive().await? {
                heard.push(price);
            }
            Ok(heard)
        };
        self.ask_grpc(pricing::WATCH_PRICES, call, |heard| same(said(heard)?, wanted)).await;

        let (pricing, items) = (self.pricing.clone(), cart.items.clone());
        let wanted: i64 = cart.items.iter().map(|i| i64::from(i.quantity) * price_of(&i.sku)).sum();
        let call = |headers| async move {
            let (ours, mut lines) = pricing.open::<QuoteLine>(pricing::QUOTE, headers).await?;
            let mut total = 0;
            // The next item is said only after the line of the one before was heard.
            for item in items {
                ours.send(&QuoteItem { sku: item.sku.clone(), quantity: item.quantity }).await;
                let line = lines.receive().await?;
                let line =
                    line.ok_or_else(|| Status::new(grpc::INTERNAL, format!("no line for {}", item.sku)))?;
                total = line.total;
            }
            drop(ours);
            match lines.receive().await? {
                None => Ok(total),
                Some(line) => Err(Status::new(grpc::INTERNAL, format!("a line too many: {line:?}"))),
            }
        };
        self.ask_grpc(pricing::QUOTE, call, |total| same(said(total)?, wanted)).await;
    }

    /// Once: listens to the stock, reserves something, and hears of it.
    pub(crate) async fn watch_stock(&mut self) {
        let sku = "pot-glass";
        let headers = self.next_headers(HeaderMap::new());
        let opened = self.http.open(Method::GET, "/stock/changes", headers, full("")).await;
        let mut events = match opened {
            Ok(answer) if answer.status() == 200 => Events { body: answer.into_body(), read: String::new() },
            other => {
                let got =
                    other.map_or_else(|error| format!("{error:#}"), |answer| answer.status().to_string());
                return self.report("GET /stock/changes", got, "a stream of events".to_owned()).await;
            }
        };
        let ready = events.next().await;
        self.settle("GET /stock/changes", ready, |event| same(event.as_str(), "event: ready\ndata: {}"))
            .await;

        let what = Bytes::from(json!({ "sku": sku, "quantity": 2 }).to_string());
        let reserved = self.ask(Method::POST, "/reservations", HeaderMap::new(), what, |answer| {
            let reservation: Reservation = body(answer, 201)?;
            same((reservation.what.sku.as_str(), reservation.what.quantity), (sku, 2))?;
            Ok(reservation.id)
        });
        let Some(id) = reserved.await else { return };
        let event = events.next().await;
        self.settle("GET /stock/changes", event, |event| told(&event, &id, ChangeKind::Reserved)).await;
        self.ask(Method::DELETE, &format!("/reservations/{id}"), HeaderMap::new(), Bytes::new(), |answer| {
            same(answer.status, 204)
        })
        .await;
        let event = events.next().await;
        self.settle("GET /stock/changes", event, |event| told(&event, &id, ChangeKind::Released)).await;
        self.get(&format!("/stock/{sku}"), |answer| {
            let stock: Stock = body(answer, 200)?;
            if stock.available > 0 { Ok(()) } else { Err("some in stock".to_owned()) }
        })
        .await;

        let (pricing, question) = (self.pricing.clone(), health::HealthCheckRequest::default());
        let call = |headers| async move {
            pricing.unary::<Price>("/pricing.v1.Pricing/Unknown", headers, &question).await
        };
        self.ask_grpc("/pricing.v1.Pricing/Unknown", call, |price| match price {
            Err(status) if status.code == grpc::UNIMPLEMENTED => Ok(()),
            other => Err(format!("UNIMPLEMENTED, not {other:?}")),
        })
        .await;
    }

    pub(crate) async fn get<T>(
        &mut self,
        path: &str,
        check: impl FnOnce(&Received) -> Verdict<T>,
    ) -> Option<T> {
        self.ask(Method::GET, path, HeaderMap::new(), Bytes::new(), check).await
    }

    /// Asks, and settles whether the answer is the expected one.
    pub(crate) async fn ask<T>(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        content: Bytes,
        check: impl FnOnce(&Received) -> Verdict<T>,
    ) -> Option<T> {
        let headers = self.next_headers(headers);
        let may_resend = method.is_idempotent() || headers.contains_key("idempotency-key");
        let asked = format!("{method} {path}");
        let start = Instant::now();
        let mut answer = self.http.call(method.clone(), path, headers.clone(), content.clone()).await;
        if may_resend && answer.as_ref().is_err_and(was_closed) {
            self.tally.resent();
            answer = self.http.call(method, path, headers, content).await;
        }
        match answer {
            Err(error) => self.report(&asked, format!("no answer: {error:#}"), "an answer".to_owned()).await,
            Ok(answer) => match check(&answer) {
                Ok(value) => {
                    self.tally.expected(start.elapsed());
                    return Some(value);
                }
                Err(wanted) => {
                    let got = format!("{} {}", answer.status, answer.first_line());
                    self.report(&asked, got, wanted).await;
                }
            },
        }
        None
    }

    /// The same for gRPC; `check` sees the status, too, where that is what is expected.
    async fn ask_grpc<A: Debug, F: Future<Output = Result<A, Status>>>(
        &mut self,
        method: &str,
        call: impl FnOnce(HeaderMap) -> F,
        check: impl FnOnce(Result<A, Status>) -> Verdict<()>,
    ) {
        let headers = self.next_headers(HeaderMap::new());
        let start = Instant::now();
        let answer = call(headers).await;
        let got = format!("{answer:?}");
        match check(answer) {
            Ok(()) => self.tally.expected(start.elapsed()),
            Err(wanted) => self.report(method, got, wanted).await,
        }
    }

    /// Settles something else that was heard.
    async fn settle(
        &mut self,
        asked: &str,
        heard: Result<String, String>,
        check: impl FnOnce(String) -> Verdict<()>,
    ) {
        let got = format!("{heard:?}");
        match heard.and_then(check) {
            Ok(()) => self.tally.expected(Duration::ZERO),
            Err(wanted) => self.report(asked, got, wanted).await,
        }
    }

    async fn report(&self, asked: &str, got: String, wanted: String) {
        let request_id = format!("{}-{}", self.run, self.asked);
        self.tally.unexpected(Unexpected { request_id, asked: asked.to_owned(), got, wanted });
        sleep(PAUSE_AFTER_UNEXPECTED).await;
    }

    /// Gives the request an id by which it is found in the logs.
    fn next_headers(&mut self, mut headers: HeaderMap) -> HeaderMap {
        self.asked += 1;
        if let Ok(id) = HeaderValue::from_str(&format!("{}-{}", self.run, self.asked)) {
            headers.insert("x-request-id", id);
        }
        headers
    }
}

/// Server-sent events, one by one.
struct Events {
    body: Incoming,
    read: String,
}

impl Events {
    /// The next event as it was sent, without comments.
    async fn next(&mut self) -> Result<String, String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                if !event.starts_with(':') {
                    return Ok(event);
                }
                continue;
            }
            let frame =
                timeout(EVENT_TIMEOUT, self.body.frame()).await.map_err(|_| "an event in time".to_owned())?;
            let frame =
                frame.ok_or("a stream that goes on")?.map_err(|error| format!("a whole stream: {error}"))?;
            self.read.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data)));
        }
    }
}

/// Whether `event` tells of our reservation. (Events of other customers of another load would be told, too.)
fn told(event: &str, id: &str, kind: ChangeKind) -> Verdict<()> {
    let wanted = || format!("a change that says that {id} was {kind:?}");
    let data = event.strip_prefix("event: change\ndata: ").ok_or_else(wanted)?;
    let change: Change = serde_json::from_str(data).map_err(|_| wanted())?;
    if change.reservation == id && change.kind == kind { Ok(()) } else { Err(wanted()) }
}

fn price_of(sku: &str) -> i64 {
    pricing::price(sku).map_or(0, |price| price.amount)
}

/// The body of an answer with this status.
pub(crate) fn body<T: DeserializeOwned>(answer: &Received, status: u16) -> Verdict<T> {
    same(answer.status, status)?;
    answer.json().map_err(|error| format!("the body that was described: {error:#}"))
}

/// A refusal with this status that says why.
fn refused(answer: &Received, status: u16) -> Verdict<()> {
    same(answer.status, status)?;
    same(header(answer, "content-type"), "application/problem+json")
}

fn said<T>(answer: Result<T, Status>) -> Verdict<T> {
    answer.map_err(|_| "grpc-status 0".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "values that were just made for the comparison")]
pub(crate) fn same<T: PartialEq + Debug>(got: T, wanted: T) -> Verdict<()> {
    if got == wanted { Ok(()) } else { Err(format!("{wanted:?}")) }
}

pub(crate) fn header<'a>(answer: &'a Received, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

pub(crate) fn one_header(name: &'static str, value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).ok();
    value.map(|value| (HeaderName::from_static(name), value)).into_iter().collect()
}

/// Whether a connection was closed before it answered: a race that RFC 9112 §9.5 leaves to the client.
fn was_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let incomplete =
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let reset = cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
        });
        incomplete || reset
    })
}
