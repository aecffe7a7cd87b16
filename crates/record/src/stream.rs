use crate::{Direction, Endpoint, FlowId, Head, PacketId, PayloadFacts, Segment, Service, Timestamp, Tuple};

/// What sessions may know of their flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowFacts {
    /// The flow's name.
    pub id: FlowId,
    /// Both ends.
    pub tuple: Tuple,
    /// Its segment of the network.
    pub segment: Option<Segment>,
    /// When the first packet came.
    pub ts: Timestamp,
    /// Whether the beginning was seen.
    pub start_seen: bool,
    /// Whether each side said that it is done, right behind all that was seen of it (TCP's FIN).
    pub ended: [bool; 2],
    /// The protocol, once known.
    pub service: Service,
}

impl FlowFacts {
    /// The head of a record of what began in the flow at `ts` and became known at `known`. Which site saw it is not the flow's to say.
    pub const fn head(&self, ts: Timestamp, known: Timestamp) -> Head {
        Head { ts, known, site: 0, segment: self.segment, flow: self.id, tuple: self.tuple }
    }
}

/// Bytes of one side, in order (TCP) or one datagram (others).
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Whose they are.
    pub from: Direction,
    /// The bytes.
    pub bytes: &'a [u8],
    /// How many bytes the datagram had on the wire (more than `bytes` when cut); for TCP the same as `bytes`.
    pub wire_len: u32,
    /// When they came.
    pub ts: Timestamp,
    /// The clock when they came.
    pub at: Timestamp,
    /// The packet that brought them.
    pub packet: PacketId,
    /// What the flow counted in them, where it did.
    pub facts: Option<&'a PayloadFacts>,
}

impl Chunk<'_> {
    /// What is counted in these bytes: by the flow, or now.
    pub fn counted(&self) -> PayloadFacts {
        self.facts.copied().unwrap_or_else(|| PayloadFacts::of(self.bytes, self.wire_len))
    }
}

/// What a session made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The protocol, when it has just become known.
    pub service: Option<Service>,
    /// Whether it wants more bytes.
    pub wants_more: bool,
    /// The remote that the payload names, when it has just become known: whom a proxy was asked to talk with.
    pub remote: Option<Endpoint>,
}
