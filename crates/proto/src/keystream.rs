//! Whether both sides of a stream begin what they say with the same bytes that look random: a cipher that begins anew under one key with each message
//! (a keystream used again, or blocks under no vector of their own), as TLS, SSH and their like never do.

use flate2::{Decompress, FlushDecompress};
use record::{Direction, Framing, PacketId, Start};

use crate::framing::{Beginning, Shown};

/// Bytes that a length in front may take: behind its last zero the message begins.
const LONGEST_LENGTH: usize = 4;
/// The bytes that are kept of what a side says.
const KEPT: usize = LONGEST_LENGTH + Framing::COMPARED;

/// The beginning of what a side says before the other does.
#[derive(Clone, Copy, Default)]
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
    model: Option<Turn>,
    /// The places at which all are the same so far.
    same: u16,
    /// Whether any two of them differ.
    varied: bool,
    messages: [u32; 2],
}

impl Turn {
    fn take(&mut self, bytes: &[u8], packet: PacketId) {
        if self.len == 0 {
            self.packet = packet;
        }
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *slot = *byte;
        }
        self.len = self.len.saturating_add(bytes.len()).min(KEPT);
    }

    /// What was said, behind a length.
    fn said(&self) -> &[u8] {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        let zero = bytes.iter().take(LONGEST_LENGTH).rposition(|b| *b == 0);
        let said = bytes.get(zero.map_or(0, |z| z.saturating_add(1))..).unwrap_or_default();
        said.get(..Framing::COMPARED).unwrap_or(said)
    }
}

/// Whether it begins as a packer begins: what is packed of messages that begin alike does as well. By its mark (zlib, RFC 1950; Zstandard, RFC 8878; LZ4),
/// or since text comes out of it (deflate without a mark, as in RFC 7692).
fn is_packed(said: &[u8]) -> bool {
    let marked = matches!(
        said,
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x04, 0x22, 0x4d, 0x18, ..]
    );
    let is_text = |plain: &[u8]| plain.len() >= 6 && plain.iter().all(|b| matches!(b, b' '..=b'~'));
    let holds_text = || {
        let mut plain = Vec::with_capacity(4 * Framing::COMPARED);
        let read = Decompress::new(false).decompress_vec(said, &mut plain, FlushDecompress::Sync);
        read.is_ok() && is_text(&plain)
    };
    marked || holds_text()
}

impl Keystream {
    pub fn new() -> Self {
        Self {
            from: None,
            turn: Turn::default(),
            model: None,
            same: u16::MAX,
            varied: false,
            messages: [0; 2],
        }
    }

    /// The other side goes on: what was shorter than what is kept is compared as it is.
    fn settle(&mut self) -> bool {
        self.turn.len == 0 || self.turn.len == KEPT || self.compare()
    }

    /// Compares what was said with what was said first; gives whether they are alike. What is too short says nothing.
    fn compare(&mut self) -> bool {
        let (Some(from), turn) = (self.from, self.turn) else { return true };
        let said = turn.said();
        if said.len() < Framing::SAME as usize {
            return true;
        }
        let Some(model) = &self.model else {
            self.model = Some(turn);
            self.count(from);
            return Framing::is_ciphered(said) && !is_packed(said);
        };
        let Some(same) = Framing::alike(model.said(), said) else { return false };
        self.varied |= model.said() != said;
        self.same &= same;
        self.count(from);
        self.same.count_ones() >= Framing::SAME
    }

    fn count(&mut self, from: Direction) {
        let [orig, resp] = &mut self.messages;
        let count = if from == Direction::Orig { orig } else { resp };
        *count = count.saturating_add(1);
    }
}

impl Beginning for Keystream {
    fn take(&mut self, from: Direction, bytes: &[u8], packet: PacketId) -> bool {
        if self.from != Some(from) {
            if !self.settle() {
                return false;
            }
            (self.from, self.turn) = (Some(from), Turn::default());
        }
        let whole = self.turn.len == KEPT;
        self.turn.take(bytes, packet);
        whole || self.turn.len < KEPT || self.compare()
    }

    /// Whether it shows: both sides begin alike, and do not say one and the same.
    fn shown(&self) -> Option<Shown> {
        let both = self.messages.iter().all(|n| *n > 0);
        let enough = self.messages.iter().sum::<u32>() >= Framing::LEAST_CIPHERED;
        let same = u8::try_from(self.same.count_ones()).unwrap_or(u8::MAX);
        let first = self.model?.packet;
        let start = Start::Cipher { same };
        (both && enough && self.varied).then_some(Shown { start, messages: self.messages, first })
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
        stream.shown().map(|s| s.messages)
    }

    fn talk(of: fn(&[u8]) -> Vec<u8>) -> Vec<(Direction, Vec<u8>)> {
        vec![
            (Orig, of(b"[Begin]\x40\x02hello, this is number 7")),
            (Resp, of(b"[Begin]\x20\x02wait")),
            (Orig, of(b"[Begin]\x20\x02waiting")),
            (Resp, of(b"[Begin]\x20\x02wait")),
        ]
    }

    #[test]
    fn a_cipher_that_begins_anew_shows() {
        let plain = talk(under_one_key);
        assert_eq!(shown(&plain), Some([2, 1]));
        // However it is cut on the way.
        let bytes = plain.iter().flat_map(|(from, b)| b.iter().map(|b| (*from, vec![*b])));
        assert_eq!(shown(&bytes.collect::<Vec<_>>()), Some([2, 1]));
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
        one_side.iter_mut().for_each(|(from, _)| *from = Orig);
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
        let asked = &talk(under_one_key)[..2];
        assert_eq!(shown(asked), None, "an answer repeats the number of its question");
    }
}
