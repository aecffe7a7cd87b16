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
        /// How many of the first [`Framing::COMPARED`] bytes are the same in all of them.
        same: u8,
    },
}

impl Framing {
    /// Messages of both sides together that show a length (*assumed*).
    pub const LEAST: u32 = 4;
    /// Messages of both sides together that show a cipher (*assumed*: one more than a question and an answer that repeats its number).
    pub const LEAST_CIPHERED: u32 = 3;
    /// Bytes of a message that are compared with those of others, behind its length (*assumed*).
    pub const COMPARED: usize = 16;
    /// How many of them are the same in messages under one key: eight that meet by chance would be one in 2⁵⁰ (*assumed*).
    pub const SAME: u32 = 8;

    /// The places at which two messages begin alike, as bits, if they do as under one key: the first of them looks random, without a zero.
    pub fn alike(one: &[u8], other: &[u8]) -> Option<u16> {
        let kept = |m: &[u8]| m.len().min(Self::COMPARED);
        let (one, other) = (&one[..kept(one)], &other[..kept(other)]);
        let same = one.iter().zip(other).enumerate().filter(|(_, (a, b))| a == b);
        let mask = same.fold(0u16, |mask, (i, _)| mask | 1 << i);
        (Self::is_ciphered(one) && mask.count_ones() >= Self::SAME).then_some(mask)
    }

    /// Whether the first bytes of a message look random, and none is zero.
    pub fn is_ciphered(start: &[u8]) -> bool {
        let start = &start[..start.len().min(Self::COMPARED)];
        !start.contains(&0) && crate::PayloadFacts::of(start, start.len() as u32).is_opaque()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_under_one_key_begin_alike() {
        let one = [0x1b, 0x84, 0xd5, 0xb0, 0x5d, 0xf4, 0xc4, 0x93, 0xc5, 0x30, 0xc2, 0xa0];
        let other = [0x1b, 0x84, 0xd5, 0xb0, 0x11, 0xf4, 0xc4, 0x93, 0xc6, 0x31, 0xc3, 0xa1];
        assert_eq!(Framing::alike(&one, &other[..8]), None, "seven");
        assert_eq!(Framing::alike(&one, &one), Some(0xfff));
        let mut near = other;
        near[8] = one[8];
        assert_eq!(Framing::alike(&one, &near), Some(0b1_1110_1111));
        let mut zero = one;
        zero[11] = 0;
        assert_eq!(Framing::alike(&zero, &zero), None, "what is padded is in clear");
        assert_eq!(Framing::alike(b"GET /index.html ", b"GET /index.html "), None);
    }
}
