//! Compares two trees in step, one pair of files at a time, so that trees of any
//! size fit into memory. [`compare`](crate::compare) tells more and holds both.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// `Ok` when both trees have the same names, kinds, modes and bytes.
///
/// # Errors
/// The first difference, or what cannot be read.
pub fn equal(left: &Path, right: &Path) -> Result<(), String> {
    compare(left, right, Names::Same)
}

/// `Ok` when `whole` has everything of `part`, as it is there; it may have more,
/// and may lack directories that hold nothing.
///
/// # Errors
/// The first difference, or what cannot be read.
pub fn contains(whole: &Path, part: &Path) -> Result<(), String> {
    compare(part, whole, Names::AtLeast)
}

/// What names the right side has to have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Same,
    AtLeast,
}

fn compare(left: &Path, right: &Path, which: Names) -> Result<(), String> {
    let (mut names, others) = (names(left)?, names(right)?);
    if which == Names::AtLeast {
        names.retain(|name| others.contains(name) || !is_empty_directory(&left.join(name)));
    }
    let fine = match which {
        Names::Same => names == others,
        Names::AtLeast => names.is_subset(&others),
    };
    if !fine {
        return Err(format!(
            "{} and {} hold different names",
            left.display(),
            right.display()
        ));
    }
    names
        .iter()
        .try_for_each(|name| equal_items(&left.join(name), &right.join(name), which))
}

fn is_empty_directory(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut items| items.next().is_none())
}

fn names(directory: &Path) -> Result<BTreeSet<OsString>, String> {
    let fail = |error| failed(directory, &error);
    let listing = fs::read_dir(directory).map_err(fail)?;
    listing
        .map(|item| Ok(item.map_err(fail)?.file_name()))
        .collect()
}

fn equal_items(left: &Path, right: &Path, which: Names) -> Result<(), String> {
    let of = |path: &Path| fs::symlink_metadata(path).map_err(|error| failed(path, &error));
    let (one, other) = (of(left)?, of(right)?);
    let shape = |of: &Metadata| (of.file_type(), of.mode(), of.is_file().then_some(of.len()));
    if shape(&one) != shape(&other) {
        return Err(format!(
            "{} differs in kind, mode or length",
            left.display()
        ));
    }
    if one.is_dir() {
        return compare(left, right, which);
    }
    let same = if one.is_symlink() {
        fs::read_link(left).and_then(|text| Ok(text == fs::read_link(right)?))
    } else {
        same_bytes(left, right)
    };
    match same {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} differs in content", left.display())),
        Err(error) => Err(failed(left, &error)),
    }
}

/// Files of the same length.
fn same_bytes(left: &Path, right: &Path) -> io::Result<bool> {
    const BLOCK: usize = 256 << 10;
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        (&mut left).take(BLOCK as u64).read_to_end(&mut one)?;
        (&mut right).take(BLOCK as u64).read_to_end(&mut other)?;
        if one != other || one.is_empty() {
            return Ok(one == other);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("comparing {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pair(change: impl Fn(&Path)) -> Result<(), String> {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for side in [left.path(), right.path()] {
            fs::create_dir(side.join("d")).unwrap();
            fs::write(side.join("d/f"), vec![7; 600_000]).unwrap();
        }
        change(&right.path().join("d/f"));
        equal(left.path(), right.path())
    }

    #[test]
    fn equal_trees_are_equal() {
        pair(|_| ()).unwrap();
    }

    #[test]
    fn a_whole_may_have_more_than_its_part() {
        let (part, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(part.path().join("empty")).unwrap();
        fs::write(part.path().join("f"), "x").unwrap();
        assert!(contains(whole.path(), part.path()).is_err());
        fs::write(whole.path().join("f"), "x").unwrap();
        fs::write(whole.path().join("g"), "y").unwrap();
        contains(whole.path(), part.path()).unwrap();
        assert!(contains(part.path(), whole.path()).is_err());
        fs::write(part.path().join("empty/g"), "z").unwrap();
        assert!(contains(whole.path(), part.path()).is_err());
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let mut late = vec![7; 600_000];
        late[599_999] = 8;
        assert!(pair(|file| fs::write(file, &late).unwrap()).is_err());
        assert!(pair(|file| fs::write(file, "short").unwrap()).is_err());
        assert!(pair(|file| fs::remove_file(file).unwrap()).is_err());
        assert!(pair(|file| fs::write(file.with_extension("x"), "").unwrap()).is_err());
        let mode = fs::Permissions::from_mode(0o600);
        assert!(pair(|file| fs::set_permissions(file, mode.clone()).unwrap()).is_err());
    }
}
