//! What the README says about rsync, tried with the rsync of this machine.
//! Skipped where there is none.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

#[test]
fn rsync_empties_the_target_of_an_empty_source_and_says_nothing() {
    let Some(pair) = Pair::new() else { return };
    pair.save("default/api/a.xml", "<api/>");
    pair.rsync();
    fs::remove_dir_all(pair.source().join("default")).unwrap();
    let output = pair.rsync();
    assert!(output.status.success());
    assert_eq!(fs::read_dir(pair.target()).unwrap().count(), 0);
}

#[test]
fn rsync_sends_apis_before_what_they_refer_to() {
    let Some(pair) = Pair::new() else { return };
    for kind in ["api", "endpoints", "sequences"] {
        pair.save(format!("default/{kind}/a.xml"), "<a/>");
    }
    let output = String::from_utf8(pair.rsync().stdout).unwrap();
    let place = |kind: &str| output.find(&format!("default/{kind}/a.xml")).unwrap();
    assert!(place("api") < place("endpoints"), "{output}");
    assert!(place("api") < place("sequences"), "{output}");
}

#[test]
fn rsync_misses_a_change_of_the_same_size_in_the_same_second() {
    let Some(pair) = Pair::new() else { return };
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    for content in ["<a v=\"1\"/>", "<a v=\"2\"/>"] {
        pair.save("a.xml", content);
        let file = fs::File::options()
            .write(true)
            .open(pair.source().join("a.xml"));
        file.unwrap().set_modified(second).unwrap();
        pair.rsync();
    }
    let copied = fs::read_to_string(pair.target().join("a.xml")).unwrap();
    assert_eq!(copied, "<a v=\"1\"/>");
}

#[test]
fn rsync_copies_half_an_artifact_as_it_is() {
    let Some(pair) = Pair::new() else { return };
    pair.save("default/api/a.xml", "<api name=\"half");
    pair.rsync();
    assert!(pair.target().join("default/api/a.xml").exists());
}

#[test]
fn rsync_deletes_an_api_between_its_delete_and_its_save() {
    let Some(pair) = Pair::new() else { return };
    pair.save("default/api/a.xml", "<api/>");
    pair.rsync();
    fs::remove_file(pair.source().join("default/api/a.xml")).unwrap();
    pair.rsync();
    assert!(!pair.target().join("default/api/a.xml").exists());
}

/// A source and a target directory.
struct Pair(TempDir);

impl Pair {
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    fn new() -> Option<Self> {
        if Command::new("rsync").arg("--version").output().is_err() {
            println!("SKIPPED: no rsync on this machine");
            return None;
        }
        let pair = Self(tempfile::tempdir().unwrap());
        fs::create_dir(pair.source()).unwrap();
        fs::create_dir(pair.target()).unwrap();
        Some(pair)
    }

    fn source(&self) -> std::path::PathBuf {
        self.0.path().join("source")
    }

    fn target(&self) -> std::path::PathBuf {
        self.0.path().join("target")
    }

    fn save(&self, path: impl AsRef<Path>, content: &str) {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The options of the documented script.
    fn rsync(&self) -> Output {
        let mut from = self.source().into_os_string();
        from.push("/");
        let mut command = Command::new("rsync");
        command
            .args(["--delete", "-arv"])
            .arg(from)
            .arg(self.target());
        command.output().unwrap()
    }
}
