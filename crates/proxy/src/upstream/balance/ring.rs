//! Consistent hashing with bounded loads: a key goes to the same endpoint as long as that endpoint is there and not
//! fuller than a quarter above the average; when an endpoint comes or goes, about 1/n of the keys move.
//!
//! Ring: Karger et al. 1997, with 128 points per unit of weight. Bounds: Mirrokni, Thorup, Zadimoghaddam 2016.

/// Points per unit of weight: the shares then differ by about a tenth, which the bound evens out.
const POINTS_PER_WEIGHT: u32 = 128;
/// Weights count relative to the smallest one and at most this much, so that a weight does not make the ring huge.
const WEIGHT_MAX: u32 = 16;

/// The points of all members of one group, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// The ring of these members: key, weight, slot. Only the keys and weights decide where the points lie, so every
    /// process that knows the same members sends a key to the same one.
    pub(super) fn new<'k>(members: impl Iterator<Item = (&'k str, u32, u32)> + Clone) -> Self {
        let smallest = members.clone().map(|(_, weight, _)| weight).min().unwrap_or(1).max(1);
        let mut points = Vec::new();
        for (key, weight, slot) in members {
            let seed = hash_key(key.as_bytes());
            let count = u64::from(POINTS_PER_WEIGHT) * u64::from(weight.max(1)) / u64::from(smallest);
            let count = count.min(u64::from(POINTS_PER_WEIGHT * WEIGHT_MAX));
            points.extend((0..count).map(|point| (mix(seed ^ mix(point + 1)), slot)));
        }
        points.sort_unstable();
        points.dedup_by_key(|(point, _)| *point);
        Self(points)
    }

    /// The first slot at or after `hash`, going round once, that `takes` accepts.
    pub(super) fn find(&self, hash: u64, mut takes: impl FnMut(u32) -> bool) -> Option<u32> {
        let start = self.0.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.0.split_at(start);
        let mut last = u32::MAX;
        after.iter().chain(before).map(|(_, slot)| *slot).find(|slot| {
            // Neighbouring points often belong to one endpoint, which need not be asked twice.
            let asked = std::mem::replace(&mut last, *slot) == *slot;
            !asked && takes(*slot)
        })
    }
}

/// A hash of a key that is the same in every process and every release (FNV-1a, then mixed).
///
/// Somebody may choose keys that meet; they then share an endpoint until its bound is reached, no more.
pub(crate) fn hash_key(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// Spreads the difference of two numbers over all bits (the finalizer of SplitMix64, Steele et al. 2014).
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stdx::rng::Rng;

    fn ring(members: &[(&str, u32)]) -> Ring {
        Ring::new(members.iter().enumerate().map(|(slot, (key, weight))| (*key, *weight, slot as u32)))
    }

    #[test]
    fn an_empty_ring_and_a_ring_that_nobody_takes_end() {
        assert_eq!(ring(&[]).find(5, |_| true), None);
        assert_eq!(ring(&[("a", 1), ("b", 1)]).find(5, |_| false), None);
    }

    #[test]
    fn everyone_is_found_from_everywhere() {
        let ring = ring(&[("a", 1), ("b", 1), ("c", 1)]);
        let mut rng = Rng::seeded(4);
        for hash in [0, u64::MAX, rng.next_u64(), rng.next_u64()] {
            for wanted in 0..3 {
                assert_eq!(ring.find(hash, |slot| slot == wanted), Some(wanted));
            }
        }
    }

    #[test]
    fn shares_follow_weights() {
        let ring = ring(&[("a", 100), ("b", 100), ("c", 300)]);
        let mut rng = Rng::seeded(5);
        let mut counts = [0_u32; 3];
        (0..50_000).for_each(|_| counts[ring.find(rng.next_u64(), |_| true).unwrap() as usize] += 1);
        assert!((7_000..13_000).contains(&counts[0]) && (7_000..13_000).contains(&counts[1]), "{counts:?}");
        assert!((26_000..34_000).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(hash_key(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash_key(b"customer-42"), hash_key(b"customer-42"));
        assert_ne!(hash_key(b"customer-42"), hash_key(b"customer-43"));
    }
}
