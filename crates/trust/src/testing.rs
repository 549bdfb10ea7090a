//! What the tests of this crate share: a small world with an authority and a clock that moves by hand, and
//! handshakes between two connections in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};
use weft_stdx::clock::{Clock, Hand};

use crate::authority::{Authority, Issued};
use crate::bundle::RevocationList;
use crate::identity::{SpiffeId, TrustDomain};
use crate::key::NodeKey;
use crate::mesh::{MeshIdentity, MeshTls, MeshTrust, mesh_server_name};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A trust domain at a moment of 2027.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) clock: Clock,
    pub(crate) hand: Hand,
    pub(crate) trust: Arc<MeshTrust>,
}

impl World {
    pub(crate) fn new(domain: &str) -> Self {
        let (clock, hand) = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let authority = Authority::create(TrustDomain::parse(domain).unwrap(), clock.wall()).unwrap();
        let trust = MeshTrust::new(&authority.bundle().unwrap(), RevocationList::default()).unwrap();
        Self { authority, clock, hand, trust }
    }

    pub(crate) fn id(&self, service: &str) -> SpiffeId {
        SpiffeId::of_service(self.authority.trust_domain(), service).unwrap()
    }

    pub(crate) fn issue(&self, key: &NodeKey, service: &str) -> Issued {
        let request = key.request().unwrap();
        self.authority.issue(&request, &self.id(service), HOUR, self.clock.wall()).unwrap()
    }

    pub(crate) fn identity(&self, service: &str) -> Arc<MeshIdentity> {
        let key = NodeKey::generate().unwrap();
        let issued = self.issue(&key, service);
        MeshIdentity::from_issued(&key, &issued.chain, &self.trust, self.clock.wall()).unwrap()
    }

    pub(crate) fn node(&self, service: &str) -> MeshTls {
        self.node_with(self.identity(service))
    }

    pub(crate) fn node_with(&self, identity: Arc<MeshIdentity>) -> MeshTls {
        MeshTls::new(identity, Arc::clone(&self.trust), &self.clock).unwrap()
    }
}

/// A handshake that was tried, with a word in each direction after it, because with TLS 1.3 a client learns only
/// then that the server refused its certificate.
pub(crate) struct Shaken {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
    pub(crate) client_error: Option<Error>,
    pub(crate) server_error: Option<Error>,
}

impl Shaken {
    pub(crate) fn succeeded(&self) -> bool {
        self.client_error.is_none()
            && self.server_error.is_none()
            && !self.client.is_handshaking()
            && !self.server.is_handshaking()
    }

    /// Sends a word each way, as an open connection would.
    pub(crate) fn talk(&mut self) -> bool {
        use std::io::{Read as _, Write as _};
        let mut heard = [0; 4];
        self.client.writer().write_all(b"ping").unwrap();
        self.server.writer().write_all(b"pong").unwrap();
        self.pump();
        let asked = self.server.reader().read_exact(&mut heard).is_ok() && &heard == b"ping";
        asked && self.client.reader().read_exact(&mut heard).is_ok() && &heard == b"pong"
    }

    fn pump(&mut self) {
        for _ in 0..16 {
            let sent = carry(&mut self.client, &mut self.server, &mut self.server_error);
            let answered = carry(&mut self.server, &mut self.client, &mut self.client_error);
            if !sent && !answered {
                return;
            }
        }
        panic!("the handshake does not come to an end");
    }
}

/// Moves what `from` has to say to `to`; says whether there was anything.
fn carry<F, FD, T, TD>(from: &mut F, to: &mut T, error: &mut Option<Error>) -> bool
where
    F: std::ops::DerefMut<Target = rustls::ConnectionCommon<FD>>,
    T: std::ops::DerefMut<Target = rustls::ConnectionCommon<TD>>,
    FD: rustls::SideData,
    TD: rustls::SideData,
{
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() && error.is_none() {
        to.read_tls(&mut rest).unwrap();
        *error = to.process_new_packets().err();
    }
    !wire.is_empty()
}

pub(crate) fn shake_as(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: ServerName<'static>,
) -> Shaken {
    let mut shaken = Shaken {
        client: ClientConnection::new(Arc::clone(client), name).unwrap(),
        server: ServerConnection::new(Arc::clone(server)).unwrap(),
        client_error: None,
        server_error: None,
    };
    shaken.pump();
    shaken
}

pub(crate) fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Shaken {
    shake_as(client, server, mesh_server_name())
}

/// What a server says to bytes that are not what it expects.
pub(crate) fn feed(server: &Arc<ServerConfig>, bytes: &[u8]) -> Result<(), Error> {
    let mut connection = Connection::from(ServerConnection::new(Arc::clone(server)).unwrap());
    let mut rest = bytes;
    while !rest.is_empty() {
        connection.read_tls(&mut rest).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}

/// An empty directory of one test, removed when dropped.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weft-trust-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
