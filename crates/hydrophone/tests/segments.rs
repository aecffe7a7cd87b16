//! Segments of a network in which addresses repeat: told, and with `--separate-segments` each with hosts of its own.

mod common;

use std::path::Path;

use common::{host, read_json, run};
use serde_json::Value;
use testkit::{BOT, Script, bots, scenarios, wrappings};

/// A machine whose Ethernet addresses are its own, in the VLAN of that number.
fn tagged(vlan: u8) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    move |frame| {
        let mut out = [&frame[..12], &[0x81, 0, 0, vlan], &frame[12..]].concat();
        out[4] ^= vlan;
        out[10] ^= vlan;
        vec![out]
    }
}

/// The same in a virtual network of that number.
fn overlaid(vni: u8) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    /// Where the wrapper's identifier ends: behind Ethernet, IP, UDP and the flags.
    const LAST: usize = 14 + 20 + 8 + 6;
    let vxlan = wrappings::ALL.iter().find(|w| w.0 == "vxlan").expect("a wrapper").2;
    move |frame| {
        let mut out = vxlan(frame);
        assert_eq!(out[LAST], 42);
        out[LAST] = vni;
        vec![out]
    }
}

fn kraken() -> Script {
    scenarios::kraken(&scenarios::Variant::newer())
}

fn beacon() -> Script {
    bots::beacon(0.1)
}

fn written(dir: &Path, name: &str, script: Script) -> String {
    let path = dir.join(name);
    std::fs::write(&path, script.pcapng()).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

/// What is told of a host but for times, and for packets' numbers, which another machine's stand between.
fn told(story: &Value) -> (Value, Value, Vec<String>) {
    let names = |e: &Value| format!("{}/{} {}", e["behaviour"], e["key"], e["value"]);
    let mut evidence: Vec<String> =
        story["evidence"].as_array().expect("evidence").iter().map(names).collect();
    evidence.sort();
    (story["verdict"].clone(), story["level_db"].clone(), evidence)
}

fn in_segment<'a>(lines: &'a [Value], segment: &str) -> &'a Value {
    lines.iter().find(|l| l["host"] == BOT && l["segment"] == segment).expect("a line of it")
}

#[test]
fn two_machines_of_one_address_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let alone = |name, script| {
        let lines = read_json(&[&written(dir.path(), name, script)]);
        told(host(&lines, BOT))
    };
    let (one, other) = (alone("kraken.pcapng", kraken()), alone("beacon.pcapng", beacon()));
    assert_ne!(one, other);
    let vlans = kraken().retold(tagged(5)).and(beacon().retold(tagged(6)));
    let overlays = kraken().retold(overlaid(5)).and(beacon().retold(overlaid(6)));
    for (both, segments) in [(vlans, ["vlan5", "vlan6"]), (overlays, ["vni5", "vni6"])] {
        let path = written(dir.path(), segments[0], both);
        let merged = read_json(&[&path]);
        assert_eq!(
            merged.iter().filter(|l| l["host"] == BOT).count(),
            1,
            "one host, where nobody says otherwise"
        );
        let lines = read_json(&[&path, "--separate-segments"]);
        assert_eq!(lines[0]["segments_apart"], true);
        assert_eq!(told(in_segment(&lines, segments[0])), one, "{}", segments[0]);
        assert_eq!(told(in_segment(&lines, segments[1])), other, "{}", segments[1]);
        // And their proof too.
        let case = dir.path().join(format!("case-{}", segments[0]));
        let case = case.to_str().expect("UTF-8");
        let (code, _, said) = run(&["read", &path, "--separate-segments", "-o", case, "--quiet"]);
        assert_eq!(code, Some(0), "{said}");
        for segment in segments {
            let which = format!("{BOT}@{segment}");
            let said = carved(dir.path(), case, &which);
            assert!(said.contains("the evidence is the same"), "{which}: {said}");
            let (code, said, _) = run(&["explain", case, &which]);
            assert!(code == Some(0) && said.contains(&which), "{said}");
        }
        let (code, _, said) = run(&["explain", case, &format!("{BOT}@vlan7")]);
        assert!(
            code == Some(2) && said.contains(&format!("was not seen in vlan7: ask for {BOT}@")),
            "{said}"
        );
        let (code, _, said) = run(&["explain", case, &format!("{BOT}@room7")]);
        assert!(code == Some(2) && said.contains("neither a time nor a segment"), "{said}");
    }
}

/// Reads a script with segments apart into a case; gives its hosts' handles by verdict, and what runs on it.
fn case_of(dir: &Path, name: &str, script: Script) -> (Vec<Value>, String) {
    let path = written(dir, name, script);
    let case = dir.join(format!("case-{name}")).to_str().expect("UTF-8").to_owned();
    assert_eq!(run(&["read", &path, "--separate-segments", "-o", &case, "--quiet"]).0, Some(0));
    (read_json(&[&path, "--separate-segments"]), case)
}

fn carved(dir: &Path, case: &str, which: &str) -> String {
    let slice = dir.join("slice.pcapng");
    run(&["carve", case, which, "-w", slice.to_str().expect("UTF-8")]).1
}

#[test]
fn what_has_no_tag_is_a_segment_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let (lines, case) = case_of(dir.path(), "untagged", beacon().and(kraken().retold(tagged(5))));
    let level = |segment: &str| in_segment(&lines, segment)["level_db"].as_f64().expect("a level");
    assert!(level("vlan5") > 40.0 && level("untagged") < 20.0);
    assert!(carved(dir.path(), &case, &format!("{BOT}@untagged")).contains("the evidence is the same"));
    assert!(carved(dir.path(), &case, &format!("{BOT}@vlan5")).contains("the evidence is the same"));
}

#[test]
fn beyond_so_many_segments_what_is_left_is_judged_together() {
    let dir = tempfile::tempdir().expect("a folder");
    // A word in each of 64 VLANs and in each of 64 overlays, then a bot in a VLAN of its own.
    let word = |n: u8, wrap: &dyn Fn(&[u8]) -> Vec<Vec<u8>>| {
        let mut s = Script::new(1_200_000_000, u64::from(n));
        let from = s.client("10.20.0.99");
        s.udp(f64::from(n) / 100.0, from, testkit::End::new("198.18.0.1", 4000), &[n; 20]);
        s.retold(wrap)
    };
    let mut overlays = kraken().only(|_| false);
    let mut vlans = kraken().only(|_| false);
    for n in 100..164 {
        overlays = overlays.and(word(n, &|f| overlaid(n)(f)));
        vlans = vlans.and(word(n, &|f| tagged(n)(f)));
    }
    let later = || kraken().retold(tagged(5)).on_days(&[1]);
    // Who names many overlays crowds out no VLAN.
    let (lines, _) = case_of(dir.path(), "overlays", overlays.and(later()));
    assert_eq!(in_segment(&lines, "vlan5")["verdict"], "infected");
    let (lines, case) = case_of(dir.path(), "vlans", vlans.and(later()));
    assert_eq!(in_segment(&lines, "others")["verdict"], "infected");
    assert!(lines[0]["notices"].to_string().contains("judged together"), "{}", lines[0]["notices"]);
    assert!(carved(dir.path(), &case, &format!("{BOT}@others")).contains("the evidence is the same"));
}

#[test]
fn where_addresses_repeat_it_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let both = kraken().retold(tagged(5)).and(beacon().retold(tagged(6)));
    let lines = read_json(&[&written(dir.path(), "both.pcapng", both)]);
    let notices = lines[0]["notices"].to_string();
    assert!(
        notices.contains("used by two machines at once") && notices.contains("--separate-segments"),
        "{notices}"
    );
    assert!(host(&lines, BOT)["unseen"].to_string().contains("two machines use the address at once"));
    // A mirror that shows the packets of one machine on both sides of a router shows one machine.
    let routed = kraken().retold(|frame| {
        let mut there = [&frame[..12], &[0x81, 0, 0, 6], &frame[12..]].concat();
        there[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
        vec![[&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat(), there]
    });
    let lines = read_json(&[&written(dir.path(), "routed.pcapng", routed)]);
    let notices = lines[0]["notices"].to_string();
    assert!(!notices.contains("two machines"), "{notices}");
}

#[test]
fn a_state_of_one_kind_is_not_gone_on_from_as_the_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = written(dir.path(), "kraken.pcapng", kraken().retold(tagged(5)));
    let state = dir.path().join("state");
    let state = state.to_str().expect("UTF-8");
    let read = |args: &[&str]| run(&[&["read", "--state", state, "--quiet"][..], args].concat());
    assert_eq!(read(&[&path, "--separate-segments"]).0, Some(0));
    let later = written(dir.path(), "beacon.pcapng", beacon().retold(tagged(6)));
    let (code, _, said) = read(&[&later]);
    assert!(code != Some(0) && said.contains("say --separate-segments"), "{said}");
    assert_eq!(read(&[&later, "--separate-segments"]).0, Some(0));
}
