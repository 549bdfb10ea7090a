//! The client's side of TLS, for a system whose edge serves with certificates that a test made.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Whom to trust. Clones share their sessions: a connection may resume what another one began.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts these certificates (PEM) and no others; knows no session yet.
    ///
    /// # Panics
    /// One of them is no certificate.
    #[expect(clippy::expect_used, reason = "a harness ends the test")]
    pub fn trusting<'a>(certificates: impl IntoIterator<Item = &'a str>) -> Self {
        let mut roots = RootCertStore::empty();
        for pem in certificates {
            roots.add(leaf_of(pem)).expect("a root that can be trusted");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    /// The certificate (DER) that a new connection is shown; the handshake is a whole one.
    ///
    /// # Errors
    /// There is no connection, or the certificate is not trusted.
    pub fn shown_by(&self, to: SocketAddr) -> io::Result<Vec<u8>> {
        let mut config = ClientConfig::clone(&self.0);
        config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
        let mut stream = Tls(Arc::new(config)).over(TcpStream::connect_timeout(&to, crate::LIMIT)?, to)?;
        stream.sock.set_read_timeout(Some(crate::LIMIT))?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
        Ok(shown.map(|leaf| leaf.to_vec()).unwrap_or_default())
    }

    fn over(
        &self,
        socket: TcpStream,
        to: SocketAddr,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::from(to.ip());
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, socket))
    }
}

/// The first certificate of a PEM text, DER.
///
/// # Panics
/// There is none.
#[expect(clippy::expect_used, reason = "a harness ends the test")]
pub fn leaf_of(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM of a certificate")
}

/// A connection with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, to: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        match tls {
            None => Ok(Self::Plain(socket)),
            Some(tls) => Ok(Self::Tls(Box::new(tls.over(socket, to)?))),
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                &mut stream.sock
            }
        };
        socket.shutdown(std::net::Shutdown::Write)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
