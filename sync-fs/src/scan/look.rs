//! Looks at one name: the cheapest proof that it is what it was, or a sighting
//! of what it is now.

use std::{
    ffi::CStr,
    fs::File,
    io,
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;
use sync_core::{
    ContentId, Entry, FileEntry, RelPath,
    artifact::{artifact_name, is_gated},
    limits::FILE_BYTES_MAX,
    manifest::Record,
    path::{PathError, check, escape},
    recipe::Recipe,
    well_formed::{IllFormed, well_formed},
};

use super::{Inspect, ScanOptions, Trouble};
use crate::{
    observed::{Known, Observed, Seen, Sighting},
    recipes::{self, Recipes},
    root::{Directory, Kind, Mount, READ_BYTES, Stat, StatKey, read_through},
};

/// How often a file that moves under the reader is read before it is left for
/// the next look.
const READ_TRIES: usize = 3;
/// A time younger than this when a file was looked at proves nothing: the
/// coarsest common granularity of file times is 2 s.
const RACY_NS: i64 = 2_000_000_000;

/// The largest XML that is checked: a thousand times the largest artifact seen.
const XML_BYTES_MAX: usize = 64 << 20;

/// What one look found.
pub(crate) enum Look<'a> {
    /// Nothing, or nothing that may be seen.
    Nothing,
    /// A name that cannot be a path, escaped.
    Illegal(String, PathError),
    /// Something that cannot be seen.
    Trouble { path: RelPath, trouble: Trouble },
    /// What it was. Never a directory.
    Same(Record<'a>),
    /// An entry; `known` is what was seen at its path before.
    Entry {
        known: Option<Record<'a>>,
        sighting: Sighting,
        verdict: Verdict,
        /// What its XML is, where that was asked and the content is new: the
        /// name of the artifact, or why it is not well-formed.
        xml: Option<Xml>,
    },
}

/// The name of the artifact in sound XML, where asked, or why it is not sound.
pub(crate) type Xml = Result<Option<String>, IllFormed>;

/// How a sighting stands to what was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Equal in everything.
    Same,
    /// Equal in kind, mode and content.
    Refreshed,
    /// New or different.
    Changed,
}

/// What one thread keeps between looks.
pub(crate) struct Scratch<'r> {
    buffer: Vec<u8>,
    /// The content last read, where it is to be inspected.
    content: Vec<u8>,
    racy_from_ns: i64,
    work: Work,
    /// How large files were made.
    recipes: Option<&'r Recipes>,
    /// How those are made that were read.
    made: Vec<Recipe>,
    /// Told of every piece that was read; says whether to go on.
    read: &'r dyn Fn(usize) -> ControlFlow<()>,
}

/// What was done by looks.
#[derive(Default)]
pub(crate) struct Work {
    /// Names looked at.
    pub(crate) entries: u64,
    /// Contents read and hashed.
    pub(crate) hashed: u64,
}

impl<'r> Scratch<'r> {
    pub(crate) fn new(read: &'r dyn Fn(usize) -> ControlFlow<()>) -> Self {
        let mut scratch = Self {
            buffer: vec![0; READ_BYTES],
            content: Vec::new(),
            racy_from_ns: 0,
            work: Work::default(),
            recipes: None,
            made: Vec::new(),
            read,
        };
        scratch.read_clock();
        scratch
    }

    /// Cuts large files, of which `recipes` has what stood there before, while
    /// they are read.
    pub(crate) fn cutting_like(self, recipes: Option<&'r Recipes>) -> Self {
        Self { recipes, ..self }
    }

    /// The recipes made since they were last taken.
    pub(crate) fn take_recipes(&mut self) -> Vec<Recipe> {
        std::mem::take(&mut self.made)
    }

    /// Notes the time from which on file times prove nothing. An old reading
    /// only makes more contents be read again.
    pub(crate) fn read_clock(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ns = now.map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        });
        self.racy_from_ns = now_ns - RACY_NS;
    }

    /// The work done since it was last taken.
    pub(crate) fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// The kernel alone sets change times, so a recent one always counts. A
    /// modification time far in the future was set by hand and says nothing.
    pub(super) fn is_racy(&self, key: &StatKey) -> bool {
        let recent = self.racy_from_ns..=self.racy_from_ns.saturating_add(2 * RACY_NS);
        key.ctime_ns >= self.racy_from_ns || recent.contains(&key.mtime_ns)
    }
}

/// Why a content has no hash.
enum NoContent {
    Gone,
    Unstable,
    Refused(io::Error),
}

/// A name to be looked at.
#[derive(Clone, Copy)]
pub(crate) struct Name<'n> {
    pub(crate) directory: &'n Directory,
    pub(crate) name: &'n CStr,
    /// The bytes of the whole path.
    pub(crate) path: &'n [u8],
}

/// What every look of one scan has in common.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a> {
    pub(crate) previous: &'a Observed,
    pub(crate) options: ScanOptions<'a>,
    /// Where the root is mounted.
    pub(crate) mount: Mount,
}

impl<'a> Observer<'a> {
    /// Looks at what is under a name; `known` is what was seen at its path before.
    pub(crate) fn look(
        &self,
        found: Name<'_>,
        known: Option<Known<'a>>,
        scratch: &mut Scratch<'_>,
    ) -> Look<'a> {
        scratch.work.entries += 1;
        let path = found.path;
        if let Some(known) = known
            && self.options.deep
            && !self.options.exclude.matches_bytes(path, false)
            && reads_the_same(found, known, scratch)
        {
            return Look::Same(known.record);
        }
        let stat = match found.directory.stat(found.name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Look::Nothing,
            Err(error) => return trouble(path, unreadable(&error.into())),
        };
        if known.is_none()
            && let Err(error) = check(path)
        {
            return Look::Illegal(escape(path), error);
        }
        let is_directory = stat.kind == Kind::Directory;
        if self.options.exclude.matches_bytes(path, is_directory) {
            return Look::Nothing;
        }
        if let Some(known) = known
            && !self.options.deep
            && proves_the_same(&known.seen, &stat)
        {
            return Look::Same(known.record);
        }
        self.look_closely(found, &stat, scratch)
    }

    /// Looks at what the stat alone does not tell.
    fn look_closely(&self, found: Name<'_>, stat: &Stat, scratch: &mut Scratch<'_>) -> Look<'a> {
        let path = match RelPath::new(found.path) {
            Ok(path) => path,
            Err(error) => return Look::Illegal(escape(found.path), error),
        };
        let inspect = self.is_inspected(&path);
        match self.read(found, stat, inspect, scratch) {
            Ok((entry, seen)) => self.sight(path, entry, seen, &scratch.content),
            Err(None) => Look::Nothing,
            Err(Some(trouble)) => Look::Trouble { path, trouble },
        }
    }

    /// The entry behind `stat`; `Err(None)` where it has gone meanwhile.
    fn read(
        &self,
        found: Name<'_>,
        stat: &Stat,
        keep: bool,
        scratch: &mut Scratch<'_>,
    ) -> Result<(Entry, Seen), Option<Trouble>> {
        match stat.kind {
            Kind::Directory => self.read_directory(stat).map_err(Some),
            Kind::File => read_file(found, stat, keep, scratch),
            Kind::Symlink if !self.options.preset.is_deployed() => {
                let target = found.directory.read_link(found.name);
                let target = target.map_err(gone_or_unreadable)?;
                let racy = scratch.is_racy(&stat.key);
                Ok((
                    Entry::Symlink { target },
                    Seen {
                        key: stat.key,
                        racy,
                    },
                ))
            }
            Kind::Symlink => Err(Some(Trouble::Symlink)),
            Kind::Special => Err(Some(Trouble::Special)),
        }
    }

    fn read_directory(&self, stat: &Stat) -> Result<(Entry, Seen), Trouble> {
        if stat.mount != self.mount {
            return Err(Trouble::OtherMount);
        }
        let key = StatKey {
            inode: stat.key.inode,
            ..StatKey::default()
        };
        Ok((
            Entry::Directory { mode: stat.mode },
            Seen { key, racy: false },
        ))
    }

    /// Whether something is to be learnt from the content at `path`.
    fn is_inspected(&self, path: &RelPath) -> bool {
        self.options.inspect > Inspect::Nothing
            && self.options.preset.is_deployed()
            && is_gated(path)
    }

    fn sight(&self, path: RelPath, entry: Entry, seen: Seen, content: &[u8]) -> Look<'a> {
        let known = self.previous.known(path.as_bytes());
        let record = known.map(|known| known.record);
        let old = record.map(Record::entry);
        let verdict = match &old {
            Some(old) if *old == entry && known.is_some_and(|known| known.seen == seen) => {
                Verdict::Same
            }
            Some(old) if old.same_identity(&entry) => Verdict::Refreshed,
            _ => Verdict::Changed,
        };
        let before = record.and_then(Record::file).map(|file| file.content);
        let now = entry.as_file().map(|file| file.content);
        let is_new = now.is_some() && now != before;
        Look::Entry {
            known: record,
            xml: (is_new && self.is_inspected(&path)).then(|| self.inspect(content)),
            sighting: Sighting { path, entry, seen },
            verdict,
        }
    }

    fn inspect(&self, content: &[u8]) -> Xml {
        if content.len() > XML_BYTES_MAX {
            return Err(IllFormed {
                line: 1,
                reason: format!("it has more than {XML_BYTES_MAX} bytes, which no artifact has"),
            });
        }
        well_formed(content)?;
        let named = self.options.inspect >= Inspect::SoundnessAndNames;
        Ok(named.then(|| artifact_name(content)).flatten())
    }
}

/// Whether the stat alone proves that a file or link is what was seen.
fn proves_the_same(seen: &Seen, stat: &Stat) -> bool {
    seen.key == stat.key && !seen.racy
}

/// Whether a file that fits the buffer is, byte for byte, what was known.
///
/// The stat after reading is compared with the one under which the content was
/// seen before: between these two nobody wrote, so the file need not be looked
/// at before it is read. Where anything is not as it was, a closer look tells.
fn reads_the_same(found: Name<'_>, known: Known<'_>, scratch: &mut Scratch<'_>) -> bool {
    let Some(file) = known.record.file() else {
        return false;
    };
    let length = usize::try_from(file.length).unwrap_or(usize::MAX);
    let Some(buffer) = scratch.buffer.get_mut(..length) else {
        return false;
    };
    let Ok((count, stat)) = found.directory.read_small(found.name, buffer) else {
        return false;
    };
    let same = count == length
        && stat.kind == Kind::File
        && stat.mode == file.mode
        && proves_the_same(&known.seen, &stat)
        && ContentId::of(buffer) == file.content;
    if same {
        scratch.work.hashed += 1;
    }
    same && (scratch.read)(length).is_continue()
}

fn trouble<'a>(path: &[u8], trouble: Trouble) -> Look<'a> {
    match RelPath::new(path) {
        Ok(path) => Look::Trouble { path, trouble },
        Err(error) => Look::Illegal(escape(path), error),
    }
}

fn read_file(
    found: Name<'_>,
    stat: &Stat,
    keep: bool,
    scratch: &mut Scratch<'_>,
) -> Result<(Entry, Seen), Option<Trouble>> {
    if stat.length > FILE_BYTES_MAX {
        return Err(Some(Trouble::TooLarge(stat.length)));
    }
    match hash(found, keep, scratch) {
        Ok((stat, content)) => Ok(file_entry(&stat, content, scratch)),
        Err(NoContent::Gone) => Err(None),
        Err(NoContent::Unstable) => Err(Some(Trouble::Unstable)),
        Err(NoContent::Refused(error)) => Err(Some(unreadable(&error))),
    }
}

fn file_entry(stat: &Stat, content: ContentId, scratch: &Scratch<'_>) -> (Entry, Seen) {
    let file = FileEntry {
        mode: stat.mode,
        mtime: stat.mtime,
        length: stat.length,
        content,
    };
    let racy = scratch.is_racy(&stat.key);
    let seen = Seen {
        key: stat.key,
        racy,
    };
    (Entry::File(file), seen)
}

/// The hash of a content that did not move while it was read, and its stat; the
/// content itself stays in the scratch space where it is to be kept.
fn hash(
    found: Name<'_>,
    keep: bool,
    scratch: &mut Scratch<'_>,
) -> Result<(Stat, ContentId), NoContent> {
    for _ in 0..READ_TRIES {
        let opened = found.directory.open_file(found.name);
        let (file, before) = opened.map_err(|error| match error {
            Errno::NOENT | Errno::LOOP => NoContent::Gone,
            error => NoContent::Refused(error.into()),
        })?;
        let old = scratch.recipes.and_then(|it| it.last_at(found.path));
        let hashed = match old {
            Some(old) if !keep => cut_once(&file, &before, old, scratch),
            _ => hash_once(&file, &before, keep, scratch),
        };
        if let Some(hashed) = hashed.map_err(NoContent::Refused)? {
            return Ok(hashed);
        }
    }
    Err(NoContent::Unstable)
}

/// The same of a file whose earlier recipe is known: it is cut in the same pass,
/// for a peer that will ask how it is made.
fn cut_once(
    file: &File,
    before: &Stat,
    old: &Recipe,
    scratch: &mut Scratch<'_>,
) -> io::Result<Option<(Stat, ContentId)>> {
    let read = scratch.read;
    let more = |buffer: &mut [u8], offset| {
        if offset > before.length {
            return Ok(0); // it grows: nothing comes of it
        }
        let count = read_some(file, buffer, offset)?;
        Ok::<usize, io::Error>(if read(count).is_continue() { count } else { 0 })
    };
    let recipe = recipes::cut(more, Some(old))?;
    scratch.work.hashed += 1;
    let after = Stat::of_open(file)?;
    if before.key != after.key || recipe.length != after.length {
        return Ok(None);
    }
    let content = recipe.content;
    scratch.made.push(recipe);
    Ok(Some((after, content)))
}

fn hash_once(
    file: &File,
    before: &Stat,
    keep: bool,
    scratch: &mut Scratch<'_>,
) -> io::Result<Option<(Stat, ContentId)>> {
    let mut hasher = blake3::Hasher::new();
    // Hashed at once, a short file costs half.
    let mut whole = None;
    let read = scratch.read;
    let content = &mut scratch.content;
    content.clear();
    let feed = |bytes: &[u8]| {
        if bytes.len() as u64 == before.length {
            whole = Some(ContentId::of(bytes));
        } else {
            hasher.update(bytes);
        }
        if keep && content.len() <= XML_BYTES_MAX {
            content.extend_from_slice(bytes);
        }
        read(bytes.len())
    };
    let stable = read_through(file, before, &mut scratch.buffer, feed)?;
    scratch.work.hashed += 1;
    let content = whole.unwrap_or_else(|| hasher.finalize().into());
    Ok(stable.map(|after| (after, content)))
}

fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(crate) fn unreadable(error: &io::Error) -> Trouble {
    Trouble::Unreadable(error.to_string().into())
}

fn gone_or_unreadable(error: Errno) -> Option<Trouble> {
    match error {
        Errno::NOENT => None,
        error => Some(unreadable(&error.into())),
    }
}
