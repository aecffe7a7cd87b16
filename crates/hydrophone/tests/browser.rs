//! Report and console in a real browser: `browser/check.py` does what people do.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{hydrophone, sample};
use testkit::scenarios;

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

/// A console that ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A console over a case or a store, and its address with the token.
fn serve(what: &Path) -> (Served, String) {
    let mut console = Command::new(assert_cmd::cargo::cargo_bin("hydrophone"));
    let spawned = console.args(["serve", "--port", "0"]).arg(what).stdout(Stdio::piped()).spawn();
    let mut served = Served(spawned.expect("it serves"));
    let mut url = String::new();
    let out = served.0.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut url).expect("the address is printed");
    (served, url.trim().to_owned())
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
    let (_console, url) = serve(&case);
    // A store of five days: the office's, and a bot that goes on.
    let (_, kraken) = scenarios::ALL.iter().find(|(name, _)| *name == "kraken-new").expect("a scenario");
    let bot = dir.path().join("bot.pcapng");
    std::fs::write(&bot, kraken().on_days(&[0, 1, 2, 4]).pcapng()).expect("written");
    let store = dir.path().join("store");
    read(&["--store".as_ref(), &store, &office, &bot]);
    let (_days, days_url) = serve(&store);
    let binary = assert_cmd::cargo::cargo_bin("hydrophone");
    let pictures = std::env::var_os("HYDROPHONE_PICTURES").map_or(dir.path().join("pictures"), PathBuf::from);
    let checked = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check.py"))
        .args([binary, chromium, case])
        .args([&url, &days_url])
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
