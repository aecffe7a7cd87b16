//! The commit that the program is built of, for `--version`: from the environment (`HYDROPHONE_COMMIT`), or else from git; empty without both.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=HYDROPHONE_COMMIT");
    // Each commit writes a line of it.
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git/logs/HEAD");
    if log.exists() {
        println!("cargo:rerun-if-changed={}", log.display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let of_git = || {
        let out = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let commit = std::env::var("HYDROPHONE_COMMIT").ok().or_else(|| of_git().filter(|_| log.exists()));
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version =
        commit.filter(|c| !c.is_empty()).map_or_else(|| version.clone(), |c| format!("{version} ({c})"));
    println!("cargo:rustc-env=HYDROPHONE_VERSION={version}");
}
