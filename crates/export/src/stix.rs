//! STIX 2.1 (OASIS Standard, 10 June 2021).

use std::collections::BTreeMap;

use behaviour::CATALOGUE;
use record::{Stage, Timestamp};
use report::{IndicatorKind, describe, indicators};
use serde_json::{Value, json};
use uuid::Uuid;
use verdict::{HostStory, Verdict};

use crate::own;

/// The namespace of deterministic ids of observables (STIX 2.1 §2.9).
const OBSERVABLES: Uuid = Uuid::from_u128(0x00ab_edb4_aa42_466c_9c01_fed2_3315_a9b7);

/// A moment with milliseconds, as STIX asks for at least.
fn moment(t: Timestamp) -> String {
    let full = t.to_string();
    format!("{}Z", full.get(..23).unwrap_or(&full))
}

/// An observable: its id is derived from its value alone, so that it is the same everywhere.
fn observable(kind: &str, value: &str) -> (String, Value) {
    // RFC 8785: one member, no blanks.
    let canonical = json!({ "value": value }).to_string();
    let id = format!("{kind}--{}", Uuid::new_v5(&OBSERVABLES, canonical.as_bytes()));
    let made = json!({ "type": kind, "spec_version": "2.1", "id": id, "value": value });
    (id, made)
}

/// Text as a string of the pattern language.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

/// The story of a host as a bundle: what was observed, indicators for what others could see, and the techniques.
pub fn stix(s: &HostStory) -> Value {
    let created = moment(s.first.or(s.level_at).unwrap_or(Timestamp(0)));
    let until = moment(s.last.or(s.level_at).unwrap_or(Timestamp(0)));
    let name = |what: &str| own(&format!("{}|{created}|{what}", s.host));
    let common = |kind: &str, what: &str| -> BTreeMap<String, Value> {
        let id = format!("{kind}--{}", name(&format!("{kind}|{what}")));
        BTreeMap::from([
            ("type".into(), kind.into()),
            ("spec_version".into(), "2.1".into()),
            ("id".into(), id.into()),
            ("created".into(), created.clone().into()),
            ("modified".into(), created.clone().into()),
        ])
    };
    let object = |kind: &str, what: &str, more: Value| -> (String, Value) {
        let mut all = common(kind, what);
        if let Value::Object(more) = more {
            all.extend(more);
        }
        let id = all["id"].as_str().unwrap_or_default().to_owned();
        (id, json!(all))
    };
    let (maker, identity) =
        object("identity", "maker", json!({ "name": "Hydrophone", "identity_class": "system" }));
    let mut objects = vec![identity];
    let mut seen: Vec<String> = Vec::new();
    let host_kind = if s.host.is_ipv4() { "ipv4-addr" } else { "ipv6-addr" };
    let (host, made) = observable(host_kind, &s.host.to_string());
    objects.push(made);
    let family = s.findings.iter().find(|f| f.kind.starts_with("Kraken")).map(|f| f.kind.clone());
    let bot = (s.verdict >= Verdict::Likely).then(|| {
        object(
            "malware",
            "bot",
            json!({
                "name": family.as_deref().unwrap_or("unidentified bot"),
                "is_family": false,
                "malware_types": ["bot"],
                "created_by_ref": maker,
                "sample_refs": [],
                "description": format!("{}: {:+.1} dB on {}", s.verdict, s.level_db, s.host),
            }),
        )
    });
    let bot = bot.map(|(id, mut made)| {
        if let Value::Object(made) = &mut made {
            made.remove("sample_refs");
        }
        objects.push(made);
        id
    });
    for i in indicators(s) {
        let (id, made) = observable(i.kind.stix(), &i.value);
        if id == host || seen.contains(&id) {
            continue;
        }
        objects.push(made);
        seen.push(id.clone());
        let pattern = match i.kind {
            IndicatorKind::Domain => format!("[domain-name:value = '{}']", quoted(&i.value)),
            IndicatorKind::Ipv4 => format!("[ipv4-addr:value = '{}']", quoted(&i.value)),
            IndicatorKind::Ipv6 => format!("[ipv6-addr:value = '{}']", quoted(&i.value)),
        };
        let (indicator, made) = object(
            "indicator",
            &i.value,
            json!({
                "name": format!("{} seen in {}", i.value, i.stage),
                "description": format!("Seen by {}; a shared or hacked server may be among such remotes.", i.behaviours.join(", ")),
                "indicator_types": ["anomalous-activity"],
                "pattern": pattern,
                "pattern_type": "stix",
                "valid_from": moment(i.first),
                "created_by_ref": maker,
                "confidence": confidence(s.verdict),
            }),
        );
        objects.push(made);
        if let Some(bot) = &bot {
            let (_, made) = object(
                "relationship",
                &format!("{indicator}|indicates"),
                json!({ "relationship_type": "indicates", "source_ref": indicator, "target_ref": bot, "created_by_ref": maker }),
            );
            objects.push(made);
        }
    }
    let mut refs = vec![host];
    refs.extend(seen);
    let (observed, made) = object(
        "observed-data",
        "story",
        json!({
            "first_observed": created,
            "last_observed": until,
            "number_observed": s.flows.clamp(1, 999_999_999),
            "object_refs": refs,
            "created_by_ref": maker,
        }),
    );
    objects.push(made);
    let mut told = vec![observed];
    for b in CATALOGUE.iter().filter(|b| s.evidence.iter().any(|e| e.evidence.behaviour == b.name)) {
        for technique in b.about.attack {
            let what = format!("technique|{technique}");
            let (id, made) = object(
                "attack-pattern",
                &what,
                json!({
                    "name": behaviour::Technique::of(technique).map_or(*technique, |t| t.name),
                    "created_by_ref": maker,
                    "external_references": [{
                        "source_name": "mitre-attack",
                        "external_id": technique,
                        "url": format!("https://attack.mitre.org/techniques/{}/", technique.replace('.', "/")),
                    }],
                }),
            );
            if told.contains(&id) {
                continue;
            }
            objects.push(made);
            told.push(id.clone());
            if let Some(bot) = &bot {
                let (_, made) = object(
                    "relationship",
                    &format!("{id}|uses"),
                    json!({ "relationship_type": "uses", "source_ref": bot, "target_ref": id, "created_by_ref": maker }),
                );
                objects.push(made);
            }
        }
    }
    if let Some(bot) = bot {
        told.push(bot);
    }
    let lines: Vec<String> = s
        .evidence
        .iter()
        .filter(|e| e.evidence.stage != Stage::Order)
        .take(40)
        .map(|e| format!("{} {}: {}", moment(e.evidence.started), e.evidence.stage, describe(&e.evidence)))
        .collect();
    let (_, made) = object(
        "report",
        "report",
        json!({
            "name": format!("{} is {} ({:+.1} dB)", s.host, s.verdict, s.level_db),
            "description": lines.join("\n"),
            "report_types": ["observed-data"],
            "published": until,
            "object_refs": told,
            "created_by_ref": maker,
        }),
    );
    objects.push(made);
    json!({ "type": "bundle", "id": format!("bundle--{}", name("bundle")), "objects": objects })
}

/// How sure a verdict is, on STIX's scale from 0 to 100 (appendix A: low 15, medium 50, high 85).
pub(crate) const fn confidence(v: Verdict) -> u8 {
    match v {
        Verdict::Infected => 85,
        Verdict::Likely => 70,
        Verdict::Suspicious => 30,
        Verdict::Quiet | Verdict::Inconclusive => 0,
    }
}
