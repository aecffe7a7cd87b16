//! ## What it sees
//! A program tells an address outside which system it runs on, at the beginning of a connection in a protocol that nobody knows, or which edition of Windows in a
//! request of HTTP.
//!
//! ## Why it matters
//! Remote-control tools check in: the first that they say is what machine they are on, with its system, name, user and address, so that whoever controls them can
//! choose (ATT&CK T1082, T1095). Many say it in clear or merely packed.
//!
//! ## How it decides
//! One of the client's first four messages of a TCP connection to somewhere else, whose beginning was seen and whose protocol is not known, names a system: in words (`Windows 7 Professional`, `Linux 5.10…`; not what
//! browsers say of themselves) or by the structure in which Windows tells its version. *system*: in clear; *system_packed*: in what zlib had packed behind a header of at most 32 bytes. *edition*: a
//! request that names no page that led to it names a version of Windows with its edition (`Windows 7 Professional`) in its `User-Agent`, outside comments, or in the first piece of its body, of which 2 kB are looked at; browsers do not
//! know it. Added: at least three bars (`|`) between what such a request tells
//! (*fields*); the host's own address
//! (*own_address*); a name that it goes by (*own_name*, at least five letters); an address whose name was never asked for; a dynamic-DNS name.
//!
//! ## What else looks like this
//! Agents of monitoring, inventory and support, and clients of databases and brokers, say the same to servers of their own: those whose protocols are known (Zabbix, Beats, Splunk, syslog, AMQP, MongoDB, MySQL, SQL Server, NATS, RDP …) are not looked at, most others are
//! called by name or are encrypted. Crash reports and surveys of makers in clear name an edition as well: nothing is built on an *edition* alone, and makers of systems are left alone. What goes beside a connection of FTP with the same remote is a file, and no check-in (`exfiltration` asks for files).
//!
//! ## Blind spots
//! What is encrypted, or coded otherwise than by zlib or in base 64; UDP; known protocols around it; paths and queries of requests (people search for editions).
//!
//! ## Options
//! None.
//!
//! ## References
//! ATT&CK T1082, T1095, T1571; Microsoft, `OSVERSIONINFOEX`; Norman, "The many faces of Gh0st Rat", 2012 (a check-in that is packed).

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::{Evidence, Record, SelfReport, Service, Stage, clean, defang};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants, domains,
};

/// Remotes remembered of one host.
const MAX_REMOTES: usize = 64;
/// A shorter name stands in other words by chance (*assumed*).
const SHORTEST_NAME: usize = 5;
/// Bars between what a request tells, from which on it is a list of the machine's properties (*assumed*).
const FIELDS: usize = 3;

/// When to fire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

/// What is remembered of one host: what was told of each remote.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    #[serde(with = "crate::words")]
    reported: BTreeMap<(IpAddr, u16), Vec<Word>>,
}

/// The detector.
pub struct Watcher;

impl Watcher {
    /// Watches every host.
    pub fn new(_: Settings) -> Self {
        Self
    }

    fn report(states: &mut States<'_, Host>, host: IpAddr, r: &SelfReport, context: &mut Context<'_>) {
        let asked = r.within == Service::Http;
        let Some(system) = r.system.clone().filter(|_| asked || !r.within.is_recognised()) else { return };
        let end = (r.head.tuple.resp.ip, r.head.tuple.resp.port);
        let (name, dynamic) = context.network.called(host, end.0, context.now);
        let (state, card) = states.open(host, context.now);
        let maker =
            |name| domains::is_software_update(name) && context.vouches(Some(card), host, end.0, name);
        if card.known.exchanges_files_with(end.0) || (asked && name.is_some_and(maker)) {
            return;
        }
        let text = r.text.to_lowercase();
        let called = card.known.called(r.head.ts);
        let own = called.names.iter().find(|n| {
            let label = n.split('.').next().unwrap_or_default();
            label.len() >= SHORTEST_NAME && text.contains(label)
        });
        let base = match r.unpacked {
            true => "system_packed",
            false if asked => "edition",
            false => "system",
        };
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        add(asked && text.matches('|').count() >= FIELDS, "fields");
        add(r.own_address, "own_address");
        add(own.is_some(), "own_name");
        // Whom a request names, it was led to by that name, whoever was asked for it.
        add(name.is_none() && !asked, "unnamed");
        add(dynamic, "dynamic_name");
        if state.reported.len() > MAX_REMOTES {
            state.reported.clear();
        }
        let reported = state.reported.entry(end).or_default();
        let new: Vec<Word> = grades.iter().map(|g| g.0).filter(|name| !reported.contains(name)).collect();
        if new.is_empty() {
            return;
        }
        reported.extend(new);
        let mut facts = vec![
            ("port", u64::from(end.1).into()),
            ("name", name.unwrap_or_default().into()),
            ("system", system.into()),
            ("text", r.text.clone().into()),
            ("prevalent", context.prevalent(end.0).into()),
        ];
        if let Some(own) = own {
            facts.push(("own_name", own.clone().into()));
        }
        context.fire(Fire {
            host,
            key: "check_in".into(),
            grades,
            started: r.head.ts,
            value: 1.0,
            threshold: 1.0,
            unit: "message that tells the host's system",
            source: "assumed",
            packets: r.packets.clone(),
            flows: vec![r.head.flow],
            remotes: vec![end.0],
            facts,
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Agent).unless(&["system_packed", "dynamic_name"]),
            Alike::to(Honest::Monitor).unless(&["system_packed", "dynamic_name"]),
            Alike::to(Honest::Administration).unless(&["system_packed"]),
            Alike::to(Honest::Device).unless(&["system_packed"]),
        ],
        needs: &[Traffic::Tcp],
        control: true,
        ..About::new(
            Stage::Command,
            &["T1082", "T1095"],
            &[
                GradeWorth::base("system", 9.0),
                GradeWorth::base("system_packed", 17.0),
                GradeWorth::base("edition", 7.0).weak(),
                GradeWorth::add("fields", 3.0),
                GradeWorth::add("own_address", 2.0),
                GradeWorth::add("own_name", 2.0),
                GradeWorth::add("unnamed", 2.0),
                GradeWorth::add("dynamic_name", 4.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::OTHER.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::SelfReport(r)) = (context.outbound(), record) else { return };
        Self::report(states, host, r, context);
    }

    fn sentence(e: &Evidence) -> String {
        let how = match () {
            () if e.has("system_packed") => "packed and in an unknown protocol",
            () if e.has("edition") => "in a request",
            () => "in an unknown protocol",
        };
        let whom = match e.text("name") {
            "" => e.remote(),
            name => format!("{} ({})", defang(name), e.remote()),
        };
        let mut said =
            format!("told {whom} port {}, {how}, that it runs {}", e.count("port"), clean(e.text("system")));
        let own = match (e.has("own_name"), e.has("own_address")) {
            (true, true) => format!("its name ({}) and its address", clean(e.text("own_name"))),
            (true, false) => format!("its name ({})", clean(e.text("own_name"))),
            (false, true) => "its address".to_owned(),
            (false, false) => return said,
        };
        said.push_str(&format!(", and {own}"));
        said
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
    use record::{ConnPhase, Dhcp, Head, Mac, Service, Transport};

    use super::*;
    use crate::testing::{Bench, HOST, REMOTE, at, conn};

    fn bench() -> Bench {
        Bench::new("check_in", Watcher::new(Settings::default()))
    }

    fn report(secs: f64, remote: &str, change: impl FnOnce(&mut SelfReport)) -> Record {
        let base = conn(secs, Transport::Tcp, remote, 4040);
        let mut report = SelfReport {
            head: Head { known: at(secs), ..base.head },
            within: Service::Unknown,
            system: Some("Windows 7 Professional".to_owned()),
            passwords: 0,
            own_address: false,
            unpacked: false,
            text: "new Windows 7 Professional".to_owned(),
            packets: base.key_packets.to_vec(),
        };
        change(&mut report);
        Record::SelfReport(Box::new(report))
    }

    /// It asks for its address by a name, and a server grants it.
    fn called(secs: f64, name: &str) -> [Record; 2] {
        let message = |kind, host_name: Option<&str>, server: Option<&str>| {
            Record::Dhcp(Box::new(Dhcp {
                head: Head { known: at(secs), ..conn(secs, Transport::Udp, "10.0.0.1", 67).head },
                mac: Mac([2, 0, 0, 0, 0, 5]),
                ip: HOST.parse().ok(),
                host_name: host_name.map(str::to_owned),
                kind,
                server: server.and_then(|s| s.parse().ok()),
                resolvers: vec![],
                lease: Some(600),
                vendor: None,
                packets: vec![],
            }))
        };
        [message(3, Some(name), None), message(5, None, Some("10.0.0.1"))]
    }

    #[test]
    fn a_check_in_and_what_it_tells_beside() {
        let mut b = bench();
        b.feed(report(10.0, REMOTE, |_| ()), 10.0);
        assert_eq!(b.grades(), ["system", "unnamed"]);
        assert_eq!(
            Watcher::sentence(b.evidence.last().unwrap()),
            "told 198.51.100.7 port 4040, in an unknown protocol, that it runs Windows 7 Professional"
        );
        b.feed(report(20.0, REMOTE, |_| ()), 20.0);
        assert_eq!(b.evidence.len(), 1, "the same once");
        for message in called(25.0, "Accounting-7") {
            b.feed(message, 25.0);
        }
        b.feed(
            report(30.0, REMOTE, |r| {
                (r.unpacked, r.own_address) = (true, true);
                r.text = "Service Pack 1 NACCOUNTING-7".to_owned();
            }),
            30.0,
        );
        assert_eq!(b.grades(), ["system_packed", "own_address", "own_name", "unnamed"]);
        assert_eq!(
            Watcher::sentence(b.evidence.last().unwrap()),
            "told 198.51.100.7 port 4040, packed and in an unknown protocol, that it runs Windows 7 Professional, and its name (accounting-7) and its address"
        );
    }

    #[test]
    fn a_request_tells_which_edition_it_runs() {
        let mut b = bench();
        let text = "hworm<|>accounting-7<|>Microsoft Windows 7 Professional";
        for record in called(1.0, "accounting-7") {
            b.feed(record, 2.0);
        }
        let request = |r: &mut SelfReport| (r.within, r.text) = (Service::Http, text.to_owned());
        b.feed(report(10.0, REMOTE, request), 10.0);
        assert_eq!(b.grades(), ["edition", "own_name"]);
        let mut list = bench();
        list.feed(
            report(10.0, REMOTE, |r| (r.within, r.text) = (Service::Http, format!("{text}<|>plus"))),
            10.0,
        );
        assert_eq!(list.grades(), ["edition", "fields"]);
        let before = list.evidence.len();
        for t in 1..5 {
            let t = 20.0 * f64::from(t);
            list.feed(
                report(t, REMOTE, |r| (r.within, r.text) = (Service::Http, "Windows 7 Professional".into())),
                t,
            );
        }
        assert_eq!(list.evidence.len(), before, "nothing new");
        assert_eq!(
            Watcher::sentence(b.evidence.last().unwrap()),
            "told 198.51.100.7 port 4040, in a request, that it runs Windows 7 Professional, and its name (accounting-7)"
        );
        let mut b = bench();
        b.feed(report(10.0, REMOTE, |r| r.within = Service::Smtp), 10.0);
        assert!(b.evidence.is_empty(), "mail");
    }

    #[test]
    fn neighbours_may_be_told() {
        let mut b = bench();
        b.feed(report(10.0, "10.0.0.9", |_| ()), 10.0);
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn files_of_ftp_are_no_check_in() {
        let mut b = bench();
        let mut control = conn(5.0, Transport::Tcp, REMOTE, 21);
        (control.service, control.phase) = (Service::Ftp, ConnPhase::Classified);
        b.feed(crate::testing::record(control), 6.0);
        b.feed(report(10.0, REMOTE, |_| ()), 10.0);
        assert!(b.evidence.is_empty());
        b.feed(report(20.0, "198.51.100.8", |_| ()), 20.0);
        assert_eq!(b.grades(), ["system", "unnamed"]);
    }
}
