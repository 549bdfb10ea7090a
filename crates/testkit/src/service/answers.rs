//! One request and its answer.

use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Service};
use crate::http::{self, Response};
use crate::websocket;

/// Fields that say something of one connection only, and are not given on.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "host", "content-length", "transfer-encoding", "keep-alive", "te"];

/// A request, whole.
pub(super) struct Request {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    fn wants_close(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// The next request of a connection; nothing when it ended.
pub(super) fn read(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Option<Request>> {
    let first = line(input)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        fields: Vec::new(),
        body: Vec::new(),
    };
    request.fields = fields(input)?;
    if request.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.field("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(line(input)?.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                let trailers = fields(input)?;
                request.fields.extend(trailers);
                break;
            }
            append(input, size, &mut request.body)?;
            line(input)?;
        }
    } else if let Some(length) = request.field("content-length").and_then(|length| length.parse().ok()) {
        append(input, length, &mut request.body)?;
    }
    Ok(Some(request))
}

fn append(input: &mut impl BufRead, bytes: usize, body: &mut Vec<u8>) -> io::Result<()> {
    if body.len() + bytes > BODY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let read = input.take(bytes as u64).read_to_end(body)?;
    if read == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.take(HEAD_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn fields(input: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(input)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

impl Service {
    /// Answers; whether the connection can carry another request.
    pub(super) fn answer(
        &self,
        request: &Request,
        input: &mut impl BufRead,
        output: &mut TcpStream,
    ) -> io::Result<bool> {
        let path = request.target.split('?').next().unwrap_or_default();
        // As a proxy is asked (RFC 9112, section 3.2.2), an origin answers, too.
        let path =
            path.strip_prefix("http://").map_or(path, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
        let mut parts = path.trim_start_matches('/').splitn(3, '/');
        let (what, first, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let number = first.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let answered = self.answered.load(Ordering::Relaxed);
        let keep = !request.wants_close();
        let reply = |output: &mut TcpStream, status: u64, kind: &str, body: &[u8]| {
            whole(output, status, kind, body, request.method == "HEAD").map(|()| keep)
        };
        match what {
            "echo" => reply(output, 200, "application/json", self.seen(request).to_string().as_bytes()),
            "status" => reply(output, number, "text/plain", format!("{number}\n").as_bytes()),
            "slow" => {
                std::thread::park_timeout(Duration::from_millis(number));
                reply(output, 200, "text/plain", b"at last\n")
            }
            "bytes" => chunked(output, number, "").map(|()| keep),
            "trailers" => chunked(output, 10, "x-trailer: last\r\n").map(|()| keep),
            "events" => self.events(output, number).map(|()| false),
            "next" => {
                *self.released.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                self.release.notify_all();
                reply(output, 204, "", b"")
            }
            "ws" => match request.field("sec-websocket-key") {
                Some(key) => websocket::serve(key, input, output).map(|()| false),
                None => reply(output, 426, "text/plain", b"a WebSocket\n"),
            },
            "short" => {
                output.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")?;
                Ok(false)
            }
            "drop" => Ok(false),
            "call" | "through" => {
                let path = format!("/{}", rest.unwrap_or_default());
                match self.call(what == "through", first.unwrap_or_default(), &path, request) {
                    Ok(response) => reply(output, 200, "application/json", told(&response).as_bytes()),
                    Err(error) => reply(output, 502, "text/plain", format!("{error}\n").as_bytes()),
                }
            }
            "count" => reply(output, 200, "text/plain", format!("{answered}\n").as_bytes()),
            _ => reply(output, 200, "text/plain", format!("{}\n", self.name).as_bytes()),
        }
    }

    fn seen(&self, request: &Request) -> Value {
        let mut fields: Map<String, Value> = Map::new();
        for (name, value) in &request.fields {
            let values = fields.entry(name.clone()).or_insert_with(|| json!([]));
            if let Some(values) = values.as_array_mut() {
                values.push(json!(value));
            }
        }
        json!({
            "name": self.name,
            "pid": std::process::id(),
            "method": request.method,
            "target": request.target,
            "fields": fields,
            "body": String::from_utf8_lossy(&request.body),
        })
    }

    /// Calls another service, by its variable or through the forward proxy.
    fn call(&self, proxied: bool, callee: &str, path: &str, request: &Request) -> io::Result<Response> {
        let variable = if proxied {
            "HTTP_PROXY".to_owned()
        } else {
            format!("{}_URL", callee.to_ascii_uppercase().replace('-', "_"))
        };
        let url = self.variables.get(&variable);
        let url = url.ok_or_else(|| io::Error::other(format!("no variable {variable}")))?;
        let target = if proxied { format!("http://{callee}{path}") } else { path.to_owned() };
        let mut call = http::Request::new(&request.method, &target);
        if proxied {
            call = call.field("host", callee);
        }
        for (name, value) in request.fields.iter().filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str())) {
            call = call.field(name, value);
        }
        if !request.body.is_empty() {
            call = call.body(request.body.clone());
        }
        http::send(address(url)?, &call)
    }

    /// Each event waits for its own `POST /next`, so that a test knows what was sent when.
    fn events(&self, output: &mut TcpStream, count: u64) -> io::Result<()> {
        output.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        for n in 1..=count {
            while *released == 0 {
                released = self.release.wait(released).unwrap_or_else(PoisonError::into_inner);
            }
            *released -= 1;
            let event = format!("data: {n}\n\n");
            output.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        }
        output.write_all(b"0\r\n\r\n")
    }
}

/// What a called service answered, for the test to read.
fn told(response: &Response) -> String {
    let fields: Map<String, Value> =
        response.fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({ "status": response.status, "fields": fields, "body": response.text() }).to_string()
}

fn address(url: &str) -> io::Result<SocketAddr> {
    let host = ["http://", "tcp://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let host = host.map(|rest| rest.trim_end_matches('/'));
    let found = host.and_then(|host| host.to_socket_addrs().ok()?.next());
    found.ok_or_else(|| io::Error::other(format!("not an address: {url}")))
}

fn whole(output: &mut impl Write, status: u64, kind: &str, body: &[u8], head: bool) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Said\r\n");
    if !kind.is_empty() {
        let _ = write!(text, "content-type: {kind}\r\n");
    }
    if !matches!(status, 204 | 304) {
        let _ = write!(text, "content-length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    if !(head || matches!(status, 204 | 304)) {
        bytes.extend_from_slice(body);
    }
    output.write_all(&bytes)
}

fn chunked(output: &mut impl Write, bytes: u64, trailers: &str) -> io::Result<()> {
    const CHUNK: [u8; 8192] = [b'.'; 8192];
    output.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    let mut left = usize::try_from(bytes).unwrap_or(0).min(BODY_BYTES_MAX);
    while left > 0 {
        let size = left.min(CHUNK.len());
        output.write_all(format!("{size:x}\r\n").as_bytes())?;
        output.write_all(&CHUNK[..size])?;
        output.write_all(b"\r\n")?;
        left -= size;
    }
    output.write_all(format!("0\r\n{trailers}\r\n").as_bytes())
}
