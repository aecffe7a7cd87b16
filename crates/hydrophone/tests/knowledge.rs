//! Expectations and lists of indicators, as a user gives them.

mod common;

use std::path::Path;

use common::{hydrophone, read_json, sample};
use testkit::{BOT, bots};

fn scenario(dir: &Path, name: &str) -> String {
    let make = bots::ALL.iter().find(|(n, _)| *n == name).expect("a scenario").1;
    let path = dir.join(format!("{name}.pcapng"));
    std::fs::write(&path, make().pcapng()).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

const SCAN: &str = "[[expect]]\nname = \"nightly scan\"\nwho = [\"10.20.0.13\"]\nbehaviours = [\"horizontal_scan\"]\n\
                    why = \"inventory\"\nowner = \"ops\"\nuntil = \"2030-01-01\"\n";

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn what_is_expected_counts_for_nothing_and_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = scenario(dir.path(), "horizontal_scan");
    let file = write(dir.path(), "expect.toml", SCAN);
    let before = read_json(&[&capture]);
    let after = read_json(&[&capture, "--expect", &file]);
    let bot = |lines: &[serde_json::Value]| common::host(lines, BOT).clone();
    assert_eq!(bot(&before)["verdict"], "suspicious");
    assert_eq!(bot(&after)["verdict"], "quiet");
    assert!(!bot(&after)["suppressed"].as_array().expect("kept").is_empty());
    // An edit needs no new run, in both directions.
    let case = dir.path().join("case");
    let case = case.to_str().expect("UTF-8");
    let run = |args: &[&str]| {
        let out = hydrophone().args(args).output().expect("it runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    run(&["read", &capture, "-o", case, "--quiet", "--expect", &file]);
    let explained = run(&["explain", case, BOT]);
    assert!(explained.contains("suppressed by 'nightly scan' of ops, until 2030-01-01"), "{explained}");
    assert!(explained.starts_with(&format!("{BOT}  QUIET")), "{explained}");
    let none = write(dir.path(), "none.toml", "");
    let anew = run(&["explain", case, BOT, "--expect", &none]);
    assert!(anew.starts_with(&format!("{BOT}  SUSPICIOUS")) && !anew.contains("suppressed by"), "{anew}");
    assert_eq!(anew, run(&["explain", case, BOT, "--expect", &none]), "the same input, the same text");
    run(&["read", &capture, "-o", case, "--quiet"]);
    let again = run(&["explain", case, BOT, "--expect", &file]);
    assert!(again.starts_with(&format!("{BOT}  QUIET")) && again.contains("suppressed by"), "{again}");
}

#[test]
fn ended_and_idle_expectations_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = scenario(dir.path(), "horizontal_scan");
    let ended = write(dir.path(), "a.toml", &SCAN.replace("2030", "2001"));
    let lines = read_json(&[&capture, "--expect", &ended]);
    assert!(lines[0]["notices"].to_string().contains("ended on 2001-01-01"), "{}", lines[0]["notices"]);
    assert_eq!(common::host(&lines, BOT)["verdict"], "suspicious");
    let idle = write(dir.path(), "b.toml", &SCAN.replace("10.20.0.13", "10.20.0.99"));
    let lines = read_json(&[&capture, "--expect", &idle]);
    assert!(lines[0]["notices"].to_string().contains("nothing fulfilled"), "{}", lines[0]["notices"]);
}

#[test]
fn what_a_declared_host_does_beside_its_role_is_evidence() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = scenario(dir.path(), "raw_control");
    let role = "[[role]]\nname = \"till\"\nwho = [\"10.20.0.13\"]\nrole = \"resolver\"\nwhy = \"sells\"\nowner = \"shop\"\n\
                until = \"2030-01-01\"\nonly = [{ direction = \"out\", ports = [53, 443] }]\n";
    let file = write(dir.path(), "role.toml", role);
    let bot = |extra: &[&str]| {
        let mut args = vec![capture.as_str()];
        args.extend(extra);
        common::host(&read_json(&args), BOT).clone()
    };
    let (before, after) = (bot(&[]), bot(&["--expect", &file]));
    let deviates = |b: &serde_json::Value| {
        b["evidence"].as_array().expect("evidence").iter().any(|e| e["behaviour"] == "role_deviation")
    };
    assert!(!deviates(&before) && deviates(&after));
    assert!(
        after["level_db"].as_f64() > before["level_db"].as_f64(),
        "{} {}",
        before["level_db"],
        after["level_db"]
    );
    assert!(after["roles"].to_string().contains("declared as 'till' by shop"), "{}", after["roles"]);
    let anything = write(dir.path(), "any.toml", &role.replace("ports = [53, 443]", "remotes = []"));
    assert!(!deviates(&bot(&["--expect", &anything])), "a role that allows it");
}

#[test]
fn lists_are_evidence_and_the_verdict_without_them_is_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = scenario(dir.path(), "raw_control");
    let list = write(dir.path(), "mine.txt", "# date: 2020-09-01\n# trust: high\n198.18.77.7\nnot one\n");
    let lines = read_json(&[&capture, "--intel", &list]);
    let bot = common::host(&lines, BOT);
    let fired = bot["evidence"].as_array().expect("evidence");
    assert!(fired.iter().any(|e| e["behaviour"] == "known_indicator" && e["facts"]["list"] == "mine.txt"));
    assert!(bot["without_lists"]["level_db"].as_f64() < bot["level_db"].as_f64());
    assert_eq!(lines[0]["notices"][0], "mine.txt: 1 entry is not understood, for example \"not one\"");
    let folder = read_json(&[&capture, "--intel", dir.path().to_str().expect("UTF-8")]);
    let notices = folder[0]["notices"].to_string();
    assert!(
        notices.contains("pcapng") && notices.contains("mine.txt"),
        "a capture is no list, and that is said: {notices}"
    );
    let (empty, nothing) = (write(dir.path(), "empty.txt", "# none yet\n"), dir.path().join("lists"));
    std::fs::create_dir(&nothing).expect("made");
    let with = ["--intel", &list, "--intel", &empty, "--intel", nothing.to_str().expect("UTF-8")];
    let notices = read_json(&[&[capture.as_str()][..], &with].concat())[0]["notices"].to_string();
    assert!(
        notices.contains("empty.txt: adds no indicator")
            && notices.contains("no list of indicators lies in it"),
        "{notices}"
    );
}

#[test]
fn wrong_files_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = sample("kraken-new.pcapng");
    let capture = capture.to_str().expect("UTF-8");
    for (flag, text, told) in [
        ("--expect", "[[expect]]\nnane = 1", "nane"),
        ("--expect", &SCAN.replace("2030-01-01", "soon"), "YYYY-MM-DD"),
        (
            "--expect",
            &format!(
                "{}role = \"janitor\"",
                SCAN.replace("[[expect]]", "[[role]]").replace("behaviours = [\"horizontal_scan\"]\n", "")
            ),
            "janitor",
        ),
        ("--intel", "nothing to see here", "STIX"),
    ] {
        let file = write(dir.path(), "wrong", text);
        let out = hydrophone().args(["read", capture, flag, &file]).output().expect("it runs");
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && err.contains(told) && err.contains("wrong"), "{err}");
    }
    let out = hydrophone().args(["read", capture, "--intel", "/nowhere"]).output().expect("it runs");
    assert!(out.status.code() == Some(2) && String::from_utf8_lossy(&out.stderr).contains("/nowhere"));
}

#[test]
fn payoffs_of_ones_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |text: &str| {
        let path = dir.path().join("payoffs.toml");
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let sample = sample("kraken-new.pcapng");
    let sample = sample.to_str().expect("UTF-8");
    let payoff = |lines: &[serde_json::Value]| {
        let items = common::host(lines, BOT)["stages"]["probe"]["items"].as_array().expect("items").clone();
        let of = items.iter().find(|i| i["behaviour"] == "smtp_probe").expect("the probe");
        of["payoff_db"].as_f64().expect("a number")
    };
    let before = read_json(&[sample]);
    let after = read_json(&[sample, "--payoffs", &file("[smtp_probe]\nattempts = 1.0\n")]);
    assert!((payoff(&before) - payoff(&after) - 10.0).abs() < 1e-9);
    assert!(after[0]["calibration"].as_str().expect("text").contains("payoffs.toml"));
    let broken = file("[smtp_probe]\nattempt = 1.0\n");
    let out = hydrophone().args(["read", sample, "--payoffs", &broken]).output().expect("it runs");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("payoffs.toml") && told.contains("attempts"), "{told}");
    let out = hydrophone().args(["read", sample, "--payoffs", "/nowhere.toml"]).output().expect("it runs");
    assert_eq!(out.status.code(), Some(2));
}

/// A database in MaxMind's form: one network, and what is said of it.
fn database(dir: &Path, name: &str, network: &str, told: &impl serde::Serialize) -> String {
    let mut made = maxminddb_writer::Database::default();
    made.metadata.ip_version = maxminddb_writer::metadata::IpVersion::V4;
    made.metadata.binary_format_major_version = 2;
    "Test".clone_into(&mut made.metadata.database_type);
    let at = made.insert_value(told).expect("a value");
    let network: std::net::IpAddr = network.parse().expect("an address");
    made.insert_node(maxminddb_writer::paths::IpAddrWithMask::new(network, 24), at);
    let path = dir.join(name);
    std::fs::write(&path, made.write_to(Vec::new()).expect("written")).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn remotes_are_placed_by_the_users_own_databases() {
    use std::collections::BTreeMap;
    let dir = tempfile::tempdir().expect("a folder");
    let capture = sample("kraken-new.pcapng");
    let capture = capture.to_str().expect("UTF-8");
    let countries = BTreeMap::from([("country", BTreeMap::from([("iso_code", "NL")]))]);
    let countries = database(dir.path(), "country.mmdb", "198.18.9.0", &countries);
    // As IPinfo writes them, and of another country: the first that says so is believed.
    let networks = BTreeMap::from([("asn", "AS64500"), ("as_name", "Example Net"), ("country_code", "XX")]);
    let networks = database(dir.path(), "asn.mmdb", "198.18.9.0", &networks);
    let placed = read_json(&[capture, "--geo", &countries, "--geo", &networks]);
    let bot = common::host(&placed, "10.20.0.13");
    let place = &bot["places"]["198.18.9.25"];
    assert_eq!(
        place,
        &serde_json::json!({"country": "NL", "asn": 64500, "organisation": "Example Net"}),
        "{bot}"
    );
    let page = dir.path().join("report.html");
    let page = page.to_str().expect("UTF-8");
    read_json(&[capture, "--geo", &countries, "--geo", &networks, "--html", page]);
    let text = std::fs::read_to_string(page).expect("written");
    assert!(text.contains("AS64500 Example Net, NL"));
    assert!(common::host(&read_json(&[capture]), "10.20.0.13").get("places").is_none(), "nobody asked");
    let broken = write(dir.path(), "broken.mmdb", "nothing of the kind");
    let out = hydrophone().args(["read", capture, "--geo", &broken]).output().expect("it runs");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.code() == Some(2) && told.contains("broken.mmdb") && told.contains("GeoLite2"),
        "{told}"
    );
}

#[test]
fn a_file_is_known_by_its_hash() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = scenario(dir.path(), "payload_download");
    let lines = read_json(&[&capture]);
    let files = common::host(&lines, BOT)["profile"]["files"].as_array().expect("files").clone();
    let sum = files[0]["sha256"].as_str().expect("a hash").to_owned();
    assert!(files[0]["kind"] == "pe" && files[0]["whole"] == true, "{files:?}");
    let list = write(dir.path(), "bazaar.csv", &format!("sha256_hash,reporter\n{sum},x\n"));
    let known = read_json(&[&capture, "--intel", &list]);
    let evidence = common::host(&known, BOT)["evidence"].as_array().expect("evidence").clone();
    let found = evidence.iter().find(|e| e["behaviour"] == "known_indicator").expect("it is listed");
    assert_eq!(
        (found["key"].as_str(), found["facts"]["indicator"].as_str()),
        (Some("file"), Some(sum.as_str()))
    );
    // Asked of records at rest, by the hash itself or by the list.
    let store = dir.path().join("store");
    let store = store.to_str().expect("UTF-8");
    read_json(&[&capture, "--store", store]);
    for asked in [&["find", store, sum.as_str()][..], &["find", store, "--intel", &list]] {
        let out = hydrophone().args(asked).output().expect("it runs");
        let told = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(told.contains(BOT), "{asked:?}: {told}");
    }
    // Without hashes there is nothing to compare.
    let bare = read_json(&[&capture, "--intel", &list, "--no-hashes"]);
    let bot = common::host(&bare, BOT);
    assert!(
        bot["profile"]["files"][0]["sha256"].is_null() && !bot.to_string().contains("known_indicator"),
        "{bot}"
    );
}
