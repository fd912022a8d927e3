//! Cutting a large content into chunks: the first time, and after an edit.

#[path = "sample/noise.rs"]
mod noise;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use noise::noise;
use sync_core::recipe::{Cutter, Recipe};

const BYTES: usize = 64 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("chunking");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(BYTES as u64));
    let content = noise(1, BYTES);
    first_time(&mut group, &content);
    after_an_insertion(&mut group, &content);
    group.finish();
    criterion.final_summary();
}

fn first_time(group: &mut BenchmarkGroup<'_, WallTime>, content: &[u8]) {
    group.bench_function("64 MiB", |bencher| bencher.iter(|| Recipe::of(content)));
}

/// Old chunks are looked for first; only what is around the edit is cut anew.
fn after_an_insertion(group: &mut BenchmarkGroup<'_, WallTime>, content: &[u8]) {
    let old = Recipe::of(content);
    let (before, after) = content.split_at(BYTES / 2);
    let new = [before, b"20 bytes in between.", after].concat();
    group.bench_function("64 MiB after an insertion", |bencher| {
        bencher.iter(|| {
            let mut cutter = Cutter::expecting(&old);
            cutter.push(&new);
            cutter.finish(old.content)
        });
    });
}
