//! ## What it sees
//! A host delivers mail itself, to many mail servers, and many of them will not have it.
//!
//! ## Why it matters
//! Sending spam is what a spam bot is for (ATT&CK T1071.003, T1496.002). By itself it says *spam source*, not *bot*.
//!
//! ## How it decides
//! *Volume*: more than 15 SMTP connections within 15 min to at least 10 distinct /24 networks elsewhere; more at a
//! rate of 5 messages a minute for 10 min. *Outcomes*: first contacts are tested one after another (sequential probability ratio
//! test, failure rate 0.05 for a clean sender against 0.35: +1.95 nats for a failure, −0.38 for a success); the sum, in
//! decibans, is the payoff once the volume holds. *Dialect*, with the volume: a HELO name that is no
//! name, that changes between sessions, HELO where EHLO was offered, no QUIT, STARTTLS offered and not taken, five sender
//! domains an hour (not the header spelling `Message-Id`, which Postfix writes, too). Encrypted sessions keep counts, destinations and sizes.
//!
//! Where of most servers that it speaks with one side or the answer is missing from the capture, nothing is said: whether they welcome it,
//! and whether mail is what it is for, is unknown.
//!
//! ## What else looks like this
//! Mail servers and newsletter senders (role: most of their deliveries succeed), backup scripts that mail their reports.
//!
//! ## Blind spots
//! Sending through the provider's submission server or a stolen account.
//!
//! ## Options
//! `connections` (15) and `networks` (10) in `window` (15m), `messages_per_minute` (5) for `rate_window` (10m), `first_contacts` (10).
//!
//! ## References
//! C. Kreibich et al., "Spamcraft", LEET 2009; J. Jung et al., "Fast Portscan Detection Using Sequential Hypothesis Testing", 2004;
//! Stringhini et al., "B@bel: Leveraging Email Delivery for Spam Mitigation", USENIX Security 2012.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, FlowId, PacketId, Record, Service, Smtp, SmtpCommandForm, Stage, Timestamp,
    Transport, human_count,
};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, MAIL, Shows, States,
    Traffic,
};

/// Sessions remembered of one host.
const MAX_SESSIONS: usize = 1024;
/// First contacts remembered of one host.
const MAX_CONTACTS: usize = 4096;
/// ln(0.35 / 0.05) and ln(0.65 / 0.95).
const FAILURE_NATS: f64 = 1.95;
const SUCCESS_NATS: f64 = -0.38;
/// Decibans in a nat: 10 / ln 10.
const DECIBANS_PER_NAT: f64 = 4.342_944_8;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Connections within `window`: more than this (*assumed*).
    pub connections: usize,
    /// Distinct /24 (IPv6: /48) networks among them, at least (*assumed*).
    pub networks: usize,
    /// That window (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Messages a minute that count more (*assumed*; one Kraken bot can send 350).
    pub messages_per_minute: u64,
    /// Over this time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub rate_window: Duration,
    /// First contacts before outcomes are judged, ≥ 1 (*assumed*).
    pub first_contacts: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 15,
            networks: 10,
            window: Duration::from_mins(15),
            messages_per_minute: 5,
            rate_window: Duration::from_mins(10),
            first_contacts: 10,
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Outcome {
    /// `None` where the words that would say so are missing from the capture.
    failed: Option<bool>,
    messages: u64,
    /// The client greeted nobody and sent nothing: a test of the connection, not a delivery.
    probe: bool,
}

#[derive(Serialize, Deserialize)]
struct Session {
    ts: Timestamp,
    network: IpAddr,
    remote: IpAddr,
    messages: u64,
    flow: FlowId,
    packets: Vec<PacketId>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    sessions: VecDeque<Session>,
    contacted: BTreeSet<IpAddr>,
    contacts: u64,
    failures: u64,
    /// Servers of whose word nothing was seen that says whether it took anything.
    unheard: BTreeSet<IpAddr>,
    nats: f64,
    /// Outcomes of sessions whose flow has not closed yet.
    pending: BTreeMap<FlowId, Outcome>,
    helos: BTreeSet<String>,
    senders: VecDeque<(Timestamp, String)>,
    #[serde(with = "crate::words")]
    oddities: BTreeSet<Word>,
    messages: u64,
    encrypted: u64,
    recipients: u64,
    codes: BTreeMap<u16, u64>,
    reported: (usize, u32, u32),
    first_message: Option<Timestamp>,
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

/// The network that stands for an operator: /24, or /48 for IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 80 << 80).to_be_bytes()),
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Mail)],
        needs: &[Traffic::Tcp],
        excuses: &[Excuse::Role(MAIL, 0.2)],
        finding: Some(Shows {
            kind: "spam source",
            // Who knocks at many mail servers and hands over nothing is none; what STARTTLS hides may be mail.
            by: |e| e.key == "volume" && e.count("messages") + e.count("encrypted_sessions") > 0,
            unless: MAIL,
        }),
        capability: Some("spam"),
        ..About::new(
            Stage::Act,
            &["T1071.003", "T1496.002"],
            &[
                GradeWorth::base("volume", 9.0).key("volume"),
                GradeWorth::add("rate", 4.0),
                GradeWorth::add("dialect_oddity", 1.7).most(6.5),
                GradeWorth::base("failed_first_contacts_db", 1.0).key("outcomes").most(17.0),
            ],
        )
    };

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        match record {
            Record::Smtp(s) => {
                if let Some(host) = context.outbound().filter(|_| !s.auth) {
                    learn(states.of(host, context.now), s);
                }
            }
            Record::Conn(c) if c.phase == ConnPhase::Closed && c.head.tuple.transport == Transport::Tcp => {
                let smtp = c.head.tuple.resp.port == 25
                    || (c.service == Service::Smtp && !matches!(c.head.tuple.resp.port, 465 | 587));
                // Another protocol on port 25 is no mail; what was never answered may be.
                let mail = smtp && (c.service == Service::Smtp || !c.service.is_recognised());
                // Of what one side alone was seen nobody knows whether it was refused.
                let known = mail && c.start_seen && !c.is_one_sided();
                let Some(host) = context.outbound().filter(|_| known) else { return };
                let (state, card) = states.open(host, context.now);
                session(state, c);
                // What the host is for is not known where most of what is said to it is not seen.
                if card.known.is_blind() {
                    return;
                }
                judge(&self.settings, host, state, c.head.ts, context);
            }
            _ => {}
        }
    }

    fn totals(e: &mut Evidence, state: &Host) {
        let exchangers: BTreeSet<IpAddr> = state.sessions.iter().map(|s| s.remote).collect();
        let networks: BTreeSet<IpAddr> = state.sessions.iter().map(|s| s.network).collect();
        for (fact, total) in [
            ("messages", state.messages),
            ("encrypted_sessions", state.encrypted),
            ("recipients", state.recipients),
            ("exchangers", exchangers.len() as u64),
            ("networks", networks.len() as u64),
            ("first_contacts", state.contacts),
            ("failures", state.failures),
        ] {
            e.count_up(fact, total);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let n = |fact: &str| human_count(e.count(fact));
        if e.key == "outcomes" {
            let (failures, first) = (n("failures"), n("first_contacts"));
            return format!("{failures} of the first {first} mail servers refused it at first contact");
        }
        let (exchangers, networks) = (n("exchangers"), n("networks"));
        if e.count("messages") == 0 {
            return format!(
                "tried {exchangers} mail servers in {networks} networks, and no message was seen in clear"
            );
        }
        let odd = match e.list("oddities") {
            [] => String::new(),
            odd => format!(" ({})", odd.join(", ").replace('_', " ")),
        };
        let (messages, recipients) = (n("messages"), n("recipients"));
        format!(
            "sent at least {messages} messages to {recipients} recipients by {exchangers} mail servers in {networks} networks{odd}"
        )
    }
}

fn learn(state: &mut Host, s: &Smtp) {
    let refused = s.accepted_count == 0 && (s.rejects > 0 || s.banner_code.is_some_and(|c| c >= 400));
    // The words that would say it was accepted may be those that are missing.
    let failed = (s.accepted_count > 0 || !s.missing[1]).then_some(refused);
    let probe =
        s.mail_count == 0 && !s.starttls_used && !s.missing[0] && s.banner_code.is_some_and(|c| c < 400);
    state.pending.insert(
        s.head.flow,
        Outcome { failed, messages: u64::from(s.accepted_count.max(s.data_count)), probe },
    );
    if state.pending.len() > 256 {
        state.pending.pop_first();
    }
    state.messages += u64::from(s.data_count);
    state.encrypted += u64::from(s.starttls_used);
    state.recipients += u64::from(s.rcpt_count);
    if let Some(code) = s.last_code {
        *state.codes.entry(code).or_default() += 1;
    }
    if let Some(t) = s.first_data_at {
        state.first_message = Some(state.first_message.map_or(t, |f| f.min(t)));
    }
    // How it speaks is known where all its words were seen, from the greeting on.
    if s.data_count == 0 || s.missing[0] || s.banner_code.is_none() {
        return;
    }
    let mut odd = |name, holds: bool| {
        if holds {
            state.oddities.insert(name);
        }
    };
    let helo = s.helo.clone().unwrap_or_default();
    odd("helo_no_name", !helo.contains('.') && !helo.starts_with('['));
    odd("helo_where_ehlo_offered", s.esmtp_offered && s.hello == SmtpCommandForm::Helo);
    odd("no_quit", !s.quit);
    odd("starttls_ignored", s.starttls_offered && !s.starttls_used);
    if state.helos.len() < 64 {
        state.helos.insert(helo);
    }
    odd("helo_changes", state.helos.len() > 1);
    for domain in &s.sender_domains {
        state.senders.push_back((s.head.ts, domain.clone()));
    }
    state.senders.retain(|(t, _)| s.head.ts.since(*t) <= Duration::from_hours(1));
    while state.senders.len() > 1024 {
        state.senders.pop_front();
    }
    let senders: BTreeSet<&str> = state.senders.iter().map(|(_, d)| d.as_str()).collect();
    if senders.len() >= 5 {
        state.oddities.insert("many_senders");
    }
}

/// Bytes that a client says at least to deliver a message: hello, sender, recipient, data, a dot (RFC 5321).
const SHORTEST: u64 = 60;

fn session(state: &mut Host, c: &Conn) {
    let remote = c.head.tuple.resp.ip;
    let outcome = state.pending.remove(&c.head.flow);
    if outcome.is_some_and(|o| o.probe) {
        return;
    }
    // Of a flow in a log without words: who said less than the shortest message delivered none.
    if outcome.is_none() && c.head.flow.is_named() && (1..SHORTEST).contains(&c.bytes[0]) {
        return;
    }
    let failed = outcome.map_or_else(|| c.failed(), |o| o.failed);
    if failed.is_none() && !state.contacted.contains(&remote) && state.unheard.len() < MAX_CONTACTS {
        state.unheard.insert(remote);
    }
    if let Some(failed) = failed
        && state.contacted.len() < MAX_CONTACTS
        && state.contacted.insert(remote)
    {
        state.unheard.remove(&remote);
        state.contacts += 1;
        state.failures += u64::from(failed);
        // The test has a floor: good deliveries long ago do not pay for failures now.
        state.nats = (state.nats + if failed { FAILURE_NATS } else { SUCCESS_NATS }).max(0.0);
    }
    state.sessions.push_back(Session {
        ts: c.head.ts,
        network: network(remote),
        remote,
        messages: outcome.map_or(0, |o| o.messages),
        flow: c.head.flow,
        packets: c.key_packets.to_vec(),
    });
    if state.sessions.len() > MAX_SESSIONS {
        state.sessions.pop_front();
    }
}

fn judge(settings: &Settings, host: IpAddr, state: &mut Host, now: Timestamp, context: &mut Context<'_>) {
    // Consent is longer than refusal: where of most servers the answer is cut, those that were heard say nothing of the rest.
    if state.unheard.len() as u64 > state.contacts {
        return;
    }
    let recent: Vec<&Session> =
        state.sessions.iter().filter(|s| now.since(s.ts) <= settings.window && s.ts <= now).collect();
    let networks: BTreeSet<IpAddr> = recent.iter().map(|s| s.network).collect();
    if recent.len() <= settings.connections {
        context.near(
            host,
            recent.len() as f64,
            settings.connections as f64 + 1.0,
            "SMTP connections in 15 min",
        );
        return;
    }
    if networks.len() < settings.networks {
        context.near(
            host,
            networks.len() as f64,
            settings.networks as f64,
            "networks with mail servers contacted",
        );
        return;
    }
    let minutes = settings.rate_window.as_secs() / 60;
    let rate: u64 =
        recent.iter().filter(|s| now.since(s.ts) <= settings.rate_window).map(|s| s.messages).sum();
    let mut volume = vec![("volume", 1)];
    if rate >= settings.messages_per_minute * minutes {
        volume.push(("rate", 1));
    }
    if !state.oddities.is_empty() {
        volume.push(("dialect_oddity", state.oddities.len() as u32));
    }
    let payoff = (state.nats * DECIBANS_PER_NAT).round() as u32;
    let judged = state.contacts >= settings.first_contacts;
    // Told anew when there is more to tell.
    let reported = (volume.len() + state.oddities.len(), payoff.min(17), state.sessions.len().max(1).ilog2());
    if reported.0 <= state.reported.0 && reported.1 <= state.reported.1 && reported.2 <= state.reported.2 {
        return;
    }
    state.reported = reported;
    let packets: Vec<PacketId> = recent.iter().filter_map(|s| s.packets.first().copied()).collect();
    let flows: Vec<FlowId> = recent.iter().map(|s| s.flow).collect();
    let exchangers: BTreeSet<IpAddr> = state.sessions.iter().map(|s| s.remote).collect();
    let codes: Vec<String> = state.codes.iter().map(|(code, n)| format!("{code}×{n}")).collect();
    // The run begins with its first message; what failed before may have been a test.
    let started = recent.iter().find(|s| s.messages > 0).map_or(recent[0].ts, |s| s.ts);
    let facts = |state: &Host| {
        vec![
            ("messages", state.messages.into()),
            ("encrypted_sessions", state.encrypted.into()),
            ("recipients", state.recipients.into()),
            ("exchangers", exchangers.len().into()),
            ("networks", networks.len().into()),
            ("last_codes", codes.clone().into()),
            ("first_contacts", state.contacts.into()),
            ("failures", state.failures.into()),
            ("oddities", state.oddities.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>().into()),
        ]
    };
    context.fire(Fire {
        host,
        key: "volume".into(),
        grades: volume,
        started,
        value: recent.len() as f64,
        threshold: settings.connections as f64 + 1.0,
        unit: "SMTP connections in 15 min",
        source: "assumed",
        packets: packets.clone(),
        flows: flows.clone(),
        remotes: vec![],
        facts: facts(state),
    });
    if judged && payoff > 0 {
        context.fire(Fire {
            host,
            key: "outcomes".into(),
            grades: vec![("failed_first_contacts_db", payoff)],
            started,
            value: state.nats,
            threshold: 0.0,
            unit: "nats of the sequential test",
            source: "SPRT, failure 0.05 against 0.35",
            packets,
            flows,
            remotes: vec![],
            facts: facts(state),
        });
    }
}

crate::held!(Outcome);
crate::held!(Session: packets);
crate::held!(Host: sessions, contacted, unheard, pending, helos, senders, oddities, codes);

impl HostState for Host {
    fn turn_day(&mut self) {
        // What it sent is counted by the day.
        self.reported = (0, 0, 0);
        (self.contacts, self.failures, self.nats) = (0, 0, 0.0);
        (self.messages, self.encrypted, self.recipients) = (0, 0, 0);
        self.codes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::ConnState;

    fn bench() -> Bench {
        Bench::new("spam_run", Watcher::new(Settings::default()))
    }

    fn deliver(b: &mut Bench, i: u32, t: f64, change: impl Fn(&mut Smtp)) {
        let remote = format!("198.51.{}.7", i % 256);
        let mut s = smtp(t, &remote);
        change(&mut s);
        let mut c = conn(t, Transport::Tcp, &remote, 25);
        c.service = Service::Smtp;
        c.head.flow = s.head.flow;
        b.feed(Record::Smtp(Box::new(s)), t + 1.0);
        b.feed(record(c), t + 1.0);
    }

    #[test]
    fn sixteen_connections_fire_and_fifteen_do_not() {
        let mut b = bench();
        for i in 0..15 {
            deliver(&mut b, i, 10.0 * f64::from(i), |_| ());
        }
        assert!(b.evidence.is_empty());
        deliver(&mut b, 15, 150.0, |_| ());
        assert_eq!(b.grades(), ["volume"]);
    }

    #[test]
    fn a_few_networks_are_not_enough() {
        let mut b = bench();
        for i in 0..60 {
            deliver(&mut b, i % 9, 10.0 * f64::from(i), |_| ());
        }
        assert!(b.evidence.is_empty());
        assert!(b.near().iter().any(|n| n.value == 9.0));
    }

    #[test]
    fn failures_oddities_and_rate_speak() {
        let mut b = bench();
        for i in 0..80 {
            deliver(&mut b, i, 5.0 * f64::from(i), |s| {
                s.helo = Some(format!("h{i}"));
                s.quit = false;
                if i % 3 == 0 {
                    (s.accepted_count, s.rejects, s.last_code) = (0, 1, Some(550));
                }
            });
        }
        let has = |name: &str| b.evidence.iter().any(|e| e.grades.iter().any(|g| g.name == name));
        assert!(has("rate") && has("dialect_oddity") && has("failed_first_contacts_db"));
        let best = b
            .evidence
            .iter()
            .flat_map(|e| &e.grades)
            .filter(|g| g.name == "failed_first_contacts_db")
            .map(|g| g.times)
            .max();
        assert!(best.unwrap() >= 17);
    }

    #[test]
    fn another_protocol_on_port_25_is_no_mail() {
        let mut b = bench();
        for i in 0..40 {
            let t = 10.0 * f64::from(i);
            let mut c = conn(t, Transport::Tcp, &format!("198.51.{i}.7"), 25);
            c.service = Service::Stratum;
            b.feed(record(c), t);
        }
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn a_sender_that_is_welcome_shows_volume_only() {
        let mut b = bench();
        for i in 0..40 {
            deliver(&mut b, i, 20.0 * f64::from(i), |_| ());
        }
        assert!(b.evidence.iter().all(|e| e.key == "volume" && e.grades.len() == 1));
        assert!(!b.evidence.is_empty());
    }

    #[test]
    fn submission_with_a_login_is_not_it() {
        let mut b = bench();
        for i in 0..40 {
            let t = 10.0 * f64::from(i);
            let mut c = conn(t, Transport::Tcp, &format!("198.51.{i}.7"), 587);
            c.service = Service::Smtp;
            b.feed(record(c), t);
        }
        let mut blocked = conn(900.0, Transport::Tcp, REMOTE, 25);
        blocked.state = ConnState::S0;
        b.feed(record(blocked), 960.0);
        assert!(b.evidence.is_empty());
    }
}
