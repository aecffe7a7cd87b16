//! One flow's understanding: recognition first, then the parser of what was recognised.

use record::{
    Chunk, Direction, Endpoint, FlowFacts, FrameCandidate, PacketId, PayloadFacts, Progress, Record,
    RelayKind, Service, Timestamp, Transport, Tuple,
};

use crate::content::{BareFile, is_bare_file};
use crate::framing::{self, Framing};
use crate::keystream::Keystream;
use crate::outbox::{Outbox, ParseContext};
use crate::protocol::{Protocol, READERS, Reader, Step, begin};
use crate::recognise::{self, Probe};
use crate::relay::{self, Relayed};
use crate::self_report;

/// First bytes of each side that recognition looks at.
const MAX_HEAD: usize = 2048;
/// Stream pieces after which recognition gives up.
const MAX_PIECES: u8 = 12;
/// Payloads of an unrecognised flow that are looked at as frames.
const MAX_FRAMES: u8 = 16;
/// A client's payloads in which it may tell of its machine: programs do so when they call (*assumed*).
const MAX_REPORTS: u8 = 4;
/// The length of a Kraken frame without body (KRAKEN §3).
const FRAME_LEN: u32 = 24;

/// A piece kept until the protocol is known.
struct Early {
    from: Direction,
    bytes: Vec<u8>,
    ts: Timestamp,
    packet: PacketId,
}

#[derive(Default)]
struct Probing {
    early: Vec<Early>,
    heads: [Vec<u8>; 2],
    pieces: u8,
    /// What the flow counted in the first of them, where that is a datagram.
    facts: Option<PayloadFacts>,
}

enum State {
    /// Nothing was said yet. Most first payloads settle the protocol, and then nothing of them needs to be kept.
    Fresh,
    Probing(Box<Probing>),
    /// Read by its parser.
    Read(Box<dyn Protocol>),
    /// Not recognised; its first payloads are still looked at as frames.
    Unknown,
    /// Nothing more is to be learnt.
    Done,
}

/// What is understood of one flow.
pub struct Session {
    state: State,
    /// Payloads looked at so far, by side.
    payloads: [u8; 2],
    /// Whom a proxy in between talks with: what the rest of the flow is about.
    remote: Option<Box<Endpoint>>,
    /// Proxies behind one another that were seen through.
    relays: u8,
    /// Whether the client told of its machine.
    reported: bool,
    /// Whether its first bytes are missing.
    holed: bool,
    /// Whether its messages state their own length, as long as that is not known.
    framing: Option<Box<Framing>>,
    /// Whether its messages begin with the same cipher text, as long as that is not known.
    keystream: Option<Box<Keystream>>,
}

/// Proxies behind one another that are seen through; people chain two or three.
const MAX_RELAYS: u8 = 4;

/// What a piece came to.
#[derive(Default)]
struct Fed {
    service: Option<Service>,
    relayed: Option<Relayed>,
}

impl Session {
    /// A flow begins.
    pub fn new() -> Self {
        Self {
            state: State::Fresh,
            payloads: [0; 2],
            remote: None,
            relays: 0,
            reported: false,
            holed: false,
            framing: None,
            keystream: None,
        }
    }

    /// Bytes came.
    pub fn data(&mut self, flow: &FlowFacts, chunk: &Chunk<'_>, out: &mut Outbox) -> Progress {
        let Fed { mut service, mut relayed } = self.piece(flow, chunk, out);
        let mut remote = None;
        while let Some(Relayed { to, rest: [client, server], lost }) = relayed.take() {
            self.relays = self.relays.saturating_add(1);
            if self.relays > MAX_RELAYS {
                self.state = State::Done;
                break;
            }
            (self.state, self.payloads) = (State::Fresh, [0; 2]);
            if let Some(to) = to {
                self.remote = Some(Box::new(to));
                remote = Some(to);
            }
            for (from, bytes) in [(Direction::Orig, client), (Direction::Resp, server)] {
                if let Some(Relayed { rest: [_, inner], .. }) = &mut relayed {
                    // The client's part has led to a further proxy: the server's is about that.
                    inner.extend_from_slice(&bytes);
                } else if !bytes.is_empty() {
                    let rest =
                        Chunk { from, bytes: &bytes, wire_len: bytes.len() as u32, facts: None, ..*chunk };
                    let fed = self.piece(flow, &rest, out);
                    service = fed.service.or(service);
                    relayed = fed.relayed;
                    if lost > 0 && from == Direction::Orig {
                        let missed = self.gap(flow, from, lost, chunk.at, chunk.packet, out);
                        service = missed.service.or(service);
                    }
                }
            }
        }
        if let State::Read(protocol) = &mut self.state {
            remote = remote.or(protocol.take_remote());
        }
        Progress { service, wants_more: self.wants_more(), remote }
    }

    /// A piece of the flow, or of what a proxy relays in it.
    fn piece(&mut self, flow: &FlowFacts, chunk: &Chunk<'_>, out: &mut Outbox) -> Fed {
        let relayed = self.relayed_facts(flow);
        let flow = relayed.as_ref().unwrap_or(flow);
        if matches!(self.state, State::Fresh)
            && chunk.from == Direction::Orig
            && flow.tuple.transport == Transport::Tcp
            && matches!(chunk.bytes.first(), Some(b'P' | b'\r'))
            && let Some((len, ends)) = relay::proxy_header(chunk.bytes)
        {
            let mut context = ParseContext { flow, ts: chunk.ts, at: chunk.at, packet: chunk.packet, out };
            let mut to = None;
            if let Some((source, destination)) = ends {
                relay::tell(RelayKind::ProxyProtocol, &destination, &mut context);
                // A balancer in front of servers says so of everybody: only of itself it names a remote.
                to = Some(destination.end).filter(|_| source == flow.tuple.orig.ip);
            }
            let rest = chunk.bytes.get(len..).unwrap_or_default().to_vec();
            return Fed { service: None, relayed: Some(Relayed { to, rest: [rest, Vec::new()], lost: 0 }) };
        }
        self.frame(flow, chunk, out);
        let verdict = match &mut self.state {
            State::Fresh => first_look(flow, chunk),
            State::Probing(probing) => probing.look(flow, chunk),
            State::Unknown => {
                self.framed(flow, chunk.from, chunk.bytes, chunk.at, chunk.packet, out);
                return Fed::default();
            }
            _ => {
                let mut context =
                    ParseContext { flow, ts: chunk.ts, at: chunk.at, packet: chunk.packet, out };
                return Fed { service: None, relayed: self.feed(chunk.from, chunk.bytes, &mut context) };
            }
        };
        let mut relayed = None;
        let service = match verdict {
            Probe::Is(found) => {
                let mut context =
                    ParseContext { flow, ts: chunk.ts, at: chunk.at, packet: chunk.packet, out };
                let next = begin(found, &context).map_or(State::Done, State::Read);
                let before = std::mem::replace(&mut self.state, next);
                match before {
                    State::Probing(probing) => {
                        for e in probing.early {
                            let mut context =
                                ParseContext { flow, ts: e.ts, at: chunk.at, packet: e.packet, out };
                            match &mut relayed {
                                None => relayed = self.feed(e.from, &e.bytes, &mut context),
                                // What came behind belongs to the inner protocol.
                                Some(Relayed { rest: [client, server], .. }) => {
                                    let side = if e.from == Direction::Orig { client } else { server };
                                    side.extend_from_slice(&e.bytes);
                                }
                            }
                        }
                    }
                    _ => relayed = self.feed(chunk.from, chunk.bytes, &mut context),
                }
                Some(found)
            }
            Probe::No => Some(if matches!(self.state, State::Probing(_)) {
                self.give_up(flow, chunk.at, out)
            } else {
                self.report(flow, chunk.from, chunk.bytes, (chunk.ts, chunk.at), chunk.packet, out);
                self.state = State::Unknown;
                if flow.tuple.transport == Transport::Tcp && !self.holed && is_bare_file([chunk.bytes, &[]]) {
                    let mut context =
                        ParseContext { flow, ts: chunk.ts, at: chunk.at, packet: chunk.packet, out };
                    self.state = State::Read(Box::new(BareFile::new(&context)));
                    self.feed(chunk.from, chunk.bytes, &mut context);
                } else {
                    self.frames_from(flow, chunk.packet);
                    self.framed(flow, chunk.from, chunk.bytes, chunk.at, chunk.packet, out);
                }
                opaque_or_not(&chunk.counted())
            }),
            Probe::Maybe => {
                if matches!(self.state, State::Fresh) {
                    let mut probing = Box::<Probing>::default();
                    probing.keep(chunk, flow.tuple.transport == Transport::Udp);
                    self.state = State::Probing(probing);
                }
                None
            }
        };
        Fed { service, relayed }
    }

    /// What is known of the flow, as the protocol within sees it; `None` where no proxy is in between.
    fn relayed_facts(&self, flow: &FlowFacts) -> Option<FlowFacts> {
        let remote = self.remote.as_deref()?;
        Some(FlowFacts { tuple: Tuple { resp: *remote, ..flow.tuple }, ..*flow })
    }

    /// Bytes are missing.
    pub fn gap(
        &mut self,
        flow: &FlowFacts,
        from: Direction,
        bytes: u64,
        at: Timestamp,
        packet: PacketId,
        out: &mut Outbox,
    ) -> Progress {
        let relayed = self.relayed_facts(flow);
        let flow = relayed.as_ref().unwrap_or(flow);
        let mut context = ParseContext { flow, ts: at, at, packet, out };
        let mut service = None;
        match &mut self.state {
            // What comes behind a hole is no beginning.
            State::Probing(probing) if probing.heads.iter().any(|h| !h.is_empty()) => {
                service = Some(self.give_up(flow, at, out));
                if let State::Read(file) = &mut self.state {
                    file.gap(from, bytes, &mut ParseContext { flow, ts: at, at, packet, out });
                }
            }
            // What begins behind a hole is no beginning either.
            State::Fresh => self.holed = true,
            State::Read(protocol) => {
                let step = protocol.gap(from, bytes, &mut context);
                self.step(step, from, &[], &mut context);
            }
            _ => {}
        }
        // Nor does what comes behind one tell where messages begin.
        (self.framing, self.keystream) = (None, None);
        Progress { service, wants_more: self.wants_more(), remote: None }
    }

    /// The flow ends; gives the service if only this settles it.
    pub fn end(&mut self, flow: &FlowFacts, at: Timestamp, out: &mut Outbox) -> Option<Service> {
        let relayed = self.relayed_facts(flow);
        let flow = relayed.as_ref().unwrap_or(flow);
        let mut context = ParseContext { flow, ts: at, at, packet: flow.id.packet, out };
        match &mut self.state {
            State::Probing(probing) if probing.heads.iter().any(|h| !h.is_empty()) => {
                let service = self.give_up(flow, at, out);
                if let State::Read(file) = &mut self.state {
                    file.end(&mut ParseContext { flow, ts: at, at, packet: flow.id.packet, out });
                }
                self.state = State::Done;
                return Some(service);
            }
            State::Read(protocol) => protocol.end(&mut context),
            State::Unknown => {
                if let Some((shown, packet)) = self.keystream.take().and_then(|mut k| k.end()) {
                    tell(flow, shown, at, packet, out);
                }
            }
            _ => {}
        }
        self.state = State::Done;
        None
    }

    fn wants_more(&self) -> bool {
        match self.state {
            State::Done => false,
            State::Unknown => self.payloads.iter().any(|n| *n < MAX_FRAMES),
            _ => true,
        }
    }

    /// About how many bytes hang on it: what was kept until its protocol is known, or the parser of that.
    pub fn weight(&self) -> usize {
        match &self.state {
            State::Unknown => {
                let keystream = self.keystream.as_ref().map_or(0, |k| size_of_val(&**k));
                self.framing.as_ref().map_or(0, |f| f.weight()).saturating_add(keystream)
            }
            State::Fresh | State::Done => 0,
            State::Probing(p) => {
                let kept = p.early.iter().map(|e| e.bytes.len().saturating_add(size_of::<Early>()));
                // Streams stand in the heads too.
                kept.fold(size_of::<Probing>(), |all, one| all.saturating_add(one.saturating_mul(2)))
            }
            State::Read(protocol) => size_of_val(&**protocol).saturating_add(protocol.weight()),
        }
    }

    /// Gives bytes to the parser.
    fn feed(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Option<Relayed> {
        let State::Read(protocol) = &mut self.state else { return None };
        let step = protocol.data(from, bytes, context);
        self.step(step, from, bytes, context)
    }

    /// Goes on as the parser said of these bytes; gives what a proxy relays from here on.
    fn step(
        &mut self,
        step: Step,
        from: Direction,
        bytes: &[u8],
        context: &mut ParseContext<'_>,
    ) -> Option<Relayed> {
        match step {
            Step::More => {}
            Step::Over => self.state = State::Done,
            Step::Becomes(next) => self.state = State::Read(next),
            Step::Begins(next) => {
                self.state = State::Read(next);
                return self.feed(from, bytes, context);
            }
            Step::Relayed(relayed) => return Some(relayed),
        }
        None
    }

    /// Nobody recognises what was kept: gives what is to be said of it, and tells what the client told of its machine.
    fn give_up(&mut self, flow: &FlowFacts, at: Timestamp, out: &mut Outbox) -> Service {
        let State::Probing(probing) = std::mem::replace(&mut self.state, State::Unknown) else {
            return Service::Unrecognised;
        };
        if let Some(first) = probing.early.iter().find(|e| e.from == Direction::Orig) {
            let [said, _] = &probing.heads;
            self.report(flow, Direction::Orig, said, (first.ts, at), first.packet, out);
        }
        let [orig, resp] = &probing.heads;
        if flow.tuple.transport == Transport::Tcp && !self.holed && is_bare_file([orig, resp]) {
            let mut file: Box<dyn Protocol> =
                Box::new(BareFile::new(&ParseContext { flow, ts: at, at, packet: flow.id.packet, out }));
            for e in &probing.early {
                file.data(e.from, &e.bytes, &mut ParseContext { flow, ts: e.ts, at, packet: e.packet, out });
            }
            self.state = State::Read(file);
        } else {
            self.frames_from(flow, flow.id.packet);
            for e in &probing.early {
                self.framed(flow, e.from, &e.bytes, at, e.packet, out);
            }
        }
        probing.unrecognised()
    }

    /// Begins to look how the flow's messages begin.
    fn frames_from(&mut self, flow: &FlowFacts, packet: PacketId) {
        let whole = flow.start_seen && !self.holed && flow.tuple.transport == Transport::Tcp;
        self.framing = whole.then(|| Box::new(Framing::new(packet)));
        self.keystream = whole.then(|| Box::new(Keystream::new()));
    }

    /// Looks how they go on, and tells what shows.
    fn framed(
        &mut self,
        flow: &FlowFacts,
        from: Direction,
        bytes: &[u8],
        at: Timestamp,
        packet: PacketId,
        out: &mut Outbox,
    ) {
        let shown = [
            framing::look_on(&mut self.framing, from, bytes, packet),
            framing::look_on(&mut self.keystream, from, bytes, packet),
        ];
        for shown in shown.into_iter().flatten() {
            tell(flow, shown, at, packet, out);
        }
    }

    /// Tells what a message of the client's tells of its machine, once.
    fn report(
        &mut self,
        flow: &FlowFacts,
        from: Direction,
        message: &[u8],
        times: (Timestamp, Timestamp),
        packet: PacketId,
        out: &mut Outbox,
    ) {
        let whole = flow.start_seen && flow.tuple.transport == Transport::Tcp;
        if self.reported || !whole || from == Direction::Resp {
            return;
        }
        self.reported = self_report::report(flow, Service::Unknown, message, times, packet, out);
    }

    /// Tells of a payload that has the length and the look of a frame, in a flow whose protocol is not known.
    fn frame(&mut self, flow: &FlowFacts, chunk: &Chunk<'_>, out: &mut Outbox) {
        if !matches!(self.state, State::Fresh | State::Probing(_) | State::Unknown) {
            return;
        }
        let [orig, resp] = &mut self.payloads;
        let count = if chunk.from == Direction::Orig { orig } else { resp };
        let position = *count;
        *count = count.saturating_add(1);
        let client = chunk.from == Direction::Orig && flow.tuple.transport == Transport::Tcp;
        if client && position < MAX_REPORTS && matches!(self.state, State::Unknown) {
            self.report(flow, chunk.from, chunk.bytes, (chunk.ts, chunk.at), chunk.packet, out);
        }
        if chunk.wire_len != FRAME_LEN || position >= MAX_FRAMES || !flow.start_seen {
            return;
        }
        let facts = chunk.counted();
        if facts.is_opaque() {
            out.records.push(Record::Frame(Box::new(FrameCandidate {
                head: flow.head(chunk.ts, chunk.at),
                from: chunk.from,
                position: u32::from(position),
                facts,
                packets: vec![chunk.packet],
            })));
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells how the flow's messages begin.
fn tell(flow: &FlowFacts, shown: framing::Shown, at: Timestamp, packet: PacketId, out: &mut Outbox) {
    let framing::Shown { start, messages, first } = shown;
    let head = flow.head(flow.ts, at);
    let packets = vec![first, packet];
    out.records.push(Record::Framing(Box::new(record::Framing { head, start, messages, packets })));
}

/// What the bytes say, with the first bytes of each side as far as they are known: of a stream with this piece, of
/// datagrams before it. `pieces` counts this piece too.
fn look(flow: &FlowFacts, chunk: &Chunk<'_>, heads: [&[u8]; 2], pieces: u8) -> Probe {
    match flow.tuple.transport {
        Transport::Udp => recognise::datagram(flow, chunk.from, chunk.bytes, chunk.wire_len, heads, pieces),
        Transport::Tcp => match recognise::stream(flow, heads) {
            Probe::Maybe if pieces >= MAX_PIECES => Probe::No,
            verdict => verdict,
        },
        Transport::Icmp | Transport::Icmp6 => Probe::Is(Service::Icmp),
        _ => Probe::No,
    }
}

/// Looks at a flow's first payload.
fn first_look(flow: &FlowFacts, chunk: &Chunk<'_>) -> Probe {
    let head = chunk.bytes.get(..MAX_HEAD).unwrap_or(chunk.bytes);
    let heads = match (flow.tuple.transport, chunk.from) {
        (Transport::Tcp, Direction::Orig) => [head, &[]],
        (Transport::Tcp, Direction::Resp) => [&[], head],
        _ => [&[][..], &[]],
    };
    look(flow, chunk, heads, 1)
}

/// What a payload is that nobody recognises.
fn opaque_or_not(payload: &PayloadFacts) -> Service {
    if payload.is_opaque() { Service::Opaque } else { Service::Unrecognised }
}

impl Probing {
    /// Looks at a further payload, and keeps it.
    fn look(&mut self, flow: &FlowFacts, chunk: &Chunk<'_>) -> Probe {
        let [orig, resp] = &self.heads;
        let pieces = self.pieces.saturating_add(1);
        if flow.tuple.transport == Transport::Udp {
            let verdict = look(flow, chunk, [orig, resp], pieces);
            self.keep(chunk, true);
            verdict
        } else {
            self.keep(chunk, false);
            let [orig, resp] = &self.heads;
            look(flow, chunk, [orig, resp], pieces)
        }
    }

    fn keep(&mut self, chunk: &Chunk<'_>, datagram: bool) {
        self.pieces = self.pieces.saturating_add(1);
        if datagram && self.early.is_empty() {
            self.facts = chunk.facts.copied();
        }
        let [orig, resp] = &mut self.heads;
        let head = if chunk.from == Direction::Orig { orig } else { resp };
        // A stream's head grows; of datagrams the first alone is one.
        if !datagram || head.is_empty() {
            let room = MAX_HEAD.saturating_sub(head.len());
            head.extend_from_slice(chunk.bytes.get(..room).unwrap_or(chunk.bytes));
        }
        let bytes = chunk.bytes.to_vec();
        self.early.push(Early { from: chunk.from, bytes, ts: chunk.ts, packet: chunk.packet });
    }

    /// Opaque or merely unrecognised: the side that spoke first decides, if it said enough.
    fn unrecognised(&self) -> Service {
        let first = self.early.first().map_or(Direction::Orig, |e| e.from);
        let [orig, resp] = &self.heads;
        let (mine, other) = if first == Direction::Orig { (orig, resp) } else { (resp, orig) };
        let said = if mine.len() >= 8 { mine } else { other };
        let counted = self.facts.filter(|f| mine.len() >= 8 && f.counted > 0);
        opaque_or_not(&counted.unwrap_or_else(|| PayloadFacts::of(said, said.len() as u32)))
    }
}

/// Runs each protocol's parser over arbitrary bytes, whether or not they would be recognised as that protocol's. The first
/// byte chooses the protocol; the rest is cut into pieces of both sides by the bytes themselves. A fuzz function; the target
/// is a shim.
pub fn fuzz_protocol(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let Some(Reader(_, transport, port, begin)) = READERS.iter().cycle().nth(usize::from(*choice)) else {
        return;
    };
    let flow = fuzz_flow(*transport, *port, true);
    let mut out = Outbox::default();
    let context =
        ParseContext { flow: &flow, ts: flow.ts, at: flow.ts, packet: PacketId::default(), out: &mut out };
    let state = State::Read(begin(&context));
    fuzz_pieces(&flow, Session { state, ..Session::new() }, &mut out, rest);
    assert!(out.records.len() <= data.len().saturating_mul(2).saturating_add(8), "records come from bytes");
}

fn fuzz_flow(transport: Transport, port: u16, start_seen: bool) -> FlowFacts {
    use record::{Endpoint, FlowId, Tuple};
    let end = |port| Endpoint { ip: std::net::Ipv4Addr::LOCALHOST.into(), port };
    FlowFacts {
        id: FlowId::default(),
        tuple: Tuple { orig: end(40_000), resp: end(port), transport },
        segment: None,
        ts: Timestamp(0),
        start_seen,
        ended: [true; 2],
        service: Service::Unknown,
    }
}

/// Feeds pieces to a session: a byte that says whose and how long each is, then its bytes.
fn fuzz_pieces(flow: &FlowFacts, mut session: Session, out: &mut Outbox, mut rest: &[u8]) {
    let (at, packet) = (Timestamp(0), PacketId::default());
    let mut wants = true;
    while let ([control, tail @ ..], true) = (rest, wants) {
        let from = if control & 1 == 0 { Direction::Orig } else { Direction::Resp };
        let n = usize::from(control >> 1).saturating_mul(4).min(tail.len());
        let (bytes, after) = tail.split_at(n);
        rest = after;
        let progress = if control == &0xfe {
            session.gap(flow, from, n as u64, at, packet, out)
        } else {
            session.data(
                flow,
                &Chunk { from, bytes, wire_len: n as u32, ts: at, at, packet, facts: None },
                out,
            )
        };
        wants = progress.wants_more;
        // The largest is a QUIC handshake or what recognition keeps.
        assert!(session.weight() <= 1 << 20, "a session is bounded");
    }
    session.end(flow, at, out);
}

/// Runs a session over arbitrary bytes, cut into pieces of both sides by the bytes themselves, over TCP and UDP. A fuzz
/// function; the target is a shim.
pub fn fuzz_session(data: &[u8]) {
    let [selector, ports, rest @ ..] = data else { return };
    let port = [53, 25, 80, 443, 447, 123, 5353, 4500].get(usize::from(ports & 7)).copied().unwrap_or(53);
    for transport in [Transport::Tcp, Transport::Udp] {
        let flow = fuzz_flow(transport, port, selector & 1 == 0);
        let mut out = Outbox::default();
        fuzz_pieces(&flow, Session::new(), &mut out, rest);
        assert!(
            out.records.len() <= data.len().saturating_mul(2).saturating_add(8),
            "records come from bytes"
        );
    }
}
