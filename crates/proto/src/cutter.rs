//! Cuts one side of a stream into messages that tell their length, and keeps no more than the first bytes of each: what a transfer carries
//! is skipped by its length, never looked at.

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A message: its first bytes, and its whole length.
    Message(&'a [u8], usize),
    /// No message begins here; what begins here goes on being unread.
    Lost,
}

/// Where one side of a stream stands.
#[derive(Debug)]
pub struct Cutter {
    /// Bytes that a message has to begin with before its length is known.
    header: usize,
    /// Bytes that are kept of each message, at least the header's.
    keep: usize,
    /// The first bytes of a message that came in pieces.
    head: Vec<u8>,
    /// The head was given, and makes room for the next.
    given: bool,
    /// Bytes of the message in hand that nobody looks at, and those of it that go before the next message.
    skip: u64,
}

impl Cutter {
    pub const fn new(header: usize, keep: usize) -> Self {
        Self { header, keep, head: Vec::new(), given: false, skip: 0 }
    }

    /// Takes the next message off `bytes`; `None` when they are used up. `length` tells a message's whole length by its header, or that it is none.
    pub fn next<'c, 'b: 'c>(
        &'c mut self,
        bytes: &mut &'b [u8],
        length: impl Fn(&[u8]) -> Option<usize>,
    ) -> Option<Cut<'c>> {
        if std::mem::take(&mut self.given) {
            self.head.clear();
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip = self.skip.saturating_sub(skipped as u64);
        *bytes = bytes.get(skipped..).unwrap_or_default();
        if bytes.is_empty() {
            return None;
        }
        // Most messages come with their beginning in one piece.
        if self.head.is_empty() && bytes.len() >= self.header {
            let Some(whole) = length(bytes) else { return Some(Cut::Lost) };
            let (whole, kept) = self.sizes(whole);
            if let Some((head, rest)) = bytes.split_at_checked(kept) {
                *bytes = rest;
                self.skip = whole.saturating_sub(kept) as u64;
                return Some(Cut::Message(head, whole));
            }
        }
        self.fill(self.header, bytes);
        if self.head.len() < self.header {
            return None;
        }
        let Some(whole) = length(&self.head) else {
            self.given = true;
            return Some(Cut::Lost);
        };
        let (whole, kept) = self.sizes(whole);
        self.fill(kept, bytes);
        if self.head.len() < kept {
            return None;
        }
        self.skip = whole.saturating_sub(kept) as u64;
        self.given = true;
        Some(Cut::Message(&self.head, whole))
    }

    /// A message's whole length, and how much of it is kept: no less than its header.
    fn sizes(&self, whole: usize) -> (usize, usize) {
        let whole = whole.max(self.header);
        (whole, whole.min(self.keep.max(self.header)))
    }

    /// Takes bytes until so many of the message are there.
    fn fill(&mut self, want: usize, bytes: &mut &[u8]) {
        let n = want.saturating_sub(self.head.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
        self.head.extend_from_slice(taken);
        *bytes = rest;
    }

    /// So many bytes are missing: whether the next message can still be found.
    pub fn gap(&mut self, bytes: u64) -> bool {
        if std::mem::take(&mut self.given) {
            self.head.clear();
        }
        let found = self.head.is_empty() && bytes <= self.skip;
        self.skip = if found { self.skip.saturating_sub(bytes) } else { 0 };
        self.head.clear();
        found
    }

    /// Bytes kept.
    pub fn weight(&self) -> usize {
        self.head.capacity()
    }
}

/// Little-endian fields at a place; `None` where the bytes end before.
pub fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

/// The same, of four bytes.
pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The same, of eight bytes.
pub fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// So many bytes from a place, or those of them that are there.
pub fn upto(bytes: &[u8], at: usize, n: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..n).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(pieces: &[&[u8]]) -> Vec<(Vec<u8>, usize)> {
        let (mut cutter, mut all) = (Cutter::new(2, 4), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while let Some(cut) = cutter.next(&mut rest, |b| (b[0] == b'm').then(|| usize::from(b[1]))) {
                match cut {
                    Cut::Message(head, whole) => all.push((head.to_vec(), whole)),
                    Cut::Lost => {
                        all.push((Vec::new(), 0));
                        break;
                    }
                }
            }
        }
        all
    }

    #[test]
    fn messages_are_the_same_in_any_pieces() {
        let stream = b"m\x03am\x08bcdefgm\x02m\x04hi";
        let want = cuts(&[stream]);
        assert_eq!(
            want,
            [
                (b"m\x03a".to_vec(), 3),
                (b"m\x08bc".to_vec(), 8),
                (b"m\x02".to_vec(), 2),
                (b"m\x04hi".to_vec(), 4)
            ]
        );
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(cuts(&[a, b]), want, "cut at {cut}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(cuts(&single), want);
    }

    #[test]
    fn a_gap_in_what_is_skipped_loses_nothing() {
        let mut cutter = Cutter::new(2, 4);
        let of = |b: &[u8]| (b[0] == b'm').then(|| usize::from(b[1]));
        let mut rest: &[u8] = b"m\x10ab";
        assert!(cutter.next(&mut rest, of).is_some());
        assert!(cutter.gap(10));
        let mut rest: &[u8] = b"..m\x03z";
        assert_eq!(cutter.next(&mut rest, of), Some(Cut::Message(b"m\x03z", 3)));
        let mut rest: &[u8] = b"m\x04x";
        assert!(cutter.next(&mut rest, of).is_none());
        assert!(!cutter.gap(1), "a head is missing");
        assert!(!Cutter::new(2, 4).gap(1), "who knows what was in it");
    }
}
