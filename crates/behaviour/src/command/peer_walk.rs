//! ## What it sees
//! A host sends opaque datagrams to several hosts elsewhere, each on another port, whose names it never asked for.
//!
//! ## Why it matters
//! A peer-to-peer bot walks its list of peers until some answer, and registers with them (ATT&CK T1095, T1571). Ports,
//! contents and names may all be new; the walk remains.
//!
//! ## How it decides
//! Over 600 s of UDP to hosts elsewhere, without everything that is recognised by content: P distinct remotes, D distinct
//! remote ports per remote, N share never resolved by DNS within 24 h, R share whose first datagram is opaque, F share
//! unanswered. Fires at P ≥ 5, D ≥ 0.8 (0.5 from P = 20 on), R ≥ 0.7 and N ≥ 0.8 (or names of a known generator). More for P ≥ 20, for F ≥ 0.3, and for
//! first datagrams of equal length with differing content, at least three; or for the same one, by its length and first 32 bytes, to at least 20 remotes, nine in ten of all, of which at most one in 20 answered and each on a port of its own, but for one in ten (*same_datagram*: who knows his peers says something else to each, and hears from them; lists of game servers hold the game's port again and again).
//!
//! ## What else looks like this
//! File sharing, calls, games and tunnels, as far as they are not recognised; a verified peer-to-peer or voice application
//! on the host within an hour discounts it.
//!
//! ## Blind spots
//! Peers on one fixed port; peers over TCP; fewer than five peers.
//!
//! ## Options
//! `peers` (5), `many_peers` (20), `ports_per_peer` (0.8), `ports_of_many` (0.5), `opaque_share` (0.7), `unnamed_share` (0.8), `unanswered_share` (0.3), `window` (10m).
//!
//! ## References
//! R. Balupari, McAfee Avert Labs (2008); C. Rossow et al., "P2PWNED", IEEE S&P 2013.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use record::{ConnPhase, Evidence, FlowId, PacketId, Record, Stage, Timestamp, Transport, tally};
use serde::{Deserialize, Serialize};

use crate::kraken_names::generator_of;
use crate::table::{HostKey, SeededMap, hash_of};
use crate::{
    About, Alike, Application, Behaviour, Card, Context, Excuse, Fire, GradeWorth, Honest, HostState, States,
    Traffic, Wants,
};

/// Remotes remembered of one host.
const MAX_PEERS: usize = 512;
/// Equal first lengths that count as recurring (*assumed*).
const RECURRING: usize = 3;
/// Of so many in ten the first datagram is the same, and the port another (*assumed*).
const SAME: usize = 9;
/// One in so many may answer it (*assumed*, as in `udp_sweep`).
const ANSWERED: usize = 20;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Distinct remotes, ≥ 2 (*assumed*).
    pub peers: usize,
    /// So many count more (*assumed*).
    pub many_peers: usize,
    /// Distinct remote ports per remote, 0–1 (*assumed*).
    pub ports_per_peer: f64,
    /// The same when there are many peers, 0–1 (*assumed*).
    pub ports_of_many: f64,
    /// Share whose first datagram is opaque, 0–1 (*assumed*).
    pub opaque_share: f64,
    /// Share never resolved by DNS, 0–1 (*assumed*).
    pub unnamed_share: f64,
    /// Share unanswered that counts more, 0–1 (*assumed*).
    pub unanswered_share: f64,
    /// The window (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            peers: 5,
            many_peers: 20,
            ports_per_peer: 0.8,
            ports_of_many: 0.5,
            opaque_share: 0.7,
            unnamed_share: 0.8,
            unanswered_share: 0.3,
            window: Duration::from_mins(10),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Peer {
    ts: Timestamp,
    port: u16,
    named: bool,
    generated: bool,
    opaque: bool,
    answered: bool,
    len: u32,
    /// The first bytes, as a hash: all that is asked of them is how many differ.
    head: u64,
    flow: FlowId,
    packet: PacketId,
}

/// A host's peers, with what is asked of them counted as they come and go: a flow costs the same however many there are.
#[derive(Default, Serialize, Deserialize)]
struct Peers {
    by_address: SeededMap<HostKey, Peer>,
    by_time: BTreeSet<(Timestamp, IpAddr)>,
    ports: SeededMap<u16, u32>,
    unnamed: usize,
    unanswered: usize,
    opaque: usize,
    generated: usize,
    /// First bytes of opaque peers by length; and lengths that recur with differing ones.
    by_len: BTreeMap<u32, SeededMap<u64, u32>>,
    recurring: usize,
    /// How many began with the same bytes, at most.
    alike: u32,
}

impl Peers {
    fn len(&self) -> usize {
        self.by_address.len()
    }

    fn add(&mut self, remote: IpAddr, peer: Peer) {
        self.remove(remote);
        self.by_time.insert((peer.ts, remote));
        *self.ports.entry(peer.port).or_default() += 1;
        self.unnamed += usize::from(!peer.named);
        self.unanswered += usize::from(!peer.answered);
        self.opaque += usize::from(peer.opaque);
        self.generated += usize::from(peer.generated);
        if peer.opaque {
            let heads = self.by_len.entry(peer.len).or_default();
            let before = heads.len();
            let alike = heads.entry(peer.head).or_default();
            *alike += 1;
            self.alike = self.alike.max(*alike);
            self.recurring += usize::from(before < RECURRING && heads.len() >= RECURRING);
        }
        self.by_address.insert(HostKey(remote), peer);
    }

    fn remove(&mut self, remote: IpAddr) {
        let Some(peer) = self.by_address.remove(&HostKey(remote)) else { return };
        self.by_time.remove(&(peer.ts, remote));
        if let Some(n) = self.ports.get_mut(&peer.port) {
            *n -= 1;
            if *n == 0 {
                self.ports.remove(&peer.port);
            }
        }
        self.unnamed -= usize::from(!peer.named);
        self.unanswered -= usize::from(!peer.answered);
        self.opaque -= usize::from(peer.opaque);
        self.generated -= usize::from(peer.generated);
        if let Some(heads) = self.by_len.get_mut(&peer.len).filter(|_| peer.opaque) {
            let before = heads.len();
            if let Some(n) = heads.get_mut(&peer.head) {
                // Of two that are equally common the other is counted again with its next.
                self.alike -= u32::from(*n == self.alike);
                *n -= 1;
                if *n == 0 {
                    heads.remove(&peer.head);
                }
            }
            self.recurring -= usize::from(before >= RECURRING && heads.len() < RECURRING);
            if heads.is_empty() {
                self.by_len.remove(&peer.len);
            }
        }
    }

    /// A peer has answered after all.
    fn answer(&mut self, remote: IpAddr) {
        if let Some(peer) = self.by_address.get_mut(&HostKey(remote))
            && !peer.answered
        {
            peer.answered = true;
            self.unanswered -= 1;
        }
    }

    /// Forgets those whose contact lies more than `window` before the newest, and the oldest of too many.
    fn forget(&mut self, window: Duration) {
        let Some(&(newest, _)) = self.by_time.last() else { return };
        while let Some(&(ts, remote)) = self.by_time.first() {
            if newest.since(ts) <= window && self.len() <= MAX_PEERS {
                return;
            }
            self.remove(remote);
        }
    }

    /// The length that recurs with the most differing first bytes.
    fn recurring_length(&self) -> Option<u32> {
        let most = self.by_len.iter().max_by_key(|(_, heads)| heads.len());
        most.filter(|(_, heads)| heads.len() >= RECURRING).map(|(len, _)| *len)
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    peers: Peers,
    reported: Option<(Timestamp, usize, usize)>,
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

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::FileSharing),
            Alike::to(Honest::Calls).unless(&["many_peers"]),
            Alike::to(Honest::Device).unless(&["many_peers"]),
            Alike::to(Honest::Tunnel).unless(&["many_peers"]),
        ],
        needs: &[Traffic::Udp],
        // Alone it must not reach more (DETECTION §4).
        alone: Some(11.0),
        excuses: &[Excuse::Fact(
            "application_within_hour",
            "a P2P or voice application ran within the hour",
            0.3,
        )],
        ..About::new(
            Stage::Command,
            &["T1095", "T1571"],
            &[
                GradeWorth::base("walk", 4.0),
                GradeWorth::add("many_peers", 2.0),
                GradeWorth::add("unanswered", 2.0),
                GradeWorth::add("equal_lengths", 4.0),
                GradeWorth::add("same_datagram", 4.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OPEN).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Conn(c) = record else { return };
        if c.head.tuple.transport != Transport::Udp || c.phase == ConnPhase::Interim || !c.start_seen {
            return;
        }
        let Some(host) = context.outbound() else { return };
        let remote = c.head.tuple.resp.ip;
        let (state, card) = states.open(host, context.now);
        if c.service.is_recognised() {
            // A walk that turns out to be an application is none.
            state.peers.remove(remote);
            return;
        }
        let Some(first) = c.first_payload[0] else { return };
        if first.len == 0 {
            return;
        }
        // The first contact counts; a later word on the same flow may tell that it was answered.
        let answered = c.packets[1] > 0;
        let known = state.peers.by_address.get(&HostKey(remote));
        if let Some(known) = known.filter(|p| c.head.ts.since(p.ts) <= self.settings.window) {
            if answered && !known.answered {
                state.peers.answer(remote);
                judge(&self.settings, host, (state, card), context);
            }
            return;
        }
        let names = context.network.names_of(remote, context.now);
        let peer = Peer {
            ts: c.head.ts,
            port: c.head.tuple.resp.port,
            named: !names.is_empty(),
            generated: names.iter().any(|n| generator_of(n).is_some()),
            opaque: first.is_opaque(),
            answered,
            len: first.len,
            head: hash_of(first.head()),
            flow: c.head.flow,
            packet: c.key_packets.first().copied().unwrap_or_default(),
        };
        state.peers.add(remote, peer);
        state.peers.forget(self.settings.window);
        judge(&self.settings, host, (state, card), context);
    }

    fn sentence(e: &Evidence) -> String {
        let named = match e.number("unnamed_share") {
            share if share >= 1.0 => " that DNS had not named",
            share if share >= 0.8 => ", most of which DNS had not named",
            _ => "",
        };
        let mut s = format!(
            "sent encrypted-looking UDP to {} addresses{named}, most on a port of their own",
            tally(e.value)
        );
        if e.has("unanswered") {
            let _ = write!(s, ", {:.0} % silent", 100.0 * e.number("unanswered_share"));
        }
        if e.has("same_datagram") {
            s.push_str(", the same bytes to nearly all");
        }
        match e.count("recurring_length") {
            0 => {}
            length => {
                let _ = write!(s, ", often {length} bytes");
            }
        }
        s
    }
}

fn judge(settings: &Settings, host: IpAddr, (state, card): (&mut Host, &Card), context: &mut Context<'_>) {
    let p = state.peers.len();
    if p < settings.peers {
        context.near(host, p as f64, settings.peers as f64, "opaque UDP peers");
        return;
    }
    let share = |n: usize| n as f64 / p as f64;
    let d = share(state.peers.ports.len());
    let (n, f, r) = (share(state.peers.unnamed), share(state.peers.unanswered), share(state.peers.opaque));
    let generated = share(state.peers.generated) >= settings.unnamed_share;
    // Of many peers some share a port by chance or habit.
    let variety = if p >= settings.many_peers { settings.ports_of_many } else { settings.ports_per_peer };
    let misses = [(d, variety, "ports per peer"), (r, settings.opaque_share, "opaque first datagrams")];
    for (value, threshold, unit) in misses {
        if value < threshold {
            context.near(host, value, threshold, unit);
            return;
        }
    }
    if n < settings.unnamed_share && !generated {
        context.near(host, n, settings.unnamed_share, "peers never resolved by DNS");
        return;
    }
    let mut grades = vec![("walk", 1)];
    if p >= settings.many_peers {
        grades.push(("many_peers", 1));
    }
    if f >= settings.unanswered_share {
        grades.push(("unanswered", 1));
    }
    if state.peers.recurring > 0 {
        grades.push(("equal_lengths", 1));
    }
    let alike = state.peers.alike as usize;
    let answered = p - state.peers.unanswered;
    let own_ports = 10 * state.peers.ports.len() >= SAME * p;
    if alike >= settings.many_peers && 10 * alike >= SAME * p && ANSWERED * answered <= p && own_ports {
        grades.push(("same_datagram", 1));
    }
    let recent = state.reported.filter(|(t, ..)| context.now.since(*t) <= settings.window);
    if recent.is_some_and(|(_, peers, g)| p < peers * 2 && grades.len() <= g) {
        return;
    }
    state.reported = Some((context.now, p, grades.len()));
    let of = |(_, ip): &(Timestamp, IpAddr)| Some((*ip, state.peers.by_address.get(&HostKey(*ip))?));
    let order: Vec<(IpAddr, &Peer)> = state.peers.by_time.iter().filter_map(of).collect();
    let recurring = state.peers.recurring_length();
    let explained = context.runs(card, Application::P2p) || context.runs(card, Application::Voip);
    let fire = Fire {
        host,
        key: "walk".into(),
        grades,
        started: order[0].1.ts,
        value: p as f64,
        threshold: settings.peers as f64,
        unit: "opaque UDP peers",
        source: "assumed",
        packets: order.iter().map(|(_, x)| x.packet).collect(),
        flows: order.iter().map(|(_, x)| x.flow).collect(),
        remotes: order.iter().map(|(ip, _)| *ip).collect(),
        facts: vec![
            ("ports_per_peer", d.into()),
            ("unnamed_share", n.into()),
            ("unanswered_share", f.into()),
            ("opaque_share", r.into()),
            ("recurring_length", recurring.map_or(0, u64::from).into()),
            ("application_within_hour", explained.into()),
        ],
    };
    context.fire(fire);
}

crate::held!(Peer);
crate::held!(Peers: by_address, by_time, ports, by_len);
crate::held!(Host: peers);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{Dns, PayloadFacts, Service};

    fn bench() -> Bench {
        Bench::new("peer_walk", Watcher::new(Settings::default()))
    }

    fn peer(i: u64, len: usize) -> record::Conn {
        let mut c = conn(1.0 + i as f64, Transport::Udp, &format!("198.51.100.{}", i + 1), 20_000 + i as u16);
        c.service = Service::Opaque;
        let bytes = random(len, i + 7);
        c.first_payload[0] = payload(&bytes);
        c
    }

    #[test]
    fn the_same_datagram_to_many_who_are_silent() {
        let grades = |same: u64, answered: u64| {
            let mut b = bench();
            for i in 0..40 {
                let mut c = peer(i, 40);
                // Whoever differs comes first: it is judged as they come.
                if i >= 40 - same {
                    c.first_payload[0] = payload(&random(40, 1));
                }
                c.packets[1] = u64::from(i < answered);
                b.feed(record(c), 10.0 + i as f64);
            }
            b.grades()
        };
        assert!(grades(40, 0).contains(&"same_datagram".to_owned()));
        assert!(grades(36, 2).contains(&"same_datagram".to_owned()), "nine in ten, and one in 20 answers");
        assert!(!grades(35, 0).contains(&"same_datagram".to_owned()));
        assert!(!grades(40, 3).contains(&"same_datagram".to_owned()));
    }

    #[test]
    fn five_peers_fire_and_four_do_not() {
        let mut b = bench();
        for i in 0..4 {
            b.feed(record(peer(i, 40 + i as usize)), 10.0 + i as f64);
        }
        assert!(b.evidence.is_empty());
        assert_eq!(b.near().first().unwrap().value, 4.0);
        b.feed(record(peer(4, 50)), 20.0);
        assert_eq!(b.grades(), ["walk"]);
    }

    #[test]
    fn more_speaks_louder() {
        let mut b = bench();
        for i in 0..20 {
            let mut c = peer(i, 40);
            if i % 2 == 0 {
                c.packets = [1, 0];
            }
            b.feed(record(c), 10.0 + i as f64);
        }
        assert_eq!(b.grades(), ["walk", "many_peers", "unanswered", "equal_lengths"]);
    }

    #[test]
    fn what_is_recognised_named_plain_or_on_one_port_is_not_it() {
        let run = |change: &dyn Fn(u64, &mut record::Conn), named: bool| {
            let mut b = bench();
            for i in 0..10 {
                let mut c = peer(i, 40);
                change(i, &mut c);
                if named {
                    b.feed(
                        dns(
                            0.5,
                            &format!("p{i}.example.com"),
                            Dns::A,
                            0,
                            Some(&c.head.tuple.resp.ip.to_string()),
                        ),
                        0.5,
                    );
                }
                b.feed(record(c), 10.0 + i as f64);
            }
            b.evidence.len()
        };
        assert!(run(&|_, _| (), false) > 0);
        assert_eq!(run(&|_, c| c.service = Service::Dht, false), 0);
        assert_eq!(run(&|_, c| c.head.tuple.resp.port = 447, false), 0);
        assert_eq!(
            run(&|_, c| c.first_payload[0] = Some(PayloadFacts::of(b"plain text goes here", 20)), false),
            0
        );
        assert_eq!(run(&|_, _| (), true), 0);
        assert_eq!(run(&|_, c| c.start_seen = false, false), 0);
    }

    #[test]
    fn the_window_is_ten_minutes() {
        let mut b = bench();
        for i in 0..5 {
            let mut c = peer(i, 40);
            c.head.ts = at(1.0 + 151.0 * i as f64);
            b.feed(record(c), 10.0 + 151.0 * i as f64);
        }
        assert!(b.evidence.is_empty());
    }
}
