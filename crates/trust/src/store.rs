//! The one file of this crate that does IO: small secret files in one directory.
//!
//! The directory is 0700 and the files 0600, both checked before a byte is believed: a key that others could read
//! is not a secret any more, and using it would hide that. With a passphrase each file is sealed with AES-256-GCM
//! under a key that PBKDF2-HMAC-SHA256 makes of it; without one the store says so with a [`Warning`] that the
//! caller shows.
//!
//! Files are replaced as a whole: written beside, synced, renamed. A lock keeps a second process out.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use rustix::fs::{FlockOperation, OFlags, flock};
use zeroize::Zeroizing;

/// Largest file that is read or written.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Rounds of PBKDF2-HMAC-SHA256: what OWASP's password storage cheat sheet asks for (2023).
pub const PBKDF2_ROUNDS: u32 = 600_000;
/// Most rounds that a file may ask for, so that a changed file cannot make the start take for ever.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const LOCK: &str = "lock";
/// First bytes of a file: its format and whether it is sealed.
const CLEAR: &[u8; 8] = b"weft-c1\n";
const SEALED: &[u8; 8] = b"weft-s1\n";
/// Magic, rounds, salt, nonce.
const SEALED_HEAD_BYTES: usize = SEALED.len() + 4 + SALT_BYTES + NONCE_BYTES;

/// A directory of secret files that this process alone has open.
pub struct Store {
    dir: PathBuf,
    passphrase: Option<Passphrase>,
    /// The key made last, because making one takes a large part of a second.
    derived: Mutex<Option<Derived>>,
    /// Held for the store's life; the system drops it with the process, however that ends.
    _lock: File,
}

/// What a store is sealed with; wiped when dropped, never printed.
pub struct Passphrase(Zeroizing<String>);

struct Derived {
    salt: [u8; SALT_BYTES],
    rounds: NonZeroU32,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

/// What the caller should tell the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Keys are protected by file modes only.
    Unsealed {
        /// Where they are.
        dir: PathBuf,
    },
}

/// Why the store does not open, read or write.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read or write it.
    #[error("{} may be used by others (mode {mode:04o}); it holds keys, so make it {wanted:04o}", path.display())]
    Open {
        /// What is too open.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {owner}, not to this process's user", path.display())]
    Owner {
        /// What it is.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// A link, a device or a directory where a file should be.
    #[error("{} is not a plain file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A second process.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// More than [`FILE_BYTES_MAX`].
    #[error("{} has more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Where.
        path: PathBuf,
    },
    /// The file is sealed and no passphrase was given.
    #[error("{} is sealed; give the passphrase", path.display())]
    PassphraseNeeded {
        /// Where.
        path: PathBuf,
    },
    /// A passphrase was given and the file is not sealed: someone may have put it there.
    #[error("{} is not sealed although a passphrase was given; it is not believed", path.display())]
    NotSealed {
        /// Where.
        path: PathBuf,
    },
    /// Another passphrase, or a file that was changed; a seal cannot tell which.
    #[error("{} does not open: wrong passphrase, or the file was changed", path.display())]
    WrongPassphrase {
        /// Where.
        path: PathBuf,
    },
    /// The file is not one of ours.
    #[error("{} is not a file of this store", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
    },
    /// A file name other than letters, digits and `-`.
    #[error("`{0}` cannot be the name of a stored file")]
    Name(String),
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl Store {
    /// Opens `dir`, which is created 0700 where it is missing (its parent must exist), and locks it.
    ///
    /// # Errors
    /// A directory that others may use or another process has open.
    pub fn open(dir: &Path, passphrase: Option<Passphrase>) -> Result<Self, StoreError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fault("create", dir, error)),
        }
        let metadata = fs::symlink_metadata(dir).map_err(|error| fault("look at", dir, error))?;
        if !metadata.is_dir() {
            return Err(fault("open", dir, io::ErrorKind::NotADirectory.into()));
        }
        check_access(dir, &metadata, 0o700)?;
        let lock = open_private(&dir.join(LOCK), true)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StoreError::InUse { dir: dir.to_owned() })?;
        Ok(Self { dir: dir.to_owned(), passphrase, derived: Mutex::new(None), _lock: lock })
    }

    /// What the operator should know.
    pub fn warning(&self) -> Option<Warning> {
        self.passphrase.is_none().then(|| Warning::Unsealed { dir: self.dir.clone() })
    }

    /// The content of `name`, `None` where it was never written.
    ///
    /// # Errors
    /// A file that others may use, that does not open with the passphrase, or that the system does not give.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = self.path_of(name)?;
        let mut file = match open_private(&path, false) {
            Ok(file) => file,
            Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = read_all(&mut file, &path)?;
        match &self.passphrase {
            None if bytes.starts_with(CLEAR) => Ok(Some(Zeroizing::new(bytes[CLEAR.len()..].to_vec()))),
            None if bytes.starts_with(SEALED) => Err(StoreError::PassphraseNeeded { path }),
            Some(passphrase) if bytes.starts_with(SEALED) => {
                self.unseal(passphrase, name, &bytes, &path).map(Some)
            }
            Some(_) if bytes.starts_with(CLEAR) => Err(StoreError::NotSealed { path }),
            _ => Err(StoreError::Damaged { path }),
        }
    }

    /// Replaces the content of `name`. When this returns it is on disk; when it fails the old content is still there.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path_of(name)?;
        if content.len() as u64 > FILE_BYTES_MAX - 1024 {
            return Err(StoreError::TooLarge { path });
        }
        let sealed = match &self.passphrase {
            None => None,
            Some(passphrase) => Some(self.seal(passphrase, name, content)?),
        };
        let (head, rest) =
            sealed.as_ref().map_or((CLEAR.as_slice(), content), |sealed| (sealed.as_slice(), &[]));
        let beside = self.dir.join(format!("{name}.new"));
        // What a crash left behind is never read, only replaced.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fault("remove", &beside, error));
            }
            _ => {}
        }
        let mut file = private_options()
            .write(true)
            .create_new(true)
            .open(&beside)
            .map_err(|error| fault("create", &beside, error))?;
        let written = file.write_all(head).and_then(|()| file.write_all(rest));
        written.map_err(|error| fault("write", &beside, error))?;
        file.sync_all().map_err(|error| fault("sync", &beside, error))?;
        fs::rename(&beside, &path).map_err(|error| fault("replace", &path, error))?;
        let dir = File::open(&self.dir).map_err(|error| fault("open", &self.dir, error))?;
        dir.sync_all().map_err(|error| fault("sync", &self.dir, error))
    }

    fn path_of(&self, name: &str) -> Result<PathBuf, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name == LOCK || name.len() > 64 || !name.bytes().all(plain) {
            return Err(StoreError::Name(name.to_owned()));
        }
        Ok(self.dir.join(name))
    }

    /// Head, then ciphertext and tag. The name is bound in, so that one sealed file cannot stand in for another.
    fn seal(
        &self,
        passphrase: &Passphrase,
        name: &str,
        content: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let (salt, rounds) = self.salt_for_writing()?;
        let key = self.sealing_key(passphrase, salt, rounds)?;
        let mut sealed = content.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(bound(name, salt, rounds)), &mut sealed)
            .map_err(|_| StoreError::Crypto)?;
        let rounds = rounds.get().to_be_bytes();
        Ok(Zeroizing::new([SEALED.as_slice(), &rounds, &salt, nonce.as_ref(), &sealed].concat()))
    }

    fn unseal(
        &self,
        passphrase: &Passphrase,
        name: &str,
        bytes: &[u8],
        path: &Path,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let damaged = || StoreError::Damaged { path: path.to_owned() };
        let (head, body) = bytes.split_at_checked(SEALED_HEAD_BYTES).ok_or_else(damaged)?;
        let rest = &head[SEALED.len()..];
        let (rounds, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (salt, nonce) = rest.split_first_chunk::<SALT_BYTES>().ok_or_else(damaged)?;
        let rounds = NonZeroU32::new(u32::from_be_bytes(*rounds)).ok_or_else(damaged)?;
        if rounds.get() > PBKDF2_ROUNDS_MAX {
            return Err(damaged());
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let key = self.sealing_key(passphrase, *salt, rounds)?;
        let mut content = Zeroizing::new(body.to_vec());
        let opened = key
            .open_in_place(nonce, Aad::from(bound(name, *salt, rounds)), &mut content)
            .map_err(|_| StoreError::WrongPassphrase { path: path.to_owned() })?
            .len();
        content.truncate(opened);
        Ok(content)
    }

    /// The salt in use, or a new one: all files of a store may share one, since each has its own nonce.
    fn salt_for_writing(&self) -> Result<([u8; SALT_BYTES], NonZeroU32), StoreError> {
        if let Some(derived) = &*self.derived.lock().unwrap_or_else(PoisonError::into_inner)
            && derived.rounds.get() >= PBKDF2_ROUNDS
        {
            return Ok((derived.salt, derived.rounds));
        }
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| StoreError::Crypto)?;
        Ok((salt, NonZeroU32::new(PBKDF2_ROUNDS).unwrap_or(NonZeroU32::MAX)))
    }

    fn sealing_key(
        &self,
        passphrase: &Passphrase,
        salt: [u8; SALT_BYTES],
        rounds: NonZeroU32,
    ) -> Result<RandomizedNonceKey, StoreError> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = derived.as_ref().is_some_and(|derived| derived.salt == salt && derived.rounds == rounds);
        if !fits {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, passphrase.0.as_bytes(), &mut *key);
            *derived = Some(Derived { salt, rounds, key });
        }
        let key = derived.as_ref().ok_or(StoreError::Crypto)?;
        RandomizedNonceKey::new(&AES_256_GCM, &*key.key).map_err(|_| StoreError::Crypto)
    }
}

impl Passphrase {
    /// A passphrase; its text is wiped when dropped.
    ///
    /// # Errors
    /// [`StoreError::EmptyPassphrase`].
    pub fn new(text: String) -> Result<Self, StoreError> {
        if text.is_empty() { Err(StoreError::EmptyPassphrase) } else { Ok(Self(Zeroizing::new(text))) }
    }
}

/// What the seal vouches for beside the content.
fn bound(name: &str, salt: [u8; SALT_BYTES], rounds: NonZeroU32) -> Vec<u8> {
    [SEALED.as_slice(), &rounds.get().to_be_bytes(), &salt, name.as_bytes()].concat()
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    options.mode(0o600).custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    options
}

/// Opens a file that must be plain, ours, and closed to others. What is checked is the open file, not its path, so
/// that nothing can be put in its place in between.
fn open_private(path: &Path, create: bool) -> Result<File, StoreError> {
    let file = private_options()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .open(path)
        .map_err(|error| fault("open", path, error))?;
    let metadata = file.metadata().map_err(|error| fault("look at", path, error))?;
    if !metadata.is_file() {
        return Err(StoreError::NotAFile { path: path.to_owned() });
    }
    check_access(path, &metadata, 0o600)?;
    Ok(file)
}

fn check_access(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), StoreError> {
    let owner = metadata.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(StoreError::Owner { path: path.to_owned(), owner });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Open { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn read_all(file: &mut File, path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let size = file.metadata().map_err(|error| fault("look at", path, error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(StoreError::TooLarge { path: path.to_owned() });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| fault("read", path, error))?;
    Ok(bytes)
}

fn fault(what: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { what, path: path.to_owned(), error }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsealed { dir } => write!(
                f,
                "the authority's keys in {} are protected by file modes only; give a passphrase to seal them",
                dir.display()
            ),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = self.passphrase.is_some();
        f.debug_struct("Store").field("dir", &self.dir).field("sealed", &sealed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

#[cfg(test)]
mod tests;
