//! Headers that the capturing system puts before a packet: Linux cooked captures, BSD loopback, firewall and netfilter logs, PPI, PKTAP, ERF.
//!
//! Sources: the LINKTYPE registry of tcpdump.org and what it refers to; Endace's ERF types.

use record::{Anomaly, Mac, Unread};

use crate::layer::Layer;
use crate::{Context, Header, Sink, ethernet, infiniband, ip, link, llc, ppp};

/// Netfilter's numbers for the attributes of a packet that are looked at (linux/netfilter/nfnetlink_log.h and nfnetlink_queue.h).
#[derive(Clone, Copy)]
struct Attributes {
    /// The packet itself.
    payload: u16,
    /// The Ethernet address that it came from: length, padding, address.
    address: u16,
    /// The header of its link.
    link: u16,
    /// Where in the attribute of the packet's header (number 1) its EtherType stands.
    ether_type: usize,
}
const LOG: Attributes = Attributes { payload: 9, address: 8, link: 16, ether_type: 0 };
const QUEUE: Attributes = Attributes { payload: 10, address: 9, link: 20, ether_type: 4 };
/// Netlink messages of one packet that are looked at.
const MAX_MESSAGES: usize = 64;
/// Attributes of a netfilter log entry that are looked at; the kernel has two dozen.
const MAX_ATTRIBUTES: usize = 64;
/// Extension headers of an ERF record that are stepped over.
const MAX_EXTENSIONS: usize = 16;

/// Address families of IP: AF_INET; AF_INET6 of Linux and Windows (10, 23), BSD (24, 28), macOS (30).
const fn is_ip_family(family: u16) -> bool {
    matches!(family, 2 | 10 | 23 | 24 | 28 | 30)
}

/// A family in the writer's byte order, which is not known: the zero bytes tell.
const fn family(bytes: [u8; 4]) -> u16 {
    match bytes {
        [0, 0, hi, lo] => u16::from_be_bytes([hi, lo]),
        [lo, hi, _, _] => u16::from_le_bytes([lo, hi]),
    }
}

/// BSD loopback: an address family in the writer's byte order, or (LOOP) the network's.
pub fn loopback(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&bytes) = layer.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    match family(bytes) {
        f if is_ip_family(f) => ip::any(layer.skip(4), context, sink),
        // An EtherType in place of the family, as some writers do.
        f if f > 1500 => ethernet::by_type(f, layer.skip(4), context, sink),
        7 | 16 | 19 | 23..=33 => sink.not_ip("loopback_other_family"),
        _ => sink.stop(Anomaly::BadLength),
    }
}

/// OpenBSD's inside of IPsec: family, security parameters index, flags, then the packet as it was before or after.
pub fn enc(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.head::<12>() {
        Some(_) => ip::any(layer.skip(12), context, sink),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// The log of OpenBSD's packet filter: a header that says its own length (padded to four bytes) and the family.
pub fn pflog(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[len, family, _, _]) = layer.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    if len < 48 {
        return sink.stop(Anomaly::BadLength);
    }
    let body = layer.skip(usize::from(len).next_multiple_of(4));
    if is_ip_family(u16::from(family)) {
        ip::any(body, context, sink);
    } else {
        sink.not_ip("pflog_other_family");
    }
}

/// Linux netfilter's log: family, version, resource, then attributes of which one is the packet.
pub fn nflog(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.head::<4>() {
        Some(&[family, _, _, _]) => attributes(family, LOG, layer.skip(4), context, sink),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// Attributes of netfilter (length and type in the writer's order), of which one is the packet: from its network header on.
fn attributes(
    family: u8,
    numbers: Attributes,
    mut rest: Layer<'_>,
    mut context: Context,
    sink: &mut impl Sink,
) {
    let mut ether_type = None;
    for _ in 0..MAX_ATTRIBUTES {
        let Some(&[l0, l1, t0, t1]) = rest.head::<4>() else { break };
        let (len, kind) = (usize::from(u16::from_le_bytes([l0, l1])), u16::from_le_bytes([t0, t1]) & 0x3fff);
        if len < 4 {
            return sink.stop(Anomaly::BadLength);
        }
        let body = rest.skip(4).limit(len.saturating_sub(4));
        match kind {
            1 => {
                ether_type =
                    body.skip(numbers.ether_type).head::<2>().map(|[hi, lo]| u16::from_be_bytes([*hi, *lo]));
            }
            kind if kind == numbers.address => {
                if let Some(&[0, 6, _, _, a, b, c, d, e, f]) = body.head::<10>() {
                    context.mac = Some(Mac([a, b, c, d, e, f]));
                    sink.header(Header::Mac { at: body.base.saturating_add(4) });
                }
            }
            kind if kind == numbers.link && body.head::<14>().is_some() => ethernet::addresses(body, sink),
            kind if kind == numbers.payload => {
                return match (family, ether_type) {
                    _ if is_ip_family(u16::from(family)) => ip::any(body, context, sink),
                    // ARP, bridge, and what netfilter calls a device's: the packet's EtherType says which.
                    (_, Some(kind)) if kind != 0 => ethernet::by_type(kind, body, context, sink),
                    (3, _) => ethernet::by_type(0x0806, body, context, sink),
                    _ if ip::is_plausible(body.bytes) => ip::any(body, context, sink),
                    _ => sink.not_ip("netfilter_other_family"),
                };
            }
            _ => {}
        }
        rest = rest.skip(len.next_multiple_of(4));
    }
    sink.not_ip("nflog_without_packet");
}

/// Whether bytes begin with Apple's header: its length, the record type, the inner link type, an interface name.
pub fn is_pktap(layer: Layer<'_>) -> bool {
    match layer.head::<16>() {
        Some(&[len, high, 0, 0, kind, 0, 0, 0, _, _, 0, 0, name, ..]) => {
            (len >= 108 || high > 0) && kind <= 1 && name.is_ascii_alphabetic()
        }
        _ => false,
    }
}

/// Apple's PKTAP: length, record type, link type of the packet behind it, all in the writer's order (little-endian).
pub fn pktap(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[l0, l1, l2, l3, kind, _, _, _, d0, d1, d2, d3]) = layer.head::<12>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let (len, link) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([d0, d1, d2, d3]));
    if kind == 0 {
        return sink.not_ip("pktap_without_packet");
    }
    nested(layer.skip(len as usize), link, len >= 12, 258, context, sink);
}

/// Per-Packet Information (CACE): version, flags, length and the link type of what follows, in little-endian order.
pub fn per_packet_information(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, l0, l1, d0, d1, d2, d3]) = layer.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let (len, link) = (u16::from_le_bytes([l0, l1]), u32::from_le_bytes([d0, d1, d2, d3]));
    nested(layer.skip(usize::from(len)), link, len >= 8, 192, context, sink);
}

/// A packet of link type `link` behind a header of link type `own`, which cannot hold itself.
fn nested(layer: Layer<'_>, link: u32, long_enough: bool, own: u32, context: Context, sink: &mut impl Sink) {
    match context.deeper() {
        None => sink.stop(Anomaly::TooManyLayers),
        Some(context) if link != own && long_enough => link::decode(layer, link, context, sink),
        Some(_) => sink.stop(Anomaly::BadLength),
    }
}

/// Linux cooked capture v1: packet type, ARPHRD, address length, address, protocol.
pub fn sll(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, h0, h1, l0, l1, a, b, c, d, e, f, _, _, p0, p1]) = layer.head::<16>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    if u16::from_be_bytes([l0, l1]) == 6 {
        context.mac = Some(Mac([a, b, c, d, e, f]));
        sink.header(Header::Mac { at: layer.base.saturating_add(6) });
    }
    cooked(u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]), layer.skip(16), context, sink);
}

/// Linux cooked capture v2: protocol first, then interface, ARPHRD, packet type, address.
pub fn sll2(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[p0, p1, _, _, _, _, _, _, h0, h1, _, len, a, b, c, d, e, f, _, _]) = layer.head::<20>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    if len == 6 {
        context.mac = Some(Mac([a, b, c, d, e, f]));
        sink.header(Header::Mac { at: layer.base.saturating_add(12) });
    }
    cooked(u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]), layer.skip(20), context, sink);
}

/// What a cooked header announces: most devices have EtherTypes, some have words of their own.
fn cooked(device: u16, protocol: u16, layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match (device, protocol) {
        // ARPHRD_NETLINK, and CAN's protocols.
        (824, family) => netlink(family, layer, context, sink),
        (280, _) | (_, 0x000c..=0x000e) => sink.not_ip("can"),
        // ARPHRD_IPGRE: the protocol is GRE's.
        (778, 0x6558) => ethernet::inside(layer, context.tunnelled(), sink),
        // What has an EtherType is what it says, whatever the device.
        (770 | 801..=803, 0x0600..) => ethernet::by_type(protocol, layer, context, sink),
        (801 | 802, 4) => llc::header(layer, context, sink),
        // ARPHRD_FRAD: frame relay.
        (770, _) => llc::frame_relay(layer, context, sink),
        // 802.11 with what monitors put before it.
        (801, _) => crate::wifi::frame(layer, context, sink),
        (802, _) => crate::wifi::prism(layer, context, sink),
        (803, _) => crate::wifi::radiotap(layer, context, sink),
        // 802.3 without a type (Novell), 802.2.
        (_, 1) => sink.not_ip("ipx"),
        (_, 4) => llc::header(layer, context, sink),
        (_, 0x00f4..=0x00f8) => sink.not_ip("802.15.4"),
        (_, protocol) => ethernet::by_type(protocol, layer, context, sink),
    }
}

/// Linux netlink (behind a cooked header of its own): messages of the kernel, among which a netfilter queue or log shows packets.
pub fn netlink_cooked(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, _, _, _, _, _, _, _, _, _, _, f0, f1]) = layer.head::<16>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    netlink(u16::from_be_bytes([f0, f1]), layer.skip(16), context, sink);
}

/// Netlink messages in the writer's order (little-endian), one behind another: length, type, flags, sequence, port; of netfilter's queue
/// (subsystem 3) and log (4) then family, version, resource and attributes.
fn netlink(family: u16, mut layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    const NETFILTER: u16 = 12;
    let mut packets = false;
    for _ in 0..MAX_MESSAGES {
        let Some(&[l0, l1, l2, l3, kind, subsystem, ..]) = layer.head::<16>() else {
            break;
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let numbers = match subsystem {
            3 => Some(QUEUE),
            4 => Some(LOG),
            _ => None,
        };
        if let (NETFILTER, 0, Some(numbers)) = (family, kind, numbers)
            && let Some(&[ip, ..]) = layer.skip(16).head::<4>()
        {
            packets = true;
            attributes(ip, numbers, layer.limit(len).skip(20), context, sink);
        }
        if len < 16 {
            break;
        }
        layer = layer.skip(len.next_multiple_of(4));
    }
    if layer.head::<16>().is_some_and(|[l0, l1, ..]| u16::from_le_bytes([*l0, *l1]) >= 16) {
        sink.stop(Anomaly::TooManyLayers);
    } else if !packets {
        sink.not_ip("netlink");
    }
}

/// IP over FireWire as Apple captures it: two addresses of eight bytes, EtherType.
pub fn ieee1394(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    ethernet::typed(layer.skip(16), context, sink);
}

/// HDLC over SONET: PPP or Cisco's.
fn hdlc(packet: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match packet.bytes {
        [0xff, 3, ..] => ppp::framed(packet, context, sink),
        _ => ppp::cisco_hdlc(packet, context, sink),
    }
}

/// Endace's record: time, type, flags, lengths; extension headers while their first bit is set; what the type says.
pub fn erf(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, _, _, _, _, kind, _, _, _, _, _, w0, w1]) = layer.head::<16>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let wire = usize::from(u16::from_be_bytes([w0, w1]));
    let (mut body, mut more) = (layer.skip(16), kind & 0x80 != 0);
    for _ in 0..MAX_EXTENSIONS {
        if !more {
            break;
        }
        let Some(&[first, ..]) = body.head::<8>() else { return sink.stop(Anomaly::TruncatedHeader) };
        more = first & 0x80 != 0;
        body = body.skip(8);
    }
    // What the record holds beyond the packet is padding.
    let packet = |skip: usize| {
        let mut inner = body.skip(skip).limit(wire);
        inner.wire = inner.wire.max(wire.min(usize::from(u16::MAX)));
        inner
    };
    if wire > 0 {
        context.frame_len = wire as u32;
    }
    match kind & 0x7f {
        1 | 10 | 15 | 19 => hdlc(packet(0), context, sink),
        // A channel's number stands before it.
        5 | 17 => hdlc(packet(4), context, sink),
        // Two bytes of offset and padding stand before Ethernet.
        2 | 11 | 16 | 20 => ethernet::frame(packet(2), context, sink),
        4 => llc::atm(packet(4), context, sink),
        9 => llc::atm(packet(8), context, sink),
        21 | 25 => infiniband::frame(packet(0), context, sink),
        22 | 23 => ip::any(packet(0), context, sink),
        27 | 48 => sink.not_ip("erf_metadata"),
        other => sink.unread(Unread::Tunnel("ERF type", u16::from(other))),
    }
}
