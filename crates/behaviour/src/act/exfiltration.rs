//! ## What it sees
//! A program on a desk sends things out: mail through somebody's account, a file to an FTP server, a large POST that no page led to.
//!
//! ## Why it matters
//! Stealers send home what they found, and take the nearest protocol for it (ATT&CK T1048.003, T1041).
//!
//! ## How it decides
//! *mail*: a message handed in with a password in clear, to a submission port (587, 465, 2525) or 25 elsewhere, under a host name
//! without a dot, by a host that never collected mail (POP3 or IMAP), and *tells_machine* where the message names the machine's system (Windows, and no server's: what cron mails names Linux) and the name that the host gave itself, of four letters or more (where passwords stand beside them nothing is kept to look for it in); *mail_hidden*: the same after STARTTLS (but for `localhost`), within ten minutes after the host
//! fetched a program for Windows without a name or under a browser's (`payload_download`); *ftp*: an FTP session elsewhere, and within it a connection to the same server
//! in which only this host sent, at least 100 bytes; *upload*: a POST of a false browser or nameless program of at least 2 kB of
//! which the reply is smaller than a quarter; or, to a remote that within an hour before was part of what tells of control by its content (`http_control`, `tls_control`, `raw_control`, `irc_control`, `kraken_frames`,
//! `generated_contact`, but for their weakest bases), such a POST of whomever, or a connection of TLS or an unknown
//! protocol in which at least 20 kB went out and less than a quarter of that came back. *drop*: a TLS session with a drop box or
//! a chat service's interface for programs, by a shipped list, in which more went out than came in, and at least `upload`. *to_controller* is added to an upload to such a remote, *passwords* to a mail or a file that lists at least two pairs of a name and a password in its first 2 kB (`User: … Password: …`; in clear or in base 64) and *many_passwords* where it lists three or more, *several_remotes* when such uploads went to at least two of them by name. That the host had asked for its own address before is booked there (`address_echo`).
//!
//! ## What else looks like this
//! Mail programs and scripts (also those that report backups, and registrations, which send one password), scanners and cameras that mail pictures, web authors, telemetry.
//!
//! ## Blind spots
//! TLS to where nothing else is odd; services that people use as well; slow drips.
//!
//! ## Options
//! `control` (1h), `file` (100), `upload` (2000), `hidden` (20000), `mailed` (10m).
//!
//! ## References
//! ATT&CK T1048.003, T1041, T1071.003; RFC 4954 §4 (clients should not log in without TLS).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, FlowId, Http, Magic, PacketId, Record, Service, Smtp, Stage, Timestamp,
    Transport, clean, defang, human_bytes, request_path,
};
use serde::{Deserialize, Serialize};

use crate::requests::{self, Maker};
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants, domains,
};

/// Pairs of names and passwords that nobody writes to somebody by hand (*assumed*).
const MANY_PASSWORDS: u32 = 3;
/// A shorter name stands in any text (*assumed*).
const SHORTEST_NAME: usize = 4;
/// FTP servers remembered of one host.
const MAX_SERVERS: usize = 32;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long before an upload its remote told of control (*assumed*).
    #[serde(with = "humantime_serde")]
    pub control: Duration,
    /// Bytes of a file (*assumed*).
    pub file: u64,
    /// Bytes of an upload (*assumed*).
    pub upload: u64,
    /// Bytes of an upload of which nothing can be read (*assumed*: the size of a module, KRAKEN §5).
    pub hidden: u64,
    /// How soon after a program came a host hands mail in (*assumed*, as in `address_echo`).
    #[serde(with = "humantime_serde")]
    pub mailed: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            control: Duration::from_hours(1),
            file: 100,
            upload: 2000,
            hidden: 20_000,
            mailed: Duration::from_mins(10),
        }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    collects_mail: bool,
    /// Since when each FTP server was spoken with.
    servers: BTreeMap<IpAddr, Timestamp>,
    /// Connections in which only this host sent, to whom FTP may follow.
    sent: Vec<(IpAddr, Timestamp, u64, FlowId, PacketId)>,
    /// Controllers to which much was sent, by their domains or addresses.
    controllers: BTreeSet<String>,
    /// Flows with drop services, and their names.
    drops: BTreeMap<FlowId, String>,
    /// Flows in which lists of passwords went out.
    lists: BTreeMap<FlowId, u32>,
    /// When programs for Windows came that nobody asked for in a browser.
    programs: BTreeSet<Timestamp>,
    /// What was readable in mail that named its machine's system; empty where it is withheld.
    machines: BTreeMap<FlowId, String>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

struct Sent<'a> {
    host: IpAddr,
    remote: IpAddr,
    grade: &'static str,
    ts: Timestamp,
    bytes: u64,
    least: u64,
    flow: FlowId,
    packets: &'a [PacketId],
    /// By which protocol.
    how: String,
    /// Name and path of whom it went to, where they are known.
    to: (&'a str, &'a str),
}

/// Whether a system is one that people sit at: servers, and whatever runs cron, report by mail.
fn is_a_desk_s(system: &str) -> bool {
    system.contains("Win") && !system.contains("Server")
}

/// Whether what was readable holds the name that the host gave itself; where passwords stand beside it nothing is kept of it.
fn holds_name(said: &str, own: &str) -> bool {
    let own = own.to_ascii_lowercase();
    said.is_empty() || (own.len() >= SHORTEST_NAME && said.to_ascii_lowercase().contains(&own))
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn fire(&self, states: &mut States<'_, Host>, sent: Sent<'_>, context: &mut Context<'_>) {
        let (state, card) = states.open(sent.host, context.now);
        let mut grades = vec![(sent.grade, 1)];
        let control = self.settings.control;
        if sent.grade == "upload" && card.fired.controls(sent.remote, sent.ts, control) {
            grades.push(("to_controller", 1));
            let name = context.network.name_of(sent.remote, context.now).and_then(domains::registrable);
            let name = name.map_or_else(|| sent.remote.to_string(), str::to_owned);
            let controllers = &mut state.controllers;
            if controllers.len() < MAX_SERVERS {
                controllers.insert(name);
            }
            if controllers.len() > 1 {
                grades.push(("several_remotes", 1));
            }
        }
        if state.machines.remove(&sent.flow).is_some() {
            grades.push(("tells_machine", 1));
        }
        if let Some(pairs) = state.lists.remove(&sent.flow) {
            grades.push(("passwords", 1));
            if pairs >= MANY_PASSWORDS {
                grades.push(("many_passwords", 1));
            }
        }
        context.fire(Fire {
            host: sent.host,
            key: sent.grade.into(),
            grades,
            started: sent.ts,
            value: sent.bytes as f64,
            threshold: sent.least as f64,
            unit: "bytes sent out",
            source: "assumed",
            packets: sent.packets.to_vec(),
            flows: vec![sent.flow],
            remotes: vec![sent.remote],
            facts: vec![
                ("how", sent.how.into()),
                ("host", sent.to.0.into()),
                ("path", sent.to.1.into()),
                ("prevalent", context.prevalent(sent.remote).into()),
            ],
        });
    }

    fn mail(&self, states: &mut States<'_, Host>, host: IpAddr, s: &Smtp, context: &mut Context<'_>) {
        let port = s.head.tuple.resp.port;
        let collects = states.get(host).is_some_and(|h| h.collects_mail);
        let short = s.helo.as_deref().is_some_and(|n| !n.contains(['.', ':', '[']));
        let in_clear = s.auth && !s.starttls_used && s.data_count > 0;
        let (ts, within) = (s.head.ts, self.settings.mailed);
        let brought = || {
            let told = states.card(host).map(|card| card.fired.events("payload_download"));
            let came = |start: &Timestamp| states.get(host).is_some_and(|h| h.programs.contains(start));
            told.into_iter()
                .flatten()
                .any(|(start, _)| came(&start) && start <= ts && ts.since(start) <= within)
        };
        // Mail programs that know no name of their own say `localhost`.
        let hidden = s.starttls_used && s.helo.as_deref() != Some("localhost") && brought();
        if (in_clear || hidden) && short && !collects && matches!(port, 25 | 465 | 587 | 2525) {
            let over = if in_clear { "mail" } else { "mail over STARTTLS" };
            let own = s.helo.as_deref().unwrap_or_default();
            if let Some(state) = states.get_mut(host) {
                state.machines.retain(|flow, said| *flow != s.head.flow || holds_name(said, own));
            }
            let how = format!("{over} (port {port}, as {own})");
            let sent = Sent {
                host,
                remote: s.head.tuple.resp.ip,
                grade: if in_clear { "mail" } else { "mail_hidden" },
                ts,
                bytes: s.client_bytes,
                least: 1,
                flow: s.head.flow,
                packets: &s.packets,
                how,
                to: ("", ""),
            };
            self.fire(states, sent, context);
        }
    }

    fn upload(&self, states: &mut States<'_, Host>, host: IpAddr, h: &Http, context: &mut Context<'_>) {
        let machine = matches!(requests::maker(h), Maker::FalseBrowser | Maker::Nameless);
        let card = states.card(host);
        let commanded = || {
            let (remote, ts) = (h.head.tuple.resp.ip, h.head.ts);
            card.is_some_and(|c| c.fired.controls(remote, ts, self.settings.control))
        };
        if h.method == "POST"
            && (machine || commanded())
            && !requests::is_housekeeping(h, card, context)
            && h.request.len >= self.settings.upload
            && h.response.len * 4 < h.request.len
        {
            let sent = Sent {
                host,
                remote: h.head.tuple.resp.ip,
                grade: "upload",
                ts: h.head.ts,
                bytes: h.request.len,
                least: self.settings.upload,
                flow: h.head.flow,
                packets: &h.packets,
                how: "POST".into(),
                to: (h.host.as_deref().unwrap_or_default(), &h.path),
            };
            self.fire(states, sent, context);
        }
    }

    /// A connection of which nothing can be read, in which much went out to a controller.
    fn hidden(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let remote = c.head.tuple.resp.ip;
        if c.bytes[0] < self.settings.hidden
            || c.bytes[1] * 4 >= c.bytes[0]
            || !states.card(host).is_some_and(|of| {
                of.fired.controls(remote, c.head.ts, self.settings.control)
                    && !of.known.exchanges_files_with(remote)
            })
        {
            return;
        }
        let sent = Sent {
            host,
            remote,
            grade: "upload",
            ts: c.head.ts,
            bytes: c.bytes[0],
            least: self.settings.hidden,
            flow: c.head.flow,
            packets: &c.key_packets,
            how: format!(
                "{} (port {})",
                if c.service == Service::Tls { "TLS" } else { "an unknown protocol" },
                c.head.tuple.resp.port
            ),
            to: ("", ""),
        };
        self.fire(states, sent, context);
    }

    fn dropped(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let Some(name) = states.get_mut(host).and_then(|h| h.drops.remove(&c.head.flow)) else { return };
        if c.bytes[0] < self.settings.upload || c.bytes[0] <= c.bytes[1] {
            return;
        }
        let sent = Sent {
            host,
            remote: c.head.tuple.resp.ip,
            grade: "drop",
            ts: c.head.ts,
            bytes: c.bytes[0],
            least: self.settings.upload,
            flow: c.head.flow,
            packets: &c.key_packets,
            how: "TLS".into(),
            to: (&name, ""),
        };
        self.fire(states, sent, context);
    }

    fn conn(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let remote = c.head.tuple.resp.ip;
        let unread = matches!(c.service, Service::Tls | Service::Opaque | Service::Unrecognised);
        if c.phase == ConnPhase::Closed && c.head.tuple.transport == Transport::Tcp && unread {
            self.dropped(states, host, c, context);
            self.hidden(states, host, c, context);
        }
        match c.service {
            Service::Pop3 | Service::Imap => states.of(host, context.now).collects_mail = true,
            Service::Ftp if c.bytes[1] > 0 => {
                let state = states.of(host, context.now);
                if state.servers.len() < MAX_SERVERS {
                    let since = state.servers.entry(remote).or_insert(c.head.ts);
                    *since = (*since).min(c.head.ts);
                }
                let since = state.servers.get(&remote).copied().unwrap_or(c.head.ts);
                let waiting = state.sent.iter().position(|s| s.0 == remote && s.1 >= since);
                if let Some((_, ts, bytes, flow, packet)) = waiting.map(|at| state.sent.remove(at)) {
                    self.file(states, host, remote, (ts, bytes, flow, packet), context);
                }
            }
            _ if c.phase == ConnPhase::Closed
                && c.head.tuple.transport == Transport::Tcp
                && c.start_seen
                && c.bytes[0] >= self.settings.file
                && c.bytes[1] == 0 =>
            {
                let state = states.of(host, context.now);
                let packet = c.key_packets.first().copied().unwrap_or_default();
                if state.servers.get(&remote).is_some_and(|since| c.head.ts >= *since) {
                    self.file(states, host, remote, (c.head.ts, c.bytes[0], c.head.flow, packet), context);
                } else if state.sent.len() < MAX_SERVERS {
                    state.sent.push((remote, c.head.ts, c.bytes[0], c.head.flow, packet));
                }
            }
            _ => {}
        }
    }

    fn file(
        &self,
        states: &mut States<'_, Host>,
        host: IpAddr,
        remote: IpAddr,
        (ts, bytes, flow, packet): (Timestamp, u64, FlowId, PacketId),
        context: &mut Context<'_>,
    ) {
        let sent = Sent {
            host,
            remote,
            grade: "ftp",
            ts,
            bytes,
            least: self.settings.file,
            flow,
            packets: &[packet],
            how: "FTP".into(),
            to: ("", ""),
        };
        self.fire(states, sent, context);
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Agent).unless(&[
                "mail",
                "mail_hidden",
                "to_controller",
                "several_remotes",
                "passwords",
            ]),
            Alike::to(Honest::Administration).unless(&[
                "mail",
                "mail_hidden",
                "to_controller",
                "several_remotes",
                "passwords",
            ]),
        ],
        needs: &[Traffic::Tcp],
        capability: Some("data_theft"),
        ..About::new(
            Stage::Act,
            &["T1048.003", "T1041"],
            &[
                GradeWorth::base("mail", 6.0).key("mail"),
                GradeWorth::base("mail_hidden", 2.0).key("mail"),
                GradeWorth::base("ftp", 4.0).key("ftp"),
                GradeWorth::base("upload", 4.0).key("upload"),
                GradeWorth::base("drop", 3.0).key("drop"),
                GradeWorth::add("to_controller", 5.0),
                GradeWorth::add("several_remotes", 3.0),
                GradeWorth::add("passwords", 11.0),
                GradeWorth::add("tells_machine", 4.0),
                GradeWorth::add("many_passwords", 2.0).tells(),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OPEN).and(Wants::HTTP).and(Wants::TLS).and(Wants::OTHER).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some(host) = context.outbound() else { return };
        match record {
            Record::Smtp(s) => self.mail(states, host, s, context),
            Record::Http(h) => {
                if matches!(h.response.magic, Magic::Pe | Magic::SealedPe)
                    && matches!(requests::maker(h), Maker::FalseBrowser | Maker::Nameless)
                {
                    let programs = &mut states.of(host, context.now).programs;
                    programs.insert(h.head.ts);
                    if programs.len() > MAX_SERVERS {
                        programs.pop_first();
                    }
                }
                self.upload(states, host, h, context);
            }
            Record::SelfReport(r) => {
                let Host { lists, machines, .. } = states.of(host, context.now);
                if r.passwords > 1 {
                    if lists.len() >= MAX_SERVERS {
                        lists.pop_first();
                    }
                    lists.insert(r.head.flow, r.passwords);
                }
                if r.within == Service::Smtp && r.system.as_deref().is_some_and(is_a_desk_s) {
                    if machines.len() >= MAX_SERVERS {
                        machines.pop_first();
                    }
                    machines.insert(r.head.flow, r.text.clone());
                }
            }
            // POP3 and IMAP within TLS.
            Record::Tls(t) if matches!(t.head.tuple.resp.port, 993 | 995) => {
                states.of(host, context.now).collects_mail = true;
            }
            Record::Tls(t) => {
                let name = t.sni.as_deref().filter(|n| domains::is_drop_service(n));
                if let Some(name) = name {
                    let drops = &mut states.of(host, context.now).drops;
                    if drops.len() >= MAX_SERVERS {
                        drops.pop_first();
                    }
                    drops.insert(t.head.flow, name.to_owned());
                }
            }
            Record::Conn(c) if c.phase != ConnPhase::Interim => self.conn(states, host, c, context),
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        let to = match e.text("host") {
            "" => e.remote(),
            host => defang(host),
        };
        let path = request_path(e.text("path")).map(|path| format!(" ({path})")).unwrap_or_default();
        let mut said = format!("by {} to {to}{path}", clean(e.text("how")));
        for (grade, words) in [
            ("to_controller", ", its suspected C2"),
            ("tells_machine", ", naming its system"),
            ("passwords", ", with a list of passwords"),
        ] {
            if e.has(grade) {
                said.push_str(words);
            }
        }
        if e.key == "drop" {
            return format!("handed data out {said}");
        }
        // How much that was is hidden, and logs may not tell.
        if e.has("mail_hidden") || (e.key == "mail" && e.value == 0.0) {
            return format!("handed over {}", said.trim_start_matches("by "));
        }
        format!("sent {} out {said}", human_bytes(e.value as u64))
    }
}

crate::held!(Host: servers, sent, controllers, drops, lists, programs, machines);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{BodyFacts, SelfReport, Stage};

    fn bench() -> Bench {
        Bench::new("exfiltration", Watcher::new(Settings::default()))
    }

    fn mail(port: u16) -> Smtp {
        let mut s = smtp(10.0, REMOTE);
        s.head.tuple.resp.port = port;
        (s.auth, s.helo) = (true, Some("user-pc".into()));
        s
    }

    /// A message that tells this of its machine.
    fn telling(system: Option<&str>, passwords: u32, text: &str) -> Vec<String> {
        let mut b = bench();
        let s = mail(587);
        let report = SelfReport {
            head: s.head,
            within: Service::Smtp,
            system: system.map(str::to_owned),
            passwords,
            own_address: false,
            unpacked: false,
            text: text.to_owned(),
            packets: vec![],
        };
        b.feed(Record::SelfReport(Box::new(report)), 11.0);
        b.feed(Record::Smtp(Box::new(s)), 12.0);
        b.grades()
    }

    #[test]
    fn mail_that_names_its_machine() {
        let run = |system, text| telling(Some(system), 0, text);
        let told = "Computer Name: USER-PC OSFullName: Windows 7 Enterprise";
        assert_eq!(run("Windows 7 Enterprise", told), ["mail", "tells_machine"]);
        assert_eq!(run("Windows 7 Enterprise", "Computer Name: OTHER-PC"), ["mail"], "another's name");
        assert_eq!(run("Windows Server 2019", told), ["mail"], "as servers report");
        assert_eq!(run("Linux 5.10.0-8-amd64", told), ["mail"], "as cron does");
    }

    #[test]
    fn mail_in_secret_after_a_program() {
        let run = |magic: Magic, after: f64, name: &str| {
            let mut b = bench();
            let mut h = http(5.0, REMOTE, "GET", Some("example.com"), "/a");
            h.response = BodyFacts { len: 90_000, magic, ..BodyFacts::default() };
            b.feed(Record::Http(Box::new(h)), 5.5);
            b.fired(Stage::Update, "payload_download", 5.0, 5.0);
            let mut s = mail(587);
            s.head.ts = at(after);
            (s.starttls_used, s.helo) = (true, Some(name.into()));
            b.feed(Record::Smtp(Box::new(s)), after + 1.0);
            b.grades()
        };
        assert_eq!(run(Magic::Pe, 605.0, "user-pc"), ["mail_hidden"]);
        assert_eq!(run(Magic::SealedPe, 10.0, "user-pc"), ["mail_hidden"]);
        assert!(run(Magic::Pe, 605.1, "user-pc").is_empty(), "not within ten minutes");
        assert!(run(Magic::WindowsScript, 10.0, "user-pc").is_empty(), "no program");
        assert!(run(Magic::Pe, 10.0, "localhost").is_empty(), "as mail programs do");
    }

    #[test]
    fn lists_of_passwords() {
        let run = |passwords: u32| telling(None, passwords, "");
        assert_eq!(run(2), ["mail", "passwords"]);
        assert_eq!(run(3), ["mail", "passwords", "many_passwords"]);
        assert_eq!(run(1), ["mail"]);
    }

    #[test]
    fn mail_through_an_account() {
        let run = |s: Smtp| {
            let mut b = bench();
            b.feed(Record::Smtp(Box::new(s)), 12.0);
            b.grades()
        };
        assert_eq!(run(mail(587)), ["mail"]);
        let mut tls = mail(587);
        tls.starttls_used = true;
        assert!(run(tls).is_empty());
        let mut named = mail(587);
        named.helo = Some("pc.example.com".into());
        assert!(run(named).is_empty());
        let mut relay = mail(587);
        relay.auth = false;
        assert!(run(relay).is_empty());
    }

    #[test]
    fn who_collects_mail_may_send_it() {
        let mut b = bench();
        let mut c = conn(6.0, Transport::Tcp, REMOTE, 110);
        c.service = Service::Pop3;
        b.feed(record(c), 7.0);
        b.feed(Record::Smtp(Box::new(mail(587))), 12.0);
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn a_file_by_ftp() {
        let run = |sent: u64, received: u64| {
            let mut b = bench();
            let mut control = conn(10.0, Transport::Tcp, REMOTE, 21);
            (control.service, control.bytes) = (Service::Ftp, [130, 600]);
            control.phase = ConnPhase::Classified;
            b.feed(record(control), 11.0);
            let mut data = conn(12.0, Transport::Tcp, REMOTE, 44_523);
            data.bytes = [sent, received];
            b.feed(record(data), 14.0);
            b.grades()
        };
        assert_eq!(run(100, 0), ["ftp"]);
        assert!(run(99, 0).is_empty());
        assert!(run(0, 9000).is_empty(), "a download");
    }

    #[test]
    fn what_is_handed_to_a_drop_box() {
        let run = |name: &str, bytes| {
            let mut b = bench();
            let Record::Tls(hello) = tls(10.0, REMOTE, name) else { unreachable!() };
            let mut c = conn(10.0, Transport::Tcp, REMOTE, 443);
            (c.service, c.head.flow, c.bytes) = (Service::Tls, hello.head.flow, bytes);
            b.feed(Record::Tls(hello), 12.0);
            b.feed(record(c), 20.0);
            b.grades()
        };
        assert_eq!(run("api.telegram.org", [9_000, 6_000]), ["drop"]);
        assert_eq!(run("transfer.sh", [9_000, 6_000]), ["drop"]);
        assert!(run("api.telegram.org", [900, 6_000]).is_empty(), "a note");
        assert!(run("web.telegram.org", [9_000, 6_000]).is_empty(), "a person's");
    }

    #[test]
    fn what_goes_to_a_controller_in_secret() {
        let run = |sent: u64, received: u64, commanded: bool| {
            let mut b = bench();
            if commanded {
                b.fired_with(Stage::Command, "tls_control", 5.0, 5.0, &[REMOTE]);
            }
            let mut c = conn(10.0, Transport::Tcp, REMOTE, 7084);
            (c.service, c.bytes) = (Service::Tls, [sent, received]);
            b.feed(record(c), 14.0);
            b.grades()
        };
        assert_eq!(run(20_000, 4_999, true), ["upload", "to_controller"]);
        for (behaviour, at) in [("beacon", 5.0), ("peer_walk", 5.0), ("tls_control", 11.0)] {
            let mut b = bench();
            b.fired_with(Stage::Command, behaviour, at, at, &[REMOTE]);
            let mut c = conn(10.0, Transport::Tcp, REMOTE, 7084);
            (c.service, c.bytes) = (Service::Tls, [20_000, 100]);
            b.feed(record(c), 14.0);
            assert!(
                b.evidence.is_empty(),
                "{behaviour} at {at}: an agent that reports, or control that came later"
            );
        }
        let mut b = bench();
        for (i, remote) in ["198.51.100.1", "198.51.100.2"].into_iter().enumerate() {
            b.fired_with(Stage::Command, "http_control", 5.0, 5.0, &[remote]);
            let mut c = conn(10.0, Transport::Tcp, remote, 7084);
            (c.service, c.bytes) = (Service::Tls, [30_000, 100]);
            b.feed(record(c), 14.0 + i as f64);
        }
        assert_eq!(b.grades(), ["upload", "to_controller", "several_remotes"]);
        assert!(run(20_000, 5_000, true).is_empty(), "a conversation");
        assert!(run(19_999, 100, true).is_empty());
        assert!(run(20_000, 100, false).is_empty());
    }

    #[test]
    fn an_upload_that_no_page_led_to() {
        let run = |sent: u64, received: u64, agent: Option<&str>| {
            let mut b = bench();
            let mut h = http(10.0, REMOTE, "POST", Some("example.com"), "/up");
            h.user_agent = agent.map(str::to_owned);
            h.request = BodyFacts { len: sent, ..BodyFacts::default() };
            h.response = BodyFacts { len: received, ..BodyFacts::default() };
            b.feed(Record::Http(Box::new(h)), 11.0);
            b.grades()
        };
        assert_eq!(run(2000, 499, None), ["upload"]);
        let mut b = bench();
        b.fired_with(Stage::Command, "http_control", 5.0, 5.0, &[REMOTE]);
        let mut h = http(10.0, REMOTE, "POST", Some("example.com"), "/up");
        h.request = BodyFacts { len: 2000, ..BodyFacts::default() };
        b.feed(Record::Http(Box::new(h)), 11.0);
        assert_eq!(b.grades(), ["upload", "to_controller"]);
        assert!(run(1999, 0, None).is_empty());
        assert!(run(2000, 500, None).is_empty());
        assert!(run(9000, 5, Some("curl/8")).is_empty());
    }
}
