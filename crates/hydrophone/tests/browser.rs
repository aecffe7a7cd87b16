//! Report and console in a real browser: `browser/check.py` does what people do.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{hydrophone, sample};

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

#[test]
fn people_find_their_way_from_the_host_to_the_bundle() {
    let (Some(python), Some(chromium)) = (python(), chromium()) else {
        common::skipped("no Chromium, or no Python with Playwright (./test installs both)");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let case = dir.path().join("case");
    let read = hydrophone()
        .args(["read", "--quiet", "-o"])
        .arg(&case)
        .arg(sample("office-day.pcapng.zst"))
        .output()
        .expect("it runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let binary = assert_cmd::cargo::cargo_bin("hydrophone");
    let mut console = Served(
        Command::new(&binary)
            .args(["serve", "--port", "0"])
            .arg(&case)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it serves"),
    );
    let mut url = String::new();
    let out = console.0.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut url).expect("the address is printed");
    let pictures = std::env::var_os("HYDROPHONE_PICTURES").map_or(dir.path().join("pictures"), PathBuf::from);
    let checked = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check.py"))
        .args([binary, chromium, case])
        .arg(url.trim())
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
