//! What is left out when more comes than can be followed: by rule, told, and no more than has to be.
//!
//! The kernel's ring fills when packets come faster than they are followed, and what finds no room in it is lost without a choice. So what matters least is left out
//! before it is full: the later part of long flows first, then whole flows by lot, the same both ways and as long as it lasts.

use capture::Batch;
use record::{Accounts, Unread};

use crate::taken::{FlowsTaken, Holds};

/// How full the ring is when more is left out, and when everything is followed again (*assumed*).
const FULL: f64 = 0.5;
const FULLER: f64 = 0.75;
const EMPTY: f64 = 0.1;
/// What is followed of a flow at least, in bytes (*assumed*: what greets, asks and answers).
const OF_A_FLOW: u64 = 64 << 10;
/// Batches between two looks at the ring while something is left out: what was decided has to show.
const LOOKED: u32 = 32;
/// Of so many flows at least one is followed.
const FEWEST: u32 = 16;

/// What is left out now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    #[default]
    Nothing,
    /// The later part of long flows.
    Long,
    /// And whole flows: of so many one is followed.
    Lot(u32),
}

/// Leaves packets out.
#[derive(Default)]
pub struct Shedder {
    level: Level,
    taken: Option<FlowsTaken>,
    since_looked: u32,
    long: u64,
    lot: u64,
}

impl Shedder {
    /// Leaves out of a batch what cannot be followed, where the ring is so full (0 to 1); says what changed.
    pub fn batch(&mut self, batch: &mut Batch, fullness: f64) -> Option<String> {
        let told = self.decide(fullness);
        if self.level == Level::Nothing {
            return told;
        }
        let mut packets = std::mem::take(&mut batch.packets);
        let clock = packets.last().map(|p| p.clock);
        packets.retain(|meta| {
            let holds = Holds::of(batch.frame(meta), meta.link, meta.original);
            let Some(flow) = holds.flow else { return true };
            if let Level::Lot(of) = self.level
                && !((flow >> 32) as u32).is_multiple_of(of)
            {
                self.lot += 1;
                return false;
            }
            let before = self.taken.get_or_insert_default().take(flow, meta.original, meta.clock);
            let wanted = before < OF_A_FLOW || holds.edge;
            self.long += u64::from(!wanted);
            wanted
        });
        batch.packets = packets;
        batch.pass(clock);
        told
    }

    fn decide(&mut self, fullness: f64) -> Option<String> {
        self.since_looked += 1;
        if self.level != Level::Nothing && self.since_looked < LOOKED {
            return None;
        }
        self.since_looked = 0;
        let before = self.level;
        self.level = match before {
            Level::Nothing if fullness >= FULL => Level::Long,
            Level::Long if fullness >= FULLER => Level::Lot(2),
            Level::Lot(of) if fullness >= FULLER => Level::Lot((2 * of).min(FEWEST)),
            Level::Lot(2) if fullness < FULL => Level::Long,
            Level::Lot(of) if fullness < FULL => Level::Lot(of / 2),
            Level::Long if fullness < EMPTY => Level::Nothing,
            level => level,
        };
        if self.level == before {
            return None;
        }
        Some(match self.level {
            Level::Nothing => {
                self.taken = None;
                format!("all packets are followed again; {} were left out so far", self.all())
            }
            Level::Long => "more comes than can be followed: of long flows their first 64 KiB are".to_owned(),
            Level::Lot(of) => format!("more comes than can be followed: of {of} flows one is"),
        })
    }

    /// Packets that were left out so far.
    pub const fn all(&self) -> u64 {
        self.long + self.lot
    }

    /// Accounts for what was left out.
    pub fn account(&self, accounts: &mut Accounts) {
        for (why, n) in [("later packets of long flows", self.long), ("flows by lot", self.lot)] {
            if n > 0 {
                accounts.left_out(Unread::Shed(why), n);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use capture::{CaptureSet, Opening, Source};
    use std::collections::BTreeMap;

    use super::Level::{Long, Lot, Nothing};
    use super::*;

    /// Packets of a sample by flow that are followed where the ring is so full, and what was said.
    fn followed(shedder: &mut Shedder, fullness: f64) -> (BTreeMap<Option<u64>, usize>, Vec<String>) {
        let bytes = include_bytes!("../../../samples/kraken-old.pcapng");
        let sample = [Source::Memory("sample.pcapng", bytes)];
        let mut set = CaptureSet::open(&sample, &Opening::default()).unwrap();
        let (mut batch, mut flows, mut said) = (Batch::default(), BTreeMap::new(), Vec::new());
        while set.next_batch(&mut batch) {
            let clock = batch.clock();
            said.extend(shedder.batch(&mut batch, fullness));
            assert_eq!(batch.clock(), clock, "time goes on");
            for meta in &batch.packets {
                let holds = Holds::of(batch.frame(meta), meta.link, meta.original);
                *flows.entry(holds.flow).or_default() += 1;
            }
        }
        (flows, said)
    }

    fn packets(of: &BTreeMap<Option<u64>, usize>) -> u64 {
        of.values().sum::<usize>() as u64
    }

    #[test]
    fn nothing_is_left_out_where_there_is_room() {
        let mut shedder = Shedder::default();
        let (all, said) = followed(&mut shedder, 0.4);
        assert!(said.is_empty() && shedder.all() == 0 && packets(&all) > 1_000);
    }

    #[test]
    fn first_the_rest_of_long_flows_then_flows_by_lot_and_back() {
        let (all, _) = followed(&mut Shedder::default(), 0.0);
        let mut shedder = Shedder::default();
        let (first, said) = followed(&mut shedder, 0.6);
        assert!(matches!(&said[..], [one] if one.contains("first 64 KiB")), "{said:?}");
        assert_eq!(first.len(), all.len(), "every flow is there");
        assert_eq!(packets(&first) + shedder.all(), packets(&all));
        assert!(shedder.long > 0 && shedder.lot == 0);
        // Flows by lot: what is followed of them is followed as before.
        shedder = Shedder { level: Lot(4), ..Shedder::default() };
        let (some, _) = followed(&mut shedder, 0.6);
        assert!(some.len() < all.len() / 2 && !some.is_empty(), "{} of {}", some.len(), all.len());
        assert!(some.iter().all(|(flow, n)| first[flow] == *n));
        assert_eq!(packets(&some) + shedder.all(), packets(&all));
        let mut accounts = Accounts::default();
        shedder.account(&mut accounts);
        assert_eq!(accounts.all(), shedder.all());
        // Step by step, and no faster than it shows.
        let mut levels = Vec::new();
        for fullness in [0.6, 0.8, 0.8, 0.8, 0.3, 0.3, 0.3, 0.3, 0.05] {
            for _ in 0..LOOKED {
                shedder.decide(fullness);
            }
            levels.push(shedder.level);
        }
        assert_eq!(levels, [Lot(4), Lot(8), Lot(16), Lot(16), Lot(8), Lot(4), Lot(2), Long, Nothing]);
    }
}
