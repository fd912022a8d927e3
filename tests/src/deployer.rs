//! A model of the hot deployer that reads the passive's tree.
//!
//! What it shares with the real one: it polls; a file has changed when its
//! modification time differs in whole seconds; a file that is absent at a poll
//! is undeployed; all undeploys of a poll come before all deploys; a file of
//! bad content is renamed `.back`, and on an update the old content is written
//! back over it; an artifact name deployed from another file is a duplicate and
//! renamed `.back`; `main.xml` and `fault.xml` of the sequences are written back
//! when they are deleted. What it does not share: the interval (15 s), and that it
//! judges: after each poll every reference must lead to a deployed artifact.
//!
//! Directories are read in the reverse of the order in which a set is
//! committed, so that one poll during a commit is a fair test: whoever refers
//! is seen before what it refers to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use quick_xml::{Reader, events::Event};

/// Dependents first.
const DIRECTORIES: [&str; 13] = [
    "inbound-endpoints",
    "api",
    "message-processors",
    "message-stores",
    "executors",
    "event-sources",
    "tasks",
    "proxy-services",
    "templates",
    "sequences",
    "endpoints",
    "local-entries",
    "imports",
];

/// What the deployer did or saw, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// A file became known, or its modification time changed.
    Deployed(PathBuf),
    /// A known file was absent.
    Undeployed(PathBuf),
    /// Bad content or a duplicate: renamed `.back`.
    Rejected(PathBuf),
    /// A deployed file refers to something that is not deployed.
    Incomplete {
        /// The file that refers.
        path: PathBuf,
        /// What it refers to.
        missing: Reference,
    },
}

/// Kind (`sequences`, `endpoints`) and name of an artifact.
pub type Reference = (&'static str, String);

struct Deployed {
    mtime_s: i64,
    content: Vec<u8>,
    name: Reference,
    references: BTreeSet<Reference>,
}

/// The deployer of one tree.
pub struct Deployer {
    root: PathBuf,
    known: BTreeMap<PathBuf, Deployed>,
    sights: Vec<Sight>,
}

/// A deployer that polls on a thread of its own.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Deployer>,
}

impl Deployer {
    /// A deployer of the synapse tree at `root` that knows nothing yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            known: BTreeMap::new(),
            sights: Vec::new(),
        }
    }

    /// Everything seen so far.
    #[must_use]
    pub fn sights(&self) -> &[Sight] {
        &self.sights
    }

    /// Everything seen so far that an operator would not want to see.
    #[must_use]
    pub fn faults(&self) -> Vec<&Sight> {
        let bad = |sight: &&Sight| !matches!(sight, Sight::Deployed(_));
        self.sights.iter().filter(bad).collect()
    }

    /// Polls every `interval` until told to stop.
    #[must_use]
    pub fn run(mut self, interval: Duration) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                self.poll();
                thread::sleep(interval);
            }
            self
        });
        Running { stop, thread }
    }

    /// One tick.
    pub fn poll(&mut self) {
        let present = self.listing();
        self.undeploy_absent(&present);
        let changed = present.into_iter().filter(|(path, mtime_s)| {
            self.known
                .get(path)
                .is_none_or(|known| known.mtime_s != *mtime_s)
        });
        for (path, mtime_s) in changed.collect::<Vec<_>>() {
            // Gone between listing and reading: the next poll undeploys it.
            let _ = self.deploy(&path, mtime_s);
        }
        self.judge();
    }

    /// Files the hot scan looks at: `*.xml` not starting with a dot, in
    /// directories in order.
    fn listing(&self) -> Vec<(PathBuf, i64)> {
        let mut files = Vec::new();
        for directory in DIRECTORIES {
            let Ok(listing) = fs::read_dir(self.root.join("default").join(directory)) else {
                continue;
            };
            for item in listing.flatten() {
                let name = item.file_name().to_string_lossy().into_owned();
                let looked_at = name.ends_with(".xml") && !name.starts_with('.');
                if let (true, Ok(metadata)) = (looked_at, item.metadata()) {
                    files.push((item.path(), metadata.mtime()));
                }
            }
        }
        files
    }

    /// The real one looks at each known file rather than at a listing, which
    /// may pass over a name that is replaced meanwhile.
    fn undeploy_absent(&mut self, present: &[(PathBuf, i64)]) {
        let listed: BTreeSet<&PathBuf> = present.iter().map(|(path, _)| path).collect();
        let absent = |path: &&PathBuf| !listed.contains(path) && !path.exists();
        let gone: Vec<PathBuf> = self.known.keys().filter(absent).cloned().collect();
        for path in gone {
            let known = self.known.remove(&path).expect("it was known");
            if is_indispensable(&path) {
                // Where its directory has gone too, there is no place for it.
                let _ = fs::write(&path, &known.content);
            }
            self.sights.push(Sight::Undeployed(path));
        }
    }

    fn deploy(&mut self, path: &Path, mtime_s: i64) -> io::Result<()> {
        let content = fs::read(path)?;
        let artifact = parse(kind_of(path), &content);
        let duplicate = |name: &Reference| {
            self.known
                .iter()
                .any(|(other, known)| other != path && known.name == *name)
        };
        match artifact {
            Some((name, references)) if !duplicate(&name) => {
                let deployed = Deployed {
                    mtime_s,
                    content,
                    name,
                    references,
                };
                self.known.insert(path.to_path_buf(), deployed);
                self.sights.push(Sight::Deployed(path.to_path_buf()));
                Ok(())
            }
            _ => self.reject(path),
        }
    }

    /// Renames to `.back`; on an update the old content comes back in place.
    fn reject(&mut self, path: &Path) -> io::Result<()> {
        self.sights.push(Sight::Rejected(path.to_path_buf()));
        fs::rename(path, free_name(path))?;
        if let Some(known) = self.known.get_mut(path) {
            fs::write(path, &known.content)?;
            known.mtime_s = fs::metadata(path)?.mtime();
        }
        Ok(())
    }

    /// Notes every reference that leads nowhere, unless the file that refers
    /// has gone or changed since it was read: then it is an older state that is
    /// judged, and the next poll sees the newer one.
    fn judge(&mut self) {
        let names: BTreeSet<&Reference> = self.known.values().map(|known| &known.name).collect();
        let current = |path: &Path, known: &Deployed| {
            fs::metadata(path).is_ok_and(|metadata| metadata.mtime() == known.mtime_s)
        };
        let mut found = Vec::new();
        for (path, known) in &self.known {
            for missing in &known.references {
                if !names.contains(missing) && current(path, known) {
                    let (path, missing) = (path.clone(), missing.clone());
                    found.push(Sight::Incomplete { path, missing });
                }
            }
        }
        self.sights.extend(found);
    }
}

impl Running {
    /// Stops polling and answers the deployer.
    ///
    /// # Panics
    /// When the polling thread did.
    #[must_use]
    pub fn finish(self) -> Deployer {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the deployer's thread ends well")
    }
}

/// Whether the deployer cannot be without this file.
fn is_indispensable(path: &Path) -> bool {
    kind_of(path) == "sequences" && (path.ends_with("main.xml") || path.ends_with("fault.xml"))
}

/// The kind of the artifact directory a file is in.
fn kind_of(path: &Path) -> &'static str {
    let directory = path.parent().and_then(Path::file_name).unwrap_or_default();
    DIRECTORIES
        .into_iter()
        .find(|kind| directory == *kind)
        .unwrap_or("")
}

/// `x.xml.back`, then `x.xml.1.back`, ...
fn free_name(path: &Path) -> PathBuf {
    let base = path.as_os_str().to_os_string();
    let mut number = 0;
    loop {
        let mut name = base.clone();
        name.push(if number == 0 {
            ".back".into()
        } else {
            format!(".{number}.back")
        });
        if !Path::new(&name).exists() {
            return name.into();
        }
        number += 1;
    }
}

/// Name and references of a well-formed artifact; `None` for anything else.
fn parse(kind: &'static str, content: &[u8]) -> Option<(Reference, BTreeSet<Reference>)> {
    let mut reader = Reader::from_reader(content);
    let mut references = BTreeSet::new();
    let mut name = None;
    let mut depth = 0_usize;
    loop {
        let event = reader.read_event().ok()?;
        let opened = match &event {
            Event::Start(element) => {
                depth += 1;
                element
            }
            Event::Empty(element) => element,
            Event::End(_) => {
                depth = depth.checked_sub(1)?;
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        if name.is_none() {
            let own = attribute(opened, "name").or_else(|| attribute(opened, "key"));
            name = Some(own.unwrap_or_default());
        } else if let Some(target) = target_of(opened.local_name().as_ref()) {
            references.extend(attribute(opened, "key").map(|key| (target, key)));
        }
    }
    (depth == 0).then_some(((kind, name?), references))
}

fn target_of(element: &str) -> Option<&'static str> {
    match element {
        "sequence" => Some("sequences"),
        "endpoint" => Some("endpoints"),
        _ => None,
    }
}

fn attribute(element: &quick_xml::events::BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(found.value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{Api, fill, save};

    fn deployed() -> (tempfile::TempDir, Deployer) {
        let root = tempfile::tempdir().unwrap();
        fill(root.path(), 20, 1).unwrap();
        let mut deployer = Deployer::new(root.path());
        deployer.poll();
        assert_eq!(deployer.sights().len(), 20);
        (root, deployer)
    }

    #[test]
    fn a_complete_tree_is_deployed_once() {
        let (_root, mut deployer) = deployed();
        deployer.poll();
        assert_eq!(deployer.sights().len(), 20);
        assert!(deployer.faults().is_empty());
    }

    #[test]
    fn an_absent_sequence_undeploys_it_and_leaves_its_api_incomplete() {
        let (root, mut deployer) = deployed();
        let sequence = root
            .path()
            .join("default/sequences/admin--PizzaShack00000_v1.0.0--In.xml");
        fs::remove_file(&sequence).unwrap();
        deployer.poll();
        let faults = deployer.faults();
        assert_eq!(faults[0], &Sight::Undeployed(sequence));
        assert!(matches!(faults[1], Sight::Incomplete { .. }), "{faults:?}");
    }

    #[test]
    fn an_ill_formed_update_is_moved_aside_and_the_old_content_comes_back() {
        let (root, mut deployer) = deployed();
        let path = root.path().join(Api::new("PizzaShack00000", 0).path());
        let old = fs::read(&path).unwrap();
        save(&path, b"<api name=\"x\">").unwrap();
        deployer.poll();
        assert_eq!(fs::read(&path).unwrap(), old);
        assert_eq!(
            fs::read(path.with_extension("xml.back")).unwrap(),
            b"<api name=\"x\">"
        );
        assert_eq!(deployer.faults(), [&Sight::Rejected(path)]);
    }

    #[test]
    fn the_main_sequence_comes_back_when_it_is_deleted() {
        let (root, mut deployer) = deployed();
        let main = root.path().join("default/sequences/main.xml");
        let content = b"<sequence name=\"main\"/>";
        save(&main, content).unwrap();
        deployer.poll();
        fs::remove_file(&main).unwrap();
        deployer.poll();
        assert_eq!(fs::read(&main).unwrap(), content);
        deployer.poll();
        assert_eq!(deployer.faults(), [&Sight::Undeployed(main)]);
    }

    #[test]
    fn the_same_artifact_under_a_second_name_is_rejected() {
        let (root, mut deployer) = deployed();
        let path = root.path().join(Api::new("PizzaShack00000", 0).path());
        let copy = path.with_file_name("copy.xml");
        fs::copy(&path, &copy).unwrap();
        deployer.poll();
        assert_eq!(deployer.faults(), [&Sight::Rejected(copy)]);
    }
}
