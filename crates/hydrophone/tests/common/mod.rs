//! What the tests of the binary share.
#![allow(dead_code, clippy::print_stderr)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::Command;
use serde_json::Value;

/// What `work` makes of each, in their order; as many at once as there are processors.
pub fn of_each<I: Sync, T: Send>(all: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(of) = all.get(at) else { return done };
            done.push((at, work(of)));
        }
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(take)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
            .collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

/// A test goes without something that is not there: said, or with `STRICT=1` a failure.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("STRICT").is_none_or(|s| s != "1"), "skipped under STRICT=1: {why}");
    eprintln!("skipped: {why}");
}

pub fn hydrophone() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"));
    command.env_remove("NO_COLOR");
    command
}

/// Runs the binary: its exit code, and what it said on standard output and error.
pub fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = hydrophone().args(args).output().expect("it runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name)
}

/// Runs `read --json` and gives the lines.
pub fn read_json(args: &[&str]) -> Vec<Value> {
    let out = hydrophone().arg("read").args(args).args(["--json", "--quiet"]).output().expect("it runs");
    String::from_utf8(out.stdout)
        .expect("JSON is UTF-8")
        .lines()
        .map(|l| serde_json::from_str(l).expect("each line is JSON"))
        .collect()
}

pub fn read_sample(name: &str) -> Vec<Value> {
    read_json(&[sample(name).to_str().expect("a path in UTF-8")])
}

pub fn host<'a>(lines: &'a [Value], ip: &str) -> &'a Value {
    lines.iter().find(|l| l["host"] == ip).unwrap_or_else(|| panic!("no line of {ip}"))
}

/// Writes a script to a file and reads it.
pub fn analyse_script(script: testkit::Script) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scenario.pcapng");
    std::fs::write(&path, script.pcapng()).expect("written");
    read_json(&[path.to_str().expect("UTF-8")])
}

/// An authority, and certificates of its for a server and a client, in files of a folder: `ca.pem`, and by name `.pem` and `.key`.
pub fn authority(dir: &Path, names: &[&str]) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("it is made");
    std::fs::write(dir.join("ca.pem"), ca.self_signed(&key).expect("it is made").pem()).expect("it is made");
    let issuer = Issuer::new(ca, key);
    for name in names {
        let key = KeyPair::generate().expect("it is made");
        let params = CertificateParams::new(vec![(*name).to_owned()]).expect("it is made");
        let certificate = params.signed_by(&key, &issuer).expect("it is made");
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).expect("it is made");
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("it is made");
    }
}

/// A console that is served, and ends with the test.
pub struct Served(pub std::process::Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves with these arguments: a console, and the address that it prints.
pub fn serve<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> (Served, String) {
    let mut console = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"));
    let console = console.arg("serve").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut served = Served(console.spawn().expect("it serves"));
    let mut url = String::new();
    let out = served.0.stdout.as_mut().expect("its output");
    BufReader::new(out).read_line(&mut url).expect("the address is printed");
    (served, url.trim().to_owned())
}

/// Waits until it is so, not for ever.
#[allow(clippy::disallowed_methods)] // Real programs have real time.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
