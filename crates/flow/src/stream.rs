//! One side of a TCP connection, put back in order within bounds.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use record::{Anomaly, PacketId, Timestamp};

/// Out-of-order segments that one side may keep waiting. A window of 64 segments is more than fast retransmit leaves open.
const MAX_WAITING_SEGMENTS: usize = 64;
/// Out-of-order bytes that one side may keep waiting.
const MAX_WAITING_BYTES: usize = 256 << 10;
/// A jump of the sequence number beyond this is not a hole but another connection's packet or a lie: windows in use stay far below (*assumed*).
const MAX_HOLE: u32 = 1 << 26;
/// A reset this far from what is expected may still be meant: windows in use seldom go beyond (*assumed*).
const RESET_WINDOW: u32 = 1 << 20;
/// Delivered segments remembered to compare retransmissions with.
const REMEMBERED: usize = 4;

/// What comes out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes.
    Data(&'a [u8]),
    /// The next bytes, which came earlier, at that time and in that packet, but were in doubt until now.
    Late(&'a [u8], (Timestamp, PacketId)),
    /// Bytes that the capture does not have.
    Gap(u64),
}

/// What the sequence numbers of one side say, whether or not anybody wants the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// The next sequence number, once known.
    next: Option<u32>,
    /// An acknowledgement beyond `next` that was seen once.
    unseen: Option<u32>,
    /// Bytes that the capture does not have.
    pub missed: u64,
}

impl Numbers {
    /// Begins (or, in mid-stream, picks up) at `seq`.
    pub fn begin(&mut self, seq: u32) {
        if self.next.is_none() {
            self.next = Some(seq);
        }
    }

    /// Follows a segment whose bytes nobody wants.
    pub fn pass(&mut self, seq: u32, len: u32) -> Fit {
        let next = *self.next.get_or_insert(seq);
        let ahead = seq.wrapping_sub(next);
        if ahead < MAX_HOLE {
            self.missed += u64::from(ahead);
            self.next = Some(seq.wrapping_add(len));
            return Fit::New;
        }
        let behind = next.wrapping_sub(seq);
        if len > behind {
            self.next = Some(seq.wrapping_add(len));
            return Fit::New;
        }
        if len > 1 {
            self.missed = self.missed.saturating_sub(u64::from(len));
        }
        Fit::Retransmission
    }

    /// The next sequence number, once known.
    pub const fn next(&self) -> Option<u32> {
        self.next
    }

    /// Whether a number lies within a window around what is expected.
    pub fn is_near(&self, seq: u32) -> bool {
        self.may_reset(seq)
    }

    /// Whether a segment with this number is the next.
    pub fn is_next(&self, seq: u32) -> bool {
        self.next == Some(seq)
    }

    /// Whether a reset with this number may be meant: within a window around what is expected. Stacks want the exact number
    /// (RFC 5961), but a capture may have lost what came before.
    pub fn may_reset(&self, seq: u32) -> bool {
        self.next.is_none_or(|next| {
            let ahead = seq.wrapping_sub(next);
            ahead <= RESET_WINDOW || ahead.wrapping_neg() <= RESET_WINDOW
        })
    }

    /// The other side acknowledged everything before `ack`: what is still missing there when it does so again, the
    /// capture lost; gives how much. The first time may be the capture's own reordering.
    fn lost(&mut self, ack: u32) -> Option<u32> {
        let next = self.next?;
        // One byte is a FIN that was not captured.
        let hole = |ack: u32| Some(ack.wrapping_sub(next)).filter(|n| (2..MAX_HOLE).contains(n));
        if hole(ack).is_none() {
            self.unseen = None;
            return None;
        }
        hole(self.unseen.replace(ack)?)
    }

    fn skip(&mut self, n: u64, report: &mut impl FnMut(Anomaly)) {
        report(Anomaly::TcpGap);
        self.missed += n;
        self.next = self.next.map(|s| s.wrapping_add(n as u32));
    }

    /// As [`Stream::acked`], for a side none of whose bytes wait.
    pub fn acked(&mut self, ack: u32, report: &mut impl FnMut(Anomaly), out: &mut impl FnMut(Piece<'_>)) {
        if let Some(hole) = self.lost(ack) {
            report(Anomaly::TcpAckedUnseen);
            self.skip(u64::from(hole), report);
            out(Piece::Gap(u64::from(hole)));
        }
    }
}

/// The bytes of one side in order, for as long as somebody wants them.
#[derive(Debug, Default)]
pub struct Stream {
    /// Segments beyond a hole, by their distance from where the stream began.
    waiting: BTreeMap<u64, Vec<u8>>,
    /// Bytes that wait, out of order or in doubt.
    waiting_bytes: usize,
    /// Segments that may be decoys, by the same distance, with when and where they came.
    doubtful: BTreeMap<u64, (Vec<u8>, (Timestamp, PacketId))>,
    /// Bytes since the stream began that lie before the next sequence number.
    passed: u64,
    delivered: [(u32, u32, u64); REMEMBERED],
    turn: u8,
}

/// How a segment stood to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It brought something new.
    New,
    /// All of it was there before.
    Retransmission,
}

impl Stream {
    /// Bytes held out of order.
    pub fn held(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether something waits for the receiver's word.
    pub fn doubts(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Lets everything go that waits; returns how much it was.
    pub fn release(&mut self) -> usize {
        self.waiting.clear();
        self.doubtful.clear();
        std::mem::take(&mut self.waiting_bytes)
    }

    /// Takes a segment of `len` bytes of which `bytes` were captured, and gives out what is now in order.
    pub fn add(
        &mut self,
        numbers: &mut Numbers,
        seq: u32,
        bytes: &[u8],
        len: u32,
        report: &mut impl FnMut(Anomaly),
        out: &mut impl FnMut(Piece<'_>),
    ) -> Fit {
        let next = *numbers.next.get_or_insert(seq);
        let ahead = seq.wrapping_sub(next);
        if ahead == 0 {
            self.deliver(numbers, seq, bytes, len, out);
            self.drain(numbers, out);
            return Fit::New;
        }
        if ahead < MAX_HOLE {
            self.keep(u64::from(ahead), bytes, report);
            if self.waiting.len() > MAX_WAITING_SEGMENTS || self.waiting_bytes > MAX_WAITING_BYTES {
                self.give_up_hole(numbers, report, out);
            }
            return Fit::New;
        }
        let behind = next.wrapping_sub(seq);
        self.compare(seq, bytes, len, report);
        if len > behind {
            let tail = bytes.get(behind as usize..).unwrap_or_default();
            self.deliver(numbers, next, tail, len - behind, out);
            self.drain(numbers, out);
            return Fit::New;
        }
        Fit::Retransmission
    }

    /// Steps over the next `n` bytes, which are not part of the stream.
    pub fn omit(&mut self, numbers: &mut Numbers, n: u32) {
        numbers.next = numbers.next.map(|next| next.wrapping_add(n));
        self.passed += u64::from(n);
    }

    /// The other side acknowledged everything before `ack`.
    pub fn acked(
        &mut self,
        numbers: &mut Numbers,
        ack: u32,
        report: &mut impl FnMut(Anomaly),
        out: &mut impl FnMut(Piece<'_>),
    ) {
        self.believe(numbers, ack, out);
        let Some(hole) = numbers.lost(ack) else { return };
        report(Anomaly::TcpAckedUnseen);
        let target = self.passed + u64::from(hole);
        while self.passed < target {
            let hole_ends = self.waiting.first_key_value().map_or(target, |(&at, _)| at.min(target));
            self.skip(numbers, hole_ends.saturating_sub(self.passed), report, out);
            self.drain(numbers, out);
        }
    }

    /// Keeps a segment that may be a decoy.
    pub fn doubt(
        &mut self,
        numbers: &mut Numbers,
        seq: u32,
        bytes: &[u8],
        came: (Timestamp, PacketId),
    ) -> Fit {
        let ahead = seq.wrapping_sub(*numbers.next.get_or_insert(seq));
        let room = self.doubtful.len() < MAX_WAITING_SEGMENTS
            && self.waiting_bytes + bytes.len() <= MAX_WAITING_BYTES;
        if ahead >= MAX_HOLE || !room || bytes.is_empty() {
            return Fit::Retransmission;
        }
        let at = self.passed + u64::from(ahead);
        if let std::collections::btree_map::Entry::Vacant(slot) = self.doubtful.entry(at) {
            self.waiting_bytes += bytes.len();
            slot.insert((bytes.to_vec(), came));
        }
        Fit::New
    }

    /// Gives out what was in doubt and is acknowledged, as far as nothing else has come in its place.
    fn believe(&mut self, numbers: &mut Numbers, ack: u32, out: &mut impl FnMut(Piece<'_>)) {
        while let Some((&at, (bytes, _))) = self.doubtful.first_key_value() {
            let ahead = numbers.next.map_or(0, |next| ack.wrapping_sub(next));
            let known = self.passed.saturating_sub(at) as usize;
            let fresh = bytes.len().saturating_sub(known);
            if fresh > 0 && (at > self.passed || ahead >= MAX_HOLE || (ahead as usize) < fresh) {
                return;
            }
            let Some((_, (bytes, came))) = self.doubtful.pop_first() else { return };
            self.waiting_bytes -= bytes.len();
            if let Some(fresh) = bytes.get(known..).filter(|f| !f.is_empty()) {
                self.remember(numbers.next.unwrap_or(0), fresh);
                out(Piece::Late(fresh, came));
                self.passed += fresh.len() as u64;
                numbers.next = numbers.next.map(|next| next.wrapping_add(fresh.len() as u32));
                self.drain(numbers, out);
            }
        }
    }

    fn skip(
        &mut self,
        numbers: &mut Numbers,
        n: u64,
        report: &mut impl FnMut(Anomaly),
        out: &mut impl FnMut(Piece<'_>),
    ) {
        if n == 0 {
            return;
        }
        numbers.skip(n, report);
        self.passed += n;
        out(Piece::Gap(n));
    }

    /// Too much waits behind the hole: it will not be filled.
    fn give_up_hole(
        &mut self,
        numbers: &mut Numbers,
        report: &mut impl FnMut(Anomaly),
        out: &mut impl FnMut(Piece<'_>),
    ) {
        if let Some((&at, _)) = self.waiting.first_key_value() {
            self.skip(numbers, at.saturating_sub(self.passed), report, out);
            self.drain(numbers, out);
        }
    }

    fn deliver(
        &mut self,
        numbers: &mut Numbers,
        seq: u32,
        bytes: &[u8],
        len: u32,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        self.remember(seq, bytes);
        out(Piece::Data(bytes));
        let cut = u64::from(len).saturating_sub(bytes.len() as u64);
        if cut > 0 {
            numbers.missed += cut;
            out(Piece::Gap(cut));
        }
        self.passed += u64::from(len);
        numbers.next = Some(seq.wrapping_add(len));
    }

    /// Gives out what waits and is now in order.
    fn drain(&mut self, numbers: &mut Numbers, out: &mut impl FnMut(Piece<'_>)) {
        while let Some((&at, _)) = self.waiting.first_key_value() {
            if at > self.passed {
                return;
            }
            let Some((_, bytes)) = self.waiting.pop_first() else { return };
            self.waiting_bytes -= bytes.len();
            let known = (self.passed - at) as usize;
            if let Some(fresh) = bytes.get(known..).filter(|f| !f.is_empty()) {
                let next = numbers.next.unwrap_or(0);
                self.deliver(numbers, next, fresh, fresh.len() as u32, out);
            }
        }
    }

    /// Keeps a segment that lies `ahead` of what is in order. Where it overlaps one that waits already, the older counts.
    fn keep(&mut self, ahead: u64, bytes: &[u8], report: &mut impl FnMut(Anomaly)) {
        let mut at = self.passed + ahead;
        let end = at + bytes.len() as u64;
        let mut rest = bytes;
        let from = self.waiting.range(..=at).next_back().map_or(at, |(k, _)| *k);
        let mut fresh: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut differs = false;
        for (&start, held) in self.waiting.range(from..end) {
            let stop = start + held.len() as u64;
            if stop <= at {
                continue;
            }
            if start > at {
                let (gap, tail) = rest.split_at((start - at) as usize);
                fresh.push((at, gap.to_vec()));
                rest = tail;
                at = start;
            }
            let common = (stop.min(end) - at) as usize;
            let theirs = &held[(at - start) as usize..][..common];
            differs |= theirs != &rest[..common];
            rest = &rest[common..];
            at += common as u64;
        }
        if !rest.is_empty() {
            fresh.push((at, rest.to_vec()));
        }
        if differs {
            report(Anomaly::TcpOverlapDiffers);
        }
        for (at, bytes) in fresh {
            self.waiting_bytes += bytes.len();
            self.waiting.insert(at, bytes);
        }
    }

    fn remember(&mut self, seq: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.delivered[usize::from(self.turn) % REMEMBERED] = (seq, bytes.len() as u32, digest(bytes));
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// Compares a retransmission with what was delivered under the same numbers.
    fn compare(&self, seq: u32, bytes: &[u8], len: u32, report: &mut impl FnMut(Anomaly)) {
        if bytes.len() == len as usize
            && self.delivered.iter().any(|&(s, l, d)| s == seq && l == len && l > 0 && d != digest(bytes))
        {
            report(Anomaly::TcpOverlapDiffers);
        }
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(start: u32) -> (Stream, Numbers) {
        let mut numbers = Numbers::default();
        numbers.begin(start);
        (Stream::default(), numbers)
    }

    /// Runs segments through a stream; gives the text (gaps as dots) and the anomalies.
    fn run(start: u32, segments: &[(u32, &str)]) -> (String, Vec<Anomaly>) {
        let (mut stream, mut numbers) = begun(start);
        let (mut text, mut anomalies) = (String::new(), Vec::new());
        for (seq, data) in segments {
            let mut out = |p: Piece<'_>| match p {
                Piece::Data(d) => text.push_str(std::str::from_utf8(d).unwrap()),
                Piece::Late(d, _) => text.push_str(std::str::from_utf8(d).unwrap()),
                Piece::Gap(n) => text.push_str(&".".repeat(n as usize)),
            };
            let mut report = |a| anomalies.push(a);
            match data.strip_prefix("ack") {
                Some("") => stream.acked(&mut numbers, *seq, &mut report, &mut out),
                _ => {
                    stream.add(&mut numbers, *seq, data.as_bytes(), data.len() as u32, &mut report, &mut out);
                }
            }
        }
        (text, anomalies)
    }

    #[test]
    fn order_is_restored() {
        let whole = "abcdefghij";
        for segments in [
            vec![(0, "abc"), (3, "def"), (6, "ghij")],
            vec![(6, "ghij"), (3, "def"), (0, "abc")],
            vec![(0, "abc"), (0, "abc"), (6, "ghij"), (2, "cdefg")],
            vec![(3, "def"), (5, "fghij"), (0, "abcd")],
            vec![(0, "abcdef"), (3, "defghij")],
        ] {
            assert_eq!(run(0, &segments), (whole.to_owned(), vec![]), "{segments:?}");
            let wrapped: Vec<_> =
                segments.iter().map(|(s, d)| (u32::wrapping_add(*s, u32::MAX - 4), *d)).collect();
            assert_eq!(run(u32::MAX - 4, &wrapped).0, whole, "across the wrap: {segments:?}");
        }
    }

    #[test]
    fn a_hole_that_the_peer_acknowledged_is_given_up() {
        let (text, anomalies) = run(0, &[(0, "ab"), (4, "ef"), (6, "ack"), (6, "ack")]);
        assert_eq!(text, "ab..ef");
        assert!(anomalies.contains(&Anomaly::TcpAckedUnseen));
        assert_eq!(run(0, &[(0, "ab"), (8, "ack"), (8, "ack"), (8, "ij")]).0, "ab......ij");
        let (text, anomalies) = run(0, &[(0, "ab"), (4, "ack"), (2, "cd"), (4, "ack")]);
        assert_eq!(
            (text.as_str(), anomalies),
            ("abcd", vec![]),
            "an acknowledgement captured before its data"
        );
    }

    #[test]
    fn different_data_under_the_same_numbers_is_named() {
        let differs = |segments: &[(u32, &str)]| run(0, segments).1.contains(&Anomaly::TcpOverlapDiffers);
        assert!(differs(&[(0, "abc"), (0, "xyz")]));
        assert!(differs(&[(2, "cd"), (2, "xx"), (0, "ab")]));
        assert!(!differs(&[(0, "abc"), (0, "abc"), (2, "cd"), (2, "cd")]));
        assert_eq!(run(0, &[(2, "cd"), (2, "xx"), (0, "ab")]).0, "abcd", "what came first counts");
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut stream, mut numbers) = begun(0);
        let mut gaps = 0;
        for i in 0..10_000u32 {
            stream.add(&mut numbers, 100 + i * 3, b"xx", 2, &mut |_| (), &mut |p| {
                gaps += u32::from(matches!(p, Piece::Gap(_)));
            });
            assert!(stream.waiting.len() <= MAX_WAITING_SEGMENTS);
        }
        assert!(gaps > 1000);
    }

    use proptest::prelude::*;

    proptest! {
        /// Cutting, repeating, overlapping and (within what may wait) reordering never change a stream.
        #[test]
        fn segments_in_any_form_make_the_same_stream(
            text in proptest::collection::vec(any::<u8>(), 1..400),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..60), 0..40),
            start in any::<u32>(),
            seed in any::<u64>(),
        ) {
            // Every byte is covered by the plain segments; the others repeat and overlap them.
            let mut segments: Vec<(usize, usize)> = (0..text.len()).step_by(17).map(|at| (at, (at + 17).min(text.len()))).collect();
            segments.extend(cuts.iter().map(|(at, len)| {
                let at = at.index(text.len());
                (at, (at + len).min(text.len()))
            }));
            let mut state = seed | 1;
            for i in (1..segments.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                segments.swap(i, (state >> 33) as usize % (i + 1));
            }
            let (mut stream, mut numbers) = begun(start);
            let (mut out, mut gaps, mut differs) = (Vec::new(), 0, 0);
            for (from, to) in segments {
                let bytes = &text[from..to];
                stream.add(
                    &mut numbers,
                    start.wrapping_add(from as u32),
                    bytes,
                    bytes.len() as u32,
                    &mut |a| differs += u32::from(a == Anomaly::TcpOverlapDiffers),
                    &mut |p| match p {
                        Piece::Data(d) | Piece::Late(d, _) => out.extend_from_slice(d),
                        Piece::Gap(_) => gaps += 1,
                    },
                );
            }
            prop_assert_eq!(out, text);
            prop_assert_eq!((gaps, differs, stream.held()), (0, 0, 0));
        }

        /// Different data in overlaps: whichever counts, the stream is as long as it was, each byte is one that was sent at its
        /// place, and nothing is left waiting.
        #[test]
        fn conflicts_change_bytes_but_never_the_stream(
            text in proptest::collection::vec(0u8..100, 1..300),
            lies in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..40), 1..20),
            seed in any::<u64>(),
        ) {
            let mut segments: Vec<(usize, usize, bool)> =
                (0..text.len()).step_by(23).map(|at| (at, (at + 23).min(text.len()), false)).collect();
            segments.extend(lies.iter().map(|(at, len)| {
                let at = at.index(text.len());
                (at, (at + len).min(text.len()), true)
            }));
            let mut state = seed | 1;
            for i in (1..segments.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                segments.swap(i, (state >> 33) as usize % (i + 1));
            }
            let (mut stream, mut numbers) = begun(0);
            let mut out = Vec::new();
            for (from, to, lie) in segments {
                let bytes: Vec<u8> = text[from..to].iter().map(|b| if lie { b + 100 } else { *b }).collect();
                stream.add(&mut numbers, from as u32, &bytes, bytes.len() as u32, &mut |_| (), &mut |p| match p {
                    Piece::Data(d) | Piece::Late(d, _) => out.extend_from_slice(d),
                    Piece::Gap(_) => (),
                });
            }
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(out.iter().zip(&text).all(|(o, t)| o == t || *o == t + 100));
            prop_assert_eq!((stream.held(), numbers.missed), (0, 0));
        }

        /// Whatever comes, nothing panics and what waits stays bounded.
        #[test]
        fn any_segments_are_survived(
            segments in proptest::collection::vec((any::<u32>(), 0usize..2000, any::<bool>()), 0..200),
        ) {
            let (mut stream, mut numbers) = (Stream::default(), Numbers::default());
            let body = vec![7u8; 2000];
            for (seq, len, ack) in segments {
                if ack {
                    stream.acked(&mut numbers, seq, &mut |_| (), &mut |_| ());
                } else {
                    stream.add(&mut numbers, seq, &body[..len], len as u32, &mut |_| (), &mut |_| ());
                }
                prop_assert!(stream.held() <= MAX_WAITING_BYTES + 2000);
            }
        }
    }
}
