//! One shard of the sensor: its flow table, its sessions, and the records they make.

use flow::{Arrival, FlowTable, Limits, Sessions};
use proto::{Outbox, Session};
use record::{
    Chunk, Conn, Direction, FlowFacts, FlowId, Health, PacketId, Progress, Record, RecordKey, Service,
    Timestamp,
};

use crate::decode::Decoded;

/// Records with their place in the whole.
pub type Keyed = Vec<(RecordKey, Record)>;

/// Keeps records with their place in the whole.
#[derive(Default)]
struct Desk {
    out: Outbox,
    keyed: Keyed,
    turn: u64,
}

impl Desk {
    /// Gives the records that a session made their place.
    fn collect(&mut self, flow: FlowId, at: Timestamp) {
        for record in self.out.records.drain(..) {
            self.keyed.push((RecordKey { at, flow, turn: self.turn }, record));
            self.turn += 1;
        }
    }
}

impl Sessions for Desk {
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

    fn conn(&mut self, conn: Conn) {
        let key = RecordKey { at: conn.at, flow: conn.flow, turn: self.turn };
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
    desk: Desk,
}

impl Sensor {
    pub fn new(shard: u32, limits: Limits) -> Self {
        Self { shard, table: FlowTable::new(limits), desk: Desk::default() }
    }

    /// Follows the packets of this shard and gives the records that became known; `room` is an old list, for its memory.
    pub fn batch(&mut self, batch: &Decoded, room: Keyed) -> Keyed {
        self.desk.keyed = room;
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
        self.table.packets(mine.len(), arrival, &mut self.desk);
        if let Some(clock) = batch.clock {
            self.table.advance(clock, &mut self.desk);
        }
        std::mem::take(&mut self.desk.keyed)
    }

    /// The input ended: gives the records of everything that was open.
    pub fn finish(&mut self, clock: Timestamp) -> Keyed {
        self.table.finish(clock, &mut self.desk);
        std::mem::take(&mut self.desk.keyed)
    }

    /// What was counted.
    pub fn health(&self) -> Health {
        let mut health = self.table.health().clone();
        health.anomalies.merge(&self.desk.out.anomalies);
        health
    }
}
