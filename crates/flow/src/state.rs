//! What is kept of one flow: a hot part that every packet touches and a cold part for the rest.

use std::time::Duration;

use record::{
    Beat, Conn, ConnPhase, Direction, Endpoint, FlowFacts, FlowId, History, KeyPackets, Mac, PacketId,
    PayloadFacts, Segment, Service, Timestamp, Transport, Tuple,
};

use crate::history::{Done, state};
use crate::key::Key;
use crate::order::Waits;
use crate::stream::{Numbers, Stream};
use crate::timer::Wake;

/// A TCP connection with nothing to say; longer than the keep-alive pings of IRC and its kin (2–5 min), shorter than RFC 1122's two hours of TCP keep-alive, to bound memory (*assumed*).
const TCP_IDLE: Duration = Duration::from_mins(30);
/// A SYN that nobody answers: beyond the last retransmission of current systems' first five tries (1+2+4+8+16 s), and beyond the reset that
/// translating routers send on its behalf after 66 s (measured).
const TCP_HALF_OPEN: Duration = Duration::from_secs(90);
/// After FIN or RST, so that what trails behind is no new flow.
const TCP_LINGER: Duration = Duration::from_secs(5);
/// UDP and the rest: Zeek's `udp_inactivity_timeout`.
const OTHER_IDLE: Duration = Duration::from_mins(1);

/// Yes-or-no facts of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// A flow is here.
    pub const OPEN: u16 = 1;
    /// The originator is the key's low end.
    pub const ORIG_IS_LOW: u16 = 2;
    pub const START_SEEN: u16 = 4;
    /// The session wants more bytes.
    pub const WANTS_MORE: u16 = 8;
    pub const CLASSIFIED: u16 = 16;
    /// FIN or RST was seen: the flow only lingers.
    pub const CLOSING: u16 = 32;
    /// The originator has sent payload; the next bit is the responder's.
    pub const SPOKE: u16 = 64;
    /// The responder sent the first payload.
    pub const RESP_FIRST: u16 = 256;
    /// The responder sent the last payload.
    pub const RESP_LAST: u16 = 512;
    /// The originator's first packet had a right checksum; the next bit is the responder's.
    pub const RIGHT: u16 = 1024;
    /// The originator's first payload may be a decoy; the next bit is the responder's.
    pub const DOUBTED: u16 = 4096;
    /// Nothing of one side came while the other waited for it: it is not waited for again.
    pub const ONE_SIDED: u16 = 1 << 14;
    /// Somebody broke a silence, and the other side's reply is awaited.
    pub const BEAT: u16 = 1 << 15;

    pub const fn of(bits: u16) -> Self {
        Self(bits)
    }

    pub const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    pub const fn set(&mut self, bit: u16, on: bool) {
        if on {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }

    /// The bit that says that a side's first payload may be a decoy.
    pub const fn doubted(side: Direction) -> u16 {
        Self::DOUBTED << side.index()
    }

    /// The bit that says that a side's checksums are right.
    pub const fn right(side: Direction) -> u16 {
        Self::RIGHT << side.index()
    }

    /// The bit that says that a side has sent payload.
    pub const fn spoke(side: Direction) -> u16 {
        Self::SPOKE << side.index()
    }
}

/// What each side sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume {
    pub packets: u64,
    pub bytes: u64,
    pub frame_bytes: u64,
}

/// What every packet touches: two cache lines, in this order.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Hot {
    pub key: Key,
    pub last: Timestamp,
    /// When it ends if nothing comes, by the clock.
    pub deadline: Timestamp,
    pub last_packet: PacketId,
    pub sides: [Volume; 2],
    pub done: [Done; 2],
    pub flags: Flags,
    pub service: Service,
}

const _: () = assert!(size_of::<Hot>() == 128, "DESIGN §7: hot flow state is at most 128 bytes");

impl Hot {
    pub const fn direction(&self, forward: bool) -> Direction {
        if forward == self.flags.has(Flags::ORIG_IS_LOW) { Direction::Orig } else { Direction::Resp }
    }

    pub fn tuple(&self) -> Tuple {
        let (low, high) = (self.key.low(), self.key.high());
        let (orig, resp) = if self.flags.has(Flags::ORIG_IS_LOW) { (low, high) } else { (high, low) };
        Tuple { orig, resp, transport: self.key.transport() }
    }

    pub const fn answered(&self) -> bool {
        self.sides[0].packets > 0 && self.sides[1].packets > 0
    }

    /// How long it may be silent, as it stands now.
    pub fn patience(&self) -> Duration {
        if self.key.transport() != Transport::Tcp {
            OTHER_IDLE
        } else if self.flags.has(Flags::CLOSING) {
            TCP_LINGER
        } else if self.answered() || !self.flags.has(Flags::START_SEEN) {
            TCP_IDLE
        } else {
            TCP_HALF_OPEN
        }
    }
}

/// What is touched only now and then. The first cache line is what payload and acknowledgements touch.
#[repr(C, align(64))]
pub struct Cold<S> {
    pub numbers: [Numbers; 2],
    pub payload_packets: [u64; 2],
    pub streams: Option<Box<[Stream; 2]>>,
    pub session: S,
    /// The first payload of each side.
    pub spoken: Option<Box<Spoken>>,
    pub ts: Timestamp,
    /// When it next tells of itself.
    pub interim: Timestamp,
    pub id: FlowId,
    /// Its entry in the wheel.
    pub wake: Wake,
    /// What the memory that hangs on it is charged with.
    pub charged: u32,
    pub isn: [u32; 2],
    pub turns: u32,
    /// Lengths of the first payloads; negative the responder's.
    pub first_lengths: [i32; 8],
    pub lengths: u8,
    /// Time-to-live of each side's first packet.
    pub ttl: [u8; 2],
    pub syn_retransmits: u16,
    /// The segment of each side's first packet.
    pub segment: [Option<Segment>; 2],
    pub mac: [Option<Mac>; 2],
    pub history: History,
    /// Segments of each side with wrong checksums, one behind another.
    pub wrongs: [u8; 2],
    /// What few flows have.
    pub rare: Option<Box<Rare>>,
}

/// The first payload of each side.
#[derive(Debug, Default)]
pub struct Spoken {
    /// What can be said of it.
    pub facts: [Option<PayloadFacts>; 2],
    /// The packet that brought it.
    pub packets: [PacketId; 2],
    /// Its sequence number.
    pub seq: [u32; 2],
}

/// What few flows have.
#[derive(Debug, Default)]
pub struct Rare {
    /// Whom a proxy was asked to talk with.
    pub remote: Option<Endpoint>,
    /// Packets that wait for those before them.
    pub waits: Option<Waits>,
    /// A SYN that may be a decoy: its number, until the other side answers it or not.
    pub doubted_syn: Option<u32>,
    /// What was said after silence, the last of it.
    pub beats: Vec<Beat>,
}

/// What a flow costs while it is open: both parts, its share of the index (a word and a control byte, two thirds full) and
/// its entry in the wheel.
pub const fn cost<S>() -> usize {
    size_of::<Hot>() + size_of::<Cold<S>>() + 8 + 8
}

/// What is set aside for a flow's last record and its key: all flows may end in the same batch, when the clock jumps.
pub const LAST_WORD: usize = size_of::<Conn>() + 40;

impl<S> Cold<S> {
    pub fn new(session: S, id: FlowId, ts: Timestamp) -> Self {
        Self {
            numbers: [Numbers::default(); 2],
            payload_packets: [0; 2],
            streams: None,
            session,
            spoken: None,
            ts,
            interim: Timestamp::MAX,
            id,
            wake: Wake::default(),
            charged: 0,
            isn: [0; 2],
            turns: 0,
            first_lengths: [0; 8],
            lengths: 0,
            ttl: [0; 2],
            syn_retransmits: 0,
            segment: [None; 2],
            mac: [None; 2],
            history: History::default(),
            wrongs: [0; 2],
            rare: None,
        }
    }

    pub fn facts(&self, hot: &Hot) -> FlowFacts {
        FlowFacts {
            id: self.id,
            tuple: hot.tuple(),
            segment: self.segment[0].or(self.segment[1]),
            ts: self.ts,
            start_seen: hot.flags.has(Flags::START_SEEN),
            ended: hot.done.map(|d| d.has(Done::ENDED)),
            service: hot.service,
        }
    }

    /// Whom a proxy was asked to talk with.
    pub fn remote(&self) -> Option<Endpoint> {
        self.rare.as_ref().and_then(|r| r.remote)
    }

    /// Packets that wait for those before them.
    pub fn waits(&self) -> Option<&Waits> {
        self.rare.as_ref().and_then(|r| r.waits.as_ref())
    }

    /// Takes those packets out.
    pub fn take_waits(&mut self) -> Option<Waits> {
        self.rare.as_mut().and_then(|r| r.waits.take())
    }

    /// What few flows have, made if this one had none.
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Bytes that hang on the flow, besides its session's.
    pub const fn hanging(&self) -> usize {
        let streams = if self.streams.is_some() { size_of::<[Stream; 2]>() + 16 } else { 0 };
        let spoken = if self.spoken.is_some() { size_of::<Spoken>() + 16 } else { 0 };
        let rare = match &self.rare {
            // Beats are held once more in a record that tells of the flow.
            Some(rare) => size_of::<Rare>() + 16 + 2 * rare.beats.capacity() * size_of::<Beat>(),
            None => 0,
        };
        streams + spoken + rare
    }

    /// Bytes held out of order.
    pub fn held(&self) -> usize {
        self.streams.as_ref().map_or(0, |s| s.iter().map(Stream::held).sum())
    }

    fn key_packets(&self, hot: &Hot, whole: bool) -> KeyPackets {
        let mut packets = KeyPackets::default();
        packets.push(self.id.packet);
        let resp_first = hot.flags.has(Flags::RESP_FIRST);
        let order =
            if resp_first { [Direction::Resp, Direction::Orig] } else { [Direction::Orig, Direction::Resp] };
        for side in order {
            if let Some(spoken) = self.spoken.as_ref().filter(|_| hot.flags.has(Flags::spoke(side))) {
                packets.push(spoken.packets[side.index()]);
            }
        }
        if whole {
            packets.push(hot.last_packet);
        }
        packets
    }

    /// The flow's record.
    pub fn tell(&self, hot: &Hot, phase: ConnPhase, known: Timestamp) -> Conn {
        let [o, r] = &hot.sides;
        let spoke =
            hot.flags.has(Flags::spoke(Direction::Orig)) || hot.flags.has(Flags::spoke(Direction::Resp));
        let first = if hot.flags.has(Flags::RESP_FIRST) { Direction::Resp } else { Direction::Orig };
        let mut head = self.facts(hot).head(self.ts, known);
        head.tuple.resp = self.remote().unwrap_or(head.tuple.resp);
        Conn {
            phase,
            head,
            last: hot.last,
            via: self.remote().map(|_| hot.tuple().resp),
            service: hot.service,
            state: state(hot.key.transport(), hot.done, [o.packets, r.packets]),
            history: self.history,
            packets: [o.packets, r.packets],
            bytes: [o.bytes, r.bytes],
            frame_bytes: [o.frame_bytes, r.frame_bytes],
            missed_bytes: [self.numbers[0].missed, self.numbers[1].missed],
            start_seen: hot.flags.has(Flags::START_SEEN),
            syn_retransmits: self.syn_retransmits,
            first_payload: self.spoken.as_ref().map(|s| s.facts).unwrap_or_default(),
            first_speaker: spoke.then_some(first),
            first_lengths: self.first_lengths,
            beats: self.rare.as_ref().map(|r| r.beats.clone()).unwrap_or_default(),
            payload_packets: self.payload_packets,
            turns: self.turns,
            mac: self.mac,
            tunnel_depth: self.id.layer,
            orig_ttl: self.ttl[0],
            key_packets: self.key_packets(hot, phase == ConnPhase::Closed),
        }
    }
}
