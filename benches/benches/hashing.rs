//! Content ids: of an artifact, of a large artifact, of a piece of a large file.

#[path = "sample/noise.rs"]
mod noise;

use criterion::{BenchmarkId, Criterion, Throughput};
use noise::noise;
use sync_core::ContentId;

const LENGTHS: [usize; 3] = [2_000, 16_000, 1 << 20];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("hashing");
    for length in LENGTHS {
        let content = noise(1, length);
        group.throughput(Throughput::Bytes(length as u64));
        let id = BenchmarkId::new("bytes", length);
        group.bench_function(id, |bencher| bencher.iter(|| ContentId::of(&content)));
    }
    group.finish();
    criterion.final_summary();
}
