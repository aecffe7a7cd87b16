//! ## What it sees
//! A host that spoke to a remote over UDP takes a larger transfer from the same remote over TCP soon after, in a form
//! that no ordinary client uses.
//!
//! ## Why it matters
//! The peer that a bot registered with hands it the update: 100–200 kB over TCP, by whatever port is open (ATT&CK T1105,
//! T1008, T1104, T1071.001). The link between the two contacts holds when ports and contents change.
//!
//! ## How it decides
//! UDP contact with the remote, not recognised by content, at most 1800 s before; then TCP to the same remote:
//! (a) port 446 or 447, opaque, 80–250 kB inbound; (b) port 80, a POST with opaque body, without Referer, whose Host is
//! missing, an address, a generated or a dynamic-DNS name, and whose answer of 20–250 kB is not what it declares; (c) port 443,
//! where the first data is opaque and neither TLS nor SSLv2; (d) adds to (c) when port 80 of the same remote was refused,
//! reset or silent within 60 s before. On any other port the chain counts at half. Without the UDP contact each counts less. No
//! verdict on flows whose start was not seen or whose beginning is missing.
//!
//! ## What else looks like this
//! Obfuscated proxies, tunnels, remote-help tools and file sharing on 443; remotes that many local hosts use (discounted).
//!
//! ## Blind spots
//! An update from a remote that was never contacted before over UDP, in perfect HTTPS.
//!
//! ## Options
//! `link` (30m), `fallback` (1m), `transfer_min` (80000), `transfer_max` (250000), `post_min` (20000).
//!
//! ## References
//! R. Balupari, McAfee Avert Labs (2008); KRAKEN §2–3.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Direction, Evidence, FlowId, Http, PacketId, Record, Role, Service, Stage, Timestamp,
    Transport, clean, human_bytes,
};
use serde::{Deserialize, Serialize};

use crate::kraken_names::generator_of;
use crate::table::{HostKey, SeededMap};
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States, Traffic, domains,
};

/// UDP contacts remembered of one host.
const MAX_CONTACTS: usize = 1024;
/// Transfers without a UDP contact remembered of one host.
const MAX_UNLINKED: usize = 16;
/// Failed tries on port 80 remembered of one host.
const MAX_FAILED: usize = 64;
const STUDY: &str = "field study 2008: 100–200 kB from the same peer";

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The UDP contact lies at most this far back (*assumed*).
    #[serde(with = "humantime_serde")]
    pub link: Duration,
    /// From a failure on port 80 to 443 (*assumed*).
    #[serde(with = "humantime_serde")]
    pub fallback: Duration,
    /// Inbound bytes of a transfer, at least (the study's 100 kB, with room).
    pub transfer_min: u64,
    /// Inbound bytes of a transfer, at most (the study's 200 kB, with room).
    pub transfer_max: u64,
    /// Inbound bytes of the answer to a POST, at least (*assumed*).
    pub post_min: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            link: Duration::from_mins(30),
            fallback: Duration::from_mins(1),
            transfer_min: 80_000,
            transfer_max: 250_000,
            post_min: 20_000,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Contact {
    /// When the first datagram went out.
    first: Timestamp,
    /// The latest word.
    ts: Timestamp,
    flow: FlowId,
    packet: PacketId,
}

/// A transfer that had no UDP contact when it was judged: the contact's flow may not have been told of yet.
#[derive(Serialize, Deserialize)]
enum Unlinked {
    Conn(Box<Conn>),
    Post(Box<Http>),
}

impl Unlinked {
    fn remote(&self) -> IpAddr {
        match self {
            Self::Conn(c) => c.head.tuple.resp.ip,
            Self::Post(h) => h.head.tuple.resp.ip,
        }
    }

    fn ts(&self) -> Timestamp {
        match self {
            Self::Conn(c) => c.head.ts,
            Self::Post(h) => h.head.ts,
        }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    unlinked: VecDeque<Unlinked>,
    udp: SeededMap<HostKey, Contact>,
    failed: VecDeque<(Timestamp, IpAddr, FlowId, PacketId)>,
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
            Alike::to(Honest::Agent).unless(&["opaque_443", "opaque_443_unlinked", "fallback_from_80"]),
            Alike::to(Honest::Tunnel),
            Alike::to(Honest::Device),
            Alike::to(Honest::FileSharing),
        ],
        needs: &[Traffic::Tcp],
        follows: &[Stage::Command],
        excuses: &[Excuse::Role(&[Role::P2pUser], 0.5), Excuse::Role(&[Role::VpnUser], 0.5)],
        capability: Some("file_download"),
        ..About::new(
            Stage::Update,
            &["T1105", "T1008", "T1104", "T1071.001"],
            &[
                GradeWorth::base("transfer_447", 17.0),
                GradeWorth::base("transfer_447_unlinked", 9.0),
                GradeWorth::base("post_80", 13.0),
                GradeWorth::base("post_80_unlinked", 4.0),
                GradeWorth::base("opaque_443", 13.0),
                GradeWorth::base("opaque_443_unlinked", 4.0),
                GradeWorth::add("fallback_from_80", 6.0),
                GradeWorth::base("transfer_any_port", 8.5),
                GradeWorth::base("post_any_port", 6.5),
            ],
        )
    };

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        match record {
            Record::Conn(c) if c.phase != ConnPhase::Interim => {
                let Some(host) = context.outbound() else { return };
                match c.head.tuple.transport {
                    Transport::Udp => {
                        let state = states.of(host, context.now);
                        contact(state, c);
                        again(&self.settings, host, state, c.head.tuple.resp.ip, context);
                    }
                    Transport::Tcp if c.phase == ConnPhase::Closed => {
                        let state = states.of(host, context.now);
                        tcp(&self.settings, host, state, c, context);
                    }
                    _ => {}
                }
            }
            Record::Http(h) => {
                let Some(host) = context.outbound() else { return };
                let state = states.of(host, context.now);
                post(&self.settings, host, state, h, context);
            }
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        let post = e.grades.first().is_some_and(|g| g.name.starts_with("post"));
        let how =
            if post { "in reply to an encrypted-looking POST to" } else { "of encrypted-looking data from" };
        let mut s = format!(
            "downloaded {} {how} {} port {}",
            human_bytes(e.value as u64),
            e.remote(),
            e.count("port")
        );
        if e.flag("udp_before") {
            let _ = write!(s, ", {:.0} s after speaking UDP with it", e.number("seconds_after_udp"));
        }
        if e.has("fallback_from_80") {
            s.push_str(", after port 80 failed");
        }
        match e.text("declared") {
            "" => {}
            declared => {
                let _ = write!(s, ", declared as {}", clean(declared));
            }
        }
        s
    }
}

fn contact(state: &mut Host, c: &Conn) {
    let remote = c.head.tuple.resp.ip;
    if c.service.is_recognised() {
        state.udp.remove(&HostKey(remote));
        return;
    }
    if c.first_payload[0].is_none() || !c.start_seen {
        return;
    }
    let packet = c.key_packets.first().copied().unwrap_or_default();
    // The first contact is the beginning of the chain; the latest word keeps it alive.
    let known = state.udp.entry(HostKey(remote)).or_insert(Contact {
        first: c.head.ts,
        ts: c.last,
        flow: c.head.flow,
        packet,
    });
    known.first = known.first.min(c.head.ts);
    known.ts = known.ts.max(c.last);
    if state.udp.len() > MAX_CONTACTS {
        // Half at once, so that a host with a new peer a packet does not pay for all of them each time.
        let mut ages: Vec<(Timestamp, IpAddr)> = state.udp.iter().map(|(ip, k)| (k.ts, ip.0)).collect();
        let (_, last, _) = ages.select_nth_unstable(MAX_CONTACTS / 2);
        let last = *last;
        state.udp.retain(|ip, k| (k.ts, ip.0) > last);
    }
}

/// The UDP contact with `remote` that lies before `ts`, if there is one in time.
fn link<'a>(settings: &Settings, state: &'a Host, remote: IpAddr, ts: Timestamp) -> Option<&'a Contact> {
    state.udp.get(&HostKey(remote)).filter(|k| k.first <= ts && ts.since(k.ts) <= settings.link)
}

/// A UDP contact has become known: transfers from the same remote that had none are judged anew.
fn again(settings: &Settings, host: IpAddr, state: &mut Host, remote: IpAddr, context: &mut Context<'_>) {
    if !state.unlinked.iter().any(|u| u.remote() == remote) {
        return;
    }
    for unlinked in std::mem::take(&mut state.unlinked) {
        let in_time = unlinked.remote() == remote && link(settings, state, remote, unlinked.ts()).is_some();
        match unlinked {
            Unlinked::Conn(c) if in_time => tcp(settings, host, state, &c, context),
            Unlinked::Post(h) if in_time => post(settings, host, state, &h, context),
            other => state.unlinked.push_back(other),
        }
    }
}

fn remember(state: &mut Host, unlinked: Unlinked) {
    state.unlinked.push_back(unlinked);
    if state.unlinked.len() > MAX_UNLINKED {
        state.unlinked.pop_front();
    }
}

fn tcp(settings: &Settings, host: IpAddr, state: &mut Host, c: &Conn, context: &mut Context<'_>) {
    let (remote, port) = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
    let failed = c.failed() == Some(true)
        || (c.bytes[1] == 0 && !c.is_one_sided() && !c.opaque_first(Direction::Orig));
    if port == 80 && failed {
        let packet = c.key_packets.first().copied().unwrap_or_default();
        state.failed.push_back((c.last, remote, c.head.flow, packet));
        if state.failed.len() > MAX_FAILED {
            state.failed.pop_front();
        }
        return;
    }
    // A payload that the snap length cut is no hole: its front is there.
    let holed = c.missed_bytes[0] > 0 && !c.first_payload[0].is_some_and(|p| p.is_cut());
    if !c.start_seen || holed || c.service != Service::Opaque {
        return;
    }
    let first = c.first_speaker.unwrap_or(Direction::Orig);
    if !c.opaque_first(first) {
        return;
    }
    let inbound = c.bytes[1];
    let sized = (settings.transfer_min..=settings.transfer_max).contains(&inbound);
    if (sized || port == 443) && link(settings, state, remote, c.head.ts).is_none() {
        remember(state, Unlinked::Conn(Box::new(c.clone())));
    }
    let linked = link(settings, state, remote, c.head.ts);
    let name = |with, without| if linked.is_some() { Some(with) } else { without };
    let base = match port {
        446 | 447 if sized => name("transfer_447", Some("transfer_447_unlinked")),
        443 => name("opaque_443", Some("opaque_443_unlinked")),
        _ if sized => name("transfer_any_port", None),
        _ => None,
    };
    let Some(base) = base else {
        if linked.is_some() {
            context.near(host, inbound as f64, settings.transfer_min as f64, "bytes from a UDP contact");
        }
        return;
    };
    let mut grades = vec![(base, 1)];
    let mut packets = c.key_packets.to_vec();
    let mut flows = vec![c.head.flow];
    if let Some(k) = linked {
        packets.push(k.packet);
        flows.push(k.flow);
    }
    let fallback = state
        .failed
        .iter()
        .rev()
        .find(|(t, ip, ..)| *ip == remote && c.head.ts.since(*t) <= settings.fallback && *t <= c.head.ts);
    if let Some((_, _, flow, packet)) = fallback.filter(|_| port == 443) {
        grades.push(("fallback_from_80", 1));
        packets.push(*packet);
        flows.push(*flow);
    }
    let gap = linked.map_or(0.0, |k| c.head.ts.since(k.ts).as_secs_f64());
    context.fire(Fire {
        host,
        key: "chain".into(),
        grades,
        started: c.head.ts,
        value: inbound as f64,
        threshold: if port == 443 { 0.0 } else { settings.transfer_min as f64 },
        unit: "bytes inbound",
        source: STUDY,
        packets,
        flows,
        remotes: vec![remote],
        facts: vec![
            ("port", u64::from(port).into()),
            ("udp_before", linked.is_some().into()),
            ("seconds_after_udp", gap.into()),
            ("prevalent", context.prevalent(remote).into()),
        ],
    });
}

fn post(settings: &Settings, host: IpAddr, state: &mut Host, h: &Http, context: &mut Context<'_>) {
    let remote = h.head.tuple.resp.ip;
    let opaque = h.request.facts.is_some_and(|f| f.is_opaque());
    let odd_host = h.host.as_deref().is_none_or(|n| {
        n.is_empty() || domains::is_address_literal(n) || generator_of(n).is_some() || domains::is_dynamic(n)
    });
    if h.method != "POST" || !opaque || h.referer.is_some() || !odd_host {
        return;
    }
    let sized = (settings.post_min..=settings.transfer_max).contains(&h.response.len);
    if !sized || !contradicts(h) {
        context.near(host, h.response.len as f64, settings.post_min as f64, "bytes answering an opaque POST");
        return;
    }
    if link(settings, state, remote, h.head.ts).is_none() {
        remember(state, Unlinked::Post(Box::new(h.clone())));
    }
    let linked = link(settings, state, remote, h.head.ts);
    let base = match (h.head.tuple.resp.port, linked.is_some()) {
        (80, true) => "post_80",
        (80, false) => "post_80_unlinked",
        (_, true) => "post_any_port",
        (_, false) => return,
    };
    let mut packets = h.packets.clone();
    let mut flows = vec![h.head.flow];
    if let Some(k) = linked {
        packets.push(k.packet);
        flows.push(k.flow);
    }
    context.fire(Fire {
        host,
        key: "chain".into(),
        grades: vec![(base, 1)],
        started: h.head.ts,
        value: h.response.len as f64,
        threshold: settings.post_min as f64,
        unit: "bytes inbound",
        source: STUDY,
        packets,
        flows,
        remotes: vec![remote],
        facts: vec![
            ("port", u64::from(h.head.tuple.resp.port).into()),
            ("udp_before", linked.is_some().into()),
            ("seconds_after_udp", linked.map_or(0.0, |k| h.head.ts.since(k.ts).as_secs_f64()).into()),
            ("host", h.host.clone().unwrap_or_default().into()),
            ("declared", h.response.declared.clone().unwrap_or_default().into()),
            ("prevalent", context.prevalent(remote).into()),
        ],
    });
}

/// The answer's bytes are not what its type says: opaque under a type of text or image, or under none.
fn contradicts(h: &Http) -> bool {
    let opaque = h.response.facts.is_some_and(|f| f.is_opaque()) && h.response.magic.is_unknown();
    let declared = h.response.declared.as_deref().unwrap_or_default();
    opaque
        && !h.response.encoded
        && (declared.is_empty()
            || !declared.starts_with("application/")
                && !declared.starts_with("video/")
                && !declared.starts_with("audio/"))
}

crate::held!(Contact);
crate::held!(Host: unlinked, udp, failed);

impl HostState for Host {}

impl crate::Held for Unlinked {
    fn held(&self) -> usize {
        match self {
            Self::Conn(c) => c.held(),
            Self::Post(h) => h.held(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{BodyFacts, ConnState};

    fn bench(udp_at: Option<f64>) -> Bench {
        let mut b = Bench::new("same_remote_chain", Watcher::new(Settings::default()));
        if let Some(t) = udp_at {
            let mut c = conn(t, Transport::Udp, REMOTE, 31_337);
            c.service = Service::Opaque;
            c.last = c.head.ts;
            c.first_payload[0] = payload(&random(40, 1));
            b.feed(record(c), t + 60.0);
        }
        b
    }

    fn transfer(t: f64, port: u16, inbound: u64) -> Conn {
        let mut c = conn(t, Transport::Tcp, REMOTE, port);
        c.service = Service::Opaque;
        c.bytes = [24, inbound];
        c.first_payload = [payload(&random(24, 3)), payload(&random(200, 4))];
        c.first_speaker = Some(Direction::Orig);
        c
    }

    fn answer(t: f64, len: u64, declared: &str) -> Record {
        let mut h = http(t, REMOTE, "POST", Some(REMOTE), "/");
        h.request = BodyFacts { len: 60, facts: payload(&random(60, 5)), ..BodyFacts::default() };
        h.response = BodyFacts {
            len,
            declared: Some(declared.into()),
            facts: payload(&random(400, 6)),
            ..BodyFacts::default()
        };
        Record::Http(Box::new(h))
    }

    #[test]
    fn the_old_bot_takes_its_update_on_447() {
        for (inbound, fired) in [(79_999, false), (80_000, true), (250_000, true), (250_001, false)] {
            let mut b = bench(Some(100.0));
            b.feed(record(transfer(200.0, 447, inbound)), 210.0);
            assert_eq!(!b.evidence.is_empty(), fired, "{inbound}");
        }
        let mut b = bench(None);
        b.feed(record(transfer(200.0, 447, 100_000)), 210.0);
        assert_eq!(b.grades(), ["transfer_447_unlinked"]);
    }

    #[test]
    fn the_link_lasts_half_an_hour() {
        for (t, grade) in [(1900.0, "transfer_447"), (1901.0, "transfer_447_unlinked")] {
            let mut b = bench(Some(100.0));
            b.feed(record(transfer(t, 447, 100_000)), t + 10.0);
            assert_eq!(b.grades(), [grade], "{t}");
        }
    }

    #[test]
    fn the_new_bot_posts_on_80() {
        let mut b = bench(Some(100.0));
        b.feed(answer(200.0, 120_000, "text/html"), 210.0);
        assert_eq!(b.grades(), ["post_80"]);
        let mut b = bench(Some(100.0));
        b.feed(answer(200.0, 19_999, "text/html"), 210.0);
        b.feed(answer(201.0, 120_000, "application/octet-stream"), 211.0);
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn the_fallback_needs_port_80_to_have_failed_within_a_minute() {
        for (t, grades) in [(260.0, vec!["opaque_443", "fallback_from_80"]), (261.0, vec!["opaque_443"])] {
            let mut b = bench(Some(100.0));
            let mut refused = conn(199.0, Transport::Tcp, REMOTE, 80);
            refused.state = ConnState::Rej;
            b.feed(record(refused), 205.0);
            b.feed(record(transfer(t, 443, 120_000)), t + 1.0);
            assert_eq!(b.grades(), grades, "{t}");
        }
    }

    #[test]
    fn a_contact_that_is_told_late_still_links_but_one_that_came_later_does_not() {
        let udp = |t: f64| {
            let mut c = conn(t, Transport::Udp, REMOTE, 31_337);
            c.service = Service::Opaque;
            c.last = c.head.ts;
            c.first_payload[0] = payload(&random(40, 1));
            record(c)
        };
        let mut b = bench(None);
        b.feed(record(transfer(200.0, 447, 100_000)), 210.0);
        assert_eq!(b.grades(), ["transfer_447_unlinked"]);
        b.feed(udp(190.0), 250.0);
        assert_eq!(b.grades(), ["transfer_447"]);
        let mut b = bench(None);
        b.feed(record(transfer(200.0, 447, 100_000)), 210.0);
        b.feed(udp(205.0), 265.0);
        assert_eq!(b.grades(), ["transfer_447_unlinked"]);
    }

    #[test]
    fn tls_and_flows_from_the_middle_are_not_judged() {
        let mut b = bench(Some(100.0));
        let mut tls = transfer(200.0, 443, 120_000);
        tls.service = Service::Tls;
        b.feed(record(tls), 210.0);
        let mut late = transfer(220.0, 443, 120_000);
        late.start_seen = false;
        b.feed(record(late), 230.0);
        let mut holed = transfer(240.0, 443, 120_000);
        holed.missed_bytes = [10, 0];
        b.feed(record(holed.clone()), 250.0);
        assert!(b.evidence.is_empty());
        holed.first_payload[0] = Some(record::PayloadFacts::of(&random(40, 8), 50));
        b.feed(record(holed), 260.0);
        assert_eq!(b.evidence.len(), 1, "cut by the snap length");
    }
}
