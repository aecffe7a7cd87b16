//! How messages begin in a protocol that nobody knows.

use serde::{Deserialize, Serialize};

use crate::{Head, PacketId};

/// Both sides of a TCP connection speak in messages that begin in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framing {
    /// `ts` is when the connection began.
    pub head: Head,
    /// What they begin with.
    pub start: Start,
    /// Messages of each side so far.
    pub messages: [u32; 2],
    /// The packets in which it begins, and in which it showed.
    pub packets: Vec<PacketId>,
}

/// What messages begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Their own length, behind so many bytes.
    Length {
        /// Bytes of a message that stand before its length.
        before: u8,
    },
    /// The same bytes that look random: a cipher that begins anew under one key with each message.
    Cipher {
        /// How many of the first [`SameStart::COMPARED`] bytes are the same in all of them.
        same: u8,
    },
}

impl Framing {
    /// Messages of both sides together that show a length (*assumed*).
    pub const LEAST: u32 = 4;
    /// Messages of both sides together that show a cipher (*assumed*: one more than a question and an answer that repeats its number).
    pub const LEAST_CIPHERED: u32 = 3;
}

/// At which places messages begin alike as under one key, behind each number of bytes that a length in front may take.
#[derive(Clone, Copy, Debug)]
pub struct SameStart {
    /// By that number: the places, as bits.
    same: [u16; Self::LENGTH + 1],
    /// By that number: whether any two of the messages differ at another place.
    varied: [bool; Self::LENGTH + 1],
}

impl SameStart {
    /// The longest length in front, in bytes.
    pub const LENGTH: usize = 4;
    /// Bytes of a message that are compared, behind a length (*assumed*).
    pub const COMPARED: usize = 16;
    /// How many of them are the same in messages under one key: eight that meet by chance would be one in 2⁵⁰ (*assumed*).
    pub const SAME: u32 = 8;
    /// The bytes that are asked for of a message.
    pub const KEPT: usize = Self::LENGTH + Self::COMPARED;

    /// What the first of them leaves open: that it looks random, without a zero, and is not packed (zlib, RFC 1950; Zstandard, RFC 8878; LZ4).
    pub fn of(first: &[u8]) -> Self {
        let is_packed = (0..=Self::LENGTH).any(|k| {
            matches!(
                Self::compared(first, k),
                [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..]
                    | [0x28, 0xb5, 0x2f, 0xfd, ..]
                    | [0x04, 0x22, 0x4d, 0x18, ..]
            )
        });
        let is_ciphered = |start: &[u8]| {
            !start.contains(&0) && crate::PayloadFacts::of(start, start.len() as u32).is_opaque()
        };
        let open = |k| if !is_packed && is_ciphered(Self::compared(first, k)) { u16::MAX } else { 0 };
        Self { same: std::array::from_fn(open), varied: [false; Self::LENGTH + 1] }
    }

    /// What is compared of a message behind so many bytes.
    fn compared(message: &[u8], behind: usize) -> &[u8] {
        let rest = message.get(behind..).unwrap_or_default();
        rest.get(..Self::COMPARED).unwrap_or(rest)
    }

    /// Another one comes; gives whether they may still be alike.
    pub fn compare(&mut self, first: &[u8], other: &[u8]) -> bool {
        for (k, (same, varied)) in self.same.iter_mut().zip(&mut self.varied).enumerate() {
            let (first, other) = (Self::compared(first, k), Self::compared(other, k));
            let equal = first.iter().zip(other).enumerate().filter(|(_, (a, b))| a == b);
            *same &= equal.fold(0, |mask, (i, _)| mask | 1 << i);
            *varied |= first != other;
        }
        self.is_open()
    }

    /// Whether they may be alike so far.
    pub fn is_open(&self) -> bool {
        self.places().next().is_some()
    }

    /// How many places are the same in all, where enough are; and whether they are not one and the same message.
    pub fn shown(&self) -> Option<(u8, bool)> {
        self.places().max()
    }

    fn places(&self) -> impl Iterator<Item = (u8, bool)> {
        let counts = self.same.iter().map(|same| same.count_ones()).zip(self.varied);
        counts.filter(|(n, _)| *n >= Self::SAME).map(|(n, varied)| (n as u8, varied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(one: &[u8], other: &[u8]) -> Option<(u8, bool)> {
        let mut all = SameStart::of(one);
        all.compare(one, other);
        all.shown()
    }

    #[test]
    fn messages_under_one_key_begin_alike() {
        let one = [0x1b, 0x84, 0xd5, 0xb0, 0x5d, 0xf4, 0xc4, 0x93, 0xc5, 0x30, 0xc2, 0xa0];
        let other = [0x1b, 0x84, 0xd5, 0xb0, 0x11, 0xf4, 0xc4, 0x93, 0xc6, 0x31, 0xc3, 0xa1];
        assert_eq!(alike(&one, &other), None, "seven");
        assert_eq!(alike(&one, &one), Some((12, false)));
        let mut near = other;
        near[8] = one[8];
        assert_eq!(alike(&one, &near), Some((8, true)));
        let behind = |length: &[u8], said: &[u8]| [length, said].concat();
        for lengths in [[&b"\x0c\0"[..], b"\x0d\0"], [b"\0\0\0\x0c", b"\0\0\x01\x0d"], [b"\x07", b"\x08"]] {
            let [one, near] = [behind(lengths[0], &one), behind(lengths[1], &near)];
            assert_eq!(alike(&one, &near), Some((8, true)), "{lengths:x?}");
        }
        let mut zero = one;
        zero[11] = 0;
        assert_eq!(alike(&zero, &zero), None, "what is padded is in clear");
        assert_eq!(alike(b"GET /index.html ", b"GET /index.html "), None);
        let packed = behind(b"\0\0\0\x2a\x78\x9c", &one);
        assert_eq!(alike(&packed, &packed), None, "packed");
    }
}
