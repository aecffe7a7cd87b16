//! The Internet checksum, RFC 1071.

use std::net::IpAddr;

/// Adds 16-bit words in network order, eight bytes at a time.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0u64;
    let mut chunks = bytes.chunks_exact(4);
    for c in chunks.by_ref() {
        if let Ok(word) = <[u8; 4]>::try_from(c) {
            total = total.wrapping_add(u64::from(u32::from_be_bytes(word)));
        }
    }
    let mut last = [0u8; 4];
    for (to, from) in last.iter_mut().zip(chunks.remainder()) {
        *to = *from;
    }
    total.wrapping_add(u64::from(u32::from_be_bytes(last)))
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
