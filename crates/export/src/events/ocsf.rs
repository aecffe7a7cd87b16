//! OCSF 1.3: a Detection Finding (2004) for each host, since it is hosts that are judged, and a Network Activity (4001) for each flow that
//! proves something, which names its finding as `metadata.correlation_uid`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;

use behaviour::Technique;
use record::{FlowId, Stage, Timestamp, clean};
use report::CaptureLine;
use serde::Serialize;
use verdict::{HostStory, Verdict};

use super::{Ended, Event, Own, Told, finite, iana_name, line};
use crate::own;

/// The version of the schema.
const VERSION: &str = "1.3.0";
/// Pieces of evidence of one finding, and as many flows: what bears a host out is among the strongest.
const MOST: usize = 256;

#[derive(Serialize)]
struct Kind {
    category_uid: u32,
    category_name: &'static str,
    class_uid: u32,
    class_name: &'static str,
    activity_id: u32,
    activity_name: &'static str,
    type_uid: u32,
    type_name: &'static str,
}

const FINDING: Kind = Kind {
    category_uid: 2,
    category_name: "Findings",
    class_uid: 2004,
    class_name: "Detection Finding",
    activity_id: 1,
    activity_name: "Create",
    type_uid: 200_401,
    type_name: "Detection Finding: Create",
};

const TRAFFIC: Kind = Kind {
    category_uid: 4,
    category_name: "Network Activity",
    class_uid: 4001,
    class_name: "Network Activity",
    activity_id: 6,
    activity_name: "Traffic",
    type_uid: 400_106,
    type_name: "Network Activity: Traffic",
};

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    product: Product<'a>,
    uid: String,
    log_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_uid: Option<String>,
}

#[derive(Serialize)]
struct Product<'a> {
    name: &'static str,
    vendor_name: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct Host<'a> {
    #[serde(flatten)]
    kind: Kind,
    time: i64,
    start_time: i64,
    end_time: i64,
    severity_id: u32,
    severity: &'static str,
    confidence_id: u32,
    confidence: &'static str,
    status_id: u32,
    status: &'static str,
    message: String,
    metadata: Metadata<'a>,
    finding_info: Info,
    resources: [Resource; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidences: Vec<Evidence<'a>>,
    unmapped: Unmapped<Judged>,
}

#[derive(Serialize)]
struct Info {
    uid: String,
    title: String,
    desc: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<&'static str>,
    first_seen_time: i64,
    last_seen_time: i64,
    analytic: Analytic,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attacks: Vec<Attack>,
}

#[derive(Serialize)]
struct Analytic {
    uid: &'static str,
    name: &'static str,
    type_id: u32,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Attack {
    version: &'static str,
    tactic: Named,
    technique: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_technique: Option<Named>,
}

#[derive(Serialize)]
struct Named {
    uid: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct Resource {
    uid: String,
    name: String,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Evidence<'a> {
    src_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_info: Option<Connection>,
    data: Own<'a>,
}

#[derive(Serialize)]
struct Endpoint {
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
struct Connection {
    direction_id: u32,
    protocol_num: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_name: Option<&'static str>,
    protocol_ver_id: u32,
    /// The Community ID.
    uid: String,
}

#[derive(Serialize)]
struct Unmapped<T> {
    hydrophone: T,
}

#[derive(Serialize)]
struct Judged {
    host: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    verdict: &'static str,
    level_db: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
}

#[derive(Serialize)]
struct Activity<'a> {
    #[serde(flatten)]
    kind: Kind,
    time: i64,
    start_time: i64,
    end_time: i64,
    duration: i64,
    severity_id: u32,
    severity: &'static str,
    metadata: Metadata<'a>,
    app_name: &'static str,
    src_endpoint: Endpoint,
    dst_endpoint: Endpoint,
    connection_info: Connection,
    traffic: Counts,
    unmapped: Unmapped<Seen>,
}

#[derive(Serialize)]
struct Counts {
    bytes: u64,
    bytes_in: u64,
    bytes_out: u64,
    packets: u64,
    packets_in: u64,
    packets_out: u64,
}

#[derive(Serialize)]
struct Seen {
    flow: String,
    host: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    community_id: String,
    evidence: Vec<String>,
}

/// Milliseconds, in which OCSF counts time.
const fn millis(t: Timestamp) -> i64 {
    t.0.div_euclid(1_000_000)
}

fn metadata(capture: &CaptureLine, uid: String, correlation_uid: Option<String>) -> Metadata<'_> {
    let product = Product { name: "Hydrophone", vendor_name: "Hydrophone", version: &capture.version };
    Metadata { version: VERSION, product, uid, log_name: "hydrophone", correlation_uid }
}

/// Every host, each followed by its flows.
pub(super) fn write(told: Told<'_>, out: &mut dyn Write) -> io::Result<()> {
    for story in told.hosts() {
        let kept = story.evidence.iter().take(MOST);
        let events: Vec<Event<'_>> = kept.map(|e| Event::of(told, story, &e.evidence, e.db)).collect();
        let uid = own(&format!("finding|{}|{:?}", story.id(), story.first)).to_string();
        line(out, &finding(told, story, &events, &uid))?;
        for flow in flows(told, &events) {
            line(out, &traffic(told, story, &events, flow, &uid))?;
        }
    }
    Ok(())
}

/// The flows that evidence names and that are remembered, in the order of time.
fn flows(told: Told<'_>, events: &[Event<'_>]) -> Vec<(FlowId, Ended)> {
    let named: BTreeSet<FlowId> = events.iter().flat_map(|e| e.evidence.flows.iter().copied()).collect();
    // What only an alert tells of has no packets to speak of.
    let known = named.into_iter().filter_map(|f| Some((f, *told.ends.of(f)?)));
    let mut all: Vec<(FlowId, Ended)> = known.filter(|(_, ended)| ended.packets != [0, 0]).collect();
    all.sort_by_key(|(flow, ended)| (ended.first, *flow));
    all
}

/// Number and name, from OCSF's scale.
const fn severity(verdict: Verdict) -> (u32, &'static str) {
    match verdict {
        Verdict::Infected => (5, "Critical"),
        Verdict::Likely => (4, "High"),
        Verdict::Suspicious => (3, "Medium"),
        Verdict::Quiet | Verdict::Inconclusive => (1, "Informational"),
    }
}

const fn confidence(verdict: Verdict) -> (u32, &'static str) {
    match verdict {
        Verdict::Infected => (3, "High"),
        Verdict::Likely => (2, "Medium"),
        Verdict::Suspicious | Verdict::Quiet => (1, "Low"),
        Verdict::Inconclusive => (0, "Unknown"),
    }
}

fn finding<'a>(told: Told<'a>, story: &'a HostStory, events: &[Event<'a>], uid: &str) -> Host<'a> {
    let (severity_id, severity) = severity(story.verdict);
    let (confidence_id, confidence) = confidence(story.verdict);
    let seen = |t: Option<Timestamp>| millis(t.or(told.capture.last).unwrap_or(Timestamp(0)));
    let (start_time, end_time) = (seen(story.first), seen(story.last));
    let title = format!("{} is {} ({:+.1} dB)", story.label(), story.verdict, story.level_db);
    Host {
        kind: FINDING,
        time: seen(story.level_at.or(story.last)),
        start_time,
        end_time,
        severity_id,
        severity,
        confidence_id,
        confidence,
        status_id: 1,
        status: "New",
        message: title.clone(),
        metadata: metadata(told.capture, uid.to_owned(), None),
        finding_info: Info {
            uid: uid.to_owned(),
            title,
            desc: events.iter().map(Event::sentence).collect::<Vec<_>>().join("\n"),
            types: types(events),
            first_seen_time: start_time,
            last_seen_time: end_time,
            analytic: Analytic { uid: "hydrophone", name: "Hydrophone", type_id: 2, r#type: "Behavioral" },
            attacks: attacks(events),
        },
        resources: [Resource {
            uid: story.id().to_string(),
            name: story.names.host_names.first().map_or_else(|| story.host.to_string(), |n| clean(n)),
            r#type: "host",
        }],
        evidences: events.iter().map(evidence).collect(),
        unmapped: Unmapped {
            hydrophone: Judged {
                host: story.host,
                segment: story.segment.map(|s| s.to_string()),
                verdict: story.verdict.name(),
                level_db: finite(story.level_db),
                findings: story.findings.iter().map(|f| clean(&f.kind)).collect(),
            },
        },
    }
}

/// The stages that were seen, in the order of the story.
fn types(events: &[Event<'_>]) -> Vec<&'static str> {
    let seen: BTreeSet<Stage> = events.iter().map(|e| e.evidence.stage).collect();
    seen.into_iter().map(Stage::name).collect()
}

fn attacks(events: &[Event<'_>]) -> Vec<Attack> {
    let mut all: Vec<&Technique> = events.iter().flat_map(Event::techniques).collect();
    all.sort_unstable_by_key(|t| t.id);
    all.dedup();
    let named = |t: &Technique| Named { uid: t.id, name: t.name };
    let attack = |t: &Technique| Attack {
        version: behaviour::ATTACK_VERSION,
        tactic: Named { uid: t.tactic, name: t.tactic_name() },
        technique: named(t.parent().unwrap_or(t)),
        sub_technique: t.parent().map(|_| named(t)),
    };
    all.into_iter().map(attack).collect()
}

fn evidence<'a>(event: &Event<'a>) -> Evidence<'a> {
    let (from, from_port, to, to_port) = event.ends();
    Evidence {
        src_endpoint: Endpoint { ip: from, port: from_port },
        dst_endpoint: to.map(|ip| Endpoint { ip, port: to_port }),
        connection_info: event.flow.map(|(_, ended)| connection(ended, event.story.host)),
        data: event.own(),
    }
}

fn connection(ended: &Ended, host: IpAddr) -> Connection {
    let tuple = ended.tuple;
    Connection {
        // As the host sees it: 1 inbound, 2 outbound.
        direction_id: if tuple.orig.ip == host { 2 } else { 1 },
        protocol_num: tuple.transport.number(),
        protocol_name: iana_name(tuple.transport),
        protocol_ver_id: if tuple.orig.ip.is_ipv4() { 4 } else { 6 },
        uid: ended.community_id(),
    }
}

fn traffic<'a>(
    told: Told<'a>,
    story: &HostStory,
    events: &[Event<'_>],
    (flow, ended): (FlowId, Ended),
    finding: &str,
) -> Activity<'a> {
    let (start, end) = (millis(ended.first), millis(ended.last));
    let with_port = matches!(ended.tuple.transport.number(), 6 | 17 | 132);
    let endpoint = |e: record::Endpoint| Endpoint { ip: e.ip, port: with_port.then_some(e.port) };
    let shown = events.iter().map(|e| e.evidence).filter(|e| e.flows.contains(&flow));
    let evidence: BTreeSet<String> = shown.map(record::Evidence::id).collect();
    let ([bytes_out, bytes_in], [packets_out, packets_in]) = (ended.bytes, ended.packets);
    Activity {
        kind: TRAFFIC,
        time: start,
        start_time: start,
        end_time: end,
        duration: end.saturating_sub(start),
        severity_id: 1,
        severity: "Informational",
        metadata: metadata(
            told.capture,
            own(&format!("flow|{flow}|{finding}")).to_string(),
            Some(finding.to_owned()),
        ),
        app_name: ended.service.name(),
        src_endpoint: endpoint(ended.tuple.orig),
        dst_endpoint: endpoint(ended.tuple.resp),
        connection_info: connection(&ended, story.host),
        traffic: Counts {
            bytes: bytes_out.saturating_add(bytes_in),
            bytes_in,
            bytes_out,
            packets: packets_out.saturating_add(packets_in),
            packets_in,
            packets_out,
        },
        unmapped: Unmapped {
            hydrophone: Seen {
                flow: flow.to_string(),
                host: story.host,
                state: ended.state.map(record::ConnState::name),
                community_id: ended.community_id(),
                evidence: evidence.into_iter().collect(),
            },
        },
    }
}
