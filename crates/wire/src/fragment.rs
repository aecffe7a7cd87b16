//! IP fragments, put together within bounds.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use record::{Anomaly, Mac, Segment, Timestamp};

use crate::ip::{FragmentPiece, IpInfo};

/// How long pieces wait for the others: Linux's default (`ipfrag_time`), half of RFC 791's suggestion.
const WAIT: Duration = Duration::from_secs(30);
/// The largest payload of an IP packet.
const MAX_DATAGRAM: u32 = 65_535;
/// Pieces of one datagram; 65,535 bytes in the smallest sensible fragments (an IPv4 minimum MTU of 68) are 1,366.
const MAX_PIECES: usize = 2048;
/// How long after a datagram was whole a piece of it is a copy, and no piece of another one with its number, if it brings the same: what `flow` takes for a frame that was seen twice.
const COPIED: Duration = Duration::from_millis(250);
/// Datagrams that were whole of late, and the pieces of one that are known again (*assumed*: the longest in pieces as networks make them).
const MOST_WHOLE: usize = 4096;
const MOST_KNOWN: usize = 64;
/// What a waiting datagram costs besides its bytes, for the budget.
const OVERHEAD: usize = 256;

type Key = (IpAddr, IpAddr, u32, u8, u8, Option<Segment>);

/// What became of a piece.
#[derive(Debug)]
pub enum Added {
    /// It waits for others, or was none.
    Waits,
    /// It was the last that lacked.
    Completes(Box<Datagram>),
    /// Its datagram was whole a moment ago: the frame was captured twice.
    Copy,
}

impl Added {
    /// The datagram, where it is whole now.
    pub fn whole(self) -> Option<Datagram> {
        match self {
            Self::Completes(datagram) => Some(*datagram),
            Self::Waits | Self::Copy => None,
        }
    }
}

/// A datagram whose pieces all came.
#[derive(Clone, Debug)]
pub struct Datagram {
    info: IpInfo,
    bytes: Vec<u8>,
    last: FragmentPiece,
    frames: u64,
}

impl Datagram {
    /// Its payload, as IP carried it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the payload out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Frames that brought its pieces.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn info(&self) -> IpInfo {
        self.info
    }

    pub(crate) fn last_frame_len(&self) -> u32 {
        self.last.frame_len
    }

    pub(crate) fn mac(&self) -> Option<Mac> {
        self.last.mac
    }

    pub(crate) fn segment(&self) -> Option<Segment> {
        self.last.segment
    }
}

#[derive(Debug)]
struct Waiting {
    /// Protocol and header of the first piece; the others only repeat it.
    info: IpInfo,
    /// Pieces by offset; they never overlap.
    pieces: BTreeMap<u32, Vec<u8>>,
    /// Total length, known from the last piece.
    total: Option<u32>,
    /// Its place in the order of waiting.
    place: (Timestamp, u64),
    held: usize,
    /// Frames that brought pieces.
    frames: u64,
    /// What they brought, by hash, so that copies are known.
    brought: Vec<u64>,
}

/// Datagrams that wait for pieces.
#[derive(Debug)]
pub struct Fragments {
    waiting: HashMap<Key, Waiting>,
    /// Keys by the time they began to wait; the oldest goes first.
    order: BTreeMap<(Timestamp, u64), Key>,
    turn: u64,
    /// Which were whole of late, by when.
    whole: HashMap<Key, (Timestamp, Vec<u64>)>,
    whole_in_order: VecDeque<(Timestamp, Key)>,
    held: usize,
    budget: usize,
    apart: bool,
}

impl Fragments {
    /// Keeps at most `budget` bytes of unfinished datagrams.
    pub fn new(budget: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            whole: HashMap::new(),
            whole_in_order: VecDeque::new(),
            held: 0,
            budget,
            apart: false,
        }
    }

    /// Whether pieces of two segments of the network never belong together.
    #[must_use]
    pub const fn segments_apart(mut self, apart: bool) -> Self {
        self.apart = apart;
        self
    }

    /// Bytes held, with their overhead.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Adds a piece; gives the datagram when it was the last that lacked, or says that it is a copy of one of a datagram that was. Where pieces overlap, the one that came first counts.
    pub fn add(
        &mut self,
        piece: FragmentPiece,
        bytes: &[u8],
        now: Timestamp,
        report: &mut impl FnMut(Anomaly),
    ) -> Added {
        self.expire(now, report);
        let end = piece.offset.saturating_add(bytes.len() as u32);
        let tiny = piece.more && (bytes.len() < 8 || !bytes.len().is_multiple_of(8));
        if !piece.complete || end > MAX_DATAGRAM || bytes.is_empty() || tiny {
            report(Anomaly::FragmentBadSize);
            if end > MAX_DATAGRAM || bytes.is_empty() || !piece.complete {
                return Added::Waits;
            }
        }
        let brought = hash_of(piece.offset, bytes);
        let protocol = if piece.info.src.is_ipv4() { piece.info.protocol } else { 0 };
        let segment = piece.segment.filter(|_| self.apart);
        let key = (piece.info.src, piece.info.dst, piece.ident, protocol, piece.info.layer, segment);
        if !self.waiting.contains_key(&key) {
            if self
                .whole
                .get(&key)
                .is_some_and(|(at, held)| now.since(*at) <= COPIED && held.contains(&brought))
            {
                return Added::Copy;
            }
            self.turn = self.turn.saturating_add(1);
            let place = (now, self.turn);
            self.order.insert(place, key);
            self.held = self.held.saturating_add(OVERHEAD);
            let info = piece.info;
            self.waiting.insert(
                key,
                Waiting {
                    info,
                    pieces: BTreeMap::new(),
                    total: None,
                    place,
                    held: OVERHEAD,
                    frames: 0,
                    brought: Vec::new(),
                },
            );
        }
        let Some(waiting) = self.waiting.get_mut(&key) else { return Added::Waits };
        waiting.frames = waiting.frames.saturating_add(1);
        if piece.offset == 0 {
            waiting.info = piece.info;
        }
        if !piece.more {
            waiting.total = Some(waiting.total.map_or(end, |t| t.max(end)));
        }
        let added = waiting.insert(piece.offset, bytes, report);
        // What brings nothing new needs not be known again.
        let added = if added > 0 {
            waiting.brought.push(brought);
            added.saturating_add(size_of::<u64>())
        } else {
            0
        };
        waiting.held = waiting.held.saturating_add(added);
        self.held = self.held.saturating_add(added);
        if waiting.pieces.len() > MAX_PIECES {
            report(Anomaly::FragmentBadSize);
            self.forget(&key);
            return Added::Waits;
        }
        let whole = waiting.whole();
        if let Some(bytes) = whole {
            let (info, frames) = (waiting.info, waiting.frames);
            let brought = std::mem::take(&mut waiting.brought);
            self.forget(&key);
            self.was_whole(key, now, brought);
            return Added::Completes(Box::new(Datagram { info, bytes, last: piece, frames }));
        }
        while self.held > self.budget {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if self.forget(&oldest) {
                report(Anomaly::FragmentDropped);
            }
        }
        Added::Waits
    }

    fn was_whole(&mut self, key: Key, now: Timestamp, brought: Vec<u64>) {
        let mut brought = brought;
        brought.truncate(MOST_KNOWN);
        self.whole.insert(key, (now, brought));
        self.whole_in_order.push_back((now, key));
        while let Some((at, key)) = self.whole_in_order.front().copied()
            && (now.since(at) > COPIED || self.whole_in_order.len() > MOST_WHOLE)
        {
            self.whole_in_order.pop_front();
            // It may have been whole again.
            if self.whole.get(&key).is_some_and(|(last, _)| *last == at) {
                self.whole.remove(&key);
            }
        }
    }

    /// Forgets what has waited too long.
    fn expire(&mut self, now: Timestamp, report: &mut impl FnMut(Anomaly)) {
        while let Some((&(since, turn), &key)) = self.order.first_key_value() {
            if now.since(since) < WAIT {
                break;
            }
            self.order.remove(&(since, turn));
            if self.forget(&key) {
                report(Anomaly::FragmentIncomplete);
            }
        }
    }

    /// The input ended: whatever waits waits in vain.
    pub fn finish(&mut self, report: &mut impl FnMut(Anomaly)) {
        (0..self.waiting.len()).for_each(|_| report(Anomaly::FragmentIncomplete));
        self.waiting.clear();
        self.order.clear();
        self.held = 0;
    }

    fn forget(&mut self, key: &Key) -> bool {
        match self.waiting.remove(key) {
            Some(gone) => {
                self.order.remove(&gone.place);
                self.held = self.held.saturating_sub(gone.held);
                true
            }
            None => false,
        }
    }
}

/// What a frame brought, and where it belongs.
fn hash_of(offset: u32, bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    (offset, bytes).hash(&mut hash);
    hash.finish()
}

impl Waiting {
    /// Keeps the parts of `bytes` that are new; returns how much memory they take.
    fn insert(&mut self, offset: u32, bytes: &[u8], report: &mut impl FnMut(Anomaly)) -> usize {
        let end = offset.saturating_add(bytes.len() as u32);
        let part = |from: u32, to: u32| {
            let (a, b) = (from.saturating_sub(offset) as usize, to.saturating_sub(offset) as usize);
            bytes.get(a..b).unwrap_or_default()
        };
        let mut fresh: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut at = offset;
        let before = self.pieces.range(..=offset).next_back().map_or(offset, |(k, _)| *k);
        let mut differs = false;
        for (&start, held) in self.pieces.range(before..end) {
            let stop = start.saturating_add(held.len() as u32);
            if stop <= at {
                continue;
            }
            if start > at {
                fresh.push((at, part(at, start).to_vec()));
                at = start;
            }
            let common = stop.min(end);
            let mine = held.get(at.saturating_sub(start) as usize..common.saturating_sub(start) as usize);
            differs |= mine.unwrap_or_default() != part(at, common);
            at = common;
        }
        if at < end {
            fresh.push((at, part(at, end).to_vec()));
        }
        if differs {
            report(Anomaly::FragmentOverlap);
        }
        let mut added = 0usize;
        for (start, bytes) in fresh {
            added = added.saturating_add(bytes.len()).saturating_add(64);
            self.pieces.insert(start, bytes);
        }
        added
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let total = self.total?;
        let mut at = 0u32;
        for (&start, held) in &self.pieces {
            if start != at {
                return None;
            }
            at = at.saturating_add(held.len() as u32);
        }
        if at < total {
            return None;
        }
        Some(self.pieces.values().flatten().copied().collect())
    }
}
