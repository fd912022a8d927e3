//! Finds the binary under test.
//!
//! Cargo tells only the package that owns a binary where it is, so it is looked
//! for beside this test's own executable, and built when it is missing or older
//! than the sources.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// The path of `apim-sync`, of the same profile as the test. `SYNC_TESTS_BIN`
/// names another one.
///
/// # Panics
/// When it is missing and cannot be built.
#[must_use]
pub fn apim_sync() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("SYNC_TESTS_BIN") {
        Some(path) => path.into(),
        None => fresh(),
    })
}

/// The directory above this package.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

fn fresh() -> PathBuf {
    let profile = profile_directory();
    let binary = profile.join("apim-sync");
    let built = modified(&binary);
    if built.is_none() || built < newest_source() {
        build(&profile);
    }
    assert!(binary.is_file(), "no binary at {}", binary.display());
    binary
}

/// `target/<profile>`: where cargo put this test, without `deps/` for a test.
fn profile_directory() -> PathBuf {
    let own = env::current_exe().expect("a running process knows its executable");
    let mut directory = own.parent().expect("a file has a directory");
    if directory.ends_with("deps") {
        directory = directory.parent().expect("deps is inside a profile");
    }
    directory.to_path_buf()
}

/// Cargo's own lock lets tests that start together wait for one build.
fn build(profile: &Path) {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace())
        .args(["build", "--quiet", "--package", "sync-cli"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = profile.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "building apim-sync: {status}");
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

fn newest_source() -> Option<SystemTime> {
    let crates = [
        "apim-config",
        "sync-core",
        "sync-fs",
        "sync-daemon",
        "sync-cli",
    ];
    crates
        .iter()
        .filter_map(|name| newest_in(&workspace().join(name).join("src")))
        .max()
}

fn newest_in(directory: &Path) -> Option<SystemTime> {
    let listing = fs::read_dir(directory).ok()?;
    listing
        .flatten()
        .filter_map(|item| {
            let path = item.path();
            if path.is_dir() {
                newest_in(&path)
            } else {
                modified(&path)
            }
        })
        .max()
}
