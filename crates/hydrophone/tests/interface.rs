//! What `docs/interface.md` promises is what the program does.

mod common;

use std::path::Path;

use common::{hydrophone, read_sample, sample};
use serde_json::Value;

/// The rows of the table behind a heading, each as its cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/interface.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let from = page.find(&format!("## {heading}")).expect("the heading");
    let rows = page[from..]
        .lines()
        .skip_while(|l| !l.starts_with("|---"))
        .skip(1)
        .take_while(|l| l.starts_with('|'));
    let cells = |l: &str| l.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    rows.map(cells).collect()
}

fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Every value at a path like `evidence[].ts`.
fn values<'a>(line: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('.').fold(vec![line], |at, part| {
        let name = part.trim_end_matches("[]");
        let found = at.into_iter().map(|v| &v[name]);
        if part.ends_with("[]") {
            found.flat_map(|v| v.as_array().expect("an array")).collect()
        } else {
            found.collect()
        }
    })
}

#[test]
fn host_lines_have_the_fields_that_are_promised() {
    let samples = ["kraken-new.pcapng", "clean-monitor.pcapng", "office-day.pcapng.zst"];
    let lines: Vec<Value> = samples.into_iter().flat_map(|s| read_sample(s).into_iter().skip(1)).collect();
    let rows = table("Host lines");
    assert!(rows.len() >= 9, "{rows:?}");
    for row in rows {
        let path = words(&row[0])[0];
        let all: Vec<&Value> = lines.iter().flat_map(|l| values(l, path)).collect();
        assert!(!all.is_empty(), "{path}");
        for value in all {
            let fits = match row[1].as_str() {
                "string" => value.is_string(),
                "number" => value.is_number(),
                "array" => value.is_array(),
                other => panic!("{other} is no type"),
            };
            assert!(fits, "{path} is {value}");
            let known = words(&row[2]);
            if ["type", "verdict", "evidence[].stage"].contains(&path) {
                assert!(known.contains(&value.as_str().expect("a string")), "{path} is {value}");
            }
        }
    }
    let times: Vec<&Value> = lines.iter().flat_map(|l| values(l, "evidence[].ts")).collect();
    assert!(times.iter().all(|t| record::Timestamp::parse(t.as_str().expect("text")).is_some()));
}

#[test]
fn exit_codes_are_those_that_are_promised() {
    let code = |args: &[&str]| hydrophone().args(args).output().expect("it runs").status.code();
    let bot = sample("kraken-new.pcapng");
    let bot = bot.to_str().expect("UTF-8");
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("cut.pcapng"), &std::fs::read(bot).expect("a sample")[..20_000]).expect("written");
    std::fs::write(path("flood.pcapng"), testkit::floods::syn(400_000).pcapng()).expect("written");
    let found = [
        code(&["read", "-q", bot]),
        code(&["read", "-q", bot, "--fail-on", "likely"]),
        code(&["read", "-q", bot, "--no-such-flag"]),
        code(&["read", "-q", &path("cut.pcapng")]),
        code(&["read", "-q", &path("flood.pcapng"), "--memory", "48MiB"]),
    ];
    let promised: Vec<Option<i32>> = table("Exit codes").iter().map(|r| r[0].parse().ok()).collect();
    assert_eq!(promised, found);
}

#[test]
fn what_is_of_another_version_is_refused_by_name() {
    let versions: Vec<u32> = table("Versions").iter().map(|r| r[2].parse().expect("a number")).collect();
    let config = hydrophone().args(["read", "--print-config"]).output().expect("it runs");
    let config = String::from_utf8(config.stdout).expect("UTF-8");
    let of_config =
        config.lines().find_map(|l| l.strip_prefix("version = ")?.parse().ok()).expect("a version");
    assert_eq!(versions, [report::CaptureLine::SCHEMA, of_config, pipeline::STATE_VERSION, store::VERSION]);

    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let run = |args: &[&str]| {
        let (code, _, err) = common::run(args);
        (code, err)
    };
    let bot = sample("kraken-blocked.pcapng");
    let bot = bot.to_str().expect("UTF-8");
    let case = path("case");
    assert_eq!(run(&["read", "-q", bot, "-o", &case]).0, Some(0));
    let lines = std::fs::read_to_string(path("case/case.jsonl")).expect("lines");
    assert!(lines.contains("\"schema\":1"));
    std::fs::write(path("case/case.jsonl"), lines.replacen("\"schema\":1", "\"schema\":7", 1))
        .expect("written");
    let (code, said) = run(&["explain", &case, testkit::BOT]);
    assert!(code == Some(3) && said.contains("written in form 7 by hydrophone"), "{code:?} {said}");

    std::fs::write(path("old.toml"), "version = 7\nnever_heard = 1\n").expect("written");
    let (code, said) = run(&["read", bot, "-c", &path("old.toml")]);
    assert!(code == Some(2) && said.contains("configuration of version 7"), "{code:?} {said}");
    std::fs::write(path("none.toml"), "threads = 1\n").expect("written");
    assert_eq!(run(&["read", "-q", bot, "-c", &path("none.toml")]).0, Some(0), "this version is meant");
}
