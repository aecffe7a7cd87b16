//! ## What it sees
//! A local host has neighbours run what it brings them: it writes a program to their shares and makes a service, a task or a process of it, or it says to them
//! what breaks into file sharing; and neighbours call back, or do the same in turn.
//!
//! ## Why it matters
//! Worms and people behind bots go from the first machine to its neighbours over SMB and remote calls (ATT&CK T1021.002, T1570, T1569.002, T1053.005, T1047, T1210).
//!
//! ## How it decides
//! Both ends local. Key *push*: within `window` a program (by its first bytes) was written to any share of a neighbour, and a service, a task or a process was asked for there and not refused (svcctl, atsvc, the task scheduler,
//! `IWbemServices`): *pushed*; *pushed_to_several* at 3 neighbours within `memory`, *pushed_to_many* at 10. A program on a share by itself is nothing, nor is a service by itself. Key *exploit*:
//! *attacked* when a transaction goes on as another kind than it began as, which only what overruns a server's buffer says; *broken_in* when the host says else what no client says: a reserved function, a header whose fixed fields are wrong, a path to be put in order
//! (`NetprPathCanonicalize`, `NetprPathCompare`) by nobody by name, as scanners for vulnerabilities do too; *several_broken_in* at 3 neighbours. *looked_for*: a look into a pipe that was not opened, or bytes on the
//! ports of SMB and RPC that are neither, to at least 3 neighbours. To these is added, but for *looked_for*: *call_back* when within a minute after it a neighbour that was broken into opens a connection to the host that is no file
//! sharing and no remote call, or the host one to it in which nobody knows the protocol and the neighbour speaks first; *agent_calls* when one that was pushed to opens a connection whose protocol nobody knows; *passed_on* when the host had been pushed
//! a program of the same size within `memory` before, by a host that is not among these, and *broke_on* when it had been pushed to, or broken into, then.
//!
//! ## What else looks like this
//! Administrators with PsExec, PDQ or WMI, consoles of antivirus and inventory, which push to many and whose agents call home (by HTTP or TLS): declare them. Scanners for vulnerabilities say some of what
//! exploits do, to many, and nobody calls them back. File servers, domain controllers, printers and people who copy installers to a share ask for no service. None of them
//! was pushed to an hour before.
//!
//! ## Blind spots
//! SMB 3 with encryption; guessed or stolen passwords over RDP, SSH and WinRM; what only switches see, since most captures show none of what passes between neighbours.
//!
//! ## Options
//! `window` (10m), `memory` (1h), `call_back` (60s), `several` (3), `many` (10).
//!
//! ## References
//! ATT&CK T1021.002, T1210, T1047, T1053.005, T1569.002, T1570; MS-SCMR, MS-TSCH, MS-WMI, MS-SRVS; MS-CIFS §2.2.4.47, §2.2.6.15 and MS-SMB2 §2.2.1; 0xl3x1, "zeek-EternalSafety" (the same three signs of EternalBlue
//! and DoublePulsar); MITRE BZAR, "Bro/Zeek ATT&CK-based Analytics and Reporting" (a file written and a service started on one host).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, DceRpc, Direction, Evidence, FlowId, PacketId, Record, Service, Smb, SmbAct, SmbOddity, Stage,
    Timestamp, Transport, clean, human_count,
};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
};

/// Neighbours remembered of one host.
const MAX_NEIGHBOURS: usize = 256;
/// What is told of a program or an oddity.
const MAX_TOLD: usize = 120;
/// Payload from which on bytes on the ports of SMB and RPC are told from a probe of whether they are open (*assumed*).
const LEAST_FOREIGN: u64 = 16;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How far a program and what runs it may lie apart (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long a neighbour counts with others, and how long ago a host may have been pushed to itself (*assumed*).
    #[serde(with = "humantime_serde")]
    pub memory: Duration,
    /// How soon a neighbour calls back (*assumed*).
    #[serde(with = "humantime_serde")]
    pub call_back: Duration,
    /// Neighbours that are several (*assumed*).
    pub several: usize,
    /// Neighbours that are many (*assumed*).
    pub many: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(10),
            memory: Duration::from_hours(1),
            call_back: Duration::from_mins(1),
            several: 3,
            many: 10,
        }
    }
}

/// Something that was done to a neighbour.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Step {
    ts: Timestamp,
    packet: PacketId,
    flow: FlowId,
    what: String,
    /// Bytes of the program.
    bytes: u64,
}

impl Step {
    fn new(ts: Timestamp, packets: &[PacketId], flow: FlowId, what: &str) -> Self {
        let what = what.chars().take(MAX_TOLD).collect();
        Self { ts, packet: packets.first().copied().unwrap_or_default(), flow, what, bytes: 0 }
    }
}

/// What a host did to one neighbour, the last of each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Neighbour {
    wrote: Option<Step>,
    ran: Option<Step>,
    broke: Option<Step>,
    /// It was not only looked whether it can be broken into.
    attacked: bool,
    looked: Option<Step>,
    called: Option<Step>,
}

impl Neighbour {
    /// Whether it had the neighbour run what it brought, and when it was both.
    fn pushed(&self, window: Duration) -> Option<Timestamp> {
        let (ran, wrote) = (self.ran.as_ref()?, self.wrote.as_ref()?);
        let apart = Duration::from_nanos(ran.ts.0.abs_diff(wrote.ts.0));
        (apart <= window).then(|| ran.ts.max(wrote.ts))
    }

    fn broke(&self) -> Option<Timestamp> {
        self.broke.as_ref().map(|s| s.ts)
    }

    fn last(&self) -> Option<Timestamp> {
        [&self.wrote, &self.ran, &self.broke, &self.looked, &self.called]
            .into_iter()
            .flatten()
            .map(|s| s.ts)
            .max()
    }
}

/// How a host was itself pushed to, or broken into.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Taken {
    ts: Timestamp,
    by: IpAddr,
    /// Bytes of the program that was brought, where one was.
    bytes: Option<u64>,
    /// What proves it.
    proof: Vec<(PacketId, FlowId)>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    neighbours: BTreeMap<IpAddr, Neighbour>,
    taken: Option<Taken>,
    /// The last program that it was pushed.
    given: Option<Taken>,
    /// What was told of each key: base and additions.
    #[serde(with = "crate::words")]
    reported: BTreeSet<Word>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// The two kinds of evidence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Push,
    Exploit,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Notes what a host did to a neighbour, and tells what it comes to.
    fn note(
        &self,
        states: &mut States<'_, Host>,
        (host, neighbour): (IpAddr, IpAddr),
        context: &mut Context<'_>,
        note: impl FnOnce(&mut Neighbour),
    ) {
        let state = states.of(host, context.now);
        if state.neighbours.len() >= MAX_NEIGHBOURS && !state.neighbours.contains_key(&neighbour) {
            let oldest = state.neighbours.iter().min_by_key(|(_, n)| n.last()).map(|(ip, _)| *ip);
            oldest.map(|ip| state.neighbours.remove(&ip));
        }
        let of = state.neighbours.entry(neighbour).or_default();
        note(of);
        if let Some(ts) = of.pushed(self.settings.window).max(of.broke()) {
            let pushed = of.pushed(self.settings.window).is_some();
            let bytes = of.wrote.as_ref().filter(|_| pushed).map(|w| w.bytes);
            let steps = [&of.wrote, &of.ran, &of.broke].into_iter().flatten();
            let proof = steps.map(|s| (s.packet, s.flow)).collect();
            let (made, other) = (Taken { ts, by: host, bytes, proof }, states.of(neighbour, context.now));
            if other.taken.as_ref().is_none_or(|before| ts.since(before.ts) > self.settings.memory) {
                other.taken = Some(made.clone());
            }
            if bytes.is_some() {
                other.given = Some(made);
            }
        }
        for key in [Key::Push, Key::Exploit] {
            self.tell(states, host, key, context);
        }
    }

    fn tell(&self, states: &mut States<'_, Host>, host: IpAddr, key: Key, context: &mut Context<'_>) {
        let (s, now) = (&self.settings, context.now);
        let Some(state) = states.get_mut(host) else { return };
        let recent = |ts: &Timestamp| now.since(*ts) <= s.memory;
        let when = |n: &Neighbour| match key {
            Key::Push => n.pushed(s.window).filter(recent),
            Key::Exploit => n.broke().filter(recent),
        };
        let mut hit: Vec<(&IpAddr, &Neighbour)> =
            state.neighbours.iter().filter(|(_, n)| when(n).is_some()).collect();
        let looked = |n: &Neighbour| n.looked.as_ref().is_some_and(|l| recent(&l.ts));
        let mut base = match (key, hit.len()) {
            (_, 0) => None,
            (Key::Push, n) if n >= s.many => Some("pushed_to_many"),
            (Key::Push, n) if n >= s.several => Some("pushed_to_several"),
            (Key::Push, _) => Some("pushed"),
            (Key::Exploit, _) if hit.iter().any(|(_, n)| n.attacked) => Some("attacked"),
            (Key::Exploit, n) if n >= s.several => Some("several_broken_in"),
            (Key::Exploit, _) => Some("broken_in"),
        };
        if base.is_none() && key == Key::Exploit {
            hit = state.neighbours.iter().filter(|(_, n)| looked(n)).collect();
            base = (hit.len() >= s.several).then_some("looked_for");
            if !hit.is_empty() {
                context.near(host, hit.len() as f64, s.several as f64, "neighbours looked at for a hole");
            }
        }
        let Some(base) = base else { return };
        let first = hit.iter().filter_map(|(_, n)| when(n)).min();
        // What was done to it came before what it does.
        let after = |ts: Timestamp| first.is_some_and(|f| ts <= f && f.since(ts) <= s.memory);
        let same = |t: &Taken, n: &Neighbour| {
            key == Key::Exploit || n.wrote.as_ref().is_some_and(|w| Some(w.bytes) == t.bytes)
        };
        let before = if key == Key::Push { &state.given } else { &state.taken };
        let passed =
            before.as_ref().filter(|t| after(t.ts) && hit.iter().any(|(ip, n)| **ip != t.by && same(t, n)));
        let adds = base != "looked_for";
        let passed = passed.filter(|_| adds).cloned();
        let called = adds && hit.iter().any(|(_, n)| n.called.is_some());
        let mut grades = vec![(base, 1)];
        grades.extend(called.then_some((word(key, true), 1)));
        grades.extend(passed.as_ref().map(|_| (word(key, false), 1)));
        if grades.iter().all(|(g, _)| state.reported.contains(g)) {
            return;
        }
        state.reported.extend(grades.iter().map(|(g, _)| *g));
        let steps = |n: &Neighbour| -> Vec<Step> {
            let of = match key {
                Key::Push => [&n.wrote, &n.ran, &n.called],
                Key::Exploit => [&n.broke, &n.looked, &n.called],
            };
            of.into_iter().flatten().cloned().collect()
        };
        let proofs: Vec<Step> = hit.iter().flat_map(|(_, n)| steps(n)).collect();
        let what: BTreeSet<String> = proofs.iter().map(|p| p.what.clone()).collect();
        let neighbours = hit.len();
        let needed = match base {
            "pushed_to_many" => s.many,
            "pushed_to_several" | "several_broken_in" | "looked_for" => s.several,
            _ => 1,
        };
        let mut facts = vec![
            ("neighbours", (neighbours as u64).into()),
            ("what", what.into_iter().take(8).collect::<Vec<_>>().into()),
        ];
        let mut remotes: Vec<IpAddr> = hit.iter().map(|(ip, _)| **ip).collect();
        let mut proved: Vec<(PacketId, FlowId)> = proofs.iter().map(|p| (p.packet, p.flow)).collect();
        if let Some(taken) = passed {
            proved.splice(0..0, taken.proof);
            remotes.push(taken.by);
            facts.push(("taken_by", taken.by.to_string().into()));
        }
        context.fire(Fire {
            host,
            key: if key == Key::Push { "push".into() } else { "exploit".into() },
            grades,
            started: proofs.iter().map(|p| p.ts).min().unwrap_or(now),
            value: neighbours as f64,
            threshold: needed as f64,
            unit: "neighbours",
            source: "assumed",
            packets: proved.iter().map(|p| p.0).collect(),
            flows: proved.iter().map(|p| p.1).collect(),
            remotes,
            facts,
        });
    }

    fn smb(&self, states: &mut States<'_, Host>, ends: (IpAddr, IpAddr), s: &Smb, context: &mut Context<'_>) {
        let step = |what: &str| Step::new(s.head.ts, &s.packets, s.head.flow, what);
        match s.act {
            SmbAct::Transfer if s.moved[0] > 0 && s.begins[0].is_executable() => {
                let file = s.name.as_deref().unwrap_or_default();
                let what = format!("{}\\{file}", s.share.as_deref().unwrap_or_default());
                let step = Step { bytes: s.moved[0], ..step(&what) };
                self.note(states, ends, context, |n| n.wrote = Some(step));
            }
            SmbAct::Odd(SmbOddity::PeekUnopened | SmbOddity::Foreign) => {
                let step = step(s.act.name());
                self.note(states, ends, context, |n| n.looked = Some(step));
            }
            SmbAct::Odd(_) => {
                let step = step(s.act.name());
                let attacks = s.act == SmbAct::Odd(SmbOddity::MixedTransaction);
                self.note(states, ends, context, |n| {
                    n.broke = Some(step);
                    n.attacked |= attacks;
                });
            }
            _ => {}
        }
    }

    fn call(
        &self,
        states: &mut States<'_, Host>,
        ends: (IpAddr, IpAddr),
        r: &DceRpc,
        context: &mut Context<'_>,
    ) {
        let step = |what: &str| Step::new(r.head.ts, &r.packets, r.head.flow, what);
        if let Some(kind) = r.runs().filter(|_| r.succeeded()) {
            let step = step(&format!("{kind} ({})", r.operation_name().unwrap_or_default()));
            self.note(states, ends, context, |n| n.ran = Some(step));
        }
        // A session that nobody's name stands for (CVE-2008-4250 and its like); honest ones name themselves.
        let path = matches!(r.operation_name(), Some("NetprPathCanonicalize" | "NetprPathCompare"));
        if path && r.user.as_deref() == Some("") {
            let step = step(r.operation_name().unwrap_or_default());
            self.note(states, ends, context, |n| n.broke = Some(step));
        }
    }

    fn flow(&self, states: &mut States<'_, Host>, c: &Conn, context: &mut Context<'_>) {
        let (orig, resp) = (c.head.tuple.orig.ip, c.head.tuple.resp.ip);
        let step = || Step::new(c.head.ts, &c.key_packets, c.head.flow, &told(c));
        let unknown = matches!(c.service, Service::Unrecognised | Service::Opaque);
        if unknown && shares(c.head.tuple.resp.port) && c.start_seen {
            if c.bytes[0] >= LEAST_FOREIGN && c.first_speaker == Some(Direction::Orig) {
                let step = step();
                self.note(states, (orig, resp), context, |n| n.looked = Some(step));
            }
            return;
        }
        if !c.start_seen || !is_other(c) || c.bytes == [0, 0] {
            return;
        }
        let soon = |ts: Timestamp| ts <= c.head.ts && c.head.ts.since(ts) <= self.settings.call_back;
        for (host, neighbour) in [(resp, orig), (orig, resp)] {
            let Some(n) = states.get(host).and_then(|s| s.neighbours.get(&neighbour)) else { continue };
            // Through a door that was opened there the other end speaks first; a scanner's visits are answered.
            let back = host == resp || (unknown && c.first_speaker == Some(Direction::Resp));
            let broken = back && n.broke().is_some_and(soon);
            let pushed = unknown && host == resp && n.pushed(self.settings.window).is_some_and(soon);
            if n.called.is_none() && (broken || pushed) {
                let step = step();
                self.note(states, (host, neighbour), context, |n| n.called = Some(step));
            }
        }
    }
}

/// What adds to a key: a call back, or what was done to the host before.
const fn word(key: Key, call: bool) -> &'static str {
    match (key, call) {
        (Key::Push, true) => "agent_calls",
        (Key::Push, false) => "passed_on",
        (Key::Exploit, true) => "call_back",
        (Key::Exploit, false) => "broke_on",
    }
}

/// What a connection is, in words.
fn told(c: &Conn) -> String {
    format!("{} port {}", c.service.name(), c.head.tuple.resp.port)
}

/// The ports of SMB and of remote calls.
const fn shares(port: u16) -> bool {
    matches!(port, 135 | 139 | 445)
}

/// Whether a connection is none of what neighbours say to each other all day: names, time, directories, tickets, shares and calls.
fn is_other(c: &Conn) -> bool {
    let daily = matches!(
        c.service,
        Service::Smb
            | Service::DceRpc
            | Service::Kerberos
            | Service::Ldap
            | Service::Dns
            | Service::Ntp
            | Service::Unknown
    );
    let port = c.head.tuple.resp.port;
    c.head.tuple.transport == Transport::Tcp
        && !daily
        && !shares(port)
        && !matches!(port, 53 | 88 | 389 | 636)
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Administration).unless(&[
                "passed_on",
                "broken_in",
                "several_broken_in",
                "attacked",
                "looked_for",
            ]),
            Alike::to(Honest::Inventory).unless(&["passed_on", "broke_on", "call_back", "attacked"]),
        ],
        needs: &[Traffic::Tcp],
        finding: Some(Shows::all("spreader")),
        ..About::new(
            Stage::Act,
            &["T1021.002", "T1210", "T1569.002"],
            &[
                GradeWorth::base("pushed", 2.0).key("push"),
                GradeWorth::base("pushed_to_several", 4.0).key("push"),
                GradeWorth::base("pushed_to_many", 6.0).key("push"),
                GradeWorth::add("agent_calls", 3.0).key("push"),
                GradeWorth::add("passed_on", 10.0).key("push"),
                GradeWorth::base("looked_for", 4.0).key("exploit"),
                GradeWorth::base("broken_in", 9.0).key("exploit"),
                GradeWorth::base("several_broken_in", 12.0).key("exploit"),
                GradeWorth::base("attacked", 17.0).key("exploit"),
                GradeWorth::add("call_back", 8.0).key("exploit"),
                GradeWorth::add("broke_on", 8.0).key("exploit"),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::OTHER.and(Wants::CLOSED).and(Wants::OPEN)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let tuple = record.tuple();
        let ends = (tuple.orig.ip, tuple.resp.ip);
        let home = context.network.home();
        if ends.0 == ends.1 || !home.contains(ends.0) || !home.contains(ends.1) {
            return;
        }
        match record {
            Record::Smb(s) => self.smb(states, ends, s, context),
            Record::DceRpc(r) => self.call(states, ends, r, context),
            Record::Conn(c) => self.flow(states, c, context),
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        let whom = match e.remotes.as_slice() {
            [one] => one.to_string(),
            _ => format!("{} neighbours", human_count(e.count("neighbours"))),
        };
        let what = e.list("what").iter().map(|what| in_words(what)).collect::<Vec<_>>().join(", ");
        let what = clean(&what);
        let mut said = match e.key.as_ref() {
            "push" => format!("wrote a program to {whom} and had it run there ({what})"),
            _ if e.has("looked_for") => format!("probed the file sharing of {whom} for a hole ({what})"),
            _ => format!("sent {whom} what exploits of Windows file sharing send ({what})"),
        };
        if e.has("call_back") || e.has("agent_calls") {
            said.push_str(", and within a minute a connection between them followed");
        }
        if e.has("passed_on") || e.has("broke_on") {
            said.push_str(&format!("; {} had done the same to it before", clean(e.text("taken_by"))));
        }
        said
    }
}

/// What an oddity of SMB is to a person; anything else stays as it is.
fn in_words(what: &str) -> &str {
    match what {
        "mixed_transaction" => "a transaction that goes on as another kind",
        "reserved_function" => "a function that is reserved",
        "unasked_answer" => "an answer that nobody asked for",
        "peek_unopened" => "a look into a pipe that was not opened",
        "broken_header" => "a header with wrong fixed fields",
        "foreign" => "bytes that are no SMB",
        other => other,
    }
}

crate::held!(Step: what);
crate::held!(Neighbour: wrote, ran, broke, looked, called);
crate::held!(Taken: proof);
crate::held!(Host: neighbours, taken, given, reported);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{Endpoint, Head, Magic, Tuple, Uuid};

    const SVCCTL: Uuid =
        Uuid([0x36, 0x7a, 0xbb, 0x81, 0x98, 0x44, 0x35, 0xf1, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3]);

    fn head(secs: f64, from: &str, to: &str, port: u16) -> Head {
        let base = conn(secs, Transport::Tcp, to, port).head;
        let orig = Endpoint { ip: from.parse().unwrap(), ..base.tuple.orig };
        Head { tuple: Tuple { orig, ..base.tuple }, known: at(secs), ..base }
    }

    fn smb(secs: f64, from: &str, to: &str, act: SmbAct) -> Smb {
        Smb {
            head: head(secs, from, to, 445),
            dialect: 0x0311,
            act,
            user: Some("CORP\\admin".into()),
            workstation: None,
            share: Some(format!("\\\\{to}\\ADMIN$")),
            name: Some("svc.exe".into()),
            status: Some(0),
            moved: [0; 2],
            begins: [Magic::None; 2],
            packets: vec![PacketId::new(0, 1)],
        }
    }

    fn wrote(secs: f64, from: &str, to: &str, bytes: u64) -> Record {
        let s = smb(secs, from, to, SmbAct::Transfer);
        Record::Smb(Box::new(Smb { moved: [bytes, 0], begins: [Magic::Pe, Magic::None], ..s }))
    }

    fn odd(secs: f64, from: &str, to: &str, what: SmbOddity) -> Record {
        Record::Smb(Box::new(smb(secs, from, to, SmbAct::Odd(what))))
    }

    fn service(secs: f64, from: &str, to: &str, result: u32) -> DceRpc {
        DceRpc {
            head: head(secs, from, to, 445),
            pipe: Some("svcctl".into()),
            user: Some("CORP\\admin".into()),
            interface: Some(SVCCTL),
            operation: 12,
            answered: true,
            fault: None,
            result: Some(result),
            private: false,
            packets: vec![PacketId::new(0, 2)],
        }
    }

    fn bench() -> Bench {
        Bench::new("lateral_movement", Watcher::new(Settings::default()))
    }

    fn push(b: &mut Bench, secs: f64, from: &str, to: &str, bytes: u64) {
        b.feed(wrote(secs, from, to, bytes), secs);
        b.feed(Record::DceRpc(Box::new(service(secs + 1.0, from, to, 0))), secs + 1.0);
    }

    fn flow(secs: f64, from: &str, to: &str, port: u16, service: Service, first: Direction) -> Record {
        let mut c = conn(secs, Transport::Tcp, to, port);
        c.head = head(secs, from, to, port);
        (c.service, c.bytes, c.first_speaker) = (service, [200, 300], Some(first));
        record(c)
    }

    #[test]
    fn a_program_and_a_service_of_it() {
        let mut b = bench();
        push(&mut b, 10.0, HOST, "10.0.0.6", 60_000);
        assert_eq!(b.grades(), ["pushed"]);
        push(&mut b, 20.0, HOST, "10.0.0.7", 60_000);
        assert_eq!(b.evidence.len(), 1, "two are not several");
        push(&mut b, 30.0, HOST, "10.0.0.8", 60_000);
        assert_eq!(b.grades(), ["pushed_to_several"]);
        let e = b.evidence.last().unwrap();
        assert_eq!((e.value, e.remotes.len(), e.packets.len()), (3.0, 3, 2));
        assert!(Watcher::sentence(e).starts_with(
            "wrote a program to 3 neighbours and had it run there (\\\\10.0.0.6\\ADMIN$\\svc.exe"
        ));
    }

    #[test]
    fn either_alone_is_nothing() {
        let mut b = bench();
        for i in 2..40 {
            let to = format!("10.0.1.{i}");
            b.feed(wrote(f64::from(i), HOST, &to, 60_000), f64::from(i));
        }
        for i in 2..40 {
            let (to, t) = (format!("10.0.2.{i}"), f64::from(50 + i));
            b.feed(Record::DceRpc(Box::new(service(t, HOST, &to, 0))), t);
        }
        // Eleven minutes apart, refused, or elsewhere.
        b.feed(Record::DceRpc(Box::new(service(700.0, HOST, "10.0.1.2", 0))), 700.0);
        b.feed(Record::DceRpc(Box::new(service(90.0, HOST, "10.0.1.39", 5))), 90.0);
        push(&mut b, 800.0, HOST, REMOTE, 60_000);
        assert!(b.evidence.is_empty(), "{:?}", b.grades());
    }

    #[test]
    fn who_passes_on_what_it_was_pushed() {
        let mut b = bench();
        push(&mut b, 10.0, "10.0.0.4", HOST, 60_000);
        push(&mut b, 100.0, HOST, "10.0.0.4", 60_000);
        assert_eq!(b.grades(), ["pushed"], "back to whom it came from");
        push(&mut b, 200.0, HOST, "10.0.0.6", 70_000);
        assert_eq!(b.grades(), ["pushed"], "another program");
        push(&mut b, 300.0, HOST, "10.0.0.7", 60_000);
        assert_eq!(b.grades(), ["pushed_to_several", "passed_on"]);
        assert!(
            Watcher::sentence(b.evidence.last().unwrap())
                .ends_with("; 10.0.0.4 had done the same to it before")
        );
        let mut late = bench();
        push(&mut late, 10.0, "10.0.0.4", HOST, 60_000);
        push(&mut late, 3700.0, HOST, "10.0.0.7", 60_000);
        assert_eq!(late.grades(), ["pushed"], "an hour is over");
    }

    #[test]
    fn what_breaks_in_and_calls_back() {
        let mut b = bench();
        b.feed(odd(10.0, HOST, "10.0.0.6", SmbOddity::UnaskedAnswer), 10.0);
        assert_eq!(b.grades(), ["broken_in"]);
        b.feed(flow(71.0, "10.0.0.6", HOST, 4444, Service::Opaque, Direction::Orig), 72.0);
        b.feed(flow(20.0, "10.0.0.6", HOST, 445, Service::Smb, Direction::Orig), 72.0);
        b.feed(flow(20.0, HOST, "10.0.0.6", 8080, Service::Http, Direction::Orig), 72.0);
        b.feed(flow(20.0, HOST, "10.0.0.6", 9999, Service::Unrecognised, Direction::Orig), 72.0);
        assert_eq!(b.evidence.len(), 1, "late, or what a scanner does");
        b.feed(flow(60.0, "10.0.0.6", HOST, 8000, Service::Http, Direction::Orig), 73.0);
        assert_eq!(b.grades(), ["broken_in", "call_back"]);
        let mut door = bench();
        door.feed(odd(10.0, HOST, "10.0.0.6", SmbOddity::ReservedFunction), 10.0);
        door.feed(flow(20.0, HOST, "10.0.0.6", 4444, Service::Unrecognised, Direction::Resp), 30.0);
        assert_eq!(door.grades(), ["broken_in", "call_back"]);
    }

    #[test]
    fn who_looks_for_a_hole_and_who_was_taken_before() {
        let mut b = bench();
        for (i, to) in ["10.0.0.6", "10.0.0.7", "10.0.0.8"].into_iter().enumerate() {
            assert!(b.evidence.is_empty());
            let t = 10.0 + i as f64;
            b.feed(odd(t, HOST, to, SmbOddity::PeekUnopened), t);
        }
        assert_eq!(b.grades(), ["looked_for"]);
        // It was broken into by .9, and attacks others; a service by itself would be no word of that.
        let mut b = bench();
        b.feed(Record::DceRpc(Box::new(service(5.0, "10.0.0.9", HOST, 0))), 5.0);
        b.feed(odd(10.0, HOST, "10.0.0.6", SmbOddity::MixedTransaction), 10.0);
        assert_eq!(b.grades(), ["attacked"]);
        let mut b = bench();
        b.feed(odd(5.0, "10.0.0.9", HOST, SmbOddity::MixedTransaction), 5.0);
        b.feed(odd(10.0, HOST, "10.0.0.9", SmbOddity::MixedTransaction), 10.0);
        assert_eq!(b.grades(), ["attacked"], "back at whom it came from");
        b.feed(odd(20.0, HOST, "10.0.0.6", SmbOddity::MixedTransaction), 20.0);
        assert_eq!(b.grades(), ["attacked", "broke_on"]);
    }

    #[test]
    fn an_agent_that_calls_home_by_http_says_nothing() {
        let mut b = bench();
        push(&mut b, 10.0, HOST, "10.0.0.6", 60_000);
        b.feed(flow(20.0, "10.0.0.6", HOST, 8530, Service::Http, Direction::Orig), 30.0);
        assert_eq!(b.evidence.len(), 1);
        b.feed(flow(25.0, "10.0.0.6", HOST, 4444, Service::Opaque, Direction::Orig), 30.0);
        assert_eq!(b.grades(), ["pushed", "agent_calls"]);
    }

    #[test]
    fn a_path_put_in_order_by_nobody() {
        let uuid =
            [0x4b, 0x32, 0x4f, 0xc8, 0x16, 0x70, 1, 0xd3, 0x12, 0x78, 0x5a, 0x47, 0xbf, 0x6e, 0xe1, 0x88];
        let path = |user: Option<&str>| {
            let user = user.map(str::to_owned);
            let base = service(10.0, HOST, "10.0.0.6", 0);
            Record::DceRpc(Box::new(DceRpc { interface: Some(Uuid(uuid)), operation: 31, user, ..base }))
        };
        let mut b = bench();
        b.feed(path(Some("CORP\\bob")), 10.0);
        b.feed(path(None), 10.0);
        assert!(b.evidence.is_empty(), "Kerberos tells no name");
        b.feed(path(Some("")), 10.0);
        assert_eq!(b.grades(), ["broken_in"]);
    }
}
