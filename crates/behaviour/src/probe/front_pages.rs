//! ## What it sees
//! A host fetches the front pages of several news sites and portals, and nothing that a browser would fetch with them.
//!
//! ## Why it matters
//! A bot that wants to know whether it is online asks for pages that are always there (ATT&CK T1016.001). The pages are
//! not used for anything.
//!
//! ## How it decides
//! A fetch is a GET of "/" without Referer and cookie, or a TLS or QUIC handshake (of which only the name is seen), to a
//! registrable domain on the list of news sites and portals. It is bare when in the 10 s after it the host opened
//! connections to at most 2 other new hosts, and asked the same site for nothing else (a redirect to the page itself is no more). Three bare fetches of
//! distinct domains within 600 s fire if they lie within 300 s of the host's first activity or within 600 s of a port-25
//! probe; the latter counts more.
//!
//! ## What else looks like this
//! Connectivity checks of systems and browsers (on a list; worth nothing), uptime monitors, feed readers.
//!
//! ## Blind spots
//! Sites that are not on the list; a bot that runs inside a browser; fetches behind a proxy.
//!
//! ## Options
//! `pages` (3), `fan_out` (2 other hosts), `settle` (10s), `window` (10m), `start` (5m).
//!
//! ## References
//! R. Balupari, McAfee Avert Labs (2008): nytimes.com, cbsnews.com, news.com, cnn.com, reuters.com, msn.com, google.com.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, names};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Card, Context, Excuse, Fire, GradeWorth, Honest, HostState, States, Traffic,
    Wants, domains,
};

/// Fetches remembered of one host.
const MAX_FETCHES: usize = 32;
/// Times that the front page may be asked for again: a redirect to its secure or its `www` form, or both.
const MAX_AGAIN: u32 = 2;
/// Contacts remembered of one host, for the fan-out.
const MAX_CONTACTS: usize = 64;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Distinct domains, ≥ 2. The study saw 3.
    pub pages: usize,
    /// Other hosts contacted within `settle` of a fetch, at most (*assumed*; a browser opens a dozen).
    pub fan_out: usize,
    /// How long after a fetch its fan-out is counted (*assumed*).
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// The window that the fetches lie in, and their distance from a port-25 probe (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The distance from the host's first activity (*assumed*).
    #[serde(with = "humantime_serde")]
    pub start: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pages: 3,
            fan_out: 2,
            settle: Duration::from_secs(10),
            window: Duration::from_mins(10),
            start: Duration::from_mins(5),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Fetch {
    ts: Timestamp,
    domain: String,
    remote: IpAddr,
    flow: FlowId,
    packets: Vec<PacketId>,
    /// Requests for something else of the same site within `settle`.
    more: u32,
    /// The front page again within `settle`: a redirect, or a second try.
    again: u32,
    judged: Option<bool>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    fetches: VecDeque<Fetch>,
    /// First contacts with remotes: when and with whom.
    contacts: VecDeque<(Timestamp, IpAddr)>,
    fired: Option<(Timestamp, bool)>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn contact(
        states: &mut States<'_, Host>,
        host: IpAddr,
        remote: IpAddr,
        ts: Timestamp,
        context: &Context<'_>,
    ) {
        if !context.network.first_contact() {
            return;
        }
        let contacts = &mut states.of(host, context.now).contacts;
        if !contacts.iter().any(|(_, ip)| *ip == remote) {
            contacts.push_back((ts, remote));
            if contacts.len() > MAX_CONTACTS {
                contacts.pop_front();
            }
        }
    }

    fn fetch(&self, states: &mut States<'_, Host>, host: IpAddr, fetch: Fetch, now: Timestamp) {
        let settle = self.settings.settle;
        let state = states.of(host, now);
        if let Some(earlier) = state
            .fetches
            .iter_mut()
            .rev()
            .find(|f| f.domain == fetch.domain && fetch.ts.since(f.ts) <= settle)
        {
            earlier.more += fetch.more;
            earlier.again += 1;
            return;
        }
        state.fetches.push_back(fetch);
        if state.fetches.len() > MAX_FETCHES {
            state.fetches.pop_front();
        }
        // It is not judged yet.
        states.wait(host);
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Crawler).unless(&["with_probe"]),
            Alike::to(Honest::Monitor).unless(&["with_probe"]),
            Alike::to(Honest::Browsing).unless(&["with_probe"]),
        ],
        needs: &[Traffic::Http, Traffic::Tls],
        // Whether pages answer is what it watches.
        excuses: &[Excuse::Role(&[Role::Monitor], 0.2)],
        ..About::new(
            Stage::Probe,
            &["T1016.001"],
            &[GradeWorth::base("pages", 3.0), GradeWorth::add("with_probe", 6.0)],
        )
    };

    fn wants(&self) -> Wants {
        Wants::ALL.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some(host) = context.outbound() else { return };
        let remote = record.tuple().resp.ip;
        let (ts, name, page, packets) = match record {
            Record::Conn(c) => return Self::contact(states, host, remote, c.head.ts, context),
            Record::Dns(d) => return Self::contact(states, host, remote, d.head.ts, context),
            Record::Http(h) => {
                let bare = h.method == "GET" && h.path == "/" && h.referer.is_none() && !h.cookie;
                (h.head.ts, h.host.as_deref(), bare, &h.packets)
            }
            Record::Tls(t) => (t.head.ts, t.sni.as_deref(), true, &t.packets),
            Record::Quic(q) => (q.head.ts, q.sni.as_deref(), true, &q.packets),
            _ => return,
        };
        let Some(name) = name.filter(|n| domains::is_front_page(n) && !domains::is_connectivity_check(n))
        else {
            return;
        };
        let Some(domain) = domains::registrable(name).map(str::to_owned) else { return };
        let fetch = Fetch {
            ts,
            domain,
            remote,
            flow: match record {
                Record::Http(h) => h.head.flow,
                Record::Tls(t) => t.head.flow,
                Record::Quic(q) => q.head.flow,
                _ => return,
            },
            packets: packets.clone(),
            more: u32::from(!page),
            again: 0,
            judged: None,
        };
        self.fetch(states, host, fetch, context.now);
    }

    fn tick(&self, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        states.decide(|host, state, card| judge(&self.settings, host, (state, card), context));
    }

    fn sentence(e: &Evidence) -> String {
        let near = if e.flag("with_probe") { ", near its mail test" } else { "" };
        format!(
            "called at the front pages of {} and loaded nothing of what a browser loads with them{near}",
            names(e.list("pages"), 5)
        )
    }
}

/// Judges what has settled; `true` while something may still change.
fn judge(
    settings: &Settings,
    host: IpAddr,
    (state, card): (&mut Host, &Card),
    context: &mut Context<'_>,
) -> bool {
    let mut open = false;
    for fetch in &mut state.fetches {
        if fetch.judged.is_none() {
            // Records of contacts arrive a little after their packets.
            if context.now.since(fetch.ts) <= settings.settle + Duration::from_secs(2) {
                open = true;
                continue;
            }
            let end = fetch.ts.plus(settings.settle);
            let others = state
                .contacts
                .iter()
                .filter(|(t, ip)| *t >= fetch.ts && *t <= end && *ip != fetch.remote)
                .count();
            fetch.judged = Some(others <= settings.fan_out && fetch.more == 0 && fetch.again <= MAX_AGAIN);
        }
    }
    let newest = state.fetches.back().map_or(context.now, |f| f.ts);
    let bare: Vec<&Fetch> = state
        .fetches
        .iter()
        .filter(|f| f.judged == Some(true) && newest.since(f.ts) <= settings.window)
        .collect();
    let by_domain: BTreeMap<&str, &Fetch> = bare.iter().map(|f| (f.domain.as_str(), *f)).collect();
    if by_domain.len() < settings.pages {
        if !by_domain.is_empty() {
            context.near(host, by_domain.len() as f64, settings.pages as f64, "bare front pages");
        }
        return open;
    }
    let mut pages: Vec<&Fetch> = by_domain.into_values().collect();
    pages.sort_by_key(|f| f.ts);
    let (started, ended) = (pages[0].ts, pages[pages.len() - 1].ts);
    let probed = card.fired.near("smtp_probe", started, settings.window)
        || card.fired.near("smtp_probe", ended, settings.window);
    let at_start = context.network.since(host).is_some_and(|s| ended.since(s) <= settings.start);
    let waiting = !probed && context.now.since(ended) <= settings.window;
    if (!probed && !at_start) || state.fired.is_some_and(|(t, p)| t == started && (p || !probed)) {
        return open || waiting;
    }
    state.fired = Some((started, probed));
    let mut grades = vec![("pages", 1)];
    if probed {
        grades.push(("with_probe", 1));
    }
    let list: Vec<String> = pages.iter().map(|f| f.domain.clone()).collect();
    context.fire(Fire {
        host,
        key: "pages".into(),
        grades,
        started,
        value: pages.len() as f64,
        threshold: settings.pages as f64,
        unit: "bare front pages",
        source: "field study 2008: three sites",
        packets: pages.iter().filter_map(|f| f.packets.first().copied()).collect(),
        flows: pages.iter().map(|f| f.flow).collect(),
        remotes: pages.iter().map(|f| f.remote).collect(),
        facts: vec![("pages", list.into()), ("with_probe", probed.into())],
    });
    open || waiting
}

crate::held!(Fetch: domain, packets);
crate::held!(Host: fetches, contacts);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::Stage;
    use record::Transport;

    const SITES: [(&str, &str); 3] = [
        ("www.nytimes.com", "198.51.100.1"),
        ("www.cnn.com", "198.51.100.2"),
        ("reuters.com", "198.51.100.3"),
    ];

    fn bench() -> Bench {
        Bench::new("front_pages", Watcher::new(Settings::default()))
    }

    fn visit(b: &mut Bench, secs: f64, site: (&str, &str), others: usize, path: &str) {
        b.feed(Record::Http(Box::new(http(secs, site.1, "GET", Some(site.0), path))), secs);
        b.feed(record(conn(secs, Transport::Tcp, site.1, 80)), secs + 1.0);
        for i in 0..others {
            let ip = format!("203.0.{}.{}", secs as u32 % 256, i + 1);
            b.feed(record(conn(secs + 1.0, Transport::Tcp, &ip, 443)), secs + 2.0);
        }
    }

    #[test]
    fn three_bare_pages_fire_and_two_do_not() {
        let mut b = bench();
        visit(&mut b, 10.0, SITES[0], 0, "/");
        visit(&mut b, 30.0, SITES[1], 2, "/");
        b.tick(60.0);
        assert!(b.evidence.is_empty() && b.near().len() == 1);
        visit(&mut b, 70.0, SITES[2], 0, "/");
        b.tick(90.0);
        assert_eq!(b.grades(), ["pages"]);
    }

    #[test]
    fn a_browser_is_none_of_it() {
        let mut b = bench();
        for (i, site) in SITES.iter().enumerate() {
            visit(&mut b, 10.0 + 20.0 * i as f64, *site, 3, "/");
        }
        b.tick(100.0);
        assert!(b.evidence.is_empty(), "three other hosts within ten seconds");
        let mut b = bench();
        for (i, site) in SITES.iter().enumerate() {
            visit(&mut b, 10.0 + 20.0 * i as f64, *site, 0, "/");
            visit(&mut b, 12.0 + 20.0 * i as f64, *site, 0, "/style.css");
        }
        b.tick(100.0);
        assert!(b.evidence.is_empty(), "sub-resources");
    }

    #[test]
    fn a_redirect_to_the_secure_page_is_the_same_fetch() {
        let mut b = bench();
        for (i, site) in SITES.iter().enumerate() {
            let t = 10.0 + 20.0 * i as f64;
            visit(&mut b, t, *site, 0, "/");
            b.feed(tls(t + 1.0, site.1, site.0), t + 1.0);
        }
        b.tick(100.0);
        assert_eq!(b.evidence.len(), 1);
    }

    #[test]
    fn later_than_the_start_they_need_a_probe() {
        let mut b = bench();
        b.feed(record(conn(1.0, Transport::Tcp, "203.0.113.9", 443)), 2.0);
        for (i, site) in SITES.iter().enumerate() {
            visit(&mut b, 1000.0 + 20.0 * i as f64, *site, 0, "/");
        }
        b.tick(1060.0);
        assert!(b.evidence.is_empty());
        b.fired(Stage::Probe, "smtp_probe", 1100.0, 1130.0);
        b.tick(1131.0);
        assert_eq!(b.grades(), ["pages", "with_probe"]);
        b.tick(1140.0);
        assert_eq!(b.evidence.len(), 1, "reported once");
    }

    #[test]
    fn a_handshake_counts_by_its_name_and_connectivity_checks_do_not() {
        let mut b = bench();
        for (i, site) in SITES.iter().enumerate() {
            let at = 10.0 + 20.0 * i as f64;
            b.feed(record(conn(at, Transport::Tcp, site.1, 443)), at);
            b.feed(tls(at, site.1, site.0), at);
        }
        b.tick(100.0);
        assert_eq!(b.evidence.len(), 1);
        let mut b = bench();
        for (i, name) in
            ["clients3.google.com", "www.msftconnecttest.com", "detectportal.firefox.com"].iter().enumerate()
        {
            b.feed(tls(10.0 + 20.0 * i as f64, "198.51.100.9", name), 10.0 + 20.0 * i as f64);
        }
        b.tick(100.0);
        assert!(b.evidence.is_empty() && b.near().is_empty());
    }
}
