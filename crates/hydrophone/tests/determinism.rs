//! Same input, same output, byte for byte, at any number of threads and on any run.

mod common;

use common::{hydrophone, sample};

fn output(threads: &str, inputs: &[&str]) -> Vec<u8> {
    let mut command = hydrophone();
    command.arg("read").args(["--json", "--quiet", "--threads", threads]);
    for input in inputs {
        command.arg(sample(input));
    }
    command.output().expect("it runs").stdout
}

#[test]
fn one_two_and_five_threads_say_the_same() {
    for inputs in
        [&["office-day.pcapng.zst"][..], &["kraken-old.pcapng", "kraken-new.pcapng", "clean-monitor.pcapng"]]
    {
        let one = output("1", inputs);
        assert!(one.len() > 10_000);
        for threads in ["1", "2", "5"] {
            assert!(output(threads, inputs) == one, "{threads} threads, {inputs:?}");
        }
    }
}

#[test]
fn so_does_a_small_budget_that_forgets() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("flood.pcapng");
    std::fs::write(&path, testkit::floods::syn(400_000).pcapng()).expect("written");
    let run = |threads: &str| {
        let out = hydrophone()
            .args(["read", "--json", "--quiet", "--memory", "48MiB", "--threads", threads])
            .arg(&path)
            .output()
            .expect("it runs");
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    let one = run("1");
    assert!(one.contains("\"flow_evicted\":"), "the flood does not fill the table");
    for threads in ["1", "2", "5"] {
        assert!(run(threads) == one, "{threads} threads");
    }
}
