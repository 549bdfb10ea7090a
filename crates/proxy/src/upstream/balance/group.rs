//! The endpoints of one version: who of them is eligible, and the three ways to choose one.

use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use super::ring::Ring;
use super::{Endpoint, Method};

/// Place of a group in the balancer: 0 is the group of no version with a share.
pub(super) type GroupIndex = usize;

/// Endpoints that share a version.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// All that are listed, as slots.
    pub(super) members: Vec<u32>,
    /// Requests in flight on all members.
    pub(super) in_flight: u32,
    /// The best that there are: the fit ones, else those that are out for their breaker, else those that drain, else
    /// those that are not ready.
    candidates: Vec<u32>,
    /// Whether the candidates are fit, not only the next best.
    fit: bool,
    /// Points of all members, whether fit or not, so that keys come back to an endpoint that comes back.
    ring: Ring,
    /// Whose turn is next.
    turn: usize,
    /// By member, what it is ahead of its share; empty if all weights are equal.
    ahead: Vec<(u32, i64)>,
}

impl Group {
    /// Whether it has endpoints that are fit to take a request.
    pub(super) fn has_eligible(&self) -> bool {
        self.fit
    }

    /// Whether all of its endpoints are fit.
    pub(super) fn is_whole(&self) -> bool {
        self.fit && self.candidates.len() == self.members.len()
    }

    /// Whether it has no endpoints at all.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Prepares what depends on the list alone.
    pub(super) fn arrange(&mut self, endpoints: &[Endpoint], method: Method) {
        let weight = |slot: &u32| endpoints[*slot as usize].weight;
        // By key, so that every process arranges the same list alike.
        self.members.sort_by(|one, other| endpoints[*one as usize].key.cmp(&endpoints[*other as usize].key));
        if method == Method::Ring {
            let members = self.members.iter();
            self.ring =
                Ring::new(members.map(|slot| (endpoints[*slot as usize].key.as_str(), weight(slot), *slot)));
        }
        let equal = self.members.windows(2).all(|pair| weight(&pair[0]) == weight(&pair[1]));
        if method == Method::RoundRobin && !equal {
            self.ahead = self.members.iter().map(|slot| (*slot, 0)).collect();
        }
    }

    /// Sorts out who is eligible.
    pub(super) fn refit(&mut self, endpoints: &[Endpoint]) {
        let rank = |slot: &u32| endpoints[*slot as usize].standing();
        let best = self.members.iter().map(rank).min();
        self.fit = best == Some(0);
        self.candidates.clear();
        self.candidates.extend(self.members.iter().copied().filter(|slot| Some(rank(slot)) == best));
    }

    /// Draws two candidates and returns the cheaper one for its weight; not `avoid` if there is another.
    pub(super) fn cheaper_of_two(
        &self,
        all: &[Endpoint],
        now: Tick,
        rng: &mut Rng,
        avoid: u32,
    ) -> Option<u32> {
        let count = self.candidates.len() as u64;
        if count <= 1 {
            return self.candidates.first().copied();
        }
        // One draw gives both: its halves, scaled. The second skips the first, so that they always differ.
        let drawn = rng.next_u64();
        let first = (((drawn >> 32) * count) >> 32) as usize;
        let second = (((drawn & 0xffff_ffff) * (count - 1)) >> 32) as usize;
        let second = second + usize::from(second >= first);
        let (one, other) = (self.candidates[first], self.candidates[second]);
        if one == avoid {
            return Some(other);
        }
        if other == avoid {
            return Some(one);
        }
        let (first, second) = (&all[one as usize], &all[other as usize]);
        // One request finds out what nobody knows any more; it alone, because then it is in flight.
        let unknown = |endpoint: &Endpoint| endpoint.in_flight == 0 && endpoint.latency.is_stale(now);
        match (unknown(first), unknown(second)) {
            (true, false) => return Some(one),
            (false, true) => return Some(other),
            _ => {}
        }
        // Cross-multiplied instead of divided by the weight.
        let first_cost = first.latency.cost(now, first.in_flight) * f64::from(second.weight);
        let second_cost = second.latency.cost(now, second.in_flight) * f64::from(first.weight);
        Some(if first_cost <= second_cost { one } else { other })
    }

    /// The next candidate in turn; by unequal weights, spread smoothly (as nginx does).
    pub(super) fn next_in_turn(&mut self, endpoints: &[Endpoint], avoid: u32) -> Option<u32> {
        if self.ahead.is_empty() {
            let count = self.candidates.len();
            if count == 0 {
                return None;
            }
            let skip = usize::from(count > 1 && self.candidates[self.turn % count] == avoid);
            let at = (self.turn + skip) % count;
            self.turn = (at + 1) % count;
            return Some(self.candidates[at]);
        }
        let (mut total, mut chosen) = (0, None::<&mut (u32, i64)>);
        let avoid = if self.candidates.len() > 1 { avoid } else { u32::MAX };
        // Both lists are in the order of the members.
        let mut candidates = self.candidates.iter().peekable();
        for entry in &mut self.ahead {
            if candidates.next_if(|slot| **slot == entry.0).is_none() || entry.0 == avoid {
                continue;
            }
            let weight = i64::from(endpoints[entry.0 as usize].weight);
            total += weight;
            entry.1 += weight;
            if chosen.as_ref().is_none_or(|chosen| entry.1 > chosen.1) {
                chosen = Some(entry);
            }
        }
        let chosen = chosen?;
        chosen.1 -= total;
        Some(chosen.0)
    }

    /// The candidate that the ring gives to `hash` and that is not too full; not `avoid` if there is another.
    pub(super) fn on_ring(&self, endpoints: &[Endpoint], hash: u64, avoid: u32) -> Option<u32> {
        let count = self.candidates.len() as u64;
        if count <= 1 {
            return self.candidates.first().copied();
        }
        let rank = endpoints[*self.candidates.first()? as usize].standing();
        // A quarter above the average, rounded up: somebody always has room.
        let in_flight_max = (u64::from(self.in_flight + 1) * 5).div_ceil(count * 4);
        let takes = |slot: u32| {
            let endpoint = &endpoints[slot as usize];
            endpoint.standing() == rank && slot != avoid && u64::from(endpoint.in_flight) < in_flight_max
        };
        self.ring.find(hash, takes).or_else(|| self.candidates.iter().copied().find(|slot| *slot != avoid))
    }
}
