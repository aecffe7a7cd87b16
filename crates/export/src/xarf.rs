//! Reports for abuse desks: XARF 4 (JSON) and ARF (RFC 5965, mail).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use base64::Engine;
use behaviour::{CATALOGUE, Entry};
use record::{FactValue, Stage, Timestamp};
use report::{Indicator, IndicatorKind, clean, describe, indicators, strongest};
use serde_json::{Value, json};
use verdict::{HostStory, ScoredEvidence, Verdict};

use crate::{own, stix};

/// Behaviours that are attacks on others, whatever else their host is.
const ATTACKS: [&str; 7] = [
    "spam_run",
    "horizontal_scan",
    "vertical_scan",
    "udp_sweep",
    "login_guessing",
    "flood",
    "lateral_movement",
];

/// Who reports.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// The organisation.
    pub org: String,
    /// A mail address.
    pub contact: String,
    /// The public address that the host was behind, where its own is none.
    pub source: Option<IpAddr>,
    /// Whether to report what is less than likely and attacks nobody.
    pub anyway: bool,
    /// Whether hosts have other addresses here than they have (a pseudonym may be somebody else's address).
    pub is_renamed: bool,
    /// Whether whoever asks can say `--source`.
    pub asks_source: bool,
}

impl Reporter {
    fn domain(&self) -> &str {
        self.contact.rsplit_once('@').map_or("invalid", |c| c.1)
    }

    /// The address that a desk knows the host by.
    fn source(&self, s: &HostStory) -> IpAddr {
        self.source.unwrap_or(s.host)
    }

    /// Why no abuse desk can be told of a host; nothing where one can.
    pub fn refuses(&self, s: &HostStory) -> Option<String> {
        let attacks = s.findings.iter().any(|f| ATTACKS.contains(&f.behaviour.as_ref()));
        let why = if s.verdict < Verdict::Likely && !attacks && !self.anyway {
            format!(
                "{} is {}, and desks are told of what is at least likely or attacks others (--anyway)",
                s.label(),
                s.verdict
            )
        } else if self.source.is_none() && self.is_renamed {
            "its address is another's here: name its own public one (--source)".to_owned()
        } else if !record::leads_somewhere(self.source(s)) {
            let how =
                if self.asks_source { ": name the public address that it was behind (--source)" } else { "" };
            format!("no desk knows {}{how}", self.source(s))
        } else {
            return None;
        };
        Some(format!("without a report for abuse desks (xarf.json, abuse.eml): {why}"))
    }
}

/// What is reported of whom, in a line.
fn title(s: &HostStory, source: IpAddr) -> String {
    let kinds: BTreeSet<String> = s.findings.iter().map(|f| clean(&f.kind)).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    let of = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!("{source}: {}{of}", s.verdict)
}

fn story(s: &HostStory, source: IpAddr) -> String {
    let mut text = format!("{}, {:+.1} dB\n", title(s, source), s.level_db);
    // What it did to its neighbours is the house's own affair, and so is what it is called there.
    let own = |e: &&ScoredEvidence| e.evidence.remotes.iter().all(|ip| record::leads_somewhere(*ip));
    // Of what grew step by step what it came to.
    let shown = Stage::ALL.into_iter().flat_map(|stage| strongest(s, stage));
    let mut shown: Vec<&ScoredEvidence> = shown.filter(own).collect();
    shown.sort_by_key(|e| e.evidence.started);
    for e in shown.into_iter().take(60) {
        let mut said = describe(&e.evidence);
        for name in s.names.host_names.iter().filter(|n| !n.is_empty()) {
            said = said.replace(clean(name).as_str(), "(its name)");
        }
        let _ = writeln!(text, "{} {:<10} {said}", e.evidence.started, e.evidence.stage.name());
    }
    text
}

/// The behaviours that fired, by the order of the catalogue.
fn fired(s: &HostStory) -> impl Iterator<Item = &'static Entry> {
    CATALOGUE.iter().filter(|b| s.evidence.iter().any(|e| e.evidence.behaviour == b.name))
}

/// What the bot could be seen to do, in XARF's words.
fn capabilities(s: &HostStory) -> BTreeSet<&'static str> {
    fired(s).filter_map(|b| b.about.capability).collect()
}

/// A report of class infrastructure, type botnet (XARF 4).
pub fn xarf(s: &HostStory, by: &Reporter) -> Value {
    let at = s.level_at.or(s.last).unwrap_or(Timestamp(0));
    let contact = json!({ "org": by.org, "contact": by.contact, "domain": by.domain() });
    let source = by.source(s);
    let text = story(s, source);
    let all = indicators(s);
    // Whoever shows in most behaviours of its channel is the one that commands.
    let outside = |i: &&Indicator| i.value.parse().map_or(true, record::leads_somewhere);
    let controller = all.iter().filter(|i| i.stage <= Stage::Command).filter(outside).min_by_key(|i| {
        (i.stage != Stage::Command, std::cmp::Reverse(i.behaviours.len()), i.kind != IndicatorKind::Domain)
    });
    let mut made = json!({
        "xarf_version": "4.0.0",
        "report_id": own(&format!("xarf|{source}|{at}")),
        "timestamp": at,
        "reporter": contact,
        "sender": contact,
        "source_identifier": source,
        "category": "infrastructure",
        "type": "botnet",
        "evidence_source": "traffic_analysis",
        "confidence": f64::from(stix::confidence(s.verdict)) / 100.0,
        "description": format!("{}, {:+.1} dB", title(s, source), s.level_db),
        "compromise_evidence": text,
        "evidence": [{
            "content_type": "text/plain",
            "description": "the story, with times in UTC",
            "payload": base64::engine::general_purpose::STANDARD.encode(&text),
            "size": text.len(),
        }],
    });
    if let Value::Object(all) = &mut made {
        let can = capabilities(s);
        if !can.is_empty() {
            all.insert("bot_capabilities".into(), json!(can));
        }
        if let Some(c) = controller {
            all.insert("c2_server".into(), json!(c.value));
            let protocol = fired(s).find_map(|b| b.about.protocol).unwrap_or("custom");
            all.insert("c2_protocol".into(), json!(protocol));
        }
        if let Some(f) = s.findings.iter().find(|f| f.kind.starts_with("Kraken")) {
            all.insert("malware_family".into(), json!(f.kind));
        }
    }
    made
}

/// A moment as mail writes it (RFC 5322 §3.3), in UTC.
fn date(t: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(t.0.div_euclid(1_000_000_000)).unwrap_or_default();
    jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

/// One line of a mail's head: what would end it is left out, and it stays ASCII.
fn line(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect()
}

/// A name before an address (RFC 5322 §3.2.5): quoted where it is more than words.
fn phrase(text: &str) -> String {
    let text = line(text);
    if text.chars().all(|c| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c)) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text as the body of a mail part, seven bits a byte. What it holds has been made safe to show.
fn body(text: &str) -> String {
    let text: String = text.lines().map(|l| l.to_owned() + "\r\n").collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let mut out = String::new();
    for chunk in encoded.as_bytes().chunks(76) {
        out.push_str(&String::from_utf8_lossy(chunk));
        out.push_str("\r\n");
    }
    out
}

/// The same as a mail (RFC 5965; feedback type `virus`, which is its word for infected hosts), to be sent by whoever wants to.
pub fn arf(s: &HostStory, by: &Reporter) -> String {
    let at = s.level_at.or(s.last).unwrap_or(Timestamp(0));
    let source = by.source(s);
    let id = own(&format!("arf|{source}|{at}"));
    let boundary = format!("report-{id}");
    let port = s.evidence.iter().find_map(|e| match e.evidence.facts.get("port") {
        Some(FactValue::Count(p)) => Some(*p),
        _ => None,
    });
    let mut out = String::new();
    let head = [
        format!("From: {} <{}>", phrase(&by.org), line(&by.contact)),
        format!("Subject: {}", line(&title(s, source))),
        format!("Message-ID: <{id}@{}>", line(by.domain())),
        format!("Date: {}", date(at)),
        "MIME-Version: 1.0".to_owned(),
        format!("Content-Type: multipart/report; report-type=feedback-report; boundary=\"{boundary}\""),
    ];
    for h in head {
        let _ = write!(out, "{h}\r\n");
    }
    let part = |out: &mut String, kind: &str, text: &str| {
        let _ = write!(out, "\r\n--{boundary}\r\nContent-Type: {kind}\r\n{text}");
    };
    let words = format!(
        "{}\nTimes are UTC. The packets, the report and the indicators are in the bundle that this belongs to.\n",
        story(s, source)
    );
    part(
        &mut out,
        "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64",
        &format!("\r\n{}", body(&words)),
    );
    let port = port.map(|p| format!("Destination-Port: {p}\r\n")).unwrap_or_default();
    part(
        &mut out,
        "message/feedback-report",
        &format!(
            "\r\nFeedback-Type: virus\r\nUser-Agent: Hydrophone/{}\r\nVersion: 1\r\nSource-IP: {}\r\nArrival-Date: {}\r\nIncidents: {}\r\n{port}",
            env!("CARGO_PKG_VERSION"),
            source,
            date(at),
            s.evidence.len().max(1)
        ),
    );
    part(
        &mut out,
        "application/json; name=\"xarf.json\"\r\nContent-Transfer-Encoding: base64",
        &format!("\r\n{}", body(&format!("{:#}", xarf(s, by)))),
    );
    let _ = write!(out, "\r\n--{boundary}--\r\n");
    out
}
