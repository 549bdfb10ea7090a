//! Modes, owners, seals: what is not private is not believed.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::testing::TestDir;

fn passphrase(text: &str) -> Option<Passphrase> {
    Some(Passphrase::new(text.to_owned()).unwrap())
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_written_is_private_and_read_back() {
    let dir = TestDir::new();
    let path = dir.path().join("keys");
    let store = Store::open(&path, None).unwrap();
    assert_eq!(store.read("one").unwrap(), None);
    store.write("one", b"first").unwrap();
    store.write("one", b"second").unwrap();
    assert_eq!(&**store.read("one").unwrap().unwrap(), b"second");
    assert_eq!(mode_of(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode_of(&entry), 0o600, "{}", entry.display());
    }
    assert!(!path.join("one.new").exists());
    fs::write(path.join("one.new"), b"left by a crash").unwrap();
    store.write("one", b"third").unwrap();
    assert_eq!(&**store.read("one").unwrap().unwrap(), b"third");
}

#[test]
fn what_others_may_use_is_not_believed() {
    let dir = TestDir::new();
    let path = dir.path().join("keys");
    let store = Store::open(&path, None).unwrap();
    store.write("one", b"secret").unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        chmod(&path.join("one"), mode);
        let refused = store.read("one").unwrap_err();
        assert!(matches!(refused, StoreError::Open { mode: found, wanted: 0o600, .. } if found == mode));
    }
    chmod(&path.join("one"), 0o600);
    assert!(store.read("one").is_ok());
    drop(store);
    for mode in [0o750, 0o705, 0o777] {
        chmod(&path, mode);
        let refused = Store::open(&path, None).unwrap_err();
        assert!(matches!(refused, StoreError::Open { mode: found, wanted: 0o700, .. } if found == mode));
    }
}

#[test]
fn links_and_directories_are_not_believed() {
    let dir = TestDir::new();
    let path = dir.path().join("keys");
    let store = Store::open(&path, None).unwrap();
    store.write("one", b"secret").unwrap();
    symlink(path.join("one"), path.join("two")).unwrap();
    assert!(matches!(store.read("two"), Err(StoreError::Io { .. })));
    fs::create_dir(path.join("three")).unwrap();
    assert!(store.read("three").is_err());
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join("four"), rustix::fs::Mode::from(0o600)).unwrap();
    assert!(matches!(store.read("four"), Err(StoreError::NotAFile { .. })));
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    drop(store);
    assert!(Store::open(&link, None).is_err());
}

#[test]
fn names_cannot_leave_the_directory() {
    let dir = TestDir::new();
    let store = Store::open(&dir.path().join("keys"), None).unwrap();
    for name in ["", "..", "../one", "/etc/passwd", "a/b", "a.new", "lock", "a\0", &"a".repeat(65)] {
        assert!(matches!(store.read(name), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(store.write(name, b""), Err(StoreError::Name(_))), "{name}");
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = TestDir::new();
    let path = dir.path().join("keys");
    let first = Store::open(&path, None).unwrap();
    assert!(matches!(Store::open(&path, None), Err(StoreError::InUse { .. })));
    drop(first);
    assert!(Store::open(&path, None).is_ok());
}

#[test]
fn a_sealed_file_opens_with_its_passphrase_only() {
    let dir = TestDir::new();
    let path = dir.path().join("keys");
    let store = Store::open(&path, passphrase("correct horse")).unwrap();
    assert_eq!(store.warning(), None);
    store.write("one", b"the content").unwrap();
    store.write("two", b"other content").unwrap();
    let bytes = fs::read(path.join("one")).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"content"));
    assert_eq!(&**store.read("one").unwrap().unwrap(), b"the content");
    drop(store);

    let store = Store::open(&path, passphrase("correct horse")).unwrap();
    assert_eq!(&**store.read("one").unwrap().unwrap(), b"the content");
    // One sealed file in the place of another is not believed either.
    fs::copy(path.join("two"), path.join("one")).unwrap();
    assert!(matches!(store.read("one"), Err(StoreError::WrongPassphrase { .. })));
    for at in [8, 12, 28, 40, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(path.join("one"), &changed).unwrap();
        assert!(store.read("one").is_err(), "byte {at}");
    }
    for length in [0, 7, 8, SEALED_HEAD_BYTES - 1, SEALED_HEAD_BYTES, SEALED_HEAD_BYTES + 15] {
        fs::write(path.join("one"), &bytes[..length]).unwrap();
        assert!(store.read("one").is_err(), "{length} bytes");
    }
    fs::write(path.join("one"), &bytes).unwrap();
    assert!(store.read("one").is_ok());
    drop(store);

    let store = Store::open(&path, passphrase("battery staple")).unwrap();
    assert!(matches!(store.read("one"), Err(StoreError::WrongPassphrase { .. })));
    drop(store);
    let store = Store::open(&path, None).unwrap();
    assert!(matches!(store.read("one"), Err(StoreError::PassphraseNeeded { .. })));
    store.write("one", b"in clear").unwrap();
    drop(store);
    let store = Store::open(&path, passphrase("correct horse")).unwrap();
    assert!(matches!(store.read("one"), Err(StoreError::NotSealed { .. })));
    assert!(matches!(Passphrase::new(String::new()), Err(StoreError::EmptyPassphrase)));
}

#[test]
fn a_file_that_asks_for_endless_work_is_refused() {
    let dir = TestDir::new();
    let path = dir.path().join("keys");
    let store = Store::open(&path, passphrase("correct horse")).unwrap();
    for rounds in [0, u32::MAX] {
        let head = [SEALED.as_slice(), &rounds.to_be_bytes(), &[0; SALT_BYTES + NONCE_BYTES + 32]].concat();
        fs::write(path.join("one"), head).unwrap();
        chmod(&path.join("one"), 0o600);
        assert!(matches!(store.read("one"), Err(StoreError::Damaged { .. })));
    }
}
