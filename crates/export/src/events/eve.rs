//! Suricata's EVE: an `alert` for each piece of evidence (Suricata user guide, "EVE JSON Format"; `etc/schema.json`).

use std::net::IpAddr;

use record::{Timestamp, Transport, clean, fnv1a};
use serde::Serialize;
use verdict::Verdict;

use super::{Event, Own, category, priority, rule};

/// Suricata keeps the numbers of flows within what JavaScript can tell apart; so do we.
const FLOW_ID: u64 = (1 << 51) - 1;

#[derive(Serialize)]
pub(super) struct Line<'a> {
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_id: Option<u64>,
    event_type: &'static str,
    src_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proto: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    alert: Alert,
    hydrophone: Own<'a>,
}

#[derive(Serialize)]
struct Alert {
    action: &'static str,
    gid: u32,
    signature_id: u64,
    rev: u32,
    signature: String,
    category: &'static str,
    severity: u8,
    metadata: Metadata,
}

/// As rules carry it: lists of words without blanks.
#[derive(Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mitre_tactic_id: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mitre_tactic_name: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mitre_technique_id: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mitre_technique_name: Vec<String>,
    signature_severity: [&'static str; 1],
}

impl<'a> Line<'a> {
    pub(super) fn of(event: &Event<'a>) -> Self {
        let (src_ip, src_port, dest_ip, dest_port) = event.ends();
        let icmp = event.flow.map(|(_, f)| f.tuple);
        let icmp = icmp.filter(|t| matches!(t.transport, Transport::Icmp | Transport::Icmp6));
        Self {
            timestamp: moment(event.evidence.ts),
            flow_id: flow_id(event),
            event_type: "alert",
            src_ip,
            src_port,
            dest_ip,
            dest_port,
            proto: event.transport().map(proto),
            icmp_type: icmp.map(|t| t.orig.port),
            icmp_code: icmp.map(|t| t.resp.port),
            community_id: event.community_id(),
            // The source is who opened the flow.
            direction: event.flow.map(|_| "to_server"),
            alert: alert(event),
            hydrophone: event.own(),
        }
    }
}

fn alert(event: &Event<'_>) -> Alert {
    let e = event.evidence;
    Alert {
        action: "allowed",
        gid: record::Alert::OWN_GENERATOR,
        signature_id: rule(&e.behaviour),
        rev: 1,
        signature: format!("HYDROPHONE {} {}", e.stage.name().to_uppercase(), clean(&e.behaviour)),
        category: category(event),
        severity: priority(event.story.verdict),
        metadata: metadata(event),
    }
}

fn metadata(event: &Event<'_>) -> Metadata {
    let word = |text: &str| text.replace(' ', "_");
    let techniques = event.techniques();
    let mut tactics: Vec<(&str, &str)> = techniques.iter().map(|t| (t.tactic, t.tactic_name())).collect();
    tactics.sort_unstable();
    tactics.dedup();
    Metadata {
        mitre_tactic_id: tactics.iter().map(|(id, _)| (*id).to_owned()).collect(),
        mitre_tactic_name: tactics.iter().map(|(_, name)| word(name)).collect(),
        mitre_technique_id: techniques.iter().map(|t| t.id.to_owned()).collect(),
        mitre_technique_name: techniques.iter().map(|t| word(t.name)).collect(),
        signature_severity: [match event.story.verdict {
            Verdict::Infected => "Critical",
            Verdict::Likely => "Major",
            Verdict::Suspicious => "Minor",
            Verdict::Quiet | Verdict::Inconclusive => "Informational",
        }],
    }
}

/// Suricata's form of a time in UTC.
fn moment(t: Timestamp) -> String {
    t.to_string().replace('Z', "+0000")
}

/// A number for the flow: of its name, its ends and its beginning, so that the same capture gives the same and another one another.
fn flow_id(event: &Event<'_>) -> Option<u64> {
    let (flow, told) = match event.flow {
        Some((flow, ended)) => (flow, format!("{} {}", ended.community_id(), ended.first)),
        None => (*event.evidence.flows.first()?, event.evidence.host.to_string()),
    };
    Some(fnv1a(format!("{flow} {told}").as_bytes()) & FLOW_ID)
}

/// What Suricata calls a protocol; one that has no name there by its number.
fn proto(transport: Transport) -> String {
    match transport {
        Transport::Tcp => "TCP".into(),
        Transport::Udp => "UDP".into(),
        Transport::Icmp => "ICMP".into(),
        Transport::Icmp6 => "IPv6-ICMP".into(),
        Transport::Sctp => "SCTP".into(),
        Transport::Other(n) => format!("{n:03}"),
    }
}
