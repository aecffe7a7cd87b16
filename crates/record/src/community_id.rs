use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use sha1::{Digest, Sha1};

use crate::{Transport, Tuple};

/// The Community ID v1 of a flow (seed 0), by which records of different tools are joined.
///
/// Source: Corelight, "Community ID Flow Hashing", version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommunityId([u8; 20]);

impl CommunityId {
    /// Hashes the flow's tuple. For ICMP the ports are type and code.
    pub fn of(tuple: &Tuple) -> Self {
        let (sport, dport, one_way) = match tuple.transport {
            Transport::Icmp => icmp_ports(tuple.orig.port, tuple.resp.port, icmp4_reply),
            Transport::Icmp6 => icmp_ports(tuple.orig.port, tuple.resp.port, icmp6_reply),
            _ => (tuple.orig.port, tuple.resp.port, false),
        };
        let (src, dst) = (tuple.orig.ip, tuple.resp.ip);
        let ordered = one_way || (src, sport) <= (dst, dport);
        let (a, ap, b, bp) = if ordered { (src, sport, dst, dport) } else { (dst, dport, src, sport) };
        let mut hash = Sha1::new();
        hash.update([0, 0]);
        for ip in [a, b] {
            match ip {
                IpAddr::V4(ip) => hash.update(ip.octets()),
                IpAddr::V6(ip) => hash.update(ip.octets()),
            }
        }
        hash.update([tuple.transport.number(), 0]);
        if matches!(
            tuple.transport,
            Transport::Tcp | Transport::Udp | Transport::Icmp | Transport::Icmp6 | Transport::Sctp
        ) {
            hash.update(ap.to_be_bytes());
            hash.update(bp.to_be_bytes());
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1:{}", base64::engine::general_purpose::STANDARD.encode(self.0))
    }
}

/// The type that answers this one, so that both directions hash alike; without one the flow is one-way.
fn icmp_ports(kind: u16, code: u16, reply: fn(u16) -> Option<u16>) -> (u16, u16, bool) {
    match reply(kind) {
        Some(answer) => (kind, answer, false),
        None => (kind, code, true),
    }
}

const fn icmp4_reply(kind: u16) -> Option<u16> {
    Some(match kind {
        0 => 8,
        8 => 0,
        9 => 10,
        10 => 9,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

const fn icmp6_reply(kind: u16) -> Option<u16> {
    Some(match kind {
        128 => 129,
        129 => 128,
        130 => 131,
        131 => 130,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        139 => 140,
        140 => 139,
        144 => 145,
        145 => 144,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    /// The baseline vectors published with the specification (seed 0), and those of pycommunityid's tests.
    const BASELINE: &str = "\
58 fe80::200:86ff:fe05:80da fe80::260:97ff:fe07:69ea 135 0 1:dGHyGvjMfljg6Bppwm3bg0LO8TY=
58 fe80::260:97ff:fe07:69ea fe80::200:86ff:fe05:80da 136 0 1:dGHyGvjMfljg6Bppwm3bg0LO8TY=
58 fe80::260:97ff:fe07:69ea fe80::200:86ff:fe05:80da 135 0 1:zavyT/cezQr1fmImYCwYnMXbgck=
58 3ffe:501:1800:2345::2 3ffe:507:0:1:200:86ff:fe05:80da 3 0 1:2ObVBgIn28oZvibYZhZMBgh7WdQ=
58 3ffe:501:410:0:2c0:dfff:fe47:33e 3ffe:507:0:1:200:86ff:fe05:80da 1 4 1:hLZd0XGWojozrvxqE0dWB1iM6R0=
58 3ffe:507:0:1:200:86ff:fe05:80da 3ffe:501:0:1001::2 128 0 1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=
58 3ffe:501:0:1001::2 3ffe:507:0:1:200:86ff:fe05:80da 129 0 1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=
58 fe80::200:86ff:fe05:80da ff02::2 133 0 1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=
58 fe80::260:97ff:fe07:69ea ff02::1 134 0 1:pkvHqCL88/tg1k4cPigmZXUtL00=
1 192.168.0.89 192.168.0.1 8 0 1:X0snYXpgwiv9TZtqg64sgzUn6Dk=
1 192.168.0.1 192.168.0.89 0 8 1:X0snYXpgwiv9TZtqg64sgzUn6Dk=
1 192.168.0.89 192.168.0.1 20 0 1:3o2RFccXzUgjl7zDpqmY7yJi8rI=
1 192.168.0.89 192.168.0.1 20 1 1:tz/fHIDUHs19NkixVVoOZywde+I=
1 10.0.0.1 10.0.0.2 11 0 1:YHxtAirCG//0OzkcVAukqKQN9xM=
6 2001:470:e5bf:dead:4957:2174:e82c:4887 2607:f8b0:400c:c03::1a 63943 25 1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=
6 2607:f8b0:400c:c03::1a 2001:470:e5bf:dead:4957:2174:e82c:4887 25 63943 1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=
6 128.232.110.120 66.35.250.204 34855 80 1:LQU9qZlK+B5F3KDmev6m5PMibrg=
6 66.35.250.204 128.232.110.120 80 34855 1:LQU9qZlK+B5F3KDmev6m5PMibrg=
6 10.0.0.1 10.0.0.2 10 11569 1:SXBGMX1lBOwhhoDrZynfROxnhnM=
132 192.168.170.8 192.168.170.56 7 7 1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=
132 192.168.170.8 192.168.170.56 7 80 1:jQgCxbku+pNGw8WPbEc/TS/uTpQ=
132 192.168.170.56 192.168.170.8 80 7 1:jQgCxbku+pNGw8WPbEc/TS/uTpQ=
17 192.168.1.52 8.8.8.8 54585 53 1:d/FP5EW3wiY1vCndhwleRRKHowQ=
17 8.8.8.8 192.168.1.52 53 54585 1:d/FP5EW3wiY1vCndhwleRRKHowQ=
46 10.1.12.1 10.1.12.2 0 0 1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=
46 10.1.12.2 10.1.12.1 0 0 1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=
46 10.1.24.4 10.1.12.1 0 0 1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4=";

    #[test]
    fn the_published_vectors_hold() {
        for line in BASELINE.lines() {
            let f: Vec<_> = line.split(' ').collect();
            let end =
                |ip: &str, port: &str| Endpoint { ip: ip.parse().unwrap(), port: port.parse().unwrap() };
            let transport = Transport::of_number(f[0].parse().unwrap());
            let tuple = Tuple { orig: end(f[1], f[3]), resp: end(f[2], f[4]), transport };
            assert_eq!(CommunityId::of(&tuple).to_string(), f[5], "{line}");
        }
    }
}
