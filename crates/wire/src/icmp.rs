//! ICMP (RFC 792) and ICMPv6 (RFC 4443): type and code stand in for ports, as in Zeek and Community ID.

use record::Anomaly;

use crate::layer::Layer;
use crate::{Context, IpInfo, Sink, transport};

/// An ICMP message. A type that has an answer gets that answer's type as the other port, so that both are one flow.
pub fn decode(layer: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(&[kind, code, _, _]) = layer.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let other = if info.protocol == 1 { answer_v4(kind) } else { answer_v6(kind) };
    let ports = (u16::from(kind), u16::from(other.unwrap_or(code)));
    transport::icmp(layer.skip(4), info, ports, context, sink);
}

const fn answer_v4(kind: u8) -> Option<u8> {
    Some(match kind {
        0 => 8,
        8 => 0,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

const fn answer_v6(kind: u8) -> Option<u8> {
    Some(match kind {
        128 => 129,
        129 => 128,
        135 => 136,
        136 => 135,
        _ => return None,
    })
}
