//! The whole shop in one process, wired directly, with the load as its customers: the services must be right by
//! themselves before anything is put between them.

use std::sync::Arc;

use anyhow::Result;
use http::HeaderMap;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{Answer, Call, Client, Problem, Service, serve};
use crate::load::{Options, Until, play};
use crate::order_book::OrderBook;
use crate::{catalog, inventory, orders, payments, pricing, shipping, users};

/// Sends each request on by the first segment of its path: the least that can stand in for a gateway.
struct Router {
    rest: Vec<(&'static str, Client)>,
    pricing: Client,
}

impl Service for Router {
    async fn answer(&self, call: Call) -> Result<Answer, Problem> {
        let first = call.route().1[0].to_owned();
        let path = call.head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let known = self.rest.iter().find(|(segment, _)| *segment == first).map(|(_, client)| client);
        let client = match known {
            Some(client) => client,
            None if first.starts_with("pricing.") => &self.pricing,
            None => return Err(Problem::new(404, "no route")),
        };
        let mut headers: HeaderMap = call.head.headers;
        for name in [CONNECTION, HOST, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let body = call.body.map_err(Into::into).boxed_unsync();
        let answer = client.open(call.head.method, &path, headers, body).await;
        let answer = answer.map_err(|error| Problem::new(502, format!("{error:#}")))?;
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

/// Starts `service` at a free port; returns its URL.
async fn start(tasks: &mut JoinSet<Result<()>>, stop: &watch::Sender<bool>, service: impl Service) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(serve(listener, stop.subscribe(), Arc::new(service)));
    url
}

#[tokio::test]
async fn customers_hear_only_what_they_expect_and_the_shop_drains() {
    let (stop, mut tasks) = (watch::Sender::new(false), JoinSet::new());
    let users = start(&mut tasks, &stop, users::Users).await;
    let catalog = start(&mut tasks, &stop, catalog::Catalog { edition: 1 }).await;
    let pricing = start(&mut tasks, &stop, pricing::Pricing).await;
    let inventory = start(&mut tasks, &stop, inventory::Inventory::new()).await;
    let callees = [users.clone(), catalog.clone(), pricing.clone(), inventory.clone()];
    let orders = orders::Orders::new(OrderBook::new(None), &callees).unwrap();
    let orders = start(&mut tasks, &stop, orders).await;
    let payments = start(&mut tasks, &stop, payments::Payments::new(&orders).unwrap()).await;
    let shipping = start(&mut tasks, &stop, shipping::Shipping).await;
    let rest = [
        ("users", &users),
        ("products", &catalog),
        ("carts", &catalog),
        ("stock", &inventory),
        ("reservations", &inventory),
        ("orders", &orders),
        ("payments", &payments),
        ("refunds", &payments),
        ("parcels", &shipping),
    ];
    let rest = rest.into_iter().map(|(segment, url)| (segment, Client::new(url).unwrap())).collect();
    let router = Router { rest, pricing: Client::http2(&pricing).unwrap() };
    let url = start(&mut tasks, &stop, router).await;

    let options = Options { url, customers: 4, until: Until::Requests(400), edge: false };
    let tally = play(&options).await.unwrap();
    assert!(tally.is_good(), "{}\n{}", tally.unexpected_lines().join("\n"), tally.summary());

    // Every role ends by itself, although clients still hold connections to it.
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_load_reports_a_shop_that_answers_wrongly() {
    let (stop, mut tasks) = (watch::Sender::new(false), JoinSet::new());
    // A catalog in the place of everything: most operations are missing.
    let url = start(&mut tasks, &stop, catalog::Catalog { edition: 1 }).await;
    let options = Options { url, customers: 1, until: Until::Requests(12), edge: true };
    let tally = play(&options).await.unwrap();
    assert!(!tally.is_good());
    let lines = tally.unexpected_lines();
    assert!(
        lines.iter().any(|line| line.contains("POST /orders: got 404 ") && line.contains("wanted 201")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("/pricing.v1.Pricing/GetPrice")), "{lines:#?}");
}
