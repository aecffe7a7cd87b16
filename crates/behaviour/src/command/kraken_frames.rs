//! ## What it sees
//! Payloads of exactly 24 random-looking bytes to (and from) UDP port 447 or TCP ports 446 and 447 of hosts elsewhere.
//!
//! ## Why it matters
//! This is the size and place of the first message between Kraken and its controllers, in both directions (ATT&CK T1095,
//! T1571, T1573.001). What it says is encrypted, and its layout is not public.
//!
//! ## How it decides
//! At least 2 such payloads out of the host within 360 s (the rule of the day); more if some came back too. The look is
//! tested as far as 24 bytes allow: set bits per byte within the band that holds 99 % of random payloads, distinct
//! byte values, no printable beginning or run. The port alone, at least 5 packets within 60 s, is worth little. A DRDA
//! header, or both ends local, is worth nothing.
//!
//! Levels shown (KRAKEN §3.4), each only while the one before holds: L0 ports, lengths, directions, times; L1 a frame of
//! 24 bytes with its tests; L2 a split into 8, 16 and the rest, labelled hypothetical. Nothing is decrypted.
//!
//! ## What else looks like this
//! IBM DDM and DRDA own ports 446–448; they are told by their header.
//!
//! ## Blind spots
//! Other ports and sizes: `peer_walk` and `same_remote_chain` do without both.
//!
//! ## Options
//! `frames` (2) in `window` (6m), `port_packets` (5) in `port_window` (1m).
//!
//! ## References
//! Emerging Threats signatures 2008103–2008110 (P. Royal, Damballa, April 2008).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use record::{
    ConnPhase, Direction, Evidence, FlowId, PacketId, PayloadFacts, Record, Service, Stage, Timestamp,
    Transport, Tuple, tally,
};
use serde::{Deserialize, Serialize};

use crate::{About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic};

const MAX_FRAMES: usize = 64;
const ET: &str = "ET 2008103–2008106: 24 bytes, 2 in 360 s";

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Outbound frames within `window`, ≥ 1 (ET 2008104).
    pub frames: usize,
    /// That window (ET 2008104).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Packets to UDP 447 within `port_window` (ET 2008109).
    pub port_packets: u64,
    /// That window (ET 2008109).
    #[serde(with = "humantime_serde")]
    pub port_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            frames: 2,
            window: Duration::from_mins(6),
            port_packets: 5,
            port_window: Duration::from_mins(1),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Frame {
    ts: Timestamp,
    out: bool,
    facts: PayloadFacts,
    remote: IpAddr,
    flow: FlowId,
    packet: PacketId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    frames: VecDeque<Frame>,
    port: VecDeque<(Timestamp, u64, FlowId, PacketId, IpAddr)>,
    reported: usize,
    told_port: bool,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

fn on_kraken_port(tuple: &Tuple) -> bool {
    match tuple.transport {
        Transport::Udp => tuple.resp.port == 447,
        Transport::Tcp => matches!(tuple.resp.port, 446 | 447),
        _ => false,
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::FileSharing).unless(&["both_directions"])],
        needs: &[Traffic::Tcp, Traffic::Udp],
        control: true,
        finding: Some(Shows { by: |e| e.key == "frames", ..Shows::all("Kraken (Oderoor/Bobax, 2008)") }),
        ..About::new(
            Stage::Command,
            &["T1095", "T1571", "T1573.001"],
            &[
                GradeWorth::base("outbound", 22.0).key("frames").cap(28.0),
                GradeWorth::base("both_directions", 28.0).key("frames").cap(28.0),
                GradeWorth::base("port_only", 6.5).key("port"),
            ],
        )
    };

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let tuple = record.tuple();
        if !on_kraken_port(tuple) {
            return;
        }
        let Some(host) = context.outbound() else { return };
        match record {
            Record::Frame(f) => {
                let state = states.of(host, context.now);
                state.frames.push_back(Frame {
                    ts: f.head.ts,
                    out: f.from == Direction::Orig,
                    facts: f.facts,
                    remote: f.head.tuple.resp.ip,
                    flow: f.head.flow,
                    packet: f.packets.first().copied().unwrap_or_default(),
                });
                let window = self.settings.window;
                state.frames.retain(|x| f.head.ts.since(x.ts) <= window);
                if state.frames.len() > MAX_FRAMES {
                    state.frames.pop_front();
                }
                judge(&self.settings, host, state, context);
            }
            Record::Conn(c) if c.phase == ConnPhase::Closed && c.head.tuple.transport == Transport::Udp => {
                let drda = c.service == Service::Drda
                    || c.first_payload[0].is_some_and(|p| p.head().get(2) == Some(&0xd0));
                let plain = c.service.is_recognised();
                if !drda && !plain {
                    port(&self.settings, host, states.of(host, context.now), c, context);
                }
            }
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        if e.key == "port" {
            return format!("sent {} packets to UDP port 447", tally(e.value));
        }
        let back = e.count("inbound_frames");
        let both = if back > 0 { format!(", {back} came back") } else { String::new() };
        format!(
            "sent {} encrypted-looking payloads of exactly 24 bytes to port 447{both} (decoded to level {})",
            tally(e.value),
            e.text("level")
        )
    }
}

fn judge(settings: &Settings, host: IpAddr, state: &mut Host, context: &mut Context<'_>) {
    let out = state.frames.iter().filter(|f| f.out).count();
    let back = state.frames.len() - out;
    if out < settings.frames {
        context.near(host, out as f64, settings.frames as f64, "frames");
        return;
    }
    // Told again when answers came, or the number doubled.
    let weight = state.frames.len() + if back > 0 { 1000 } else { 0 };
    if state.reported > 0 && weight < state.reported * 2 {
        return;
    }
    state.reported = weight;
    let mut remotes: Vec<IpAddr> = state.frames.iter().map(|f| f.remote).collect();
    remotes.sort_unstable();
    remotes.dedup();
    let facts: Vec<&PayloadFacts> = state.frames.iter().map(|f| &f.facts).collect();
    let levels = Levels::of(&facts);
    context.fire(Fire {
        host,
        key: "frames".into(),
        grades: vec![if back > 0 { ("both_directions", 1) } else { ("outbound", 1) }],
        started: state.frames[0].ts,
        value: out as f64,
        threshold: settings.frames as f64,
        unit: "frames of 24 bytes",
        source: ET,
        packets: state.frames.iter().map(|f| f.packet).collect(),
        flows: state.frames.iter().map(|f| f.flow).collect(),
        remotes,
        facts: vec![
            ("inbound_frames", back.into()),
            ("level", levels.level.into()),
            ("tests", levels.tests.into()),
            ("hypothetical_layout", levels.split.into()),
        ],
    });
}

fn port(settings: &Settings, host: IpAddr, state: &mut Host, c: &record::Conn, context: &mut Context<'_>) {
    let packet = c.key_packets.first().copied().unwrap_or_default();
    state.port.push_back((c.head.ts, c.packets[0] + c.packets[1], c.head.flow, packet, c.head.tuple.resp.ip));
    state.port.retain(|p| c.head.ts.since(p.0) <= settings.port_window);
    let packets: u64 = state.port.iter().map(|p| p.1).sum();
    if packets < settings.port_packets || state.told_port {
        if !state.told_port {
            context.near(host, packets as f64, settings.port_packets as f64, "packets to UDP 447");
        }
        return;
    }
    state.told_port = true;
    context.fire(Fire {
        host,
        key: "port".into(),
        grades: vec![("port_only", 1)],
        started: state.port[0].0,
        value: packets as f64,
        threshold: settings.port_packets as f64,
        unit: "packets to UDP 447",
        source: "ET 2008109: 5 in 60 s",
        packets: state.port.iter().map(|p| p.3).collect(),
        flows: state.port.iter().map(|p| p.2).collect(),
        remotes: state.port.iter().map(|p| p.4).collect(),
        facts: vec![],
    });
}

/// How far the frames can be read (KRAKEN §3.4): never further than the tests hold.
struct Levels {
    level: &'static str,
    tests: Vec<String>,
    split: Vec<String>,
}

impl Levels {
    fn of(frames: &[&PayloadFacts]) -> Self {
        let (low, high) = PayloadFacts::random_band(24);
        let mut tests = Vec::new();
        let (mut ones, mut fewest) = ((f64::MAX, f64::MIN), u16::MAX);
        for f in frames {
            ones = (ones.0.min(f.ones_per_byte()), ones.1.max(f.ones_per_byte()));
            fewest = fewest.min(f.distinct);
        }
        tests.push(format!(
            "set bits per byte {:.2}–{:.2} (99 % of random: {low:.2}–{high:.2})",
            ones.0, ones.1
        ));
        tests.push(format!("distinct bytes of 24: at least {fewest} (1 % quantile of random: 20)"));
        let heads: Vec<&[u8]> = frames.iter().filter_map(|f| f.head().get(..8)).collect();
        let mut distinct = heads.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let repeat = distinct.len() < heads.len();
        tests.push(if repeat {
            format!(
                "first 8 bytes: {} of {} distinct, so not keyed anew for each packet",
                distinct.len(),
                heads.len()
            )
        } else {
            format!("first 8 bytes: all {} distinct", heads.len())
        });
        // Monobit test over the pooled first 8 bytes.
        let bits = heads.len() as f64 * 64.0;
        let set: u32 = heads.iter().flat_map(|h| h.iter()).map(|b| b.count_ones()).sum();
        let (off, band) = ((f64::from(set) / bits - 0.5).abs(), 3.0 / (2.0 * bits.sqrt()));
        let monobit = off < band;
        tests.push(format!("pooled bits of bytes 0–7: {off:.3} off one half (3σ: {band:.3})"));
        let holds = monobit && ones.0 > low && ones.1 < high;
        let hex = |b: &[u8]| b.iter().map(|x| format!("{x:02x}")).collect::<Vec<_>>().concat();
        let split = if holds {
            let part = |f: &&PayloadFacts| {
                let h = f.head();
                Some(format!("{} | {} | {}", hex(h.get(..8)?), hex(h.get(8..24)?), hex(h.get(24..)?)))
            };
            frames.iter().take(3).filter_map(part).collect()
        } else {
            Vec::new()
        };
        Self { level: if holds { "L2" } else { "L1" }, tests, split }
    }
}

crate::held!(Frame);
crate::held!(Host: frames, port);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = 0;
        self.told_port = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::FactValue;

    fn bench() -> Bench {
        Bench::new("kraken_frames", Watcher::new(Settings::default()))
    }

    fn send(b: &mut Bench, secs: f64, from: Direction, remote: &str) {
        b.feed(frame(secs, remote, Transport::Udp, 447, from, &random(24, secs as u64 + 1)), secs);
    }

    #[test]
    fn two_frames_fire_and_one_does_not() {
        let mut b = bench();
        send(&mut b, 1.0, Direction::Orig, REMOTE);
        assert!(b.evidence.is_empty() && b.near().len() == 1);
        send(&mut b, 361.0, Direction::Orig, REMOTE);
        assert_eq!(b.grades(), ["outbound"], "360 s apart");
        send(&mut b, 361.0, Direction::Resp, REMOTE);
        assert_eq!(b.grades(), ["both_directions"]);
        let e = b.evidence.last().unwrap();
        assert_eq!(e.facts["level"], FactValue::Text("L2".into()));
        let mut late = bench();
        send(&mut late, 1.0, Direction::Orig, REMOTE);
        send(&mut late, 362.0, Direction::Orig, REMOTE);
        assert!(late.evidence.is_empty(), "361 s apart");
    }

    #[test]
    fn other_ports_and_local_ends_are_not_it() {
        let mut b = bench();
        for t in [1.0, 2.0, 3.0] {
            b.feed(frame(t, REMOTE, Transport::Udp, 448, Direction::Orig, &random(24, 1)), t);
            b.feed(frame(t, "10.0.0.9", Transport::Udp, 447, Direction::Orig, &random(24, 1)), t);
        }
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn the_port_alone_needs_five_packets_and_no_drda() {
        let mut c = conn(1.0, Transport::Udp, REMOTE, 447);
        c.packets = [4, 0];
        let mut b = bench();
        b.feed(record(c.clone()), 61.0);
        assert!(b.evidence.is_empty());
        c.packets = [5, 0];
        let mut b = bench();
        b.feed(record(c.clone()), 61.0);
        assert_eq!(b.grades(), ["port_only"]);
        c.service = Service::Drda;
        let mut b = bench();
        b.feed(record(c), 61.0);
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn what_does_not_hold_is_not_shown() {
        let mut b = bench();
        for t in [1.0, 2.0] {
            b.feed(
                frame(
                    t,
                    REMOTE,
                    Transport::Udp,
                    447,
                    Direction::Orig,
                    &[[0xff; 8], [0; 8], [0x55; 8]].concat(),
                ),
                t,
            );
        }
        let e = b.evidence.last().unwrap();
        assert_eq!(e.facts["level"], FactValue::Text("L1".into()));
        assert_eq!(e.facts["hypothetical_layout"], FactValue::List(vec![]));
    }
}
