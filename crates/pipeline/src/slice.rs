//! Packets again: those that a story names, and the flows that they belong to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use capture::{Batch, CaptureError, CaptureSet, Captures, Notice, Source};
use flow::{Arrival, FlowTable, Limits, Sessions};
use record::{
    Anomaly, Chunk, Conn, Direction, FlowFacts, FlowId, PacketId, Progress, Segment, Service, Timestamp,
    Tuple,
};
use wire::{FragmentPiece, Packet, Sink};

use crate::decode::{Decoded, Defragmenter, decode};

/// A frame of a capture, with what it holds.
pub struct Frame<'a> {
    /// File and number.
    pub id: PacketId,
    /// When it came.
    pub ts: Timestamp,
    /// Link type (LINKTYPE_…).
    pub link: u32,
    /// Length on the wire.
    pub original: u32,
    /// Its bytes, as captured.
    pub bytes: &'a [u8],
    /// The packets in it, those inside tunnels after those around them.
    pub packets: &'a [Packet],
    /// Source and destination of pieces of datagrams in it.
    pub fragments: &'a [(IpAddr, IpAddr)],
}

#[derive(Default)]
struct Holds {
    packets: Vec<Packet>,
    fragments: Vec<(IpAddr, IpAddr)>,
}

impl Sink for Holds {
    fn packet(&mut self, packet: Packet) {
        self.packets.push(packet);
    }

    fn fragment(&mut self, piece: FragmentPiece, _: &[u8]) {
        self.fragments.push((piece.info.src, piece.info.dst));
    }

    fn anomaly(&mut self, _: Anomaly) {}
}

fn open(captures: &Captures) -> Result<CaptureSet, CaptureError> {
    let sources: Vec<Source> = captures.paths.iter().cloned().map(Source::Path).collect();
    CaptureSet::open(&sources, &captures.opening)
}

/// Shows every frame of captures, in the order of a run over the same inputs, until `each` says that it has seen enough. Gives the
/// inputs that could not be read to their end, each with its reason.
///
/// # Errors
/// A directory cannot be listed.
pub fn walk(
    captures: &Captures,
    mut each: impl FnMut(&Frame<'_>) -> bool,
) -> Result<Vec<String>, CaptureError> {
    let mut set = open(captures)?;
    let mut batch = Batch::default();
    let mut holds = Holds::default();
    while set.next_batch(&mut batch) {
        for meta in &batch.packets {
            let bytes = batch.frame(meta);
            holds.packets.clear();
            holds.fragments.clear();
            wire::decode(bytes, meta.link, meta.original, &mut holds);
            let frame = Frame {
                id: meta.id,
                ts: meta.ts,
                link: meta.link,
                original: meta.original,
                bytes,
                packets: &holds.packets,
                fragments: &holds.fragments,
            };
            if !each(&frame) {
                return Ok(Vec::new());
            }
        }
    }
    let failed = set.notices().iter().filter_map(|n| match n {
        Notice::Failed(e) => Some(e.to_string()),
        _ => None,
    });
    Ok(failed.collect())
}

/// Where in the network something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// In any segment: they are not apart.
    Anywhere,
    /// In this one, or without a tag.
    Segment(Option<Segment>),
}

impl Within {
    /// The segment that a story is of; none where segments are not apart.
    pub const fn of(segment: Option<Segment>) -> Self {
        match segment {
            None | Some(Segment::Others) => Self::Anywhere,
            Some(Segment::Untagged) => Self::Segment(None),
            Some(_) => Self::Segment(segment),
        }
    }

    /// Whether what was said in a segment was said here.
    fn has(self, segment: Option<Segment>) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Segment(here) => here == segment,
        }
    }
}

/// Which frames belong to a slice.
#[derive(Clone, Debug)]
pub struct Wanted {
    host: IpAddr,
    remotes: BTreeSet<IpAddr>,
    flows: BTreeSet<FlowId>,
    whole: bool,
    names: bool,
    /// The segment of the network, where these are apart.
    within: Within,
    /// Flows whose first packet was met.
    met: BTreeSet<(IpAddr, u16, IpAddr, u16, u8)>,
}

/// Ports of services that say what hosts and remotes are called; a story cannot be told again without them.
const NAMES: [u16; 6] = [53, 67, 68, 137, 5353, 5355];

fn ends(p: &Packet) -> (IpAddr, u16, IpAddr, u16, u8) {
    let (a, b) = ((p.src, p.sport), (p.dst, p.dport));
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    (a.0, a.1, b.0, b.1, p.transport.number())
}

impl Wanted {
    /// All that `host` exchanges with `remotes`, these flows, and what says how hosts and remotes are called.
    pub fn of(
        host: IpAddr,
        remotes: impl IntoIterator<Item = IpAddr>,
        flows: impl IntoIterator<Item = FlowId>,
    ) -> Self {
        Self {
            host,
            remotes: remotes.into_iter().collect(),
            flows: flows.into_iter().collect(),
            whole: false,
            names: true,
            within: Within::Anywhere,
            met: BTreeSet::new(),
        }
    }

    /// Only there.
    #[must_use]
    pub const fn within(mut self, within: Within) -> Self {
        self.within = within;
        self
    }

    /// Nothing but the flows.
    #[must_use]
    pub fn only_flows(mut self) -> Self {
        self.names = false;
        self.remotes.clear();
        self
    }

    /// The same, and everything else that the host sends or gets.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Whether a frame belongs to the slice. Frames must come in order.
    pub fn has(&mut self, frame: &Frame<'_>) -> bool {
        let within = self.within;
        let packets = || frame.packets.iter().filter(move |p| within.has(p.segment));
        for p in packets() {
            if self.flows.contains(&FlowId { packet: frame.id, layer: p.layer }) {
                self.met.insert(ends(p));
            }
        }
        let host = self.host;
        let other = |a: IpAddr, b: IpAddr| {
            if a == host { Some(b) } else { (b == host).then_some(a) }
        };
        let hosts =
            |a: IpAddr, b: IpAddr| other(a, b).is_some_and(|o| self.whole || self.remotes.contains(&o));
        packets().any(|p| {
            hosts(p.src, p.dst)
                || self.met.contains(&ends(p))
                || (self.names
                    && other(p.src, p.dst).is_some()
                    && (NAMES.contains(&p.sport) || NAMES.contains(&p.dport)))
        }) || frame.fragments.iter().any(|(a, b)| {
            hosts(*a, *b) || self.met.iter().any(|m| (m.0, m.2) == (*a, *b) || (m.2, m.0) == (*a, *b))
        })
    }
}

/// Bytes that one side of a flow said, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who said them.
    pub from: Direction,
    /// When they came.
    pub ts: Timestamp,
    /// The packet that brought them.
    pub packet: PacketId,
    /// The bytes; of a gap none.
    pub bytes: Vec<u8>,
    /// Bytes that are missing here.
    pub missing: u64,
}

struct Listen {
    flow: FlowId,
    most: usize,
    heard: usize,
    said: Vec<Said>,
}

impl Sessions for Listen {
    type Session = ();

    fn begin(&mut self) {}

    fn data(&mut self, flow: &FlowFacts, (): &mut (), chunk: Chunk<'_>) -> Progress {
        let wants_more = flow.id == self.flow && self.heard < self.most;
        if wants_more {
            let bytes = chunk.bytes.get(..chunk.bytes.len().min(self.most - self.heard)).unwrap_or_default();
            self.heard += bytes.len();
            self.said.push(Said {
                from: chunk.from,
                ts: chunk.ts,
                packet: chunk.packet,
                bytes: bytes.to_vec(),
                missing: 0,
            });
        }
        Progress { service: None, wants_more, remote: None }
    }

    fn gap(
        &mut self,
        flow: &FlowFacts,
        (): &mut (),
        from: Direction,
        bytes: u64,
        at: Timestamp,
        packet: PacketId,
    ) -> Progress {
        let mine = flow.id == self.flow;
        if mine {
            self.said.push(Said { from, ts: at, packet, bytes: Vec::new(), missing: bytes });
        }
        Progress { service: None, wants_more: mine, remote: None }
    }

    fn end(&mut self, _: &FlowFacts, (): &mut (), _: Timestamp) -> Option<Service> {
        None
    }

    fn conn(&mut self, _: Conn) {}

    fn weight(&self, (): &()) -> usize {
        0
    }
}

/// What both sides of a flow said, put in order as the analysis sees it, at most `most` bytes. `within` says where, `until` is the
/// flow's last moment.
///
/// # Errors
/// As [`walk`].
pub fn follow(
    captures: &Captures,
    flow: FlowId,
    tuple: &Tuple,
    within: Within,
    until: Timestamp,
    most: usize,
) -> Result<Vec<Said>, CaptureError> {
    const ROOM: usize = 64 << 20;
    let mut set = open(captures)?;
    let mut listen = Listen { flow, most, heard: 0, said: Vec::new() };
    let mut table = FlowTable::new(Limits::of_budget(ROOM));
    let mut defragmenter = Defragmenter::new(1, ROOM / 16);
    let (mut batch, mut decoded) = (Batch::default(), Decoded::default());
    let mut clock = Timestamp::MIN;
    while set.next_batch(&mut batch) {
        let over = batch.packets.first().is_some_and(|p| p.ts > until);
        decode(&mut batch, 1, &mut decoded);
        defragmenter.join(&mut decoded);
        let mine: Vec<&crate::decode::Placed> = decoded
            .packets
            .iter()
            .filter(|p| within.has(p.packet.segment))
            .filter(|p| {
                let (a, b) = ((p.packet.src, p.packet.sport), (p.packet.dst, p.packet.dport));
                let (o, r) = ((tuple.orig.ip, tuple.orig.port), (tuple.resp.ip, tuple.resp.port));
                p.packet.transport == tuple.transport && ((a == o && b == r) || (a == r && b == o))
            })
            .collect();
        let arrival = |i: usize| Arrival {
            packet: &mine[i].packet,
            payload: decoded.payload(mine[i]),
            ts: mine[i].ts,
            clock: mine[i].clock,
            id: mine[i].id,
        };
        table.packets(mine.len(), arrival, &mut listen);
        clock = decoded.clock.unwrap_or(clock);
        if over || listen.heard >= most {
            break;
        }
    }
    table.finish(clock, &mut listen);
    Ok(listen.said)
}
