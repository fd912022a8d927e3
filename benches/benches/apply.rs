//! A passive filled with a thousand files: taken in until they are durable, and
//! put into the tree.

#[path = "sample/fill.rs"]
mod fill;
#[path = "sample/place.rs"]
mod place;

use std::fs;

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use fill::{FILES, Fill};
use sync_core::{Preset, guard::Guard};
use sync_fs::{
    Replica,
    replica::{Committed, ReplicaOptions},
};
use tempfile::TempDir;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("replica");
    group.sample_size(20);
    group.throughput(Throughput::Elements(FILES as u64));
    let fill = Fill::new();
    commit(&mut group, &fill);
    apply(&mut group, &fill);
    group.finish();
    criterion.final_summary();
}

fn commit(group: &mut Group<'_>, fill: &Fill) {
    group.bench_function("commit 1,000", |bencher| {
        bencher.iter_batched(
            || new_replica(fill),
            |(directory, mut replica)| {
                let committed = take_in(&mut replica, fill);
                (directory, replica, committed)
            },
            BatchSize::PerIteration,
        );
    });
}

fn apply(group: &mut Group<'_>, fill: &Fill) {
    group.bench_function("apply 1,000", |bencher| {
        bencher.iter_batched(
            || {
                let (directory, mut replica) = new_replica(fill);
                let committed = take_in(&mut replica, fill);
                (directory, replica, committed)
            },
            |(directory, mut replica, committed)| {
                replica.apply(committed).expect("nothing is in the way");
                (directory, replica)
            },
            BatchSize::PerIteration,
        );
    });
}

fn new_replica(fill: &Fill) -> (TempDir, Replica) {
    let directory = place::directory();
    let (tree, work) = (directory.path().join("tree"), directory.path().join("work"));
    fs::create_dir(&tree).expect("a new directory");
    let options = ReplicaOptions::new(fill.header.tree.clone(), tree, work, Preset::Synapse);
    let (replica, _) = Replica::open(options).expect("a new tree");
    (directory, replica)
}

fn take_in(replica: &mut Replica, fill: &Fill) -> Committed {
    let (header, changes) = (fill.header.clone(), fill.changes.clone());
    let begun = replica.begin(header, changes, &Guard::default(), None);
    let mut intake = begun.expect("a generation that follows");
    let wanted = replica.wanted_small(&mut intake).expect("an empty tree");
    for position in wanted
        .iter()
        .flat_map(|range| range.start..range.start + range.count)
    {
        let taken = replica.put_small(&mut intake, position, fill.contents[&position].clone());
        taken.expect("a content that is wanted");
    }
    replica.commit(intake).expect("room")
}
