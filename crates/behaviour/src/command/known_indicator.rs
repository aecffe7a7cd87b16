//! ## What it sees
//! A host spoke with, or asked for, something that stands on one of the user's own lists of indicators.
//!
//! ## Why it matters
//! Somebody has seen this before. A list is another's evidence: as old as its date and as good as its maker.
//!
//! ## How it decides
//! Only with `--intel`. *address*: a host elsewhere that answered; *name*: asked of DNS, or named by HTTP, TLS or QUIC, itself or a
//! parent; *url*: a request's host, port and path; *ja4*: a client's fingerprint; *certificate*: a server's certificate by its
//! hash; *file*: a file that came or went, by its SHA-256. A list of trust below 1 is discounted by it; one older than 90 days, or without a date, by half.
//!
//! ## What else looks like this
//! Shared hosting and content networks on lists of addresses; research; the security tool that fetches the list; names that changed hands.
//!
//! ## Blind spots
//! Everything that nobody has listed yet. No list is shipped, and no other behaviour needs one.
//!
//! ## Options
//! `fresh` (90d).
//!
//! ## References
//! V. Li et al., "Reading the Tea Leaves: A Comparative Analysis of Threat Intelligence", USENIX Security 2019.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use record::{ConnPhase, Evidence, FlowId, PacketId, Record, Stage, Timestamp, clean, defang};
use serde::{Deserialize, Serialize};

use crate::intel::{Intel, Kind, Origin};
use crate::table::SeededSet;
use crate::{About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States};

/// Indicators remembered of one host.
const MAX_TOLD: usize = 256;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a list is fresh (*assumed*).
    #[serde(with = "humantime_serde")]
    pub fresh: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fresh: Duration::from_hours(90 * 24) }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    reported: SeededSet<String>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

struct Match<'a> {
    grade: &'static str,
    what: String,
    origin: &'a Origin,
    ts: Timestamp,
    flow: FlowId,
    packets: &'a [PacketId],
    remote: Option<IpAddr>,
}

fn by_name<'a>(intel: &'a Intel, name: Option<&str>) -> Option<(&'static str, String, &'a Origin)> {
    intel.name(name?).map(|(listed, o)| ("name", listed, o))
}

/// The sharpest indicator that a record matches.
fn found<'a>(intel: &'a Intel, record: &'a Record) -> Option<Match<'a>> {
    let remote = Some(record.tuple().resp.ip);
    match record {
        Record::Conn(c) if c.phase != ConnPhase::Interim && c.packets[1] > 0 => {
            let ip = c.head.tuple.resp.ip;
            let (what, origin) = intel.address(ip, c.head.tuple.resp.port)?;
            let (ts, flow, packets) = (c.head.ts, c.head.flow, &c.key_packets[..]);
            Some(Match { grade: "address", what, origin, ts, flow, packets, remote })
        }
        Record::Dns(d) => {
            let (grade, what, origin) = by_name(intel, Some(&d.query))?;
            Some(Match {
                grade,
                what,
                origin,
                ts: d.head.ts,
                flow: d.head.flow,
                packets: &d.packets,
                remote: None,
            })
        }
        Record::Http(h) => {
            let host = h.host.as_deref();
            let called = host.map_or_else(|| Cow::Owned(h.head.tuple.resp.ip.to_string()), Cow::Borrowed);
            let url = intel.url(&called, h.head.tuple.resp.port, &h.path);
            let url = url.map(|(listed, o)| ("url", listed, o));
            let (grade, what, origin) = url.or_else(|| by_name(intel, host))?;
            Some(Match { grade, what, origin, ts: h.head.ts, flow: h.head.flow, packets: &h.packets, remote })
        }
        Record::Tls(t) => {
            let certificate = t.certificate.as_deref().and_then(|c| {
                [c.sha1(), c.sha256()]
                    .into_iter()
                    .find_map(|h| intel.of(Kind::Certificate, &h).map(|o| ("certificate", h, o)))
            });
            let ja4 = || {
                let ja4 = t.ja4.as_deref()?;
                intel.of(Kind::Ja4, ja4).map(|o| ("ja4", ja4.to_owned(), o))
            };
            let (grade, what, origin) =
                certificate.or_else(|| by_name(intel, t.sni.as_deref())).or_else(ja4)?;
            Some(Match { grade, what, origin, ts: t.head.ts, flow: t.head.flow, packets: &t.packets, remote })
        }
        Record::Quic(q) => {
            let (grade, what, origin) = by_name(intel, q.sni.as_deref())?;
            Some(Match { grade, what, origin, ts: q.head.ts, flow: q.head.flow, packets: &q.packets, remote })
        }
        Record::File(f) => {
            let sum = f.sha256()?;
            let origin = intel.of(Kind::File, &sum)?;
            let (ts, flow, packets) = (f.head.ts, f.head.flow, &f.packets[..]);
            Some(Match { grade: "file", what: sum, origin, ts, flow, packets, remote })
        }
        _ => None,
    }
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
            Alike::to(Honest::Browsing).unless(&["ja4", "file"]),
            Alike::to(Honest::Resolver).unless(&["ja4", "certificate", "file"]),
        ],
        excuses: &[
            Excuse::Factor("trust", "the list's trust"),
            Excuse::Fact("stale", "the list is older than 90 days, or has no date", 0.5),
        ],
        listed: true,
        ..About::new(
            Stage::Command,
            &["T1071"],
            &[
                GradeWorth::base("address", 7.0).key("address"),
                GradeWorth::base("name", 13.0).key("name"),
                GradeWorth::base("url", 17.0).key("url"),
                GradeWorth::base("ja4", 4.0).key("ja4"),
                GradeWorth::base("certificate", 17.0).key("certificate"),
                GradeWorth::base("file", 17.0).key("file"),
            ],
        )
    };

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let intel = context.network.intel();
        if intel.is_empty() {
            return;
        }
        if let Record::File(f) = record {
            // A file goes either way, whoever opened the flow, and between neighbours.
            let (orig, resp) = (f.head.tuple.orig.ip, f.head.tuple.resp.ip);
            for (host, remote) in [(orig, resp), (resp, orig)] {
                if context.network.home().contains(host)
                    && let Some(m) = found(intel, record)
                {
                    self.tell(host, Match { remote: Some(remote), ..m }, states, context);
                }
            }
            return;
        }
        let host = record.tuple().orig.ip;
        // A question for a name goes to a resolver inside, often.
        if context.outbound() != Some(host)
            && !(matches!(record, Record::Dns(_)) && context.network.home().contains(host))
        {
            return;
        }
        if let Some(m) = found(intel, record) {
            self.tell(host, m, states, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let date = clean(e.text("list_date"));
        let of = if date.is_empty() { "without a date".to_owned() } else { format!("of {date}") };
        let what = match e.key.as_ref() {
            "address" => "spoke with",
            "url" => "asked for",
            "name" => "named or asked for",
            "ja4" => "showed the fingerprint",
            "file" => "moved the file with SHA-256",
            _ => "was shown the certificate",
        };
        format!("{what} {}, listed in {} {of}", defang(e.text("indicator")), clean(e.text("list")))
    }
}

impl Watcher {
    /// Tells of a match, once for each indicator.
    fn tell(&self, host: IpAddr, m: Match<'_>, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let reported = &mut states.of(host, context.now).reported;
        if reported.len() >= MAX_TOLD || !reported.insert(format!("{} {}", m.grade, m.what)) {
            return;
        }
        let age = m.origin.date.map(|d| m.ts.since(d));
        let days = age.map_or(-1.0, |a| a.as_secs() as f64 / 86_400.0);
        let fresh = age.is_some_and(|a| a <= self.settings.fresh);
        let fire = Fire {
            host,
            key: m.grade.into(),
            grades: vec![(m.grade, 1)],
            started: m.ts,
            value: 1.0,
            threshold: 1.0,
            unit: "indicators of a list",
            source: "the user's list",
            packets: m.packets.to_vec(),
            flows: vec![m.flow],
            remotes: m.remote.into_iter().collect(),
            facts: vec![
                ("indicator", m.what.into()),
                ("list", m.origin.list.clone().into()),
                (
                    "list_date",
                    m.origin.date.map_or_else(String::new, |d| d.to_string()[..10].to_owned()).into(),
                ),
                ("list_age_days", days.into()),
                ("trust", m.origin.trust.into()),
                ("stale", (!fresh).into()),
            ],
        };
        context.fire(fire);
    }
}

crate::held!(Host: reported);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{FactValue, Transport};

    fn bench(list: &str) -> Bench {
        let mut b = Bench::new("known_indicator", Watcher::new(Settings::default()));
        let mut intel = Intel::default();
        intel.add("mine.txt", list.as_bytes()).unwrap();
        b.network.inform(intel);
        b
    }

    #[test]
    fn each_kind_of_indicator() {
        let mut b =
            bench(&format!("# date: 1970-01-01\n{REMOTE}\nevil.example.com\nhttp://bad.example/gate\n"));
        b.feed(record(conn(10.0, Transport::Tcp, REMOTE, 443)), 12.0);
        assert_eq!(b.grades(), ["address"]);
        b.feed(dns(20.0, "a.evil.example.com", 1, 3, None), 20.5);
        assert_eq!(b.grades(), ["name"]);
        b.feed(
            Record::Http(Box::new(http(30.0, "203.0.113.5", "GET", Some("bad.example"), "/gate?x"))),
            31.0,
        );
        assert_eq!(b.grades(), ["url"]);
        assert_eq!(b.evidence[0].facts.get("stale"), Some(&FactValue::Flag(false)));
        b.feed(dns(40.0, "a.evil.example.com", 1, 3, None), 40.5);
        assert_eq!(b.evidence.len(), 3, "each indicator once");
    }

    #[test]
    fn an_old_list_is_stale_and_an_unanswered_address_is_no_match() {
        let mut b = bench(&format!("# date: 1970-01-01\n{REMOTE}\n"));
        let mut c = conn(10.0, Transport::Tcp, REMOTE, 443);
        c.packets = [3, 0];
        b.feed(record(c), 12.0);
        assert!(b.evidence.is_empty());
        let late = 91.0 * 86_400.0;
        b.feed(record(conn(late, Transport::Tcp, REMOTE, 443)), late + 2.0);
        assert_eq!(b.evidence[0].facts.get("stale"), Some(&FactValue::Flag(true)));
    }

    #[test]
    fn without_a_list_nothing_matches() {
        let mut b = Bench::new("known_indicator", Watcher::new(Settings::default()));
        b.feed(record(conn(10.0, Transport::Tcp, REMOTE, 443)), 12.0);
        assert!(b.evidence.is_empty());
    }
}
