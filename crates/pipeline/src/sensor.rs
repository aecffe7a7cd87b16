//! One shard of the sensor: its flow table, its sessions, and the records they make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flow::{Arrival, FlowTable, Limits, Sessions};
use proto::{Outbox, Session};
use record::{
    Anomaly, Chunk, Conn, Direction, FlowFacts, FlowId, Head, Health, PacketId, Progress, Record, RecordKey,
    Service, Timestamp,
};

use crate::decode::Decoded;

/// Records with their place in the whole.
pub type Keyed = Vec<(RecordKey, Record)>;

/// Keeps records with their place in the whole.
#[derive(Default)]
struct Recorder {
    out: Outbox,
    keyed: Keyed,
    turn: u64,
    /// Which of the run's sites it is of.
    site: u16,
}

impl Recorder {
    /// Gives the records that a session made their place.
    fn collect(&mut self, flow: FlowId, known: Timestamp) {
        for mut record in self.out.records.drain(..) {
            record.head_mut().site = self.site;
            self.keyed.push((RecordKey { known, site: self.site, flow, turn: self.turn }, record));
            self.turn += 1;
        }
    }
}

impl Sessions for Recorder {
    type Session = Session;

    fn begin(&mut self) -> Session {
        Session::new()
    }

    fn data(&mut self, flow: &FlowFacts, session: &mut Session, chunk: Chunk<'_>) -> Progress {
        let progress = session.data(flow, &chunk, &mut self.out);
        if !self.out.records.is_empty() {
            self.collect(flow.id, chunk.at);
        }
        progress
    }

    fn gap(
        &mut self,
        flow: &FlowFacts,
        session: &mut Session,
        from: Direction,
        bytes: u64,
        at: Timestamp,
        packet: PacketId,
    ) -> Progress {
        let progress = session.gap(flow, from, bytes, at, packet, &mut self.out);
        if !self.out.records.is_empty() {
            self.collect(flow.id, at);
        }
        progress
    }

    fn end(&mut self, flow: &FlowFacts, session: &mut Session, at: Timestamp) -> Option<Service> {
        let service = session.end(flow, at, &mut self.out);
        if !self.out.records.is_empty() {
            self.collect(flow.id, at);
        }
        service
    }

    fn conn(&mut self, mut conn: Conn) {
        conn.head.site = self.site;
        let Head { known, site, flow, .. } = conn.head;
        let key = RecordKey { known, site, flow, turn: self.turn };
        self.turn += 1;
        self.keyed.push((key, Record::Conn(conn)));
    }

    fn weight(&self, session: &Session) -> usize {
        session.weight()
    }
}

/// A shard.
pub struct Sensor {
    shard: u32,
    table: FlowTable<Session>,
    recorder: Recorder,
    /// Flows that all of them forgot for want of memory, and this one's part of it.
    forgotten: Option<(Arc<AtomicU64>, u64)>,
}

impl Sensor {
    pub fn new(shard: u32, limits: Limits, apart: bool) -> Self {
        let table = FlowTable::new(limits).segments_apart(apart);
        Self { shard, table, recorder: Recorder::default(), forgotten: None }
    }

    /// The same, which counts flows that it forgets where others count theirs.
    #[must_use]
    pub fn counting_forgotten(mut self, all: Arc<AtomicU64>) -> Self {
        self.forgotten = Some((all, 0));
        self
    }

    /// The same, which hashes files in transfer, or does not.
    #[must_use]
    pub const fn hashing(mut self, hashes: bool) -> Self {
        self.recorder.out.unhashed = !hashes;
        self
    }

    /// Follows the packets of this shard and gives the records that became known; `room` is an old list, for its memory.
    pub fn batch(&mut self, batch: &Decoded, room: Keyed) -> Keyed {
        self.recorder.keyed = room;
        let mine = batch.of_shard.get(self.shard as usize).map_or(&[][..], Vec::as_slice);
        let arrival = |i: usize| {
            let placed = &batch.packets[mine[i] as usize];
            Arrival {
                packet: &placed.packet,
                payload: batch.payload(placed),
                ts: placed.ts,
                clock: placed.clock,
                id: placed.id,
            }
        };
        self.table.packets(mine.len(), arrival, &mut self.recorder);
        if let Some(clock) = batch.clock {
            self.table.advance(clock, &mut self.recorder);
        }
        if let Some((all, mine)) = &mut self.forgotten {
            let now = self.table.health().anomalies.of(Anomaly::FlowEvicted);
            if now > *mine {
                all.fetch_add(now - *mine, Ordering::Relaxed);
                *mine = now;
            }
        }
        std::mem::take(&mut self.recorder.keyed)
    }

    /// The input ended: gives the records of everything that was open.
    pub fn finish(&mut self, clock: Timestamp) -> Keyed {
        self.table.finish(clock, &mut self.recorder);
        std::mem::take(&mut self.recorder.keyed)
    }

    /// What was counted.
    pub fn health(&self) -> Health {
        let mut health = self.table.health().clone();
        health.anomalies.merge(&self.recorder.out.anomalies);
        health
    }
}

/// Takes arbitrary frames through decoding, fragments, flows and protocols: behind a byte for the link type, each frame is a
/// byte of time, two of length and its bytes. A fuzz function; the target is a shim.
pub fn fuzz_sensor(data: &[u8]) {
    use crate::decode::{Defragmenter, decode};
    use capture::{Batch, Block, PacketMeta};
    let [link, rest @ ..] = data else { return };
    let link = wire::LINKS[usize::from(*link) % wire::LINKS.len()];
    let block = Block::from(data.to_vec());
    let (mut batch, mut rest) = (Batch { blocks: vec![block], ..Batch::default() }, rest);
    let mut clock = Timestamp(0);
    while let [time, hi, lo, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*hi & 7, *lo])).min(tail.len());
        clock = clock.plus(std::time::Duration::from_millis(u64::from(*time) * u64::from(*time)));
        batch.packets.push(PacketMeta {
            ts: clock,
            clock,
            id: PacketId::new(0, batch.packets.len() as u64 + 1),
            link,
            block: 0,
            offset: data.len() - tail.len(),
            captured: len as u32,
            original: (len + usize::from(*hi >> 3)) as u32,
        });
        rest = &tail[len..];
    }
    let packets = batch.packets.len();
    let mut decoded = Decoded::default();
    decode(&mut batch, 1, &mut decoded);
    Defragmenter::new(1, 1 << 16).join(&mut decoded);
    let mut sensor = Sensor::new(0, Limits::of_budget(1 << 16), false);
    let mut told = sensor.batch(&decoded, Keyed::new()).len();
    told += sensor.finish(clock).len();
    // A datagram that is put together may hold as many as it has bytes; each flow tells a few times of itself.
    assert!(told <= 8 * packets + 4 * data.len() + 16, "{told} records of {packets} packets");
}

#[cfg(test)]
mod tests {
    use super::fuzz_sensor;

    #[test]
    fn what_fuzzing_found_is_survived() {
        // No packet at all: counting by transport once ran past the last protocol number.
        fuzz_sensor(&[0]);
    }

    #[test]
    fn any_frames_in_any_number_are_survived() {
        const UDP: &[u8] = &[
            2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 1, 0x20, 0, 64, 17, 0, 0, 10, 0, 0,
            1, 198, 18, 0, 1, 0x12, 0x34, 0, 53, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        ];
        let mut state = 9u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for round in 0..2_000 {
            let mut bytes = vec![0u8];
            for _ in 0..round % 12 {
                bytes.extend([(next() % 256) as u8, 0, UDP.len() as u8]);
                let at = bytes.len();
                bytes.extend(UDP);
                for _ in 0..next() % 4 {
                    let which = at + next() % UDP.len();
                    bytes[which] = next() as u8;
                }
            }
            fuzz_sensor(&bytes);
        }
    }
}
