//! Ethernet and what lies between it and the network: VLAN and other tags, MPLS, MACsec, provider backbones.
//!
//! Sources: IEEE 802.3, 802.1Q (with 802.1ad, 802.1ah), 802.1BR, 802.1AE; RFC 3032 (MPLS), RFC 8300 (NSH), RFC 6325 (TRILL); Cisco's
//! VN-Tag, metadata (security group tags), TTag, FabricPath and ISL as tshark reads them. Optional parts are skipped by their length.

use record::{Anomaly, Mac, Segment, Unread};

use crate::layer::Layer;
use crate::{Context, Header, Sink, ip, llc, ppp, tunnel};

/// EtherTypes that are understood and carry no IP.
const NOT_IP: &[(u16, &str)] = &[
    (0x0806, "arp"),
    (0x0842, "wake_on_lan"),
    (0x22ea, "srp"),
    (0x22f0, "avtp"),
    (0x6001, "dec_mop"),
    (0x6002, "dec_mop"),
    (0x6003, "decnet"),
    (0x6004, "dec_lat"),
    (0x6006, "dec"),
    (0x6007, "dec_lavc"),
    (0x8035, "rarp"),
    (0x809b, "appletalk"),
    (0x80f3, "aarp"),
    (0x8137, "ipx"),
    (0x8138, "ipx"),
    (0x8808, "mac_control"),
    (0x8809, "slow_protocols"),
    (0x8863, "pppoe_discovery"),
    (0x887b, "homeplug"),
    (0x888e, "eapol"),
    (0x8892, "profinet"),
    (0x88a2, "aoe"),
    (0x88a4, "ethercat"),
    (0x88b8, "goose"),
    (0x88b9, "gse"),
    (0x88ba, "sampled_values"),
    (0x88c7, "eapol"),
    (0x88cc, "lldp"),
    (0x88cd, "sercos"),
    (0x88d9, "lltd"),
    (0x88e1, "homeplug"),
    (0x88e3, "mrp"),
    (0x88f5, "mvrp"),
    (0x88f6, "mmrp"),
    (0x88f7, "ptp"),
    (0x88fb, "prp"),
    (0x8902, "cfm"),
    (0x8906, "fcoe"),
    (0x8914, "fip"),
    (0x893a, "ieee1905"),
    (0x9000, "loop"),
];

/// What is behind an EtherType that is understood and carries no IP.
fn not_ip(ether_type: u16) -> Option<&'static str> {
    NOT_IP.binary_search_by_key(&ether_type, |e| e.0).ok().and_then(|at| NOT_IP.get(at)).map(|e| e.1)
}

/// An Ethernet frame: destination, source, type or 802.3 length.
pub fn frame(layer: Layer<'_>, mut context: Context, sink: &mut impl Sink) {
    let Some(&[d0, d1, d2, d3, d4, _, a, b, c, d, e, f, t0, t1]) = layer.head::<14>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    // Cisco's Inter-Switch Link: 26 bytes, then the frame that it carries.
    if matches!([d0, d1, d2, d3, d4], [1 | 3, 0, 0x0c, 0, 0]) {
        sink.header(Header::Mac { at: layer.base.saturating_add(6) });
        return inside(layer.skip(26), context, sink);
    }
    context.mac = Some(Mac([a, b, c, d, e, f]));
    addresses(layer, sink);
    by_type(u16::from_be_bytes([t0, t1]), layer.skip(14), context, sink);
}

/// Destination and source stand first.
pub fn addresses(layer: Layer<'_>, sink: &mut impl Sink) {
    sink.header(Header::Mac { at: layer.base });
    sink.header(Header::Mac { at: layer.base.saturating_add(6) });
}

/// A frame within a frame of the same link, one deeper.
pub fn inside(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match context.deeper() {
        Some(context) => frame(layer, context, sink),
        None => sink.stop(Anomaly::TooManyLayers),
    }
}

/// An Ethernet frame with a switch's tag of `tag` bytes between the addresses and the type.
pub fn switch_tagged(layer: Layer<'_>, tag: usize, mut context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, _, _, a, b, c, d, e, f]) = layer.head::<12>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    context.mac = Some(Mac([a, b, c, d, e, f]));
    addresses(layer, sink);
    typed(layer.skip(12).skip(tag), context, sink);
}

/// An EtherType and what it announces.
pub fn typed(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[t0, t1]) = layer.head::<2>() else { return sink.stop(Anomaly::TruncatedHeader) };
    by_type(u16::from_be_bytes([t0, t1]), layer.skip(2), context, sink);
}

/// Goes on by EtherType; tags nest, each one deeper.
pub fn by_type(ether_type: u16, layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(mut context) = context.deeper() else { return sink.stop(Anomaly::TooManyLayers) };
    match ether_type {
        0x0800 => ip::v4(layer, context, sink),
        0x86dd => ip::v6(layer, context, sink),
        // 802.1Q, 802.1ad and the older QinQ types.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => match layer.head::<2>() {
            Some(&[v0, v1]) => {
                let vlan = Segment::Vlan(u16::from_be_bytes([v0, v1]) & 0x0fff);
                context.segment = context.segment.or(Some(vlan));
                typed(layer.skip(2), context, sink);
            }
            None => sink.stop(Anomaly::TruncatedHeader),
        },
        0x8847 | 0x8848 => mpls(layer, context, sink),
        // Cisco FabricPath: a tag, then the frame that it carries.
        0x8903 => frame(layer.skip(2), context, sink),
        0x8864 => ppp::pppoe_session(layer, context, sink),
        // 802.1ah: a tag with the service instance, then the customer's frame.
        0x88e7 => frame(layer.skip(4), context, sink),
        // VN-Tag of Cisco; E-Tag of 802.1BR.
        0x8926 => typed(layer.skip(4), context, sink),
        0x893f => typed(layer.skip(6), context, sink),
        // Cisco TTag: 48 bits of time. HSR: path, size and sequence.
        0x8905 => typed(layer.skip(6), context, sink),
        0x892f => typed(layer.skip(4), context, sink),
        0x8909 => cisco_metadata(layer, context, sink),
        0x88e5 => macsec(layer, context, sink),
        0x894f => tunnel::nsh(layer, context, sink),
        0x22f3 => trill(layer, context, sink),
        0x880b => ppp::framed(layer, context, sink),
        // RoCE: InfiniBand from its global route header on.
        0x8915 => sink.not_ip("roce"),
        0..=1500 => llc::header(layer.limit(usize::from(ether_type)), context, sink),
        // 802.2 in a jumbo frame.
        0x8870 => llc::header(layer, context, sink),
        _ => match not_ip(ether_type) {
            Some(what) => {
                if ether_type == 0x0806 {
                    sink.header(Header::Arp { at: layer.base });
                }
                sink.not_ip(what);
            }
            None => sink.unread(Unread::EtherType(ether_type)),
        },
    }
}

/// Cisco metadata (security group tags): version, number of options, the options of four bytes each, EtherType.
fn cisco_metadata(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, options]) = layer.head::<2>() else { return sink.stop(Anomaly::TruncatedHeader) };
    typed(layer.skip(2).skip(usize::from(options).saturating_mul(4)), context, sink);
}

/// MACsec: tag control, short length, packet number, and the channel's name if the tag says so. What is only protected against
/// change is read; its check value is a trailer.
fn macsec(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[control, _]) = layer.head::<2>() else { return sink.stop(Anomaly::TruncatedHeader) };
    if control & 0x0c != 0 {
        return sink.unread(Unread::Encrypted("MACsec"));
    }
    typed(layer.skip(if control & 0x20 != 0 { 14 } else { 6 }), context, sink);
}

/// TRILL: version to hop count, nicknames, options by their length, then the frame that it carries.
fn trill(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[v0, v1, _, _, _, _]) = layer.head::<6>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let options = usize::from((u16::from_be_bytes([v0, v1]) >> 6) & 0x1f);
    frame(layer.skip(6).skip(options.saturating_mul(4)), context, sink);
}

/// MPLS labels down to the bottom of the stack; what follows is told by its first nibble.
pub fn mpls(mut layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    for _ in 0..crate::MAX_DEPTH {
        let Some(&[_, _, s, _]) = layer.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
        layer = layer.skip(4);
        if s & 1 == 1 {
            return match layer.bytes.first().map(|b| b >> 4) {
                Some(4 | 6) => ip::any(layer, context, sink),
                // A pseudowire with control word, RFC 4385.
                Some(0) => frame(layer.skip(4), context.tunnelled(), sink),
                // An associated channel, RFC 5586: the network's own words.
                Some(1) => sink.not_ip("mpls_associated_channel"),
                _ => frame(layer, context.tunnelled(), sink),
            };
        }
    }
    sink.stop(Anomaly::TooManyLayers);
}

/// Whether bytes look like an Ethernet frame: an EtherType that is known with a header of that kind behind it. For tunnels whose own
/// header says too little.
pub fn is_plausible(b: &[u8]) -> bool {
    let [_, _, _, _, _, _, _, _, _, _, _, _, t0, t1, rest @ ..] = b else { return false };
    match u16::from_be_bytes([*t0, *t1]) {
        0x0800 => ip::is_plausible(rest) && rest.first().is_some_and(|v| v >> 4 == 4),
        0x86dd => ip::is_plausible(rest) && rest.first().is_some_and(|v| v >> 4 == 6),
        0x0806 => rest.starts_with(&[0, 1, 8, 0]),
        0x8100 | 0x88a8 => {
            matches!(rest, [_, _, 8, 0 | 6, ..] | [_, _, 0x86, 0xdd, ..] | [_, _, 0x81 | 0x88, ..])
        }
        0..=1500 => matches!(rest, [0x42, 0x42, 3, ..] | [0xaa, 0xaa, 3, ..] | [0xe0, 0xe0, ..]),
        other => not_ip(other).is_some(),
    }
}
