//! The snapshot of one tree: where it stands, what was agreed, what was seen.
//!
//! Body: a head (position, identity of the root directory, time, number of
//! entries on the disk), then one record for each path in the order of the trie
//! (the agreed entry, the entry on the disk where it differs, and the stat of
//! the disk's), and an empty record as the end.

use std::{
    collections::HashMap,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use sync_core::{ContentId, Entry, Manifest, Position, RelPath, limits::TREE_ENTRIES_MAX};

use super::sealed::{self, Format, Opened, Reader, Writer};
use crate::{
    observed::{Observed, Seen},
    root::{DiskError, Identity, Root, StatKey},
};

const FORMAT: Format = Format {
    magic: *b"apimtree",
    version: 1,
};

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Where the tree stands.
    pub position: Position,
    /// Which root directory was seen.
    pub identity: Identity,
    /// The manifest of the position's generation.
    pub agreed: &'a Manifest,
    /// What was seen on the disk.
    pub observed: &'a Observed,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct TreeState {
    /// Where the tree stood.
    pub position: Position,
    /// Which root directory was seen.
    pub identity: Identity,
    /// When it was written, in seconds since 1970.
    pub written_s: u64,
    /// The manifest of the position's generation; its root is the position's.
    pub agreed: Manifest,
    /// What was seen on the disk.
    pub observed: Observed,
}

/// What a work directory holds.
#[derive(Debug)]
pub enum Loaded {
    /// A whole snapshot.
    State(Box<TreeState>),
    /// None: the tree is new here.
    Missing,
    /// One that cannot be used, and why: the tree has to be scanned in full.
    Damaged(String),
}

type Head = (Position, (u64, u64), u64, u64);
type Record = (RelPath, Option<Entry>, Option<Entry>, Option<SeenForm>);
type SeenForm = ((u64, i64, i64, u64), bool);

fn file_name() -> RelPath {
    RelPath::new(b"state").expect("a plain name is a path")
}

impl Snapshot<'_> {
    /// Puts the snapshot into the work directory in place of the last one.
    ///
    /// # Errors
    /// Where writing or syncing fails; the last snapshot then still stands.
    pub fn save(&self, work: &Root) -> Result<(), DiskError> {
        sealed::write(work, &file_name(), &FORMAT, |writer| self.fill(writer))
    }

    fn fill(&self, writer: &mut Writer) -> Result<(), DiskError> {
        let disk = self.observed.manifest();
        let identity = (self.identity.file_system, self.identity.inode);
        let head: Head = (self.position, identity, now_s(), self.observed.len() as u64);
        writer.put(&head)?;
        for (path, agreed, disk) in Pairs::of(self.agreed, disk) {
            let seen = disk.and_then(|_| self.observed.seen(path)).map(seen_form);
            let other = disk.filter(|disk| agreed != Some(disk));
            writer.put(&Some((path, agreed, other, seen)))?;
        }
        writer.put(&None::<Record>)
    }
}

impl TreeState {
    /// Reads the snapshot of a work directory.
    #[must_use]
    pub fn load(work: &Root) -> Loaded {
        match sealed::open(work, &file_name(), &FORMAT) {
            Opened::Missing => Loaded::Missing,
            Opened::Damaged(reason) => Loaded::Damaged(reason),
            Opened::Whole(reader) => match read(reader) {
                Ok(state) => Loaded::State(Box::new(state)),
                Err(reason) => Loaded::Damaged(reason),
            },
        }
    }

    /// Whether the disk had what was agreed and nothing else.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.agreed.is_same(self.observed.manifest())
    }

    /// What was agreed as if it had been seen: where the disk differed, the stat
    /// proves nothing and the path is looked at again.
    #[must_use]
    pub fn into_agreed(self) -> Observed {
        if self.is_agreed() {
            return self.observed;
        }
        let disk = self.observed.manifest().clone();
        let mut seen = self.observed.into_seen();
        for (path, agreed, disk) in Pairs::of(&self.agreed, &disk) {
            match agreed {
                Some(_) if agreed == disk => {}
                Some(_) => drop(seen.insert(path.clone(), Seen::NEVER)),
                None => drop(seen.remove(path)),
            }
        }
        Observed::from_parts(self.agreed, seen)
    }
}

/// Stats handed to the other thread at once.
const BATCH: usize = 4096;
/// Such batches on their way.
const BATCHES_MAX: usize = 16;

/// Two threads: this one decodes and builds the manifest, the other files the
/// stats. Together they cost as much again, and whoever starts waits for both.
fn read(mut reader: Reader) -> Result<TreeState, String> {
    let (position, (file_system, inode), written_s, entries): Head = reader.next()?;
    let entries = usize::try_from(entries)
        .ok()
        .filter(|&entries| entries <= TREE_ENTRIES_MAX)
        .ok_or_else(|| format!("it claims {entries} entries"))?;
    let (batches, filed) = sync_channel::<Vec<(RelPath, Seen)>>(BATCHES_MAX);
    let (records, seen) = thread::scope(|scope| {
        let filing = scope.spawn(move || {
            let mut seen = HashMap::with_capacity(entries);
            filed.into_iter().for_each(|batch| seen.extend(batch));
            seen
        });
        let records = Records::read(&mut reader, entries, batches);
        (records, filing.join().expect("filing does not panic"))
    });
    let Records { agreed, differing } = records?;
    reader.finish()?;
    if agreed.root() != position.root {
        return Err("its entries do not give the root that it names".into());
    }
    let disk = with(agreed.clone(), differing);
    if disk.totals().entries != seen.len() as u64 {
        return Err("it names a path twice".into());
    }
    Ok(TreeState {
        position,
        identity: Identity { file_system, inode },
        written_s,
        agreed,
        observed: Observed::from_parts(disk, seen),
    })
}

/// All records of a snapshot but the stats.
struct Records {
    agreed: Manifest,
    /// Where the disk has something else, or nothing.
    differing: Vec<(RelPath, Option<Entry>)>,
}

impl Records {
    /// Gives the stats to `batches`.
    fn read(
        reader: &mut Reader,
        entries: usize,
        batches: SyncSender<Vec<(RelPath, Seen)>>,
    ) -> Result<Self, String> {
        let mut agreed = Vec::with_capacity(entries);
        let mut differing = Vec::new();
        let mut stats = Vec::with_capacity(BATCH);
        while let Some((path, entry, other, stat)) = reader.next::<Option<Record>>()? {
            if other.is_some() && stat.is_none() || other.is_none() && entry.is_none() {
                return Err("a record in it says nothing of its path".into());
            }
            if other.is_some() || stat.is_none() {
                differing.push((path.clone(), other));
            }
            stats.extend(stat.map(|stat| (path.clone(), seen_of(stat))));
            if stats.len() == BATCH {
                // The other thread ends only after this one.
                let _ = batches.send(std::mem::replace(&mut stats, Vec::with_capacity(BATCH)));
            }
            agreed.extend(entry.map(|entry| (path, entry)));
        }
        let _ = batches.send(stats);
        drop(batches);
        Ok(Self {
            agreed: Manifest::from_entries(agreed),
            differing,
        })
    }
}

/// `manifest` with some paths put or, for `None`, removed.
fn with(mut manifest: Manifest, differing: Vec<(RelPath, Option<Entry>)>) -> Manifest {
    for (path, entry) in differing {
        match entry {
            Some(entry) => drop(manifest.insert(path, entry)),
            None => drop(manifest.remove(&path)),
        }
    }
    manifest
}

fn seen_form(seen: &Seen) -> SeenForm {
    let key = seen.key;
    (
        (key.length, key.mtime_ns, key.ctime_ns, key.inode),
        seen.racy,
    )
}

fn seen_of(form: SeenForm) -> Seen {
    let ((length, mtime_ns, ctime_ns, inode), racy) = form;
    let key = StatKey {
        length,
        mtime_ns,
        ctime_ns,
        inode,
    };
    Seen { key, racy }
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Two manifests side by side: each path of either, once, in the order of the
/// trie.
struct Pairs<A: Iterator, B: Iterator> {
    ours: std::iter::Peekable<A>,
    theirs: std::iter::Peekable<B>,
}

impl<'a> Pairs<std::iter::Empty<Item<'a>>, std::iter::Empty<Item<'a>>> {
    fn of(ours: &'a Manifest, theirs: &'a Manifest) -> impl Iterator<Item = Pair<'a>> {
        Pairs {
            ours: ours.iter().peekable(),
            theirs: theirs.iter().peekable(),
        }
    }
}

type Item<'a> = (&'a RelPath, &'a Entry);
type Pair<'a> = (&'a RelPath, Option<&'a Entry>, Option<&'a Entry>);

impl<'a, A: Iterator<Item = Item<'a>>, B: Iterator<Item = Item<'a>>> Iterator for Pairs<A, B> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let order = match (self.ours.peek(), self.theirs.peek()) {
            (Some((a, _)), Some((b, _))) if a == b => std::cmp::Ordering::Equal,
            (Some((a, _)), Some((b, _))) => key(a).cmp(&key(b)),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return None,
        };
        let ours = if order.is_le() {
            self.ours.next()
        } else {
            None
        };
        let theirs = if order.is_ge() {
            self.theirs.next()
        } else {
            None
        };
        let (path, _) = ours.or(theirs)?;
        Some((
            path,
            ours.map(|(_, entry)| entry),
            theirs.map(|(_, entry)| entry),
        ))
    }
}

/// The key by which the trie orders paths.
fn key(path: &RelPath) -> ContentId {
    ContentId::of(path.as_bytes())
}
