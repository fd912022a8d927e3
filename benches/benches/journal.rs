//! A generation made durable: contents appended, one commit.

#[path = "sample/fill.rs"]
mod fill;
#[path = "sample/place.rs"]
mod place;

use criterion::{BatchSize, Criterion, Throughput};
use fill::{FILES, Fill};
use sync_core::{
    Action, Change, Epoch, Generation, Position,
    journal::{Place, Placed},
};
use sync_fs::{Root, journal::Journal, replica::ReplicaOptions};
use tempfile::TempDir;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(FILES as u64));
    let fill = Fill::new();
    let placed: Vec<_> = fill.changes.iter().map(placed).collect();
    group
        .sample_size(20)
        .bench_function("append 1,000 and commit", |bencher| {
            bencher.iter_batched(
                || new_journal(&fill),
                |(directory, mut journal)| {
                    write(&mut journal, &fill, &placed);
                    (directory, journal)
                },
                BatchSize::PerIteration,
            );
        });
    group.finish();
    criterion.final_summary();
}

fn new_journal(fill: &Fill) -> (TempDir, Journal) {
    let directory = place::directory();
    let work = Root::open(directory.path()).expect("a new directory");
    let base = Position {
        epoch: Epoch(0),
        generation: Generation(0),
        root: fill.header.base,
    };
    let floor = ReplicaOptions::JOURNAL_BYTES;
    let opened = Journal::open(&work, &fill.header.tree, base, floor);
    (directory, opened.expect("a new journal").0)
}

fn write(journal: &mut Journal, fill: &Fill, placed: &[Placed]) {
    for (position, content) in &fill.contents {
        if let Action::Put(entry) = &fill.changes[*position as usize].action
            && let Some(file) = entry.as_file()
        {
            journal.append(file.content, content).expect("room");
        }
    }
    journal.commit(&fill.header, placed, None).expect("room");
}

fn placed(change: &Change) -> Placed {
    let place = match &change.action {
        Action::Put(entry) if entry.as_file().is_some() => Place::Journal,
        _ => Place::Nowhere,
    };
    let change = change.clone();
    Placed { change, place }
}
