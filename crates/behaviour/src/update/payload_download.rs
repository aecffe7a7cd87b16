//! ## What it sees
//! A program fetches an executable, a script or something opaque by HTTP, unbidden by any page.
//!
//! ## Why it matters
//! What infects a host and what a bot adds later comes as a download (ATT&CK T1105). Updates of honest programs come from
//! their publishers' names, say what they are, and mostly travel over TLS.
//!
//! ## How it decides
//! By the first bytes of what came, whatever its declared type or name. *executable*: a Windows, Linux or macOS program, a Windows shortcut, or
//! one in base64 text or under a repeating key of at most 16 bytes (which its header's zeros show, *sealed*); *script*: text whose path ends in .ps1, .vbs, .hta, .bat, .sh …, or that only PowerShell or a Windows script host could run, by its first words or two of them; *installer*: an OLE package fetched by Windows Installer; *opaque*: at least
//! 20 kB that begin as nothing known, under a type of text; or, for a nameless program or a false browser, under none, a program's or that of any bytes; or a page that begins with 32 hexadecimal digits; *archive*: an archive of as much that a nameless program fetched from an address (nothing is built on it). Each from
//! elsewhere than the publishers on a shipped list. It counts more when the fetcher was no browser (*unbidden*: a false
//! browser, a nameless program or what Windows gives to scripts, without `Referer`), when it came from an address instead of a name, under a type or a name
//! that says something else (*disguised*), is declared a program and begins as none that any system runs (*sealed*), or says no file at all (*unnamed_file*), as one of several within ten minutes (archives that a program fetched count for that), and after at least three
//! names were tried in vain within a minute (*sources_tried*). *hidden*: a TLS connection that brought 20 kB–2 MB for a small request, after at
//! least 3 other names (by TLS, or by HTTP that was refused), each asked when the one before had failed, gave nothing within a minute, not even a handshake, and no other TLS worked meanwhile. Refusals that
//! come at once and without a word are a filter's, and do not count. What a program fetched that says what it is (curl, wget, a language's library) is told, and that it came from an address
//! or as one of several adds nothing: so do people, and their scripts; nor does it to what a false browser fetched under no program's type (*packed*), on which nothing is built.
//!
//! ## What else looks like this
//! Installers and updaters of small publishers over HTTP, administrators with wget, game content; updates of virus scanners that borrow Internet Explorer's name and are packed in a way of their own.
//!
//! ## Blind spots
//! TLS, but for *hidden*; payloads inside pictures or archives; payloads that come by mail or memory stick.
//!
//! ## Options
//! `opaque` (20000), `largest` (2000000), `request` (4000), `window` (10m), `sources` (3), `sources_within` (1m).
//!
//! ## References
//! ATT&CK T1105, T1036.008; C. Rossow et al., "Large-Scale Analysis of Malware Downloaders", DIMVA 2012.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, Http, Magic, Plainness, Record, Service, Stage, Timestamp, clean, defang,
    human_bytes, request_path, tally,
};
use serde::{Deserialize, Serialize};

use crate::context::ASKED_BY;
use crate::requests::{self, Maker};
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants, domains,
};

/// Downloads and attempts remembered of one host.
const MAX_REMEMBERED: usize = 64;
/// A server that says less than this has refused the handshake: an alert is 7 bytes, a ServerHello has at least 42 (RFC 8446).
const NO_HANDSHAKE: u64 = 40;
/// A refusal without a word that comes sooner than this is a filter's on the way (*assumed*).
const AT_ONCE: Duration = Duration::from_millis(100);
/// What Windows has for scripts to fetch with, and Java's bare runtime: no person types that. Tools that people use say who they are (curl, wget, languages' libraries), and a
/// download by one of them is what it is.
const FETCHERS: [&str; 6] =
    ["powershell", "windows installer", "certutil", "bitsadmin", "microsoft bits", "java/"];
/// What scripts are called.
const SCRIPTS: [&str; 10] = ["ps1", "vbs", "vbe", "hta", "bat", "cmd", "sh", "jse", "wsf", "sct"];
/// Names that promise something that cannot be run.
const HARMLESS: [&str; 23] = [
    "jpg", "jpeg", "png", "gif", "bmp", "ico", "txt", "htm", "html", "pdf", "css", "mp3", "rar", "zip", "7z",
    "gz", "tgz", "doc", "docx", "xls", "xlsx", "pptx", "rtf",
];

/// What types begin with that promise the same.
const HARMLESS_TYPES: [&str; 10] = [
    "image/",
    "text/",
    "audio/",
    "video/",
    "application/pdf",
    "application/json",
    "application/gzip",
    "application/x-gzip",
    "application/msword",
    "application/vnd.openxmlformats",
];

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes of an opaque download, at least (the module size of KRAKEN §5, *assumed* for others).
    pub opaque: u64,
    /// Bytes of a hidden download, at most (*assumed*, as a module's).
    pub largest: u64,
    /// Bytes that ask for a hidden download, at most (*assumed*, as a module's).
    pub request: u64,
    /// In which time several downloads belong together (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Names tried in vain before (*assumed*).
    pub sources: usize,
    /// Within which time they were tried (*assumed*).
    #[serde(with = "humantime_serde")]
    pub sources_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            opaque: 20_000,
            largest: 2_000_000,
            request: 4_000,
            window: Duration::from_mins(10),
            sources: 3,
            sources_within: Duration::from_mins(1),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Tried {
    from: Timestamp,
    to: Timestamp,
    domain: String,
    tls: bool,
    /// Whether it was a refusal: who is sent on elsewhere did not ask in vain.
    refused: bool,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    /// When, from whom and what.
    downloads: VecDeque<(Timestamp, IpAddr, String)>,
    /// Registrable domains that a program asked and that gave it nothing, from when to when.
    tried: VecDeque<Tried>,
    /// When connections of TLS that worked began.
    worked: VecDeque<Timestamp>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

fn extension(path: &str) -> String {
    let name = requests::bare_path(path).rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default()
}

/// What came, by its first bytes: the grade and what to call it.
fn kind(h: &Http, opaque: u64) -> Option<(&'static str, &'static str)> {
    let body = &h.response;
    let head = body.facts.map(|f| f.head().to_vec()).unwrap_or_default();
    let binary = (body.magic.is_executable() && body.magic != Magic::Script) || body.magic == Magic::Shortcut;
    // `MZ` and the header that follows it, in base64 and in hex.
    let encoded = [&b"TVqQAAMAAAA"[..], b"TVpQAAIAAAA", b"TVoAAAAAAAA", b"4d5a9000", b"4D5A9000"]
        .iter()
        .any(|start| head.starts_with(start));
    let agent = h.user_agent.as_deref().unwrap_or_default();
    if binary {
        return Some(("executable", body.magic.name()));
    }
    if encoded {
        return Some(("executable", "a program in text"));
    }
    if body.magic == Magic::SealedPe {
        return Some(("executable", "a program under a key"));
    }
    if body.magic == Magic::Ole && agent == "Windows Installer" {
        return Some(("installer", "ole"));
    }
    if body.len == 0 {
        return None;
    }
    let extension = extension(&h.path);
    let readable = matches!(
        body.magic,
        Magic::Text
            | Magic::CodedForm
            | Magic::Readings
            | Magic::Script
            | Magic::WindowsScript
            | Magic::Markup
            | Magic::None
    );
    let called = SCRIPTS.contains(&extension.as_str()) && readable;
    if (called || body.magic == Magic::WindowsScript) && h.status == Some(200) {
        return Some(("script", "script"));
    }
    let packed = matches!(body.magic, Magic::Zip | Magic::Rar | Magic::SevenZip | Magic::Cab);
    let nowhere = h.host.as_deref().is_none_or(domains::is_address_literal);
    if packed
        && nowhere
        && body.len >= opaque
        && h.status == Some(200)
        && requests::maker(h) == Maker::Nameless
    {
        return Some(("archive", body.magic.name()));
    }
    if body.len >= opaque && requests::is_page_of_digits(h) {
        return Some(("opaque", "digits"));
    }
    let large = body.len >= opaque && body.magic == Magic::None && !body.encoded;
    let bytes = body.declared.as_deref().is_none_or(|d| d == "application/octet-stream" || is_program(d));
    let by_none = match requests::maker(h) {
        Maker::Nameless => bytes,
        Maker::FalseBrowser => bytes && h.method == "GET" && h.referer.is_none() && h.status == Some(200),
        Maker::Browser | Maker::Program => false,
    };
    let text = body.declared.as_deref().is_some_and(|d| d.starts_with("text/"));
    let unreadable = body.facts.is_some_and(|f| matches!(f.plainness(), Plainness::Opaque | Plainness::Bits));
    let opaque = body.facts.is_some_and(|f| f.is_opaque());
    if large && ((text && unreadable) || (by_none && opaque)) {
        return Some(("opaque", "opaque"));
    }
    None
}

/// Whether a declared type is a program's (Apache's `mime.types`, and what servers give in its place).
fn is_program(declared: &str) -> bool {
    matches!(
        declared,
        "application/x-msdownload"
            | "application/x-msdos-program"
            | "application/x-dosexec"
            | "application/x-executable"
            | "application/vnd.microsoft.portable-executable"
    )
}

fn is_unbidden(h: &Http) -> bool {
    let agent = h.user_agent.as_deref().unwrap_or_default().to_ascii_lowercase();
    match requests::maker(h) {
        // A POST that a page led to is no false browser's.
        Maker::Nameless | Maker::FalseBrowser => h.referer.is_none() || h.method == "POST",
        Maker::Program => h.referer.is_none() && FETCHERS.iter().any(|f| agent.contains(f)),
        Maker::Browser => false,
    }
}

/// Whether a program fetched it that says what it is: people and their scripts fetch so, from addresses too, one file after another.
fn is_by_a_tool(h: &Http) -> bool {
    requests::maker(h) == Maker::Program && !is_unbidden(h)
}

/// Whether type or name promise something that cannot be run.
fn is_disguised(h: &Http, what: &str) -> bool {
    let declared = h.response.declared.as_deref().unwrap_or_default();
    let by_type = HARMLESS_TYPES.iter().any(|t| declared.starts_with(t));
    let by_name = HARMLESS.contains(&extension(&h.path).as_str());
    match what {
        "executable" => by_type || by_name,
        // That a script is text is true.
        "opaque" | "script" => by_name,
        _ => false,
    }
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Notes that a program asked in vain.
    fn tried(states: &mut States<'_, Host>, host: IpAddr, h: &Http, now: Timestamp) {
        let failed = h.status.is_none_or(|s| s >= 300) || h.response.magic == Magic::Markup;
        if !failed || h.method != "GET" || !is_unbidden(h) {
            return;
        }
        if let Some(domain) = h.host.as_deref().and_then(domains::registrable) {
            Self::in_vain(
                states,
                host,
                Tried {
                    from: h.head.ts,
                    to: h.head.known,
                    domain: domain.to_owned(),
                    tls: false,
                    refused: h.status.is_none_or(|s| s >= 400),
                },
                now,
            );
        }
    }

    fn in_vain(states: &mut States<'_, Host>, host: IpAddr, made: Tried, now: Timestamp) {
        let tried = &mut states.of(host, now).tried;
        tried.push_back(made);
        if tried.len() > MAX_REMEMBERED {
            tried.pop_front();
        }
    }

    /// A connection of TLS: one in vain, or one that brought much after several in vain.
    fn tls(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let remote = c.head.tuple.resp.ip;
        let name = context.network.name_of(remote, context.now);
        let listed = |n: &&str| domains::is_software_update(n) || domains::is_connectivity_check(n);
        if name.filter(listed).is_some_and(|n| context.vouches(states.card(host), host, remote, n)) {
            return;
        }
        let domain = name.and_then(domains::registrable);
        if c.bytes[1] <= NO_HANDSHAKE {
            let filtered = c.bytes[1] == 0 && c.duration() < AT_ONCE;
            if let Some(domain) = domain.filter(|_| !filtered && c.missed_bytes[1] == 0) {
                let made = Tried {
                    from: c.head.ts,
                    to: c.last,
                    domain: domain.to_owned(),
                    tls: true,
                    refused: true,
                };
                Self::in_vain(states, host, made, context.now);
            }
            return;
        }
        let s = &self.settings;
        let (window, sources) = (s.sources_within, s.sources);
        let fits = (s.opaque..=s.largest).contains(&c.bytes[1]) && c.bytes[0] <= s.request;
        // What works matters only after something was in vain.
        let Some(state) = states.get_mut(host).filter(|s| !s.tried.is_empty()) else { return };
        state.worked.push_back(c.head.ts);
        if state.worked.len() > MAX_REMEMBERED {
            state.worked.pop_front();
        }
        let before = |t: &&Tried| t.refused && t.from <= c.head.ts && c.head.ts.since(t.from) <= window;
        let mut tried: Vec<&Tried> =
            state.tried.iter().filter(before).filter(|t| Some(t.domain.as_str()) != domain).collect();
        tried.sort_by_key(|t| t.from);
        let names: BTreeSet<&str> = tried.iter().map(|t| t.domain.as_str()).collect();
        let in_turn =
            tried.windows(2).all(|w| w[0].to <= w[1].from) && tried.iter().all(|t| t.to <= c.head.ts);
        let worked = |from: Timestamp| state.worked.iter().any(|t| *t >= from && *t < c.head.ts);
        if !fits || names.len() < sources || !in_turn || tried.first().is_some_and(|t| worked(t.from)) {
            return;
        }
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        context.fire(Fire {
            host,
            key: "hidden".into(),
            grades: vec![("hidden", 1)],
            started: tried.first().map_or(c.head.ts, |t| t.from),
            value: names.len() as f64,
            threshold: sources as f64,
            unit: "names tried in vain before",
            source: "assumed",
            packets: c.key_packets.to_vec(),
            flows: vec![c.head.flow],
            remotes: vec![remote],
            facts: vec![
                ("is", "TLS".into()),
                ("bytes", c.bytes[1].into()),
                ("host", context.network.name_of(remote, context.now).unwrap_or_default().into()),
                ("names", names.into()),
                ("prevalent", context.prevalent(remote).into()),
            ],
        });
    }

    /// Notes a download; gives how many others there were of late.
    fn note(&self, states: &mut States<'_, Host>, host: IpAddr, h: &Http, now: Timestamp) -> usize {
        let window = self.settings.window;
        let downloads = &mut states.of(host, now).downloads;
        let source = format!("{}{}", h.host.as_deref().unwrap_or_default(), requests::bare_path(&h.path));
        downloads.retain(|(ts, ..)| h.head.ts.since(*ts) <= window);
        let others = downloads.iter().filter(|d| d.2 != source).count();
        downloads.push_back((h.head.ts, h.head.tuple.resp.ip, source));
        if downloads.len() > MAX_REMEMBERED {
            downloads.pop_front();
        }
        others
    }

    fn download(
        &self,
        states: &mut States<'_, Host>,
        host: IpAddr,
        h: &Http,
        what: (&'static str, &'static str),
        context: &mut Context<'_>,
    ) {
        let remote = h.head.tuple.resp.ip;
        let name = h.host.clone().unwrap_or_else(|| remote.to_string());
        let within = self.settings.sources_within;
        // Firmware, maps and films come so too: packed, one after the other, and from addresses.
        let declared = h.response.declared.as_deref().unwrap_or_default();
        let packed = what.0 == "opaque"
            && requests::maker(h) == Maker::FalseBrowser
            && !is_program(declared)
            && !declared.starts_with("text/");
        let others = if packed { 0 } else { self.note(states, host, h, context.now) };
        let state = states.of(host, context.now);
        let tried: BTreeSet<&str> = state
            .tried
            .iter()
            .filter(|t| !t.tls && t.from <= h.head.ts && h.head.ts.since(t.from) <= within)
            .map(|t| t.domain.as_str())
            .collect();
        let tried = tried.len();
        let tool = is_by_a_tool(h);
        let base = match what.0 {
            _ if tool => "by_a_tool",
            _ if packed => "packed",
            base => base,
        };
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        let unbidden = is_unbidden(h);
        // That nobody is named on either side is what an archive stands on already.
        let archive = what.0 == "archive";
        add(unbidden && !archive, "unbidden");
        add(domains::is_address_literal(&name) && !tool && !packed && !archive, "from_address");
        add(is_disguised(h, what.0), "disguised");
        add(h.response.magic == Magic::SealedPe || (what.0 == "opaque" && is_program(declared)), "sealed");
        add(unbidden && what.0 == "executable" && extension(&h.path).is_empty(), "unnamed_file");
        add(others > 0 && !tool, "several");
        add(unbidden && tried >= self.settings.sources, "sources_tried");
        context.fire(Fire {
            host,
            key: if tool { "by_a_tool" } else { what.0 }.into(),
            grades,
            started: h.head.ts,
            value: h.response.len as f64,
            threshold: if what.0 == "opaque" { self.settings.opaque as f64 } else { 2.0 },
            unit: "bytes of a program, script or something opaque",
            source: "assumed",
            packets: h.packets.clone(),
            flows: vec![h.head.flow],
            remotes: vec![remote],
            facts: vec![
                ("is", what.1.into()),
                ("declared", h.response.declared.clone().unwrap_or_default().into()),
                ("host", name.into()),
                ("path", h.path.clone().into()),
                ("user_agent", h.user_agent.clone().unwrap_or_default().into()),
                ("names_tried_before", (tried as u64).into()),
                ("prevalent", context.prevalent(remote).into()),
                (ASKED_BY, h.method.clone().into()),
            ],
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        brings: true,
        commands: false,
        alike: &[
            Alike::to(Honest::Agent).unless(&[
                "script",
                "unbidden",
                "disguised",
                "unnamed_file",
                "sources_tried",
                "hidden",
            ]),
            Alike::to(Honest::Device).unless(&[
                "executable",
                "script",
                "disguised",
                "sources_tried",
                "hidden",
            ]),
            Alike::to(Honest::Browsing).unless(&[
                "unbidden",
                "disguised",
                "unnamed_file",
                "sources_tried",
                "hidden",
                "from_address",
            ]),
            Alike::to(Honest::Administration).unless(&[
                "disguised",
                "unnamed_file",
                "sources_tried",
                "hidden",
            ]),
        ],
        needs: &[Traffic::Http],
        capability: Some("file_download"),
        ..About::new(
            Stage::Update,
            &["T1105", "T1036.008"],
            &[
                GradeWorth::base("executable", 4.0).key("executable"),
                GradeWorth::base("installer", 4.0).key("installer"),
                GradeWorth::base("script", 4.0).key("script"),
                GradeWorth::base("opaque", 2.0).key("opaque"),
                GradeWorth::base("packed", 2.0).key("opaque").weak(),
                GradeWorth::base("archive", 7.0).key("archive").weak(),
                GradeWorth::base("by_a_tool", 3.0).key("by_a_tool").weak(),
                GradeWorth::base("hidden", 9.0).key("hidden"),
                GradeWorth::add("unbidden", 11.0),
                GradeWorth::add("from_address", 4.0),
                GradeWorth::add("disguised", 4.0),
                GradeWorth::add("sealed", 4.0),
                GradeWorth::add("unnamed_file", 3.0),
                GradeWorth::add("several", 3.0),
                GradeWorth::add("sources_tried", 4.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::HTTP.and(Wants::CLOSED).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let h = match record {
            Record::Http(h) => h,
            Record::Conn(c) if c.service == Service::Tls && c.phase == ConnPhase::Closed && c.start_seen => {
                if let Some(host) = context.outbound() {
                    self.tls(states, host, c, context);
                }
                return;
            }
            _ => return,
        };
        let Some(host) = context.outbound() else { return };
        if requests::is_housekeeping(h, states.card(host), context) {
            return;
        }
        if let Some(what) = kind(h, self.settings.opaque) {
            self.download(states, host, h, what, context);
            return;
        }
        if h.response.magic.is_archive() && is_unbidden(h) && h.response.magic != Magic::Gzip {
            self.note(states, host, h, context.now);
        }
        Self::tried(states, host, h, context.now);
    }

    fn sentence(e: &Evidence) -> String {
        let host = defang(e.text("host"));
        if e.key == "hidden" {
            let (bytes, tried) = (human_bytes(e.count("bytes")), tally(e.value));
            return format!(
                "downloaded {bytes} over TLS from {host}, after {tried} other names had given nothing"
            );
        }
        let declared = match e.text("declared") {
            "" => String::new(),
            declared => format!(", declared as {}", clean(declared)),
        };
        let what = match e.key.as_ref() {
            "opaque" => "encrypted-looking data".to_owned(),
            "by_a_tool" => format!("a program ({})", clean(e.text("is"))),
            // An executable, an installer, an archive, a script.
            key => format!("{} {key} ({})", if key == "script" { "a" } else { "an" }, clean(e.text("is"))),
        };
        let of = request_path(e.text("path")).map(|path| format!(" ({path})")).unwrap_or_default();
        let bytes = human_bytes(e.value as u64);
        let what =
            if e.key == "opaque" { format!("{bytes} of {what}") } else { format!("{what} of {bytes}") };
        let unbidden = if e.has("unbidden") { ", to which no page led" } else { "" };
        let by = if e.key == "by_a_tool" { ", with a tool that says who it is" } else { "" };
        format!("downloaded {what} from {host}{of}{declared}{unbidden}{by}")
    }
}

crate::held!(Tried: domain);
crate::held!(Host: downloads, tried, worked);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{BodyFacts, PayloadFacts, RequestHeaders, Transport};

    fn get(t: f64, host: &str, path: &str, body: BodyFacts) -> Http {
        let mut h = http(t, REMOTE, "GET", Some(host), path);
        h.response = body;
        h
    }

    fn program() -> BodyFacts {
        BodyFacts {
            len: 90_000,
            declared: Some("application/x-msdownload".into()),
            magic: Magic::Pe,
            ..BodyFacts::default()
        }
    }

    fn run(all: Vec<Http>) -> Vec<String> {
        let mut b = Bench::new("payload_download", Watcher::new(Settings::default()));
        for h in all {
            let t = h.head.ts.0 as f64 / 1e9;
            b.feed(Record::Http(Box::new(h)), t + 0.5);
        }
        b.grades()
    }

    #[test]
    fn an_executable_and_who_fetched_it() {
        assert_eq!(run(vec![get(1.0, "example.com", "/a.exe", program())]), ["executable", "unbidden"]);
        let mut person = get(1.0, "example.com", "/a.exe", program());
        person.user_agent = Some("Mozilla/5.0 (Windows NT 10.0; rv:128.0) Firefox/128.0".into());
        person.headers.add(RequestHeaders::LANGUAGE);
        assert_eq!(run(vec![person]), ["executable"]);
        let mut tool = get(1.0, "198.51.100.7", "/sshd", program());
        tool.user_agent = Some("Wget/1.18".into());
        let mut second = tool.clone();
        (second.head.ts, second.path) = (at(2.0), "/other".into());
        assert_eq!(run(vec![tool.clone(), second]), ["by_a_tool"], "from an address, and not the first");
        tool.user_agent = Some("Microsoft BITS/7.8".into());
        assert_eq!(run(vec![tool]), ["executable", "unbidden", "from_address", "unnamed_file"]);
        let publisher = "au.download.windowsupdate.com";
        let mut b = Bench::new("payload_download", Watcher::new(Settings::default()));
        b.feed(dns(0.5, publisher, 1, 0, Some(REMOTE)), 0.5);
        b.feed(Record::Http(Box::new(get(1.0, publisher, "/a.exe", program()))), 1.5);
        assert!(b.grades().is_empty());
        assert_eq!(
            run(vec![get(1.0, publisher, "/a.exe", program())]),
            ["executable", "unbidden"],
            "its own word"
        );
    }

    #[test]
    fn under_another_type_or_name() {
        let image = BodyFacts { declared: Some("image/gif".into()), ..program() };
        assert_eq!(
            run(vec![get(1.0, "example.com", "/a", image)]),
            ["executable", "unbidden", "disguised", "unnamed_file"]
        );
        let packed = BodyFacts { declared: Some("application/x-gzip".into()), ..program() };
        assert!(run(vec![get(1.0, "example.com", "/a", packed)]).contains(&"disguised".to_owned()));
        for name in ["/a.rar", "/a.docx", "/a.tar.gz"] {
            assert_eq!(
                run(vec![get(1.0, "example.com", name, program())]),
                ["executable", "unbidden", "disguised"],
                "{name}"
            );
        }
        let text = BodyFacts {
            len: 500_000,
            declared: Some("text/plain".into()),
            magic: Magic::Text,
            facts: payload(b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAA"),
            ..BodyFacts::default()
        };
        assert_eq!(
            run(vec![get(1.0, "example.com", "/a.txt", text)]),
            ["executable", "unbidden", "disguised"]
        );
    }

    #[test]
    fn something_opaque_and_its_edges() {
        let opaque = |len: u64, declared: &str| BodyFacts {
            len,
            declared: Some(declared.into()),
            facts: payload(&random(512, 9)),
            ..BodyFacts::default()
        };
        assert_eq!(
            run(vec![get(1.0, "example.com", "/x", opaque(20_000, "text/html"))]),
            ["opaque", "unbidden"]
        );
        assert!(run(vec![get(1.0, "example.com", "/x", opaque(19_999, "text/html"))]).is_empty());
        assert!(run(vec![get(1.0, "example.com", "/x", opaque(20_000, "video/mp4"))]).is_empty());
        // By a false browser.
        let by = |agent: &str, t: f64, declared: &str| {
            let mut h = get(t, "example.com", "/x", opaque(20_000, declared));
            h.user_agent = Some(agent.into());
            h
        };
        let ie = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1)";
        let sealed = by(ie, 20.0, "application/x-msdownload");
        assert_eq!(run(vec![sealed.clone()]), ["opaque", "unbidden", "sealed"]);
        assert_eq!(run(vec![by(ie, 1.0, "application/octet-stream")]), ["packed", "unbidden"]);
        assert!(run(vec![by("curl/8.0", 1.0, "application/octet-stream")]).is_empty(), "it says what it is");
        assert!(run(vec![by(ie, 1.0, "video/mp4")]).is_empty());
        let mut led = sealed.clone();
        led.referer = Some("http://example.com/".into());
        assert!(run(vec![led]).is_empty(), "a page led to it");
    }

    #[test]
    fn after_names_tried_in_vain() {
        let vain = |t: f64, host: &str| {
            let mut h = get(t, host, "/wp-content/a/", BodyFacts::default());
            h.status = Some(404);
            h
        };
        let mut all = vec![vain(1.0, "a.example.com"), vain(2.0, "example.net"), vain(3.0, "example.org")];
        all.push(get(10.0, "example.edu", "/x/", program()));
        assert_eq!(run(all.clone()), ["executable", "unbidden", "unnamed_file", "sources_tried"]);
        all.remove(0);
        assert_eq!(run(all), ["executable", "unbidden", "unnamed_file"]);
    }

    /// Names tried in vain by TLS, each for `lasted` seconds and answered by `said` bytes, then one that brings `brought`.
    fn sources(domains: &[&str], lasted: f64, said: u64, brought: u64, gap: f64) -> Vec<(Record, f64)> {
        let mut all = Vec::new();
        for (i, domain) in domains.iter().enumerate() {
            let remote = format!("198.51.100.{}", i + 1);
            let begin = 2.0 + gap * i as f64;
            all.push((dns(begin - 1.0, domain, 1, 0, Some(&remote)), begin - 0.9));
            let mut c = conn(begin, Transport::Tcp, &remote, 443);
            c.service = Service::Tls;
            c.last = c.head.ts.plus(Duration::from_secs_f64(lasted));
            c.bytes = [120, if i + 1 < domains.len() { said } else { brought }];
            all.push((record(c), begin + lasted));
        }
        all
    }

    fn reported(mut all: Vec<(Record, f64)>) -> Vec<String> {
        let mut b = Bench::new("payload_download", Watcher::new(Settings::default()));
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (record, at) in all {
            b.feed(record, at);
        }
        b.grades()
    }

    #[test]
    fn hidden_in_tls_after_names_tried_in_vain() {
        const FOUR: [&str; 4] = ["example.com", "example.net", "example.org", "example.edu"];
        assert_eq!(reported(sources(&FOUR, 1.0, 7, 20_000, 2.0)), ["hidden"]);
        assert_eq!(reported(sources(&FOUR, 1.0, 40, 2_000_000, 19.0)), ["hidden"]);
        assert!(reported(sources(&FOUR[1..], 1.0, 7, 20_000, 2.0)).is_empty(), "two names");
        assert!(reported(sources(&FOUR, 2.5, 7, 20_000, 2.0)).is_empty(), "all at once, as browsers do");
        assert!(reported(sources(&FOUR, 1.0, 7, 20_000, 21.0)).is_empty(), "not within a minute");
        assert!(reported(sources(&FOUR, 1.0, 7, 19_999, 2.0)).is_empty());
        assert!(reported(sources(&FOUR, 1.0, 7, 2_000_001, 2.0)).is_empty());
        assert!(reported(sources(&FOUR, 1.0, 41, 20_000, 2.0)).is_empty(), "they shook hands");
        assert!(reported(sources(&FOUR, 0.01, 0, 20_000, 2.0)).is_empty(), "a filter on the way");
        let publisher = ["example.com", "example.net", "example.org", "download.windowsupdate.com"];
        assert!(reported(sources(&publisher, 1.0, 7, 20_000, 2.0)).is_empty());
        let mut between = conn(3.5, Transport::Tcp, "198.51.100.77", 443);
        (between.service, between.bytes) = (Service::Tls, [900, 6_000]);
        let mut all = sources(&FOUR, 1.0, 7, 20_000, 2.0);
        all.push((record(between), 5.0));
        assert!(reported(all).is_empty(), "something else worked meanwhile");
        let moved = |t: f64, host: &str| {
            let mut h = get(t, host, "/", BodyFacts::default());
            h.status = Some(301);
            (Record::Http(Box::new(h)), t)
        };
        let mut all = sources(&FOUR[3..], 1.0, 7, 40_000, 2.0);
        all.extend([moved(0.2, "example.com"), moved(0.4, "example.net"), moved(0.6, "example.org")]);
        assert!(reported(all).is_empty(), "redirections");
        let refused = |t: f64, host: &str| {
            let mut h = get(t, host, "/", BodyFacts::default());
            (h.status, h.head.known) = (Some(404), at(t));
            (Record::Http(Box::new(h)), t)
        };
        let by_http = [refused(0.2, "example.com"), refused(0.4, "example.net"), refused(0.6, "example.org")];
        let mut all = sources(&FOUR[3..], 1.0, 7, 40_000, 2.0);
        all.extend(by_http.clone());
        assert_eq!(reported(all.clone()), ["hidden"], "by HTTP, too");
        let mut between = conn(0.5, Transport::Tcp, "198.51.100.77", 443);
        (between.service, between.bytes) = (Service::Tls, [900, 6_000]);
        all.push((record(between), 0.7));
        assert!(reported(all).is_empty(), "TLS worked meanwhile");
    }

    #[test]
    fn archives_from_nowhere_and_pages_of_digits() {
        let archive = |host: &str, len: u64| {
            get(1.0, host, "/a.zip", BodyFacts { len, magic: Magic::Zip, ..BodyFacts::default() })
        };
        assert_eq!(run(vec![archive("198.51.100.7", 20_000)]), ["archive"]);
        assert!(run(vec![archive("example.com", 20_000)]).is_empty(), "it has a name");
        assert!(run(vec![archive("198.51.100.7", 19_999)]).is_empty());
        let mut tool = archive("198.51.100.7", 20_000);
        tool.user_agent = Some("curl/8.0".into());
        assert!(run(vec![tool]).is_empty(), "it says what it is");
        let page = |text: &[u8]| {
            let body = BodyFacts {
                len: 120_000,
                declared: Some("text/html".into()),
                magic: Magic::Text,
                facts: Some(PayloadFacts::of(&text.repeat(64), 512)),
                ..BodyFacts::default()
            };
            get(1.0, "example.com", "/p", body)
        };
        assert_eq!(run(vec![page(b"3fa9c17e")]), ["opaque", "unbidden"]);
        assert!(run(vec![page(b"words ok")]).is_empty());
    }

    #[test]
    fn several_within_ten_minutes() {
        let two = |gap: f64| {
            run(vec![
                get(1.0, "example.com", "/a.exe", program()),
                get(1.0 + gap, "example.net", "/b.exe", program()),
            ])
        };
        assert_eq!(two(599.0), ["executable", "unbidden", "several"]);
        assert_eq!(two(601.0), ["executable", "unbidden"]);
    }

    #[test]
    fn scripts_by_their_name() {
        let text = BodyFacts { len: 900, magic: Magic::Text, ..BodyFacts::default() };
        assert_eq!(run(vec![get(1.0, "example.com", "/a.ps1", text.clone())]), ["script", "unbidden"]);
        assert!(run(vec![get(1.0, "example.com", "/a.js", text)]).is_empty());
    }
}
