//! Whether both sides of a stream begin what they say with the same bytes that look random: a cipher that begins anew under one key with each message,
//! so that one keystream is used again and again, as TLS, SSH and their like never do.

use flate2::{Decompress, FlushDecompress};
use record::{Direction, Framing, PacketId, PayloadFacts, SameStart, Start};

use crate::framing::{Beginning, Shown};

/// Bytes behind those that are compared, which look random as well: a number in front of what is in clear is none (*assumed*).
const BEHIND: usize = 16;
/// The bytes that are kept of what a side says.
const KEPT: usize = SameStart::KEPT + BEHIND;

/// The beginning of what a side says before the other does.
#[derive(Clone, Copy)]
struct Turn {
    bytes: [u8; KEPT],
    /// 0 <= len <= KEPT
    len: usize,
    packet: PacketId,
}

/// What is known of a stream.
pub struct Keystream {
    from: Option<Direction>,
    turn: Turn,
    /// What was said first, with which the others are compared.
    model: Option<(Turn, SameStart)>,
    /// Whether any of them looks random behind what is compared.
    behind: bool,
    messages: [u32; 2],
}

impl Turn {
    const NONE: Self = Self { bytes: [0; KEPT], len: 0, packet: PacketId::new(0, 0) };

    fn take(&mut self, bytes: &[u8], packet: PacketId) {
        if self.len == 0 {
            self.packet = packet;
        }
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *slot = *byte;
        }
        self.len = self.len.saturating_add(bytes.len()).min(KEPT);
    }

    fn said(&self) -> &[u8] {
        self.bytes.get(..self.len.min(SameStart::KEPT)).unwrap_or_default()
    }

    /// Whether it looks random behind what is compared, as far as it was said.
    fn goes_on(&self) -> bool {
        self.len == KEPT
            && self
                .bytes
                .get(SameStart::KEPT..)
                .is_some_and(|behind| PayloadFacts::of(behind, BEHIND as u32).is_opaque())
    }

    /// Whether text comes out of it, unpacked behind a length (deflate without a mark, as in RFC 7692): what is packed of messages that begin alike does as well.
    fn holds_text(&self) -> bool {
        let is_text = |plain: &[u8]| plain.len() >= 6 && plain.iter().all(|b| matches!(b, b' '..=b'~'));
        (0..=SameStart::LENGTH).any(|k| {
            let mut plain = Vec::with_capacity(4 * KEPT);
            let packed = self.said().get(k..).unwrap_or_default();
            let read = Decompress::new(false).decompress_vec(packed, &mut plain, FlushDecompress::Sync);
            read.is_ok() && is_text(&plain)
        })
    }
}

impl Keystream {
    pub fn new() -> Self {
        Self { from: None, turn: Turn::NONE, model: None, behind: false, messages: [0; 2] }
    }

    /// The other side goes on: what was shorter than what is kept is compared as it is.
    fn settle(&mut self) -> bool {
        self.turn.len == 0 || self.turn.len == KEPT || self.compare()
    }

    /// Compares what was said with what was said first; gives whether they are alike. What is too short says nothing.
    fn compare(&mut self) -> bool {
        let (Some(from), turn) = (self.from, self.turn) else { return true };
        if turn.len < SameStart::SAME as usize {
            return true;
        }
        self.behind |= turn.goes_on();
        let [orig, resp] = &mut self.messages;
        let count = if from == Direction::Orig { orig } else { resp };
        *count = count.saturating_add(1);
        if let Some((model, alike)) = &mut self.model {
            return alike.compare(model.said(), turn.said());
        }
        let alike = SameStart::of(turn.said());
        self.model = Some((turn, alike));
        alike.is_open() && !turn.holds_text()
    }

    /// The stream ends: what shows by its last word, and the packet of that.
    pub fn end(&mut self) -> Option<(Shown, PacketId)> {
        let fits = self.settle();
        self.shown().filter(|_| fits).map(|shown| (shown, self.turn.packet))
    }
}

impl Beginning for Keystream {
    fn take(&mut self, from: Direction, bytes: &[u8], packet: PacketId) -> bool {
        if self.from != Some(from) {
            if !self.settle() {
                return false;
            }
            (self.from, self.turn) = (Some(from), Turn::NONE);
        }
        let whole = self.turn.len == KEPT;
        self.turn.take(bytes, packet);
        whole || self.turn.len < KEPT || self.compare()
    }

    /// Both sides begin alike, and do not say one and the same.
    fn shown(&self) -> Option<Shown> {
        let both = self.messages.iter().all(|n| *n > 0);
        let enough = self.messages.iter().sum::<u32>() >= Framing::LEAST_CIPHERED;
        let (model, alike) = self.model.as_ref()?;
        let (same, varied) = alike.shown()?;
        let start = Start::Cipher { same };
        let shown = both && enough && varied && self.behind;
        shown.then_some(Shown { start, messages: self.messages, first: model.packet })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Orig, Resp};

    /// What a cipher would make of `plain` that begins with one keystream each time.
    fn under_one_key(plain: &[u8]) -> Vec<u8> {
        let stream = (1u32..).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 21) as u8 | 1);
        plain.iter().zip(stream).map(|(p, k)| p ^ k).collect()
    }

    fn shown(pieces: &[(Direction, Vec<u8>)]) -> Option<[u32; 2]> {
        let mut stream = Keystream::new();
        for (from, bytes) in pieces {
            if !stream.take(*from, bytes, PacketId::default()) {
                return None;
            }
        }
        stream.end().map(|(s, _)| s.messages)
    }

    fn talk(of: fn(&[u8]) -> Vec<u8>) -> Vec<(Direction, Vec<u8>)> {
        vec![
            (Orig, of(b"[Begin]\x40\x02hello, this is number 7, and who are you?")),
            (Resp, of(b"[Begin]\x20\x02wait")),
            (Orig, of(b"[Begin]\x20\x02waiting")),
            (Resp, of(b"[Begin]\x20\x02wait")),
        ]
    }

    #[test]
    fn a_cipher_that_begins_anew_shows() {
        let plain = talk(under_one_key);
        assert_eq!(shown(&plain), Some([2, 2]));
        // However it is cut on the way.
        let bytes = plain.iter().flat_map(|(from, b)| b.iter().map(|b| (*from, vec![*b])));
        assert_eq!(shown(&bytes.collect::<Vec<_>>()), Some([2, 2]));
        let behind_its_length =
            |(from, b): &(Direction, Vec<u8>)| (*from, [&(b.len() as u32).to_le_bytes()[..], b].concat());
        assert_eq!(shown(&plain.iter().map(behind_its_length).collect::<Vec<_>>()), Some([2, 2]));
    }

    #[test]
    fn what_is_no_such_cipher_shows_none() {
        assert_eq!(shown(&talk(<[u8]>::to_vec)), None, "in clear");
        let random = |seed: u32| {
            (0..40u32).map(|i| (i.wrapping_mul(0x9e37_79b1 ^ seed) >> 13) as u8 | 1).collect::<Vec<u8>>()
        };
        let fresh = [(Orig, random(1)), (Resp, random(2)), (Orig, random(3)), (Resp, random(4))];
        assert_eq!(shown(&fresh), None, "a key or a vector of its own each time");
        let echo = [(Orig, random(1)), (Resp, random(1)), (Orig, random(1)), (Resp, random(1))];
        assert_eq!(shown(&echo), None, "the same again");
        let mut one_side = talk(under_one_key);
        for (from, _) in &mut one_side {
            *from = Orig;
        }
        assert_eq!(shown(&one_side), None, "only one side speaks");
        let packed = |raw: bool| {
            let pack = move |(from, plain): (Direction, Vec<u8>)| {
                let said = String::from_utf8_lossy(&plain).replace("[Begin]", "{\"jsonrpc\":\"2.0\",\"id\":");
                let mut packed = Vec::with_capacity(200);
                let mut packer = flate2::Compress::new(flate2::Compression::fast(), !raw);
                packer.compress_vec(said.as_bytes(), &mut packed, flate2::FlushCompress::Finish).unwrap();
                (from, packed)
            };
            talk(<[u8]>::to_vec).into_iter().map(pack).collect::<Vec<_>>()
        };
        for raw in [false, true] {
            let (one, other) = (&packed(raw)[1].1, &packed(raw)[3].1);
            assert!(one[..8] == other[..8] && shown(&packed(raw)).is_none(), "packed {raw}");
        }
        let number_in_clear = |(from, plain): (Direction, Vec<u8>)| {
            let number = under_one_key(b"[Begin]\x40\x02hello");
            (
                from,
                [&number[..9], &plain[plain.len() - 4..], b" and so on, in clear for all to read"].concat(),
            )
        };
        let numbered: Vec<_> = talk(<[u8]>::to_vec).into_iter().map(number_in_clear).collect();
        assert_eq!(shown(&numbered), None, "a session's number before what is in clear");
        let asked = &talk(under_one_key)[..2];
        assert_eq!(shown(asked), None, "an answer repeats the number of its question");
    }
}
