//! What identities do where the disk does not take them.

use weft_stdx::clock::Hand;
use weft_trust::authority::{ISSUING_LIFE, NEXT_ROOT_AHEAD, ROOT_LIFE};

use super::*;
use crate::store::tests::Folder;

const LIFETIME: Duration = Duration::from_secs(3_600);

fn open(dir: &Path) -> (Identities, Hand) {
    let (clock, hand) = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let domain = TrustDomain::parse("shop.test").unwrap();
    (Identities::open(dir, None, &domain, LIFETIME, &clock).unwrap().0, hand)
}

#[test]
fn what_a_full_disk_did_not_take_is_stored_and_told_when_it_does() {
    let folder = Folder::new();
    let dir = folder.0.join("authority");
    let (identities, hand) = open(&dir);
    let first = identities.own.current();
    // A folder where the new file should be stands for a disk that takes nothing.
    let in_the_way = dir.join("authority.new");
    std::fs::create_dir(&in_the_way).unwrap();
    hand.advance(ROOT_LIFE - NEXT_ROOT_AHEAD);
    let refused = identities.maintain().unwrap_err().to_string();
    assert!(refused.contains("authority.new"), "{refused}");
    assert!(identities.own.current().not_after > first.not_after + ISSUING_LIFE, "its own needs no disk");
    assert!(identities.maintain().is_err(), "and it says so for as long as that is so");
    std::fs::remove_dir(&in_the_way).unwrap();
    let told = identities.maintain().unwrap().expect("the next root is told");
    assert_eq!(told.roots.len(), 2);
    assert_eq!(identities.maintain().unwrap(), None);
    let stored = identities.lock().store.read("authority").unwrap().unwrap();
    assert!(String::from_utf8(stored.to_vec()).unwrap().contains("next_root"));
}

#[test]
fn a_store_that_lost_a_part_is_told() {
    let folder = Folder::new();
    let dir = folder.0.join("authority");
    let (identities, _) = open(&dir);
    let lost = |dir: &Path| {
        let store = Store::open(dir, None).unwrap();
        what_is_lost(Authority::is_kept_in(&store).unwrap(), store.read(REGISTRY).unwrap().is_some())
    };
    drop(identities);
    assert_eq!(lost(&dir), None, "nobody enrolled, and nothing is lost");
    let kept = std::fs::read(dir.join("authority")).unwrap();
    std::fs::remove_file(dir.join("authority")).unwrap();
    assert!(lost(&dir).unwrap().contains("keys are gone"));
    std::fs::write(dir.join("authority"), kept).unwrap();
    set_private(&dir.join("authority"));
    std::fs::remove_file(dir.join(REGISTRY)).unwrap();
    assert!(lost(&dir).unwrap().contains("registry"));
}

fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
