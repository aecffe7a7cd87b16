//! The Internet checksum, RFC 1071.

use std::net::IpAddr;

/// Adds 16-bit words in network order. The sum is the same in any byte order but for its own (RFC 1071 §2B), and in words
/// of any size whose carries are kept.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut total = 0u128;
    for word in words {
        total = total.wrapping_add(u128::from(u64::from_ne_bytes(*word)));
    }
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        total = total.wrapping_add(u128::from(u64::from_ne_bytes(last)));
    }
    // 128 bits to 64, to 33, to 16, carries added back each time.
    let (low, high) = (total as u64, (total >> 64) as u64);
    let halves = (low >> 32).wrapping_add(low & 0xffff_ffff).wrapping_add(high);
    u64::from(u16::from_be_bytes(fold(halves).to_ne_bytes()))
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
