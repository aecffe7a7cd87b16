//! TCP: what a segment changes in its flow.

use record::{Anomaly, Chunk, Direction, FlowFacts, Progress};
use wire::TcpFlags;

use crate::history::{Done, note};
use crate::state::Flags;
use crate::stream::{Fit, Piece};
use crate::table::{Arrival, FlowTable, Sessions, settle};

/// Follows a segment from side `from` of the flow at `slot`. A doubtful one changes no state, and its bytes wait until the
/// receiver acknowledges them or others come under the same numbers.
pub fn follow<H: Sessions>(
    table: &mut FlowTable<H::Session>,
    slot: u32,
    from: Direction,
    arrival: &Arrival<'_>,
    doubtful: bool,
    sessions: &mut H,
) {
    let (hot, cold) = (&mut table.hot[slot as usize], &mut table.cold[slot as usize]);
    let p = arrival.packet;
    let flags = p.tcp.flags;
    let anomalies = &mut table.health.anomalies;
    let side = from.index();
    let syn = flags.has(TcpFlags::SYN) && !doubtful;
    let data_seq = if syn { p.tcp.seq.wrapping_add(1) } else { p.tcp.seq };
    if syn {
        if hot.done[side].has(Done::SYN | Done::SYN_ACK) {
            cold.syn_retransmits = cold.syn_retransmits.saturating_add(u16::from(from == Direction::Orig));
        } else {
            cold.isn[side] = p.tcp.seq;
        }
        let what = if flags.has(TcpFlags::ACK) { Done::SYN_ACK } else { Done::SYN };
        note(&mut cold.history, &mut hot.done[side], from, what);
        cold.numbers[side].begin(data_seq);
        if p.payload_len > 0 {
            anomalies.add(Anomaly::TcpSynData);
        }
        if flags.has(TcpFlags::FIN) || flags.has(TcpFlags::RST) {
            anomalies.add(Anomaly::TcpBadFlags);
        }
    }
    let mut resets = flags.has(TcpFlags::RST) && !doubtful;
    if resets && !cold.numbers[side].may_reset(p.tcp.seq) {
        anomalies.add(Anomaly::TcpResetOutside);
        resets = false;
    }
    if flags.0 & 0x3f == 0 {
        anomalies.add(Anomaly::TcpBadFlags);
    }
    if flags.has(TcpFlags::URG) && p.payload_len > 0 {
        anomalies.add(Anomaly::TcpUrgent);
    }
    if !syn && p.payload_len == 0 && flags.0 & 0x17 == TcpFlags::ACK.0 {
        note(&mut cold.history, &mut hot.done[side], from, Done::ACK);
    }
    let wants = hot.flags.has(Flags::WANTS_MORE);
    let before = cold.held();
    let mut pieces = Pieces { flow: wants.then(|| cold.facts(hot)), arrival, sessions, progress: None };
    // The other side's bytes before this acknowledgement exist, captured or not.
    if flags.has(TcpFlags::ACK) && !doubtful && !flags.has(TcpFlags::RST) {
        let back = from.reversed();
        let numbers = &mut cold.numbers[back.index()];
        let missed = numbers.missed;
        let report = &mut |a| anomalies.add(a);
        let session = &mut cold.session;
        let mut gaps = |piece: Piece<'_>| pieces.give(session, back, &piece);
        match &mut cold.streams {
            Some(streams) => streams[back.index()].acked(numbers, p.tcp.ack, report, &mut gaps),
            None => numbers.acked(p.tcp.ack, report, &mut gaps),
        }
        if numbers.missed > missed {
            note(&mut cold.history, &mut hot.done[back.index()], back, Done::GAP);
        }
    }
    if p.payload_len > 0 {
        let numbers = &mut cold.numbers[side];
        let fit = if wants {
            let stream = &mut cold.streams.get_or_insert_default()[side];
            let report = &mut |a| anomalies.add(a);
            let session = &mut cold.session;
            let mut out = |piece: Piece<'_>| pieces.give(session, from, &piece);
            let urgent = flags.has(TcpFlags::URG).then_some(p.tcp.urgent);
            let bytes = arrival.payload;
            match urgent.and_then(|end| out_of_band(end, bytes)) {
                // The byte before the urgent pointer reaches no reader (Linux, BSD): the stream goes on without it.
                Some((before, behind)) if numbers.is_next(data_seq) && !doubtful => {
                    let len = before.len() as u32;
                    stream.add(numbers, data_seq, before, len, report, &mut out);
                    stream.omit(numbers, 1);
                    let (seq, len) = (data_seq.wrapping_add(len + 1), p.payload_len - len - 1);
                    stream.add(numbers, seq, behind, len, report, &mut out);
                    Fit::New
                }
                // What rides on a SYN counts where the SYN-ACK says so (RFC 7413).
                _ if doubtful || syn => stream.doubt(numbers, data_seq, bytes, (arrival.ts, arrival.id)),
                _ => stream.add(numbers, data_seq, bytes, p.payload_len, report, &mut out),
            }
        } else {
            numbers.pass(data_seq, p.payload_len)
        };
        let what = if fit == Fit::New { Done::DATA } else { Done::RETRANSMIT };
        note(&mut cold.history, &mut hot.done[side], from, what);
    }
    let progress = pieces.progress;
    if flags.has(TcpFlags::FIN) && !doubtful {
        note(&mut cold.history, &mut hot.done[side], from, Done::FIN);
        if cold.numbers[side].is_next(data_seq.wrapping_add(p.payload_len)) {
            note(&mut cold.history, &mut hot.done[side], from, Done::ENDED);
        }
    }
    if resets {
        note(&mut cold.history, &mut hot.done[side], from, Done::RST);
    }
    let [o, r] = hot.done;
    let closing = o.has(Done::RST) || r.has(Done::RST) || (o.has(Done::FIN) && r.has(Done::FIN));
    let begins = closing && !hot.flags.has(Flags::CLOSING);
    hot.flags.set(Flags::CLOSING, closing);
    hot.deadline = arrival.clock.plus(hot.patience());
    // A shorter deadline than the wheel knows of needs a new entry.
    if begins {
        cold.wake = table.wheel.schedule(slot, hot.deadline);
    }
    if let Some(progress) = progress {
        settle(hot, cold, progress, arrival.clock, sessions);
    }
    let mut held = cold.held();
    if !hot.flags.has(Flags::WANTS_MORE) {
        held = 0;
        cold.streams = None;
    }
    table.waiting_bytes = table.waiting_bytes + held - before;
    if table.waiting_bytes > table.limits.waiting_bytes {
        for stream in cold.streams.iter_mut().flat_map(|s| s.iter_mut()) {
            table.waiting_bytes -= stream.release();
        }
        anomalies.add(Anomaly::ReassemblyDropped);
    }
    if p.payload_len > 0 && (wants || cold.payload_packets[side] == 1) {
        table.charge(slot, sessions);
    }
}

/// What stands before and behind the byte that is sent out of band, which is the last before `end`.
fn out_of_band(end: u16, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, from) = bytes.split_at_checked(usize::from(end.checked_sub(1)?))?;
    Some((before, from.get(1..)?))
}

/// Hands stream pieces to the session and keeps what it last said.
struct Pieces<'a, 'b, H> {
    /// `None` when nobody wants bytes.
    flow: Option<FlowFacts>,
    arrival: &'a Arrival<'b>,
    sessions: &'a mut H,
    progress: Option<Progress>,
}

impl<H: Sessions> Pieces<'_, '_, H> {
    fn give(&mut self, session: &mut H::Session, from: Direction, piece: &Piece<'_>) {
        let Some(flow) = &mut self.flow else { return };
        if self.progress.is_some_and(|p| !p.wants_more) {
            return;
        }
        let chunk = |bytes, ts, packet| Chunk {
            from,
            bytes,
            wire_len: u32::try_from(<[u8]>::len(bytes)).unwrap_or(u32::MAX),
            ts,
            at: self.arrival.clock,
            packet,
            facts: None,
        };
        let progress = match *piece {
            Piece::Data(bytes) => {
                self.sessions.data(flow, session, chunk(bytes, self.arrival.ts, self.arrival.id))
            }
            Piece::Late(bytes, (ts, packet)) => self.sessions.data(flow, session, chunk(bytes, ts, packet)),
            Piece::Gap(n) => self.sessions.gap(flow, session, from, n, self.arrival.clock, self.arrival.id),
        };
        let service = progress.service.or(self.progress.and_then(|p| p.service));
        if let Some(service) = service {
            flow.service = service;
        }
        let remote = progress.remote.or(self.progress.and_then(|p| p.remote));
        self.progress = Some(Progress { service, wants_more: progress.wants_more, remote });
    }
}
