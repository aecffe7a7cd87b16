//! What does this frame say?
//!
//! One file per header. A frame that the capture cut still decodes as far as it goes; what is wrong with it is
//! data ([`record::Anomaly`]), never failure. Nothing here allocates, except fragments that wait for their others.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod captured;
mod checksum;
mod ethernet;
mod fragment;
mod icmp;
mod infiniband;
mod ip;
mod layer;
mod link;
mod llc;
mod ppp;
mod transport;
mod tunnel;
mod wifi;

pub use fragment::{Added, Datagram, Fragments};
pub use ip::{FragmentPiece, IpInfo};
pub use transport::{Checksum, TcpFlags, TcpInfo};

use layer::Layer;
use record::{Anomaly, Mac, Segment, Service, Transport, Unread};
use std::net::IpAddr;

/// How many headers and tunnels inside one another are followed. Real stacks stay below 6; beyond it is an attack on the decoder.
const MAX_DEPTH: u8 = 12;

/// A packet of a flow, as the innermost headers tell it. Offsets are into the frame (or reassembled datagram) that was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What carries the payload.
    pub transport: Transport,
    /// Source port; for ICMP the type.
    pub sport: u16,
    /// Destination port; for ICMP the type that answers, or the code.
    pub dport: u16,
    /// TCP's own fields; zero for others.
    pub tcp: TcpInfo,
    /// Where the captured payload begins.
    pub payload_at: usize,
    /// How many bytes of it were captured.
    pub payload_captured: u32,
    /// How many bytes it had on the wire.
    pub payload_len: u32,
    /// Bytes of the whole frame on the wire.
    pub frame_len: u32,
    /// IP time-to-live or hop limit.
    pub ttl: u8,
    /// How many tunnels this packet was found inside of.
    pub layer: u8,
    /// Source Ethernet address, of the innermost frame.
    pub mac: Option<Mac>,
    /// The segment of the network: the innermost overlay's, or else the outermost VLAN.
    pub segment: Option<Segment>,
    /// The tunnel that this packet's payload is; its inner packets are reported too.
    pub carries: Option<Service>,
    /// What the transport checksum says.
    pub checksum: Checksum,
    /// IPv4's identification and the transport checksum as it stands: the same for the same packet seen twice.
    pub print: u32,
}

/// Where in the frame a header that names somebody begins: for whoever wants to rewrite it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// An Ethernet address, six bytes.
    Mac {
        /// Where.
        at: usize,
    },
    /// ARP, from its hardware type on.
    Arp {
        /// Where.
        at: usize,
    },
    /// An IP header.
    Ip {
        /// Where.
        at: usize,
        /// Whether it is IPv6.
        v6: bool,
    },
    /// What the IP header named last carries, behind all extension headers.
    Transport {
        /// Where.
        at: usize,
        /// How many bytes of it were captured, without padding behind.
        len: usize,
        /// The protocol's number.
        protocol: u8,
    },
}

/// Takes what a frame turns out to hold.
pub trait Sink {
    /// A packet that belongs to a flow.
    fn packet(&mut self, packet: Packet);
    /// A piece of a fragmented datagram, with its bytes.
    fn fragment(&mut self, piece: FragmentPiece, bytes: &[u8]);
    /// Something strange.
    fn anomaly(&mut self, anomaly: Anomaly);
    /// Decoding ended here, because of this: nothing further in is known.
    fn stop(&mut self, anomaly: Anomaly) {
        self.anomaly(anomaly);
    }
    /// A header that names somebody begins here.
    fn header(&mut self, _header: Header) {}
    /// An IP header was understood.
    fn ip(&mut self) {}
    /// What is here is understood, and carries no IP: its name.
    fn not_ip(&mut self, _what: &'static str) {}
    /// What is here is not followed, for this reason.
    fn unread(&mut self, _why: Unread) {}
}

/// What is known from the layers outside of the one being decoded.
#[derive(Clone, Copy, Debug)]
struct Context {
    frame_len: u32,
    mac: Option<Mac>,
    segment: Option<Segment>,
    layer: u8,
    depth: u8,
}

impl Context {
    /// One header deeper; `None` when that is one too many.
    fn deeper(mut self) -> Option<Self> {
        self.depth = self.depth.saturating_add(1);
        (self.depth <= MAX_DEPTH).then_some(self)
    }

    /// Into a tunnel.
    fn tunnelled(mut self) -> Self {
        self.layer = self.layer.saturating_add(1);
        self.mac = None;
        self
    }

    /// Into the virtual network of an overlay, by the bytes of its identifier.
    fn within(mut self, [v0, v1, v2]: [u8; 3]) -> Self {
        self.segment = Some(Segment::Vni(u32::from_be_bytes([0, v0, v1, v2])));
        self
    }
}

/// Decodes a frame of link type `link` (LINKTYPE_…) that was `original` bytes long on the wire.
pub fn decode(frame: &[u8], link: u32, original: u32, sink: &mut impl Sink) {
    let context = Context { frame_len: original, mac: None, segment: None, layer: 0, depth: 0 };
    let wire = (original as usize).max(frame.len());
    link::decode(Layer { bytes: frame, wire, base: 0 }, link, context, sink);
}

/// Decodes the payload of a datagram that was put together from fragments.
pub fn decode_datagram(datagram: &Datagram, sink: &mut impl Sink) {
    let bytes = datagram.bytes();
    let info = datagram.info();
    let context = Context {
        frame_len: datagram.last_frame_len(),
        mac: datagram.mac(),
        segment: datagram.segment(),
        layer: info.layer,
        depth: 1,
    };
    ip::payload(Layer { bytes, wire: bytes.len(), base: 0 }, info, context, sink);
}

/// The link types that are decoded.
pub const LINKS: [u32; 48] = [
    0, 1, 6, 8, 9, 10, 12, 14, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 122, 123, 127, 138,
    149, 163, 166, 192, 197, 204, 205, 206, 226, 228, 229, 239, 240, 241, 242, 247, 253, 258, 274, 276, 281,
    282, 284, 285,
];

/// Decodes arbitrary bytes as every link type and checks that each packet lies within them. A fuzz function; the target is a shim.
pub fn fuzz_decode(data: &[u8]) {
    struct Check<'a> {
        len: usize,
        fragments: &'a mut Fragments,
        whole: Vec<Datagram>,
    }
    impl Sink for Check<'_> {
        fn packet(&mut self, p: Packet) {
            assert!(p.payload_at.saturating_add(p.payload_captured as usize) <= self.len);
            assert!(p.payload_captured <= p.payload_len);
        }
        fn fragment(&mut self, piece: FragmentPiece, bytes: &[u8]) {
            let done = self.fragments.add(piece, bytes, record::Timestamp(0), &mut |_| ()).whole();
            self.whole.extend(done);
        }
        fn anomaly(&mut self, _: Anomaly) {}
    }
    let mut fragments = Fragments::new(1 << 20);
    for link in LINKS {
        let mut check = Check { len: data.len(), fragments: &mut fragments, whole: Vec::new() };
        decode(data, link, data.len() as u32, &mut check);
        for datagram in std::mem::take(&mut check.whole) {
            check.len = datagram.bytes().len();
            decode_datagram(&datagram, &mut check);
        }
    }
}

#[cfg(test)]
mod tests;
