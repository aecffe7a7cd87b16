//! The Elastic Common Schema: a document for each piece of evidence (ECS field reference, 8.12; `generated/csv/fields.csv`).

use std::net::IpAddr;

use record::{Timestamp, clean};
use serde::Serialize;
use verdict::Verdict;

use super::{Event, Own, finite, iana_name, rule};
use crate::stix::confidence;

/// The version whose fields these are.
const VERSION: &str = "8.12.0";

#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Timestamp,
    ecs: Ecs,
    event: About,
    message: String,
    source: End,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<End>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    host: Host,
    observer: Observer<'a>,
    related: Related,
    rule: Rule,
    #[serde(skip_serializing_if = "Option::is_none")]
    threat: Option<Threat>,
    hydrophone: Own<'a>,
}

#[derive(Serialize)]
struct Ecs {
    version: &'static str,
}

#[derive(Serialize)]
struct About {
    kind: &'static str,
    category: Vec<&'static str>,
    r#type: [&'static str; 1],
    action: String,
    module: &'static str,
    dataset: &'static str,
    provider: &'static str,
    id: String,
    severity: u8,
    risk_score: f64,
    risk_score_norm: f64,
    start: Timestamp,
    end: Timestamp,
}

#[derive(Serialize)]
struct End {
    address: String,
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
}

#[derive(Serialize)]
struct Network {
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iana_number: Option<String>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<String>,
}

#[derive(Serialize)]
struct Host {
    ip: [IpAddr; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mac: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
}

#[derive(Serialize)]
struct Observer<'a> {
    product: &'static str,
    r#type: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct Related {
    ip: Vec<IpAddr>,
}

#[derive(Serialize)]
struct Rule {
    id: String,
    name: String,
    category: &'static str,
    ruleset: &'static str,
}

#[derive(Serialize)]
struct Threat {
    framework: &'static str,
    tactic: Named,
    technique: Technique,
}

#[derive(Default, Serialize)]
struct Named {
    id: Vec<&'static str>,
    name: Vec<&'static str>,
}

impl Named {
    fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    fn note(&mut self, id: &'static str, name: &'static str) {
        if !self.id.contains(&id) {
            self.id.push(id);
            self.name.push(name);
        }
    }
}

#[derive(Default, Serialize)]
struct Technique {
    #[serde(flatten)]
    own: Named,
    #[serde(skip_serializing_if = "Named::is_empty")]
    subtechnique: Named,
}

impl<'a> Line<'a> {
    pub(super) fn of(event: &Event<'a>) -> Self {
        let story = event.story;
        let (from, from_port, to, to_port) = event.ends();
        let counted = event.flow.map(|(_, f)| (f.bytes, f.packets)).filter(|(_, packets)| *packets != [0, 0]);
        let end = |ip: IpAddr, port, side: usize| End {
            address: ip.to_string(),
            ip,
            port,
            bytes: counted.map(|(bytes, _)| bytes[side]),
            packets: counted.map(|(_, packets)| packets[side]),
        };
        let own = event.own();
        let mut ips = vec![story.host];
        for ip in [from].into_iter().chain(to).chain(own.remotes.iter().copied()) {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        Self {
            timestamp: event.evidence.ts,
            ecs: Ecs { version: VERSION },
            event: about(event),
            message: own.sentence.clone(),
            source: end(from, from_port, 0),
            destination: to.map(|ip| end(ip, to_port, 1)),
            network: network(event, from),
            host: host(event),
            observer: Observer { product: "Hydrophone", r#type: "ids", version: &event.capture.version },
            related: Related { ip: ips },
            rule: Rule {
                id: rule(&event.evidence.behaviour).to_string(),
                name: own.behaviour.clone(),
                category: own.stage,
                ruleset: "hydrophone",
            },
            threat: threat(event),
            hydrophone: own,
        }
    }
}

fn about(event: &Event<'_>) -> About {
    let verdict = event.story.verdict;
    let mut category = vec!["intrusion_detection", "network"];
    if verdict >= Verdict::Likely {
        category.push("malware");
    }
    About {
        kind: if verdict >= Verdict::Suspicious { "alert" } else { "event" },
        category,
        r#type: ["info"],
        action: clean(&event.evidence.behaviour),
        module: "hydrophone",
        dataset: "hydrophone.evidence",
        provider: "hydrophone",
        id: event.id(),
        // The numbers that Elastic's own rules have for critical, high, medium and low.
        severity: match verdict {
            Verdict::Infected => 99,
            Verdict::Likely => 73,
            Verdict::Suspicious => 47,
            Verdict::Quiet | Verdict::Inconclusive => 21,
        },
        risk_score: finite(event.story.level_db),
        risk_score_norm: f64::from(confidence(verdict)),
        start: event.evidence.started,
        end: event.evidence.ts,
    }
}

fn network(event: &Event<'_>, from: IpAddr) -> Option<Network> {
    let (transport, community_id) = (event.transport(), event.community_id());
    if transport.is_none() && community_id.is_none() {
        return None;
    }
    Some(Network {
        transport: transport.and_then(iana_name),
        iana_number: transport.map(|t| t.number().to_string()),
        r#type: if from.is_ipv4() { "ipv4" } else { "ipv6" },
        community_id,
    })
}

fn host(event: &Event<'_>) -> Host {
    let names = &event.story.names;
    // RFC 7042's form, which ECS asks for.
    let mac = |m: &String| clean(m).replace(':', "-").to_uppercase();
    Host {
        ip: [event.story.host],
        mac: names.macs.iter().map(mac).collect(),
        hostname: names.host_names.first().map(|n| clean(n)),
    }
}

fn threat(event: &Event<'_>) -> Option<Threat> {
    let (mut tactic, mut technique) = (Named::default(), Technique::default());
    for t in event.techniques() {
        tactic.note(t.tactic, t.tactic_name());
        let whole = t.parent().unwrap_or(t);
        technique.own.note(whole.id, whole.name);
        if whole.id != t.id {
            technique.subtechnique.note(t.id, t.name);
        }
    }
    (!tactic.is_empty()).then_some(Threat { framework: "MITRE ATT&CK", tactic, technique })
}
