//! ## What it sees
//! A host speaks TLS with a remote that has no name: the client names none, the certificate is the server's own work, the
//! port is none of TLS's.
//!
//! ## Why it matters
//! Remote-control tools and loaders wrap their channel in TLS (ATT&CK T1573.002). What is inside cannot be seen, but who
//! runs a controller seldom buys it a name and a certificate, and the tools make their own in a way of their own.
//!
//! ## How it decides
//! Per handshake with a host elsewhere. The base: *own_certificate*, the client names no server (or an address) and the
//! certificate is signed by itself, by a private authority for no name at all, or in the name of another domain than it is for, where both look drawn at random (their scores together reach that of one such name); *own_certificate_named*, the same to a name that the client gave, when
//! the certificate has no names; *no_name*, no server name, no certificate to be seen (TLS 1.3 hides it), a remote never resolved by DNS and a port that is not TLS's.
//! Added: a port on which TLS is unusual; a certificate valid for 50 years or more; a client that offers at most TLS 1.1
//! in 2019 or later, when browsers had given it up; at least three handshakes; a dynamic-DNS name, given in the handshake or asked for by this very host; at least two such remotes with certificates of their own; a fingerprint (JA4) that of at least 20 local hosts only this one shows.
//! A fingerprint that may be a browser's (TLS 1.3, HTTP/2), by whose ciphers and extensions the host has asked for at least six names below three domains before, makes of the first base the weak one that a name does, to which port, validity, number and other remotes add nothing: people look after several
//! appliances, and click through their warnings.
//! A certificate that ends in January 2038 is an appliance's default, not counted as long-lived.
//!
//! ## What else looks like this
//! VPN gateways, obfuscated proxies, messengers with their own servers, appliances, cast devices, mail servers.
//!
//! ## Blind spots
//! Controllers with a bought or free certificate and a name; those behind a large provider; TLS 1.3 on port 443.
//!
//! ## Options
//! `repeated` (3), `lasting_days` (18250), `hosts` (20).
//!
//! ## References
//! ATT&CK T1573.002, T1587.003; B. Anderson, D. McGrew, "Deciphering Malware's use of TLS", J. Comput. Virol. 2018; FoxIO JA4.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::{
    Certificate, Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, Tls, clean, defang, human_count,
};
use serde::{Deserialize, Serialize};

use crate::table::hash_of;
use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants,
    bigrams, domains,
};

/// Remotes remembered of one host.
const MAX_REMOTES: usize = 256;
/// Where TLS is usual: the web and its second ports, mail, news, directory, messaging, push, remote administration.
const USUAL_PORTS: [u16; 24] = [
    443, 8443, 4443, 10443, 9443, 465, 563, 587, 636, 853, 989, 990, 992, 993, 995, 1194, 2083, 3269, 3389,
    5061, 5222, 5223, 5228, 5349,
];
/// 2038-01-01: what certificates of many appliances run to, the end of 32-bit time.
const END_OF_TIME: Timestamp = Timestamp::from_secs(2_145_916_800);
/// 2039-01-01.
const AFTER_END: Timestamp = Timestamp::from_secs(2_177_452_800);
/// 2019-01-01: browsers' makers had announced the end of TLS 1.0 and 1.1 in October 2018.
const OLD_SINCE: Timestamp = Timestamp::from_secs(1_546_300_800);
const TLS11: u16 = 0x0302;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Handshakes with one remote that count as repeated, ≥ 2 (*assumed*).
    pub repeated: usize,
    /// Days of validity that no honest certificate has (*assumed*).
    pub lasting_days: i64,
    /// Local hosts that make a lonely fingerprint remarkable (*assumed*).
    pub hosts: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { repeated: 3, lasting_days: 18_250, hosts: 20 }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Remote {
    /// What the first handshake showed: a resumed one shows no certificate.
    #[serde(with = "crate::words")]
    base: Option<Word>,
    days: i64,
    count: usize,
    started: Option<Timestamp>,
    proofs: Vec<(FlowId, PacketId)>,
    #[serde(with = "crate::words")]
    reported: Vec<Word>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    remotes: BTreeMap<(IpAddr, u16), Remote>,
    /// Remotes whose certificate nobody vouches for.
    own: BTreeSet<IpAddr>,
    /// Domains and names, by their hashes, that each program asked for (by its fingerprint's), where no certificate of one's own was shown.
    sites: BTreeMap<String, (BTreeSet<u64>, BTreeSet<u64>)>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// Domains, and names below them, that a program asks for with which somebody browses: pages fetch their parts from servers of their own (*assumed*).
const BROWSES: [usize; 2] = [3, 6];

/// What tells a program by its fingerprint, where that may be a browser's of today: TLS 1.3, HTTP/2 offered first (JA4's first part). By name and by address
/// its first part differs; the hashes of ciphers and extensions leave the name out and are the program's.
fn browsers(ja4: &str) -> Option<&str> {
    let (first, hashes) = ja4.split_once('_')?;
    (first.starts_with("t13") && first.ends_with("h2")).then_some(hashes)
}

/// Whether nobody vouches for a certificate: it is signed by itself, or stands for no name at all.
fn is_own_work(c: &Certificate) -> bool {
    c.self_signed || (c.names.is_empty() && !c.subject.contains('.'))
}

/// Whether a certificate for one domain was signed in the name of another, and both look drawn at random: authorities are called by words, and who
/// signs for a network's own machines, or looks into its traffic, is called by somebody.
fn is_between_drawn_names(c: &Certificate) -> bool {
    let names = [&c.subject, &c.issuer].map(|name| name.to_ascii_lowercase());
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let [subject, issuer] = names.each_ref().map(|n| domains::owned_label(n).filter(|_| is_name(n)));
    let (Some(subject), Some(issuer)) = (subject, issuer) else { return false };
    let scores = [subject, issuer].map(bigrams::score);
    subject != issuer && scores.iter().all(|s| *s > 0.0) && scores.iter().sum::<f64>() >= bigrams::DRAWN
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn base(t: &Tls, context: &Context<'_>) -> Option<&'static str> {
        let named = t.sni.as_deref().is_some_and(|n| !domains::is_address_literal(n));
        let remote = t.head.tuple.resp;
        match &t.certificate {
            Some(c) if !named && (is_own_work(c) || is_between_drawn_names(c)) => Some("own_certificate"),
            Some(c) if is_own_work(c) && c.names.is_empty() => Some("own_certificate_named"),
            Some(_) => None,
            None => {
                let usual = USUAL_PORTS.contains(&remote.port);
                let unresolved = context.network.name_of(remote.ip, context.now).is_none();
                // A ClientHello without extensions at all is too little to tell.
                let whole = t.ja4.is_some() && t.cipher.is_some();
                (!named && !usual && unresolved && whole).then_some("no_name")
            }
        }
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Tunnel).unless(&["dynamic_name"]),
            Alike::to(Honest::Device),
            Alike::to(Honest::Administration).unless(&["dynamic_name"]),
            Alike::to(Honest::Monitor).unless(&["dynamic_name", "no_name"]),
            Alike::to(Honest::Agent).unless(&["dynamic_name", "unusual_port", "old_version"]),
        ],
        needs: &[Traffic::Tls],
        control: true,
        excuses: &[Excuse::Role(&[Role::VpnUser], 0.5)],
        ..About::new(
            Stage::Command,
            &["T1573.002", "T1587.003"],
            &[
                GradeWorth::base("own_certificate", 9.0),
                GradeWorth::base("own_certificate_named", 3.0).weak(),
                GradeWorth::base("no_name", 2.0).weak(),
                GradeWorth::add("unusual_port", 3.0),
                GradeWorth::add("lasting_certificate", 4.0),
                GradeWorth::add("old_version", 3.0),
                GradeWorth::add("dynamic_name", 4.0),
                GradeWorth::add("repeated", 2.0),
                GradeWorth::add("several_remotes", 4.0),
                GradeWorth::add("lonely_fingerprint", 3.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::TLS.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Tls(t)) = (context.outbound(), record) else { return };
        let lonely = context.network.is_lonely(host, t.ja4.as_deref(), self.settings.hosts);
        let mut base = Self::base(t, context);
        let end = t.head.tuple.resp;
        let program = t.ja4.as_deref().and_then(browsers);
        if let (Some(program), Some(domain)) = (program, t.sni.as_deref().and_then(domains::registrable)) {
            let sites = &mut states.of(host, context.now).sites;
            if base.is_none() && (sites.len() < MAX_REMOTES || sites.contains_key(program)) {
                let of = sites.entry(program.to_owned()).or_default();
                if of.0.len() < BROWSES[0] {
                    of.0.insert(hash_of(domain));
                }
                if of.1.len() < BROWSES[1] {
                    of.1.extend(t.sni.as_ref().map(hash_of));
                }
            }
        }
        let sites = |program| states.get(host)?.sites.get(program);
        let browser =
            program.and_then(sites).is_some_and(|of| of.0.len() >= BROWSES[0] && of.1.len() >= BROWSES[1]);
        if browser && base == Some("own_certificate") {
            base = Some("own_certificate_named");
        }
        let known = states.get(host).is_some_and(|s| s.remotes.contains_key(&(end.ip, end.port)));
        if base.is_none() && (!known || t.certificate.is_some()) {
            return;
        }
        let state = states.of(host, context.now);
        if state.remotes.len() >= MAX_REMOTES && !state.remotes.contains_key(&(end.ip, end.port)) {
            state.remotes.pop_first();
        }
        let remote = state.remotes.entry((end.ip, end.port)).or_default();
        remote.base = match (remote.base, base) {
            (None | Some("no_name"), Some(base)) => Some(base),
            (known, _) => known,
        };
        let Some(base) = remote.base else { return };
        if base != "no_name" && state.own.len() < MAX_REMOTES {
            state.own.insert(end.ip);
        }
        let several = state.own.len() > 1 && base != "no_name";
        remote.count += 1;
        remote.started = Some(remote.started.map_or(t.head.ts, |s| s.min(t.head.ts)));
        if remote.proofs.len() < 16 {
            remote.proofs.extend(t.packets.iter().take(3).map(|p| (t.head.flow, *p)));
        }
        let certificate = t.certificate.as_deref();
        let appliance = certificate.is_some_and(|c| c.not_after >= END_OF_TIME && c.not_after < AFTER_END);
        if !appliance && let Some(c) = certificate {
            remote.days = remote.days.max(c.not_after.since(c.not_before).as_secs() as i64 / 86_400);
        }
        let days = remote.days;
        let name = t.sni.as_deref().or_else(|| context.network.name_for(host, end.ip, context.now));
        let offered = t.ja4.as_deref().and_then(|j| j.get(1..3)).unwrap_or_default();
        let old =
            t.version <= TLS11 && matches!(offered, "10" | "11" | "s3" | "s2") && t.head.ts >= OLD_SINCE;
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        // What somebody looks after in a browser has several such devices, on ports of their own, with certificates for ever.
        let strange = !(browser && base == "own_certificate_named");
        add(strange && !USUAL_PORTS.contains(&end.port) && base != "no_name", "unusual_port");
        add(strange && days >= self.settings.lasting_days, "lasting_certificate");
        add(old, "old_version");
        add(name.is_some_and(domains::is_dynamic), "dynamic_name");
        add(strange && remote.count >= self.settings.repeated, "repeated");
        add(strange && several, "several_remotes");
        add(lonely, "lonely_fingerprint");
        let names: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        if remote.reported == names {
            return;
        }
        remote.reported = names;
        context.fire(Fire {
            host,
            key: "handshakes".into(),
            grades,
            started: remote.started.unwrap_or(t.head.ts),
            value: remote.count as f64,
            threshold: 1.0,
            unit: "handshakes with a remote nobody vouches for",
            source: "assumed",
            packets: remote.proofs.iter().map(|p| p.1).collect(),
            flows: remote.proofs.iter().map(|p| p.0).collect::<BTreeSet<_>>().into_iter().collect(),
            remotes: vec![end.ip],
            facts: vec![
                ("port", u64::from(end.port).into()),
                ("server_name", t.sni.clone().unwrap_or_default().into()),
                ("asked_for", name.unwrap_or_default().into()),
                ("subject", certificate.map(|c| c.subject.clone()).unwrap_or_default().into()),
                ("issuer", certificate.map(|c| c.issuer.clone()).unwrap_or_default().into()),
                ("sha1", certificate.map(Certificate::sha1).unwrap_or_default().into()),
                ("days_valid", (days.max(0) as u64).into()),
                ("ja4", t.ja4.clone().unwrap_or_default().into()),
                ("prevalent", context.prevalent(end.ip).into()),
            ],
        });
    }

    fn sentence(e: &Evidence) -> String {
        let certificate = match clean(e.text("subject")) {
            none if none.is_empty() => "no certificate seen".to_owned(),
            subject => {
                let (issuer, days) = (clean(e.text("issuer")), e.count("days_valid"));
                format!("certificate \"{subject}\" by \"{issuer}\", valid for {} days", human_count(days))
            }
        };
        let asked = defang(e.text("asked_for"));
        let asked = if asked.is_empty() { String::new() } else { format!(", asked for as {asked}") };
        format!("spoke TLS with {} port {}{asked}, {certificate}", e.remote(), e.count("port"))
    }
}

crate::held!(Remote: proofs, reported);
crate::held!(Host: remotes, own, sites);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.remotes.values_mut().for_each(|r| r.reported.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn certificate(days: i64) -> Certificate {
        Certificate {
            chain: vec![],
            proof: None,
            subject: "Server".into(),
            issuer: "Server".into(),
            self_signed: true,
            not_before: Timestamp::from_secs(0),
            not_after: Timestamp::from_secs(days * 86_400),
            names: vec![],
            der: vec![],
        }
    }

    fn hello(t: f64, port: u16, sni: Option<&str>, certificate: Option<Certificate>) -> Record {
        let Record::Tls(mut made) = tls(t, REMOTE, "x") else { unreachable!() };
        made.sni = sni.map(str::to_owned);
        made.head.tuple.resp.port = port;
        made.cipher = Some(0x1301);
        made.version = 0x0303;
        made.ja4 = Some("t12i210600_76e208dd3e22_2dae41c691ec".into());
        made.certificate = certificate.map(Box::new);
        Record::Tls(made)
    }

    fn run(all: Vec<Record>) -> Vec<String> {
        let mut b = Bench::new("tls_control", Watcher::new(Settings::default()));
        for (i, r) in all.into_iter().enumerate() {
            b.feed(r, 11.0 + i as f64);
        }
        b.grades()
    }

    #[test]
    fn a_certificate_of_its_own() {
        assert_eq!(run(vec![hello(1.0, 443, None, Some(certificate(365)))]), ["own_certificate"]);
        assert_eq!(
            run(vec![hello(1.0, 4782, Some("198.51.100.7"), Some(certificate(18_250)))]),
            ["own_certificate", "unusual_port", "lasting_certificate"]
        );
        assert_eq!(
            run(vec![hello(1.0, 443, None, Some(certificate(18_249)))]),
            ["own_certificate"],
            "a day too few"
        );
        let named = hello(1.0, 443, Some("example.com"), Some(certificate(365)));
        assert_eq!(run(vec![named]), ["own_certificate_named"]);
    }

    #[test]
    fn what_somebody_vouches_for() {
        let bought = Certificate {
            issuer: "An Authority".into(),
            self_signed: false,
            subject: "example.com".into(),
            names: vec!["example.com".into()],
            ..certificate(90)
        };
        assert!(run(vec![hello(1.0, 443, Some("example.com"), Some(bought.clone()))]).is_empty());
        assert!(run(vec![hello(1.0, 443, None, Some(bought.clone()))]).is_empty());
        for (subject, issuer) in [
            ("example.com", "CA.Example.com"),
            ("api.vendor.com", "fw01.corp-example.com"),
            ("nas.lan", "ca.lan"),
            ("vpn.home.arpa", "ca.home.arpa"),
            ("srv.example.com", "ca-v2.1"),
            ("wthpgkz.com", "Xpd Inc."),
        ] {
            let c = Certificate { subject: subject.into(), issuer: issuer.into(), ..bought.clone() };
            assert!(run(vec![hello(1.0, 443, None, Some(c))]).is_empty(), "{subject} by {issuer}");
        }
        let drawn = Certificate { subject: "wthpgkz.com".into(), issuer: "pfzkwk.us".into(), ..bought };
        assert_eq!(run(vec![hello(1.0, 443, None, Some(drawn.clone()))]), ["own_certificate"]);
        assert!(run(vec![hello(1.0, 443, Some("wthpgkz.com"), Some(drawn))]).is_empty());
    }

    #[test]
    fn an_appliance_to_the_end_of_time() {
        let mut c = certificate(0);
        c.not_after = Timestamp::from_secs(2_147_483_647);
        assert_eq!(run(vec![hello(1.0, 10_443, None, Some(c))]), ["own_certificate"]);
    }

    #[test]
    fn without_a_name_and_hidden() {
        assert_eq!(run(vec![hello(1.0, 4444, None, None)]), ["no_name"]);
        assert!(run(vec![hello(1.0, 443, None, None)]).is_empty());
        let asked = dns(0.5, "example.com", 1, 0, Some(REMOTE));
        assert!(run(vec![asked, hello(1.0, 4444, None, None)]).is_empty());
    }

    #[test]
    fn a_resumed_session_shows_no_certificate() {
        let all = vec![
            hello(1.0, 443, None, Some(certificate(365))),
            hello(2.0, 443, None, None),
            hello(3.0, 443, None, None),
        ];
        assert_eq!(run(all), ["own_certificate", "repeated"]);
    }

    #[test]
    fn who_browses_clicks_through_an_appliances_warning() {
        let visit = |t: f64, name: &str, named: bool| {
            let Record::Tls(mut made) = hello(t, 443, named.then_some(name), None) else { unreachable!() };
            let first = if named { "t13d1517h2" } else { "t13i1516h2" };
            made.ja4 = Some(format!("{first}_8daaf6152771_cb7bf5808d99"));
            made.certificate = (!named).then(|| Box::new(certificate(3650)));
            Record::Tls(made)
        };
        let names = [
            "www.example.com",
            "a.example.net",
            "b.example.net",
            "c.example.net",
            "d.example.net",
            "example.org",
        ];
        let after = |n: usize| {
            let mut all: Vec<Record> =
                names[..n].iter().enumerate().map(|(i, name)| visit(i as f64, name, true)).collect();
            all.push(visit(20.0, "", false));
            run(all)
        };
        assert_eq!(after(6), ["own_certificate_named"]);
        assert_eq!(after(5), ["own_certificate"]);
    }

    #[test]
    fn a_name_that_anybody_may_have() {
        let run_as = |name: &str| {
            run(vec![dns(0.5, name, 1, 0, Some(REMOTE)), hello(1.0, 443, None, Some(certificate(365)))])
        };
        assert_eq!(run_as("a.duckdns.org"), ["own_certificate", "dynamic_name"]);
        assert_eq!(run_as("a.example.com"), ["own_certificate"]);
        let mut others = dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE));
        if let Record::Dns(d) = &mut others {
            d.head.tuple.orig.ip = "10.0.0.99".parse().unwrap();
        }
        let all = vec![others, hello(1.0, 443, None, Some(certificate(365)))];
        assert_eq!(run(all), ["own_certificate"], "another host asked for it");
    }

    #[test]
    fn several_remotes_that_nobody_vouches_for() {
        let mut all = vec![hello(1.0, 443, None, Some(certificate(365)))];
        let Record::Tls(mut other) = hello(2.0, 443, None, Some(certificate(365))) else { unreachable!() };
        other.head.tuple.resp.ip = "203.0.113.9".parse().unwrap();
        all.push(Record::Tls(other));
        assert_eq!(run(all), ["own_certificate", "several_remotes"]);
    }

    #[test]
    fn again_and_again() {
        let all = |n: usize| {
            (0..n).map(|i| hello(1.0 + i as f64, 443, None, Some(certificate(365)))).collect::<Vec<_>>()
        };
        assert_eq!(run(all(2)), ["own_certificate"]);
        assert_eq!(run(all(3)), ["own_certificate", "repeated"]);
    }
}
