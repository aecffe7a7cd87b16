//! Link types: which header a frame of a capture begins with.
//!
//! Source: the LINKTYPE registry of tcpdump.org. The headers themselves stand in the files of their kind.

use record::Unread;

use crate::layer::Layer;
use crate::{Context, Sink, captured, ethernet, infiniband, ip, llc, ppp, wifi};

/// Decodes a frame by its link type.
pub fn decode(layer: Layer<'_>, link: u32, context: Context, sink: &mut impl Sink) {
    match link {
        1 => ethernet::frame(layer, context, sink),
        12 | 14 | 101 | 228 | 229 => ip::any(layer, context, sink),
        0 | 108 => captured::loopback(layer, context, sink),
        113 => captured::sll(layer, context, sink),
        276 => captured::sll2(layer, context, sink),
        105 => wifi::frame(layer, context, sink),
        127 => wifi::radiotap(layer, context, sink),
        119 => wifi::prism(layer, context, sink),
        163 => wifi::avs(layer, context, sink),
        192 => captured::per_packet_information(layer, context, sink),
        9 | 50 => ppp::framed(layer, context, sink),
        51 => ppp::pppoe_session(layer, context, sink),
        166 => ppp::pppd(layer, context, sink),
        104 => ppp::cisco_hdlc(layer, context, sink),
        107 => llc::frame_relay(layer, context, sink),
        // A byte of direction stands before the frame.
        204 => ppp::framed(layer.skip(1), context, sink),
        205 => ppp::cisco_hdlc(layer.skip(1), context, sink),
        206 => llc::frame_relay(layer.skip(1), context, sink),
        6 => llc::token_ring(layer, context, sink),
        10 => llc::fddi(layer, context, sink),
        100 => llc::atm(layer, context, sink),
        122 => llc::header(layer.skip(16), context, sink),
        123 => llc::sun_atm(layer, context, sink),
        138 => captured::ieee1394(layer, context, sink),
        8 => ip::any(layer.skip(16), context, sink),
        226 => ip::any(layer.skip(24), context, sink),
        109 => captured::enc(layer, context, sink),
        117 => captured::pflog(layer, context, sink),
        239 => captured::nflog(layer, context, sink),
        258 => captured::pktap(layer, context, sink),
        // Apple wrote PKTAP under a number for private use before it had one.
        149 if captured::is_pktap(layer) => captured::pktap(layer, context, sink),
        253 => captured::netlink_cooked(layer, context, sink),
        197 => captured::erf(layer, context, sink),
        240 => ethernet::frame(layer.skip(4), context, sink),
        241 => ethernet::frame(layer.skip(12), context, sink),
        274 => ethernet::frame(layer.skip(8), context, sink),
        281 | 284 => ethernet::switch_tagged(layer, 4, context, sink),
        285 => ethernet::switch_tagged(layer, 8, context, sink),
        282 => ethernet::frame(layer.skip(4), context, sink),
        242 => infiniband::ip_over(layer, context, sink),
        247 => infiniband::frame(layer, context, sink),
        _ => sink.unread(Unread::Link(link)),
    }
}
