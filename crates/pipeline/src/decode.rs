//! Batches of frames become batches of packets, each with its shard.

use capture::{Batch, Block, PacketMeta};
use record::{Anomaly, Fate, Health, PacketId, Timestamp, Unread};
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
    /// What was counted.
    pub health: Health,
    /// Pieces of datagrams, which other batches may hold the rest of.
    pieces: Vec<Piece>,
}

/// A fragment, and where among the packets of its batch it came.
#[derive(Debug)]
struct Piece {
    before: usize,
    meta: PacketMeta,
    fragment: FragmentPiece,
    bytes: Vec<u8>,
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

struct Collect<'a> {
    meta: &'a PacketMeta,
    shards: u32,
    block: u32,
    base: usize,
    out: &'a mut Vec<Placed>,
    pieces: &'a mut Vec<Piece>,
    health: &'a mut Health,
    by_transport: &'a mut [u64; 256],
    /// What was found besides packets and pieces.
    found: Found,
}

/// What decoding a frame came to, besides packets of flows and pieces of datagrams.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    stopped: Option<Anomaly>,
    not_ip: Option<&'static str>,
    unread: Option<Unread>,
}

impl Found {
    /// What became of the frame: what is not known further in counts, whatever was understood further out.
    #[inline]
    fn fate(self, packets: bool, pieces: bool, meta: &PacketMeta) -> Fate {
        match (self.unread, self.stopped, self.not_ip) {
            // A piece is counted again when its datagram is whole.
            (None, None, _) if pieces => Fate::Fragment,
            (None, None, _) if packets => Fate::Followed,
            (Some(why), ..) => Fate::Unread(why),
            (_, Some(Anomaly::TruncatedHeader), _) if meta.captured < meta.original => Fate::Cut,
            (_, Some(_), _) => Fate::Damaged,
            (.., Some(what)) => Fate::NotIp(what),
            _ => Fate::Damaged,
        }
    }
}

impl Sink for Collect<'_> {
    fn packet(&mut self, packet: Packet) {
        self.by_transport[usize::from(packet.transport.number())] += 1;
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
        let (before, meta) = (self.out.len(), *self.meta);
        self.pieces.push(Piece { before, meta, fragment: piece, bytes: bytes.to_vec() });
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.health.anomalies.add(anomaly);
    }

    fn ip(&mut self) {
        self.health.ip_packets += 1;
    }

    fn stop(&mut self, anomaly: Anomaly) {
        self.anomaly(anomaly);
        self.found.stopped = Some(anomaly);
    }

    fn not_ip(&mut self, what: &'static str) {
        self.found.not_ip = Some(what);
    }

    fn unread(&mut self, why: Unread) {
        self.found.unread = Some(why);
    }
}

/// Adds counts by protocol number to the health that is shown.
fn count_transports(health: &mut Health, by_transport: &[u64; 256]) {
    for (number, n) in by_transport.iter().enumerate().filter(|(_, n)| **n > 0) {
        *health.by_transport.entry(number as u8).or_default() += n;
    }
}

/// Decodes a batch. Batches know nothing of each other, so that any number of them can be decoded at once; fragments are
/// left for [`Defragmenter::join`], which sees the batches in order. `room` is an old one, whose memory is used again.
pub fn decode(batch: &mut Batch, shards: u32, room: &mut Decoded) {
    room.packets.clear();
    room.of_shard.resize_with(shards as usize, Vec::new);
    room.of_shard.iter_mut().for_each(Vec::clear);
    room.blocks.clear();
    std::mem::swap(&mut room.blocks, &mut batch.blocks);
    room.clock = batch.clock();
    room.health = Health::default();
    let mut by_transport = [0; 256];
    for meta in &batch.packets {
        let block = room.blocks.get(meta.block as usize);
        let frame = block.and_then(|b| b.get(meta.offset..meta.offset + meta.captured as usize));
        let before = (room.packets.len(), room.pieces.len());
        let mut sink = Collect {
            meta,
            shards,
            block: meta.block,
            base: meta.offset,
            out: &mut room.packets,
            pieces: &mut room.pieces,
            health: &mut room.health,
            by_transport: &mut by_transport,
            found: Found::default(),
        };
        wire::decode(frame.unwrap_or_default(), meta.link, meta.original, &mut sink);
        let found = sink.found;
        let fate = found.fate(room.packets.len() > before.0, room.pieces.len() > before.1, meta);
        room.health.accounts.add(fate);
    }
    count_transports(&mut room.health, &by_transport);
}

/// Puts fragments together, batch after batch, and tells each shard which packets are its own.
pub struct Defragmenter {
    fragments: Fragments,
    shards: u32,
}

impl Defragmenter {
    pub fn new(shards: u32, fragments: usize) -> Self {
        Self { fragments: Fragments::new(fragments), shards }
    }

    /// Whether pieces of two segments of the network never belong together.
    pub fn segments_apart(mut self, apart: bool) -> Self {
        self.fragments = self.fragments.segments_apart(apart);
        self
    }

    /// The input ended: counts what still waits.
    pub fn finish(&mut self, health: &mut Health) {
        self.fragments.finish(&mut |a| health.anomalies.add(a));
    }

    /// Completes a decoded batch.
    pub fn join(&mut self, made: &mut Decoded) {
        if !made.pieces.is_empty() {
            self.put_together(made);
        }
        for (i, placed) in made.packets.iter().enumerate() {
            made.of_shard[placed.shard as usize].push(i as u32);
        }
    }

    fn put_together(&mut self, made: &mut Decoded) {
        let mut by_transport = [0; 256];
        let mut whole = Vec::with_capacity(made.packets.len() + made.pieces.len());
        let mut packets = std::mem::take(&mut made.packets).into_iter();
        let mut taken = 0;
        // A frame is counted once, however many datagrams it completes.
        let mut counted = None;
        for first in std::mem::take(&mut made.pieces) {
            whole.extend(packets.by_ref().take(first.before - taken));
            taken = first.before;
            let (of, mut came_to, mut frames) = (first.meta.id, None, 0u64);
            // A whole datagram may hold a fragment again (tunnels): the depth limit of the decoder ends that.
            let mut pieces = vec![first];
            while let Some(Piece { meta, fragment, bytes, .. }) = pieces.pop() {
                let anomalies = &mut made.health.anomalies;
                let added = self.fragments.add(fragment, &bytes, meta.clock, &mut |a| anomalies.add(a));
                let datagram = match added {
                    wire::Added::Completes(datagram) => datagram,
                    wire::Added::Copy => {
                        // What it carried was followed.
                        came_to = came_to.or(Some(Fate::Followed));
                        frames = frames.max(1);
                        continue;
                    }
                    wire::Added::Waits => continue,
                };
                let before = (whole.len(), pieces.len());
                let mut sink = Collect {
                    meta: &meta,
                    shards: self.shards,
                    block: made.blocks.len() as u32,
                    base: 0,
                    out: &mut whole,
                    pieces: &mut pieces,
                    health: &mut made.health,
                    by_transport: &mut by_transport,
                    found: Found::default(),
                };
                wire::decode_datagram(&datagram, &mut sink);
                let found = sink.found;
                // What was a piece within is of this frame, and counted with it.
                frames += datagram.frames() - u64::from(frames > 0);
                came_to = Some(found.fate(whole.len() > before.0, pieces.len() > before.1, &meta));
                made.blocks.push(Block::from(datagram.into_bytes()));
            }
            if let Some(fate) = came_to.filter(|_| counted.replace(of) != Some(of)) {
                made.health.accounts.joined(fate, frames);
            }
        }
        whole.extend(packets);
        made.packets = whole;
        count_transports(&mut made.health, &by_transport);
    }
}
