//! Who gets a certificate and who does not.

use super::*;
use crate::certificate::identity_of;
use crate::key::NodeKey;
use crate::testing::{DAY, HOUR, World};

const TTL: Duration = Duration::from_secs(600);

struct Desk {
    world: World,
    enrolment: Enrolment,
}

impl Desk {
    fn new() -> Self {
        Self { world: World::new("shop.test"), enrolment: Enrolment::default() }
    }

    fn now(&self) -> SystemTime {
        self.world.clock.wall()
    }

    fn mint(&mut self, service: &str, instance: &str) -> String {
        let placement = Placement { instance: instance.into(), id: self.world.id(service) };
        self.enrolment.mint(placement, TTL, self.now()).unwrap()
    }

    fn enrol(&mut self, token: &str, key: &NodeKey) -> Result<(Placement, Issued), EnrolError> {
        let request = key.request().unwrap();
        let now = self.now();
        self.enrolment.enrol(&self.world.authority, token, &request, HOUR, now)
    }

    fn renew(&mut self, instance: &str, key: &NodeKey) -> Result<(Placement, Issued), EnrolError> {
        let request = key.request().unwrap();
        let now = self.now();
        self.enrolment.renew(&self.world.authority, instance, &request, HOUR, now)
    }

    fn is_listed(&self, issued: &Issued) -> bool {
        let identity = identity_of(&issued.chain[0].clone().into()).unwrap();
        self.enrolment.revoked(self.now()).contains(&identity)
    }
}

fn key() -> NodeKey {
    NodeKey::generate().unwrap()
}

#[test]
fn a_token_is_good_once_for_the_service_it_was_minted_for() {
    let mut desk = Desk::new();
    let token = desk.mint("orders", "orders-1");
    let (placement, issued) = desk.enrol(&token, &key()).unwrap();
    assert_eq!(placement, Placement { instance: "orders-1".into(), id: desk.world.id("orders") });
    assert_eq!(identity_of(&issued.chain[0].clone().into()).unwrap().id, desk.world.id("orders"));
    let again = desk.enrol(&token, &key());
    assert!(matches!(again, Err(EnrolError::Token(TokenError::Invalid))));
}

#[test]
fn a_broken_request_does_not_use_the_token_up() {
    let mut desk = Desk::new();
    let token = desk.mint("orders", "orders-1");
    let mut request = key().request().unwrap();
    *request.last_mut().unwrap() ^= 1;
    let now = desk.now();
    let refused = desk.enrolment.enrol(&desk.world.authority, &token, &request, HOUR, now);
    assert!(matches!(refused, Err(EnrolError::Authority(_))));
    assert!(desk.enrol(&token, &key()).is_ok());
}

#[test]
fn guessed_and_late_tokens_are_refused_alike() {
    let mut desk = Desk::new();
    let token = desk.mint("orders", "orders-1");
    let mut close = token.clone().into_bytes();
    *close.last_mut().unwrap() ^= 4;
    let upper = token.to_uppercase();
    let guesses =
        ["", "weft-enrol-", &token[..token.len() - 1], &upper, std::str::from_utf8(&close).unwrap(), "\0é"];
    for guess in guesses {
        let refused = desk.enrol(guess, &key());
        assert!(matches!(refused, Err(EnrolError::Token(TokenError::Invalid))), "{guess}");
    }
    desk.world.hand.advance(TTL);
    let late = desk.enrol(&token, &key());
    assert!(matches!(late, Err(EnrolError::Token(TokenError::Invalid))));
}

#[test]
fn tokens_are_random_bounded_and_kept_as_hashes() {
    let mut desk = Desk::new();
    let tokens: std::collections::HashSet<_> =
        (0..TOKENS_MAX).map(|index| desk.mint("orders", &format!("orders-{index}"))).collect();
    assert_eq!(tokens.len(), TOKENS_MAX);
    assert!(tokens.iter().all(|token| token.len() == "weft-enrol-".len() + 43));
    let placement = Placement { instance: "late".into(), id: desk.world.id("orders") };
    let full = desk.enrolment.mint(placement.clone(), TTL, desk.now());
    assert!(matches!(full, Err(EnrolError::Token(TokenError::TooMany))));
    let one = tokens.iter().next().unwrap().trim_start_matches("weft-enrol-");
    assert!(!serde_json::to_string(&desk.enrolment).unwrap().contains(one));
    desk.world.hand.advance(TTL);
    assert!(desk.enrolment.mint(placement.clone(), TTL, desk.now()).is_ok());
    assert_eq!(desk.enrolment.tokens.len(), 1);
    for ttl in [Duration::ZERO, TOKEN_TTL_MAX + Duration::from_secs(1)] {
        let refused = desk.enrolment.mint(placement.clone(), ttl, desk.now());
        assert!(matches!(refused, Err(EnrolError::Token(TokenError::Ttl))));
    }
    for name in ["", "a/b", "a b", "é", &"a".repeat(INSTANCE_BYTES_MAX + 1)] {
        let placement = Placement { instance: name.into(), id: desk.world.id("orders") };
        let refused = desk.enrolment.mint(placement, TTL, desk.now());
        assert!(matches!(refused, Err(EnrolError::InstanceName)), "{name}");
    }
}

#[test]
fn the_key_that_enrolled_renews_also_after_expiry() {
    let mut desk = Desk::new();
    let mine = key();
    let token = desk.mint("orders", "orders-1");
    let (_, first) = desk.enrol(&token, &mine).unwrap();
    desk.world.hand.advance(HOUR * 48);
    assert!(first.not_after < desk.now());
    let (placement, second) = desk.renew("orders-1", &mine).unwrap();
    assert_eq!(placement.id, desk.world.id("orders"));
    assert_ne!(second.serial, first.serial);
    assert!(second.not_after > desk.now());
}

#[test]
fn no_other_key_renews_and_no_stranger_learns_who_enrolled() {
    let mut desk = Desk::new();
    let token = desk.mint("orders", "orders-1");
    desk.enrol(&token, &key()).unwrap();
    let other_key = desk.renew("orders-1", &key()).unwrap_err();
    let other_name = desk.renew("orders-2", &key()).unwrap_err();
    assert!(matches!(other_key, EnrolError::Unknown(_)) && matches!(other_name, EnrolError::Unknown(_)));
    assert_eq!(other_key.to_string().replace("orders-1", "orders-2"), other_name.to_string());
    let hostile = desk.renew("\u{1b}[31m\n", &key()).unwrap_err().to_string();
    assert!(!hostile.contains('\n') && !hostile.contains('\u{1b}'));
}

#[test]
fn an_instance_that_comes_back_with_a_new_token_takes_its_name_over() {
    let mut desk = Desk::new();
    let (old, new) = (key(), key());
    let token = desk.mint("orders", "orders-1");
    desk.enrol(&token, &old).unwrap();
    let token = desk.mint("orders", "orders-1");
    desk.enrol(&token, &new).unwrap();
    assert!(matches!(desk.renew("orders-1", &old), Err(EnrolError::Unknown(_))));
    assert!(desk.renew("orders-1", &new).is_ok());
    assert_eq!(desk.enrolment.instance("orders-1").unwrap().certificates.len(), 3);
}

#[test]
fn a_name_that_becomes_another_service_leaves_nothing_behind() {
    let mut desk = Desk::new();
    let token = desk.mint("orders", "one");
    let (_, old) = desk.enrol(&token, &key()).unwrap();
    let token = desk.mint("users", "one");
    let (_, new) = desk.enrol(&token, &key()).unwrap();
    assert!(desk.is_listed(&old) && !desk.is_listed(&new));
    assert_eq!(desk.enrolment.instance("one").unwrap().id, desk.world.id("users"));
    assert_eq!(desk.enrolment.instance("one").unwrap().certificates.len(), 1);
}

#[test]
fn a_revoked_instance_is_out_until_a_new_token() {
    let mut desk = Desk::new();
    let mine = key();
    let token = desk.mint("orders", "orders-1");
    let spare = desk.mint("orders", "orders-1");
    let (_, first) = desk.enrol(&token, &mine).unwrap();
    let (_, second) = desk.renew("orders-1", &mine).unwrap();
    let now = desk.now();
    assert!(desk.enrolment.revoke_instance("orders-1", now).unwrap());
    assert!(desk.is_listed(&first) && desk.is_listed(&second));
    assert!(matches!(desk.renew("orders-1", &mine), Err(EnrolError::Revoked(_))));
    assert!(desk.enrol(&spare, &mine).is_err(), "a token from before the revocation");
    let token = desk.mint("orders", "orders-1");
    let (_, fresh) = desk.enrol(&token, &key()).unwrap();
    assert!(!desk.is_listed(&fresh));
    assert!(desk.is_listed(&first));
    assert!(!desk.enrolment.revoke_instance("nobody", now).unwrap());
}

#[test]
fn a_connection_that_outlived_its_certificate_is_revoked_with_its_instance() {
    let mut desk = Desk::new();
    let mine = key();
    let token = desk.mint("orders", "orders-1");
    let (_, first) = desk.enrol(&token, &mine).unwrap();
    for _ in 0..CERTIFICATES_MAX * 2 {
        desk.world.hand.advance(HOUR * 2);
        let now = desk.now();
        desk.enrolment.sweep(now);
        desk.renew("orders-1", &mine).unwrap();
    }
    assert!(!desk.is_listed(&first));
    let now = desk.now();
    assert!(desk.enrolment.revoke_instance("orders-1", now).unwrap());
    assert!(desk.is_listed(&first), "nobody remembers the certificate, but its key");
    // The key does not come back by another name, nor in another state of the registry.
    let written = serde_json::to_vec(&desk.enrolment).unwrap();
    desk.enrolment = serde_json::from_slice(&written).unwrap();
    let token = desk.mint("orders", "orders-2");
    assert!(matches!(desk.enrol(&token, &mine), Err(EnrolError::RevokedKey)));
    assert!(desk.enrol(&token, &key()).is_ok());
    desk.world.hand.advance(DAY * 8);
    let now = desk.now();
    desk.enrolment.sweep(now);
    assert!(desk.enrolment.revoked(now).is_empty(), "the list does not grow");
}

#[test]
fn revoking_a_certificate_revokes_its_holder() {
    let mut desk = Desk::new();
    let (one, two) = (key(), key());
    let (token_one, token_two) = (desk.mint("orders", "orders-1"), desk.mint("orders", "orders-2"));
    let (_, first) = desk.enrol(&token_one, &one).unwrap();
    let (_, other) = desk.enrol(&token_two, &two).unwrap();
    let (_, renewed) = desk.renew("orders-1", &one).unwrap();
    let now = desk.now();
    assert!(desk.enrolment.revoke_serial(first.serial, now).unwrap());
    assert!(desk.is_listed(&renewed) && !desk.is_listed(&other));
    assert!(desk.renew("orders-1", &one).is_err());
    assert!(desk.renew("orders-2", &two).is_ok());
    let unknown = Serial::from_be_bytes(&[1, 2, 3]).unwrap();
    assert!(!desk.enrolment.revoke_serial(unknown, now).unwrap());
}

#[test]
fn a_revoked_service_is_out_until_it_is_reinstated() {
    let mut desk = Desk::new();
    let (mine, id) = (key(), desk.world.id("orders"));
    let token = desk.mint("orders", "orders-1");
    let open = desk.mint("orders", "orders-2");
    let (_, issued) = desk.enrol(&token, &mine).unwrap();
    desk.enrolment.revoke_service(&id).unwrap();
    assert!(desk.is_listed(&issued));
    assert!(matches!(desk.renew("orders-1", &mine), Err(EnrolError::Revoked(_))));
    assert!(desk.enrol(&open, &key()).is_err());
    let placement = Placement { instance: "orders-3".into(), id: id.clone() };
    assert!(matches!(desk.enrolment.mint(placement, TTL, desk.now()), Err(EnrolError::Revoked(_))));
    let now = desk.now();
    desk.enrolment.reinstate(&id, now).unwrap();
    assert!(desk.is_listed(&issued), "what was out before stays out");
    let (_, renewed) = desk.renew("orders-1", &mine).unwrap();
    assert!(!desk.is_listed(&renewed) && desk.is_listed(&issued));
    let token = desk.mint("orders", "orders-2");
    let (_, fresh) = desk.enrol(&token, &key()).unwrap();
    assert!(!desk.is_listed(&fresh));
}

#[test]
fn an_instance_that_was_revoked_by_itself_does_not_come_back_with_its_service() {
    let mut desk = Desk::new();
    let (mine, id) = (key(), desk.world.id("orders"));
    let token = desk.mint("orders", "orders-1");
    let (_, issued) = desk.enrol(&token, &mine).unwrap();
    let now = desk.now();
    desk.enrolment.revoke_instance("orders-1", now).unwrap();
    desk.enrolment.revoke_service(&id).unwrap();
    desk.enrolment.reinstate(&id, now).unwrap();
    assert!(desk.is_listed(&issued));
    assert!(matches!(desk.renew("orders-1", &mine), Err(EnrolError::Revoked(_))));
}

#[test]
fn the_list_forgets_what_ran_out_and_the_registry_does_not_grow() {
    let mut desk = Desk::new();
    let mine = key();
    let token = desk.mint("orders", "orders-1");
    let (_, first) = desk.enrol(&token, &mine).unwrap();
    for _ in 0..CERTIFICATES_MAX {
        desk.renew("orders-1", &mine).unwrap();
    }
    assert_eq!(desk.enrolment.instance("orders-1").unwrap().certificates.len(), CERTIFICATES_MAX);
    assert!(desk.is_listed(&first), "the oldest gave way");
    let now = desk.now();
    assert!(desk.enrolment.revoke_instance("orders-1", now).unwrap());
    desk.enrolment.leave("orders-1");
    assert_eq!(desk.enrolment.revoked(now).len(), CERTIFICATES_MAX + 2, "certificates and the key");
    desk.world.hand.advance(DAY * 8);
    let now = desk.now();
    assert!(desk.enrolment.revoked(now).is_empty());
    desk.enrolment.sweep(now);
    assert!(desk.enrolment.instances().next().is_none());
    let written = serde_json::to_string(&desk.enrolment).unwrap();
    assert!(!written.contains(&first.serial.to_string()));
}

#[test]
fn who_left_is_forgotten_once_its_certificates_ran_out_and_who_is_only_away_is_not() {
    let mut desk = Desk::new();
    let keys = ["orders-1", "orders-2", "orders-3"].map(|instance| {
        let token = desk.mint("orders", instance);
        let key = key();
        desk.enrol(&token, &key).unwrap();
        (instance, key)
    });
    let names = |desk: &Desk| desk.enrolment.instances().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    desk.enrolment.leave("orders-1");
    desk.enrolment.leave("orders-2");
    desk.enrolment.leave("nobody");
    let now = desk.now();
    desk.enrolment.sweep(now);
    assert_eq!(names(&desk), ["orders-1", "orders-2", "orders-3"], "what still counts can still be revoked");
    desk.renew("orders-2", &keys[1].1).unwrap();
    desk.world.hand.advance(HOUR * 2);
    let now = desk.now();
    desk.enrolment.sweep(now);
    assert_eq!(names(&desk), ["orders-2", "orders-3"], "the second came back, the third is only away");
    assert!(matches!(desk.renew("orders-1", &keys[0].1), Err(EnrolError::Unknown(_))));
    desk.renew("orders-3", &keys[2].1).unwrap();
    let written = serde_json::to_string(&desk.enrolment).unwrap();
    assert!(!written.contains("left"), "{written}");
}

#[test]
fn a_full_registry_forgets_those_whose_certificates_ran_out() {
    let mut desk = Desk::new();
    let mine = key();
    let token = desk.mint("orders", "orders-0");
    desk.enrol(&token, &mine).unwrap();
    let old = desk.enrolment.instance("orders-0").unwrap().clone();
    for n in 1..INSTANCES_MAX {
        desk.enrolment.instances.insert(format!("orders-{n}"), old.clone());
    }
    let token = desk.mint("orders", "orders-new");
    assert!(
        matches!(desk.enrol(&token, &mine), Err(EnrolError::RegistryFull)),
        "all of them may still be there"
    );
    desk.world.hand.advance(HOUR * 48);
    let token = desk.mint("orders", "orders-new");
    desk.enrol(&token, &mine).unwrap();
    let names: Vec<&str> = desk.enrolment.instances().map(|(name, _)| name).collect();
    assert_eq!(names, ["orders-new"]);
}

#[test]
fn the_state_survives_a_restart() {
    let mut desk = Desk::new();
    let mine = key();
    let (token, open) = (desk.mint("orders", "orders-1"), desk.mint("users", "users-1"));
    let (_, issued) = desk.enrol(&token, &mine).unwrap();
    desk.enrolment.revoke_service(&desk.world.id("payments")).unwrap();
    let written = serde_json::to_vec(&desk.enrolment).unwrap();
    desk.enrolment = serde_json::from_slice(&written).unwrap();
    assert!(desk.enrol(&token, &key()).is_err(), "used before the restart");
    assert_eq!(desk.enrol(&open, &key()).unwrap().0.id, desk.world.id("users"));
    assert!(desk.renew("orders-1", &mine).is_ok());
    assert!(!desk.is_listed(&issued));
    assert_eq!(desk.enrolment.revoked(desk.now()).len(), 1);
}
