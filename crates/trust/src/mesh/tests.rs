//! Handshakes between two connections in memory: who is let in, who is not, and why.

use rcgen::string::Ia5String;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::{AlertDescription, CertificateError as Reason, Error, RootCertStore};

use super::*;
use crate::bundle::{trust_from_wire, trust_to_wire};
use crate::certificate::CertificateError;
use crate::identity::IdError;
use crate::testing::{DAY, HOUR, Shaken, World, feed, shake};

const ALPN: &[&[u8]] = &[b"h2"];

fn world() -> World {
    World::new("shop.test")
}

/// The server is `orders`; `caller` means to call `orders`.
fn call(world: &World, caller: &MeshTls) -> Shaken {
    shake(&caller.client_for(&world.id("orders"), ALPN), &world.node("orders").server(ALPN).unwrap())
}

/// `users` means to call `orders` and reaches `callee`.
fn answer(world: &World, callee: &MeshTls) -> Shaken {
    shake(&world.node("users").client_for(&world.id("orders"), ALPN), &callee.server(ALPN).unwrap())
}

/// A node with a chain that was not verified, as an attacker would show it.
fn impostor(world: &World, key: &NodeKey, chain: Vec<Vec<u8>>, trust: &Arc<MeshTrust>) -> MeshTls {
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let identity = world.identity("orders").current();
    let certified = Arc::new(CertifiedKey::new(chain, Arc::new(key.clone())));
    let identity = MeshIdentity { current: ArcSwap::from_pointee(Current { certified, identity }) };
    MeshTls::new(Arc::new(identity), Arc::clone(trust), &world.clock).unwrap()
}

fn forged(world: &World, names: Vec<SanType>, usages: Vec<ExtendedKeyUsagePurpose>) -> MeshTls {
    let key = NodeKey::generate().unwrap();
    let chain = world.authority.forge(&key, names, usages, world.clock.wall());
    impostor(world, &key, chain, &world.trust)
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

fn refusal(error: Option<&Error>) -> PeerRefusal {
    match error {
        Some(Error::InvalidCertificate(Reason::Other(other))) => {
            other.0.downcast_ref::<PeerRefusal>().unwrap().clone()
        }
        other => panic!("not refused by us: {other:?}"),
    }
}

fn both() -> Vec<ExtendedKeyUsagePurpose> {
    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
}

#[test]
fn two_services_prove_themselves_to_each_other() {
    let world = world();
    let mut shaken = call(&world, &world.node("users"));
    assert!(shaken.succeeded(), "{:?} {:?}", shaken.client_error, shaken.server_error);
    assert_eq!(peer_identity(&shaken.server).unwrap().id, world.id("users"));
    assert_eq!(peer_identity(&shaken.client).unwrap().id, world.id("orders"));
    assert_eq!(shaken.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = shaken.client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(shaken.server.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(shaken.server.server_name(), None, "no name is sent");
    assert_eq!(shaken.client.tls13_tickets_received(), 0);
    assert!(shaken.talk());
}

/// Each side alone sees to it, whatever the other offers.
#[test]
fn a_second_connection_is_a_full_handshake() {
    let world = world();
    let client = world.node("users").client_for(&world.id("orders"), ALPN);
    let server = world.node("orders").server(ALPN).unwrap();
    let mut eager = ClientConfig::clone(&client);
    eager.resumption = Resumption::in_memory_sessions(8);
    let mut generous = ServerConfig::clone(&server);
    generous.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    generous.send_tls13_tickets = 2;
    for (client, server) in [(Arc::new(eager), server), (client, Arc::new(generous))] {
        for _ in 0..3 {
            let mut shaken = shake(&client, &server);
            assert!(shaken.succeeded() && shaken.talk());
            assert_eq!(shaken.client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
}

#[test]
fn another_service_that_answers_is_refused() {
    let world = world();
    let shaken = answer(&world, &world.node("payments"));
    let expected = PeerRefusal::OtherService { found: world.id("payments"), expected: world.id("orders") };
    assert_eq!(refusal(shaken.client_error.as_ref()), expected);
    assert!(shaken.server_error.is_some());
}

#[test]
fn another_trust_domain_is_refused_on_both_sides() {
    let (world, bank) = (world(), World::new("bank.test"));
    let key = NodeKey::generate().unwrap();
    let chain = bank.issue(&key, "orders").chain;
    let stranger = impostor(&world, &key, chain, &world.trust);
    let unknown = Some(Error::InvalidCertificate(Reason::UnknownIssuer));
    assert_eq!(call(&world, &stranger).server_error, unknown);
    assert_eq!(answer(&world, &stranger).client_error, unknown);
}

#[test]
fn a_service_of_the_same_name_in_another_namespace_is_refused() {
    let world = world();
    let foreign = forged(&world, vec![uri("spiffe://shop.test/ns/other/svc/orders")], both());
    let why = refusal(call(&world, &foreign).server_error.as_ref());
    assert!(matches!(why, PeerRefusal::ForeignNamespace(_)), "{why:?}");
    let why = refusal(answer(&world, &foreign).client_error.as_ref());
    assert!(matches!(why, PeerRefusal::ForeignNamespace(_)), "{why:?}");
}

/// The same root, and a name that it may not vouch for.
#[test]
fn a_name_of_another_domain_below_our_root_is_refused() {
    let world = world();
    let foreign = forged(&world, vec![uri("spiffe://bank.test/ns/default/svc/orders")], both());
    let why = refusal(call(&world, &foreign).server_error.as_ref());
    assert!(matches!(why, PeerRefusal::ForeignDomain { .. }), "{why:?}");
    let why = refusal(answer(&world, &foreign).client_error.as_ref());
    assert!(matches!(why, PeerRefusal::ForeignDomain { .. }), "{why:?}");
}

#[test]
fn anything_but_exactly_one_uri_is_refused() {
    let orders = "spiffe://shop.test/ns/default/svc/orders";
    let names = CertificateError::Names;
    let cases = [
        (vec![uri(orders), uri("spiffe://shop.test/ns/default/svc/users")], names.clone()),
        (vec![uri(orders), uri(orders)], names.clone()),
        (vec![dns("orders.shop.test")], names.clone()),
        (vec![uri(orders), dns("orders.shop.test")], names.clone()),
        (vec![uri(orders), SanType::IpAddress([127, 0, 0, 1].into())], names.clone()),
        (vec![], names),
        (vec![uri("https://shop.test/ns/default/svc/orders")], CertificateError::Id(IdError::Scheme)),
        (vec![uri("spiffe://shop.test")], CertificateError::Id(IdError::Path)),
        (vec![uri("spiffe://Shop.test/ns/default/svc/orders")], CertificateError::Id(IdError::TrustDomain)),
    ];
    let world = world();
    for (names, why) in cases {
        let forged = forged(&world, names.clone(), both());
        let shaken = call(&world, &forged);
        assert_eq!(refusal(shaken.server_error.as_ref()), PeerRefusal::NoIdentity(why.clone()), "{names:?}");
        assert!(shaken.client_error.is_some());
        let shaken = answer(&world, &forged);
        assert_eq!(refusal(shaken.client_error.as_ref()), PeerRefusal::NoIdentity(why), "{names:?}");
    }
}

#[test]
fn a_leaf_that_signs_or_lacks_the_purpose_is_refused() {
    let world = world();
    let key = NodeKey::generate().unwrap();
    let chain = world.authority.forge_signing(&key, &world.id("orders"), world.clock.wall());
    let signing = impostor(&world, &key, chain, &world.trust);
    assert!(call(&world, &signing).server_error.is_some());
    assert!(answer(&world, &signing).client_error.is_some());
    let name = || vec![uri(world.id("orders").as_str())];
    let server_only = forged(&world, name(), vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(call(&world, &server_only).server_error.is_some());
    assert!(answer(&world, &server_only).succeeded());
    let client_only = forged(&world, name(), vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(answer(&world, &client_only).client_error.is_some());
    assert!(call(&world, &client_only).succeeded());
}

#[test]
fn a_service_cannot_issue_for_another() {
    let world = world();
    let (thief, victim) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let own = world.issue(&thief, "users");
    let issuer = rcgen::Issuer::from_ca_cert_der(&own.chain[0].clone().into(), thief).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![uri(world.id("orders").as_str())];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = both();
    let leaf = params.signed_by(&victim, &issuer).unwrap().der().to_vec();
    let chain = [vec![leaf], own.chain].concat();
    let impostor = impostor(&world, &victim, chain, &world.trust);
    assert!(matches!(call(&world, &impostor).server_error, Some(Error::InvalidCertificate(_))));
    assert!(matches!(answer(&world, &impostor).client_error, Some(Error::InvalidCertificate(_))));
}

#[test]
fn a_stolen_certificate_is_of_no_use_without_its_key() {
    let world = world();
    let chain = world.issue(&NodeKey::generate().unwrap(), "orders").chain;
    let thief = impostor(&world, &NodeKey::generate().unwrap(), chain, &world.trust);
    let bad = Some(Error::InvalidCertificate(Reason::BadSignature));
    assert_eq!(call(&world, &thief).server_error, bad);
    assert_eq!(answer(&world, &thief).client_error, bad);
}

#[test]
fn a_chain_longer_than_ours_is_refused() {
    let world = world();
    let key = NodeKey::generate().unwrap();
    let mut chain = world.issue(&key, "orders").chain;
    while chain.len() <= CHAIN_MAX {
        chain.push(chain[1].clone());
    }
    let own = MeshIdentity::from_issued(&key, &chain, &world.trust, world.clock.wall());
    assert!(matches!(own, Err(MeshError::Chain)));
    let long = impostor(&world, &key, chain, &world.trust);
    assert_eq!(refusal(call(&world, &long).server_error.as_ref()), PeerRefusal::ChainTooLong);
}

#[test]
fn certificates_count_only_in_their_time() {
    let world = world();
    let (users, orders) = (world.node("users"), world.node("orders"));
    let client = users.client_for(&world.id("orders"), ALPN);
    let server = orders.server(ALPN).unwrap();
    assert!(shake(&client, &server).succeeded());
    world.hand.advance(HOUR + Duration::from_secs(1));
    let expired = |error: Option<Error>| {
        matches!(error, Some(Error::InvalidCertificate(Reason::Expired | Reason::ExpiredContext { .. })))
    };
    assert!(expired(shake(&client, &server).client_error));
    assert!(expired(call(&world, &users).server_error));

    let key = NodeKey::generate().unwrap();
    let tomorrow = world.clock.wall() + DAY;
    let id = world.id("orders");
    let early = world.authority.issue(&key.request().unwrap(), &id, HOUR, tomorrow).unwrap();
    let refused =
        MeshIdentity::from_issued(&key, &early.chain, &world.trust, world.clock.wall()).unwrap_err();
    assert!(matches!(refused, MeshError::Refused(_)));
    let early = impostor(&world, &key, early.chain, &world.trust);
    let not_yet = |error: Option<Error>| {
        matches!(
            error,
            Some(Error::InvalidCertificate(Reason::NotValidYet | Reason::NotValidYetContext { .. }))
        )
    };
    assert!(not_yet(answer(&world, &early).client_error));
    assert!(not_yet(call(&world, &early).server_error));
}

#[test]
fn a_caller_without_a_certificate_is_refused_in_the_mesh_and_nobody_at_control() {
    let world = world();
    let anonymous = MeshTls::anonymous(Arc::clone(&world.trust), &world.clock).unwrap();
    let shaken = call(&world, &anonymous);
    assert_eq!(shaken.server_error, Some(Error::NoCertificatesPresented));
    assert_eq!(shaken.client_error, Some(Error::AlertReceived(AlertDescription::CertificateRequired)));
    let control = world.node(crate::identity::CONTROL_SERVICE);
    let server = control.server_for_enrolment(ALPN).unwrap();
    let client = anonymous.client_for(&SpiffeId::of_control(world.trust.trust_domain()), ALPN);
    let mut shaken = shake(&client, &server);
    assert!(shaken.succeeded() && shaken.talk());
    assert_eq!(peer_identity(&shaken.server), Err(PeerError::Anonymous));
    // Whoever does show a certificate must show a good one.
    let (bank, key) = (World::new("bank.test"), NodeKey::generate().unwrap());
    let stranger = impostor(&world, &key, bank.issue(&key, "orders").chain, &world.trust);
    let client = stranger.client_for(&SpiffeId::of_control(world.trust.trust_domain()), ALPN);
    assert!(shake(&client, &server).server_error.is_some());
    assert!(matches!(anonymous.server(ALPN), Err(MeshError::Anonymous)));
    let unfinished = rustls::ServerConnection::new(server).unwrap();
    assert_eq!(peer_identity(&unfinished), Err(PeerError::Handshaking));
}

#[test]
fn revoked_certificates_and_services_are_refused_and_open_connections_known() {
    let world = world();
    let (users, orders) = (world.node("users"), world.node("orders"));
    let client = users.client_for(&world.id("orders"), ALPN);
    let server = orders.server(ALPN).unwrap();
    let standing = shake(&client, &server);
    assert!(standing.succeeded());
    let peer = peer_identity(&standing.server).unwrap();
    assert!(!world.trust.is_revoked(&peer));
    let bundle = world.authority.bundle().unwrap();
    let revoked = Some(Error::InvalidCertificate(Reason::Revoked));

    assert!(!world.trust.replace(&bundle, RevocationList::default()).unwrap(), "nothing new");
    let list = RevocationList::new([peer.serial], []).unwrap();
    assert!(world.trust.replace(&bundle, list.clone()).unwrap());
    assert!(!world.trust.replace(&bundle, list).unwrap(), "nothing new");
    assert!(world.trust.is_revoked(&peer));
    let refused = shake(&client, &server);
    assert_eq!(refused.server_error, revoked);
    assert_eq!(refused.client_error, Some(Error::AlertReceived(AlertDescription::CertificateRevoked)));
    assert!(call(&world, &world.node("users")).succeeded(), "another instance of the service is not meant");

    let list = RevocationList::new([], [world.id("users")]).unwrap();
    let (_, list) = trust_from_wire(world.trust.trust_domain(), &trust_to_wire(&bundle, &list)).unwrap();
    let fresh = world.identity("users");
    world.trust.replace(&bundle, list).unwrap();
    assert!(world.trust.is_revoked(&peer));
    assert_eq!(call(&world, &world.node_with(fresh)).server_error, revoked);

    // By key: also what was renewed since, and what nobody remembers.
    let mut told = trust_to_wire(&bundle, &RevocationList::default());
    told.revoked_keys.push(peer.key.as_bytes().to_vec());
    let (_, list) = trust_from_wire(world.trust.trust_domain(), &told).unwrap();
    assert_eq!(trust_to_wire(&bundle, &list), told);
    world.trust.replace(&bundle, list).unwrap();
    assert!(world.trust.is_revoked(&peer));
    assert_eq!(shake(&client, &server).server_error, revoked);
    assert!(call(&world, &world.node("users")).succeeded(), "another instance of the service is not meant");

    let callee = orders.identity().unwrap().current();
    world.trust.replace(&bundle, RevocationList::new([callee.serial], []).unwrap()).unwrap();
    assert_eq!(shake(&client, &server).client_error, revoked);
    world.trust.replace(&bundle, RevocationList::default()).unwrap();
    assert!(shake(&client, &server).succeeded());
}

#[test]
fn older_tls_and_no_tls_are_refused() {
    let world = world();
    let server = world.node("orders").server(ALPN).unwrap();
    let mut roots = RootCertStore::empty();
    for root in world.authority.bundle().unwrap().roots() {
        roots.add(root.clone()).unwrap();
    }
    let old = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let shaken = shake(&Arc::new(old), &server);
    assert!(matches!(shaken.server_error, Some(Error::PeerIncompatible(_))), "{:?}", shaken.server_error);
    assert_eq!(shaken.client_error, Some(Error::AlertReceived(AlertDescription::ProtocolVersion)));
    let plain: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01],
    ];
    for bytes in plain {
        assert!(feed(&server, bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn protocols_that_have_nothing_in_common_are_refused() {
    let world = world();
    let client = world.node("users").client_for(&world.id("orders"), &[b"weft-tcp"]);
    let shaken = shake(&client, &world.node("orders").server(&[b"h2", b"http/1.1"]).unwrap());
    assert_eq!(shaken.server_error, Some(Error::NoApplicationProtocol));
}

#[test]
fn a_renewed_certificate_serves_new_handshakes_and_leaves_open_connections_alone() {
    let world = world();
    let key = NodeKey::generate().unwrap();
    let first = world.issue(&key, "orders");
    let now = world.clock.wall();
    let identity = MeshIdentity::from_issued(&key, &first.chain, &world.trust, now).unwrap();
    let server = world.node_with(Arc::clone(&identity)).server(ALPN).unwrap();
    let client = world.node("users").client_for(&world.id("orders"), ALPN);
    let mut standing = shake(&client, &server);
    assert_eq!(peer_identity(&standing.client).unwrap().serial, first.serial);
    world.hand.advance(HOUR / 2);
    let second = world.issue(&key, "orders");
    identity.replace(&key, &second.chain, &world.trust, world.clock.wall()).unwrap();
    let fresh = shake(&client, &server);
    assert_eq!(peer_identity(&fresh.client).unwrap().serial, second.serial);
    world.hand.advance(HOUR * 3 / 4);
    assert!(standing.talk(), "the first certificate ran out; its connection stands");
}

#[test]
fn what_peers_would_refuse_is_not_put_in_force() {
    let world = world();
    let key = NodeKey::generate().unwrap();
    let (now, good) = (world.clock.wall(), world.issue(&key, "orders"));
    let identity = MeshIdentity::from_issued(&key, &good.chain, &world.trust, now).unwrap();
    let replace = |key: &NodeKey, chain: &[Vec<u8>]| identity.replace(key, chain, &world.trust, now);
    assert!(matches!(replace(&key, &[]), Err(MeshError::Chain)));
    assert!(matches!(replace(&key, &[vec![0; 10]]), Err(MeshError::Refused(_))));
    assert!(matches!(replace(&key, &good.chain[..1]), Err(MeshError::Refused(_))));
    let other = NodeKey::generate().unwrap();
    assert!(matches!(replace(&other, &good.chain), Err(MeshError::OtherKey)));
    let named = world.issue(&key, "payments");
    assert!(matches!(replace(&key, &named.chain), Err(MeshError::OtherIdentity { .. })));
    assert_eq!(identity.current().serial, good.serial);
    let bank = World::new("bank.test").authority.bundle().unwrap();
    let refused = world.trust.replace(&bank, RevocationList::default());
    assert!(matches!(refused, Err(MeshError::OtherDomain { .. })));
}

/// Mid-way through a change of roots: some have the new bundle, some a certificate below the new root, some neither.
#[test]
fn roots_overlap_while_one_takes_over_from_the_other() {
    let mut world = world();
    let now = world.clock.wall();
    let (users, orders) = (world.node("users"), world.node("orders"));
    world.authority.publish_next_root(now).unwrap();
    // The callee has heard of the next root, the caller has not yet: both are still below the old one.
    let late = MeshTrust::new(&world.authority.bundle().unwrap(), RevocationList::default()).unwrap();
    let ahead = MeshTls::new(Arc::clone(orders.identity().unwrap()), late, &world.clock).unwrap();
    let client = users.client_for(&world.id("orders"), ALPN);
    assert!(shake(&client, &ahead.server(ALPN).unwrap()).succeeded());
    // Now everyone has both; the next root takes over, and only the callee has renewed.
    let both = world.authority.bundle().unwrap();
    assert!(world.trust.replace(&both, RevocationList::default()).unwrap());
    world.authority.rotate_root(now).unwrap();
    let renewed = world.node("orders");
    assert!(shake(&client, &renewed.server(ALPN).unwrap()).succeeded());
    let backward = renewed.client_for(&world.id("users"), ALPN);
    assert!(shake(&backward, &users.server(ALPN).unwrap()).succeeded());
    // The old root is dropped: who slept through all of it is out.
    let later = now + crate::authority::ISSUING_LIFE + DAY;
    assert!(world.authority.maintain(later).unwrap().old_roots_dropped);
    let bundle = world.authority.bundle().unwrap();
    world.trust.replace(&bundle, RevocationList::default()).unwrap();
    let unknown = Some(Error::InvalidCertificate(Reason::UnknownIssuer));
    assert_eq!(shake(&client, &renewed.server(ALPN).unwrap()).server_error, unknown);
}

#[test]
fn trust_from_control_is_taken_as_a_whole_or_not_at_all() {
    let world = world();
    let (domain, bundle) = (world.trust.trust_domain(), world.authority.bundle().unwrap());
    let good = trust_to_wire(&bundle, &RevocationList::default());
    assert_eq!(trust_from_wire(domain, &good).unwrap().0, bundle);
    let changed = |change: &dyn Fn(&mut weft_model::wire::Trust)| {
        let mut trust = good.clone();
        change(&mut trust);
        trust_from_wire(domain, &trust).unwrap_err()
    };
    assert_eq!(changed(&|trust| trust.roots.clear()), BundleError::Count);
    assert_eq!(changed(&|trust| trust.roots = vec![trust.roots[0].clone(); 9]), BundleError::Count);
    assert_eq!(changed(&|trust| trust.roots.push(vec![0; 40])), BundleError::Root(1));
    assert_eq!(changed(&|trust| trust.roots[0].resize(9_000, 0)), BundleError::Root(0));
    let id = BundleError::Revoked(IdError::Scheme);
    assert_eq!(changed(&|trust| trust.revoked_ids.push("orders".into())), id);
    let serial = BundleError::Revoked(IdError::Serial);
    assert_eq!(changed(&|trust| trust.revoked_serials.push(vec![1; 21])), serial);
    assert_eq!(changed(&|trust| trust.revoked_keys.push(vec![1; 31])), BundleError::RevokedKey);
    let many = |trust: &mut weft_model::wire::Trust| trust.revoked_keys = vec![vec![1; 32]; 16_385];
    assert_eq!(changed(&many), BundleError::TooManyRevoked);
    let many = |trust: &mut weft_model::wire::Trust| trust.revoked_serials = vec![vec![1]; 65_537];
    assert_eq!(changed(&many), BundleError::TooManyRevoked);
}
