//! Handshakes at the edge, in memory.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use rustls::pki_types::ServerName;
use rustls::{CertificateError as Reason, Error, HandshakeKind, ProtocolVersion};

use super::*;
use crate::testing::{HOUR, World, shake_as};

struct Edge {
    world: World,
}

impl Edge {
    fn certificate(&self, names: &[&str]) -> EdgeCertificate {
        let key = NodeKey::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let now = self.world.clock.wall();
        let issued = self.world.authority.issue_edge(&key.request().unwrap(), &names, HOUR, now).unwrap();
        EdgeCertificate::from_issued(&key, &issued.chain, now).unwrap()
    }

    fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let bundle = self.world.authority.bundle().unwrap();
        upstream_tls(bundle.roots().iter().map(|root| root.as_ref()), alpn, &self.world.clock).unwrap()
    }
}

fn edge() -> Edge {
    Edge { world: World::new("shop.test") }
}

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).unwrap()
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let edge = edge();
    let tls = EdgeTls::new(
        &[
            edge.certificate(&["shop.test", "127.0.0.1"]),
            edge.certificate(&["*.shop.test"]),
            edge.certificate(&["api.shop.test", "shop.test"]),
        ],
        &edge.world.clock,
    )
    .unwrap();
    let client = edge.client(&[b"h2"]);
    for good in ["shop.test", "SHOP.test", "www.shop.test", "api.shop.test", "127.0.0.1"] {
        let mut shaken = shake_as(&client, tls.config(), name(good));
        assert!(shaken.succeeded() && shaken.talk(), "{good}: {:?}", shaken.client_error);
        assert_eq!(shaken.client.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(shaken.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
    let leaf = |host: &str| {
        shake_as(&client, tls.config(), name(host)).client.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(dns_names_of(&leaf("api.shop.test")).unwrap(), ["api.shop.test", "shop.test"]);
    assert_eq!(dns_names_of(&leaf("shop.test")).unwrap(), ["shop.test"]);
    for bad in ["a.b.shop.test", "other.test", "127.0.0.2"] {
        let shaken = shake_as(&client, tls.config(), name(bad));
        let error = shaken.client_error.unwrap();
        let refused = matches!(
            error,
            Error::InvalidCertificate(Reason::NotValidForName | Reason::NotValidForNameContext { .. })
        );
        assert!(refused, "{bad}: {error}");
    }
}

#[test]
fn old_clients_get_the_good_part_of_tls_12() {
    let edge = edge();
    let tls = EdgeTls::new(&[edge.certificate(&["shop.test"])], &edge.world.clock).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(edge.world.authority.bundle().unwrap().roots()[0].clone()).unwrap();
    let time = Arc::new(Time(edge.world.clock));
    let mut old = ClientConfig::builder_with_details(Arc::new(default_provider()), time)
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut shaken = shake_as(&Arc::new(old), tls.config(), name("shop.test"));
    assert!(shaken.succeeded() && shaken.talk(), "{:?}", shaken.client_error);
    assert_eq!(shaken.client.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(shaken.server.alpn_protocol(), Some(b"http/1.1".as_slice()));
    for suite in &tls.config().crypto_provider().cipher_suites {
        let text = format!("{:?}", suite.suite());
        let aead = text.contains("GCM") || text.contains("CHACHA20");
        assert!(aead && (text.starts_with("TLS13") || text.starts_with("TLS_ECDHE")), "{text}");
    }
}

#[test]
fn sessions_are_resumed_and_certificates_replaced() {
    let edge = edge();
    let tls = EdgeTls::new(&[edge.certificate(&["shop.test"])], &edge.world.clock).unwrap();
    let client = edge.client(&[]);
    let mut first = shake_as(&client, tls.config(), name("shop.test"));
    assert!(first.talk());
    let second = shake_as(&client, tls.config(), name("shop.test"));
    assert_eq!(second.client.handshake_kind(), Some(HandshakeKind::Resumed));
    tls.replace(&[edge.certificate(&["new.test"])]).unwrap();
    assert!(first.talk());
    assert!(shake_as(&client, tls.config(), name("new.test")).succeeded());
    assert_eq!(tls.replace(&[]), Err(EdgeError::Count));
    assert!(shake_as(&client, tls.config(), name("new.test")).succeeded(), "a refused set changes nothing");
}

#[test]
fn pem_files_of_every_common_kind_are_read() {
    let now = edge().world.clock.wall();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            CertificateParams::new(vec!["shop.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = certificate.pem();
        let read = EdgeCertificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes(), now).unwrap();
        assert_eq!(read.names(), ["shop.test"]);
        assert!(read.not_after() > now);
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let edge = edge();
    let now = edge.world.clock.wall();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate =
        CertificateParams::new(vec!["shop.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let (chain, secret) = (certificate.as_bytes(), key.serialize_pem());
    let read = |chain: &[u8], key: &[u8]| EdgeCertificate::from_pem(chain, key, now).map(|_| ());
    assert_eq!(read(chain, secret.as_bytes()), Ok(()));
    assert_eq!(read(chain, other.serialize_pem().as_bytes()), Err(EdgeError::Mismatch));
    assert_eq!(read(b"", secret.as_bytes()), Err(EdgeError::Chain));
    assert_eq!(read(chain, b""), Err(EdgeError::Key));
    assert_eq!(read(chain, chain), Err(EdgeError::Key));
    assert_eq!(read(secret.as_bytes(), secret.as_bytes()), Err(EdgeError::Chain));
    assert_eq!(read(&chain[..chain.len() / 2], secret.as_bytes()), Err(EdgeError::Chain));
    assert_eq!(read(&chain.repeat(EDGE_CHAIN_MAX + 1), secret.as_bytes()), Err(EdgeError::Chain));
    assert_eq!(read(&vec![b'-'; PEM_BYTES_MAX + 1], secret.as_bytes()), Err(EdgeError::Chain));
    let late = edge.world.authority.issue_edge(
        &NodeKey::generate().unwrap().request().unwrap(),
        &["shop.test".to_owned()],
        HOUR,
        now,
    );
    let node = NodeKey::generate().unwrap();
    let refused = EdgeCertificate::from_issued(&node, &late.unwrap().chain, now);
    assert_eq!(refused.map(|_| ()), Err(EdgeError::Mismatch));
    let issued =
        edge.world.authority.issue_edge(&node.request().unwrap(), &["shop.test".to_owned()], HOUR, now);
    let refused = EdgeCertificate::from_issued(&node, &issued.unwrap().chain, now + HOUR * 2);
    assert_eq!(refused.map(|_| ()), Err(EdgeError::Expired));
}

#[test]
fn an_edge_certificate_is_nobody_in_the_mesh_and_a_service_is_no_website() {
    let edge = edge();
    let client = edge.world.node("users").client_for(&edge.world.id("orders"), &[]);
    let tls = EdgeTls::new(&[edge.certificate(&["shop.test"])], &edge.world.clock).unwrap();
    assert!(shake_as(&client, tls.config(), name("shop.test")).client_error.is_some());
    let sidecar = edge.world.node("orders").server(&[]).unwrap();
    let browser = edge.client(&[]);
    assert!(shake_as(&browser, &sidecar, name("shop.test")).client_error.is_some());
    let bad_root = upstream_tls([b"not a certificate".as_slice()], &[], &edge.world.clock);
    assert_eq!(bad_root.map(|_| ()), Err(EdgeError::Root(0)));
}
