//! What `testkit-service` does: a plain HTTP/1.1 service with a thread for each connection, and the misbehaviour that tests
//! need.
//!
//! | request | answer |
//! |---|---|
//! | any method, `/echo…` | JSON: `name`, `pid`, `method`, `target`, `fields` (all values of each), `body` |
//! | `GET /status/CODE` | that status |
//! | `GET /slow/MS` | 200 after so many milliseconds |
//! | `GET /bytes/N` | N bytes, chunked |
//! | `GET /trailers` | chunked, with the trailer field `x-trailer: last` |
//! | `GET /events/N` | N server-sent events, each one after `POST /next` |
//! | `GET /ws` with `Upgrade: websocket` | a WebSocket that sends back each message |
//! | `GET /short` | says 100 bytes, sends 10, closes |
//! | `GET /drop` | closes without an answer |
//! | any method, `/call/CALLEE/PATH` | calls `<CALLEE>_URL` with the method, answers with status and body of what came |
//! | any method, `/through/HOST/PATH` | the same by `HTTP_PROXY` |
//! | `GET /count` | how many requests were answered before |
//! | else | 200 and the name |

mod answers;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of a request's head.
pub(crate) const HEAD_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The service, shared by its connections.
pub struct Service {
    pub(crate) name: String,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) answered: AtomicU64,
    /// How many events `POST /next` has let go.
    pub(crate) released: Mutex<u64>,
    pub(crate) release: Condvar,
}

impl Service {
    /// A service that calls others by the addresses in `variables`.
    pub fn new(name: String, variables: BTreeMap<String, String>) -> Self {
        let (released, release) = (Mutex::new(0), Condvar::new());
        Self { name, variables, answered: AtomicU64::new(0), released, release }
    }

    /// Serves on a port of the loopback, without end.
    ///
    /// # Errors
    /// The port is taken.
    pub fn serve(self, port: u16) -> io::Result<()> {
        let service = Arc::new(self);
        each_connection(port, move |stream| service.connection(stream))
    }

    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = BufReader::new(stream.try_clone()?);
        while let Some(request) = answers::read(&mut input, &mut stream)? {
            let more = self.answer(&request, &mut input, &mut stream)?;
            self.answered.fetch_add(1, Ordering::Relaxed);
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// Sends back what it gets, on a port of the loopback, without end.
///
/// # Errors
/// The port is taken.
pub fn echo_bytes(port: u16) -> io::Result<()> {
    each_connection(port, |mut stream| {
        let mut buffer = [0; 16 * 1024];
        loop {
            let bytes = stream.read(&mut buffer)?;
            if bytes == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..bytes])?;
        }
    })
}

fn each_connection(
    port: u16,
    serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let serve = Arc::new(serve);
    for stream in listener.incoming() {
        let stream = stream?;
        let serve = Arc::clone(&serve);
        if Arc::strong_count(&serve) <= CONNECTIONS_MAX {
            // What a connection ends with is what the other side sees; there is nobody else to tell.
            std::thread::spawn(move || drop(serve(stream)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::http::{self, Client, Request};
    use crate::{ports, until, websocket};

    /// A service on a port of its own, whose variable `SELF_URL` leads to itself.
    fn start() -> SocketAddr {
        let port = ports::free();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let url = format!("http://{address}");
        let variables = ["SELF_URL", "HTTP_PROXY"].map(|name| (name.to_owned(), url.clone()));
        let service = Service::new("one".to_owned(), BTreeMap::from(variables));
        std::thread::spawn(move || service.serve(port));
        until("it listens", || TcpStream::connect(address).ok());
        address
    }

    #[test]
    fn requests_are_shown_as_they_came_in_and_kept_apart_on_one_connection() {
        let mut client = Client::connect(start()).unwrap();
        let request = Request::new("PUT", "/echo/a?b=c").field("x-a", "1").field("X-A", "2").body("three");
        for _ in 0..2 {
            let seen = client.send(&request).unwrap().json();
            assert_eq!((&seen["method"], &seen["target"]), (&"PUT".into(), &"/echo/a?b=c".into()));
            assert_eq!(seen["fields"]["x-a"], serde_json::json!(["1", "2"]));
            assert_eq!(seen["body"], "three");
        }
        client
            .write(b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .unwrap();
        assert_eq!(client.read("POST").unwrap().json()["body"], "abc");
    }

    #[test]
    fn it_answers_what_a_test_asks_for() {
        let address = start();
        assert_eq!(http::get(address, "/status/418").unwrap().status, 418);
        assert_eq!(http::get(address, "/bytes/20000").unwrap().body.len(), 20_000);
        assert_eq!(http::get(address, "/trailers").unwrap().trailers, [("x-trailer".into(), "last".into())]);
        assert_eq!(http::get(address, "/short").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(http::get(address, "/drop").unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        for call in ["/call/self/status/404", "/through/self/status/404"] {
            assert_eq!(http::get(address, call).unwrap().json()["status"], 404, "{call}");
        }
        assert_eq!(http::get(address, "/call/nobody/").unwrap().status, 502);
    }

    #[test]
    fn an_event_comes_when_it_is_let_go() {
        let address = start();
        let mut client = Client::connect(address).unwrap();
        client.write(b"GET /events/2 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(client.read_head().unwrap().status, 200);
        for n in 1..=2 {
            assert_eq!(http::send(address, &Request::new("POST", "/next")).unwrap().status, 204);
            assert_eq!(client.read_chunk().unwrap().unwrap(), format!("data: {n}\n\n").into_bytes());
        }
        assert_eq!(client.read_chunk().unwrap(), None);
    }

    #[test]
    fn a_websocket_sends_back_what_it_gets() {
        let mut client = Client::connect(start()).unwrap();
        websocket::open(&mut client, "/ws").unwrap();
        for text in ["hello", ""] {
            websocket::send(&mut client, text).unwrap();
            assert_eq!(websocket::receive(&mut client).unwrap(), text);
        }
    }
}
