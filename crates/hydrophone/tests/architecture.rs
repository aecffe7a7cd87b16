//! The one-way street: a crate may use only what stands upstream of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may use whom (ARCHITECTURE.md). `testkit` and `benches` may use everything; who uses it does so in tests only.
const STREET: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("capture", &["record"]),
    ("import", &["record", "capture"]),
    ("store", &["record"]),
    ("wire", &["record"]),
    ("flow", &["record", "wire"]),
    ("proto", &["record"]),
    ("behaviour", &["record"]),
    ("verdict", &["record", "behaviour"]),
    ("report", &["record", "behaviour", "verdict"]),
    (
        "pipeline",
        &["record", "capture", "import", "wire", "flow", "proto", "behaviour", "verdict", "report", "store"],
    ),
    ("cluster", &["record", "behaviour", "verdict", "report", "pipeline", "store"]),
    ("case", &["record", "capture", "behaviour", "verdict", "report"]),
    ("console", &["record", "capture", "behaviour", "verdict", "report", "case", "pipeline"]),
    ("export", &["record", "wire", "behaviour", "verdict", "report"]),
    ("tell", &["record", "verdict", "report"]),
    (
        "hydrophone",
        &[
            "record",
            "capture",
            "behaviour",
            "verdict",
            "report",
            "pipeline",
            "case",
            "export",
            "console",
            "store",
            "tell",
        ],
    ),
    ("testkit", &["record", "capture", "wire", "behaviour", "verdict", "pipeline"]),
    (
        "benches",
        &[
            "record",
            "capture",
            "import",
            "wire",
            "flow",
            "proto",
            "behaviour",
            "verdict",
            "pipeline",
            "store",
            "testkit",
        ],
    ),
];

fn short(name: &str) -> &str {
    name.strip_prefix("hydrophone-").unwrap_or(name)
}

#[test]
fn dependencies_point_upstream_only() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo metadata is JSON");
    let street: BTreeMap<&str, BTreeSet<&str>> =
        STREET.iter().map(|(n, d)| (*n, d.iter().copied().collect())).collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let mut seen = BTreeSet::new();
    for package in packages {
        let name = short(package["name"].as_str().expect("a name"));
        let allowed = street
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not on the map: add it to ARCHITECTURE.md and here"));
        seen.insert(name.to_owned());
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let other = short(dependency["name"].as_str().expect("a name"));
            let is_ours = dependency["path"].is_string();
            if is_ours && dependency["kind"].is_null() {
                assert!(allowed.contains(other), "{name} may not depend on {other}");
            }
        }
    }
    assert_eq!(seen.len(), STREET.len());
}
