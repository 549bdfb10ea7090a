//! What a process lets its supervisor keep for it, so that it can start again while control is away: its key, and what was
//! issued for it. It is nowhere but in the memory of these two, and goes between them through the pipes that they share.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::key::{KeyError, NodeKey};

/// A key and more, as one line of text. It is a secret as a whole, and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Keepsake(Zeroizing<String>);

impl Keepsake {
    /// Holds a key, and whatever belongs to it.
    ///
    /// # Errors
    /// The key cannot be written.
    pub fn new(key: &NodeKey, rest: &[u8]) -> Result<Self, KeyError> {
        let key = key.secret_der()?;
        let length = u16::try_from(key.len()).map_err(|_| KeyError)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + key.len() + rest.len()));
        bytes.extend(length.to_be_bytes());
        bytes.extend(&*key);
        bytes.extend(rest);
        Ok(Self(Zeroizing::new(STANDARD_NO_PAD.encode(&*bytes))))
    }

    /// The key, and what belongs to it.
    ///
    /// # Errors
    /// [`Keepsake::new`] did not make this.
    pub fn open(&self) -> Result<(NodeKey, Zeroizing<Vec<u8>>), KeyError> {
        let bytes = Zeroizing::new(STANDARD_NO_PAD.decode(self.0.as_bytes()).map_err(|_| KeyError)?);
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(KeyError)?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(KeyError)?;
        Ok((NodeKey::from_secret_der(key)?, Zeroizing::new(rest.to_vec())))
    }
}

impl fmt::Debug for Keepsake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keepsake(secret)")
    }
}

impl Serialize for Keepsake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Keepsake {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_with_what_belongs_to_it() {
        let key = NodeKey::generate().unwrap();
        let kept = Keepsake::new(&key, b"a chain").unwrap();
        assert_eq!(format!("{kept:?}"), "Keepsake(secret)");
        let line = serde_json::to_string(&kept).unwrap();
        let (same, rest) = serde_json::from_str::<Keepsake>(&line).unwrap().open().unwrap();
        assert_eq!((same.public_der(), rest.as_slice()), (key.public_der(), b"a chain".as_slice()));
    }

    #[test]
    fn what_is_cut_or_made_up_holds_no_key() {
        let key = NodeKey::generate().unwrap();
        let whole = Keepsake::new(&key, b"").unwrap().0;
        for length in (0..whole.len()).step_by(7) {
            assert!(Keepsake(Zeroizing::new(whole[..length].to_owned())).open().is_err(), "{length}");
        }
        for text in ["", "A", "\u{e4}", "//8", "AAAA"] {
            assert!(Keepsake(Zeroizing::new(text.to_owned())).open().is_err(), "{text}");
        }
    }
}
