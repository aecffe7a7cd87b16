//! What mirrors, taps and monitors put around a frame: the same packets in other wrappers and on other links.
//!
//! Only headers are made here, and files of them; nothing is ever sent.

use crate::frame::ipv4_packet;

/// A wrapper: its name, the link type that its frames have, and how an Ethernet frame becomes one.
pub type Wrapping = (&'static str, u16, fn(&[u8]) -> Vec<u8>);

/// Every link and every kind of wrapper that is followed.
pub const ALL: &[Wrapping] = &[
    ("vlan", 1, |f| tagged(f, &[0x81, 0, 0, 5])),
    ("vlan in vlan", 1, |f| tagged(f, &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5])),
    ("vn-tag", 1, |f| tagged(f, &[0x89, 0x26, 0x40, 2, 0, 1])),
    ("e-tag", 1, |f| tagged(f, &[0x89, 0x3f, 0, 0, 0, 5, 0, 0])),
    ("security group tag", 1, |f| tagged(f, &[0x89, 9, 1, 1, 0, 1, 0, 12])),
    ("ttag", 1, |f| tagged(f, &[0x89, 5, 0, 0, 0, 0, 0, 1])),
    ("macsec in clear", 1, |f| tagged(f, &[0x88, 0xe5, 0x20, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0, 1])),
    ("provider backbone", 1, |f| before(f, &[2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 6, 0x88, 0xe7, 0, 0, 0, 100])),
    ("mpls", 1, |f| tagged_as(f, &[0x88, 0x47, 0, 1, 0x11, 0xff])),
    ("pppoe", 1, |f| {
        let len = (f.len() - 14 + 2) as u16;
        tagged_as(f, &[&[0x88, 0x64, 0x11, 0, 0, 1][..], &len.to_be_bytes(), &[0, 0x21]].concat())
    }),
    ("gre", 1, |f| over_ip(47, &[&[0, 0, 0x65, 0x58][..], f].concat())),
    ("erspan ii", 1, |f| {
        over_ip(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0][..], f].concat())
    }),
    ("erspan iii with its optional header", 1, |f| {
        let head =
            [0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        over_ip(47, &[&head[..], f].concat())
    }),
    ("wccp", 1, |f| over_ip(47, &[&[0, 0, 0x88, 0x3e, 0, 0, 0, 0][..], &f[14..]].concat())),
    ("nsh", 1, |f| over_ip(47, &[&[0, 0, 0x89, 0x4f, 0x0f, 0xc2, 2, 3, 0, 0, 1, 0][..], f].concat())),
    ("etherip", 1, |f| over_ip(97, &[&[0x30, 0][..], f].concat())),
    ("l2tpv3", 1, |f| over_ip(115, &[&[0, 0, 0, 5, 1, 2, 3, 4][..], f].concat())),
    ("authentication header", 1, |f| {
        let head = [4, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        over_ip(51, &[&head[..], &f[14..]].concat())
    }),
    ("vxlan", 1, |f| over_udp(4789, &[&[8, 0, 0, 0, 0, 0, 42, 0][..], f].concat())),
    ("vxlan with a group policy", 1, |f| over_udp(4789, &[&[0x88, 0x40, 0, 7, 0, 0, 42, 0][..], f].concat())),
    ("vxlan with reserved bits", 1, |f| over_udp(4789, &[&[0x0a, 1, 2, 3, 0, 0, 42, 9][..], f].concat())),
    ("vxlan gpe", 1, |f| over_udp(4790, &[&[0x0c, 0, 0, 3, 0, 0, 42, 0][..], f].concat())),
    ("geneve", 1, |f| over_udp(6081, &[&[1, 0, 0x65, 0x58, 0, 0, 42, 0, 0, 0, 0, 0][..], f].concat())),
    ("tzsp", 1, |f| over_udp(37_008, &[&[1, 0, 0, 1, 10, 1, 0xb0, 1][..], f].concat())),
    ("capwap", 1, |f| over_udp(5247, &[&[0, 0x10, 2, 0, 0, 0, 0, 0][..], f].concat())),
    ("mpls in udp", 1, |f| over_udp(6635, &[&[0, 1, 0x11, 0xff][..], &f[14..]].concat())),
    ("gre in udp", 1, |f| over_udp(4754, &[&[0, 0, 8, 0][..], &f[14..]].concat())),
    ("l2tpv2", 1, |f| over_udp(1701, &[&[0, 2, 0, 1, 0, 2, 0xff, 3, 0, 0x21][..], &f[14..]].concat())),
    ("802.11", 105, |f| wifi(f, &[])),
    ("radiotap", 127, |f| wifi(f, &[0, 0, 9, 0, 2, 0, 0, 0, 0])),
    ("ppi", 192, |f| wifi(f, &[0, 0, 8, 0, 105, 0, 0, 0])),
    ("nflog", 239, |f| {
        let len = (f.len() - 14 + 4) as u16;
        let head = [&[2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 3, 0][..], &len.to_le_bytes(), &[9, 0]].concat();
        [&head[..], &f[14..]].concat()
    }),
    ("pktap", 258, |f| {
        let mut head = [0; 108];
        (head[0], head[4], head[8]) = (108, 1, 1);
        [&head[..], f].concat()
    }),
    ("pflog", 117, |f| {
        let mut head = [0; 64];
        (head[0], head[1]) = (61, 2);
        [&head[..], &f[14..]].concat()
    }),
    ("cisco hdlc", 104, |f| [&[0x0f, 0, 8, 0][..], &f[14..]].concat()),
    ("frame relay", 107, |f| [&[0x18, 0x41, 3, 0xcc][..], &f[14..]].concat()),
    ("fddi", 10, |f| [&[0x50][..], &f[..12], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &f[14..]].concat()),
    ("token ring", 6, |f| [&[0x10, 0x40][..], &f[..12], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &f[14..]].concat()),
    ("erf", 197, |f| {
        let (record, wire) = ((f.len() + 18) as u16, f.len() as u16);
        let (record, wire) = (record.to_be_bytes(), wire.to_be_bytes());
        let head = [&[0; 8][..], &[2, 0], &record, &[0, 0], &wire, &[0, 0]].concat();
        [&head[..], f].concat()
    }),
    ("ip over infiniband", 242, |f| [&[0; 40][..], &[8, 0, 0, 0], &f[14..]].concat()),
    ("openbsd enc", 109, |f| [&[2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], &f[14..]].concat()),
    ("cooked", 113, |f| [&[0, 4, 0, 1, 0, 6][..], &f[6..12], &[0, 0, 8, 0], &f[14..]].concat()),
    ("cooked, version 2", 276, |f| {
        [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 6][..], &f[6..12], &[0, 0], &f[14..]].concat()
    }),
    ("raw ip", 101, |f| f[14..].to_vec()),
    ("a fabric's path", 1, |f| before(f, &[2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 6, 0x89, 3, 0, 65])),
    ("trill", 1, |f| before(f, &[2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 6, 0x22, 0xf3, 0, 1, 0, 1, 0, 2])),
    ("inter-switch link", 1, |f| {
        let head = [1, 0, 0x0c, 0, 0, 0, 2, 0, 0, 0, 0, 6, 0, 0, 0xaa, 0xaa, 3, 0, 0, 0x0c, 0, 2, 0, 0, 0, 0];
        before(f, &head)
    }),
    ("hsr", 1, |f| tagged(f, &[0x89, 0x2f, 0x10, 0x40, 0, 1])),
    ("snap in a jumbo frame", 1, |f| tagged_as(f, &[0x88, 0x70, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0])),
    ("a pseudowire", 1, |f| {
        before(f, &[2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 6, 0x88, 0x47, 0, 1, 0x11, 0xff, 0, 0, 0, 0])
    }),
    ("ip in ip", 1, |f| over_ip(4, &f[14..])),
    ("mpls in ip", 1, |f| over_ip(137, &[&[0, 1, 0x11, 0xff][..], &f[14..]].concat())),
    ("pim register", 1, |f| over_ip(103, &[&[0x21, 0, 0, 0, 0, 0, 0, 0][..], &f[14..]].concat())),
    ("nvgre", 1, |f| over_ip(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 42, 1][..], f].concat())),
    ("eoip", 1, |f| {
        let len = (f.len() as u16).to_be_bytes();
        over_ip(47, &[&[0x20, 1, 0x64, 0][..], &len, &[1, 0], f].concat())
    }),
    ("pptp", 1, |f| {
        let len = (f.len() as u16 - 10).to_be_bytes();
        let head = [&[0x30, 1, 0x88, 0x0b][..], &len, &[0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21]].concat();
        over_ip(47, &[&head[..], &f[14..]].concat())
    }),
    ("lisp", 1, |f| over_udp(4341, &[&[0x80, 0, 0, 0, 0, 0, 0, 1][..], &f[14..]].concat())),
    ("l2tpv3 in udp", 1, |f| over_udp(1701, &[&[0, 3, 0, 0, 0, 0, 0, 5][..], f].concat())),
    ("gtp-u", 1, |f| {
        let len = (f.len() as u16 - 14).to_be_bytes();
        over_udp(2152, &[&[0x30, 0xff][..], &len, &[0, 0, 0, 5], &f[14..]].concat())
    }),
    ("teredo", 1, |f| {
        let len = (f.len() as u16 - 14).to_be_bytes();
        let ends = [&[0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0x20; 16]].concat();
        over_udp(3544, &[&[0x60, 0, 0, 0][..], &len, &[4, 64], &ends, &f[14..]].concat())
    }),
    ("null", 0, |f| [&[2, 0, 0, 0][..], &f[14..]].concat()),
    ("loop", 108, |f| [&[0, 0, 0, 2][..], &f[14..]].concat()),
    ("slip", 8, |f| [&[0; 16][..], &f[14..]].concat()),
    ("ppp", 9, |f| [&[0xff, 3, 0, 0x21][..], &f[14..]].concat()),
    ("raw ip as OpenBSD numbers it", 14, |f| f[14..].to_vec()),
    ("raw ip as others number it", 12, |f| f[14..].to_vec()),
    ("ppp in hdlc", 50, |f| [&[0xff, 3, 0, 0x21][..], &f[14..]].concat()),
    ("pppoe session", 51, |f| {
        let len = (f.len() - 14 + 2) as u16;
        [&[0x11, 0, 0, 1][..], &len.to_be_bytes(), &[0, 0x21], &f[14..]].concat()
    }),
    ("atm", 100, |f| [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &f[14..]].concat()),
    ("prism", 119, |f| {
        let mut head = [0; 144];
        (head[0], head[4]) = (0x44, 144);
        wifi(f, &head)
    }),
    ("ip over fibre channel", 122, |f| [&[0; 16][..], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &f[14..]].concat()),
    ("sunatm", 123, |f| [&[2, 0, 0, 5, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &f[14..]].concat()),
    ("ip over firewire", 138, |f| [&[0; 16][..], &[8, 0], &f[14..]].concat()),
    ("pktap under its old number", 149, |f| {
        let mut head = [0; 108];
        (head[0], head[4], head[8], head[12]) = (108, 1, 1, b'e');
        [&head[..], f].concat()
    }),
    ("avs", 163, |f| {
        let mut head = [0; 64];
        (head[0], head[1], head[2], head[3], head[7]) = (0x80, 0x21, 0x10, 1, 64);
        wifi(f, &head)
    }),
    ("pppd", 166, |f| [&[1, 3, 0, 0x21][..], &f[14..]].concat()),
    ("ppp with direction", 204, |f| [&[0, 0xff, 3, 0, 0x21][..], &f[14..]].concat()),
    ("cisco hdlc with direction", 205, |f| [&[1, 0x0f, 0, 8, 0][..], &f[14..]].concat()),
    ("frame relay with direction", 206, |f| [&[0, 0x18, 0x41, 3, 0xcc][..], &f[14..]].concat()),
    ("solaris ipnet", 226, |f| [&[0; 24][..], &f[14..]].concat()),
    ("ipv4", 228, |f| f[14..].to_vec()),
    ("ip", 229, |f| f[14..].to_vec()),
    ("netanalyzer", 240, |f| before(f, &[0; 4])),
    ("netanalyzer with preamble", 241, |f| before(f, &[0; 12])),
    ("infiniband", 247, |f| {
        let transport = [0x64, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        [&[0, 2, 0, 1, 0, 64, 0, 2][..], &transport, &[8, 0, 0, 0], &f[14..]].concat()
    }),
    ("netlink", 253, |f| {
        let packet = (f.len() - 14 + 4) as u16;
        let message = 16 + 4 + 8 + u32::from(packet);
        let head = [
            &[0, 0, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12][..],
            &message.to_le_bytes(),
            &[0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 3, 0],
            &packet.to_le_bytes(),
            &[9, 0],
        ];
        [&head.concat()[..], &f[14..]].concat()
    }),
    ("ethernet with preamble", 274, |f| before(f, &[0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5])),
    ("a switch's tag", 281, |f| tagged(f, &[0, 0, 0, 1])),
    ("a switch's tag in front", 282, |f| before(f, &[0, 0, 0, 1])),
    ("a switch's tag of another maker", 284, |f| tagged(f, &[0, 0, 0, 1])),
    ("a switch's tag with a type", 285, |f| tagged(f, &[0xda, 0xda, 0, 0, 0, 0, 0, 1])),
];

fn before(frame: &[u8], head: &[u8]) -> Vec<u8> {
    [head, frame].concat()
}

/// A tag between the addresses and the type.
fn tagged(frame: &[u8], tag: &[u8]) -> Vec<u8> {
    [&frame[..12], tag, &frame[12..]].concat()
}

/// Something in place of the type.
fn tagged_as(frame: &[u8], tag: &[u8]) -> Vec<u8> {
    [&frame[..12], tag, &frame[14..]].concat()
}

/// From one end of a mirror to the other.
fn over_ip(protocol: u8, body: &[u8]) -> Vec<u8> {
    let ethernet = [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 7, 8, 0];
    [&ethernet[..], &ipv4_packet([172, 31, 0, 1].into(), [172, 31, 0, 2].into(), protocol, 7, body)].concat()
}

fn over_udp(port: u16, body: &[u8]) -> Vec<u8> {
    let len = (body.len() + 8) as u16;
    over_ip(
        17,
        &[&50_000u16.to_be_bytes()[..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], body].concat(),
    )
}

/// Data from the station, or to it, behind a monitor's header.
fn wifi(frame: &[u8], monitor: &[u8]) -> Vec<u8> {
    let (to, from) = (&frame[..6], &frame[6..12]);
    let station = [2, 0, 0, 0, 0, 9];
    let header = [&[8, 1, 0, 0][..], &station, from, to, &[0, 0], &[0xaa, 0xaa, 3, 0, 0, 0]].concat();
    [monitor, &header, &frame[12..]].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_link_is_among_them() {
        let made: BTreeSet<u32> = super::ALL.iter().map(|w| u32::from(w.1)).collect();
        assert_eq!(made, wire::LINKS.into_iter().collect());
    }
}
