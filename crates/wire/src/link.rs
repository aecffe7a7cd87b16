//! Link layers: Ethernet with its tags, raw IP, Linux cooked captures, BSD loopback, PPP; and what lies between link
//! and network: 802.1Q, QinQ, MPLS, PPPoE.
//!
//! Source: the LINKTYPE registry of tcpdump.org; IEEE 802.1Q; RFC 3032; RFC 2516.

use record::{Anomaly, Mac};

use crate::layer::Layer;
use crate::{Context, Sink, ip, tunnel};

const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const PPP: u32 = 9;
const RAW_BSD: u32 = 12;
const RAW_OPENBSD: u32 = 14;
const PPP_HDLC: u32 = 50;
const PPI: u32 = 192;
const PPP_ETHER: u32 = 51;
const RAW: u32 = 101;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const LINUX_SLL2: u32 = 276;

/// Decodes a frame by its link type.
pub fn decode(layer: Layer<'_>, link: u32, context: Context, sink: &mut impl Sink) {
    match link {
        ETHERNET => ethernet(layer, context, sink),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => ip::any(layer, context, sink),
        NULL | LOOP => loopback(layer, context, sink),
        PPP | PPP_HDLC => ppp_framed(layer, context, sink),
        PPP_ETHER => pppoe_session(layer, context, sink),
        PPI => per_packet_information(layer, context, sink),
        LINUX_SLL => sll(layer, context, sink),
        LINUX_SLL2 => sll2(layer, context, sink),
        _ => sink.unknown_link(),
    }
}

/// An Ethernet frame: destination, source, type or 802.3 length.
pub fn ethernet(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, _, _, a, b, c, d, e, f, t0, t1]) = layer.head::<14>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    if context.layer == 0 {
        context.mac = Some(Mac([a, b, c, d, e, f]));
    }
    by_ether_type(u16::from_be_bytes([t0, t1]), layer.skip(14), context, sink);
}

/// Goes on by EtherType; tags nest, each one deeper.
pub fn by_ether_type(ether_type: u16, layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(mut context) = context.deeper() else { return sink.anomaly(Anomaly::TooManyLayers) };
    match ether_type {
        0x0800 => ip::v4(layer, context, sink),
        0x86dd => ip::v6(layer, context, sink),
        // 802.1Q, 802.1ad and the older QinQ types.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 => match layer.head::<4>() {
            Some(&[v0, v1, t0, t1]) => {
                context.vlan = context.vlan.or(Some(u16::from_be_bytes([v0, v1]) & 0x0fff));
                by_ether_type(u16::from_be_bytes([t0, t1]), layer.skip(4), context, sink);
            }
            None => sink.anomaly(Anomaly::TruncatedHeader),
        },
        0x8847 | 0x8848 => mpls(layer, context, sink),
        // Cisco FabricPath: a tag, then the frame that it carries.
        0x8903 => ethernet(layer.skip(2), context, sink),
        0x8864 => pppoe_session(layer, context, sink),
        // ARP names hosts, but every frame of theirs does so too; LLDP, STP, EAPOL, PPPoE discovery, Wake-on-LAN and their like are not IP.
        0x0806 | 0x88cc | 0x888e | 0x8863 | 0x0842 | 0x9000 | 0x88e1 | 0x893a => {}
        // 802.3 length: LLC and what it carries; IP within SNAP is found.
        0..=1500 => {
            if let Some(&[0xaa, 0xaa, 3, 0, 0, 0, t0, t1]) = layer.head::<8>() {
                by_ether_type(u16::from_be_bytes([t0, t1]), layer.skip(8), context, sink);
            }
        }
        _ => sink.anomaly(Anomaly::UnknownNetwork),
    }
}

/// MPLS labels down to the bottom of the stack; what follows is told by its first nibble.
pub fn mpls(mut layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    for _ in 0..crate::MAX_DEPTH {
        let Some(&[_, _, s, _]) = layer.head::<4>() else { return sink.anomaly(Anomaly::TruncatedHeader) };
        layer = layer.skip(4);
        if s & 1 == 1 {
            return match layer.bytes.first().map(|b| b >> 4) {
                Some(4 | 6) => ip::any(layer, context, sink),
                // A pseudowire with control word, RFC 4385.
                Some(0) => ethernet(layer.skip(4), context.tunnelled(), sink),
                _ => ethernet(layer, context.tunnelled(), sink),
            };
        }
    }
    sink.anomaly(Anomaly::TooManyLayers);
}

/// PPPoE session data: version, code, session, length, then a PPP protocol number.
fn pppoe_session(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[0x11, 0, _, _, l0, l1]) = layer.head::<6>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    let body = layer.skip(6).limit(usize::from(u16::from_be_bytes([l0, l1])));
    ppp(body, context, sink);
}

/// PPP in HDLC-like framing: address and control may be left out.
fn ppp_framed(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        [0xff, 3, ..] => ppp(layer.skip(2), context, sink),
        // Cisco HDLC under the same link type: address, control, EtherType.
        [0x0f | 0x8f, 0, t0, t1, ..] => {
            by_ether_type(u16::from_be_bytes([*t0, *t1]), layer.skip(4), context, sink);
        }
        _ => ppp(layer, context, sink),
    }
}

/// A PPP protocol number (one byte when compressed) and its packet.
pub fn ppp(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        [0x00, 0x21, ..] | [0x00, 0x57, ..] => ip::any(layer.skip(2), context, sink),
        [0x21 | 0x57, ..] => ip::any(layer.skip(1), context, sink),
        [0x02, 0x81 | 0x83, ..] => mpls(layer.skip(2), context, sink),
        [0xc0 | 0xc2 | 0x80 | 0x82, _, ..] => {}
        [] => sink.anomaly(Anomaly::TruncatedHeader),
        _ => sink.anomaly(Anomaly::UnknownNetwork),
    }
}

/// BSD loopback: an address family in the writer's byte order, or (LOOP) the network's.
fn loopback(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&family) = layer.head::<4>() else { return sink.anomaly(Anomaly::TruncatedHeader) };
    let family = match family {
        [0, 0, hi, lo] => u16::from_be_bytes([hi, lo]),
        [lo, hi, _, _] => u16::from_be_bytes([hi, lo]),
    };
    match family {
        // AF_INET; AF_INET6 of Linux/Windows (10, 23), BSD (24, 28), macOS (30).
        2 | 10 | 23 | 24 | 28 | 30 => ip::any(layer.skip(4), context, sink),
        // An EtherType in place of the family, as some writers do.
        0x0800 | 0x86dd => by_ether_type(family, layer.skip(4), context, sink),
        _ => sink.anomaly(Anomaly::UnknownNetwork),
    }
}

/// Per-Packet Information (CACE): version, flags, length and the link type of what follows, in little-endian order.
fn per_packet_information(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, l0, l1, d0, d1, d2, d3]) = layer.head::<8>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    let (len, link) = (u16::from_le_bytes([l0, l1]), u32::from_le_bytes([d0, d1, d2, d3]));
    match context.deeper() {
        Some(context) if link != PPI && len >= 8 => decode(layer.skip(usize::from(len)), link, context, sink),
        _ => sink.anomaly(Anomaly::BadLength),
    }
}

/// Linux cooked capture v1: packet type, ARPHRD, address length, address, protocol.
fn sll(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, l0, l1, a, b, c, d, e, f, _, _, p0, p1]) = layer.head::<16>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    if u16::from_be_bytes([l0, l1]) == 6 {
        context.mac = Some(Mac([a, b, c, d, e, f]));
    }
    by_ether_type(u16::from_be_bytes([p0, p1]), layer.skip(16), context, sink);
}

/// Linux cooked capture v2: protocol first, then interface, ARPHRD, packet type, address.
fn sll2(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[p0, p1, _, _, _, _, _, _, _, _, _, len, a, b, c, d, e, f, _, _]) = layer.head::<20>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    if len == 6 {
        context.mac = Some(Mac([a, b, c, d, e, f]));
    }
    by_ether_type(u16::from_be_bytes([p0, p1]), layer.skip(20), context, sink);
}

/// Transparent Ethernet within a tunnel.
pub fn ethernet_in_tunnel(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match context.deeper() {
        Some(context) => ethernet(layer, tunnel::entered(context), sink),
        None => sink.anomaly(Anomaly::TooManyLayers),
    }
}
