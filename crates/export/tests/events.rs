//! Lines for other programs are what the published schemas ask for (`schemas/`), whatever packets chose to say.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use capture::Source;
use export::{Ends, EventForm, Told};
use pipeline::RunOptions;
use record::Timestamp;
use report::{CaptureLine, InputLine};
use serde_json::Value;
use verdict::{HostStory, Verdict};

const SAMPLES: [&str; 6] = [
    "kraken-new.pcapng",
    "kraken-old.pcapng",
    "kraken-mutated.pcapng",
    "kraken-fallback.pcapng",
    "kraken-blocked.pcapng",
    "clean-newsreader.pcapng",
];

struct Run {
    capture: CaptureLine,
    stories: Vec<HostStory>,
    ends: Ends,
}

impl Run {
    fn of(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name);
        let mut ends = Ends::within(64 << 20);
        let options = RunOptions::of(vec![Source::Path(path)]);
        let outcome = pipeline::run_with(&options, |_| (), |record| ends.learn(record)).expect("it runs");
        let input = InputLine { path: name.into(), absolute: None, size: None, sha256: None, log: None };
        let capture = CaptureLine { version: "0".into(), inputs: vec![input], ..CaptureLine::default() };
        Self { capture: capture.with_health(&outcome.health), stories: outcome.stories, ends }
    }

    fn text(&self, form: EventForm, all: bool) -> String {
        let mut out = Vec::new();
        let told = Told { capture: &self.capture, stories: &self.stories, ends: &self.ends, all };
        told.write(form, &mut out).expect("it is written");
        String::from_utf8(out).expect("UTF-8")
    }

    fn lines(&self, form: EventForm) -> Vec<Value> {
        self.text(form, true).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    }
}

static RUNS: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let mut runs: Vec<Run> = SAMPLES.iter().map(|s| Run::of(s)).collect();
    // What a hostile network could have said.
    let mut hostile = Run::of(SAMPLES[0]);
    for story in &mut hostile.stories {
        story.names.host_names = vec![HOSTILE.into()];
        for e in &mut story.evidence {
            e.evidence.key = HOSTILE.into();
            e.evidence.facts.insert("host".into(), HOSTILE.into());
            e.evidence.facts.insert("names".into(), vec![HOSTILE.to_owned()].into());
        }
    }
    hostile.capture.inputs[0].path = HOSTILE.into();
    runs.push(hostile);
    runs
});

const HOSTILE: &str = "=cmd|'/C calc'!A0\r\n{\"a\":1}\u{202e}\u{0}\t\"x\",\u{1b}[31m\u{2028}";

/// Every value that is no object, by its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(member, &path, found);
            }
        }
        other => found.push((path.to_owned(), other.clone())),
    }
}

fn of_type(value: &Value, kind: &str) -> bool {
    let text = value.as_str();
    match kind {
        "string" | "keyword" | "match_only_text" => text.is_some(),
        "integer" | "long" | "timestamp" => value.is_i64() || value.is_u64(),
        "port" => value.as_u64().is_some_and(|p| p <= 65_535),
        "float" => value.is_f64(),
        "ip" => text.is_some_and(|t| t.parse::<IpAddr>().is_ok()),
        "date" => text.is_some_and(|t| Timestamp::parse(t).is_some()),
        "strings" => value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string)),
        "any" => true,
        other => panic!("{other} is no type"),
    }
}

#[test]
fn no_line_breaks_and_no_field_changes_its_type() {
    for form in [EventForm::Eve, EventForm::Ecs, EventForm::Ocsf] {
        let mut types: BTreeMap<String, &str> = BTreeMap::new();
        for line in RUNS.iter().flat_map(|r| r.lines(form)) {
            assert!(line.is_object());
            let mut found = Vec::new();
            leaves(&line, "", &mut found);
            for (path, value) in found {
                let kind = |v: &Value| match v {
                    Value::String(_) => "text",
                    Value::Number(n) if n.is_f64() => "float",
                    Value::Number(_) => "count",
                    Value::Bool(_) => "flag",
                    Value::Object(_) => "object",
                    Value::Array(_) => "array",
                    Value::Null => panic!("{path} is null"),
                };
                let one = match &value {
                    Value::Array(all) => {
                        assert!(!all.is_empty(), "{path} is empty");
                        let kinds: BTreeSet<&str> = all.iter().map(kind).collect();
                        assert_eq!(kinds.len(), 1, "{path} is mixed");
                        kinds.into_iter().next().unwrap()
                    }
                    single => kind(single),
                };
                let before = *types.entry(path.clone()).or_insert(one);
                assert_eq!(before, one, "{path} in {form:?}");
            }
        }
        assert!(types.len() > 20, "{types:?}");
    }
    for run in RUNS.iter() {
        for form in [EventForm::Eve, EventForm::Ecs, EventForm::Ocsf, EventForm::Csv] {
            let text = run.text(form, true);
            let hidden = |c: char| c.is_control() && c != '\n' && c != '\r';
            assert!(!text.contains(hidden) && !text.contains(['\u{202e}', '\u{2028}']), "{form:?}");
        }
    }
}

fn check_eve(value: &Value, schema: &Value, at: &str) {
    let members = value.as_object().unwrap_or_else(|| panic!("{at} is no object"));
    for wanted in schema["required"].as_array().unwrap() {
        assert!(members.contains_key(wanted.as_str().unwrap()), "{at}.{wanted}");
    }
    for (name, member) in members {
        let kind = &schema["properties"][name];
        assert!(!kind.is_null(), "{at}.{name} is no field of Suricata's");
        match kind["type"].as_str().unwrap() {
            "object" => check_eve(member, kind, &format!("{at}.{name}")),
            simple => assert!(of_type(member, simple), "{at}.{name} is {member}"),
        }
    }
}

#[test]
fn eve_lines_are_suricatas_alerts() {
    let schema: Value = serde_json::from_str(include_str!("schemas/eve.json")).unwrap();
    let mut alerts = 0;
    for mut line in RUNS.iter().flat_map(|r| r.lines(EventForm::Eve)) {
        let own = line.as_object_mut().unwrap().remove("hydrophone").unwrap();
        assert!(own["level_db"].is_f64() && own["sentence"].is_string());
        check_eve(&line, &schema, "");
        // `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+[+\-]\d+$`
        let (date, zone) = line["timestamp"].as_str().unwrap().split_at(26);
        assert!(Timestamp::parse(&format!("{date}Z")).is_some() && zone == "+0000", "{line}");
        assert!(line["flow_id"].as_u64().is_none_or(|n| n < 1 << 51));
        assert_eq!(line["event_type"], "alert");
        assert!((1..=4).contains(&line["alert"]["severity"].as_u64().unwrap()));
        alerts += 1;
    }
    assert!(alerts > 50, "{alerts}");
}

#[test]
fn ecs_documents_have_the_fields_of_the_schema_and_their_types() {
    let mut schema: BTreeMap<&str, [&str; 3]> = BTreeMap::new();
    for row in include_str!("schemas/ecs.csv").lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        schema.insert(cells[0], [cells[1], cells[2], cells[3]]);
    }
    let required = ["@timestamp", "ecs.version", "event.kind", "event.category", "event.type", "message"];
    for line in RUNS.iter().flat_map(|r| r.lines(EventForm::Ecs)) {
        let mut found = Vec::new();
        leaves(&line, "", &mut found);
        for wanted in required {
            assert!(found.iter().any(|(path, _)| path == wanted), "{wanted}");
        }
        for (path, value) in found.iter().filter(|(path, _)| !path.starts_with("hydrophone.")) {
            let [kind, normal, allowed] =
                schema.get(path.as_str()).unwrap_or_else(|| panic!("{path} is no field"));
            assert_eq!(value.is_array(), *normal == "array", "{path}");
            let all = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for one in all {
                assert!(of_type(&one, kind), "{path} is {one}");
                let word = one.as_str().unwrap_or_default();
                assert!(allowed.is_empty() || allowed.split(' ').any(|a| a == word), "{path} is {word}");
            }
        }
    }
}

fn check_ocsf(value: &Value, class: &str, schema: &Value) {
    let attributes = schema[class].as_object().unwrap_or_else(|| panic!("{class} is no class"));
    let members = value.as_object().unwrap_or_else(|| panic!("{class} is {value}"));
    if let Some(some) = attributes.get("at_least_one").and_then(Value::as_array) {
        assert!(some.iter().any(|s| members.contains_key(s.as_str().unwrap())), "{class}: none of {some:?}");
    }
    for (name, told) in attributes {
        let required = name != "at_least_one" && told[1] == "required";
        assert!(!required || members.contains_key(name), "{class}.{name} is missing");
    }
    for (name, member) in members {
        let told = &attributes.get(name).unwrap_or_else(|| panic!("{class}.{name} is no attribute"));
        let kind = told[0].as_str().unwrap();
        let (kind, many) = kind.strip_suffix("[]").map_or((kind, false), |k| (k, true));
        assert_eq!(member.is_array() && kind != "any", many, "{class}.{name}");
        let all = if many { member.as_array().unwrap().clone() } else { vec![member.clone()] };
        for one in all {
            if schema[kind].is_object() {
                check_ocsf(&one, kind, schema);
                continue;
            }
            assert!(of_type(&one, kind), "{class}.{name} is {one}");
            let known = told[2].as_array();
            assert!(known.is_none_or(|k| k.contains(&one)), "{class}.{name} is {one}");
        }
    }
}

#[test]
fn ocsf_events_have_what_their_classes_require() {
    let schema: Value = serde_json::from_str(include_str!("schemas/ocsf.json")).unwrap();
    for run in RUNS.iter() {
        let mut findings = BTreeSet::new();
        for line in run.lines(EventForm::Ocsf) {
            let class = line["class_uid"].as_u64().unwrap();
            let activity = line["activity_id"].as_u64().unwrap();
            assert_eq!(line["type_uid"], class * 100 + activity);
            if class == 2004 {
                check_ocsf(&line, "detection_finding", &schema);
                let uid = line["finding_info"]["uid"].as_str().unwrap().to_owned();
                assert!(findings.insert(uid), "a finding is told once");
            } else {
                check_ocsf(&line, "network_activity", &schema);
                let of = line["metadata"]["correlation_uid"].as_str().unwrap();
                assert!(findings.contains(of), "a flow stands behind its finding");
            }
        }
        assert_eq!(findings.len(), run.stories.len());
    }
}

#[test]
fn csv_is_a_table_without_formulas() {
    for run in RUNS.iter() {
        let text = run.text(EventForm::Csv, true);
        assert!(text.ends_with("\r\n"));
        let mut table = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(table.headers().unwrap().len(), 22);
        let pieces: usize = run.stories.iter().map(|s| s.evidence.len()).sum();
        let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), pieces);
        for cell in rows.iter().flatten() {
            let number = cell.parse::<f64>().is_ok();
            assert!(number || !cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
            assert!(!cell.contains(['\r', '\n']), "{cell:?}");
        }
    }
}

#[test]
fn who_is_not_suspicious_is_told_of_on_demand_alone() {
    for run in RUNS.iter() {
        let pieces = |least: Verdict| -> usize {
            run.stories.iter().filter(|s| s.verdict >= least).map(|s| s.evidence.len()).sum()
        };
        let lines = |all| run.text(EventForm::Eve, all).lines().count();
        assert_eq!(lines(false), pieces(Verdict::Suspicious));
        assert_eq!(lines(true), pieces(Verdict::Inconclusive));
    }
}

#[test]
fn the_same_capture_gives_the_same_bytes() {
    let again = Run::of(SAMPLES[0]);
    for form in [EventForm::Eve, EventForm::Ecs, EventForm::Ocsf, EventForm::Csv] {
        assert_eq!(again.text(form, true), RUNS[0].text(form, true));
    }
    let ids: BTreeSet<String> =
        RUNS[0].lines(EventForm::Ecs).iter().map(|l| l["event"]["id"].to_string()).collect();
    assert_eq!(ids.len(), RUNS[0].lines(EventForm::Ecs).len(), "each line has a name of its own");
}
