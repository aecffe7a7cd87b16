//! Batches of frames become batches of packets, each with its shard.

use capture::{Batch, Block, PacketMeta};
use record::{Anomaly, Health, PacketId, Timestamp};
use wire::{FragmentPiece, Fragments, Packet, Sink};

/// A packet with where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub packet: Packet,
    pub ts: Timestamp,
    pub clock: Timestamp,
    pub id: PacketId,
    /// Index of the block that the payload lies in.
    pub block: u32,
    /// Where the frame (or the reassembled datagram) begins in it.
    pub base: usize,
    pub shard: u32,
}

/// Decoded packets with their memory.
#[derive(Debug, Default)]
pub struct Decoded {
    pub blocks: Vec<Block>,
    pub packets: Vec<Placed>,
    /// Indices of each shard's packets, in order.
    pub of_shard: Vec<Vec<u32>>,
    /// The clock when the batch ends.
    pub clock: Option<Timestamp>,
}

impl Decoded {
    /// The captured payload of a packet of this batch.
    pub fn payload(&self, p: &Placed) -> &[u8] {
        let from = p.base + p.packet.payload_at;
        self.blocks
            .get(p.block as usize)
            .and_then(|b| b.get(from..from + p.packet.payload_captured as usize))
            .unwrap_or_default()
    }
}

/// Decodes batches one after another; fragments are put together on the way.
pub struct Decoder {
    fragments: Fragments,
    shards: u32,
    pub health: Health,
}

struct Collect<'a> {
    meta: &'a PacketMeta,
    shards: u32,
    out: &'a mut Vec<Placed>,
    health: &'a mut Health,
    pieces: Vec<(FragmentPiece, Vec<u8>)>,
    block: u32,
    base: usize,
}

impl Sink for Collect<'_> {
    fn packet(&mut self, packet: Packet) {
        *self.health.by_transport.entry(packet.transport.number()).or_default() += 1;
        self.out.push(Placed {
            shard: flow::shard_of(&packet, self.shards),
            packet,
            ts: self.meta.ts,
            clock: self.meta.clock,
            id: self.meta.id,
            block: self.block,
            base: self.base,
        });
    }

    fn fragment(&mut self, piece: FragmentPiece, bytes: &[u8]) {
        self.pieces.push((piece, bytes.to_vec()));
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.health.anomalies.add(anomaly);
    }

    fn ip(&mut self) {
        self.health.ip_packets += 1;
    }

    fn unknown_link(&mut self) {
        self.health.unknown_link += 1;
    }
}

impl Decoder {
    pub fn new(shards: u32, fragments: usize) -> Self {
        Self { fragments: Fragments::new(fragments), shards, health: Health::default() }
    }

    pub fn decode(&mut self, batch: &Batch) -> Decoded {
        let mut made = Decoded {
            blocks: batch.blocks.clone(),
            packets: Vec::with_capacity(batch.packets.len() + 16),
            of_shard: vec![Vec::with_capacity(batch.packets.len() / 8); self.shards as usize],
            clock: batch.packets.last().map(|p| p.clock),
        };
        for meta in &batch.packets {
            let mut sink = Collect {
                meta,
                shards: self.shards,
                out: &mut made.packets,
                health: &mut self.health,
                pieces: Vec::new(),
                block: meta.block,
                base: meta.offset,
            };
            wire::decode(batch.frame(meta), meta.link, meta.original, &mut sink);
            // A whole datagram may hold a fragment again (tunnels): the depth limit of the decoder ends that.
            let mut pieces = std::mem::take(&mut sink.pieces);
            while let Some((piece, bytes)) = pieces.pop() {
                let anomalies = &mut self.health.anomalies;
                let Some(datagram) = self.fragments.add(piece, &bytes, meta.clock, &mut |a| anomalies.add(a))
                else {
                    continue;
                };
                let mut sink = Collect {
                    meta,
                    shards: self.shards,
                    out: &mut made.packets,
                    health: &mut self.health,
                    pieces: Vec::new(),
                    block: made.blocks.len() as u32,
                    base: 0,
                };
                wire::decode_datagram(&datagram, &mut sink);
                pieces.append(&mut sink.pieces);
                made.blocks.push(Block::from(datagram.into_bytes()));
            }
        }
        for (i, placed) in made.packets.iter().enumerate() {
            made.of_shard[placed.shard as usize].push(i as u32);
        }
        made
    }
}
