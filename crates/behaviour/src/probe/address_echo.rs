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
//! before it: some call home first and ask for what they are to report while the line stands.
//!
//! ## What else looks like this
//! Dynamic-DNS clients, routers, torrent clients, games, administrators' scripts, people.
//!
//! ## Blind spots
//! Services that are not on the list; STUN; asking the controller itself.
//!
//! ## Options
//! `report` (5m), `called` (1m).
//!
//! ## References
//! ATT&CK T1016; E. Cooke et al., "The Zombie Roundup", SRUTI 2005.

use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, defang};
use serde::{Deserialize, Serialize};

use crate::requests::{self, Maker};
use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, Fired, GradeWorth, Honest, HostState, States, Traffic,
    Wants, domains,
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
}

impl Default for Settings {
    fn default() -> Self {
        Self { report: Duration::from_mins(5), called: Duration::from_mins(1) }
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

/// What is remembered of one host: its last question, for a while.
#[derive(Default, Serialize, Deserialize)]
pub struct Host(Option<Asked>);

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
            Alike::to(Honest::Tunnel).unless(&["then_reported"]),
            Alike::to(Honest::Browsing).unless(&["unnamed_program", "then_reported"]),
            Alike::to(Honest::FileSharing).unless(&["then_reported"]),
            Alike::to(Honest::Device).unless(&["then_reported"]),
            Alike::to(Honest::Agent).unless(&["then_reported"]),
            Alike::to(Honest::Administration).unless(&["then_reported"]),
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
        states.of(host, context.now).0 = Some(asked);
        states.wait(host);
    }

    fn tick(&self, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (window, before) = (self.settings.report, self.settings.called);
        states.decide(|_, state, card| {
            let Some(asked) = &mut state.0 else { return false };
            let soon = |start: Timestamp| start.since(asked.ts) <= window && asked.ts.since(start) <= before;
            let reported = card.fired.events(Fired::CONTROL).any(|(start, _)| soon(start));
            if reported {
                asked.grades.push(("then_reported", 1));
                fire(asked, context);
            }
            // What begins within the window may be told as long again after it.
            let waits = !reported && context.now.since(asked.ts) <= window * 2;
            if !waits {
                state.0 = None;
            }
            waits
        });
    }

    fn sentence(e: &Evidence) -> String {
        let then = if e.has("then_reported") { ", and called its controller" } else { "" };
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
}
