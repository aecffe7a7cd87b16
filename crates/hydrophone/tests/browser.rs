//! Report and console in a real browser: `browser/check.py` does what people do.

mod common;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{authority, hydrophone, sample, serve};
use testkit::scenarios;

/// Her password is `listening: all day`; `htpasswd -nbB` wrote it.
const ANNA: &str = "anna:$2y$05$KJyONiZg0nieKLF2DpN91u4N2arJEM9RHhYuP5c/O3x1HbtK5D5/q\n";

/// The Python that has what the check needs: `./test` makes it.
fn python() -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/tools/python/bin/python");
    let path = std::env::var_os("HYDROPHONE_PYTHON").map_or(made, PathBuf::from);
    path.is_file().then_some(path)
}

fn chromium() -> Option<PathBuf> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .map(PathBuf::from)
        .find(|p| p.is_file())
}

/// Runs `hydrophone read` with these arguments.
fn read(args: &[&Path]) {
    let read = hydrophone().args(["read", "--quiet"]).args(args).output().expect("it runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

#[test]
fn people_find_their_way_from_the_host_to_the_bundle() {
    let (Some(python), Some(chromium)) = (python(), chromium()) else {
        common::skipped("no Chromium, or no Python with Playwright (./test installs both)");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let case = dir.path().join("case");
    let office = sample("office-day.pcapng.zst");
    read(&["-o".as_ref(), &case, &office]);
    let (_console, url) = serve(&["--port".as_ref(), "0".as_ref(), case.as_os_str()]);
    // The same for whoever knows a password, over TLS.
    authority(dir.path(), &["localhost"]);
    let at = |name: &str| dir.path().join(name).into_os_string();
    std::fs::write(at("users"), ANNA).expect("written");
    let (certificate, key, users) = (at("localhost.pem"), at("localhost.key"), at("users"));
    let beyond: [(&str, &OsStr); 5] = [
        ("--listen", "127.0.0.1:0".as_ref()),
        ("--name", "localhost".as_ref()),
        ("--users", &users),
        ("--tls-certificate", &certificate),
        ("--tls-key", &key),
    ];
    let options = beyond.iter().flat_map(|(option, value)| [option.as_ref(), *value]);
    let (_secure, secure_url) = serve(&options.chain([case.as_os_str()]).collect::<Vec<_>>());
    // A store of five days: the office's, and a bot that goes on.
    let (_, kraken) = scenarios::ALL.iter().find(|(name, _)| *name == "kraken-new").expect("a scenario");
    let bot = dir.path().join("bot.pcapng");
    std::fs::write(&bot, kraken().on_days(&[0, 1, 2, 4]).pcapng()).expect("written");
    let store = dir.path().join("store");
    read(&["--store".as_ref(), &store, &office, &bot]);
    let (_days, days_url) = serve(&["--port".as_ref(), "0".as_ref(), store.as_os_str()]);
    let binary = assert_cmd::cargo::cargo_bin("hydrophone");
    let pictures = std::env::var_os("HYDROPHONE_PICTURES").map_or(dir.path().join("pictures"), PathBuf::from);
    let checked = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check.py"))
        .args([binary, chromium, case])
        .args([&url, &days_url, &secure_url])
        .arg(&pictures)
        .output()
        .expect("Python runs");
    assert!(
        checked.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
}
