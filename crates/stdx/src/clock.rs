//! Time as a value. Pure cores take a [`Tick`] as a parameter; only the shell around them owns a [`Clock`].
//!
//! So a simulation can run a day in a millisecond, and a test can set the wall clock to the hour a certificate ends.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on a monotonic clock: whole microseconds since an origin that only its [`Clock`] knows.
///
/// Arithmetic saturates: an end-of-time deadline plus a second is still the end of time, and time that seems to run
/// backwards (two clocks mixed) counts as no time passed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than every other tick; a deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The tick `us` microseconds after the origin.
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// The tick `ms` milliseconds after the origin.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds since the origin.
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }

    /// How long ago `earlier` was, zero if it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds since `earlier`, zero if it is still to come.
    pub const fn us_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long until `later`, zero if it has passed.
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(whole_us(by)))
    }
}

impl Sub<Duration> for Tick {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(whole_us(by)))
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// `by` in whole microseconds, saturating at the largest.
pub fn whole_us(by: Duration) -> u64 {
    u64::try_from(by.as_micros()).unwrap_or(u64::MAX)
}

/// `by` in whole milliseconds, saturating at the largest.
pub fn whole_ms(by: Duration) -> u64 {
    u64::try_from(by.as_millis()).unwrap_or(u64::MAX)
}

/// Where time comes from. Cheap to clone; clones agree with each other across threads.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { origin: Instant },
    Manual { since_origin_us: Arc<AtomicU64>, wall_origin: SystemTime },
}

impl Clock {
    /// The machine's clock; its origin is this call.
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that moves only by its [`Hand`], with the wall showing `wall` at the origin.
    pub fn manual(wall: SystemTime) -> (Self, Hand) {
        let us = Arc::new(AtomicU64::new(0));
        (Self(Source::Manual { since_origin_us: Arc::clone(&us), wall_origin: wall }), Hand(us))
    }

    /// The monotonic time: what intervals and deadlines are measured with.
    pub fn now(&self) -> Tick {
        match &self.0 {
            Source::System { origin } => Tick(whole_us(origin.elapsed())),
            Source::Manual { since_origin_us, .. } => Tick(since_origin_us.load(Ordering::Acquire)),
        }
    }

    /// The tick of an `Instant` that a runtime handed out; the origin if it was before it. On a manual clock, now.
    pub fn tick_of(&self, instant: Instant) -> Tick {
        match &self.0 {
            Source::System { origin } => Tick(whole_us(instant.saturating_duration_since(*origin))),
            Source::Manual { .. } => self.now(),
        }
    }

    /// The `Instant` of a tick, for a runtime's timers; `None` past the end of what `Instant` can say, and on a
    /// manual clock, whose ticks no timer of the machine knows.
    pub fn instant_of(&self, tick: Tick) -> Option<Instant> {
        match &self.0 {
            Source::System { origin } => origin.checked_add(Duration::from_micros(tick.0)),
            Source::Manual { .. } => None,
        }
    }

    /// The wall clock: what certificates, logs and people are dated with. It may jump; measure nothing with it.
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System { .. } => wall_now(),
            Source::Manual { wall_origin, .. } => *wall_origin + Duration::from_micros(self.now().0),
        }
    }

    /// Milliseconds of the wall clock since 1970, zero before it.
    pub fn unix_ms(&self) -> u64 {
        whole_ms(self.wall().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Seconds of the wall clock since 1970, zero before it.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms() / 1_000
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// Moves a manual [`Clock`] forward.
#[derive(Clone, Debug)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    /// Moves the clock forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(whole_us(by), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_saturate_at_both_ends() {
        assert_eq!(Tick::NEVER + Duration::from_secs(1), Tick::NEVER);
        assert_eq!(Tick::ZERO - Duration::from_secs(1), Tick::ZERO);
        assert_eq!(Tick::ZERO + Duration::MAX, Tick::NEVER);
        assert_eq!(Tick::from_ms(u64::MAX), Tick::NEVER);
        assert_eq!(Tick::from_ms(5).since(Tick::from_ms(7)), Duration::ZERO);
        assert_eq!(Tick::from_ms(5).until(Tick::from_ms(7)), Duration::from_millis(2));
        assert_eq!(format!("{:?}", Tick::from_us(1_000_250)), "1.000250s");
    }

    #[test]
    fn a_manual_clock_moves_both_times_together_and_only_by_its_hand() {
        let (clock, hand) = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000));
        let elsewhere = clock.clone();
        assert_eq!((clock.now(), clock.unix_s()), (Tick::ZERO, 1_000));
        hand.advance(Duration::from_millis(1_500));
        assert_eq!((elsewhere.now(), elsewhere.unix_ms()), (Tick::from_ms(1_500), 1_001_500));
    }

    #[test]
    fn a_system_clock_converts_to_instants_and_back() {
        let clock = Clock::system();
        let tick = clock.now() + Duration::from_secs(3);
        assert_eq!(clock.instant_of(tick).map(|instant| clock.tick_of(instant)), Some(tick));
        assert!(clock.wall() > UNIX_EPOCH);
        assert!(clock.now() <= clock.now());
    }
}
