//! No input that somebody makes costs much more than what networks carry, in instructions: per packet or per byte, whichever allows more.
//! Without Valgrind this test says "skipped".

#![allow(clippy::print_stderr)]

mod common;

use std::path::Path;
use std::process::Command;

use common::sample;
use testkit::costly;

/// How many times the mixed capture's instructions an input may cost.
const AT_MOST: f64 = 4.0;

/// Instructions of reading a capture.
fn instructions(path: &Path) -> f64 {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(assert_cmd::cargo::cargo_bin!("hydrophone"))
        .args(["read", "--threads", "1", "--quiet", "--json"])
        .arg(path)
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&out.stderr);
    let count = said.lines().find_map(|l| l.split_once("Collected : ")).map(|(_, n)| n.trim().parse());
    count.unwrap_or_else(|| panic!("no count for {}: {said}", path.display())).expect("a number")
}

#[test]
fn no_input_costs_much_more_than_the_mixed_capture() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        common::skipped("no valgrind");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let nothing = dir.path().join("nothing.pcapng");
    std::fs::write(&nothing, testkit::Script::new(0, 1).pcapng()).expect("written");
    let start = instructions(&nothing);
    let office =
        zstd::stream::decode_all(std::fs::File::open(sample("office-day.pcapng.zst")).expect("a sample"));
    let office = office.expect("zstd");
    let mixed = dir.path().join("mixed.pcapng");
    std::fs::write(&mixed, &office).expect("written");
    let packets = |path: &Path| common::read_json(&[path.to_str().expect("UTF-8")])[0]["packets"].as_f64();
    let of = |path: &Path, bytes: usize| {
        let cost = instructions(path) - start;
        (cost / packets(path).expect("packets"), cost / bytes as f64)
    };
    let (a_packet, a_byte) = of(&mixed, office.len());
    eprintln!("mixed: {a_packet:.0} instructions a packet, {a_byte:.1} a byte");
    let too_much = common::of_each(costly::ALL, |(name, make)| {
        let bytes = make().pcapng();
        let path = dir.path().join(format!("{name}.pcapng"));
        std::fs::write(&path, &bytes).expect("written");
        let (p, b) = of(&path, bytes.len());
        let times = (p / a_packet).min(b / a_byte);
        eprintln!("{name}: {p:.0} a packet, {b:.1} a byte: {times:.2}");
        (times > AT_MOST).then(|| format!("{name}: {times:.2} times"))
    });
    let too_much: Vec<String> = too_much.into_iter().flatten().collect();
    assert!(too_much.is_empty(), "{too_much:?}");
}
