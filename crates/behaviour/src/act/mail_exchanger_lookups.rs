//! ## What it sees
//! A host that is no mail server asks DNS for mail exchangers.
//!
//! ## Why it matters
//! Only who delivers mail directly needs to know them: a client hands its mail to its own server. A bot that sends spam
//! asks for the exchangers of its victims (ATT&CK T1071.003).
//!
//! ## How it decides
//! MX questions of a local host: one is odd; 5 distinct domains within 15 min, or 30 questions within 10 s, are far more so.
//! The roles of mail server and resolver take the weight away. Nothing is said of a host of whose questions no answer was seen, or with most of
//! whose partners a side or most of what was said is missing from the capture: what it is for is unknown.
//!
//! ## What else looks like this
//! Mail servers, resolvers, administrators at a shell, address checkers on web forms.
//!
//! ## Blind spots
//! A bot that is given exchangers ready made, as Kraken is by one of its modules; encrypted DNS.
//!
//! ## Options
//! `domains` (5) in `window` (15m), `burst` (30) in `burst_window` (10s).
//!
//! ## References
//! D. Whyte et al., "Addressing Malicious SMTP-based Mass-Mailing Activity within an Enterprise Network" (2006); Emerging Threats 2003330.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use record::{Dns, Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, names};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, MAIL, States, Traffic,
    Wants, domains,
};

/// Questions remembered of one host.
const MAX_QUESTIONS: usize = 512;
/// Characters below the registrable domain that no mail domain has (*assumed*).
const FAR_BELOW: usize = 24;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Distinct domains within `window` (*assumed*).
    pub domains: usize,
    /// That window (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Questions within `burst_window` (ET 2003330).
    pub burst: usize,
    /// That window (ET 2003330).
    #[serde(with = "humantime_serde")]
    pub burst_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { domains: 5, window: Duration::from_mins(15), burst: 30, burst_window: Duration::from_secs(10) }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    questions: VecDeque<(Timestamp, String, FlowId, PacketId)>,
    /// The strongest grade told: 0 none, 1 one, 2 several, 3 burst.
    reported: u8,
    told_domains: usize,
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
            Alike::to(Honest::Mail),
            Alike::to(Honest::Resolver),
            Alike::to(Honest::Administration).unless(&["several_domains", "burst"]),
        ],
        needs: &[Traffic::Dns],
        excuses: &[Excuse::Role(MAIL, 0.0), Excuse::Role(&[Role::Resolver], 0.0)],
        ..About::new(
            Stage::Act,
            &["T1071.003"],
            &[
                GradeWorth::base("one_question", 3.0).weak(),
                GradeWorth::base("several_domains", 11.0),
                GradeWorth::base("burst", 17.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::DNS
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Dns(dns) = record else { return };
        let host = dns.head.tuple.orig.ip;
        if dns.qtype != Dns::MX || !context.network.home().contains(host) || dns.query.is_empty() {
            return;
        }
        // Where no question was seen with its answer, the capture has one side, and what the host is for cannot be seen either.
        let (state, card) = states.open(host, context.now);
        if !card.known.hears() || card.known.is_blind() {
            return;
        }
        // Mail has its domains near the root; what is far below carries data (`dns_tunnel`).
        let below = domains::registrable(&dns.query).map_or(0, |d| dns.query.len() - d.len());
        if below > FAR_BELOW {
            return;
        }
        let settings = &self.settings;
        let packet = dns.packets.first().copied().unwrap_or_default();
        state.questions.push_back((dns.head.ts, dns.query.clone(), dns.head.flow, packet));
        state.questions.retain(|q| dns.head.ts.since(q.0) <= settings.window);
        if state.questions.len() > MAX_QUESTIONS {
            state.questions.pop_front();
        }
        let names: BTreeSet<&str> = state.questions.iter().map(|q| q.1.as_str()).collect();
        let burst =
            state.questions.iter().filter(|q| dns.head.ts.since(q.0) <= settings.burst_window).count();
        let (rank, grade, value, threshold, unit, source) = if burst >= settings.burst {
            (3, "burst", burst, settings.burst, "MX questions in 10 s", "ET 2003330")
        } else if names.len() >= settings.domains {
            (2, "several_domains", names.len(), settings.domains, "domains asked for MX", "assumed")
        } else {
            (1, "one_question", names.len(), 1, "domains asked for MX", "Whyte et al. 2006")
        };
        let grown = rank == state.reported && names.len() >= state.told_domains * 2 && rank > 1;
        if rank < state.reported || (rank == state.reported && !grown) {
            return;
        }
        state.reported = rank;
        state.told_domains = names.len();
        let list: Vec<String> = names.iter().take(8).map(|n| (*n).to_owned()).collect();
        let questions = &state.questions;
        context.fire(Fire {
            host,
            key: "mx".into(),
            grades: vec![(grade, 1)],
            started: questions[0].0,
            value: value as f64,
            threshold: threshold as f64,
            unit,
            source,
            packets: questions.iter().map(|q| q.3).collect(),
            flows: questions.iter().map(|q| q.2).collect(),
            remotes: vec![],
            facts: vec![("domains", list.into()), ("questions", questions.len().into())],
        });
        if rank < 2 {
            context.near(host, value as f64, settings.domains as f64, unit);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let domains = e.list("domains");
        let n =
            if domains.len() == 1 { "one domain".to_owned() } else { format!("{} domains", domains.len()) };
        format!("asked for mail exchangers of {n} ({})", names(domains, 3))
    }
}

crate::held!(Host: questions);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = 0;
        self.told_domains = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn bench() -> Bench {
        Bench::new("mail_exchanger_lookups", Watcher::new(Settings::default()))
    }

    #[test]
    fn one_five_and_thirty() {
        let mut b = bench();
        b.feed(dns(1.0, "d0.example", Dns::MX, 0, None), 1.0);
        assert_eq!(b.grades(), ["one_question"]);
        for i in 1..4 {
            b.feed(dns(20.0 * f64::from(i), &format!("d{i}.example"), Dns::MX, 0, None), 20.0 * f64::from(i));
        }
        assert_eq!(b.evidence.len(), 1, "four domains");
        b.feed(dns(100.0, "d4.example", Dns::MX, 0, None), 100.0);
        assert_eq!(b.grades(), ["several_domains"]);
        let mut b = bench();
        for i in 0..30 {
            let t = 1.0 + f64::from(i) * 0.34;
            b.feed(dns(t, "same.example", Dns::MX, 0, None), t);
        }
        assert_eq!(b.grades(), ["burst"]);
    }

    #[test]
    fn other_questions_and_other_hosts_are_not_it() {
        let mut b = bench();
        for i in 0..40 {
            b.feed(dns(f64::from(i) * 0.1, "a.example", Dns::A, 0, None), f64::from(i) * 0.1);
        }
        let Record::Dns(mut foreign) = dns(9.0, "b.example", Dns::MX, 0, None) else { unreachable!() };
        foreign.head.tuple.orig.ip = REMOTE.parse().unwrap();
        b.feed(Record::Dns(foreign), 9.0);
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn the_window_is_a_quarter_of_an_hour() {
        let mut b = bench();
        for i in 0..5 {
            let t = 1.0 + f64::from(i) * 225.25;
            b.feed(dns(t, &format!("d{i}.example"), Dns::MX, 0, None), t);
        }
        assert_eq!(b.grades(), ["one_question"], "the first of five lies 901 s back");
    }
}
