//! A blocking HTTP/1.1 client on one connection. It says what it is told to say, also what is wrong, and reads answers by
//! the letter (RFC 9112), without pools, redirects or repetition.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::LIMIT;
use crate::tls::{Stream, Tls};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an answer's body.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Target, as it is written in the first line.
    pub target: String,
    /// Fields in their order; `host` and `content-length` are added where they are missing.
    pub fields: Vec<(String, String)>,
    /// Body; absent: none, and no `content-length`.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), fields: Vec::new(), body: None }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// With one more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let has = |name: &str| self.fields.iter().any(|(there, _)| there.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = self.body.as_ref().filter(|_| !has("content-length") && !has("transfer-encoding"))
        {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A response, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Fields, names in small letters.
    pub fields: Vec<(String, String)>,
    /// Body without its framing.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of a refusal or fault (`problem+json`), if it is one.
    pub fn code(&self) -> Option<String> {
        Some(self.json().get("code")?.as_str()?.to_owned())
    }

    /// Status and code, e.g. `404 W2001`, for messages and counts.
    pub fn outcome(&self) -> String {
        match self.code() {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// A connection.
pub struct Client {
    stream: BufReader<Stream>,
    peer: SocketAddr,
}

impl Client {
    /// A new connection; every wait on it is limited by [`LIMIT`].
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        Self::connect_with(to, None)
    }

    /// The same with TLS, where there is some; its handshake comes with the first request.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect_with(to: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream: BufReader::new(Stream::new(stream, to, tls)?), peer: to })
    }

    /// Sends a request and reads its answer; answers before the final one (1xx) are passed over.
    ///
    /// # Errors
    /// The connection ends too early, or the answer is not HTTP. `ConnectionAborted` is an end without a byte of an
    /// answer, and nothing else is.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let unanswered = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                io::ErrorKind::ConnectionAborted.into()
            }
            _ => error,
        };
        self.write(&request.bytes(self.peer)).map_err(unanswered)?;
        if self.stream.fill_buf().map_err(unanswered)?.is_empty() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.read(&request.method)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.get_mut().finish()
    }

    /// Reads the final answer to a request with this method.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn read(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let mut response = self.read_head()?;
            if response.status == 101 || !(100..200).contains(&response.status) {
                self.read_body(method, &mut response)?;
                return Ok(response);
            }
        }
    }

    /// Reads one head, also of a 1xx answer, and nothing behind it.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn read_head(&mut self) -> io::Result<Response> {
        let first = self.read_line()?;
        let mut words = first.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        let status = status.filter(|_| version.starts_with("HTTP/1."));
        let status = status.ok_or_else(|| wrong(&format!("not a status line: {first:?}")))?;
        Ok(Response { status, fields: self.read_fields()?, ..Response::default() })
    }

    /// Reads one line, without its end; an error where the connection ends first.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n"));
        let line = line.ok_or_else(|| wrong("a line without an end"))?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// Reads until the other side ends the connection.
    ///
    /// # Errors
    /// It does not within [`LIMIT`].
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        (&mut self.stream).take(BODY_BYTES_MAX).read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn read_bytes(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.stream.read_exact(&mut buffer)?;
        Ok(buffer)
    }

    fn read_fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("a field without a colon"))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            if fields.len() > 1000 {
                return Err(wrong("too many fields"));
            }
        }
    }

    /// RFC 9112, section 6.3.
    fn read_body(&mut self, method: &str, response: &mut Response) -> io::Result<()> {
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            return Ok(());
        }
        if response.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = self.read_chunk()? {
                response.body.extend(chunk);
            }
            response.trailers = self.read_fields()?;
        } else if let Some(length) = response.field("content-length") {
            let length: u64 = length.parse().map_err(|_| wrong("content-length"))?;
            let length = usize::try_from(length.min(BODY_BYTES_MAX)).unwrap_or(usize::MAX);
            response.body = self.read_bytes(length)?;
        } else {
            response.body = self.read_to_end()?;
        }
        Ok(())
    }

    /// Reads one chunk; nothing for the last one, whose trailer fields are still to come.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.read_line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| wrong(&format!("chunk size {size:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        if size as u64 > BODY_BYTES_MAX {
            return Err(wrong("chunk too large"));
        }
        let chunk = self.read_bytes(size)?;
        let end = self.read_bytes(2)?;
        if end == b"\r\n" { Ok(Some(chunk)) } else { Err(wrong("chunk without an end")) }
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// As for [`Client::connect`] and [`Client::send`].
pub fn send(to: SocketAddr, request: &Request) -> io::Result<Response> {
    Client::connect(to)?.send(request)
}

/// `GET` on a connection of its own.
///
/// # Errors
/// As for [`send`].
pub fn get(to: SocketAddr, target: &str) -> io::Result<Response> {
    send(to, &Request::get(target))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
