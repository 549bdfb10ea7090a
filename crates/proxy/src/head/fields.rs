//! The fields of a head: finding, adding and taking out.

use super::{
    Field, HEAD_FIELDS_MAX, Head, HeadError, Kind, Known, Span, authority, is_token_byte, is_value_byte,
    trim_ows,
};

/// One field of a head, borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// The name's number; [`Known::Other`] for a name the data plane never asks about.
    pub known: Known,
    /// The name, lower-case.
    pub name: &'a [u8],
    /// The value, without surrounding whitespace.
    pub value: &'a [u8],
}

impl<'a> FieldRef<'a> {
    /// The name as text. Names are tokens, so this never loses anything.
    pub fn name_str(&self) -> &'a str {
        std::str::from_utf8(self.name).unwrap_or_default()
    }

    /// Whether it is dropped from trailers: see [`Known::is_forbidden_in_trailers`], and whatever name begins as ours
    /// or a proxy's do.
    pub fn is_forbidden_in_trailers(&self) -> bool {
        self.known.is_forbidden_in_trailers()
            || self.name.starts_with(b"weft-")
            || self.name.starts_with(b"x-forwarded-")
            || self.name.starts_with(b"proxy-")
    }

    /// The value as text, if it is UTF-8.
    pub fn value_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }
}

impl Head {
    /// How many fields there are (of a request: `host` not counted).
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether a field of that name is there.
    pub fn has(&self, name: Known) -> bool {
        self.present & name.bit() != 0 || (name == Known::Host && self.host_field().is_some())
    }

    /// The first value of a name. `Known::Host` of a request answers the authority.
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        if self.present & name.bit() == 0 {
            return if name == Known::Host { self.host_field() } else { None };
        }
        self.fields.iter().find(|field| field.known == name).map(|field| self.text(field.value))
    }

    /// The first value of a name as text; `None` also if it is not UTF-8.
    pub fn get_str(&self, name: Known) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of a name, in order. Of a request, `host` is not among them: ask [`Head::authority`].
    pub fn get_all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        let there = self.present & name.bit() != 0;
        let fields: &[Field] = if there { &self.fields } else { &[] };
        fields.iter().filter(move |field| field.known == name).map(|field| self.text(field.value))
    }

    /// The first value of a name given as text, whatever its case.
    pub fn get_name(&self, name: &str) -> Option<&[u8]> {
        match Known::from_bytes(name.as_bytes()) {
            Known::Other => {
                let field = self.fields.iter().find(|field| self.is_named(field, Known::Other, name))?;
                Some(self.text(field.value))
            }
            known => self.get(known),
        }
    }

    /// All values of a name given as text, whatever its case.
    pub fn get_all_name<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let known = Known::from_bytes(name.as_bytes());
        let host = if known == Known::Host { self.host_field() } else { None };
        self.fields
            .iter()
            .filter(move |field| self.is_named(field, known, name))
            .map(|field| self.text(field.value))
            .chain(host)
    }

    /// All fields, in order. Of a request, `host` is not among them.
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.fields.iter().map(|field| FieldRef {
            known: field.known,
            name: self.name_of(field),
            value: self.text(field.value),
        })
    }

    /// Adds a field at the end. The name is made lower-case, the value loses surrounding whitespace. Of a request,
    /// `host` sets the authority, or must equal it where there is one.
    ///
    /// # Errors
    /// Whatever [`HeadError`] says but for `Path` and `MethodInvalid`; the head is unchanged then.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        match Known::from_bytes(name) {
            Known::Other => {
                if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
                    return Err(HeadError::NameInvalid);
                }
                let value = checked_value(value)?;
                self.room_for_field()?;
                let name = self.append(name)?;
                self.bytes[name.range()].make_ascii_lowercase();
                let value = self.append(value)?;
                self.fields.push(Field { known: Known::Other, name, value });
                Ok(())
            }
            known => self.push_known(known, value),
        }
    }

    /// Adds a field whose name has a number: [`Head::push`] without the look-up.
    ///
    /// # Errors
    /// As [`Head::push`]; [`HeadError::NameInvalid`] for [`Known::Other`].
    pub fn push_known(&mut self, known: Known, value: &[u8]) -> Result<(), HeadError> {
        if known == Known::Other {
            return Err(HeadError::NameInvalid);
        }
        let value = checked_value(value)?;
        if known == Known::Host && self.kind == Kind::Request {
            return self.push_host(value);
        }
        self.room_for_field()?;
        let value = self.append(value)?;
        self.present |= known.bit();
        self.fields.push(Field { known, name: Span::default(), value });
        Ok(())
    }

    /// Adds the authority of a request as the value of a field; nothing where there is none.
    ///
    /// # Errors
    /// As [`Head::push`].
    pub fn push_authority_as(&mut self, known: Known) -> Result<(), HeadError> {
        if self.authority.len == 0 || known == Known::Other || known == Known::Host {
            return Ok(());
        }
        self.room_for_field()?;
        self.present |= known.bit();
        // The same bytes: an authority that changes later gets bytes of its own.
        self.fields.push(Field { known, name: Span::default(), value: self.authority });
        Ok(())
    }

    /// Replaces all fields of a name by one. Of a request, `host` replaces the authority.
    ///
    /// # Errors
    /// As [`Head::push`]; the old fields stay then.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        match Known::from_bytes(name) {
            Known::Host if self.kind == Kind::Request => self.set_authority(value),
            Known::Other => {
                self.push(name, value)?;
                let added = self.fields.pop();
                self.remove_name(name);
                self.fields.extend(added);
                Ok(())
            }
            known => self.set_known(known, value),
        }
    }

    /// Replaces all fields of a known name by one: [`Head::set`] without the look-up.
    ///
    /// # Errors
    /// As [`Head::set`].
    pub fn set_known(&mut self, known: Known, value: &[u8]) -> Result<(), HeadError> {
        if known == Known::Host && self.kind == Kind::Request {
            return self.set_authority(value);
        }
        let replaces = self.has(known);
        self.push_known(known, value)?;
        if replaces {
            let (last, mut place) = (self.fields.len() - 1, 0);
            self.fields.retain(|field| {
                place += 1;
                field.known != known || place > last
            });
        }
        Ok(())
    }

    /// Takes out all fields of a name; says whether there was one. Of a request, `host` cannot be taken out.
    pub fn remove(&mut self, name: Known) -> bool {
        if self.present & name.bit() == 0 {
            return false;
        }
        self.fields.retain(|field| field.known != name);
        self.present &= !name.bit();
        true
    }

    /// Takes out all fields of a name given as text, whatever its case; says whether there was one.
    pub fn remove_name(&mut self, name: &[u8]) -> bool {
        match Known::from_bytes(name) {
            Known::Other => {
                let before = self.fields.len();
                let bytes = &self.bytes;
                self.fields.retain(|field| {
                    field.known != Known::Other || !bytes[field.name.range()].eq_ignore_ascii_case(name)
                });
                before != self.fields.len()
            }
            known => self.remove(known),
        }
    }

    /// Takes out all fields whose (lower-case) name begins so, for example `weft-`; says whether there was one.
    pub fn remove_prefix(&mut self, prefix: &[u8]) -> bool {
        self.remove_where(|field| field.name.starts_with(prefix))
    }

    /// Takes out all fields that the condition holds for; says whether there was one.
    pub fn remove_where(&mut self, mut condition: impl FnMut(FieldRef<'_>) -> bool) -> bool {
        let before = self.fields.len();
        let bytes = &self.bytes;
        let mut present = 0;
        self.fields.retain(|field| {
            let name = match field.known {
                Known::Other => &bytes[field.name.range()],
                known => known.as_str().as_bytes(),
            };
            let out = condition(FieldRef { known: field.known, name, value: &bytes[field.value.range()] });
            if !out {
                present |= field.known.bit();
            }
            !out
        });
        self.present = present;
        before != self.fields.len()
    }
}

impl Head {
    fn name_of(&self, field: &Field) -> &[u8] {
        match field.known {
            Known::Other => self.text(field.name),
            known => known.as_str().as_bytes(),
        }
    }

    fn is_named(&self, field: &Field, known: Known, name: &str) -> bool {
        field.known == known
            && (known != Known::Other || self.text(field.name).eq_ignore_ascii_case(name.as_bytes()))
    }

    fn host_field(&self) -> Option<&[u8]> {
        (self.kind == Kind::Request && self.authority.len > 0).then(|| self.text(self.authority))
    }

    fn push_host(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.authority.len == 0 {
            return self.set_authority(value);
        }
        authority::check(value)?;
        if self.text(self.authority).eq_ignore_ascii_case(value) {
            Ok(())
        } else {
            Err(HeadError::AuthorityMismatch)
        }
    }

    fn room_for_field(&self) -> Result<(), HeadError> {
        if self.fields.len() < HEAD_FIELDS_MAX { Ok(()) } else { Err(HeadError::TooManyFields) }
    }
}

fn checked_value(value: &[u8]) -> Result<&[u8], HeadError> {
    let value = trim_ows(value);
    if is_plain(value) || value.iter().all(|byte| is_value_byte(*byte)) {
        Ok(value)
    } else {
        Err(HeadError::ValueInvalid)
    }
}

/// Whether no byte is a control byte, eight at a time; of less than eight bytes nothing is said. A tab is one, too: it is rare.
fn is_plain(value: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The lowest byte for which either holds has no borrow from below, so the verdict on all of them is exact.
    let below_space = |word: u64| word.wrapping_sub(ONES * 0x20) & !word & HIGH != 0;
    let has_delete =
        |word: u64| (word ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(word ^ (ONES * 0x7f)) & HIGH != 0;
    let is_plain = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        !below_space(word) && !has_delete(word)
    };
    value.last_chunk().is_some_and(is_plain) && value.as_chunks().0.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged_as_it_is_alone() {
        for len in 1..26 {
            for (at, byte) in (0..len).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                for around in [b'x', 0x80, 0x21] {
                    let mut value = vec![around; len];
                    value[at] = byte;
                    let expected = trim_ows(&value).iter().all(|byte| is_value_byte(*byte));
                    assert_eq!(checked_value(&value).is_ok(), expected, "{value:?}");
                }
            }
        }
    }
}
