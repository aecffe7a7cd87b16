//! Time per packet of each room: `cargo bench -p hydrophone-benches --bench kernels`.

use std::hint::black_box;

use benches::Inputs;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn kernels(c: &mut Criterion) {
    let inputs = Inputs::of_capture().with_packets().and_then(Inputs::with_records).expect("a capture");
    let mut group = c.benchmark_group("rooms");
    group.throughput(Throughput::Elements(inputs.len() as u64)).sample_size(20);
    group.bench_function("capture", |b| b.iter(|| black_box(inputs.walk())));
    group.bench_function("wire", |b| b.iter(|| black_box(inputs.decode())));
    group.bench_function("flow", |b| b.iter(|| black_box(inputs.follow())));
    group.bench_function("flow_and_proto", |b| b.iter(|| black_box(inputs.understand())));
    group.bench_function("behaviour_and_verdict", |b| b.iter(|| black_box(inputs.judge())));
    group.finish();
}

criterion_group!(rooms, kernels);
criterion_main!(rooms);
