//! Synapse artifacts as API Manager writes them: same names, same sizes, and
//! APIs that refer to the endpoints and sequences beside them.
//!
//! Sizes follow 15,412 real artifact files: median 1,042 bytes, 94.7 % at most
//! 4 KiB, 98.5 % at most 16 KiB, the largest 70 KB.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::rng::Rng;

/// Files that one API consists of: itself, an endpoint and two sequences.
pub const FILES_PER_API: usize = 4;

/// The directories of an empty synapse tree.
const DIRECTORIES: [&str; 5] = [
    "api",
    "endpoints",
    "sequences",
    "local-entries",
    "proxy-services",
];

/// One API with everything it refers to.
#[derive(Debug, Clone)]
pub struct Api {
    name: String,
    revision: u64,
    bytes: u64,
}

impl Api {
    /// The API called `name`, its artifacts about `bytes` long each.
    #[must_use]
    pub fn new(name: &str, bytes: u64) -> Self {
        Self {
            name: format!("admin--{name}_v1.0.0"),
            revision: 1,
            bytes,
        }
    }

    /// The next version of its content.
    #[must_use]
    pub fn revised(&self) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next
    }

    /// Path and content of every file, in the order the product writes them:
    /// the API before what it refers to.
    #[must_use]
    pub fn files(&self) -> [(PathBuf, String); FILES_PER_API] {
        let name = &self.name;
        let path = |kind: &str, file: String| Path::new("default").join(kind).join(file);
        [
            (path("api", format!("{name}.xml")), self.api()),
            (
                path("sequences", format!("{name}--In.xml")),
                self.sequence("In"),
            ),
            (
                path("sequences", format!("{name}--Out.xml")),
                self.sequence("Out"),
            ),
            (
                path("endpoints", format!("{name}_endpoint.xml")),
                self.endpoint(),
            ),
        ]
    }

    /// Path of the API's own file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("default/api").join(format!("{}.xml", self.name))
    }

    /// Writes all files below `root` as the product does.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn save(&self, root: &Path) -> io::Result<()> {
        self.files()
            .iter()
            .try_for_each(|(path, content)| save(&root.join(path), content.as_bytes()))
    }

    /// Deletes all files below `root`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn delete(&self, root: &Path) -> io::Result<()> {
        self.files()
            .iter()
            .try_for_each(|(path, _)| fs::remove_file(root.join(path)))
    }

    fn api(&self) -> String {
        let (name, revision) = (&self.name, self.revision);
        let body = format!(
            "    <resource methods=\"GET POST\" url-mapping=\"/*\">\n\
             \x20       <inSequence>\n\
             \x20           <property name=\"revision\" value=\"{revision}\"/>\n\
             \x20           <sequence key=\"{name}--In\"/>\n\
             \x20           <send><endpoint key=\"{name}_endpoint\"/></send>\n\
             \x20       </inSequence>\n\
             \x20       <outSequence><sequence key=\"{name}--Out\"/></outSequence>\n\
             \x20   </resource>\n"
        );
        self.artifact(
            "api",
            &format!("name=\"{name}\" context=\"/{name}\""),
            &body,
        )
    }

    fn sequence(&self, direction: &str) -> String {
        let attributes = format!("name=\"{}--{direction}\"", self.name);
        self.artifact("sequence", &attributes, "    <log level=\"simple\"/>\n")
    }

    fn endpoint(&self) -> String {
        let attributes = format!("name=\"{}_endpoint\"", self.name);
        let body = format!(
            "    <http uri-template=\"http://backend.example/r{}\"/>\n",
            self.revision
        );
        self.artifact("endpoint", &attributes, &body)
    }

    /// Half of the real files have no final newline; neither do these.
    fn artifact(&self, element: &str, attributes: &str, body: &str) -> String {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{element} xmlns=\"http://ws.apache.org/ns/synapse\" {attributes}>\n{body}"
        );
        let mut line = 0;
        while (text.len() as u64) < self.bytes {
            let revision = self.revision;
            text +=
                &format!("    <!-- throttling tier {line}: 20KPerMin, revision {revision} -->\n");
            line += 1;
        }
        text + &format!("</{element}>")
    }
}

/// Writes one file as the product does: over the target in place, in pieces,
/// then the modification time. Parents are made.
///
/// # Errors
/// As the operating system says.
pub fn save(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(path)?;
    for piece in content.chunks(content.len().div_ceil(2).max(1)) {
        file.write_all(piece)?;
    }
    file.set_modified(SystemTime::now())
}

/// Fills `root` with about `files` artifacts, the same for the same `seed`, with
/// modification times spread over past years. Answers the APIs.
///
/// # Errors
/// As the operating system says.
pub fn fill(root: &Path, files: usize, seed: u64) -> io::Result<Vec<Api>> {
    let mut rng = Rng::new(seed);
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join("default").join(directory))?;
    }
    let apis: Vec<Api> = (0..files / FILES_PER_API)
        .map(|number| Api::new(&format!("PizzaShack{number:05}"), size(&mut rng)))
        .collect();
    for (path, content) in apis.iter().flat_map(Api::files) {
        save_old(&root.join(path), &content, &mut rng)?;
    }
    for number in 0..files % FILES_PER_API {
        let path = root.join(format!("default/local-entries/entry{number}.xml"));
        let content = format!(
            "<localEntry key=\"entry{number}\">{}</localEntry>",
            rng.number()
        );
        save_old(&path, &content, &mut rng)?;
    }
    Ok(apis)
}

fn save_old(path: &Path, content: &str, rng: &mut Rng) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content.as_bytes())?;
    let age = Duration::new(rng.within(1_300_000_000, 1_700_000_000), 123_456_789);
    file.set_modified(UNIX_EPOCH + age)
}

/// A size drawn from the real distribution.
fn size(rng: &mut Rng) -> u64 {
    match rng.below(1000) {
        0..500 => rng.within(300, 1_042),
        500..947 => rng.within(1_043, 4_096),
        947..985 => rng.within(4_097, 16_384),
        985..990 => rng.within(16_385, 41_000),
        _ => rng.within(41_001, 70_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Strictness, equal, snapshot};

    #[test]
    fn the_same_seed_makes_the_same_tree() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(left.path(), 103, 7).unwrap();
        fill(right.path(), 103, 7).unwrap();
        equal(left.path(), right.path(), Strictness::Times).unwrap();
        let files = snapshot(left.path()).unwrap();
        assert_eq!(files.len(), 103 + 1 + DIRECTORIES.len());
    }
}
