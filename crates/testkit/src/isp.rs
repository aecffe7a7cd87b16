//! A synthetic provider: many subscribers, half of them behind shared addresses, an hour of what they do, as a router exports it by NetFlow 5 with one in so many
//! packets looked at. One in a hundred has a bot of one of five kinds, as flows show it. It calibrates nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use capture::{PcapngWriter, Source};
use oorandom::Rand32;
use pipeline::{ByteSize, PSEUDONYMS, RunOptions, Subscribers};
use record::Timestamp;
use verdict::Verdict;

use crate::frame;

/// 2026-11-01.
const START: u32 = 1_793_491_200;
const HOUR: u32 = 3_600_000;
/// Subscribers behind one address, and the ports that each has of it (RFC 7422's arithmetic).
const SHARED: u32 = 64;
const BLOCK: u32 = (65_536 - 1024) / SHARED;
/// Rows in a datagram of NetFlow 5.
const ROWS: usize = 30;
/// A router writes down what has been silent for so long, in milliseconds.
const INACTIVE: u32 = 15_000;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Browsers and what else looks at the web.
    Honest,
    /// A program that shares files with many.
    Sharer,
    /// Mail to hundreds of exchangers.
    Spammer,
    /// A search for open telnet.
    Scanner,
    /// Talk with hundreds of peers, most of whom are gone.
    Peer,
    /// A call of one remote, every minute.
    Caller,
    /// Packets by the hundred thousand at one address.
    Flooder,
}

impl Kind {
    /// The kinds of bots.
    pub const BOTS: [Self; 5] = [Self::Spammer, Self::Scanner, Self::Peer, Self::Caller, Self::Flooder];

    /// What that subscriber has: one in a hundred a bot, two in a hundred share files.
    fn of(subscriber: u32) -> Self {
        match subscriber % 100 {
            0 => Self::BOTS[(subscriber / 100) as usize % Self::BOTS.len()],
            50 | 51 => Self::Sharer,
            _ => Self::Honest,
        }
    }
}

/// Where a subscriber is: its address, and the first of its ports where it shares one.
fn place(subscriber: u32) -> (Ipv4Addr, Option<u32>) {
    if subscriber.is_multiple_of(2) {
        return (Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + subscriber / 2), None);
    }
    let n = subscriber / 2;
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n / SHARED);
    (address, Some(1024 + n % SHARED * BLOCK))
}

/// A flow: milliseconds of the hour, and packets, bytes and flags of both ways.
struct Flow {
    first: u32,
    took: u32,
    port: u16,
    remote: (u32, u16),
    protocol: u8,
    packets: [u32; 2],
    size: [u32; 2],
    flags: [u8; 2],
}

/// Everything that a subscriber does in the hour.
struct Doing<'a> {
    rng: &'a mut Rand32,
    flows: Vec<Flow>,
    ports: (u32, u32),
}

impl Doing<'_> {
    fn any(&mut self, from: u32, until: u32) -> u32 {
        self.rng.rand_range(from..until)
    }

    fn port(&mut self) -> u16 {
        self.any(self.ports.0, self.ports.1) as u16
    }

    /// An address somewhere: any of so many, the same for the same number.
    fn address(&mut self, of: u32) -> u32 {
        0x1400_0000 + self.any(0, of).wrapping_mul(2_654_435_761) % 0x4000_0000
    }

    fn tcp(&mut self, first: u32, took: u32, remote: (u32, u16), packets: [u32; 2], size: [u32; 2]) {
        let answered = packets[1] > 0;
        let flags = if answered { [SYN | ACK | FIN, SYN | ACK | FIN] } else { [SYN, 0] };
        let port = self.port();
        self.flows.push(Flow { first, took, port, remote, protocol: TCP, packets, size, flags });
    }

    fn udp(
        &mut self,
        first: u32,
        took: u32,
        port: u16,
        remote: (u32, u16),
        packets: [u32; 2],
        size: [u32; 2],
    ) {
        self.flows.push(Flow { first, took, port, remote, protocol: UDP, packets, size, flags: [0; 2] });
    }

    /// A page now and then, and the names for it.
    fn browses(&mut self) {
        for _ in 0..3 {
            let first = self.any(0, HOUR - 200_000);
            let port = self.port();
            self.udp(first, 30, port, (0x0909_0909, 53), [1, 1], [70, 180]);
            let remote = (self.address(5_000), 443);
            let (out, back) = (self.any(8, 60), self.any(10, 400));
            let took = self.any(500, 120_000);
            if self.any(0, 3) == 0 {
                let port = self.port();
                self.udp(first + 40, took, port, remote, [out, back], [120, 1_100]);
            } else {
                self.tcp(first + 40, took, remote, [out, back], [150, 1_100]);
            }
        }
    }

    fn does(&mut self, kind: Kind) {
        self.browses();
        match kind {
            Kind::Honest => {}
            Kind::Sharer => {
                let port = self.port();
                for _ in 0..80 {
                    let (first, remote) = (self.any(0, HOUR - 60_000), self.address(5_000_000));
                    let answers = self.any(0, 2) * self.any(1, 40);
                    let remote = (remote, self.any(1_025, 65_000) as u16);
                    let out = 1 + answers / 2;
                    self.udp(first, 20_000, port, remote, [out, answers], [140, 900]);
                }
            }
            Kind::Spammer => {
                for i in 0..200 {
                    let remote = (self.address(20_000), 25);
                    let first = i * ((HOUR - 60_000) / 200);
                    if self.any(0, 10) < 3 {
                        self.tcp(first, 3_000, remote, [2, 0], [60, 0]);
                    } else {
                        self.tcp(first, 6_000, remote, [20, 15], [400, 80]);
                    }
                }
            }
            Kind::Scanner => {
                for i in 0..2_000 {
                    let remote = (self.address(1 << 30), 23);
                    let first = i * ((HOUR - 60_000) / 2_000);
                    let port = self.port();
                    let answer = u32::from(self.any(0, 50) == 0);
                    let flags = [SYN, if answer > 0 { RST | ACK } else { 0 }];
                    let (packets, size) = ([1, answer], [60, 40]);
                    self.flows.push(Flow {
                        first,
                        took: 0,
                        port,
                        remote,
                        protocol: TCP,
                        packets,
                        size,
                        flags,
                    });
                }
            }
            Kind::Peer => {
                let port = self.port();
                for i in 0..400 {
                    let remote = (self.address(1 << 28), 16_471);
                    let first = i * ((HOUR - 60_000) / 400);
                    let answers = u32::from(self.any(0, 10) < 3);
                    self.udp(first, 100 * answers, port, remote, [1, answers], [60, 600]);
                }
            }
            Kind::Caller => {
                let remote = (self.address(1 << 28), 8_443);
                for i in 0..58 {
                    self.tcp(i * 60_000, 900, remote, [6, 5], [140, 160]);
                }
            }
            Kind::Flooder => {
                let remote = (self.address(1 << 28), 80);
                let (first, port) = (self.any(0, HOUR / 2), self.port());
                self.udp(first, 300_000, port, remote, [400_000, 0], [500, 0]);
            }
        }
    }
}

/// How many of so many packets are looked at, where it is one in so many.
fn seen(packets: u32, of: u32, rng: &mut Rand32) -> u32 {
    if of == 1 {
        return packets;
    }
    let share = 1.0 / f64::from(of);
    if packets <= 2_000 {
        return (0..packets).filter(|_| f64::from(rng.rand_float()) < share).count() as u32;
    }
    // By the sum of twelve, which is as good as normal here.
    let mean = f64::from(packets) * share;
    let normal: f64 = (0..12).map(|_| f64::from(rng.rand_float())).sum::<f64>() - 6.0;
    (mean + normal * mean.sqrt()).round().max(0.0) as u32
}

/// A row of NetFlow 5: one way of a flow, as far as it was looked at.
fn row(f: &Flow, own: Ipv4Addr, way: usize, sampling: u32, rng: &mut Rand32) -> Option<[u8; 48]> {
    let n = seen(f.packets[way], sampling, rng);
    if n == 0 {
        return None;
    }
    // Whoever looks at some of the packets sees the first and the last of them by luck.
    let by_luck = |bit: u8, rng: &mut Rand32| {
        let lucky = sampling == 1 || rng.rand_range(0..f.packets[way]) < n;
        if f.flags[way] & bit > 0 && lucky { bit } else { 0 }
    };
    let mut flags = by_luck(SYN, rng) | by_luck(FIN, rng) | f.flags[way] & RST;
    if f.flags[way] & ACK > 0 && (f.packets[way] > 2 || way == 1) {
        flags |= ACK;
    }
    let (own, remote) = ((own, f.port), (Ipv4Addr::from(f.remote.0), f.remote.1));
    let (from, to) = if way == 0 { (own, remote) } else { (remote, own) };
    let mut row = [0; 48];
    row[0..4].copy_from_slice(&from.0.octets());
    row[4..8].copy_from_slice(&to.0.octets());
    row[16..20].copy_from_slice(&n.to_be_bytes());
    row[20..24].copy_from_slice(&(n * f.size[way]).to_be_bytes());
    // The router's clock began a minute before the hour.
    row[24..28].copy_from_slice(&(60_000 + f.first).to_be_bytes());
    row[28..32].copy_from_slice(&(60_000 + f.first + f.took).to_be_bytes());
    row[32..34].copy_from_slice(&from.1.to_be_bytes());
    row[34..36].copy_from_slice(&to.1.to_be_bytes());
    row[37] = flags;
    row[38] = f.protocol;
    Some(row)
}

/// Writes what the router exports, as a capture; gives what each subscriber has, by name, and the list of them.
///
/// # Errors
/// `out` takes no more.
pub fn write(
    subscribers: u32,
    sampling: u32,
    out: impl Write,
) -> anyhow::Result<(BTreeMap<String, Kind>, String)> {
    let mut rng = Rand32::new(11);
    let mut rows: Vec<(u32, [u8; 48])> = Vec::new();
    let (mut kinds, mut list) = (BTreeMap::new(), String::from("subscriber,address,ports\n"));
    for subscriber in 0..subscribers {
        let (own, first) = place(subscriber);
        let ports = first.map_or((1024, 65_536), |first| (first, first + BLOCK));
        let kind = Kind::of(subscriber);
        let name = format!("S{subscriber:07}");
        let shown = first.map_or_else(String::new, |_| format!("{}-{}", ports.0, ports.1 - 1));
        let _ = writeln!(list, "{name},{own},{shown}");
        kinds.insert(name, kind);
        let mut doing = Doing { rng: &mut rng, flows: Vec::new(), ports };
        doing.does(kind);
        for f in std::mem::take(&mut doing.flows) {
            for way in 0..2 {
                rows.extend(row(&f, own, way, sampling, &mut rng).map(|r| (f.first + f.took + INACTIVE, r)));
            }
        }
    }
    rows.sort_unstable();
    let mut out = PcapngWriter::new(out, 1, "testkit isp")?;
    let (exporter, collector) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let mut sequence = 0u32;
    for sent in rows.chunks(ROWS) {
        let at = sent.last().map_or(0, |r| r.0);
        let now = Timestamp(i64::from(START) * 1_000_000_000 + i64::from(at) * 1_000_000);
        let mut datagram = [5u16.to_be_bytes(), (sent.len() as u16).to_be_bytes()].concat();
        datagram.extend((60_000 + at).to_be_bytes());
        datagram.extend((START + at / 1_000).to_be_bytes());
        datagram.extend((at % 1_000 * 1_000_000).to_be_bytes());
        datagram.extend(sequence.to_be_bytes());
        // Engine 0; one in so many packets, by chance.
        let mode = if sampling == 1 { 0 } else { 2u16 << 14 | sampling as u16 };
        datagram.extend([0, 0]);
        datagram.extend(mode.to_be_bytes());
        sequence += sent.len() as u32;
        for (_, row) in sent {
            datagram.extend(row);
        }
        let frame =
            frame::udp((exporter.into(), 40_000), (collector.into(), 2055), sequence as u16, &datagram);
        out.packet(now, &frame, frame.len() as u32)?;
    }
    out.flush()?;
    Ok((kinds, list))
}

/// What is found of a kind: how many there are, how many are seen, and how many are at least suspicious, likely, infected.
pub type Found = BTreeMap<Kind, [u64; 5]>;

/// Writes an hour and judges it.
///
/// # Errors
/// There is no room for the capture, or it cannot be read.
pub fn judge(subscribers: u32, sampling: u32, memory: ByteSize) -> anyhow::Result<Found> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("exports.pcapng");
    let (kinds, list) = write(subscribers, sampling, BufWriter::new(File::create(&path)?))?;
    let known = Arc::new(Subscribers::parse(&list, &[0; 32]).map_err(anyhow::Error::msg)?);
    let options = RunOptions {
        home: Some(vec![PSEUDONYMS.into()]),
        memory,
        subscribers: Some(known.clone()),
        ..RunOptions::of(vec![Source::Path(path)])
    };
    let outcome = pipeline::run(&options, |_| ())?;
    anyhow::ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let mut found = Found::new();
    for kind in kinds.values() {
        found.entry(*kind).or_default()[0] += 1;
    }
    for story in &outcome.stories {
        let kind = known.name(story.host).and_then(|name| kinds.get(name));
        let Some(counts) = kind.and_then(|kind| found.get_mut(kind)) else { continue };
        counts[1] += 1;
        let levels = [Verdict::Suspicious, Verdict::Likely, Verdict::Infected];
        for (count, level) in counts.iter_mut().skip(2).zip(levels) {
            *count += u64::from(story.verdict >= level);
        }
    }
    Ok(found)
}
