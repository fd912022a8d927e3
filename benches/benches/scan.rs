//! A look at a tree of 10,000 files in which nothing changed.

#[path = "sample/place.rs"]
mod place;

use std::{fs, ops::ControlFlow, path::Path};

use criterion::{Criterion, Throughput};
use sync_core::{Preset, exclude::Rules};
use sync_fs::{
    Source,
    source::{Observations, SourceOptions},
};
use sync_tests::{
    artifacts,
    wait::{self, DEADLINE},
};

const FILES: usize = 10_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(FILES as u64));
    for threads in [1, 2] {
        let directory = place::directory();
        let mut source = settled(directory.path(), threads);
        group.bench_function(format!("10,000 unchanged, {threads} threads"), |bencher| {
            bencher.iter(|| look(&mut source));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// A tree that is known so well that no file is read again.
fn settled(home: &Path, threads: usize) -> Source {
    let path = home.join("tree");
    fs::create_dir(&path).expect("a new directory");
    artifacts::fill(&path, FILES, 1).expect("room");
    let options = SourceOptions {
        archive: sync_fs::archive::ArchiveLimits::default(),
        path,
        work_dir: home.join("work"),
        preset: Preset::Synapse,
        exclude: Rules::new(),
        threads,
    };
    let mut source = Source::open(options).expect("a new tree");
    for observation in look(&mut source).list {
        source.accept(&observation);
    }
    wait::until(
        "the files to be old enough to be believed",
        DEADLINE,
        || {
            let again = look(&mut source).work.hashed;
            wait::ensure(again == 0, format!("{again} are read again"))
        },
    );
    source
}

fn look(source: &mut Source) -> Observations {
    let mut go_on = |_| ControlFlow::Continue(());
    source
        .observe_all(false, &mut go_on)
        .expect("nobody changes the tree")
}
