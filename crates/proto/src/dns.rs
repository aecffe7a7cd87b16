//! DNS (RFC 1035): messages over UDP and, behind a two-byte length, over TCP.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::{Anomaly, Direction, Dns, DnsAnswer, PacketId, Record, Timestamp, Transport};

use crate::cursor::Cursor;
use crate::outbox::ParseContext;
use crate::protocol::{Protocol, Step};

/// Answers kept of a response; round-robin names have up to 30 or so.
const MAX_ANSWERS: usize = 32;
/// A name has at most 127 labels (RFC 1035: 255 bytes), and following more pointers than that is a loop.
const MAX_LABELS: usize = 128;
/// Pointers followed in one name.
const MAX_JUMPS: u8 = 16;
/// Bytes of a name's text; with every byte escaped, 255 bytes make four times as many.
const MAX_NAME: usize = 1024;
/// Room that is made for a name before it is read.
const TYPICAL_NAME: usize = 40;
/// Questions of one flow that wait for their answer. A resolver's flow may have many.
const MAX_WAITING: usize = 64;
/// The largest message over TCP.
const MAX_TCP: usize = 65_535;

/// A message, understood as far as it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: u16,
    /// 0 is a query; NOTIFY and UPDATE ask for nothing that a record tells of.
    pub opcode: u8,
    pub response: bool,
    pub recursion_desired: bool,
    pub rcode: u8,
    pub query: String,
    pub qtype: u16,
    pub answers: Vec<DnsAnswer>,
    /// It ended before its counts were used up, or broke a rule.
    pub malformed: bool,
}

/// Reads a name; gives it lower case with dots, other bytes escaped.
pub fn name(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut out = String::with_capacity(TYPICAL_NAME);
    labels(cursor, |label| {
        if !out.is_empty() {
            out.push('.');
        }
        for &b in label {
            match b {
                b'.' | b'\\' => {
                    out.push('\\');
                    out.push(char::from(b));
                }
                0x21..=0x7e => out.push(char::from(b.to_ascii_lowercase())),
                _ => {
                    let _ = write!(out, "\\{b:03}");
                }
            }
        }
        out.len() <= MAX_NAME
    })?;
    Some(out)
}

/// Steps over a name: to its end, or over the pointer that ends it.
pub fn step_over_name(c: &mut Cursor<'_>) -> Option<()> {
    for _ in 0..MAX_LABELS {
        let len = c.u8()?;
        match len >> 6 {
            0 if len == 0 => return Some(()),
            0 => {
                c.take(usize::from(len))?;
            }
            3 => {
                c.u8()?;
                return Some(());
            }
            _ => return None,
        }
    }
    None
}

/// Goes through the labels of a name, wherever its pointers lead; `each` says whether it may go on.
fn labels<'a>(cursor: &mut Cursor<'a>, mut each: impl FnMut(&'a [u8]) -> bool) -> Option<()> {
    let mut at = *cursor;
    let mut jumped = false;
    let mut jumps = 0u8;
    for _ in 0..MAX_LABELS {
        let start = at.position();
        let len = at.u8()?;
        match len >> 6 {
            0 if len == 0 => {
                if !jumped {
                    *cursor = at;
                }
                return Some(());
            }
            0 => {
                if !each(at.take(usize::from(len))?) {
                    return None;
                }
            }
            3 => {
                let target = (usize::from(len & 0x3f) << 8) | usize::from(at.u8()?);
                if !jumped {
                    *cursor = at;
                    jumped = true;
                }
                // Only backwards: a pointer that is not is a loop. Compressors make one or two of a name.
                jumps = jumps.saturating_add(1);
                if target >= start || jumps > MAX_JUMPS {
                    return None;
                }
                at.seek(target)?;
            }
            _ => return None,
        }
    }
    None
}

/// Parses a message; `None` when it cannot be DNS.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let mut c = Cursor::new(bytes);
    let (id, flags) = (c.u16()?, c.u16()?);
    let (questions, answers, authority, additional) = (c.u16()?, c.u16()?, c.u16()?, c.u16()?);
    let opcode = (flags >> 11) & 0xf;
    let response = flags & 0x8000 != 0;
    // Z must be zero; opcodes beyond 6 are not assigned; one question, or none in some responses.
    if opcode > 6 || flags & 0x0040 != 0 || questions > 1 || (questions == 0 && !response) {
        return None;
    }
    let is_query = matches!(opcode, 0..=2);
    if (!response && flags & 0x000f != 0) || answers > 4096 || additional > 1024 || authority > 4096 {
        return None;
    }
    // A question carries no answers, but for NOTIFY (RFC 1996) and UPDATE (RFC 2136), whose sections are others.
    if is_query && !response && answers > 1 {
        return None;
    }
    let mut message = Message {
        id,
        opcode: opcode as u8,
        response,
        recursion_desired: flags & 0x0100 != 0,
        rcode: (flags & 0xf) as u8,
        query: String::new(),
        qtype: 0,
        answers: Vec::new(),
        malformed: false,
    };
    if questions == 1 {
        message.query = name(&mut c)?;
        message.qtype = c.u16()?;
        let class = c.u16()? & 0x7fff;
        if !matches!(class, 1 | 3 | 4 | 254 | 255) || message.qtype == 0 {
            return None;
        }
    } else if answers == 0 && authority == 0 {
        // A response without any section: only an error code makes sense.
        return (bytes.len() == 12 && message.rcode != 0).then_some(message);
    }
    // What is beyond the limit is not read: a message may claim thousands of answers in a few bytes each.
    for _ in 0..usize::from(answers).min(MAX_ANSWERS) {
        let Some(answer) = answer(&mut c) else {
            message.malformed = true;
            break;
        };
        message.answers.push(answer);
    }
    Some(message)
}

fn answer(c: &mut Cursor<'_>) -> Option<DnsAnswer> {
    // Whose answer it is, the question's or that of an alias before it, nobody asks.
    step_over_name(c)?;
    let (rtype, _class, ttl, len) = (c.u16()?, c.u16()?, c.u32()?, c.u16()?);
    let start = c.position();
    let data = c.take(usize::from(len))?;
    let mut made = DnsAnswer { rtype, ttl, addr: None, name: None };
    let mut inner = *c;
    inner.seek(start)?;
    match rtype {
        1 => made.addr = <[u8; 4]>::try_from(data).ok().map(|a| IpAddr::V4(Ipv4Addr::from(a))),
        28 => made.addr = <[u8; 16]>::try_from(data).ok().map(|a| IpAddr::V6(Ipv6Addr::from(a))),
        2 | 5 | 12 => made.name = name(&mut inner),
        15 => {
            inner.u16()?;
            made.name = name(&mut inner);
        }
        _ => {}
    }
    Some(made)
}

struct Waiting {
    message: Message,
    ts: Timestamp,
    packet: PacketId,
}

/// Pairs questions with answers.
#[derive(Default)]
pub struct DnsSession {
    waiting: VecDeque<Waiting>,
    stream: [Vec<u8>; 2],
}

impl Protocol for DnsSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        if context.flow.tuple.transport == Transport::Tcp {
            return Step::more(self.stream(from, bytes, context));
        }
        self.datagram(bytes, context);
        Step::More
    }

    /// Where the next message begins is lost.
    fn gap(&mut self, _: Direction, _: u64, _: &mut ParseContext<'_>) -> Step {
        Step::Over
    }

    /// What still waits was not answered.
    fn end(&mut self, context: &mut ParseContext<'_>) {
        while let Some(old) = self.waiting.pop_front() {
            push(old, None, 0, context);
        }
    }

    /// Unfinished messages.
    fn weight(&self) -> usize {
        let waiting = self.waiting.len().saturating_mul(size_of::<Waiting>().saturating_add(TYPICAL_NAME));
        self.stream.iter().map(Vec::capacity).fold(waiting, usize::saturating_add)
    }
}

impl DnsSession {
    /// A datagram.
    fn datagram(&mut self, bytes: &[u8], context: &mut ParseContext<'_>) {
        match parse(bytes) {
            Some(message) => self.message(message, bytes.len() as u32, context),
            None => context.out.strange(Anomaly::DnsMalformed),
        }
    }

    /// Bytes of a TCP stream; `false` when it makes no sense any more.
    fn stream(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> bool {
        let [orig, resp] = &mut self.stream;
        let kept = if from == Direction::Orig { orig } else { resp };
        kept.extend_from_slice(bytes);
        let mut whole = std::mem::take(kept);
        let mut used = 0usize;
        loop {
            let mut c = Cursor::new(whole.get(used..).unwrap_or_default());
            let Some(message) = c.vec16() else { break };
            used = used.saturating_add(c.position());
            self.datagram(message, context);
        }
        whole.drain(..used.min(whole.len()));
        let fits = whole.len() <= MAX_TCP;
        let [orig, resp] = &mut self.stream;
        *(if from == Direction::Orig { orig } else { resp }) = whole;
        fits
    }

    fn message(&mut self, message: Message, len: u32, context: &mut ParseContext<'_>) {
        if message.malformed {
            context.out.strange(Anomaly::DnsMalformed);
        }
        if !matches!(message.opcode, 0..=2) {
            return;
        }
        if !message.response {
            // The same question again is a retransmission.
            if self.waiting.iter().any(|w| w.message.id == message.id && w.message.query == message.query) {
                return;
            }
            if self.waiting.len() >= MAX_WAITING
                && let Some(old) = self.waiting.pop_front()
            {
                push(old, None, 0, context);
            }
            if self.waiting.is_empty() {
                // Most flows ask one question.
                self.waiting.reserve_exact(1);
            }
            self.waiting.push_back(Waiting { message, ts: context.ts, packet: context.packet });
            return;
        }
        let asked = self.waiting.iter().position(|w| {
            w.message.id == message.id && (message.query.is_empty() || w.message.query == message.query)
        });
        match asked.and_then(|at| self.waiting.remove(at)) {
            Some(question) => push(question, Some(message), len, context),
            None if message.query.is_empty() => {}
            None => {
                let alone = Waiting { message: message.clone(), ts: context.ts, packet: context.packet };
                push(alone, Some(message), len, context);
            }
        }
    }
}

fn push(question: Waiting, answer: Option<Message>, len: u32, context: &mut ParseContext<'_>) {
    let mut packets = vec![question.packet];
    let answered = answer.is_some();
    if answered && context.packet != question.packet {
        packets.push(context.packet);
    }
    context.out.records.push(Record::Dns(Box::new(Dns {
        head: context.flow.head(question.ts, context.at),
        id: question.message.id,
        query: question.message.query,
        qtype: question.message.qtype,
        rcode: answer.as_ref().map(|a| a.rcode),
        recursion_desired: question.message.recursion_desired,
        rtt: answered.then(|| context.ts.since(question.ts)),
        answers: answer.map(|a| a.answers).unwrap_or_default(),
        response_len: len,
        packets,
    })));
}
