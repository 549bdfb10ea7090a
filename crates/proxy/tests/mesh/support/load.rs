//! Steady requests while something changes: clients of both versions that stop for no failure, because there is to be none.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::http2::{Client, answer, request, send_all};
use super::wire::Wire;
use super::within;

const CLIENTS: usize = 8;

/// Answers that each client got.
type Done = [usize; CLIENTS];

/// Clients that ask again and again.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    done: Arc<watch::Sender<Done>>,
    clients: JoinSet<()>,
}

impl Load {
    /// Four clients each of HTTP/1.1 and HTTP/2, half of them with GET and half with POST. They connect to where `to`
    /// points at that moment; they stay connected as long as the other side lets them.
    pub(crate) fn start(to: &watch::Receiver<SocketAddr>) -> Self {
        let stop = watch::Sender::new(false);
        let done = Arc::new(watch::Sender::new(Done::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let method = if number % 2 == 0 { "GET" } else { "POST" };
            let (to, stopped, done) = (to.clone(), stop.subscribe(), Arc::clone(&done));
            if number < 4 {
                clients.spawn(http1(method, to, stopped, (number, done)));
            } else {
                clients.spawn(http2(method, to, stopped, (number, done)));
            }
        }
        Load { stop, done, clients }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn more(&mut self, requests: usize) {
        let goal = self.done.borrow().iter().sum::<usize>() + requests;
        self.until(|done| done.iter().sum::<usize>() >= goal).await;
    }

    /// Waits until every client got another answer to a request that it began after this call.
    pub(crate) async fn everybody(&mut self) {
        let before = *self.done.borrow();
        self.until(|done| done.iter().zip(before).all(|(now, before)| *now >= before + 2)).await;
    }

    async fn until(&mut self, enough: impl FnMut(&Done) -> bool) {
        let mut done = self.done.subscribe();
        let failed = tokio::select! {
            _ = within("more requests", done.wait_for(enough)) => return,
            failed = self.clients.join_next() => failed,
        };
        failed.unwrap().unwrap();
        panic!("a client stopped by itself");
    }

    /// Ends it; every request was answered as it should be.
    pub(crate) async fn end(mut self) -> usize {
        self.stop.send_replace(true);
        while let Some(client) = within("the clients to stop", self.clients.join_next()).await {
            client.unwrap();
        }
        self.done.borrow().iter().sum()
    }
}

async fn http1(
    method: &'static str,
    to: watch::Receiver<SocketAddr>,
    stopped: watch::Receiver<bool>,
    (number, done): (usize, Arc<watch::Sender<Done>>),
) {
    let body = if method == "POST" { "hello" } else { "" };
    let request =
        format!("{method} /load HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    while !*stopped.borrow() {
        let address = *to.borrow();
        let mut wire = Wire::to(address).await;
        loop {
            let answer = wire.ask(&request).await;
            assert_eq!(answer.status(), 200, "{method}: {:?} {}", answer.fields, answer.text());
            assert!(answer.text().ends_with(body));
            done.send_modify(|done| done[number] += 1);
            if *stopped.borrow() || answer.field("connection") == Some("close") {
                break;
            }
        }
    }
}

async fn http2(
    method: &'static str,
    to: watch::Receiver<SocketAddr>,
    stopped: watch::Receiver<bool>,
    (number, done): (usize, Arc<watch::Sender<Done>>),
) {
    let body: &[u8] = if method == "POST" { b"hello" } else { b"" };
    while !*stopped.borrow() {
        let address = *to.borrow();
        let client = Client::to(address).await;
        while !*stopped.borrow() {
            // A connection that says goodbye takes no more requests, and that is no failure.
            let Ok(mut send) = within("a free stream", client.send.clone().ready()).await else { break };
            let Ok((response, mut stream)) =
                send.send_request(request(method, "/load", &[]), body.is_empty())
            else {
                break;
            };
            if !body.is_empty() {
                send_all(&mut stream, body, true).await;
            }
            let answer = answer(response).await.unwrap_or_else(|error| panic!("{method}: {error}"));
            assert_eq!(answer.status, 200, "{method}: {}", answer.text());
            assert!(answer.body.ends_with(body));
            done.send_modify(|done| done[number] += 1);
        }
    }
}
