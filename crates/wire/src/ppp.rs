//! PPP (RFC 1661) in its framings: HDLC-like (RFC 1662), over Ethernet (RFC 2516), Cisco's HDLC.

use record::{Anomaly, Unread};

use crate::layer::Layer;
use crate::{Context, Sink, ethernet, ip};

/// PPPoE session data: version, code, session, length, then a PPP protocol number.
pub fn pppoe_session(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[version, code, _, _, l0, l1]) = layer.head::<6>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    if version != 0x11 || code != 0 {
        return sink.not_ip("pppoe_discovery");
    }
    let body = layer.skip(6).limit(usize::from(u16::from_be_bytes([l0, l1])));
    packet(body, context, sink);
}

/// PPP in HDLC-like framing: address and control may be left out.
pub fn framed(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        [0xff, 3, ..] => packet(layer.skip(2), context, sink),
        [0x0f | 0x8f, 0, ..] => cisco_hdlc(layer, context, sink),
        _ => packet(layer, context, sink),
    }
}

/// The Linux daemon's form: the address byte tells the direction.
pub fn pppd(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        [0 | 1, 3, ..] => packet(layer.skip(2), context, sink),
        _ => framed(layer, context, sink),
    }
}

/// Cisco's HDLC: address, control, EtherType.
pub fn cisco_hdlc(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, t0, t1]) = layer.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    match u16::from_be_bytes([t0, t1]) {
        0x8035 => sink.not_ip("slarp"),
        0x2000 => sink.not_ip("cdp"),
        0xfefe => sink.not_ip("osi"),
        ether_type => ethernet::by_type(ether_type, layer.skip(4), context, sink),
    }
}

/// A PPP protocol number (one byte when compressed) and its packet.
pub fn packet(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let (protocol, body) = match layer.bytes {
        [first, ..] if first & 1 == 1 => (u16::from(*first), layer.skip(1)),
        [first, second, ..] => (u16::from_be_bytes([*first, *second]), layer.skip(2)),
        _ => return sink.stop(Anomaly::TruncatedHeader),
    };
    match protocol {
        0x0021 | 0x0057 => ip::any(body, context, sink),
        0x0281 | 0x0283 => ethernet::mpls(body, context, sink),
        // Bridged frames (RFC 3518): flags and type, then Ethernet.
        0x0031 => ethernet::inside(body.skip(2), context, sink),
        // Fragments of a bundle, of which the first alone can be read (RFC 1990: a header of four bytes, begin bit first).
        0x003d => match body.bytes {
            [flags, ..] if flags & 0xc0 == 0xc0 => match context.deeper() {
                Some(context) => packet(body.skip(4), context, sink),
                None => sink.stop(Anomaly::TooManyLayers),
            },
            _ => sink.unread(Unread::Ppp(protocol)),
        },
        // Control protocols of link and networks, authentication.
        0x8001..=0xffff => sink.not_ip("ppp_control"),
        0x0023 | 0x0025 | 0x0027 | 0x0029 | 0x002b => sink.not_ip("ppp_other_network"),
        _ => sink.unread(Unread::Ppp(protocol)),
    }
}
