//! DCE/RPC, connection-oriented (C706 §12, MS-RPCE): which operations of which interfaces are called, over TCP and over named pipes.

use std::collections::{BTreeMap, BTreeSet};

use record::{DceRpc, Direction, PacketId, Record, Timestamp, Uuid};

use crate::cutter::{Cut, Cutter};
use crate::ntlm;
use crate::outbox::{Packets, ParseContext};
use crate::protocol::{Protocol, Step};

/// The common header (C706 §12.6.3.1).
const HEADER: usize = 16;
/// Bytes kept of a fragment: a binding of some forty interfaces. What is called stands in the first 24.
const MAX_KEPT: usize = 2048;
/// Interfaces that are remembered as bound.
const MAX_BOUND: usize = 64;
/// Calls that wait for their answers.
const MAX_ASKED: usize = 32;
/// Calls told of one conversation.
const MAX_TOLD: usize = 64;
/// `RPC_C_AUTHN_LEVEL_PKT_PRIVACY` (MS-RPCE §2.2.1.1.8).
const PRIVACY: u8 = 6;

/// A call that waits for its answer.
#[derive(Debug)]
struct Call {
    interface: Option<Uuid>,
    operation: u16,
    private: bool,
    ts: Timestamp,
    packet: PacketId,
}

/// How a call was answered.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Not that anybody saw.
    Unseen,
    /// With a result, where it is whole and in clear.
    Said(Option<u32>),
    /// With a fault.
    Fault(u32),
}

/// How a call went: what, and whether with a fault or another result than 0.
type Kind = (Option<Uuid>, u16, bool, bool);

/// What two ends say to each other, over whatever carries it.
#[derive(Debug)]
pub struct Conversation {
    cutters: [Cutter; 2],
    pipe: Option<String>,
    user: Option<String>,
    bound: BTreeMap<u16, Uuid>,
    asked: BTreeMap<u32, Call>,
    told: BTreeSet<Kind>,
}

/// A fragment, as far as it was kept.
struct Fragment<'a> {
    bytes: &'a [u8],
    whole: usize,
    little: bool,
}

impl Fragment<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..)?.first_chunk().copied()?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk().copied()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// An interface's name: three numbers in the sender's order, then bytes (C706 §A).
    fn uuid(&self, at: usize) -> Option<Uuid> {
        let mut bytes: [u8; 16] = *self.bytes.get(at..)?.first_chunk()?;
        if self.little {
            let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
            let [i, j, k, l, m, n, o, p] = rest;
            bytes = [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p];
        }
        Some(Uuid(bytes))
    }

    /// Where authentication begins, and its level; `None` where there is none or it was not kept.
    fn auth(&self) -> Option<(usize, u8)> {
        let length = usize::from(self.u16(10)?);
        if length == 0 {
            return None;
        }
        let at = self.whole.checked_sub(length)?.checked_sub(8)?;
        Some((at, *self.bytes.get(at..)?.get(1)?))
    }

    /// The last four bytes of what is answered, where it is whole and in clear.
    fn result(&self) -> Option<u32> {
        if self.bytes.len() < self.whole {
            return None;
        }
        let end = if self.u16(10)? == 0 {
            self.whole
        } else {
            let (at, level) = self.auth()?;
            let padding = usize::from(*self.bytes.get(at..)?.get(2)?);
            if level >= PRIVACY {
                return None;
            }
            at.checked_sub(padding)?
        };
        let at = end.checked_sub(4).filter(|at| *at >= 24)?;
        self.u32(at)
    }
}

/// The length of a fragment by its header; `None` where it is none (C706 §12.6.3.1).
fn fragment_length(b: &[u8]) -> Option<usize> {
    match b {
        [5, 0 | 1, 0..=20, _, order, _, 0, 0, f0, f1, ..] => {
            let read = if order & 0x10 != 0 { u16::from_le_bytes } else { u16::from_be_bytes };
            let length = usize::from(read([*f0, *f1]));
            (length >= HEADER).then_some(length)
        }
        _ => None,
    }
}

impl Conversation {
    pub fn new(pipe: Option<String>, user: Option<String>) -> Self {
        Self {
            cutters: [Cutter::new(HEADER, MAX_KEPT), Cutter::new(HEADER, MAX_KEPT)],
            pipe,
            user,
            bound: BTreeMap::new(),
            asked: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    fn cutter(&mut self, from: Direction) -> &mut Cutter {
        let [orig, resp] = &mut self.cutters;
        if from == Direction::Orig { orig } else { resp }
    }

    /// Bytes of one side, in order.
    pub fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) {
        let mut rest = bytes;
        // The cutter's bytes are looked at while the rest changes.
        let fresh = Cutter::new(HEADER, MAX_KEPT);
        let mut cutter = std::mem::replace(self.cutter(from), fresh);
        while let Some(Cut::Message(head, whole)) = cutter.next(&mut rest, fragment_length) {
            self.fragment(from, head, whole, context);
        }
        *self.cutter(from) = cutter;
    }

    /// Bytes of one side are missing.
    pub fn gap(&mut self, from: Direction, bytes: u64) {
        self.cutter(from).gap(bytes);
    }

    fn fragment(&mut self, from: Direction, bytes: &[u8], whole: usize, context: &mut ParseContext<'_>) {
        let [_, _, kind, flags, order, ..] = *bytes else { return };
        let f = Fragment { bytes, whole, little: order & 0x10 != 0 };
        let (first, last) = (flags & 1 != 0, flags & 2 != 0);
        // What is in a fragment whose fields are cut is not known; the next has a header of its own.
        let _ = match (from, kind) {
            (Direction::Orig, 0) if first => self.request(&f, context),
            (Direction::Resp, 2) if last => self.answer(&f, None, context),
            (Direction::Resp, 3) => f.u32(24).and_then(|status| self.answer(&f, Some(status), context)),
            (Direction::Orig, 11 | 14) => self.bind(&f),
            (Direction::Orig, 16) => self.log_on(&f),
            _ => None,
        };
    }

    /// Interfaces are bound to numbers (C706 §12.6.4.3).
    fn bind(&mut self, f: &Fragment<'_>) -> Option<()> {
        let _ = self.log_on(f);
        let mut at = 28usize;
        for _ in 0..*f.bytes.get(24)? {
            let (id, syntaxes) = (f.u16(at)?, usize::from(*f.bytes.get(at.checked_add(2)?)?));
            let interface = f.uuid(at.checked_add(4)?)?;
            if self.bound.len() < MAX_BOUND || self.bound.contains_key(&id) {
                self.bound.insert(id, interface);
            }
            at = at.checked_add(24)?.checked_add(syntaxes.checked_mul(20)?)?;
        }
        Some(())
    }

    /// NTLM's last word stands in the part that authenticates.
    fn log_on(&mut self, f: &Fragment<'_>) -> Option<()> {
        let (at, _) = f.auth()?;
        let login = ntlm::login(f.bytes.get(at..)?)?;
        self.user = Some(login.account());
        Some(())
    }

    /// A call (C706 §12.6.4.9).
    fn request(&mut self, f: &Fragment<'_>, context: &ParseContext<'_>) -> Option<()> {
        let (call, bound, operation) = (f.u32(12)?, f.u16(20)?, f.u16(22)?);
        let interface = self.bound.get(&bound).copied();
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&call) {
            self.asked.pop_first();
        }
        let private = f.auth().is_some_and(|(_, level)| level >= PRIVACY);
        let (ts, packet) = (context.ts, context.packet);
        self.asked.insert(call, Call { interface, operation, private, ts, packet });
        Some(())
    }

    /// An answer (C706 §12.6.4.10) or a fault (§12.6.4.7).
    fn answer(&mut self, f: &Fragment<'_>, fault: Option<u32>, context: &mut ParseContext<'_>) -> Option<()> {
        let call = self.asked.remove(&f.u32(12)?)?;
        let answer = fault.map_or_else(|| Answer::Said(f.result()), Answer::Fault);
        let private = call.private || f.auth().is_some_and(|(_, level)| level >= PRIVACY);
        self.tell(&Call { private, ..call }, answer, context);
        Some(())
    }

    fn tell(&mut self, call: &Call, answer: Answer, context: &mut ParseContext<'_>) {
        let (answered, fault, result) = match answer {
            Answer::Unseen => (false, None, None),
            Answer::Said(result) => (true, None, result),
            Answer::Fault(status) => (true, Some(status), None),
        };
        let kind = (call.interface, call.operation, fault.is_some(), result.is_some_and(|r| r != 0));
        if self.told.len() >= MAX_TOLD || !self.told.insert(kind) {
            return;
        }
        let mut packets = Packets::default();
        packets.add(call.packet);
        if answered {
            packets.add(context.packet);
        }
        context.out.records.push(Record::DceRpc(Box::new(DceRpc {
            head: context.flow.head(call.ts, context.at),
            pipe: self.pipe.clone(),
            user: self.user.clone(),
            interface: call.interface,
            operation: call.operation,
            answered,
            fault,
            result,
            private: call.private,
            packets: packets.take(),
        })));
    }

    /// What was never answered is told.
    pub fn end(&mut self, context: &mut ParseContext<'_>) {
        for call in std::mem::take(&mut self.asked).into_values() {
            self.tell(&call, Answer::Unseen, context);
        }
    }

    /// About how many bytes hang on it.
    pub fn weight(&self) -> usize {
        let heads = self.cutters.iter().fold(0usize, |sum, c| sum.saturating_add(c.weight()));
        let entries = self.bound.len().saturating_add(self.asked.len()).saturating_add(self.told.len());
        heads.saturating_add(entries.saturating_mul(size_of::<Call>()))
    }
}

/// DCE/RPC over TCP (`ncacn_ip_tcp`).
pub struct RpcSession(Conversation);

impl Default for RpcSession {
    fn default() -> Self {
        Self(Conversation::new(None, None))
    }
}

impl Protocol for RpcSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        self.0.data(from, bytes, context);
        Step::More
    }

    fn gap(&mut self, from: Direction, bytes: u64, _: &mut ParseContext<'_>) -> Step {
        self.0.gap(from, bytes);
        Step::More
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        self.0.end(context);
    }

    fn weight(&self) -> usize {
        self.0.weight()
    }
}
