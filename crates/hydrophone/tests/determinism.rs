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
    let run = |threads: &str| {
        let out = hydrophone()
            .args(["read", "--json", "--quiet", "--memory", "48MiB", "--threads", threads])
            .arg(sample("office-day.pcapng.zst"))
            .output()
            .expect("it runs");
        out.stdout
    };
    assert!(run("1") == run("3"));
}
