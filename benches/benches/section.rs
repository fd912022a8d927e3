//! What travels: a change list and contents, encoded and compressed, and back.

mod sample;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use sync_core::{
    Change, Manifest,
    blocks::Decompressor,
    plan::changes_between,
    section::{ChangeListReader, Content, ContentSplitter, SectionWriter},
    wire::Block,
};
use sync_tests::artifacts::Api;

/// Changes in the list, the two directories among them.
const CHANGES: u32 = 10_000;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("section");
    change_list(&mut group);
    contents(&mut group);
    group.finish();
    criterion.final_summary();
}

fn change_list(group: &mut Group<'_>) {
    let changes = changes_between(&sample::manifest(CHANGES - 2), &Manifest::new());
    group.throughput(Throughput::Elements(CHANGES.into()));
    group.bench_function("change list of 10,000, out", |bencher| {
        bencher.iter(|| write_changes(&changes));
    });
    let blocks = write_changes(&changes);
    group.bench_function("change list of 10,000, in", |bencher| {
        bencher.iter(|| read_changes(&blocks));
    });
}

fn contents(group: &mut Group<'_>) {
    let apis = (0..250).map(|number| Api::new(&number.to_string(), 1_042));
    let files = apis.flat_map(|api| api.files());
    let contents: Vec<Vec<u8>> = files.map(|(_, text)| text.into_bytes()).collect();
    let lengths: Vec<u64> = contents.iter().map(|bytes| bytes.len() as u64).collect();
    let contents: Vec<_> = contents.into_iter().map(Content::Whole).collect();
    group.throughput(Throughput::Bytes(lengths.iter().sum()));
    group.bench_function("1,000 contents, out", |bencher| {
        bencher.iter(|| write_contents(&contents));
    });
    let blocks = write_contents(&contents);
    group.bench_function("1,000 contents, in", |bencher| {
        bencher.iter(|| read_contents(&blocks, &lengths));
    });
}

fn write_changes(changes: &[Change]) -> Vec<Block> {
    let mut section = SectionWriter::new();
    let mut blocks: Vec<_> = changes
        .iter()
        .flat_map(|change| section.change(change))
        .collect();
    blocks.push(section.finish());
    blocks
}

fn read_changes(blocks: &[Block]) -> Vec<Change> {
    let mut decompressor = Decompressor::new();
    let mut reader = ChangeListReader::new(CHANGES.into());
    let mut changes = Vec::new();
    for block in blocks {
        let plain = decompressor.push(block).expect("our own block");
        changes.extend(reader.push(&plain).expect("our own change"));
    }
    changes
}

fn write_contents(contents: &[Content]) -> Vec<Block> {
    let mut section = SectionWriter::new();
    let mut blocks: Vec<_> = contents
        .iter()
        .flat_map(|content| section.content(content))
        .collect();
    blocks.push(section.finish());
    blocks
}

fn read_contents(blocks: &[Block], lengths: &[u64]) -> Vec<Content> {
    let mut decompressor = Decompressor::new();
    let lengths = lengths.iter().copied();
    let mut splitter = ContentSplitter::new(lengths).expect("small contents");
    let mut contents = Vec::new();
    for block in blocks {
        let plain = decompressor.push(block).expect("our own block");
        contents.extend(splitter.push(&plain).expect("our own content"));
    }
    contents
}
