//! How much of each flow came so far, for whoever takes the beginning of flows alone.

use std::time::Duration;

use record::{Anomaly, Timestamp};
use wire::{FragmentPiece, Packet, Sink, TcpFlags};

/// Flows whose bytes are counted: so many sets of four, of which the one that was silent longest is forgotten.
const SETS: usize = 1 << 16;
const WAYS: usize = 4;
/// A flow that was silent for so long begins anew (*assumed*).
const SILENT: Duration = Duration::from_mins(10);

/// What a flow's packets took so far.
#[derive(Clone, Copy)]
struct Taken {
    flow: u64,
    bytes: u64,
    last: Timestamp,
}

/// What flows took so far.
pub struct FlowsTaken(Vec<[Taken; WAYS]>);

/// What a frame holds: the flow of the innermost packet, and whether one opens or ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// A number of the flow, the same both ways.
    pub flow: Option<u64>,
    /// Whether it opens or ends one.
    pub edge: bool,
}

impl Holds {
    /// Of a frame.
    pub fn of(frame: &[u8], link: u32, original: u32) -> Self {
        let mut holds = Self::default();
        wire::decode(frame, link, original, &mut holds);
        holds
    }
}

impl Sink for Holds {
    fn packet(&mut self, p: Packet) {
        self.flow = Some(flow::hash_of(&p));
        self.edge |= [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST].iter().any(|flag| p.tcp.flags.has(*flag));
    }

    fn fragment(&mut self, _: FragmentPiece, _: &[u8]) {}

    fn anomaly(&mut self, _: Anomaly) {}
}

impl Default for FlowsTaken {
    fn default() -> Self {
        let free = Taken { flow: 0, bytes: 0, last: Timestamp::MIN };
        Self(vec![[free; WAYS]; SETS])
    }
}

impl FlowsTaken {
    /// Counts a packet of a flow; gives what came of it before.
    pub fn take(&mut self, flow: u64, bytes: u32, now: Timestamp) -> u64 {
        let set = &mut self.0[flow as usize % SETS];
        let oldest = set.iter().enumerate().min_by_key(|(_, t)| t.last).map_or(0, |(n, _)| n);
        let at = set.iter().position(|t| t.flow == flow).unwrap_or(oldest);
        let taken = &mut set[at];
        if taken.flow != flow || now.since(taken.last) > SILENT {
            *taken = Taken { flow, bytes: 0, last: now };
        }
        let before = taken.bytes;
        (taken.bytes, taken.last) = (before.saturating_add(u64::from(bytes)), now);
        before
    }
}
