//! Instructions of each room over the same capture, counted by Valgrind and so the same on a busy machine:
//! `cargo bench -p hydrophone-benches --bench instructions` (needs valgrind and gungraun-runner).
#![allow(missing_docs, clippy::exit)] // The harness makes its own main.

use std::hint::black_box;

use benches::Inputs;
use gungraun::{library_benchmark, library_benchmark_group, main};

fn packets() -> Inputs {
    Inputs::of_capture().with_packets().expect("a capture")
}

fn records() -> Inputs {
    Inputs::of_capture().with_records().expect("a capture")
}

#[library_benchmark(setup = Inputs::of_capture)]
fn capture(inputs: Inputs) -> (u64, Inputs) {
    (black_box(inputs.walk()), inputs)
}

#[library_benchmark(setup = packets)]
fn wire(inputs: Inputs) -> (u64, Inputs) {
    (black_box(inputs.decode()), inputs)
}

#[library_benchmark(setup = packets)]
fn flow(inputs: Inputs) -> (u64, Inputs) {
    (black_box(inputs.follow()), inputs)
}

#[library_benchmark(setup = packets)]
fn flow_and_proto(inputs: Inputs) -> (u64, Inputs) {
    (black_box(inputs.understand()), inputs)
}

#[library_benchmark(setup = records)]
fn behaviour_and_verdict(inputs: Inputs) -> (u64, Inputs) {
    (black_box(inputs.judge()), inputs)
}

library_benchmark_group!(
    name = rooms;
    benchmarks = capture, wire, flow, flow_and_proto, behaviour_and_verdict
);
main!(library_benchmark_groups = rooms);
