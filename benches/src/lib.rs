//! What does each room cost? The kernels of the rooms over one capture, for clocks (`kernels`) and for instruction counts
//! (`instructions`).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

use std::sync::Arc;

use behaviour::Settings;
use capture::{Batch, CaptureSet, Source};
use flow::{Arrival, FlowTable, Limits, Sessions};
use proto::{Outbox, Session};
use record::{
    Anomaly, Chunk, Conn, Direction, FlowFacts, PacketId, Progress, Record, RecordKey, Service, Timestamp,
};
use verdict::{Analyst, AnalystLimits, CaptureFacts};
use wire::{FragmentPiece, Packet, Sink};

/// A packet as the flow table gets it.
struct Placed {
    packet: Packet,
    payload: Vec<u8>,
    ts: Timestamp,
    id: PacketId,
}

/// What each room gets of one capture: the office's day with the bot in it.
pub struct Inputs {
    capture: &'static [u8],
    frames: Vec<Vec<u8>>,
    packets: Vec<Placed>,
    records: Vec<(RecordKey, Record)>,
}

struct Collect<'a>(&'a mut Vec<Packet>);

impl Sink for Collect<'_> {
    fn packet(&mut self, packet: Packet) {
        self.0.push(packet);
    }
    fn fragment(&mut self, _: FragmentPiece, _: &[u8]) {}
    fn anomaly(&mut self, _: Anomaly) {}
}

/// Understands nothing: what is left is the flow table.
struct Deaf(u64);

impl Sessions for Deaf {
    type Session = ();
    fn begin(&mut self) {}
    fn data(&mut self, _: &FlowFacts, (): &mut (), _: Chunk<'_>) -> Progress {
        Progress { service: None, wants_more: false, remote: None }
    }
    fn gap(
        &mut self,
        _: &FlowFacts,
        (): &mut (),
        _: Direction,
        _: u64,
        _: Timestamp,
        _: PacketId,
    ) -> Progress {
        Progress { service: None, wants_more: false, remote: None }
    }
    fn end(&mut self, _: &FlowFacts, (): &mut (), _: Timestamp) -> Option<Service> {
        None
    }
    fn conn(&mut self, conn: Conn) {
        self.0 += conn.packets[0];
    }
    fn weight(&self, (): &()) -> usize {
        0
    }
}

/// Understands everything, as the pipeline does.
struct Keen(Outbox, u64);

impl Sessions for Keen {
    type Session = Session;
    fn begin(&mut self) -> Session {
        Session::new()
    }
    fn data(&mut self, flow: &FlowFacts, session: &mut Session, chunk: Chunk<'_>) -> Progress {
        session.data(flow, &chunk, &mut self.0)
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
        session.gap(flow, from, bytes, at, packet, &mut self.0)
    }
    fn end(&mut self, flow: &FlowFacts, session: &mut Session, at: Timestamp) -> Option<Service> {
        session.end(flow, at, &mut self.0)
    }
    fn conn(&mut self, conn: Conn) {
        self.1 += conn.packets[0];
        self.1 += self.0.records.drain(..).count() as u64;
    }
    fn weight(&self, session: &Session) -> usize {
        session.weight()
    }
}

impl Inputs {
    /// Makes the capture, and nothing of it yet.
    pub fn of_capture() -> Self {
        let (script, _) = testkit::office::day(Some(&testkit::scenarios::Variant::newer()));
        // Inputs in memory live as long as the program.
        let capture: &'static [u8] = Box::leak(script.pcapng().into_boxed_slice());
        Self { capture, frames: Vec::new(), packets: Vec::new(), records: Vec::new() }
    }

    /// With what `wire` and `flow` get of it.
    ///
    /// # Errors
    /// The capture cannot be read back, which would be a bug.
    pub fn with_packets(mut self) -> anyhow::Result<Self> {
        let mut set = CaptureSet::open(&[Source::Memory("office", self.capture)], &Arc::default())?;
        let mut batch = Batch::default();
        while set.next_batch(&mut batch) {
            for meta in &batch.packets {
                let frame = batch.frame(meta);
                let mut packets = Vec::new();
                wire::decode(frame, meta.link, meta.original, &mut Collect(&mut packets));
                for packet in packets {
                    let payload = frame.get(packet.payload_at..).unwrap_or_default();
                    let payload = payload[..packet.payload_captured as usize].to_vec();
                    self.packets.push(Placed { packet, payload, ts: meta.ts, id: meta.id });
                }
                self.frames.push(frame.to_vec());
            }
        }
        Ok(self)
    }

    /// With what the analyst gets of it.
    ///
    /// # Errors
    /// The same.
    pub fn with_records(mut self) -> anyhow::Result<Self> {
        let options = pipeline::RunOptions::of(vec![Source::Memory("office", self.capture)]);
        let records = &mut self.records;
        pipeline::sense(&options, |_| (), |key, record| records.push((key, record.clone())))?;
        Ok(self)
    }

    /// Packets of the capture.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// `capture`: walks over the records of the file.
    ///
    /// # Panics
    /// The capture cannot be opened, which it could before.
    pub fn walk(&self) -> u64 {
        let mut set = CaptureSet::open(&[Source::Memory("office", self.capture)], &Arc::default())
            .expect("it was opened before");
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while set.next_batch(&mut batch) {
            bytes += batch.packets.iter().map(|p| u64::from(p.captured)).sum::<u64>();
        }
        bytes
    }

    /// `wire`: decodes every frame, checksums too.
    pub fn decode(&self) -> u64 {
        struct Count(u64);
        impl Sink for Count {
            fn packet(&mut self, packet: Packet) {
                self.0 += u64::from(packet.payload_len);
            }
            fn fragment(&mut self, _: FragmentPiece, _: &[u8]) {}
            fn anomaly(&mut self, _: Anomaly) {}
        }
        let mut count = Count(0);
        for frame in &self.frames {
            wire::decode(frame, u32::from(capture::LINKTYPE_ETHERNET), frame.len() as u32, &mut count);
        }
        count.0
    }

    fn through<H: Sessions>(&self, sessions: &mut H) {
        let mut table = FlowTable::new(Limits::of_budget(256 << 20));
        let mut last = Timestamp::default();
        for some in self.packets.chunks(1024) {
            let arrival = |i: usize| {
                let p = &some[i];
                Arrival { packet: &p.packet, payload: &p.payload, ts: p.ts, clock: p.ts, id: p.id }
            };
            table.packets(some.len(), arrival, sessions);
            last = some.last().map_or(last, |p| p.ts);
            table.advance(last, sessions);
        }
        table.finish(last, sessions);
    }

    /// `flow`: follows every packet; nobody understands anything.
    pub fn follow(&self) -> u64 {
        let mut deaf = Deaf(0);
        self.through(&mut deaf);
        deaf.0
    }

    /// `flow` and `proto`: follows every packet and understands what there is.
    pub fn understand(&self) -> u64 {
        let mut keen = Keen(Outbox::default(), 0);
        self.through(&mut keen);
        keen.1
    }

    /// `behaviour` and `verdict`: judges the records.
    pub fn judge(&self) -> u64 {
        let mut analyst =
            Analyst::new(None, Settings::default(), AnalystLimits { bytes: 1 << 30, hosts: 10_000 }, -30.0);
        for (_, record) in &self.records {
            analyst.observe(record);
        }
        analyst.settle(None);
        analyst.stories(&CaptureFacts::default()).len() as u64
    }
}
