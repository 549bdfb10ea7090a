//! Quantities as people write them: durations `250ms 10s 5m 24h 30d`, ranges `200ms..5m`, byte sizes `64KiB 64MB`,
//! rates `100/s 5/m`, percentages `5%`.
//!
//! One number, one unit, no space, no fraction (but in a percentage): one way to say a thing. What is printed is
//! parsed back to the same value. Every error says what was wrong and what would have been right.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DURATION_UNITS: &[(&str, u64)] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60 * 1_000_000),
    ("h", 3_600 * 1_000_000),
    ("d", 86_400 * 1_000_000),
];

const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const RATE_UNITS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// Why a text is not the quantity it should be. `Display` is a clause for people: "the unit is missing: …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// Nothing was written.
    Empty {
        /// What would be right.
        example: &'static str,
    },
    /// It does not begin with a digit.
    NoNumber {
        /// What stands there instead.
        found: String,
        /// What would be right.
        example: &'static str,
    },
    /// A number alone.
    NoUnit {
        /// The number, to which a unit is to be added.
        number: String,
        /// The units there are.
        units: &'static str,
    },
    /// A unit that there is not.
    UnknownUnit {
        /// What stands in its place.
        found: String,
        /// The units there are.
        units: &'static str,
    },
    /// A minus in front.
    Negative,
    /// White space in it or around it.
    Space,
    /// A fraction where only whole numbers are taken.
    Fraction,
    /// More than can be kept.
    TooLarge {
        /// The largest that is taken.
        max: &'static str,
    },
    /// A rate of nothing.
    ZeroRate,
    /// More than four digits after the point of a percentage.
    TooFine,
    /// No `..` in a range.
    NoRange,
    /// The end of a range is before its beginning.
    Backwards,
    /// One end of a range is wrong.
    End {
        /// Which: "first" or "second".
        which: &'static str,
        /// Why.
        why: Box<UnitError>,
    },
}

impl std::error::Error for UnitError {}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { example } => write!(f, "it is empty; write for example `{example}`"),
            Self::NoNumber { found, example } => {
                write!(f, "it must begin with a number, not with `{found}`; write for example `{example}`")
            }
            Self::NoUnit { number, units } => {
                write!(f, "the unit is missing: write it right behind `{number}`, one of {units}")
            }
            Self::UnknownUnit { found, units } => {
                write!(f, "`{found}` is not a unit here; use one of {units}")
            }
            Self::Negative => f.write_str("it must not be negative"),
            Self::Space => f.write_str("it must have no space in it: number and unit stand together"),
            Self::Fraction => {
                f.write_str("it must be a whole number; use a smaller unit, `1500ms` for 1.5 seconds")
            }
            Self::TooLarge { max } => write!(f, "it is too large; the largest is {max}"),
            Self::ZeroRate => f.write_str("a rate must be at least 1"),
            Self::TooFine => f.write_str("it must have at most four digits after the point"),
            Self::NoRange => {
                f.write_str("a range needs two durations with `..` between, for example `200ms..5m`")
            }
            Self::Backwards => f.write_str("the range is backwards: the smaller end comes first"),
            Self::End { which, why } => write!(f, "the {which} end of the range: {why}"),
        }
    }
}

/// What a kind of quantity says about itself in errors.
struct Kind {
    units: &'static [(&'static str, u64)],
    names: &'static str,
    example: &'static str,
    max: &'static str,
}

const DURATION: Kind = Kind {
    units: DURATION_UNITS,
    names: "us, ms, s, m, h, d",
    example: "10s",
    max: "36500d, a hundred years",
};
const BYTES: Kind = Kind {
    units: BYTE_UNITS,
    names: "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB",
    example: "64KiB",
    max: "16383PiB, all that 64 bits can count",
};
const RATE: Kind = Kind { units: RATE_UNITS, names: "/s, /m, /h, /d", example: "100/s", max: "4294967295" };
const PERCENT: Kind = Kind { units: &[("%", 1)], names: "%", example: "5%", max: "100%" };

/// A century: longer is a slip, and this far every sum of a few durations still fits.
const DURATION_US_MAX: u64 = 36_500 * 86_400 * 1_000_000;

/// Parses a duration: a whole number and one of `us ms s m h d`. `0s` is a duration; `0` alone is not.
///
/// # Errors
/// What is wrong with `text`; see [`UnitError`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text, &DURATION)?;
    let us = scale(number, unit, &DURATION)?;
    if us > DURATION_US_MAX {
        return Err(UnitError::TooLarge { max: DURATION.max });
    }
    Ok(Duration::from_micros(us))
}

/// Prints a duration in the largest unit that divides it, as [`parse_duration`] reads it. Less than a microsecond
/// is cut off.
pub fn show_duration(duration: Duration) -> impl fmt::Display {
    ShowDuration(duration)
}

struct ShowDuration(Duration);

impl fmt::Display for ShowDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = crate::clock::whole_us(self.0);
        if us == 0 {
            return f.write_str("0s");
        }
        let unit = DURATION_UNITS.iter().rev().find(|(_, factor)| us.is_multiple_of(*factor));
        let (name, factor) = unit.copied().unwrap_or(("us", 1));
        write!(f, "{}{name}", us / factor)
    }
}

/// From one duration to another, `200ms..5m`: what a backoff is given with. The first is never the longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DurationRange {
    low: Duration,
    high: Duration,
}

impl DurationRange {
    /// `low..high`, if it is not backwards.
    pub fn new(low: Duration, high: Duration) -> Option<Self> {
        (low <= high).then_some(Self { low, high })
    }

    /// The shorter end.
    pub fn low(self) -> Duration {
        self.low
    }

    /// The longer end.
    pub fn high(self) -> Duration {
        self.high
    }
}

impl FromStr for DurationRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (low, high) = text.split_once("..").ok_or(UnitError::NoRange)?;
        let end =
            |which, text| parse_duration(text).map_err(|why| UnitError::End { which, why: Box::new(why) });
        Self::new(end("first", low)?, end("second", high)?).ok_or(UnitError::Backwards)
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", ShowDuration(self.low), ShowDuration(self.high))
    }
}

/// A number of bytes. `64KB` are 64 000, `64KiB` are 65 536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The bytes as a length in memory, saturating where an address is smaller than 64 bits.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, &BYTES)?;
        scale(number, unit, &BYTES).map(Self)
    }
}

impl fmt::Display for ByteSize {
    /// In the unit that leaves the smallest number: 64 000 000 is `64MB`, 65 536 is `64KiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = BYTE_UNITS.iter().filter(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        let (name, factor) = fits.max_by_key(|(_, factor)| *factor).copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

/// So many in so long, `100/s`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per_s: u64,
}

impl Rate {
    /// How many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// In how long: a second, a minute, an hour or a day.
    pub fn per(self) -> Duration {
        Duration::from_secs(self.per_s)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, &RATE)?;
        let unknown = || UnitError::UnknownUnit { found: excerpt(unit), units: RATE.names };
        let name = unit.strip_prefix('/').ok_or_else(unknown)?;
        let (_, seconds) = RATE.units.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
        let count = number.parse::<u32>().map_err(|_| UnitError::TooLarge { max: RATE.max })?;
        if count == 0 {
            return Err(UnitError::ZeroRate);
        }
        Ok(Self { count, per_s: *seconds })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = RATE_UNITS.iter().find(|(_, seconds)| *seconds == self.per_s);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

/// A share from nothing to all, `5%` or `0.25%`, exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent {
    ppm: u32,
}

impl Percent {
    /// All of it.
    pub const ALL: Self = Self { ppm: 1_000_000 };

    /// So many parts of a million, if it is not more than all.
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= Self::ALL.ppm).then_some(Self { ppm })
    }

    /// Parts of a million.
    pub fn as_ppm(self) -> u32 {
        self.ppm
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // A percentage is the one quantity with a fraction, so the point is taken out before the common part.
        let (whole, fraction) = match text.strip_suffix('%').and_then(|number| number.split_once('.')) {
            Some((whole, fraction)) => (whole, fraction),
            None => (split_percent(text)?, "0"),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) {
            return Err(lead_error(whole, &PERCENT));
        }
        if !digits(fraction) {
            return Err(UnitError::UnknownUnit {
                found: excerpt(&text[whole.len()..]),
                units: PERCENT.names,
            });
        }
        if fraction.len() > 4 {
            return Err(UnitError::TooFine);
        }
        let too_large = UnitError::TooLarge { max: PERCENT.max };
        let whole: u32 = whole.parse().map_err(|_| too_large.clone())?;
        let fraction_ppm = fraction.bytes().chain(std::iter::repeat(b'0')).take(4);
        let fraction_ppm = fraction_ppm.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        let ppm = whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(fraction_ppm));
        ppm.and_then(Self::from_ppm).ok_or(too_large)
    }
}

/// The number of a percentage without a point.
fn split_percent(text: &str) -> Result<&str, UnitError> {
    let (number, unit) = split(text, &PERCENT)?;
    if unit != "%" {
        return Err(UnitError::UnknownUnit { found: excerpt(unit), units: PERCENT.names });
    }
    Ok(number)
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.ppm / 10_000, self.ppm % 10_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{fraction:04}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

/// Splits a text into its digits and its unit, neither of them empty.
fn split<'t>(text: &'t str, kind: &Kind) -> Result<(&'t str, &'t str), UnitError> {
    if text.chars().any(char::is_whitespace) {
        return Err(UnitError::Space);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(lead_error(text, kind));
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit { number: excerpt(number), units: kind.names });
    }
    if let Some(rest) = unit.strip_prefix('.')
        && rest.starts_with(|next: char| next.is_ascii_digit())
    {
        return Err(UnitError::Fraction);
    }
    Ok((number, unit))
}

/// Why `text`, which does not begin with a digit, is no quantity.
fn lead_error(text: &str, kind: &Kind) -> UnitError {
    if text.is_empty() {
        UnitError::Empty { example: kind.example }
    } else if text.chars().any(char::is_whitespace) {
        UnitError::Space
    } else if text.starts_with('-') {
        UnitError::Negative
    } else {
        UnitError::NoNumber { found: excerpt(text), example: kind.example }
    }
}

/// `number` of `unit` in the kind's smallest unit.
fn scale(number: &str, unit: &str, kind: &Kind) -> Result<u64, UnitError> {
    let (_, factor) = kind
        .units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| UnitError::UnknownUnit { found: excerpt(unit), units: kind.names })?;
    // Only digits stand in `number`, so what does not parse is too large.
    let number = number.parse::<u64>().ok();
    number.and_then(|number| number.checked_mul(*factor)).ok_or(UnitError::TooLarge { max: kind.max })
}

/// The beginning of a text, for an error: the text may be anything, of any length.
fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 20;
    let mut cut: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests;
