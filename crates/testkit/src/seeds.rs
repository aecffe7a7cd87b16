//! Writes seeds for the fuzz targets from the scenarios and, when it is there, the corpus of real captures:
//! `cargo run --release -p hydrophone-testkit -- seeds fuzz/seeds`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use capture::{Batch, CaptureSet, Opening, Source};
use record::Transport;
use testkit::{evaluate, scenarios};
use wire::{FragmentPiece, Packet, Sink};

/// Frames taken of one capture.
const FRAMES: usize = 200;
/// Bytes of one seed, as far as fuzzers like them.
const LONGEST: usize = 4096;

struct Payloads(Vec<Packet>);

impl Sink for Payloads {
    fn packet(&mut self, packet: Packet) {
        self.0.push(packet);
    }
    fn fragment(&mut self, _: FragmentPiece, _: &[u8]) {}
    fn anomaly(&mut self, _: record::Anomaly) {}
}

/// Seeds of each target, each once.
#[derive(Default)]
struct Seeds(BTreeMap<&'static str, BTreeSet<Vec<u8>>>);

impl Seeds {
    fn add(&mut self, target: &'static str, mut seed: Vec<u8>) {
        seed.truncate(LONGEST);
        self.0.entry(target).or_default().insert(seed);
    }

    fn file(&mut self, bytes: &[u8]) {
        self.add("capture_read", bytes.to_vec());
        let some = &bytes[..bytes.len().min(1 << 16)];
        if let Ok(packed) = zstd::stream::encode_all(some, 3) {
            self.add("capture_unpack", [&[1], &packed[4..]].concat());
        }
        self.add("capture_unpack", [&[3], some].concat());
    }

    fn frames(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut set = CaptureSet::open(&[Source::Path(path.to_owned())], &Opening::default())?;
        let mut batch = Batch::default();
        if !set.next_batch(&mut batch) {
            return Ok(());
        }
        let mut street = Vec::new();
        let mut sessions: BTreeMap<(u16, u16, Transport), (Vec<u8>, bool)> = BTreeMap::new();
        for (n, meta) in batch.packets.iter().take(FRAMES).enumerate() {
            let frame = batch.frame(meta);
            if n < 40 {
                self.add("wire_decode", frame.to_vec());
            }
            // As `pipeline::fuzz_sensor` takes them.
            let link = wire::LINKS.iter().position(|l| *l == meta.link).unwrap_or(0);
            if street.is_empty() {
                street.push(link as u8);
            }
            if frame.len() < 2048 {
                street.extend([40, (frame.len() >> 8) as u8, frame.len() as u8]);
                street.extend(frame);
            }
            let mut payloads = Payloads(Vec::new());
            wire::decode(frame, meta.link, meta.original, &mut payloads);
            for p in payloads.0 {
                let ports = (p.sport.min(p.dport), p.sport.max(p.dport), p.transport);
                let from_low = p.sport == ports.0;
                let (seed, first) = sessions.entry(ports).or_insert_with(|| (Vec::new(), from_low));
                let bytes = frame.get(p.payload_at..p.payload_at + p.payload_captured as usize);
                for part in bytes.unwrap_or_default().chunks(4 * 126) {
                    // Words of four bytes, the last one filled up.
                    let words = part.len().div_ceil(4);
                    seed.push((words as u8) << 1 | u8::from(*first != from_low));
                    seed.extend(part);
                    seed.resize(seed.len() + words * 4 - part.len(), 0);
                }
            }
        }
        self.add("pipeline_sensor", street);
        for ((low, _, transport), (seed, _)) in sessions.into_iter().filter(|(_, (s, _))| !s.is_empty()) {
            let port = [53, 25, 80, 443, 447, 123, 5353, 4500].iter().position(|p| *p == low).unwrap_or(4);
            self.add("proto_session", [&[0, port as u8], &seed[..]].concat());
            let tcp = transport == Transport::Tcp;
            let protocol = match (low, tcp) {
                (53 | 5353, false) => 0,
                (53, true) => 1,
                (25 | 587, true) => 2,
                (80 | 8080, true) => 3,
                (443, true) => 4,
                (443, false) => 5,
                (22, true) => 7,
                (67, false) => 8,
                _ => 6,
            };
            self.add("proto_protocol", [&[protocol], &seed[..]].concat());
        }
        Ok(())
    }
}

/// Writes the seeds into a folder.
pub fn write(out: &Path) -> anyhow::Result<()> {
    let mut seeds = Seeds::default();
    let dir = std::env::temp_dir().join(format!("hydrophone-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    for (name, make) in scenarios::ALL {
        let path = dir.join(name);
        std::fs::write(&path, make().pcapng())?;
        seeds.file(&std::fs::read(&path)?);
        seeds.frames(&path)?;
    }
    std::fs::remove_dir_all(&dir)?;
    if let Some(corpus) = evaluate::corpus() {
        for of in evaluate::manifest(&corpus)?.into_iter().filter(|l| l.kind != "zeek-log") {
            let path = corpus.join(&of.file);
            seeds.file(&std::fs::read(&path)?);
            seeds.frames(&path).with_context(|| of.file.clone())?;
        }
    }
    for round in 0..64u8 {
        let steps: Vec<u8> =
            (0..200u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (round % 24)) as u8 ^ round).collect();
        seeds.add("flow_follow", steps);
    }
    for (target, all) in seeds.0 {
        let dir = out.join(target);
        std::fs::create_dir_all(&dir)?;
        for (n, seed) in all.iter().enumerate() {
            std::fs::write(dir.join(format!("{n:05}")), seed)?;
        }
    }
    Ok(())
}
