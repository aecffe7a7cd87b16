//! ## What it sees
//! A host tries several times to reach one mail server on TCP port 25 and sends no mail there, or calls on the mail services of several providers one after the other and leaves each once it answered.
//!
//! ## Why it matters
//! A spam bot first finds out whether its host may talk to mail servers at all; one that may not is not used to send
//! (ATT&CK T1016.001, Internet Connection Discovery). Whether the port was open is kept: if it was not, the absence of
//! spam is expected and speaks for nobody.
//!
//! ## How it decides
//! An attempt is a new source port and initial sequence number; retransmitted SYNs are none, nor is a connection of which the capture lacks
//! a side or words; and nothing is said of a host with most of whose partners that is so. Within 600 s: at least 3
//! attempts to one target (address or name), at most 120 s apart, none of which reached DATA, each with at most 200
//! client bytes. More weight if the name was resolved by an address question with no MX question in the 600 s before (a
//! mail server asks for MX first), and more if the name is one that bots are known to try. One attempt of three
//! SYNs without an answer is the weaker variant: that is how old Windows retries by itself. Two attempts are enough
//! (*hung_up*) where the server answered and the host ended each connection without a single byte: only who asks whether
//! the port is open does that. *several_services*: within the same window the host called on mail services (TCP 25, 110, 143, 465, 587, 993, 995, 2525) of at least 5
//! registrable domains, each known by the name that was asked for, without asking for MX, and left each with at most 200 bytes of its own: a bot that goes through a list of providers until one lets it.
//!
//! ## What else looks like this
//! Monitors (strictly periodic, for days: discounted), retry queues of mail servers (their role is discounted), a blocked
//! port 25, test scripts. A mail program that looks for its settings calls on several names of one domain; who has accounts with five providers says more than a greeting to each.
//! A program that moves mailboxes, or checks many providers' servers, from a desk.
//!
//! ## Blind spots
//! A bot that tests through its provider's submission port, or against a server of its own on another port.
//!
//! ## Options
//! `attempts` (3), `hung_up` (2), `services` (5), `window` (10m), `longest_gap` (2m), `client_bytes` (200).
//!
//! ## References
//! Unit 42, "Answers to Unit 42 Wireshark Quiz, February 2023" (Qakbot, "Follow-up Spambot Activity"); R. Balupari, McAfee Avert Labs, "Mailbot.f a.k.a. Kraken gets stealthier" (2008); ATT&CK T1016.001.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    ConnPhase, ConnState, Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, Transport, defang,
    tally,
};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Card, Context, Excuse, Fire, GradeWorth, Honest, HostState, MAIL, States,
    Traffic, domains,
};

/// Packets of a client that greets and takes its leave: SYN, ACK, HELO, ACK, QUIT, FIN, ACK (RFC 5321 asks for a reply to each word).
const GREETING: u64 = 7;

/// Attempts remembered of one host.
const MAX_ATTEMPTS: usize = 64;
const STUDY: &str = "field study 2008: three tries";

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Attempts to one target, ≥ 2. The study saw 3.
    pub attempts: usize,
    /// Attempts at one target that the host ended without a word, ≥ 1 (*assumed*).
    pub hung_up: usize,
    /// Providers whose mail services were called on and left, ≥ 2 (*assumed*).
    pub services: usize,
    /// The window that they lie in (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The longest time between two (*assumed*).
    #[serde(with = "humantime_serde")]
    pub longest_gap: Duration,
    /// Client bytes of one attempt, at most: HELO and QUIT, not a message (*assumed*).
    pub client_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 3,
            hung_up: 2,
            services: 5,
            window: Duration::from_mins(10),
            longest_gap: Duration::from_mins(2),
            client_bytes: 200,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Attempt {
    ts: Timestamp,
    remote: IpAddr,
    name: Option<String>,
    answered: bool,
    banner: bool,
    /// Whether the host ended it without a word.
    hung_up: bool,
    flow: FlowId,
    packets: Vec<PacketId>,
}

/// A provider whose mail service was called on and left.
#[derive(Serialize, Deserialize)]
struct Call {
    ts: Timestamp,
    domain: String,
    remote: IpAddr,
    flow: FlowId,
    packet: PacketId,
}

/// Ports of mail services, those of submission and collection among them (RFC 8314; 2525 is many providers' second one).
const SERVICES: [u16; 8] = [25, 110, 143, 465, 587, 993, 995, 2525];
/// Providers remembered of one host.
const MAX_CALLS: usize = 16;

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    calls: VecDeque<Call>,
    attempts: VecDeque<Attempt>,
    /// Flows in which message text flowed: these are no probes.
    delivered: BTreeSet<FlowId>,
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
        alike: &[Alike::to(Honest::Mail), Alike::to(Honest::Monitor), Alike::to(Honest::Administration)],
        needs: &[Traffic::Mail],
        excuses: &[Excuse::Role(MAIL, 0.2), Excuse::Role(&[Role::Monitor], 0.2)],
        ..About::new(
            Stage::Probe,
            &["T1016.001"],
            &[
                GradeWorth::base("attempts", 11.0),
                GradeWorth::add("no_mx_question", 6.0),
                GradeWorth::add("known_target", 9.0),
                GradeWorth::base("hung_up", 7.0),
                GradeWorth::base("three_syns", 3.5),
                GradeWorth::base("several_services", 9.0),
            ],
        )
    };

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        match record {
            Record::Smtp(smtp) if smtp.data_count > 0 || smtp.first_data_at.is_some() => {
                if let Some(host) = context.outbound() {
                    let delivered = &mut states.of(host, context.now).delivered;
                    delivered.insert(smtp.head.flow);
                    if delivered.len() > MAX_ATTEMPTS {
                        delivered.pop_first();
                    }
                }
            }
            Record::Conn(c)
                if c.phase == ConnPhase::Closed
                    && c.head.tuple.transport == Transport::Tcp
                    && SERVICES.contains(&c.head.tuple.resp.port)
                    && c.start_seen
                    && !c.is_one_sided()
                    && c.missed_bytes == [0, 0] =>
            {
                let Some(host) = context.outbound() else { return };
                self.call(host, c, states, context);
                if c.head.tuple.resp.port != 25 {
                    return;
                }
                // What servers answered this host is not in the capture: nobody can tell a try from a delivery.
                let (state, card) = states.open(host, context.now);
                if card.known.is_blind() {
                    return;
                }
                if state.delivered.remove(&c.head.flow) || c.bytes[0] > self.settings.client_bytes {
                    return;
                }
                if says_more(c) {
                    return;
                }
                let remote = c.head.tuple.resp.ip;
                if c.syn_retransmits >= 2 && c.state == ConnState::S0 {
                    three_syns(host, c, context);
                }
                state.attempts.push_back(Attempt {
                    ts: c.head.ts,
                    remote,
                    name: context.network.name_of(remote, context.now).map(str::to_owned),
                    answered: c.failed() == Some(false),
                    banner: c.bytes[1] > 0,
                    hung_up: hung_up(c),
                    flow: c.head.flow,
                    packets: c.key_packets.to_vec(),
                });
                if state.attempts.len() > MAX_ATTEMPTS {
                    state.attempts.pop_front();
                }
                // Flows close out of order; attempts are judged by when they began.
                state.attempts.make_contiguous().sort_by_key(|a| a.ts);
                judge(&self.settings, host, (state, card), remote, context);
            }
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        let target = defang(e.text("target"));
        if e.has("three_syns") {
            return format!("tried port 25 of {target} once: {} SYNs, no answer", tally(e.value));
        }
        if e.has("several_services") {
            return format!(
                "called on the mail services of {} providers and left each once it answered",
                tally(e.value)
            );
        }
        let asked = if e.has("no_mx_question") { "; never asked for MX" } else { "" };
        let port = if e.flag("smtp_open") { "open" } else { "closed" };
        format!(
            "tried port 25 of {target} {} and sent no mail{asked}; the port is {port}",
            if e.value == 2.0 { "twice".to_owned() } else { format!("{} times", tally(e.value)) }
        )
    }
}

impl Watcher {
    /// Notes that a provider's mail service was called on and left, and tells when there were enough.
    fn call(&self, host: IpAddr, c: &record::Conn, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Settings { services, window, client_bytes, .. } = self.settings;
        let remote = c.head.tuple.resp.ip;
        // Who was not answered may have tried again elsewhere because of that.
        if c.bytes[0] > client_bytes || c.failed() != Some(false) || says_more(c) {
            return;
        }
        let Some(name) = context.network.name_of(remote, context.now) else { return };
        let Some(domain) = domains::registrable(name) else { return };
        let (state, card) = states.open(host, context.now);
        if card.known.is_blind() || card.known.asked_mx(c.head.ts, window) {
            return;
        }
        state.calls.retain(|call| call.domain != domain && c.head.ts.since(call.ts) <= window);
        if state.calls.len() >= MAX_CALLS.max(services) {
            state.calls.pop_front();
        }
        let packet = c.key_packets.first().copied().unwrap_or_default();
        let (ts, flow) = (c.head.ts, c.head.flow);
        state.calls.push_back(Call { ts, domain: domain.to_owned(), remote, flow, packet });
        let seen = state.calls.len();
        if seen < services {
            if seen > 1 {
                context.near(host, seen as f64, services as f64, "mail services called on and left");
            }
            return;
        }
        let providers: Vec<String> = state.calls.iter().map(|call| call.domain.clone()).collect();
        context.fire(Fire {
            host,
            key: "services".into(),
            grades: vec![("several_services", 1)],
            started: state.calls.iter().map(|call| call.ts).min().unwrap_or(ts),
            value: seen as f64,
            threshold: services as f64,
            unit: "providers of mail",
            source: "assumed",
            packets: state.calls.iter().map(|call| call.packet).collect(),
            flows: state.calls.iter().map(|call| call.flow).collect(),
            remotes: state.calls.iter().map(|call| call.remote).collect(),
            facts: vec![("providers", providers.into())],
        });
    }
}

/// Where its words are not told, who sends more packets than a greeting takes may have been refused a message.
fn says_more(c: &record::Conn) -> bool {
    c.head.flow.is_named() && c.packets[0] > GREETING
}

/// Whether the originator of an established connection ended it before anybody, without a byte.
fn hung_up(c: &record::Conn) -> bool {
    let ends = c.history.as_str().find(['F', 'f', 'R', 'r']);
    let first = ends.and_then(|at| c.history.as_str()[at..].chars().next());
    c.bytes[0] == 0 && c.failed() == Some(false) && matches!(first, Some('F' | 'R'))
}

fn three_syns(host: IpAddr, c: &record::Conn, context: &mut Context<'_>) {
    context.fire(Fire {
        host,
        key: "probe".into(),
        grades: vec![("three_syns", 1)],
        started: c.head.ts,
        value: f64::from(c.syn_retransmits) + 1.0,
        threshold: 3.0,
        unit: "SYNs of one attempt",
        source: "retry default of old Windows",
        packets: c.key_packets.to_vec(),
        flows: vec![c.head.flow],
        remotes: vec![c.head.tuple.resp.ip],
        facts: vec![("target", c.head.tuple.resp.ip.to_string().into()), ("smtp_open", false.into())],
    });
}

fn judge(
    settings: &Settings,
    host: IpAddr,
    (state, card): (&Host, &Card),
    remote: IpAddr,
    context: &mut Context<'_>,
) {
    let name = state.attempts.iter().rev().find(|a| a.remote == remote).and_then(|a| a.name.clone());
    let same = |a: &&Attempt| a.remote == remote || (name.is_some() && a.name == name);
    // The latest run of attempts that are close enough together.
    let mut run: Vec<&Attempt> = Vec::new();
    for attempt in state.attempts.iter().filter(same) {
        if run.last().is_some_and(|last| attempt.ts.since(last.ts) > settings.longest_gap) {
            run.clear();
        }
        run.push(attempt);
    }
    let end = run.last().map_or(context.now, |a| a.ts);
    run.retain(|a| end.since(a.ts) <= settings.window);
    let silent = run.iter().filter(|a| a.hung_up).count();
    if run.len() < settings.attempts && (silent < settings.hung_up || silent < run.len()) {
        context.near(host, run.len() as f64, settings.attempts as f64, "attempts");
        return;
    }
    let started = run[0].ts;
    let enough = run.len() >= settings.attempts;
    let mut grades = vec![(if enough { "attempts" } else { "hung_up" }, 1)];
    if name.is_some() && !card.known.asked_mx(started, settings.window) {
        grades.push(("no_mx_question", 1));
    }
    if name.as_deref().is_some_and(domains::is_probe_target) {
        grades.push(("known_target", 1));
    }
    let open = run.iter().any(|a| a.answered);
    let target = name.clone().unwrap_or_else(|| remote.to_string());
    let gaps: Vec<String> =
        run.windows(2).map(|w| format!("{:.0}", w[1].ts.since(w[0].ts).as_secs_f64())).collect();
    context.fire(Fire {
        host,
        key: "probe".into(),
        grades,
        started,
        value: run.len() as f64,
        threshold: if enough { settings.attempts } else { settings.hung_up } as f64,
        unit: "attempts",
        source: if enough { STUDY } else { "assumed" },
        packets: run.iter().filter_map(|a| a.packets.first().copied()).collect(),
        flows: run.iter().map(|a| a.flow).collect(),
        remotes: vec![remote],
        facts: vec![
            ("target", target.into()),
            ("smtp_open", open.into()),
            ("banner_seen", run.iter().any(|a| a.banner).into()),
            ("gaps_s", gaps.into()),
        ],
    });
}

crate::held!(Attempt: name, packets);
crate::held!(Call: domain);
crate::held!(Host: calls, attempts, delivered);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::Dns;

    fn bench() -> Bench {
        Bench::new("smtp_probe", Watcher::new(Settings::default()))
    }

    fn attempt(b: &mut Bench, secs: f64, bytes: u64) {
        let mut c = conn(secs, Transport::Tcp, REMOTE, 25);
        c.bytes = [bytes, 60];
        b.feed(record(c), secs + 1.0);
    }

    #[test]
    fn three_tries_fire_and_two_do_not() {
        let mut b = bench();
        attempt(&mut b, 10.0, 6);
        attempt(&mut b, 30.0, 200);
        assert!(b.evidence.is_empty());
        assert_eq!(b.near().first().unwrap().value, 2.0);
        attempt(&mut b, 50.0, 0);
        assert_eq!(b.grades(), ["attempts"]);
    }

    #[test]
    fn a_name_without_mx_question_and_a_known_one_count_more() {
        let mut b = bench();
        b.feed(dns(1.0, "mx.google.com", Dns::A, 0, Some(REMOTE)), 1.0);
        for t in [10.0, 20.0, 30.0] {
            attempt(&mut b, t, 0);
        }
        assert_eq!(b.grades(), ["attempts", "no_mx_question", "known_target"]);
        let mut b = bench();
        b.feed(dns(1.0, "example.com", Dns::MX, 0, None), 1.0);
        b.feed(dns(2.0, "mx.example.com", Dns::A, 0, Some(REMOTE)), 2.0);
        for t in [10.0, 20.0, 30.0] {
            attempt(&mut b, t, 0);
        }
        assert_eq!(b.grades(), ["attempts"], "a mail server asks for MX first");
    }

    #[test]
    fn the_edges() {
        let mut far = bench();
        for t in [10.0, 130.0, 251.0] {
            attempt(&mut far, t, 0);
        }
        assert!(far.evidence.is_empty(), "121 s apart");
        let mut near = bench();
        for t in [10.0, 130.0, 250.0] {
            attempt(&mut near, t, 0);
        }
        assert_eq!(near.evidence.len(), 1, "120 s apart");
        let mut wordy = bench();
        for t in [10.0, 20.0, 30.0] {
            attempt(&mut wordy, t, 201);
        }
        assert!(wordy.evidence.is_empty(), "201 client bytes");
    }

    #[test]
    fn a_delivery_is_no_probe_and_neither_is_a_flow_from_the_middle() {
        let mut b = bench();
        for t in [10.0, 20.0, 30.0] {
            let mut delivered = smtp(t, REMOTE);
            delivered.head.flow = conn(t, Transport::Tcp, REMOTE, 25).head.flow;
            b.feed(Record::Smtp(Box::new(delivered)), t);
            attempt(&mut b, t, 100);
        }
        for t in [40.0, 50.0, 60.0] {
            let mut c = conn(t, Transport::Tcp, REMOTE, 25);
            c.start_seen = false;
            b.feed(record(c), t);
        }
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn two_calls_without_a_word_are_enough() {
        let call = |b: &mut Bench, t: f64, history: &str| {
            let mut c = conn(t, Transport::Tcp, REMOTE, 25);
            (c.bytes, c.history) = ([0, 43], record::History::default());
            history.bytes().for_each(|l| c.history.push(l));
            b.feed(record(c), t + 1.0);
        };
        let mut b = bench();
        call(&mut b, 10.0, "ShAFdfR");
        assert!(b.evidence.is_empty());
        call(&mut b, 60.0, "ShAFdfR");
        assert_eq!(b.grades(), ["hung_up"]);
        call(&mut b, 80.0, "ShAFdfR");
        assert_eq!(b.grades(), ["attempts"], "three are three");
        let mut shown_out = bench();
        call(&mut shown_out, 10.0, "ShAdfFR");
        call(&mut shown_out, 60.0, "ShAdfFR");
        assert!(shown_out.evidence.is_empty(), "the server ended it");
    }

    #[test]
    fn a_walk_over_providers() {
        let walk = |domains: usize, bytes: u64, gap: f64| {
            let mut b = bench();
            for n in 0..domains {
                let t = 10.0 + gap * n as f64;
                let remote = format!("198.51.100.{}", n + 1);
                b.feed(dns(t, &format!("smtp.provider{n}.com"), Dns::A, 0, Some(&remote)), t);
                let mut c = conn(t + 0.1, Transport::Tcp, &remote, [587, 110, 465, 25, 2525][n % 5]);
                c.bytes = [bytes, 40];
                b.feed(record(c), t + 1.0);
            }
            b.grades()
        };
        assert_eq!(walk(5, 6, 20.0), ["several_services"]);
        assert!(walk(4, 6, 20.0).is_empty(), "four");
        assert!(walk(5, 201, 20.0).is_empty(), "said something");
        assert!(walk(5, 6, 160.0).is_empty(), "over more than ten minutes");
        let mut one = bench();
        for n in 0..8 {
            let t = 10.0 + 5.0 * f64::from(n);
            let remote = format!("198.51.100.{}", n + 1);
            one.feed(dns(t, &format!("mail{n}.example.com"), Dns::A, 0, Some(&remote)), t);
            let mut c = conn(t + 0.1, Transport::Tcp, &remote, 587);
            c.bytes = [6, 40];
            one.feed(record(c), t + 1.0);
        }
        assert!(one.evidence.is_empty(), "one domain: a mail program that looks for its settings");
    }

    #[test]
    fn three_syns_of_one_attempt_are_the_weaker_variant() {
        let mut b = bench();
        let mut c = conn(10.0, Transport::Tcp, REMOTE, 25);
        (c.state, c.syn_retransmits, c.packets) = (ConnState::S0, 2, [3, 0]);
        b.feed(record(c.clone()), 70.0);
        assert_eq!(b.grades(), ["three_syns"]);
        let mut b = bench();
        c.syn_retransmits = 1;
        b.feed(record(c), 70.0);
        assert!(b.evidence.is_empty());
    }
}
