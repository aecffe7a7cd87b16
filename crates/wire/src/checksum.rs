//! The Internet checksum, RFC 1071.

use std::net::IpAddr;

/// Adds 16-bit words in network order. The sum is the same in any byte order but for its own (RFC 1071 §2B), so words are
/// added as they lie in memory, in lanes that the compiler makes vectors of.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    const LANES: usize = 8;
    let mut lanes = [0u64; LANES];
    let (chunks, rest) = bytes.as_chunks::<{ LANES * 4 }>();
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<4>().0) {
            *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
    }
    let mut total = lanes.iter().fold(0u64, |all, lane| all.wrapping_add(*lane));
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        total = total.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
    }
    let mut last = [0u8; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total = total.wrapping_add(u64::from(u32::from_ne_bytes(last)));
    u64::from(u16::from_be_bytes(fold(total).to_ne_bytes()))
}

/// Folds a sum into 16 bits.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff).wrapping_add(total >> 16);
    }
    total as u16
}

/// The sum of the pseudo header that TCP, UDP and ICMPv6 count in.
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    let addr = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => sum(&ip.octets()),
        IpAddr::V6(ip) => sum(&ip.octets()),
    };
    addr(src).wrapping_add(addr(dst)).wrapping_add(u64::from(protocol)).wrapping_add(len as u64)
}
