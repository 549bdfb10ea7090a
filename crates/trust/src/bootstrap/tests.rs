//! The whole way of an identity in memory, and that no secret is ever printed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::enrol::{Enrolment, Placement};
use crate::identity::CONTROL_SERVICE;
use crate::key::NodeKey;
use crate::mesh::{MeshIdentity, MeshTls, PeerRefusal, peer_identity};
use crate::store::{Passphrase, Store};
use crate::testing::{HOUR, TestDir, World, shake};

const ALPN: &[&[u8]] = &[b"h2"];

fn bootstrap(world: &World, enrolment: &mut Enrolment) -> Bootstrap {
    let placement = Placement { instance: "orders-1".into(), id: world.id("orders") };
    let token = enrolment.mint(placement.clone(), HOUR, world.clock.wall()).unwrap();
    let bundle = world.authority.bundle().unwrap();
    Bootstrap::new("127.0.0.1:7000".into(), bundle, placement.id, placement.instance, token).unwrap()
}

#[test]
fn a_process_that_knows_only_its_bootstrap_becomes_what_it_was_placed_as() {
    let (world, mut enrolment) = (World::new("shop.test"), Enrolment::default());
    let line = bootstrap(&world, &mut enrolment).to_json().unwrap();
    let control = world.node(CONTROL_SERVICE).server_for_enrolment(ALPN).unwrap();

    let told = Bootstrap::from_json(line.as_bytes()).unwrap();
    let trust = told.trust().unwrap();
    let nobody = MeshTls::anonymous(Arc::clone(&trust), &world.clock).unwrap();
    assert!(shake(&nobody.client_for(&told.control_id(), ALPN), &control).succeeded());
    let key = NodeKey::generate().unwrap();
    let (now, request) = (world.clock.wall(), key.request().unwrap());
    let (_, issued) = enrolment.enrol(&world.authority, told.token(), &request, HOUR, now).unwrap();
    let identity = MeshIdentity::from_issued(&key, &issued.chain, &trust, now).unwrap();
    let orders = MeshTls::new(identity, trust, &world.clock).unwrap();
    let shaken = shake(&orders.client_for(&told.control_id(), ALPN), &control);
    assert_eq!(peer_identity(&shaken.server).unwrap().id, told.id);
}

#[test]
fn nobody_but_control_is_asked() {
    let (world, mut enrolment) = (World::new("shop.test"), Enrolment::default());
    let told = bootstrap(&world, &mut enrolment);
    let nobody = MeshTls::anonymous(told.trust().unwrap(), &world.clock).unwrap();
    let client = nobody.client_for(&told.control_id(), ALPN);
    let other_service = world.node("users").server_for_enrolment(ALPN).unwrap();
    let error = shake(&client, &other_service).client_error.unwrap();
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(why)) = error else {
        panic!("{error}");
    };
    assert!(matches!(why.0.downcast_ref(), Some(PeerRefusal::OtherService { .. })));
    let other_root = World::new("shop.test").node(CONTROL_SERVICE).server_for_enrolment(ALPN).unwrap();
    let error = shake(&client, &other_root).client_error.unwrap();
    let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let forged = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
    assert!(error == unknown || error == forged, "{error}");
}

#[test]
fn what_is_not_a_bootstrap_is_refused_and_not_quoted() {
    let (world, mut enrolment) = (World::new("shop.test"), Enrolment::default());
    let told = bootstrap(&world, &mut enrolment);
    let line = told.to_json().unwrap();
    let cases = [
        String::new(),
        "{".into(),
        line.replace("\"format\":1", "\"format\":2"),
        line.replace("\"control\"", "\"controls\""),
        line.replace("svc/orders", "svc/../orders"),
        line.replacen("shop.test", "bank.test", 1),
        format!("{}{}", &*line, "x"),
        " ".repeat(BOOTSTRAP_BYTES_MAX + 1),
    ];
    for case in cases {
        let error = Bootstrap::from_json(case.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains(told.token()), "{case}");
    }
}

#[test]
fn debug_output_holds_no_secret() {
    let dir = TestDir::new();
    let (world, mut enrolment) = (World::new("shop.test"), Enrolment::default());
    let told = bootstrap(&world, &mut enrolment);
    let passphrase = || Passphrase::new("correct horse".to_owned()).unwrap();
    let store = Store::open(&dir.path().join("keys"), Some(passphrase())).unwrap();
    let key = NodeKey::generate().unwrap();
    let issued = world.issue(&key, "orders");
    let now = world.clock.wall();
    let identity = MeshIdentity::from_issued(&key, &issued.chain, &world.trust, now).unwrap();
    let node = MeshTls::new(Arc::clone(&identity), Arc::clone(&world.trust), &world.clock).unwrap();
    let edge = crate::edge::EdgeCertificate::from_issued(&key, &issued.chain, now).unwrap();
    let edge_tls = crate::edge::EdgeTls::new(std::slice::from_ref(&edge), &world.clock).unwrap();
    let (server, client) = (node.server(ALPN).unwrap(), node.client_for(&world.id("users"), ALPN));
    let printed = [
        format!("{told:?} {enrolment:?} {store:?} {:?} {key:?}", passphrase()),
        format!("{:?} {identity:?} {node:?} {server:?} {client:?}", world.authority),
        format!("{edge:?} {edge_tls:?} {:?}", edge_tls.config()),
    ]
    .concat();
    let secret_der = key.secret_der().unwrap();
    // In PKCS#8 of P-256 the 32 secret bytes follow the first 36 (RFC 5915 inside RFC 5208).
    let secret = &secret_der[36..68];
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, told.token().as_bytes());
    for bytes in [secret, hash.as_ref()] {
        let hex: String = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("{:?}", &bytes[..8]);
        let list = list.trim_matches(['[', ']']);
        let base64 = BASE64_STANDARD.encode(&bytes[..9]);
        for text in [hex.as_str(), list, base64.as_str()] {
            assert!(!printed.to_lowercase().contains(&text.to_lowercase()), "{text} in {printed}");
        }
    }
    assert!(!printed.contains(told.token()) && !printed.contains("correct horse"));
    assert!(printed.contains("spiffe://shop.test/ns/default/svc/orders"));
}
