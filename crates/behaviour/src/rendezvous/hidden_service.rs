//! ## What it sees
//! A host asks for the name of a hidden service below the name of a gateway, and for the same service below others.
//!
//! ## Why it matters
//! Who cannot be found cannot be shut down: a server in Tor has a name that is made from its key, and public gateways (`….onion.to`) lead to it without Tor on the
//! host. Extortion programs send people there, and bots ask several gateways, since each of them is often down (ATT&CK T1090.003, T1102).
//!
//! ## How it decides
//! A label of 16 or 56 letters and digits of base 32, with a digit among them, as Tor makes them (version 2 and 3). *gateway*: the label before it in the name is `onion`. Added,
//! and enough alone where there is no such label: *several_gateways*, the same label below at least three registrable domains within ten minutes. It stands directly below the registrable domain or its `onion`; names that end in `.onion` itself are no
//! gateway's: they are a client's of Tor that lets its questions out.
//!
//! ## What else looks like this
//! A person who follows a link to a gateway; researchers. Content networks make such labels too, but none below three domains.
//!
//! ## Blind spots
//! Tor itself; gateways that take the service in the path; encrypted DNS.
//!
//! ## Options
//! `gateways` (3), `window` (10m).
//!
//! ## References
//! RFC 7686; Tor's rend-spec-v2 §1.5 and rend-spec-v3 §6; ATT&CK T1090.003.

use std::collections::VecDeque;
use std::time::Duration;

use record::{Dns, Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, names};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants,
    domains,
};

/// Names remembered of one host.
const MAX_NAMES: usize = 64;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Registrable domains below which one service is looked for, ≥ 2 (*assumed*).
    pub gateways: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { gateways: 3, window: Duration::from_mins(10) }
    }
}

#[derive(Serialize, Deserialize)]
struct Asked {
    ts: Timestamp,
    service: String,
    gateway: String,
    name: String,
    packet: PacketId,
    flow: FlowId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    asked: VecDeque<Asked>,
    #[serde(with = "crate::words")]
    reported: Vec<Word>,
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

/// Whether a label is as Tor makes them.
fn is_service(label: &str) -> bool {
    matches!(label.len(), 16 | 56)
        && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        && label.bytes().any(|b| b.is_ascii_digit())
}

/// The service in a name, its gateway's registrable domain, and whether the label between or behind is `onion`; none where the name is below `.onion` itself, and where more
/// stands between them, as in a block list's or a resolver's.
fn service_of(name: &str) -> Option<(&str, &str, bool)> {
    let gateway = domains::registrable(name).filter(|_| name.rsplit('.').next() != Some("onion"))?;
    let before = name.strip_suffix(gateway)?.trim_end_matches('.');
    let (before, between) = before.strip_suffix(".onion").map_or((before, false), |b| (b, true));
    let service = before.rsplit('.').next()?;
    is_service(service).then_some((service, gateway, between || gateway.starts_with("onion.")))
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Browsing).unless(&["coded_name"]), Alike::to(Honest::Tunnel)],
        needs: &[Traffic::Dns],
        excuses: &[Excuse::Role(&[Role::Resolver], 0.2)],
        ..About::new(
            Stage::Rendezvous,
            &["T1090.003", "T1102"],
            &[
                GradeWorth::base("gateway", 11.0),
                GradeWorth::base("coded_name", 7.0),
                GradeWorth::add("several_gateways", 4.0).cap(15.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::DNS
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Dns(dns) = record else { return };
        let host = dns.head.tuple.orig.ip;
        if !context.network.home().contains(host) || !matches!(dns.qtype, Dns::A | Dns::AAAA | 65) {
            return;
        }
        let Some((service, gateway, onion)) = service_of(&dns.query) else { return };
        let state = states.of(host, context.now);
        state.asked.retain(|a| dns.head.ts.since(a.ts) <= self.settings.window);
        if !state.asked.iter().any(|a| a.service == service && a.gateway == gateway) {
            state.asked.push_back(Asked {
                ts: dns.head.ts,
                service: service.to_owned(),
                gateway: gateway.to_owned(),
                name: dns.query.clone(),
                packet: dns.packets.first().copied().unwrap_or_default(),
                flow: dns.head.flow,
            });
            if state.asked.len() > MAX_NAMES {
                state.asked.pop_front();
            }
        }
        let of_service: Vec<&Asked> = state.asked.iter().filter(|a| a.service == service).collect();
        let gateways = of_service.len();
        let several = gateways >= self.settings.gateways.max(2);
        let onion = onion || of_service.iter().any(|a| service_of(&a.name).is_some_and(|s| s.2));
        let mut grades = match (onion, several) {
            (true, _) => vec![("gateway", 1)],
            (false, true) => vec![("coded_name", 1)],
            (false, false) => return,
        };
        if several {
            grades.push(("several_gateways", 1));
        }
        let reported: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        if state.reported == reported {
            return;
        }
        let names: Vec<String> = of_service.iter().map(|a| a.name.clone()).collect();
        let fire = Fire {
            host,
            key: "gateway".into(),
            grades,
            started: of_service.iter().map(|a| a.ts).min().unwrap_or(dns.head.ts),
            value: gateways as f64,
            threshold: if onion { 1.0 } else { self.settings.gateways as f64 },
            unit: "gateways to one hidden service",
            source: "Tor's rend-spec; numbers assumed",
            packets: of_service.iter().map(|a| a.packet).collect(),
            flows: of_service.iter().map(|a| a.flow).collect(),
            remotes: dns.answers.iter().filter_map(|a| a.addr).collect(),
            facts: vec![("names", names.into())],
        };
        state.reported = reported;
        context.fire(fire);
    }

    fn sentence(e: &Evidence) -> String {
        format!("asked for a hidden service of Tor by way of gateways: {}", names(e.list("names"), 3))
    }
}

crate::held!(Asked: service, gateway, name);
crate::held!(Host: asked, reported);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    const SERVICE: &str = "hrfgd74nckhcxcdt";

    fn run(asked: &[(f64, String)]) -> Vec<String> {
        let mut b = Bench::new("hidden_service", Watcher::new(Settings::default()));
        for (t, name) in asked {
            b.feed(dns(*t, name, 1, 0, Some(REMOTE)), t + 0.1);
        }
        b.grades()
    }

    #[test]
    fn gateways_and_what_is_none() {
        let below = |suffix: &str| format!("{SERVICE}.{suffix}");
        assert_eq!(run(&[(1.0, below("onion.to"))]), ["gateway"]);
        assert_eq!(run(&[(1.0, below("onion.example.com"))]), ["gateway"]);
        let tried = |all: &[&str], gap: f64| {
            run(&all.iter().enumerate().map(|(i, s)| (1.0 + gap * i as f64, below(s))).collect::<Vec<_>>())
        };
        assert_eq!(tried(&["onion.to", "onion.link"], 9.0), ["gateway"], "a person tries another");
        assert_eq!(tried(&["onion.to", "onion.link", "example.com"], 9.0), ["gateway", "several_gateways"]);
        let three = ["example.com", "example.net", "example.org"];
        assert_eq!(tried(&three, 9.0), ["coded_name", "several_gateways"]);
        assert!(tried(&["example.com", "a.example.com", "b.example.com"], 9.0).is_empty(), "one domain");
        assert!(tried(&three, 400.0).is_empty(), "long ago");
        let lists = ["onion.to.dbl.example.com", "onion.to.multi.example.net", "onion.to.black.example.org"];
        assert!(tried(&lists, 1.0).is_empty(), "block lists");
        let searched = ["eks.example.com", "eks.example.com.corp.example.net", "eks.example.com.example.org"];
        assert!(tried(&searched, 1.0).is_empty(), "suffixes of a search");
        assert!(run(&[(1.0, below("onion"))]).is_empty(), "Tor's own");
        assert!(run(&[(1.0, "onion.example.com".into())]).is_empty());
        assert!(run(&[(1.0, format!("{SERVICE}a.onion.to"))]).is_empty(), "17 letters");
        assert!(run(&[(1.0, "internationalize.onion.to".into())]).is_empty(), "a word");
        assert!(
            run(&[(1.0, format!("{SERVICE}.com")), (2.0, format!("{SERVICE}.net"))]).is_empty(),
            "its own"
        );
    }
}
