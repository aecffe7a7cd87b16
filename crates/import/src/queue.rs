//! What waits for its turn, in the order of time.
//!
//! Rows come nearly in order and wait for minutes, so that a heap of them all is never in a cache. Here each second has a pile, and only the earliest
//! is put in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use record::Timestamp;

/// Nanoseconds of a pile.
const PILE: i64 = 1_000_000_000;

/// Something that waits: when it became known, its place among those of the same moment, and itself.
struct Waiting<T> {
    known: Timestamp,
    turn: u64,
    what: T,
}

impl<T> Waiting<T> {
    const fn key(&self) -> (Timestamp, u64) {
        (self.known, self.turn)
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Waiting<T> {}
impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// What waits: the earliest goes first, and of one moment what came first.
pub struct Queue<T> {
    piles: BTreeMap<i64, Vec<Reverse<Waiting<T>>>>,
    /// The earliest pile and its second.
    first: (i64, BinaryHeap<Reverse<Waiting<T>>>),
    turn: u64,
    len: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { piles: BTreeMap::new(), first: (i64::MIN, BinaryHeap::new()), turn: 0, len: 0 }
    }
}

impl<T> Queue<T> {
    /// How much waits.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Takes something that became known then.
    pub fn push(&mut self, known: Timestamp, what: T) {
        self.turn += 1;
        self.len += 1;
        let (waiting, second) = (Waiting { known, turn: self.turn, what }, known.0.div_euclid(PILE));
        let (of, first) = &mut self.first;
        if !first.is_empty() && second == *of {
            first.push(Reverse(waiting));
        } else {
            self.piles.entry(second).or_default().push(Reverse(waiting));
        }
    }

    /// Makes sure that the earliest pile is at hand.
    fn look(&mut self) {
        let Some((earliest, _)) = self.piles.first_key_value() else { return };
        if !self.first.1.is_empty() && self.first.0 < *earliest {
            return;
        }
        if let Some((second, pile)) = self.piles.pop_first() {
            let (of, before) = std::mem::replace(&mut self.first, (second, pile.into()));
            if !before.is_empty() {
                self.piles.insert(of, before.into_vec());
            }
        }
    }

    /// When the earliest became known.
    pub fn earliest(&mut self) -> Option<Timestamp> {
        self.look();
        self.first.1.peek().map(|Reverse(w)| w.known)
    }

    /// Gives the earliest.
    pub fn pop(&mut self) -> Option<(Timestamp, T)> {
        self.look();
        let Reverse(Waiting { known, what, .. }) = self.first.1.pop()?;
        self.len -= 1;
        Some((known, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_goes_first_and_of_one_moment_what_came_first() {
        let (mut queue, mut expected) = (Queue::default(), Vec::new());
        let (mut state, mut given) = (7u64, Vec::new());
        for n in 0..20_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Within some seconds, also before 1970, with many of one moment.
            let known =
                Timestamp((state >> 33) as i64 % 40 * 250_000_000 - 3_000_000_000 + n as i64 * 400_000);
            queue.push(known, n);
            expected.push((known, n));
            if state.is_multiple_of(3) {
                let earliest = queue.earliest();
                let (known, n) = queue.pop().unwrap();
                assert_eq!(earliest, Some(known));
                let at = expected.iter().position(|e| *e == (known, n)).unwrap();
                assert_eq!(expected.iter().min(), Some(&(known, n)), "the earliest of those there");
                expected.swap_remove(at);
                given.push(n);
            }
        }
        assert_eq!(queue.len(), expected.len());
        expected.sort_unstable();
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, expected);
        assert!(queue.earliest().is_none() && queue.len() == 0 && given.len() > 5_000);
    }
}
