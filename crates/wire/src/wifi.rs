//! 802.11 frames, plain or behind what monitors put before them: radiotap, Prism, AVS.
//!
//! Sources: IEEE 802.11-2020 §9; radiotap.org; the Prism and AVS headers as in tshark. What is encrypted over the air is named; data in
//! clear, or decrypted by the card, is followed.

use record::{Anomaly, Mac, Unread};

use crate::layer::Layer;
use crate::{Context, Header, Sink, llc};

/// Frames within an aggregate that are followed; an A-MSDU has at most 11,454 bytes.
const MAX_AGGREGATED: usize = 64;
/// What an LLC header with SNAP begins with.
const SNAP: [u8; 3] = [0xaa, 0xaa, 3];

/// Radiotap: version, pad, length, and the flags that say whether the header behind is padded.
pub fn radiotap(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, l0, l1, p0, p1, p2, p3]) = layer.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let len = usize::from(u16::from_le_bytes([l0, l1]));
    if len < 8 {
        return sink.stop(Anomaly::BadLength);
    }
    let present = u32::from_le_bytes([p0, p1, p2, p3]);
    // Presence words go on while their highest bit is set; then comes the time (8 bytes, aligned), then the flags.
    let words =
        layer.bytes.chunks_exact(4).skip(1).take_while(|w| matches!(w, [_, _, _, b] if b & 0x80 != 0));
    let mut at = words.count().saturating_add(2).saturating_mul(4);
    if present & 1 != 0 {
        at = at.next_multiple_of(8).saturating_add(8);
    }
    let flags = if present & 2 != 0 { layer.bytes.get(at).copied().unwrap_or(0) } else { 0 };
    data_or_other(layer.skip(len), flags & 0x20 != 0, context, sink);
}

/// The Prism monitor's header, in its own form or AVS's under the same link type.
pub fn prism(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.head::<8>() {
        Some(&[0x80, 0x21, 0x10, _, ..]) => avs(layer, context, sink),
        Some(&[_, _, _, 0x41 | 0x44, l0, l1, l2, l3]) | Some(&[0x41 | 0x44, _, _, _, l0, l1, l2, l3]) => {
            let (little, big) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_be_bytes([l0, l1, l2, l3]));
            frame(layer.skip(little.min(big) as usize), context, sink);
        }
        Some(_) => frame(layer, context, sink),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// The AVS capture header: version and length, in network order.
pub fn avs(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, l0, l1, l2, l3]) = layer.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    match u32::from_be_bytes([l0, l1, l2, l3]) as usize {
        len @ 8..=1024 => frame(layer.skip(len), context, sink),
        _ => sink.stop(Anomaly::BadLength),
    }
}

/// An 802.11 frame.
pub fn frame(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    data_or_other(layer, false, context, sink);
}

/// The same with its first two bytes in the other order, as some controllers send them.
pub fn swapped(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        // In order the lowest two bits are a version, which is 0; swapped they tell the direction.
        [first, second, ..] if first & 3 != 0 && second & 3 == 0 => {
            with_control(*second, *first, layer, false, context, sink);
        }
        _ => frame(layer, context, sink),
    }
}

fn data_or_other(layer: Layer<'_>, padded: bool, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        [control, flags, ..] => with_control(*control, *flags, layer, padded, context, sink),
        _ => sink.stop(Anomaly::TruncatedHeader),
    }
}

fn with_control(
    control: u8,
    flags: u8,
    layer: Layer<'_>,
    padded: bool,
    mut context: Context,
    sink: &mut impl Sink,
) {
    match (control >> 2) & 3 {
        0 => return sink.not_ip("802.11_management"),
        1 => return sink.not_ip("802.11_control"),
        2 => {}
        _ => return sink.not_ip("802.11_extension"),
    }
    // Null frames carry nothing.
    if control & 0x40 != 0 {
        return sink.not_ip("802.11_null");
    }
    let Some(addresses) = layer.head::<24>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let (to_ds, from_ds, qos) = (flags & 1 != 0, flags & 2 != 0, control & 0x80 != 0);
    let mut header = 24usize;
    if to_ds && from_ds {
        header = header.saturating_add(6);
    }
    let mut aggregate = false;
    if qos {
        aggregate = layer.bytes.get(header).is_some_and(|q| q & 0x80 != 0);
        // Behind it the four bytes of the HT control field, where the order flag says so.
        header = header.saturating_add(if flags & 0x80 != 0 { 6 } else { 2 });
    }
    if padded {
        header = header.next_multiple_of(4);
    }
    // The station that sent it: second, third or fourth address, by the way it goes.
    let source = match (to_ds, from_ds) {
        (_, false) => addresses.get(10..16),
        (false, true) => addresses.get(16..22),
        (true, true) => layer.bytes.get(24..30),
    };
    for at in [4usize, 10, 16, 24].into_iter().take(if to_ds && from_ds { 4 } else { 3 }) {
        sink.header(Header::Mac { at: layer.base.saturating_add(at) });
    }
    context.mac = source.and_then(|s| <[u8; 6]>::try_from(s).ok()).map(Mac);
    let mut body = layer.skip(header);
    // 802.11s: flags that say how many addresses follow, time to live, sequence. Whether it is there no bit says that all set.
    if from_ds && let Some(&[extended @ 0..=2, _, _, _, _, _]) = body.head::<6>() {
        let length = usize::from(extended).saturating_add(1).saturating_mul(6);
        if body.bytes.get(length..).is_some_and(|b| b.starts_with(&SNAP)) {
            if extended > 0 {
                let last = body
                    .bytes
                    .get(length.saturating_sub(6)..length)
                    .and_then(|s| <[u8; 6]>::try_from(s).ok());
                context.mac = last.map(Mac);
                for at in (6..length).step_by(6) {
                    sink.header(Header::Mac { at: body.base.saturating_add(at) });
                }
            }
            body = body.skip(length);
        }
    }
    let snap_at = |at: usize| body.bytes.get(at..).is_some_and(|b| b.starts_with(&SNAP));
    if flags & 0x40 != 0 {
        // The flag stays where a card has decrypted already, with or without the initialisation vector.
        return match [0, 8, 4].into_iter().find(|at| snap_at(*at)) {
            Some(at) => llc::header(body.skip(at), context, sink),
            None => sink.unread(Unread::Encrypted("Wi-Fi")),
        };
    }
    if aggregate && !snap_at(0) { aggregated(body, context, sink) } else { llc::header(body, context, sink) }
}

/// Frames that were sent as one: destination, source, length, LLC; each padded to four bytes.
fn aggregated(mut layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    for _ in 0..MAX_AGGREGATED {
        let Some(&[_, _, _, _, _, _, a, b, c, d, e, f, l0, l1]) = layer.head::<14>() else {
            // What is left may be a check sequence; a cut is told.
            if layer.bytes.len() < layer.wire {
                sink.stop(Anomaly::TruncatedHeader);
            }
            return;
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        sink.header(Header::Mac { at: layer.base });
        sink.header(Header::Mac { at: layer.base.saturating_add(6) });
        let mine = Context { mac: Some(Mac([a, b, c, d, e, f])), ..context };
        llc::header(layer.skip(14).limit(len), mine, sink);
        layer = layer.skip(len.saturating_add(14).next_multiple_of(4));
    }
    sink.stop(Anomaly::TooManyLayers);
}
