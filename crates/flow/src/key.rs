//! The name under which both directions of a flow are found.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::{Direction, Endpoint, Segment, Transport};
use wire::Packet;

/// Both ends in a fixed order, so that both directions make the same key; packed, because every packet compares one.
///
/// Words 0–1 are the low address, 2–3 the high one (IPv4 in the last 32 bits), word 4 the ports, the protocol number and
/// a bit for each end that is IPv6; between them 16 bits that are zero, but for flows that only their segment tells apart.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Key([u64; 5]);

impl PartialEq for Key {
    /// Word by word: the derived comparison calls `memcmp`, which costs more than all five.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// An address in two words, and whether it is IPv6.
const fn words(ip: IpAddr) -> ([u64; 2], bool) {
    match ip {
        IpAddr::V4(ip) => ([0, ip.to_bits() as u64], false),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            ([(bits >> 64) as u64, bits as u64], true)
        }
    }
}

const fn address([a, b]: [u64; 2], v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from_bits((a as u128) << 64 | b as u128))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(b as u32))
    }
}

impl Key {
    /// The key of a packet, and whether the packet goes from the low end to the high one.
    #[inline]
    pub fn of(p: &Packet) -> (Self, bool) {
        let (src, src_v6) = words(p.src);
        let (dst, dst_v6) = words(p.dst);
        let forward = (src, p.sport) <= (dst, p.dport);
        let (low, high, ports, v6) = if forward {
            (src, dst, (p.sport, p.dport), (src_v6, dst_v6))
        } else {
            (dst, src, (p.dport, p.sport), (dst_v6, src_v6))
        };
        let rest = u64::from(ports.0) << 48
            | u64::from(ports.1) << 32
            | u64::from(p.transport.number()) << 8
            | u64::from(v6.0) << 1
            | u64::from(v6.1);
        (Self([low[0], low[1], high[0], high[1], rest]), forward)
    }

    /// All of it in one word, the same on every run: for places, not to tell keys apart.
    #[inline]
    pub const fn fold(&self) -> u64 {
        let [a, b, c, d, rest] = self.0;
        a.rotate_left(7) ^ b ^ c.rotate_left(19) ^ d.rotate_left(31) ^ rest.rotate_left(43)
    }

    /// The same ends in another segment of the network: for flows that only this tells apart. Of an overlay's identifier 15 bits are kept, so
    /// that one in 32,768 of those with the same ends is taken for another.
    #[must_use]
    pub const fn within(mut self, segment: Segment) -> Self {
        let bits = match segment {
            Segment::Vlan(id) => id as u64 + 1,
            Segment::Vni(id) => 0x8000 | ((id ^ id >> 15) & 0x7fff) as u64,
            Segment::Untagged | Segment::Others => 0,
        };
        self.0[4] |= bits << 16;
        self
    }

    /// The hash under a table's seed.
    #[inline]
    pub fn hash(&self, seed: &impl BuildHasher) -> u64 {
        let mut hasher = seed.build_hasher();
        for word in self.0 {
            hasher.write_u64(word);
        }
        hasher.finish()
    }

    /// The low end.
    pub fn low(&self) -> Endpoint {
        let [a, b, _, _, rest] = self.0;
        Endpoint { ip: address([a, b], rest & 2 != 0), port: (rest >> 48) as u16 }
    }

    /// The high end.
    pub fn high(&self) -> Endpoint {
        let [_, _, a, b, rest] = self.0;
        Endpoint { ip: address([a, b], rest & 1 != 0), port: (rest >> 32) as u16 }
    }

    /// What carries the flow.
    #[inline]
    pub const fn transport(&self) -> Transport {
        Transport::of_number((self.0[4] >> 8) as u8)
    }
}

/// Spreads packets over `shards` so that both directions of a flow meet. The same on every run, so that what each
/// shard's limits forget is the same too; the tables inside hash with a seed of their own.
pub fn shard_of(p: &Packet, shards: u32) -> u32 {
    (((mix(both_ends(p)) >> 32) * u64::from(shards)) >> 32) as u32
}

/// A number for the flow of a packet, the same both ways and on every run; few flows share one.
pub fn hash_of(p: &Packet) -> u64 {
    mix(both_ends(p).wrapping_add(u64::from(p.transport.number())))
}

fn both_ends(p: &Packet) -> u64 {
    let end = |ip: IpAddr, port: u16| {
        let folded = match ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => {
                let bits = u128::from(ip);
                (bits as u64) ^ ((bits >> 64) as u64).rotate_left(29)
            }
        };
        mix(folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(port))
    };
    // A sum is the same whichever end is named first.
    end(p.src, p.sport).wrapping_add(end(p.dst, p.dport))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Who opened a flow whose first seen packet is `p`, as a direction of that packet, and whether its beginning was seen.
pub fn opener(p: &Packet) -> (Direction, bool) {
    use wire::TcpFlags;
    /// Ports of services that answer from them; a first packet from one of these is an answer whose question was not captured.
    const UDP_SERVICES: [u16; 8] = [53, 123, 137, 161, 443, 500, 3478, 4500];
    let flags = p.tcp.flags;
    match p.transport {
        Transport::Tcp if flags.has(TcpFlags::SYN | TcpFlags::ACK) => (Direction::Resp, false),
        Transport::Tcp if flags.has(TcpFlags::SYN) => (Direction::Orig, true),
        Transport::Tcp => {
            let server = |port: u16| port < 1024;
            let from_server = server(p.sport) && !server(p.dport);
            (if from_server { Direction::Resp } else { Direction::Orig }, false)
        }
        Transport::Udp if p.sport != p.dport && p.dport >= 1024 && UDP_SERVICES.contains(&p.sport) => {
            (Direction::Resp, false)
        }
        _ => (Direction::Orig, true),
    }
}
