//! `read --format`: what other programs read, where it goes, and that `docs/formats.md` tells the truth of it.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use common::{hydrophone, read_json, run, sample};
use serde_json::Value;
use testkit::{bots, scenarios};

const SAMPLES: [&str; 8] = [
    "kraken-new.pcapng",
    "kraken-old.pcapng",
    "kraken-mutated.pcapng",
    "kraken-fallback.pcapng",
    "kraken-blocked.pcapng",
    "clean-mail-server.pcapng",
    "clean-monitor.pcapng",
    "clean-newsreader.pcapng",
];

fn path(name: &str) -> String {
    sample(name).to_str().expect("UTF-8").to_owned()
}

/// A folder, and paths in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn names(&self) -> BTreeSet<String> {
        let all = std::fs::read_dir(self.0.path()).expect("a folder");
        all.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// What the page shows under a heading: its blocks of a kind.
fn blocks(heading: &str, kind: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let rest = page.split(&format!("\n## {heading}\n")).nth(1).expect("the heading");
    let section = rest.split("\n## ").next().expect("a section");
    let fence = format!("```{kind}\n");
    let begun = section.split(&fence).skip(1);
    begun.map(|b| b.split("```").next().expect("a block").to_owned()).collect()
}

/// What is printed of the sample that the page shows, as somebody in the project's folder would see it.
fn printed(format: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let args = ["read", "-q", "samples/kraken-new.pcapng", "--format", format];
    let out = hydrophone().current_dir(root).args(args).output().expect("it runs");
    assert_eq!(out.status.code(), Some(0));
    String::from_utf8(out.stdout).expect("UTF-8")
}

#[test]
fn the_page_shows_what_is_written() {
    let shown = |heading: &str| -> Vec<Value> {
        blocks(heading, "json").iter().map(|b| serde_json::from_str(b).expect("JSON")).collect()
    };
    for format in ["eve", "ecs", "ocsf"] {
        let mut lines: Vec<Value> =
            printed(format).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        for finding in lines.iter_mut().filter(|l| l["class_uid"] == 2004) {
            // The page leaves these out, and says so.
            finding["evidences"].as_array_mut().expect("a list").truncate(1);
            finding["finding_info"]["attacks"].as_array_mut().expect("a list").truncate(1);
            finding["finding_info"].as_object_mut().expect("an object").remove("desc");
        }
        let blocks = shown(format);
        assert_eq!(blocks.len(), if format == "ocsf" { 2 } else { 1 });
        for block in blocks {
            assert!(lines.contains(&block), "{format}: nothing is written like {block:#}");
        }
    }
    let table = printed("csv");
    let rows: Vec<&str> = table.split("\r\n").collect();
    let page = blocks("csv", "csv").concat();
    assert!(page.lines().count() == 2 && page.lines().all(|l| rows.contains(&l)), "{page}");
    let place = Place::new();
    assert!(
        printed(&format!("zeek={}", place.path("z"))).starts_with("10.20.0.13 is infected"),
        "the story is still told"
    );
    for block in blocks("zeek", "text") {
        let name = block.lines().find_map(|l| l.strip_prefix("#path\t")).expect("a name");
        let log = std::fs::read_to_string(place.path(&format!("z/{name}.log"))).expect("a log");
        assert!(block.lines().all(|l| log.lines().any(|w| w == l)), "{block}");
    }
    let all: BTreeSet<&str> = ["eve", "ecs", "ocsf", "csv", "zeek", "jsonl"].into();
    let (_, _, said) = run(&["read", &path(SAMPLES[0]), "--format", "nothing"]);
    assert!(all.iter().all(|f| said.contains(f)), "{said}");
}

#[test]
fn one_goes_to_standard_output_and_the_others_to_files() {
    let (bot, place) = (path("kraken-blocked.pcapng"), Place::new());
    let (eve, lines) = (format!("eve={}", place.path("eve.json")), format!("jsonl={}", place.path("lines")));
    let (code, out, err) =
        run(&["read", "-q", &bot, "--format", &eve, "--format", &lines, "--format", "csv"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("time,started,host,"), "{out}");
    assert_eq!(place.names(), BTreeSet::from(["eve.json".to_owned(), "lines".to_owned()]));
    let json = run(&["read", "-q", &bot, "--json"]).1;
    assert_eq!(std::fs::read_to_string(place.path("lines")).expect("written"), json);
    assert_eq!(run(&["read", "-q", &bot, "--format", "jsonl"]).1, json);
    assert_eq!(run(&["read", "-q", &bot, "--format", "jsonl=-"]).1, json);
    let story = run(&["read", "-q", &bot, "--format", &eve]).1;
    assert!(story.contains("INFECTED"), "{story}");
    for wrong in [
        &["--format", "eve", "--json"][..],
        &["--format", "eve", "--markdown"],
        &["--format", "eve", "--format", "csv"],
        &["--format", &eve, "--format", &eve],
        &["--format", &eve, "--html", &place.path("eve.json")],
        &["--format", "zeek"],
        &["--format", "eve="],
        &["--format", "syslog"],
    ] {
        let (code, out, err) = run(&[&["read", "-q", &bot][..], wrong].concat());
        assert!(code == Some(2) && out.is_empty() && !err.is_empty(), "{wrong:?}: {code:?} {err}");
    }
}

#[test]
fn nothing_is_written_over_that_is_read_or_somebody_elses() {
    let place = Place::new();
    let bot = place.path("bot.pcapng");
    std::fs::copy(sample("kraken-blocked.pcapng"), &bot).expect("copied");
    let before = std::fs::read(&bot).expect("read");
    std::fs::create_dir(place.path("theirs")).expect("made");
    std::fs::write(place.path("theirs/conn.log"), "#separator \\x09\n").expect("written");
    let folder = place.path("");
    let to = |format: &str, name: &str| format!("{format}={}", place.path(name));
    for (input, to) in [
        (&bot, to("eve", "bot.pcapng")),
        (&bot, to("zeek", "theirs")),
        (&bot, to("zeek", "bot.pcapng")),
        (&bot, format!("zeek={folder}")),
        (&folder, to("eve", "new.json")),
        (&folder, to("zeek", "new")),
    ] {
        let (code, _, err) = run(&["read", "-q", input, "--format", &to]);
        assert!(code == Some(2) && err.contains("choose another"), "{to}: {code:?} {err}");
    }
    let (code, _, err) = run(&["read", "-q", &bot, "--format", &to("eve", "none/eve.json")]);
    assert!(code == Some(3) && err.contains("cannot write"), "{code:?} {err}");
    assert_eq!(std::fs::read(&bot).expect("read"), before);
    assert_eq!(place.names(), BTreeSet::from(["bot.pcapng".to_owned(), "theirs".to_owned()]));
    // What was written here is replaced.
    for _ in 0..2 {
        let (code, _, err) = run(&["read", "-q", &bot, "--format", &to("zeek", "ours")]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
    }
    assert_eq!(place.names().len(), 3);
}

#[test]
fn what_was_written_is_no_other_sensors_word() {
    let (bot, place) = (path("kraken-new.pcapng"), Place::new());
    assert_eq!(run(&["read", "-q", &bot, "--format", &format!("eve={}", place.path("eve.json"))]).0, Some(0));
    let lines = read_json(&[&place.path("eve.json")]);
    assert_eq!(lines[0]["inputs"][0]["log"], "suricata");
    assert!(lines.iter().all(|l| l["type"] != "host"), "{lines:?}");
}

/// Whether a value is one of its type, in Zeek's way of writing.
fn is_of_type(value: &str, kind: &str) -> bool {
    if value == "-" {
        return true;
    }
    if let Some((_, of)) = kind.strip_suffix(']').and_then(|k| k.split_once('[')) {
        return value == "(empty)" || value.split(',').all(|v| v != "-" && is_of_type(v, of));
    }
    match kind {
        "time" | "interval" => value.split_once('.').is_some_and(|(whole, micros)| {
            whole.parse::<i64>().is_ok() && micros.len() == 6 && micros.parse::<u32>().is_ok()
        }),
        "double" => value.parse::<f64>().is_ok(),
        "count" => value.parse::<u64>().is_ok(),
        "port" => value.parse::<u16>().is_ok(),
        "addr" => value.parse::<IpAddr>().is_ok(),
        "bool" => matches!(value, "T" | "F"),
        "string" | "enum" => !value.is_empty() && !value.contains(char::is_control),
        other => panic!("{other} is no type of Zeek's"),
    }
}

fn check_log(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("UTF-8");
    let head = |name: &str| -> Vec<String> {
        let line = text.lines().find_map(|l| l.strip_prefix(name)).expect("a header");
        line.split('\t').skip(1).map(str::to_owned).collect()
    };
    assert!(
        text.starts_with("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n")
    );
    let (fields, types) = (head("#fields"), head("#types"));
    assert_eq!(fields.len(), types.len());
    assert_eq!(fields.iter().collect::<BTreeSet<_>>().len(), fields.len(), "each column once");
    assert!(text.lines().last().expect("lines").starts_with("#close\t"));
    let rows: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    for row in &rows {
        let values: Vec<&str> = row.split('\t').collect();
        assert_eq!(values.len(), fields.len(), "{}: {row}", path.display());
        for ((value, kind), field) in values.iter().zip(&types).zip(&fields) {
            assert!(is_of_type(value, kind), "{}: {field} ({kind}) is {value}", path.display());
        }
    }
    rows.len()
}

#[test]
fn zeeks_logs_have_their_types_and_tell_the_same_verdict() {
    for name in SAMPLES {
        let place = Place::new();
        let verdicts = |lines: &[Value]| -> BTreeSet<String> {
            let hosts = lines.iter().filter(|l| l["type"] == "host");
            // Whether silence can be judged is another matter in logs.
            let loud = hosts.filter(|l| l["level_db"].as_f64() >= Some(10.0));
            loud.map(|l| format!("{} {}", l["host"], l["verdict"])).collect()
        };
        let to = format!("zeek={}", place.path("logs"));
        let packets = read_json(&[&path(name), "--format", &to]);
        let logs = std::fs::read_dir(place.path("logs")).expect("a folder");
        let rows: usize = logs.map(|l| check_log(&l.expect("an entry").path())).sum();
        assert!(rows > 10, "{name}: {rows} rows");
        let again = read_json(&[&place.path("logs")]);
        assert_eq!(verdicts(&packets), verdicts(&again), "{name}");
        assert_eq!(name.starts_with("kraken"), !verdicts(&packets).is_empty());
    }
}

#[test]
fn whatever_bots_do_is_written_well() {
    for (name, make) in scenarios::ALL.iter().chain(bots::ALL) {
        let place = Place::new();
        let capture = place.path("x.pcapng");
        std::fs::write(&capture, make().pcapng()).expect("written");
        let to = |format: &str| format!("{format}={}", place.path(format));
        let formats: Vec<String> = ["eve", "ecs", "ocsf", "csv", "zeek"].into_iter().map(to).collect();
        let mut args = vec!["read", "-q", &capture, "--all"];
        args.extend(formats.iter().flat_map(|f| ["--format", f.as_str()]));
        let (code, _, err) = run(&args);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
        for log in std::fs::read_dir(place.path("zeek")).expect("a folder") {
            check_log(&log.expect("an entry").path());
        }
        // What was written can be read, all of it.
        let (code, _, err) = run(&["read", "-q", &place.path("zeek")]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
        for format in ["eve", "ecs", "ocsf"] {
            let text = std::fs::read_to_string(place.path(format)).expect("written");
            for line in text.lines().map(serde_json::from_str::<Value>) {
                let line = line.expect("JSON");
                // What only stands for a name is no address of anybody.
                assert!(!line.to_string().contains("\"100::"), "{name}: {line}");
            }
        }
    }
}
