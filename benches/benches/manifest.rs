//! The manifest of 100,000 files: made, changed in one place, compared.

mod sample;

use criterion::{BatchSize, BenchmarkGroup, Criterion, measurement::WallTime};
use sync_core::Manifest;

const FILES: u32 = 100_000;
/// The file that is edited.
const EDITED: u32 = 5;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("manifest of 100,000");
    build(&mut group);
    let before = sample::manifest(FILES);
    // The hashes of what stays are known, as in a running node.
    let _ = before.root();
    update(&mut group, &before);
    root(&mut group, &before);
    difference(&mut group, &before);
    group.finish();
    criterion.final_summary();
}

fn build(group: &mut Group<'_>) {
    let entries: Vec<_> = (0..FILES).map(|number| sample::file(number, 0)).collect();
    group.sample_size(20).bench_function("build", |bencher| {
        bencher.iter_batched(
            || entries.clone(),
            Manifest::from_entries,
            BatchSize::PerIteration,
        );
    });
}

fn update(group: &mut Group<'_>, before: &Manifest) {
    let (path, entry) = sample::file(EDITED, 1);
    group.sample_size(100).bench_function("update", |bencher| {
        bencher.iter_batched(
            || (before.clone(), path.clone(), entry.clone()),
            |(mut manifest, path, entry)| {
                manifest.insert(path, entry);
                manifest
            },
            BatchSize::SmallInput,
        );
    });
}

fn root(group: &mut Group<'_>, before: &Manifest) {
    group.bench_function("root after an update", |bencher| {
        bencher.iter_batched(
            || updated(before),
            |manifest| manifest.root(),
            BatchSize::SmallInput,
        );
    });
}

fn difference(group: &mut Group<'_>, before: &Manifest) {
    let after = updated(before);
    group.bench_function("difference of an update", |bencher| {
        bencher.iter(|| after.diff(before));
    });
}

fn updated(before: &Manifest) -> Manifest {
    let mut after = before.clone();
    let (path, entry) = sample::file(EDITED, 1);
    after.insert(path, entry);
    after
}
