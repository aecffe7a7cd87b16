//! The name under which both directions of a flow are found.

use std::net::IpAddr;

use record::{Direction, Endpoint, Transport};
use wire::Packet;

/// Both ends in a fixed order, so that both directions make the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub low: Endpoint,
    pub high: Endpoint,
    pub transport: Transport,
}

impl Key {
    /// The key of a packet, and whether the packet goes from `low` to `high`.
    pub fn of(p: &Packet) -> (Self, bool) {
        let (src, dst) = (Endpoint { ip: p.src, port: p.sport }, Endpoint { ip: p.dst, port: p.dport });
        let forward = src <= dst;
        let (low, high) = if forward { (src, dst) } else { (dst, src) };
        (Self { low, high, transport: p.transport }, forward)
    }
}

/// Spreads packets over `shards` so that both directions of a flow meet. The same on every run, so that what each
/// shard's limits forget is the same too; the tables inside hash with a seed of their own.
pub fn shard_of(p: &Packet, shards: u32) -> u32 {
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
    let both = end(p.src, p.sport).wrapping_add(end(p.dst, p.dport));
    (((mix(both) >> 32) * u64::from(shards)) >> 32) as u32
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
