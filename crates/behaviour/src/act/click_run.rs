//! ## What it sees
//! A host visits a great many sites, each as if a link had led there, from pages that it never opened.
//!
//! ## Why it matters
//! Click-fraud bots earn per visit (ATT&CK T1496): they request advertisements with a `Referer` of their choice.
//!
//! ## How it decides
//! Within 10 minutes, HTTP requests whose `Referer` names a host of another registrable domain that this host neither asked DNS for, nor fetched anything
//! from before: *clicks* at 100 of them to at least 20 registrable domains.
//!
//! ## What else looks like this
//! A browser whose pages came over TLS while the DNS questions were not captured; a proxy for many people.
//!
//! ## Blind spots
//! HTTPS; a bot that opens the pages first; a bot that drives a browser.
//!
//! ## Options
//! `clicks` (100), `sites` (20), `window` (10m).
//!
//! ## References
//! ATT&CK T1496; B. Miller et al., "What's Clicking What? Techniques and Innovations of Today's Clickbots", DIMVA 2011.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, FlowId, Http, PacketId, Record, Stage, Timestamp, human_count, tally};
use serde::{Deserialize, Serialize};

use crate::requests::host_of_url;
use crate::table::hash_of;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
    domains,
};

/// Bits in which it is remembered which names a host knows: a thousand names leave one in five strangers taken for known.
const BITS: u64 = 4096;
/// Clicks remembered of one host.
const MAX_CLICKS: usize = 1024;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Requests from pages never opened (*assumed*).
    pub clicks: usize,
    /// Registrable domains asked (*assumed*).
    pub sites: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { clicks: 100, sites: 20, window: Duration::from_mins(10) }
    }
}

/// A number for the last two labels of a name. Names under a suffix of two labels share one, which finds fewer clicks, not more.
fn end_of(name: &str) -> u64 {
    hash_of(domains::tail(name))
}

#[derive(Serialize, Deserialize)]
struct Click {
    ts: Timestamp,
    site: String,
    from: String,
    flow: FlowId,
    packet: PacketId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    /// The ends of names asked for or fetched from, a bit each.
    known: Vec<u64>,
    clicks: VecDeque<Click>,
    reported: bool,
}

impl Host {
    fn knows(&self, name: &str) -> bool {
        let bit = end_of(name) % BITS;
        self.known.get((bit / 64) as usize).is_some_and(|w| w & (1 << (bit % 64)) != 0)
    }
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

    fn know(states: &mut States<'_, Host>, host: IpAddr, name: &str, now: Timestamp) {
        let known = &mut states.of(host, now).known;
        if known.is_empty() {
            known.resize((BITS / 64) as usize, 0);
        }
        let bit = end_of(name) % BITS;
        known[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    fn request(&self, states: &mut States<'_, Host>, host: IpAddr, h: &Http, context: &mut Context<'_>) {
        let site = h.host.as_deref().and_then(domains::registrable).map(str::to_owned);
        let from = h.referer.as_deref().and_then(host_of_url);
        let from = from.as_deref().and_then(domains::registrable).map(str::to_owned);
        if let (Some(site), Some(from)) = (site, from)
            && site != from
            && !states.of(host, context.now).knows(&from)
        {
            let window = self.settings.window;
            let state = states.of(host, context.now);
            let packet = h.packets.first().copied().unwrap_or_default();
            state.clicks.push_back(Click { ts: h.head.ts, site, from, flow: h.head.flow, packet });
            state.clicks.retain(|c| c.ts.0.abs_diff(h.head.ts.0) <= window.as_nanos() as u64);
            if state.clicks.len() > MAX_CLICKS {
                state.clicks.pop_front();
            }
            self.judge(states, host, h, context);
        }
        if let Some(name) = &h.host {
            Self::know(states, host, name, context.now);
        }
    }

    fn judge(&self, states: &mut States<'_, Host>, host: IpAddr, h: &Http, context: &mut Context<'_>) {
        let Some(state) = states.get_mut(host) else { return };
        let (clicks, s) = (state.clicks.len(), &self.settings);
        let sites: BTreeSet<&str> = state.clicks.iter().map(|c| c.site.as_str()).collect();
        if clicks < s.clicks || sites.len() < s.sites {
            if clicks >= 10 {
                context.near(host, clicks as f64, s.clicks as f64, "visits from pages never opened");
            }
            return;
        }
        if state.reported {
            return;
        }
        let from: BTreeSet<&str> = state.clicks.iter().map(|c| c.from.as_str()).collect();
        let fire = Fire {
            host,
            key: "clicks".into(),
            grades: vec![("clicks", 1)],
            started: state.clicks.front().map_or(h.head.ts, |c| c.ts),
            value: clicks as f64,
            threshold: s.clicks as f64,
            unit: "visits from pages never opened",
            source: "assumed",
            packets: state.clicks.iter().map(|c| c.packet).collect(),
            flows: state.clicks.iter().map(|c| c.flow).collect(),
            remotes: vec![h.head.tuple.resp.ip],
            facts: vec![
                ("sites", (sites.len() as u64).into()),
                ("pages_claimed", from.iter().take(16).map(|f| (*f).to_owned()).collect::<Vec<_>>().into()),
            ],
        };
        context.fire(fire);
        state.reported = true;
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Crawler), Alike::to(Honest::Browsing)],
        needs: &[Traffic::Http],
        finding: Some(Shows::all("click fraud")),
        ..About::new(Stage::Act, &["T1496"], &[GradeWorth::base("clicks", 9.0)])
    };

    fn wants(&self) -> Wants {
        Wants::DNS.and(Wants::HTTP)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        match record {
            Record::Dns(d) if context.network.home().contains(d.head.tuple.orig.ip) => {
                Self::know(states, d.head.tuple.orig.ip, &d.query, context.now);
            }
            Record::Http(h) => {
                if let Some(host) = context.outbound() {
                    self.request(states, host, h, context);
                }
            }
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        let sites = human_count(e.count("sites"));
        format!("visited {sites} sites {} times from pages that it never opened", tally(e.value))
    }
}

crate::held!(Click: site, from);
crate::held!(Host: known, clicks);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn run(n: usize, gap: f64, sites: usize, opened: bool) -> Vec<String> {
        let mut b = Bench::new("click_run", Watcher::new(Settings::default()));
        if opened {
            b.feed(dns(0.5, "www.pages.example.com", 1, 0, Some(REMOTE)), 0.5);
        }
        for i in 0..n {
            let t = 1.0 + gap * i as f64;
            let site = format!("ads.site{}.net", i % sites);
            let mut h = http(t, REMOTE, "GET", Some(&site), "/click");
            h.referer = Some("http://pages.example.com/1".into());
            b.feed(Record::Http(Box::new(h)), t + 0.5);
        }
        b.grades()
    }

    #[test]
    fn a_hundred_clicks_on_twenty_sites() {
        assert_eq!(run(100, 1.0, 20, false), ["clicks"]);
        assert!(run(99, 1.0, 20, false).is_empty());
        assert!(run(300, 1.0, 19, false).is_empty());
        assert!(run(100, 7.0, 20, false).is_empty(), "too slow");
    }

    #[test]
    fn a_page_that_was_opened_may_link() {
        assert!(run(300, 1.0, 50, true).is_empty());
    }
}
