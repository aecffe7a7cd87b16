//! ## What it sees
//! A host sits in an IRC channel the way a bot does: under a name a machine made, in a channel with a key, and is told what
//! to do by topic or message.
//!
//! ## Why it matters
//! IRC is the oldest command channel of botnets, and still that of many on routers and cameras (ATT&CK T1071.001, T1102.002). One
//! topic commands thousands.
//!
//! ## How it decides
//! IRC by content, on any port, to a server elsewhere. *machine_name*: a nickname with at least 3 digits and a
//! delimiter such as `[ ] { } |`, as bots tell system and country; *ordered*: a topic, or a message of somebody else to host or channel, that begins with a mark
//! (`. ! @ $ - >`) and a word of a bot's language (ddos, scan, download, update, udp, syn, exec …), and says about whom or what, with a digit or a slash (people say the words alone); *channel_key*: it joins a
//! channel with a key; *unusual_port*: not 194, 994, 6660–6669, 6679, 6697 or 7000. The first that holds is the base, the others are added. An
//! unusual port alone is nothing.
//!
//! ## What else looks like this
//! People on IRC, their bouncers and helper bots, whose channels hold commands too but seldom in the topic.
//!
//! ## Blind spots
//! TLS; a language of commands that is not on the list; names that a person could have.
//!
//! ## Options
//! None.
//!
//! ## References
//! ATT&CK T1071; J. Goebel, T. Holz, "Rishi", HotBots 2007; W. Strayer et al., "Detecting Botnets with Tight Command and
//! Control", LCN 2006.

use std::collections::{BTreeMap, BTreeSet};

use record::{Direction, Evidence, FlowId, Irc, PacketId, Record, Stage, Timestamp, clean};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
};

/// Sessions remembered of one host.
const MAX_SESSIONS: usize = 64;
/// What bots are told, as their published sources spell it (SDBot, rBot, Agobot, Kaiten, Gafgyt, PerlBot, Athena).
const ORDERS: [&str; 50] = [
    "ddos",
    "udp",
    "udpflood",
    "tcp",
    "tcpflood",
    "syn",
    "synflood",
    "icmp",
    "ack",
    "http",
    "httpflood",
    "flood",
    "slowloris",
    "tsunami",
    "pan",
    "scan",
    "scanall",
    "portscan",
    "asc",
    "advscan",
    "download",
    "dl",
    "wget",
    "get",
    "update",
    "exec",
    "execute",
    "cmd",
    "sh",
    "shell",
    "spread",
    "spam",
    "mail",
    "login",
    "logout",
    "visit",
    "open",
    "keylog",
    "getlog",
    "clone",
    "socks4",
    "socks5",
    "socks",
    "proxy",
    "killall",
    "remove",
    "uninstall",
    "die",
    "sysinfo",
    "netinfo",
];
/// By what they spread: everyday words, so that the mark must stand right before them.
const SPREADING: [&str; 6] = ["msn", "aim", "usb", "torrent", "pstore", "ftpscan"];
/// Where IRC lives (RFC 1459 and the networks' own documentation).
const USUAL_PORTS: [u16; 16] =
    [194, 994, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 7000, 8067];

/// There is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

#[derive(Default, Serialize, Deserialize)]
struct Session {
    nick: Option<String>,
    machine_name: bool,
    key: bool,
    orders: Vec<String>,
    started: Option<Timestamp>,
    packets: Vec<PacketId>,
    #[serde(with = "crate::words")]
    reported: Vec<Word>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    sessions: BTreeMap<FlowId, Session>,
}

/// The detector.
pub struct Watcher {}

/// Whether a machine made a nickname: at least three digits and a delimiter, or digits only behind a few letters' tag.
fn is_machine_name(nick: &str) -> bool {
    let digits = nick.bytes().filter(u8::is_ascii_digit).count();
    let delimiters = nick.bytes().filter(|b| b"[]{}|<>()".contains(b)).count();
    digits >= 3 && delimiters >= 1
}

/// The order that a text begins with, if it begins with one.
fn order<'a>(text: &'a str) -> Option<&'a str> {
    // Colours and emphasis of IRC clients are control characters.
    let text = text.trim_start_matches(|c: char| c.is_control() || c == ':' || c == ' ');
    text.split('|').find_map(|part| {
        let part = part.trim_start();
        let after = part.strip_prefix(['.', '!', '@', '$', '-', '>'])?;
        let word = |text: &'a str| text.split(|c: char| !c.is_ascii_alphanumeric()).next();
        if part.starts_with(['.', '!', '@'])
            && word(after).is_some_and(|w| SPREADING.iter().any(|o| w.eq_ignore_ascii_case(o)))
        {
            return Some(part);
        }
        let rest = after.trim_start_matches(['.', '!', '*', ' ']);
        let word = word(rest)?;
        let is_order = ORDERS.iter().any(|o| word.eq_ignore_ascii_case(o));
        // An order says whom or what it is about, and nearly all that can be said has digits; people say the words alone.
        (is_order && rest[word.len()..].bytes().any(|b| b.is_ascii_digit() || b == b'/')).then_some(part)
    })
}

impl Watcher {
    /// Watches every host.
    pub fn new(_settings: Settings) -> Self {
        Self {}
    }
}

fn learn(session: &mut Session, line: &Irc) {
    let mut words = line.params.split_ascii_whitespace();
    let text = line.params.split_once(" :").map_or("", |p| p.1);
    let mut reported = false;
    match (line.command.as_str(), line.from) {
        ("NICK", Direction::Orig) => {
            let nick = words.next().unwrap_or_default().trim_start_matches(':');
            session.machine_name |= is_machine_name(nick);
            session.nick = Some(nick.to_owned());
            reported = session.machine_name;
        }
        ("JOIN", Direction::Orig) => {
            let channel = words.next().unwrap_or_default();
            // The last parameter may stand behind a colon (RFC 2812 §2.3.1).
            let key = words.next().unwrap_or_default().trim_start_matches(':');
            reported = channel.starts_with(['#', '&', '+', '!']) && !key.is_empty();
            session.key |= reported;
        }
        ("332" | "TOPIC" | "PRIVMSG", Direction::Resp) => {
            if let Some(order) = order(text)
                && session.orders.len() < 16
            {
                session.orders.push(order.to_owned());
                reported = true;
            }
        }
        _ => {}
    }
    session.started.get_or_insert(line.head.ts);
    if reported && session.packets.len() < 32 {
        session.packets.extend(&line.packets);
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Calls).unless(&["ordered", "machine_name"]),
            Alike::to(Honest::Administration).unless(&["ordered", "machine_name"]),
        ],
        needs: &[Traffic::Tcp],
        control: true,
        finding: Some(Shows {
            // A person may join a channel with a key.
            by: |e| e.has("ordered") || e.has("machine_name"),
            ..Shows::all("IRC bot")
        }),
        protocol: Some("irc"),
        ..About::new(
            Stage::Command,
            &["T1071", "T1571"],
            &[
                GradeWorth::base("ordered", 11.0),
                GradeWorth::base("machine_name", 9.0),
                GradeWorth::base("channel_key", 4.0).weak(),
                GradeWorth::add("unusual_port", 3.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::OTHER.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Irc(line)) = (context.outbound(), record) else { return };
        let state = states.of(host, context.now);
        if state.sessions.len() >= MAX_SESSIONS && !state.sessions.contains_key(&line.head.flow) {
            state.sessions.pop_first();
        }
        let session = state.sessions.entry(line.head.flow).or_default();
        learn(session, line);
        let port = line.head.tuple.resp.port;
        let grades: Vec<(&'static str, u32)> = [
            (!session.orders.is_empty(), "ordered"),
            (session.machine_name, "machine_name"),
            (session.key, "channel_key"),
            (!USUAL_PORTS.contains(&port), "unusual_port"),
        ]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, grade)| (grade, 1))
        .collect();
        let names: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        if names.is_empty() || names == ["unusual_port"] || session.reported == names {
            return;
        }
        session.reported = names;
        let orders: BTreeSet<&String> = session.orders.iter().collect();
        context.fire(Fire {
            host,
            key: "session".into(),
            grades,
            started: session.started.unwrap_or(line.head.ts),
            value: session.orders.len() as f64,
            threshold: 1.0,
            unit: "orders in topics and messages",
            source: "assumed",
            packets: session.packets.clone(),
            flows: vec![line.head.flow],
            remotes: vec![line.head.tuple.resp.ip],
            facts: vec![
                ("nick", session.nick.clone().unwrap_or_default().into()),
                ("orders", orders.into_iter().cloned().collect::<Vec<_>>().into()),
                ("port", u64::from(port).into()),
            ],
        });
    }

    fn sentence(e: &Evidence) -> String {
        let told = match e.list("orders").len() {
            0 => String::new(),
            1 => ", told 1 order".to_owned(),
            n => format!(", told {n} orders"),
        };
        format!("stayed on IRC at {} port {} as {}{told}", e.remote(), e.count("port"), clean(e.text("nick")))
    }
}

crate::held!(Session: nick, orders, packets, reported);
crate::held!(Host: sessions);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.sessions.values_mut().for_each(|s| s.reported.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{Head, Transport};

    fn line(t: f64, port: u16, from: Direction, command: &str, params: &str) -> Record {
        let base = conn(1.0, Transport::Tcp, REMOTE, port);
        Record::Irc(Box::new(Irc {
            head: Head { ts: at(t), known: at(t), ..base.head },
            from,
            command: command.into(),
            params: params.into(),
            packets: base.key_packets.to_vec(),
        }))
    }

    fn run(port: u16, lines: &[(Direction, &str, &str)]) -> Vec<String> {
        let mut b = Bench::new("irc_control", Watcher::new(Settings {}));
        for (i, (from, command, params)) in lines.iter().enumerate() {
            b.feed(line(i as f64, port, *from, command, params), i as f64);
        }
        b.grades()
    }

    use Direction::{Orig, Resp};

    #[test]
    fn a_bot_in_its_channel() {
        let lines = [
            (Orig, "NICK", "[DEU|XP|48213]"),
            (Orig, "JOIN", "#rx secret"),
            (Resp, "332", "[DEU|XP|48213] #rx :.advscan asn445 100 5 0 -r"),
        ];
        assert_eq!(run(6667, &lines), ["ordered", "machine_name", "channel_key"]);
        assert_eq!(run(51_987, &lines[..1]), ["machine_name", "unusual_port"]);
        assert_eq!(run(6667, &lines[1..2]), ["channel_key"]);
        assert_eq!(run(6667, &[(Orig, "JOIN", "#rx :secret")]), ["channel_key"]);
        assert!(run(6667, &[(Orig, "JOIN", "#rx :")]).is_empty());
    }

    #[test]
    fn people_talk() {
        let lines = [
            (Orig, "NICK", "anna42"),
            (Orig, "JOIN", "#rust"),
            (Resp, "332", "anna42 #rust :Welcome! Docs: https://doc.example.com"),
            (Resp, "PRIVMSG", "#rust :!help"),
            (Resp, "PRIVMSG", "#rust :!update seeds"),
            (Orig, "PRIVMSG", "#rust :.update"),
        ];
        assert!(run(6667, &lines).is_empty());
        assert!(run(9999, &lines).is_empty(), "an unusual port alone is nothing");
    }

    #[test]
    fn names_and_their_edges() {
        for (nick, machine) in [
            ("pLagUe{USA}{LAN}72705", true),
            ("n[1234]", true),
            ("n[12]", false),
            ("user1234", false),
            ("[away]bob", false),
        ] {
            assert_eq!(is_machine_name(nick), machine, "{nick}");
        }
    }

    #[test]
    fn orders_and_their_marks() {
        for (text, is) in [
            (".udpflood 198.51.100.7 80", true),
            ("\u{3}4!stop |!scan 445", true),
            ("scan this", false),
            ("! what", false),
            (".updated yesterday", false),
        ] {
            assert_eq!(order(text).is_some(), is, "{text}");
        }
    }
}
