//! ## What it sees
//! A program asks a what-is-my-address service under which address the world sees its host.
//!
//! ## Why it matters
//! Bots that steal, send spam or lie behind a translated address ask it before they report home (ATT&CK T1016).
//!
//! ## How it decides
//! An HTTP request or a TLS handshake to a host whose only business is to echo the caller's address, by a shipped list. It counts
//! more when the program claims to be a browser without sending what browsers send, or says nothing about itself.
//! A browser that names the page that sent it does not count; a program that says its name in clear (*asked_openly*: a client of dynamic DNS, a script's curl) is told, and nothing is built on it. It counts most (*then_reported*) when something that looks like control
//! (`http_control`, `tls_control`, `raw_control`, `irc_control` and the like, but for their weakest bases) begins within five minutes after the question, or began at most a minute
//! before it: some call home first and ask for what they are to report while the line stands. *then_sent*, where nothing like it was seen before: something was sent out (`exfiltration`) within ten minutes after a question that was not asked openly.
//!
//! ## What else looks like this
//! Dynamic-DNS clients, routers, torrent clients, games, administrators' scripts, people.
//!
//! ## Blind spots
//! Services that are not on the list; STUN; asking the controller itself.
//!
//! ## Options
//! `report` (5m), `called` (1m), `sent` (10m).
//!
//! ## References
//! ATT&CK T1016; E. Cooke et al., "The Zombie Roundup", SRUTI 2005.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, defang};
use serde::{Deserialize, Serialize};

use crate::requests::{self, Maker};
use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Card, Context, Excuse, Fire, Fired, GradeWorth, Honest, HostState, States,
    Traffic, Wants, domains,
};

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How soon after its question a host reports home (*assumed*).
    #[serde(with = "humantime_serde")]
    pub report: Duration,
    /// How long before its question a host may have called home (*assumed*).
    #[serde(with = "humantime_serde")]
    pub called: Duration,
    /// How soon after its question a host sends something out (*assumed*).
    #[serde(with = "humantime_serde")]
    pub sent: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { report: Duration::from_mins(5), called: Duration::from_mins(1), sent: Duration::from_mins(10) }
    }
}

/// A question.
#[derive(Serialize, Deserialize)]
struct Asked {
    host: IpAddr,
    remote: IpAddr,
    name: String,
    #[serde(with = "crate::words")]
    grades: Vec<(Word, u32)>,
    ts: Timestamp,
    flow: FlowId,
    packets: Vec<PacketId>,
}

/// Questions that are remembered of one host (*assumed*: who asks more often is followed by the last).
const MAX_QUESTIONS: usize = 4;

/// What is remembered of one host: its last questions, for a while.
#[derive(Default, Serialize, Deserialize)]
pub struct Host(VecDeque<Asked>);

crate::held!(Asked: name, grades, packets);
crate::held!(Host: 0);
impl HostState for Host {}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Tells of what followed on a question.
    fn follow(&self, asked: &mut Asked, card: &Card, context: &mut Context<'_>) {
        let Settings { report, called, sent } = self.settings;
        let reports = |start: Timestamp| start.since(asked.ts) <= report && asked.ts.since(start) <= called;
        let sends = |start: Timestamp| start >= asked.ts && start.since(asked.ts) <= sent;
        // Who says who asks may well send what was answered.
        let openly = asked.has("asked_openly");
        if asked.has("then_sent") {
            return;
        }
        let then = if card.fired.events(Fired::CONTROL).any(|(start, _)| reports(start)) {
            "then_reported"
        } else if !openly && card.fired.events("exfiltration").any(|(start, _)| sends(start)) {
            "then_sent"
        } else {
            return;
        };
        if !asked.has(then) {
            asked.grades.push((then, 1));
            fire(asked, context);
        }
    }
}

impl Asked {
    fn has(&self, grade: &str) -> bool {
        self.grades.iter().any(|g| g.0 == grade)
    }
}

fn fire(asked: &Asked, context: &mut Context<'_>) {
    context.fire(Fire {
        host: asked.host,
        key: "asked".into(),
        grades: asked.grades.clone(),
        started: asked.ts,
        value: 1.0,
        threshold: 1.0,
        unit: "requests to an address echo",
        source: "assumed",
        packets: asked.packets.clone(),
        flows: vec![asked.flow],
        remotes: vec![asked.remote],
        facts: vec![("service", asked.name.clone().into())],
    });
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Tunnel).unless(&["then_reported", "then_sent"]),
            Alike::to(Honest::Browsing).unless(&["unnamed_program", "then_reported", "then_sent"]),
            Alike::to(Honest::FileSharing).unless(&["then_reported", "then_sent"]),
            Alike::to(Honest::Device).unless(&["then_reported", "then_sent"]),
            Alike::to(Honest::Agent).unless(&["then_reported", "then_sent"]),
            Alike::to(Honest::Administration).unless(&["then_reported", "then_sent"]),
        ],
        needs: &[Traffic::Http, Traffic::Tls],
        excuses: &[Excuse::Role(&[Role::VpnUser], 0.3), Excuse::Role(&[Role::P2pUser], 0.3)],
        ..About::new(
            Stage::Probe,
            &["T1016"],
            &[
                GradeWorth::base("asked", 4.0),
                GradeWorth::base("asked_openly", 2.0).weak(),
                GradeWorth::add("unnamed_program", 2.0),
                GradeWorth::add("then_reported", 9.0),
                GradeWorth::add("then_sent", 7.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::HTTP.and(Wants::TLS).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some(host) = context.outbound() else { return };
        let (name, grades) = match record {
            Record::Http(h) => {
                let grades = match requests::maker(h) {
                    Maker::Browser if h.referer.is_some() => return,
                    Maker::Browser => vec![("asked", 1)],
                    Maker::Program => vec![("asked_openly", 1)],
                    Maker::Nameless | Maker::FalseBrowser => vec![("asked", 1), ("unnamed_program", 1)],
                };
                (h.host.as_deref(), grades)
            }
            Record::Tls(t) => (t.sni.as_deref(), vec![("asked", 1)]),
            _ => return,
        };
        let Some(name) = name.filter(|n| domains::is_address_echo(n)) else { return };
        let (remote, name) = (record.tuple().resp.ip, name.to_owned());
        let (ts, flow, packets) = match record {
            Record::Http(h) => (h.head.ts, h.head.flow, h.packets.clone()),
            Record::Tls(t) => (t.head.ts, t.head.flow, t.packets.clone()),
            _ => return,
        };
        let asked = Asked { host, remote, name, grades, ts, flow, packets };
        fire(&asked, context);
        let questions = &mut states.of(host, context.now).0;
        if questions.len() >= MAX_QUESTIONS {
            questions.pop_front();
        }
        questions.push_back(asked);
        states.wait(host);
    }

    fn tick(&self, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let waits_for = (self.settings.report * 2).max(self.settings.sent * 2);
        states.decide(|_, state, card| {
            state.0.iter_mut().for_each(|asked| self.follow(asked, card, context));
            // What begins within the window may be told as long again after it.
            state.0.retain(|asked| !asked.has("then_reported") && context.now.since(asked.ts) <= waits_for);
            !state.0.is_empty()
        });
    }

    fn sentence(e: &Evidence) -> String {
        let then = if e.has("then_reported") {
            ", and called its controller"
        } else if e.has("then_sent") {
            ", and then sent data out"
        } else {
            ""
        };
        format!("asked {} for its own public address{then}", defang(e.text("service")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::RequestHeaders;

    fn run(record: Record) -> Vec<String> {
        let mut b = Bench::new("address_echo", Watcher::new(Settings::default()));
        b.feed(record, 11.0);
        b.grades()
    }

    #[test]
    fn who_asks_for_its_own_address() {
        let mut h = http(10.0, REMOTE, "GET", Some("api.ipify.org"), "/");
        assert_eq!(run(Record::Http(Box::new(h.clone()))), ["asked", "unnamed_program"]);
        h.user_agent = Some("curl/8.0".into());
        assert_eq!(run(Record::Http(Box::new(h))), ["asked_openly"], "as clients of dynamic DNS do");
        assert_eq!(run(tls(10.0, REMOTE, "api.ipify.org")), ["asked"]);
    }

    #[test]
    fn a_person_on_a_page_is_not_meant() {
        let mut h = http(10.0, REMOTE, "GET", Some("api.ipify.org"), "/");
        h.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".into());
        h.headers.add(RequestHeaders::LANGUAGE);
        h.referer = Some("http://example.com/".into());
        assert!(run(Record::Http(Box::new(h))).is_empty());
    }

    #[test]
    fn other_names_are_nothing() {
        assert!(run(tls(10.0, REMOTE, "ipify.example.com")).is_empty());
        assert!(
            run(Record::Http(Box::new(http(10.0, REMOTE, "GET", Some("example.com"), "/ip")))).is_empty()
        );
    }

    #[test]
    fn and_then_reports_home() {
        let grades = |report: f64| {
            let mut b = Bench::new("address_echo", Watcher::new(Settings::default()));
            b.feed(tls(10.0, REMOTE, "api.ipify.org"), 11.0);
            b.fired(record::Stage::Command, "http_control", report, report + 1.0);
            b.tick(report + 2.0);
            b.grades()
        };
        assert_eq!(grades(310.0), ["asked", "then_reported"], "five minutes after");
        assert_eq!(grades(311.0), ["asked"]);
        let mut b = Bench::new("address_echo", Watcher::new(Settings::default()));
        b.fired(record::Stage::Command, "tls_control", 60.0, 61.0);
        b.feed(tls(120.0, REMOTE, "api.ipify.org"), 121.0);
        b.tick(122.0);
        assert_eq!(b.grades(), ["asked", "then_reported"], "while the line stands");
        let mut b = Bench::new("address_echo", Watcher::new(Settings::default()));
        b.fired(record::Stage::Command, "tls_control", 59.0, 61.0);
        b.feed(tls(120.0, REMOTE, "api.ipify.org"), 121.0);
        b.tick(122.0);
        assert_eq!(b.grades(), ["asked"], "it had begun long before");
    }

    #[test]
    fn and_then_sends_something_out() {
        let grades = |sent: f64, reported: Option<f64>| {
            let mut b = Bench::new("address_echo", Watcher::new(Settings::default()));
            b.feed(tls(10.0, REMOTE, "api.ipify.org"), 11.0);
            b.fired(record::Stage::Act, "exfiltration", sent, sent + 1.0);
            b.tick(sent + 2.0);
            if let Some(at) = reported {
                b.fired(record::Stage::Command, "http_control", at, at + 1.0);
                b.tick(at + 2.0);
            }
            b.grades()
        };
        assert_eq!(grades(610.0, None), ["asked", "then_sent"], "ten minutes after");
        assert_eq!(grades(611.0, None), ["asked"]);
        assert_eq!(grades(9.0, None), ["asked"], "before it asked");
        assert_eq!(grades(20.0, Some(30.0)), ["asked", "then_sent"], "one of them");
        let mut b = Bench::new("address_echo", Watcher::new(Settings::default()));
        b.feed(tls(10.0, REMOTE, "api.ipify.org"), 11.0);
        b.feed(tls(30.0, REMOTE, "api.ipify.org"), 31.0);
        b.fired(record::Stage::Act, "exfiltration", 20.0, 32.0);
        b.tick(33.0);
        let of_first = b.evidence.iter().any(|e| e.started == at(10.0) && e.has("then_sent"));
        assert!(of_first, "asked again before it was known");
    }
}
