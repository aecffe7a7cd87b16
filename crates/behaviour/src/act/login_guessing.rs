//! ## What it sees
//! A host opens many short sessions of a protocol that asks for a password, one after another.
//!
//! ## Why it matters
//! Worms on routers, and bots rented for it, guess passwords (ATT&CK T1110). A guess is a session of a few seconds that ends where a person's begins.
//!
//! ## How it decides
//! Sessions by SSH, Telnet, FTP, RDP, SMB, POP3 or IMAP, recognised by content (Telnet also by its port), in which both sides spoke and that
//! lasted at most 60 s: *one_target* at 30 within 10 minutes with one host and port, *many_targets* at 3 each with 5 hosts. A server that has let the host in, seen by an SSH
//! connection of which one side says 20 kB and more, is not guessed at.
//!
//! ## What else looks like this
//! Backups and configuration tools over SSH (declare them), mail programs that collect every minute (one session a minute is below it), file servers with many short
//! sessions.
//!
//! ## Blind spots
//! One session that tries many passwords; a guess an hour; protocols over TLS.
//!
//! ## Options
//! `sessions` (30), `window` (10m), `longest` (60s), `targets` (5), `sessions_each` (3).
//!
//! ## References
//! ATT&CK T1110.001; Zeek's detect-bruteforcing.zeek (30 failures in 30 min; sessions are not all failures, so three times as fast); M. Antonakakis et al., "Understanding the Mirai
//! Botnet", USENIX Security 2017.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, FlowId, PacketId, Record, Service, Stage, Timestamp, Transport, clean, tally,
};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
};

/// Targets remembered of one host.
const MAX_TARGETS: usize = 256;
/// Sessions remembered of one target.
const MAX_SESSIONS: usize = 64;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Sessions with one target (Zeek's detect-bruteforcing).
    pub sessions: usize,
    /// In which time (a third of Zeek's: it counts failures, this counts sessions).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long a guess lasts, at most (*assumed*).
    #[serde(with = "humantime_serde")]
    pub longest: Duration,
    /// Targets (*assumed*).
    pub targets: usize,
    /// Sessions with each of them (*assumed*).
    pub sessions_each: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions: 30,
            window: Duration::from_mins(10),
            longest: Duration::from_mins(1),
            targets: 5,
            sessions_each: 3,
        }
    }
}

/// Bytes of one side of an SSH connection that only who is logged in says: keys and refusals take some thousand (RFC 4253, 4252; *assumed*).
const LOGGED_IN: u64 = 20_000;

/// When, and what proves it.
type Session = (Timestamp, PacketId, FlowId);

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    targets: BTreeMap<(u16, IpAddr), VecDeque<Session>>,
    /// Servers that let it in: of what a session moves, a refusal and its handshake are the least part.
    accepted: BTreeSet<(u16, IpAddr)>,
    #[serde(with = "crate::words")]
    reported: Option<Word>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

fn asks_for_a_password(c: &Conn) -> bool {
    match c.service {
        Service::Ssh
        | Service::Telnet
        | Service::Ftp
        | Service::Rdp
        | Service::Smb
        | Service::Pop3
        | Service::Imap => true,
        // What a login prompt says is free text.
        Service::Unrecognised => matches!(c.head.tuple.resp.port, 23 | 2323),
        _ => false,
    }
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn session(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let (ip, port) = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
        let window = self.settings.window;
        let state = states.of(host, context.now);
        if state.accepted.contains(&(port, ip)) {
            return;
        }
        if state.targets.len() >= MAX_TARGETS && !state.targets.contains_key(&(port, ip)) {
            state.targets.pop_first();
        }
        let sessions = state.targets.entry((port, ip)).or_default();
        sessions.push_back((c.head.ts, c.key_packets.first().copied().unwrap_or_default(), c.head.flow));
        sessions.retain(|(ts, ..)| ts.0.abs_diff(c.head.ts.0) <= window.as_nanos() as u64);
        if sessions.len() > MAX_SESSIONS {
            sessions.pop_front();
        }
        let (count, s) = (sessions.len(), &self.settings);
        let tried: Vec<(&IpAddr, usize)> = state
            .targets
            .iter()
            .filter(|((p, _), v)| {
                *p == port
                    && v.len() >= s.sessions_each
                    && v.back().is_some_and(|(ts, ..)| ts.0.abs_diff(c.head.ts.0) <= window.as_nanos() as u64)
            })
            .map(|((_, ip), v)| (ip, v.len()))
            .collect();
        let grade = if tried.len() >= s.targets {
            "many_targets"
        } else if count >= s.sessions {
            "one_target"
        } else {
            if count >= s.sessions_each {
                context.near(host, count as f64, s.sessions as f64, "short login sessions with one host");
            }
            return;
        };
        if state.reported == Some(grade) || state.reported == Some("many_targets") {
            return;
        }
        let remotes: Vec<IpAddr> =
            if grade == "one_target" { vec![ip] } else { tried.iter().map(|t| *t.0).collect() };
        let proofs: Vec<Session> =
            remotes.iter().filter_map(|r| state.targets.get(&(port, *r))).flatten().copied().collect();
        state.reported = Some(grade);
        context.fire(Fire {
            host,
            key: "sessions".into(),
            grades: vec![(grade, 1)],
            started: proofs.iter().map(|p| p.0).min().unwrap_or(c.head.ts),
            value: if grade == "one_target" { count as f64 } else { remotes.len() as f64 },
            threshold: if grade == "one_target" { s.sessions as f64 } else { s.targets as f64 },
            unit: if grade == "one_target" {
                "short login sessions with one host"
            } else {
                "hosts asked for logins"
            },
            source: "Zeek detect-bruteforcing",
            packets: proofs.iter().map(|p| p.1).collect(),
            flows: proofs.iter().map(|p| p.2).collect(),
            remotes,
            facts: vec![("service", c.service.name().into()), ("port", u64::from(port).into())],
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Inventory),
            Alike::to(Honest::Monitor).unless(&["many_targets"]),
            Alike::to(Honest::Administration).unless(&["many_targets"]),
        ],
        needs: &[Traffic::Tcp],
        finding: Some(Shows::all("password guesser")),
        ..About::new(
            Stage::Act,
            &["T1110.001"],
            &[GradeWorth::base("one_target", 13.0), GradeWorth::base("many_targets", 17.0)],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Conn(c) = record else { return };
        let host = c.head.tuple.orig.ip;
        if c.service == Service::Ssh
            && c.bytes.iter().any(|n| *n >= LOGGED_IN)
            && context.network.home().contains(host)
        {
            let state = states.of(host, context.now);
            let target = (c.head.tuple.resp.port, c.head.tuple.resp.ip);
            if state.accepted.len() < MAX_TARGETS && state.accepted.insert(target) {
                state.targets.remove(&target);
            }
        }
        if c.phase == ConnPhase::Closed
            && c.head.tuple.transport == Transport::Tcp
            && c.start_seen
            && c.bytes[0] > 0
            && c.bytes[1] > 0
            && c.duration() <= self.settings.longest
            && asks_for_a_password(c)
            && context.network.home().contains(host)
        {
            self.session(states, host, c, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let (by, port, n) = (clean(e.text("service")), e.count("port"), tally(e.value));
        if e.has("many_targets") {
            return format!("tried to log in to {n} hosts by {by} (port {port})");
        }
        let whom = if e.remotes.len() == 1 { e.remote() } else { "one host".to_owned() };
        format!("tried to log in to {whom} {n} times by {by} (port {port})")
    }
}

crate::held!(Host: accepted, targets);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn session(t: f64, remote: &str, service: Service, secs: f64) -> Record {
        let mut c = conn(t, Transport::Tcp, remote, 22);
        (c.service, c.bytes, c.last) = (service, [900, 1500], at(t + secs));
        record(c)
    }

    fn run(n: usize, gap: f64, targets: usize, service: Service, secs: f64) -> Vec<String> {
        let mut b = Bench::new("login_guessing", Watcher::new(Settings::default()));
        for i in 0..n {
            let t = 1.0 + gap * i as f64;
            b.feed(session(t, &format!("198.51.100.{}", i % targets + 1), service, secs), t + secs);
        }
        b.grades()
    }

    #[test]
    fn thirty_in_ten_minutes() {
        assert!(run(29, 5.0, 1, Service::Ssh, 2.0).is_empty());
        assert_eq!(run(30, 5.0, 1, Service::Ssh, 2.0), ["one_target"]);
        assert!(run(90, 21.0, 1, Service::Ssh, 2.0).is_empty(), "three a minute");
    }

    #[test]
    fn some_of_each() {
        assert_eq!(run(15, 5.0, 5, Service::Smb, 2.0), ["many_targets"]);
        assert!(run(14, 5.0, 5, Service::Smb, 2.0).is_empty());
        assert!(run(12, 5.0, 4, Service::Smb, 2.0).is_empty());
    }

    #[test]
    fn who_is_let_in_does_not_guess() {
        let mut b = Bench::new("login_guessing", Watcher::new(Settings::default()));
        for i in 0..30 {
            let t = 1.0 + 5.0 * f64::from(i);
            let remote = format!("198.51.100.{}", i % 5 + 1);
            b.feed(session(t, &remote, Service::Ssh, 2.0), t + 2.0);
            let mut works = conn(t + 2.0, Transport::Tcp, &remote, 22);
            (works.service, works.bytes) = (Service::Ssh, [4000, LOGGED_IN]);
            b.feed(record(works), t + 3.0);
        }
        assert!(b.evidence.is_empty(), "{:?}", b.grades());
    }

    #[test]
    fn long_sessions_and_other_protocols() {
        assert!(run(40, 5.0, 1, Service::Ssh, 61.0).is_empty());
        assert!(run(40, 5.0, 1, Service::Http, 2.0).is_empty());
    }
}
