//! What mirrors, taps and monitors put around a frame: the same packets in other wrappers and on other links.
//!
//! Only headers are made here, and files of them; nothing is ever sent.

use capture::PcapngWriter;

use crate::Script;
use crate::frame::ipv4_packet;

/// A wrapper: its name, the link type that its frames have, and how an Ethernet frame becomes one.
pub type Wrapping = (&'static str, u16, fn(&[u8]) -> Vec<u8>);

/// Every wrapper and link that is followed.
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

impl Script {
    /// The capture file with every frame in a wrapper, which IPv4 alone may have.
    pub fn pcapng_in(self, (_, link, wrap): &Wrapping) -> Vec<u8> {
        let mut out = Vec::new();
        if let Ok(mut writer) = PcapngWriter::new(&mut out, *link, "hydrophone testkit") {
            for (ts, frame) in self.in_order() {
                let frame = wrap(&frame);
                // Writing to memory does not fail.
                let _ = writer.packet(ts, &frame, frame.len() as u32);
            }
        }
        out
    }
}
