//! Real artifact trees in successive releases, where this machine has them.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use crate::binary::workspace;

/// The releases of one project in order, oldest first; `None`, said on the
/// terminal, where the corpus is absent.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
#[must_use]
pub fn releases(project: &str) -> Option<Vec<PathBuf>> {
    let corpus = env::var_os("SYNC_TESTS_CORPUS")
        .map_or_else(|| workspace().join("../shared/wso2/corpus"), PathBuf::from);
    let Ok(listing) = fs::read_dir(corpus.join(project)) else {
        println!(
            "SKIPPED: no artifact trees at {}; point SYNC_TESTS_CORPUS at some",
            corpus.display()
        );
        return None;
    };
    let mut releases: Vec<PathBuf> = listing.flatten().map(|item| item.path()).collect();
    releases.sort_by_key(|path| version(path));
    Some(releases)
}

/// `v2.10.1-alpha` as numbers, so that 10 comes after 9.
fn version(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Makes `target` the same as `source`, as an upgrade by an administrator would:
/// new and changed files are written in place, absent ones deleted.
///
/// # Errors
/// As the operating system says.
pub fn lay_over(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for item in fs::read_dir(target)? {
        let item = item?;
        if !source.join(item.file_name()).exists() {
            remove(&item.path())?;
        }
    }
    for item in fs::read_dir(source)? {
        let item = item?;
        let to = target.join(item.file_name());
        if item.file_type()?.is_dir() {
            lay_over(&item.path(), &to)?;
        } else if !same_bytes(&item.path(), &to) {
            fs::write(&to, fs::read(item.path())?)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn same_bytes(left: &Path, right: &Path) -> bool {
    matches!((fs::read(left), fs::read(right)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number() {
        assert!(version(Path::new("v1.9.1")) < version(Path::new("v1.10.0")));
    }
}
