//! IP over InfiniBand (RFC 4391): in datagrams of a raw frame, or behind the header that Linux captures have.

use record::Anomaly;

use crate::layer::Layer;
use crate::{Context, Sink, ethernet};

/// Local route header: which header comes next.
const NEXT_IS_TRANSPORT: u8 = 2;
const NEXT_IS_GLOBAL_ROUTE: u8 = 3;
/// Unreliable datagrams, without and with immediate data: what IP is sent in.
const UD_SEND: [u8; 2] = [0x64, 0x65];

/// Linux's form: a global route header (40 bytes, of which the last 20 are the address), EtherType, two reserved bytes.
pub fn ip_over(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let body = layer.skip(40);
    let Some(&[t0, t1, _, _]) = body.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    ethernet::by_type(u16::from_be_bytes([t0, t1]), body.skip(4), context, sink);
}

/// A raw frame from its local route header on.
pub fn frame(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, next, ..]) = layer.head::<8>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let body = match next & 3 {
        NEXT_IS_TRANSPORT => layer.skip(8),
        NEXT_IS_GLOBAL_ROUTE => layer.skip(48),
        _ => return sink.not_ip("infiniband_raw"),
    };
    let Some(&[opcode, _, _, _, _, d0, d1, d2, ..]) = body.head::<12>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    // Queue pairs 0 and 1 are the subnet's management.
    let managed = [d0, d1] == [0, 0] && d2 <= 1;
    if !UD_SEND.contains(&opcode) || managed {
        return sink.not_ip("infiniband");
    }
    let immediate = if opcode == 0x65 { 4 } else { 0 };
    ip_body(body.skip(20).skip(immediate), context, sink);
}

/// EtherType and two reserved bytes of RFC 4391 §6; other datagrams are InfiniBand's own.
fn ip_body(body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match body.head::<4>() {
        Some(&[t0, t1, 0, 0]) if matches!([t0, t1], [8, 0 | 6] | [0x86, 0xdd] | [0x80, 0x35]) => {
            ethernet::by_type(u16::from_be_bytes([t0, t1]), body.skip(4), context, sink);
        }
        _ => sink.not_ip("infiniband"),
    }
}
