//! ## What it sees
//! A host opens connections to one remote in a protocol that nobody knows, again and again with the same first words; or a
//! command shell looks out of a connection.
//!
//! ## Why it matters
//! Remote-control tools speak protocols of their own over TCP (ATT&CK T1095). The words are encrypted or packed and change
//! with each version; but a client that calls home says the same at the start of each call, in length if not in bytes.
//!
//! ## How it decides
//! *same_words*: at least 3 TCP connections within an hour to one address and port elsewhere, whose beginning was seen, in which the client
//! spoke first and in no known protocol, with first payloads of the same lengths, which fill no segment; what stands beside FTP with the same remote is files. *one_call*: a single such connection, whoever spoke first and with an
//! answer, to a dynamic-DNS name that this host asked for. *from_bringer*: a single such connection to who brought it a program within an hour before (`payload_download`, by whatever tool). *framed*: a single connection, whoever spoke first, in which both sides speak in messages that begin with their own length in four bytes, at least four messages of more than one length. *one_key*: a single connection in which both sides begin what they say, behind a length or at once, with the same bytes that look random, at least eight of the first sixteen in three messages or more, and go on as random: a cipher that begins anew with each message under one key. *shell*: the first payload of either side is the greeting of a Windows command
//! shell. *dead_remote*: at least 10 connections to one address and port, not 25, that were refused or not answered. Added: an address whose name was never asked for; a dynamic-DNS name; opaque first words; no word back to any of
//! them; beside that, first words that begin alike in all calls as under one key and are not packed (*keyed_words*) (for a single call none of what is added; for one whose messages begin in one way neither words nor silence); a port of the web or mail, whose protocol this is not; more than one such remote, whatever its ports (who is dead and who speaks are not alike), or the same said on one port to three addresses without a name within the day.
//!
//! ## What else looks like this
//! Games, file sharing, messengers (which frame their messages and know their servers by other ways than DNS), industrial protocols, databases: they are recognised by content where that is known (nothing is built on *same_words*, so that who sends much to one of them is not said to steal),
//! call by name, and hold one connection. A verified peer-to-peer application within the hour discounts it.
//!
//! ## Blind spots
//! One connection that is held (`held_line`); random padding of the first words; a known protocol around it.
//!
//! ## Options
//! `connections` (3), `refused` (10), `window` (1h).
//!
//! ## References
//! ATT&CK T1095, T1059.003; B. Rahbarinia et al., "PeerRush", DIMVA 2013; nDPI's custom-protocol risks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Direction, Evidence, FlowId, Framing, PacketId, Record, Role, SameStart, Service, Stage,
    Start, Timestamp, Transport, defang, tally,
};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Application, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States,
    Traffic, Wants,
};

/// Remotes remembered of one host.
const MAX_REMOTES: usize = 256;
/// Connections remembered of one remote.
const MAX_CALLS: usize = 32;
/// A payload of so many bytes fills a segment: its length is the network's, not its own (*assumed*: the smallest of IPv6 leaves 1,220).
const FULL: u32 = 1_200;
/// Addresses without a name to which the same is said that count as several (*assumed*).
const STRANGERS: usize = 3;
/// Ports whose protocols are known by content: what is unknown there hides (KRAKEN §5 and `port_imposter`).
const KNOWN_PORTS: [u16; 12] = [25, 53, 80, 110, 143, 443, 465, 587, 993, 995, 8080, 8443];
/// How a Windows command shell greets (all versions since NT 4).
const SHELL: &[u8] = b"Microsoft Windows";

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Connections with the same first words, ≥ 2 (*assumed*).
    pub connections: usize,
    /// Calls that were refused or not answered (*assumed*).
    pub refused: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connections: 3, refused: 10, window: Duration::from_hours(1) }
    }
}

#[derive(Serialize, Deserialize)]
struct Call {
    ts: Timestamp,
    words: [i32; 2],
    /// The first bytes, zero where there were fewer.
    start: [u8; SameStart::KEPT],
    opaque: bool,
    spoke: bool,
    answered: bool,
    refused: bool,
    flow: FlowId,
    packet: PacketId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    remotes: BTreeMap<(IpAddr, u16), VecDeque<Call>>,
    #[serde(with = "crate::words")]
    reported: BTreeMap<(IpAddr, u16), Vec<Word>>,
    fired: BTreeSet<(bool, IpAddr)>,
    /// Whose messages begin in one way, and whether with their lengths.
    framed: BTreeSet<(IpAddr, u16, bool)>,
    /// Addresses without a name to which the same was said on a port: in messages with their lengths in front, or in first words of these lengths.
    strangers: BTreeMap<(u16, [i32; 2]), BTreeSet<IpAddr>>,
}

impl Host {
    /// Notes to whom the same was said on a port; gives to how many.
    fn says_to(&mut self, stranger: IpAddr, port: u16, words: [i32; 2]) -> usize {
        let key = (port, words);
        if self.strangers.len() >= MAX_REMOTES && !self.strangers.contains_key(&key) {
            self.strangers.pop_first();
        }
        let known = self.strangers.entry(key).or_default();
        if known.len() < STRANGERS {
            known.insert(stranger);
        }
        known.len()
    }
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// The lengths of the first two payloads of the client before and after anything the server says.
fn words(c: &Conn) -> [i32; 2] {
    let mut own = c.first_lengths.iter().copied().filter(|l| *l > 0);
    [own.next().unwrap_or(0), own.next().unwrap_or(0)]
}

/// The first bytes that the client said.
fn start(c: &Conn) -> [u8; SameStart::KEPT] {
    let mut start = [0; SameStart::KEPT];
    if let Some(said) = &c.first_payload[Direction::Orig.index()] {
        start.iter_mut().zip(said.head()).for_each(|(slot, byte)| *slot = *byte);
    }
    start
}

/// Whether the first words of all calls begin alike as under one key.
fn is_under_one_key(calls: &[&Call]) -> bool {
    let Some((first, others)) = calls.split_first() else { return false };
    // They are of one length.
    let len = usize::try_from(first.words[0]).unwrap_or(0).min(SameStart::KEPT);
    let mut alike = SameStart::of(&first.start[..len]);
    !others.is_empty() && others.iter().all(|k| alike.compare(&first.start[..len], &k.start[..len]))
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn shell(host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let shows = |side: Direction| {
            c.first_payload[side.index()].as_ref().is_some_and(|p| p.head().starts_with(SHELL))
        };
        if !shows(Direction::Orig) && !shows(Direction::Resp) {
            return;
        }
        let remote = if c.head.tuple.orig.ip == host { c.head.tuple.resp } else { c.head.tuple.orig };
        context.fire(Fire {
            host,
            key: "shell".into(),
            grades: vec![("shell", 1)],
            started: c.head.ts,
            value: 1.0,
            threshold: 1.0,
            unit: "command shells in a connection",
            source: "assumed",
            packets: c.key_packets.to_vec(),
            flows: vec![c.head.flow],
            remotes: vec![remote.ip],
            facts: vec![("port", u64::from(c.head.tuple.resp.port).into())],
        });
    }

    /// A connection whose messages begin in one way: with their own length, or as under one key.
    fn framed(states: &mut States<'_, Host>, host: IpAddr, f: &Framing, context: &mut Context<'_>) {
        let end = (f.head.tuple.resp.ip, f.head.tuple.resp.port);
        let (state, card) = states.open(host, context.now);
        let (base, least, unit) = match f.start {
            Start::Length { .. } => {
                ("framed", Framing::LEAST, "messages that state their own length, in no known protocol")
            }
            Start::Cipher { .. } => {
                ("one_key", Framing::LEAST_CIPHERED, "messages that begin alike as under one key")
            }
        };
        if state.framed.len() >= MAX_REMOTES || !state.framed.insert((end.0, end.1, base == "framed")) {
            return;
        }
        let (name, dynamic) = context.network.called(host, end.0, context.now);
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        add(name.is_none(), "unnamed");
        add(dynamic, "dynamic_name");
        add(KNOWN_PORTS.contains(&end.1), "known_port");
        let framed = base == "framed";
        add(framed && name.is_none() && state.says_to(end.0, end.1, [0; 2]) >= STRANGERS, "several_remotes");
        let p2p = context.runs(card, Application::P2p);
        let messages = f.messages.iter().map(|n| u64::from(*n)).sum::<u64>();
        context.fire(Fire {
            host,
            key: base.into(),
            grades,
            started: f.head.ts,
            value: messages as f64,
            threshold: f64::from(least),
            unit,
            source: "assumed",
            packets: f.packets.clone(),
            flows: vec![f.head.flow],
            remotes: vec![end.0],
            facts: vec![
                ("port", u64::from(end.1).into()),
                match f.start {
                    Start::Length { before } => ("before_length", u64::from(before).into()),
                    Start::Cipher { same } => ("same_bytes", u64::from(same).into()),
                },
                ("name", name.unwrap_or_default().into()),
                ("application_within_hour", p2p.into()),
                ("prevalent", context.prevalent(end.0).into()),
            ],
        });
    }

    fn call(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let end = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
        let window = self.settings.window;
        let (state, card) = states.open(host, context.now);
        // What goes beside FTP are files.
        let dead = c.failed() == Some(true);
        if !dead && card.known.exchanges_files_with(end.0) {
            return;
        }
        if state.remotes.len() >= MAX_REMOTES && !state.remotes.contains_key(&end) {
            state.remotes.pop_first();
        }
        let (said, spoke) = (words(c), c.first_speaker == Some(Direction::Orig));
        let (name, dynamic) = context.network.called(host, end.0, context.now);
        let own_words = !dead && spoke && said.iter().all(|len| len.unsigned_abs() < FULL);
        let strangers = if own_words && name.is_none() { state.says_to(end.0, end.1, said) } else { 0 };
        let calls = state.remotes.entry(end).or_default();
        calls.push_back(Call {
            ts: c.head.ts,
            words: said,
            start: start(c),
            opaque: c.opaque_first(Direction::Orig),
            spoke,
            answered: c.bytes[1] > 0,
            refused: dead,
            flow: c.head.flow,
            packet: c.key_packets.first().copied().unwrap_or_default(),
        });
        calls.retain(|k| k.ts.0.abs_diff(c.head.ts.0) <= window.as_nanos() as u64);
        if calls.len() > MAX_CALLS {
            calls.pop_front();
        }
        let alike =
            |k: &&Call| if dead { k.refused } else { !k.refused && k.spoke == spoke && k.words == said };
        let same: Vec<&Call> = calls.iter().filter(alike).collect();
        let answered = c.bytes[0] > 0 && c.bytes[1] > 0;
        let brought = card.fired.brought(end.0, c.head.ts, window);
        let few = !spoke || same.len() < self.settings.connections;
        let (count, base, needed, unit) = if dead {
            (same.len(), "dead_remote", self.settings.refused, "calls of one remote that does not answer")
        } else if few && answered && brought {
            (same.len(), "from_bringer", 1, "connections in no known protocol")
        } else if few && answered && dynamic {
            (same.len(), "one_call", 1, "connections in no known protocol")
        } else if !own_words {
            return;
        } else {
            (same.len(), "same_words", self.settings.connections, "connections with the same first words")
        };
        if count < needed {
            context.near(host, count as f64, needed as f64, unit);
            return;
        }
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        add(name.is_none(), "unnamed");
        // A single call stands on whom it goes to already.
        let once = matches!(base, "one_call" | "from_bringer");
        add(!once && dynamic, "dynamic_name");
        add(!once && same.iter().filter(|k| k.opaque).count() * 2 > count, "opaque_words");
        let unanswered = !dead && same.iter().all(|k| !k.answered);
        // Who answers may have been shown a key for good, as resolvers are.
        add(base == "same_words" && unanswered && is_under_one_key(&same), "keyed_words");
        add(unanswered, "unanswered");
        add(!dead && KNOWN_PORTS.contains(&end.1), "known_port");
        // Two services of one machine are one remote, and who answers nothing is another kind than who speaks.
        let others = state.fired.iter().any(|(d, ip)| *d == dead && *ip != end.0);
        add(!once && (others || strangers >= STRANGERS), "several_remotes");
        let names: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        let p2p = context.runs(card, Application::P2p);
        let started = same.iter().map(|k| k.ts).min().unwrap_or(c.head.ts);
        let facts = vec![
            ("port", u64::from(end.1).into()),
            ("dead", dead.into()),
            ("first_lengths", said.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
            ("name", name.unwrap_or_default().into()),
            ("application_within_hour", p2p.into()),
            ("prevalent", context.prevalent(end.0).into()),
        ];
        let (packets, flows) = same.iter().map(|k| (k.packet, k.flow)).unzip();
        if !once && state.fired.len() < MAX_REMOTES {
            state.fired.insert((dead, end.0));
        }
        if state.reported.len() > MAX_REMOTES {
            state.reported.clear();
        }
        if state.reported.insert(end, names.clone()).is_some_and(|reported| reported == names) {
            return;
        }
        context.fire(Fire {
            host,
            // What one call began, more of them go on with.
            key: if dead || base == "from_bringer" { base } else { "same_words" }.into(),
            grades,
            started,
            value: count as f64,
            threshold: needed as f64,
            unit,
            source: "assumed",
            packets,
            flows,
            remotes: vec![end.0],
            facts,
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Calls).unless(&["shell", "dead_remote"]),
            Alike::to(Honest::Tunnel).unless(&["shell", "dead_remote"]),
            Alike::to(Honest::Device).unless(&["shell"]),
            Alike::to(Honest::FileSharing).unless(&["shell", "from_bringer"]),
            Alike::to(Honest::Monitor).unless(&["shell", "opaque_words"]),
            Alike::to(Honest::Administration).unless(&["dynamic_name"]),
            Alike::to(Honest::Mining).unless(&["shell"]),
        ],
        needs: &[Traffic::Tcp],
        control: true,
        excuses: &[
            Excuse::Fact("application_within_hour", "a P2P application ran within the hour", 0.3),
            // What it looks after is sometimes down.
            Excuse::Role(&[Role::Monitor], 0.2),
        ],
        ..About::new(
            Stage::Command,
            &["T1095", "T1059.003"],
            &[
                GradeWorth::base("same_words", 6.0).key("same_words").weak(),
                GradeWorth::base("one_call", 2.0).key("same_words").weak(),
                GradeWorth::base("from_bringer", 7.0).key("from_bringer"),
                GradeWorth::base("framed", 7.0).key("framed"),
                GradeWorth::base("one_key", 9.0).key("one_key"),
                GradeWorth::base("shell", 17.0).key("shell"),
                GradeWorth::base("dead_remote", 6.0).key("dead_remote").weak(),
                GradeWorth::add("known_port", 4.0),
                GradeWorth::add("several_remotes", 3.0),
                GradeWorth::add("unnamed", 2.0),
                GradeWorth::add("dynamic_name", 4.0),
                GradeWorth::add("opaque_words", 2.0),
                GradeWorth::add("keyed_words", 3.0),
                GradeWorth::add("unanswered", 3.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OTHER).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let c = match record {
            Record::Conn(c) => c,
            Record::Framing(f) => {
                if let Some(host) = context.outbound() {
                    Self::framed(states, host, f, context);
                }
                return;
            }
            _ => return,
        };
        if c.phase != ConnPhase::Closed || c.head.tuple.transport != Transport::Tcp {
            return;
        }
        let dead = c.failed() == Some(true) && c.head.tuple.resp.port != 25;
        if !dead && !matches!(c.service, Service::Opaque | Service::Unrecognised) {
            return;
        }
        let Some(host) = context.outbound() else { return };
        Self::shell(host, c, context);
        if dead || (c.start_seen && c.first_speaker.is_some() && c.tells_lengths()) {
            self.call(states, host, c, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let (remote, port) = (e.remote(), e.count("port"));
        if e.key == "shell" {
            format!("ran a Windows command shell over a connection with {remote}")
        } else if e.key == "framed" {
            format!(
                "spoke an unknown protocol with {remote} port {port}, in messages that begin with their own length"
            )
        } else if e.key == "one_key" {
            format!(
                "spoke an unknown protocol with {remote} port {port}, in which both sides begin each message with the same encrypted-looking bytes, as under one key that is used anew each time"
            )
        } else if e.flag("dead") {
            format!("made {} calls to {remote} port {port}, none of which was answered", tally(e.value))
        } else if e.has("from_bringer") {
            format!("spoke an unknown protocol with {remote} port {port}, which had brought it a program")
        } else if e.has("one_call") {
            let name = defang(e.text("name"));
            format!("called {name} ({remote}) port {port} in an unknown protocol")
        } else {
            let lengths = e.list("first_lengths").join(" + ");
            format!(
                "opened {} connections to {remote} port {port} in an unknown protocol, each with messages of the same first lengths ({lengths} bytes)",
                tally(e.value)
            )
        }
    }
}

crate::held!(Call);
crate::held!(Host: remotes, reported, fired, framed, strangers);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported.clear();
        self.framed.clear();
        self.strangers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn call(t: f64, bytes: &[u8], answered: bool) -> Conn {
        let mut c = conn(t, Transport::Tcp, REMOTE, 3396);
        c.service = Service::Opaque;
        c.first_payload[0] = payload(bytes);
        c.first_lengths[0] = bytes.len() as i32;
        c.first_speaker = Some(Direction::Orig);
        c.bytes = [bytes.len() as u64, if answered { 50 } else { 0 }];
        c
    }

    fn run(all: Vec<Record>) -> Vec<String> {
        let mut b = Bench::new("raw_control", Watcher::new(Settings::default()));
        for (i, r) in all.into_iter().enumerate() {
            b.feed(r, 5000.0 + i as f64);
        }
        b.grades()
    }

    fn calls(n: usize, gap: f64) -> Vec<Record> {
        (0..n).map(|i| record(call(1.0 + gap * i as f64, &random(69, i as u64 + 1), true))).collect()
    }

    #[test]
    fn the_same_said_to_three_strangers() {
        let to = |n: u64, len: usize| {
            let mut c = call(1.0 + n as f64, &random(len, n + 1), true);
            c.head.tuple.resp.ip = format!("198.51.100.{}", 20 + n).parse().unwrap();
            record(c)
        };
        let three = || calls(3, 10.0);
        let with =
            |others: Vec<Record>| run([others, three()].concat()).contains(&"several_remotes".to_owned());
        assert!(with(vec![to(1, 69), to(2, 69)]));
        assert!(!with(vec![to(1, 69)]), "two are not three");
        assert!(!with(vec![to(1, 69), to(2, 70)]), "others hear something else");
    }

    #[test]
    fn three_calls_with_the_same_words() {
        assert!(run(calls(2, 10.0)).is_empty());
        assert_eq!(run(calls(3, 10.0)), ["same_words", "unnamed", "opaque_words"]);
        assert!(run(calls(3, 1801.0)).is_empty(), "not within the hour");
    }

    #[test]
    fn a_call_of_who_brought_a_program() {
        let call_after = |behaviour: &'static str, fetched: f64, answered: bool| {
            let mut b = Bench::new("raw_control", Watcher::new(Settings::default()));
            b.fired_with(Stage::Update, behaviour, fetched, fetched, &[REMOTE]);
            b.feed(record(call(5000.0, b"a few words in clear", answered)), 5001.0);
            b.grades()
        };
        assert_eq!(call_after("payload_download", 4900.0, true), ["from_bringer", "unnamed"]);
        assert!(call_after("payload_download", 4900.0, false).is_empty(), "nobody spoke");
        assert!(call_after("payload_download", 1300.0, true).is_empty(), "an hour before");
        assert!(call_after("same_remote_chain", 4900.0, true).is_empty(), "that is no program");
    }

    #[test]
    fn one_call_of_a_name_that_anybody_may_have() {
        let call_as = |name: &str, answered: bool| {
            run(vec![dns(0.5, name, 1, 0, Some(REMOTE)), record(call(1.0, &[b'a'; 40], answered))])
        };
        assert_eq!(call_as("a.duckdns.org", true), ["one_call"]);
        let mut greeted = call(1.0, &[b'a'; 40], true);
        greeted.first_speaker = Some(Direction::Resp);
        let all = vec![dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE)), record(greeted)];
        assert_eq!(run(all), ["one_call"], "whoever speaks first");
        let mut all = vec![dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE))];
        all.extend(calls(3, 10.0));
        assert_eq!(run(all), ["same_words", "dynamic_name", "opaque_words"]);
        let mut others = dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE));
        if let Record::Dns(d) = &mut others {
            d.head.tuple.orig.ip = "10.0.0.99".parse().unwrap();
        }
        let mut all = vec![others];
        all.extend(calls(3, 10.0));
        assert_eq!(
            run(all),
            ["same_words", "opaque_words"],
            "another host asked: neither unnamed nor this host's"
        );
        assert!(call_as("a.duckdns.org", false).is_empty());
        assert!(call_as("a.example.com", true).is_empty());
    }

    #[test]
    fn other_words_each_time_are_a_conversation() {
        let all = (0..9usize).map(|i| record(call(1.0 + i as f64, &random(60 + i, 7), true))).collect();
        assert!(run(all).is_empty());
    }

    #[test]
    fn a_name_and_a_dead_controller() {
        let mut all = vec![dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE))];
        all.extend((0..3u64).map(|i| record(call(1.0 + i as f64, &[b'a'; 40], false))));
        assert_eq!(run(all), ["same_words", "dynamic_name", "unanswered"]);
    }

    #[test]
    fn a_known_protocol_is_not_meant() {
        let all = (0..5u64)
            .map(|i| {
                let mut c = call(1.0 + i as f64, &random(69, 3), true);
                c.service = Service::Tls;
                record(c)
            })
            .collect();
        assert!(run(all).is_empty());
    }

    #[test]
    fn a_dead_controller_is_called_on() {
        let dead = |n: usize, port: u16| {
            let all = (0..n).map(|i| {
                let mut c = conn(1.0 + 10.0 * i as f64, Transport::Tcp, REMOTE, port);
                c.state = record::ConnState::Rej;
                record(c)
            });
            run(all.collect())
        };
        assert_eq!(dead(10, 6000), ["dead_remote", "unnamed"]);
        assert!(dead(9, 6000).is_empty());
        assert!(dead(30, 25).is_empty(), "that is smtp_probe's");
    }

    #[test]
    fn a_shell_looks_out() {
        let mut c = call(1.0, b"Microsoft Windows XP [Version 5.1.2600]", true);
        c.service = Service::Unrecognised;
        assert_eq!(run(vec![record(c)]), ["shell"]);
    }

    #[test]
    fn messages_that_state_their_own_length() {
        let framed = |port: u16| {
            let head = conn(10.0, Transport::Tcp, REMOTE, port).head;
            let start = Start::Length { before: 2 };
            Record::Framing(Box::new(Framing { head, start, messages: [2, 3], packets: vec![] }))
        };
        assert_eq!(run(vec![framed(1985)]), ["framed", "unnamed"]);
        let named = dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE));
        assert_eq!(run(vec![named, framed(443)]), ["framed", "dynamic_name", "known_port"]);
        let mut b = Bench::new("raw_control", Watcher::new(Settings::default()));
        b.feed(framed(1985), 11.0);
        b.feed(framed(1985), 12.0);
        assert_eq!(b.evidence.len(), 1, "the same once");
    }

    #[test]
    fn messages_that_begin_as_under_one_key() {
        let head = conn(10.0, Transport::Tcp, REMOTE, 2404).head;
        let start = Start::Cipher { same: 12 };
        let keyed = Framing { head, start, messages: [2, 2], packets: vec![] };
        assert_eq!(run(vec![Record::Framing(Box::new(keyed))]), ["one_key", "unnamed"]);
        let calls = |fresh: bool, answered: bool| {
            (0..3u8).map(move |i| {
                let mut said =
                    [0x1b, 0x84, 0xd5, 0xb0, 0x5d, 0xf4, 0xc4, 0x93, 0xc5, 0x30, 0xc2, 0xa0, 0x8f, 0xda];
                said[13] = i + 1;
                if fresh {
                    said = said.map(|b| b.wrapping_add(i.wrapping_mul(0x53)));
                }
                record(call(60.0 * f64::from(i + 1), &said, answered))
            })
        };
        let once = run(calls(false, false).collect());
        assert!(once.contains(&"keyed_words".to_owned()), "{once:?}");
        for (fresh, answered) in [(true, false), (false, true)] {
            let none = run(calls(fresh, answered).collect());
            assert!(!none.contains(&"keyed_words".to_owned()), "{none:?}");
        }
    }
}
