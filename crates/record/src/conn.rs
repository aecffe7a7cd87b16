use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::{Direction, Endpoint, Head, Mac, PacketId, PayloadFacts, Service, Timestamp, Transport, Tuple};
use serde::{Deserialize, Serialize};

/// Zeek's history letters, each at most once a side: upper case the originator, lower case the responder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    letters: [u8; Self::MAX],
    /// 0 <= len <= MAX
    len: u8,
}

impl History {
    /// Nine letters for each side.
    const MAX: usize = 18;

    /// Adds an ASCII letter; one more than there can be is not kept.
    pub fn push(&mut self, letter: u8) {
        if let Some(slot) = self.letters.get_mut(usize::from(self.len)) {
            *slot = letter;
            self.len += 1;
        }
    }

    /// The letters in the order of what happened.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.letters[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The packets of a flow that a reader wants to see, at most four, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPackets {
    packets: [PacketId; Self::MAX],
    /// 0 <= len <= MAX
    len: u8,
}

impl KeyPackets {
    const MAX: usize = 4;

    /// Adds a packet unless it is the one added last; one more than there can be is not kept.
    pub fn push(&mut self, packet: PacketId) {
        if self.last() != Some(&packet)
            && let Some(slot) = self.packets.get_mut(usize::from(self.len))
        {
            *slot = packet;
            self.len += 1;
        }
    }
}

impl FromIterator<PacketId> for KeyPackets {
    fn from_iter<I: IntoIterator<Item = PacketId>>(packets: I) -> Self {
        let mut made = Self::default();
        packets.into_iter().for_each(|p| made.push(p));
        made
    }
}

impl Deref for KeyPackets {
    type Target = [PacketId];

    fn deref(&self) -> &[PacketId] {
        // What was read from a disk may say anything.
        &self.packets[..usize::from(self.len).min(Self::MAX)]
    }
}

/// Which moment of a flow a [`Conn`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnPhase {
    /// The service was recognised, or declared opaque or unrecognised. Once per flow at most, and not for DNS, of which the
    /// questions tell with their answers.
    Classified,
    /// The flow is still open; told every five minutes of packet time.
    Interim,
    /// The flow ended, timed out or was evicted.
    Closed,
}

/// How a TCP connection went, in Zeek's words. UDP uses `SF` (both spoke) and `S0` (no answer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConnState {
    /// SYN without an answer.
    S0,
    /// Established, not closed.
    S1,
    /// Established and closed by both.
    SF,
    /// SYN answered by RST.
    Rej,
    /// Established, then reset by the originator.
    RstO,
    /// Established, then reset by the responder.
    RstR,
    /// SYN, then RST by the originator; no SYN-ACK seen.
    RstOS0,
    /// SYN-ACK, then RST by the responder; no SYN seen.
    RstRH,
    /// SYN, then FIN by the originator; no SYN-ACK seen.
    Sh,
    /// SYN-ACK then FIN by the responder; no SYN seen.
    ShR,
    /// Established, the originator closed, the responder did not.
    S2,
    /// Established, the responder closed, the originator did not.
    S3,
    /// No SYN seen; the middle of a connection.
    Oth,
}

impl ConnState {
    /// Zeek's spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S0 => "S0",
            Self::S1 => "S1",
            Self::SF => "SF",
            Self::Rej => "REJ",
            Self::RstO => "RSTO",
            Self::RstR => "RSTR",
            Self::RstOS0 => "RSTOS0",
            Self::RstRH => "RSTRH",
            Self::Sh => "SH",
            Self::ShR => "SHR",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::Oth => "OTH",
        }
    }

    /// Whether the connection was never established: unanswered or refused.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::S0 | Self::Rej | Self::RstOS0 | Self::Sh)
    }
}

/// A message after a silence, in a TCP connection of no known protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Milliseconds after the flow's first packet.
    pub at: u32,
    /// Who broke the silence.
    pub from: Direction,
    /// Bytes that it said before the other did.
    pub length: u32,
    /// Bytes of the other side's first packet, if that came soon: within [`Self::SOON`].
    pub reply: u32,
}

impl Beat {
    /// What counts as silence: no packet of the flow for so long, which is longer than people's pauses within a message and than most
    /// retransmissions (*assumed*).
    pub const SILENCE: Duration = Duration::from_secs(5);
    /// How soon a reply comes (*assumed*: as far as satellites, and a busy machine).
    pub const SOON: Duration = Duration::from_secs(3);
    /// Beats that are kept of a flow, the last.
    pub const MOST: usize = 24;
}

/// A flow. Arrays of two are `[originator's, responder's]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conn {
    /// Which moment of the flow this is.
    pub phase: ConnPhase,
    /// `ts` is when the first packet came.
    pub head: Head,
    /// When the last packet so far came.
    pub last: Timestamp,
    /// The proxy in between, where the responder of `tuple` is whom it was asked to talk with; packets go to and from the proxy.
    pub via: Option<Endpoint>,
    /// The protocol by content.
    pub service: Service,
    /// How the connection went.
    pub state: ConnState,
    /// Zeek's history letters: upper case the originator, lower case the responder; S syn, H syn-ack, D data, F fin, R rst, G gap, T retransmission, C bad checksum.
    pub history: History,
    /// Packets.
    pub packets: [u64; 2],
    /// Payload bytes on the wire (retransmissions counted again).
    pub bytes: [u64; 2],
    /// Bytes of whole frames on the wire.
    pub frame_bytes: [u64; 2],
    /// Payload bytes that sequence numbers say existed and the capture lacks.
    pub missed_bytes: [u64; 2],
    /// Whether the originator's SYN was seen (always true for UDP, whose first packet is its beginning).
    pub start_seen: bool,
    /// How many times the originator's SYN was sent again.
    pub syn_retransmits: u16,
    /// Facts of the first payload of each side.
    pub first_payload: [Option<PayloadFacts>; 2],
    /// Who sent the first payload.
    pub first_speaker: Option<Direction>,
    /// Lengths of the first payloads: positive the originator's, negative the responder's, 0 where there were fewer.
    pub first_lengths: [i32; 8],
    /// What was said after silence, the last of it: nothing for flows of known protocols and for other transports than TCP.
    pub beats: Vec<Beat>,
    /// Payload-carrying packets.
    pub payload_packets: [u64; 2],
    /// Times that the sending side changed, among payload packets.
    pub turns: u32,
    /// Source Ethernet address of each side, where the link has one and the flow is not tunnelled.
    pub mac: [Option<Mac>; 2],
    /// Tunnels around the flow.
    pub tunnel_depth: u8,
    /// IP time-to-live of the originator's first packet.
    pub orig_ttl: u8,
    /// The packets a reader wants to see: first, first payload of each side, and last.
    pub key_packets: KeyPackets,
}

impl Conn {
    /// Whether one side of a TCP connection is missing from the capture: the other goes on as if it had been answered. What that side said, and
    /// whether it answered at all, is unknown.
    pub fn is_one_sided(&self) -> bool {
        let went_on = |letters: [char; 2]| self.history.as_str().contains(letters);
        self.head.tuple.transport == Transport::Tcp
            && ((self.packets[1] == 0 && went_on(['A', 'D']))
                || (self.packets[0] == 0 && went_on(['a', 'd'])))
    }

    /// Whether it failed: nobody answered, or with a refusal. `None` where the capture cannot tell: its start is missing, or somebody went on who
    /// must have been answered, and the answer is missing.
    pub fn failed(&self) -> Option<bool> {
        let failed = self.state.is_failure() || !self.answered();
        let went_on = self.head.tuple.transport == Transport::Tcp
            && self.history.as_str().contains(['A', 'D', 'd', 'f']);
        (self.start_seen && !(failed && went_on)).then_some(failed)
    }

    /// Both ends as packets have them: with the proxy, where there is one.
    pub fn wire_tuple(&self) -> Tuple {
        Tuple { resp: self.via.unwrap_or(self.head.tuple.resp), ..self.head.tuple }
    }

    /// Whether the responder answered at all.
    pub const fn answered(&self) -> bool {
        self.packets[1] > 0
    }

    /// Whether nothing may have been told of the flow before: it has just been classified, or never was. Of DNS its questions
    /// have told.
    pub fn may_be_new(&self) -> bool {
        self.phase == ConnPhase::Classified || self.service == Service::Unknown
    }

    /// Whether it is known how long its messages were; logs of other sensors do not say.
    pub const fn tells_lengths(&self) -> bool {
        self.first_lengths[0] != 0 || (self.payload_packets[0] == 0 && self.payload_packets[1] == 0)
    }

    /// Whether its payload was seen, or it had none; logs of other sensors hold none.
    pub const fn tells_payload(&self) -> bool {
        let none = self.payload_packets[0] == 0 && self.payload_packets[1] == 0;
        none || self.first_payload[0].is_some() || self.first_payload[1].is_some()
    }

    /// Time from first to last packet.
    pub fn duration(&self) -> Duration {
        self.last.since(self.head.ts)
    }

    /// Whether the first payload of `side` looks opaque.
    pub fn opaque_first(&self, side: Direction) -> bool {
        self.first_payload[side.index()].is_some_and(|p| p.is_opaque())
    }
}
