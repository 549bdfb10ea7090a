//! The authority: what it takes from requests, what it puts into certificates, and how its keys take over from
//! each other.

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use weft_stdx::clock::Clock;
use weft_stdx::rng::Rng;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::*;
use crate::bundle::RevocationList;
use crate::mesh::{MeshIdentity, MeshTrust};
use crate::renewal::renew_at;
use crate::store::Passphrase;
use crate::testing::{HOUR, TestDir, World};

impl Authority {
    /// A leaf with whatever names and usages, for tests that need what the authority would never issue.
    pub(crate) fn forge(
        &self,
        key: &NodeKey,
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        now: SystemTime,
    ) -> Vec<Vec<u8>> {
        let proven = ProvenKey::from_request(&key.request().unwrap()).unwrap();
        self.leaf(&proven, names, usages, HOUR, now).unwrap().chain
    }

    /// A leaf that may sign others.
    pub(crate) fn forge_signing(&self, key: &NodeKey, id: &SpiffeId, now: SystemTime) -> Vec<Vec<u8>> {
        let mut params = blank(now, LEAF_BACKDATE, now + HOUR).unwrap();
        params.subject_alt_names = vec![uri(id.as_str()).unwrap()];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let (leaf, _) = sign(params, key, &self.issuing.issuer).unwrap();
        vec![leaf.to_vec(), self.issuing.certificate.to_vec()]
    }
}

fn world() -> World {
    World::new("shop.test")
}

/// A request that asks for more than a key.
fn greedy_request(key: &impl rcgen::SigningKey, wanted: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        vec![uri(wanted).unwrap(), SanType::DnsName(Ia5String::try_from("bank.test").unwrap())];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "payments");
    params.serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn a_leaf_names_one_service_and_may_only_shake_hands() {
    let world = world();
    let key = NodeKey::generate().unwrap();
    let now = world.clock.wall();
    let issued = world.issue(&key, "orders");
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, vec![GeneralName::URI("spiffe://shop.test/ns/default/svc/orders")]);
    assert!(
        names.critical,
        "a certificate without a subject must mark its names critical (RFC 5280 4.2.1.6)"
    );
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digital signature and nothing else");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any && extended.other.is_empty());
    assert!(!leaf.is_ca());
    assert_eq!(leaf.public_key().raw, key.public_der());
    assert_eq!(issued.serial.as_be_bytes().len(), 16);
    assert_eq!(issued.not_before, now - LEAF_BACKDATE);
    assert_eq!(issued.not_after, now + HOUR);
    assert_eq!(issued.chain.len(), 2);
    assert_ne!(world.issue(&key, "orders").serial, issued.serial);
}

#[test]
fn what_a_request_asks_for_is_ignored() {
    let world = world();
    let key = NodeKey::generate().unwrap();
    let request = greedy_request(&key, "spiffe://shop.test/ns/default/svc/payments");
    let issued = world.authority.issue(&request, &world.id("orders"), HOUR, world.clock.wall()).unwrap();
    let leaf = CertificateDer::from(issued.chain[0].clone());
    assert_eq!(crate::certificate::identity_of(&leaf).unwrap().id, world.id("orders"));
    let text = String::from_utf8_lossy(&leaf).into_owned();
    assert!(!text.contains("payments") && !text.contains("bank.test"));
}

#[test]
fn requests_of_other_keys_are_refused() {
    let world = world();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let refused = ProvenKey::from_request(request.der());
        assert_eq!(refused, Err(RequestError::NotP256), "{algorithm:?}");
        let refused = world.authority.issue(request.der(), &world.id("orders"), HOUR, world.clock.wall());
        assert!(matches!(refused, Err(AuthorityError::Request(RequestError::NotP256))));
    }
}

#[test]
fn requests_with_a_signature_of_another_are_refused() {
    let (mine, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let request = mine.request().unwrap();
    // The stranger's public key in the place of ours: shown, but not proven.
    let point = mine.public_der()[mine.public_der().len() - 65..].to_vec();
    let theirs = other.public_der()[other.public_der().len() - 65..].to_vec();
    let at = request.windows(65).position(|window| window == point).unwrap();
    let mut stolen = request.clone();
    stolen[at..at + 65].copy_from_slice(&theirs);
    assert_eq!(ProvenKey::from_request(&stolen), Err(RequestError::BadSignature));
    let mut damaged = request.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(ProvenKey::from_request(&damaged), Err(RequestError::BadSignature));
    let mut off_curve = request.clone();
    off_curve[at + 40] ^= 1;
    assert_eq!(ProvenKey::from_request(&off_curve), Err(RequestError::BadSignature));
    assert_eq!(ProvenKey::from_request(&[request.as_slice(), &[0]].concat()), Err(RequestError::Unreadable));
    assert_eq!(ProvenKey::from_request(&vec![0x30; 5_000]), Err(RequestError::Unreadable));
    assert!(ProvenKey::from_request(&request).is_ok());
}

/// Whatever is done to a request, it is refused, or still of the key that signed it.
#[test]
fn broken_requests_never_panic_and_never_prove_another_key() {
    let seed = 0xc5;
    let mut rng = Rng::seeded(seed);
    let key = NodeKey::generate().unwrap();
    let request = key.request().unwrap();
    let fingerprint = ProvenKey::from_request(&request).unwrap().fingerprint();
    for turn in 0..4_000 {
        let mut bytes = request.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, rng.next_u64() as u8),
            }
        }
        if let Ok(proven) = ProvenKey::from_request(&bytes) {
            assert_eq!(proven.fingerprint(), fingerprint, "seed {seed} turn {turn}");
        }
        let _ = crate::certificate::identity_of(&CertificateDer::from(bytes));
    }
}

#[test]
fn only_what_is_ours_is_issued_and_no_longer_than_we_may() {
    let mut world = world();
    let now = world.clock.wall();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let foreign = SpiffeId::parse("spiffe://bank.test/ns/default/svc/orders").unwrap();
    let refused = world.authority.issue(&request, &foreign, HOUR, now);
    assert!(matches!(refused, Err(AuthorityError::ForeignId(_))));
    let id = world.id("orders");
    let refused = world.authority.issue(&request, &id, Duration::from_millis(999), now);
    assert!(matches!(refused, Err(AuthorityError::Lifetime)));
    let long = world.authority.issue(&request, &id, Duration::MAX, now).unwrap();
    assert_eq!(long.not_after, now + ISSUING_LIFE);
    let later = now + ISSUING_LIFE;
    let refused = world.authority.issue(&request, &id, HOUR, later);
    assert!(matches!(refused, Err(AuthorityError::IssuingExpired)));
    assert!(world.authority.maintain(later).unwrap().issuing_replaced);
    assert!(world.authority.issue(&request, &id, HOUR, later).is_ok());
    let before_time = SystemTime::UNIX_EPOCH;
    assert!(world.authority.issue(&request, &id, HOUR, before_time).is_err());
    assert!(Authority::create(world.authority.trust_domain().clone(), before_time).is_err());
}

#[test]
fn edge_certificates_take_names_and_addresses() {
    let world = world();
    let now = world.clock.wall();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let issue = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        world.authority.issue_edge(&request, &names, HOUR, now)
    };
    let issued = issue(&["Shop.test", "*.shop.test", "127.0.0.1", "::1", "localhost"]).unwrap();
    let leaf = CertificateDer::from(issued.chain[0].clone());
    let names = crate::certificate::dns_names_of(&leaf).unwrap();
    assert_eq!(names, ["shop.test", "*.shop.test", "localhost"]);
    assert!(crate::certificate::identity_of(&leaf).is_err(), "an edge certificate is nobody in the mesh");
    assert!(matches!(issue(&[]), Err(AuthorityError::EdgeNames)));
    for bad in ["", "*.", "*", "a b", "spiffe://shop.test/ns/default/svc/a", "a..b", "ü.test", "*.*.test"] {
        assert!(matches!(issue(&[bad]), Err(AuthorityError::EdgeName(_))), "{bad}");
    }
}

#[test]
fn the_state_survives_a_restart_sealed_or_not() {
    let dir = TestDir::new();
    let now = World::new("shop.test").clock.wall();
    let domain = TrustDomain::parse("shop.test").unwrap();
    for passphrase in [None, Some("correct horse")] {
        let path = dir.path().join(if passphrase.is_some() { "sealed" } else { "clear" });
        let open = || {
            let passphrase = passphrase.map(|text| Passphrase::new(text.to_owned()).unwrap());
            Store::open(&path, passphrase).unwrap()
        };
        let store = open();
        assert_eq!(store.warning().is_some(), passphrase.is_none());
        let mut first = Authority::open(&store, &domain, now).unwrap();
        first.publish_next_root(now).unwrap();
        first.rotate_root(now).unwrap();
        first.publish_next_root(now).unwrap();
        first.save(&store).unwrap();
        let secret = first.root.issuer.key().secret_der().unwrap();
        drop(store);
        let store = open();
        let second = Authority::open(&store, &domain, now).unwrap();
        assert_eq!(second.bundle().unwrap(), first.bundle().unwrap());
        assert_eq!(second.bundle().unwrap().roots().len(), 3);
        assert_eq!(second.issuing.certificate, first.issuing.certificate);
        assert_eq!(*second.root.issuer.key().secret_der().unwrap(), *secret);
        let other = TrustDomain::parse("bank.test").unwrap();
        let refused = Authority::open(&store, &other, now);
        assert!(matches!(refused, Err(AuthorityError::OtherDomain { .. })));
    }
}

/// The state with a key that is good, but not that of the certificate beside it.
fn with_other_key(state: &str, which: &str) -> String {
    use base64::Engine as _;
    let secret = NodeKey::generate().unwrap().secret_der().unwrap();
    let mut state: serde_json::Value = serde_json::from_str(state).unwrap();
    state[which]["key"] = base64::prelude::BASE64_STANDARD.encode(&*secret).into();
    state.to_string()
}

#[test]
fn a_damaged_state_is_refused_and_not_quoted() {
    let dir = TestDir::new();
    let store = Store::open(&dir.path().join("a"), None).unwrap();
    let domain = TrustDomain::parse("shop.test").unwrap();
    let now = World::new("shop.test").clock.wall();
    let good = Authority::create(domain.clone(), now).unwrap().to_state().unwrap();
    let text = String::from_utf8(good.to_vec()).unwrap();
    let cases = [
        String::new(),
        "{}".into(),
        text.replace("\"format\":1", "\"format\":2"),
        text.replace("\"key\":\"", "\"key\":\"!"),
        text.replace("\"key\":\"", "\"key\":\"AAAA"),
        text.replace("shop.test", "Shop.test"),
        text[..text.len() / 2].to_owned(),
        with_other_key(&text, "root"),
        with_other_key(&text, "issuing"),
    ];
    for case in cases {
        store.write("authority", case.as_bytes()).unwrap();
        let error = Authority::open(&store, &domain, now).unwrap_err();
        assert!(!error.to_string().contains("MI"), "{error}");
    }
    store.write("authority", &good).unwrap();
    assert!(Authority::open(&store, &domain, now).is_ok());
}

#[test]
fn a_root_takes_over_only_after_it_was_published() {
    let mut world = world();
    let now = world.clock.wall();
    assert!(matches!(world.authority.rotate_root(now), Err(AuthorityError::NoNextRoot)));
    let old = world.authority.bundle().unwrap().roots()[0].clone();
    world.authority.publish_next_root(now).unwrap();
    world.authority.publish_next_root(now).unwrap();
    let both = world.authority.bundle().unwrap();
    assert_eq!(both.roots().len(), 2);
    world.authority.rotate_root(now).unwrap();
    let after = world.authority.bundle().unwrap();
    assert_eq!(after.roots(), [both.roots()[1].clone(), old]);
    let done = world.authority.maintain(now + ISSUING_LIFE + Duration::from_secs(1)).unwrap();
    assert!(done.old_roots_dropped);
    assert_eq!(world.authority.bundle().unwrap().roots(), [both.roots()[1].clone()]);
    for _ in 0..ROOTS_MAX - 2 {
        world.authority.publish_next_root(now).unwrap();
        world.authority.rotate_root(now).unwrap();
    }
    world.authority.publish_next_root(now).unwrap();
    world.authority.rotate_root(now).unwrap();
    assert!(matches!(world.authority.publish_next_root(now), Err(AuthorityError::TooManyRoots)));
    assert_eq!(world.authority.bundle().unwrap().roots().len(), ROOTS_MAX);
}

/// A process that renews by the schedule and hears of new roots late.
struct Node {
    key: NodeKey,
    chain: Vec<Vec<u8>>,
    renew_at: SystemTime,
    trust: std::sync::Arc<MeshTrust>,
}

/// Three years of nodes that come and renew at their own times, with roots that take over by themselves, each
/// process hearing of a new bundle up to eight hours late: whoever meets, believes each other, always.
#[test]
fn no_handshake_fails_while_keys_of_all_tiers_are_replaced() {
    let seed = 0x7007;
    let mut rng = Rng::seeded(seed);
    let world = world();
    let (mut authority, start) = (world.authority, world.clock.wall());
    let id = SpiffeId::of_service(authority.trust_domain(), "orders").unwrap();
    let mut now = start;
    let enrol = |authority: &Authority, key: NodeKey, rng: &mut Rng, now: SystemTime| {
        let issued = authority.issue(&key.request().unwrap(), &id, 24 * HOUR, now).unwrap();
        let trust = MeshTrust::new(&authority.bundle().unwrap(), RevocationList::default()).unwrap();
        let renew_at = renew_at(issued.not_before, issued.not_after, rng.fraction());
        Node { key, chain: issued.chain, renew_at, trust }
    };
    let mut nodes: Vec<Node> =
        (0..6).map(|_| enrol(&authority, NodeKey::generate().unwrap(), &mut rng, now)).collect();
    let mut root_changes = 0;
    while now < start + DAY * 365 * 3 {
        let late = authority.bundle().unwrap();
        now += rng.duration(HOUR, HOUR * 8);
        root_changes += u32::from(authority.maintain(now).unwrap().root_replaced);
        for node in &mut nodes {
            node.trust.replace(&late, RevocationList::default()).unwrap();
            if now >= node.renew_at {
                *node = enrol(&authority, node.key.clone(), &mut rng, now);
            }
        }
        let bundle = authority.bundle().unwrap();
        // Everyone meets everyone when the roots change; on the other days, to save time, two who are drawn.
        let pairs: Vec<_> = if bundle == late {
            vec![(rng.below(nodes.len()), rng.below(nodes.len()))]
        } else {
            (0..nodes.len() * nodes.len()).map(|pair| (pair / nodes.len(), pair % nodes.len())).collect()
        };
        let day = now.duration_since(start).unwrap().as_secs() / 86_400;
        for (one, other) in pairs {
            let (one, other) = (&nodes[one], &nodes[other]);
            let met = MeshIdentity::from_issued(&one.key, &one.chain, &other.trust, now);
            assert!(met.is_ok(), "seed {seed:#x} day {day}: {met:?}");
        }
        assert!(bundle.roots().len() <= 2 && authority.root_not_after() > now, "seed {seed:#x} day {day}");
    }
    assert_eq!(root_changes, 1, "seed {seed:#x}");
}

#[test]
fn an_authority_that_slept_through_everything_starts_again() {
    let mut world = world();
    let now = world.clock.wall() + ROOT_LIFE + DAY;
    let done = world.authority.maintain(now).unwrap();
    assert!(done.next_root_published && done.root_replaced && done.issuing_replaced && done.changed());
    let request = NodeKey::generate().unwrap().request().unwrap();
    assert!(world.authority.issue(&request, &world.id("orders"), HOUR, now).is_ok());
    let (clock, _hand) = Clock::manual(now);
    assert!(world.authority.root_not_after() > clock.wall());
}

#[test]
fn nothing_outlives_what_vouches_for_it() {
    let mut world = world();
    let root_ends = world.authority.root_not_after();
    let now = root_ends - DAY * 3;
    let done = world.authority.maintain(now).unwrap();
    assert!(done.issuing_replaced && done.next_root_published && !done.root_replaced);
    let request = NodeKey::generate().unwrap().request().unwrap();
    let issued = world.authority.issue(&request, &world.id("orders"), DAY * 6, now).unwrap();
    assert_eq!(issued.not_after, root_ends);
    assert!(world.authority.maintain(now + DAY + HOUR).unwrap().root_replaced);
}
