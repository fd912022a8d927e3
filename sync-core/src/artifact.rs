//! What a synapse tree is made of: artifact types, their order, their names.
//!
//! The hot deployer loads artifacts type by type in a fixed order, and a set of
//! files should become visible in the same order, so that nothing refers to what
//! is not there yet. This module knows the directories; the order of a whole
//! generation is [`plan`](crate::plan)'s, whether XML is sound is
//! [`well_formed`](mod@crate::well_formed)'s.

use std::collections::BTreeSet;

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

use crate::{entry::Entry, manifest::Manifest, path::RelPath, preset::Preset};

/// The directories of artifacts in the order in which the deployer starts them.
pub const ARTIFACT_TYPES: [&str; 13] = [
    "imports",
    "local-entries",
    "endpoints",
    "sequences",
    "templates",
    "proxy-services",
    "tasks",
    "event-sources",
    "executors",
    "message-stores",
    "message-processors",
    "api",
    "inbound-endpoints",
];

/// The place of a file in the deployer's order: the position of the innermost
/// directory above it that is named like an artifact type. `None` for a file in
/// no such directory (`default/synapse.xml`), which comes before all others.
#[must_use]
pub fn rank(path: &RelPath) -> Option<usize> {
    path.components().rev().skip(1).find_map(position)
}

/// Whether a passive keeps this directory when the active deletes it, for the
/// deployer notices the deletion of a file only while its directory exists: one
/// that holds artifacts of one type, and whatever a tenant's deployer starts
/// from (`7/userstores`).
#[must_use]
pub fn is_kept_directory(path: &RelPath, preset: Preset) -> bool {
    let starts_a_deployer = preset.has_tenants() && path.depth() == 2;
    starts_a_deployer || position(path.file_name()).is_some()
}

/// Whether the content must be well-formed before it may travel. The deployer
/// reads only names in `.xml`; a `.xml.back` may hold anything.
#[must_use]
pub fn is_gated(path: &RelPath) -> bool {
    path.file_name().ends_with(b".xml")
}

/// The name an artifact gives itself: the `name` attribute (`key` of a local
/// entry) of the root element, and `:v` and the version where there is one, for
/// the versions of one API share its name. `None` when there is none or the
/// content is not UTF-8 XML.
#[must_use]
pub fn artifact_name(content: &[u8]) -> Option<String> {
    let mut reader = Reader::from_reader(content);
    loop {
        match reader.read_event().ok()? {
            Event::Start(root) | Event::Empty(root) => return name_of(&root),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Directories that a passive kept for the deployer's sake although `agreed`
/// does not list them: empty artifact directories, and the directories above
/// them that hold nothing else. They are no drift.
///
/// `entries` is what a scan of the tree found.
pub fn kept_directories<'a>(
    entries: impl IntoIterator<Item = (&'a RelPath, &'a Entry)>,
    agreed: &Manifest,
    preset: Preset,
) -> BTreeSet<RelPath> {
    let mut unlisted = Vec::new();
    let mut occupied = BTreeSet::new();
    for (path, entry) in entries {
        if entry.is_directory() && agreed.get(path).is_none() {
            unlisted.push(path);
        } else if let (Some(parent), _) = path.split() {
            occupied.insert(parent);
        }
    }
    unlisted.sort_by(|a, b| b.cmp(a)); // children before parents
    let mut kept = BTreeSet::new();
    let mut above_kept = BTreeSet::new();
    for path in unlisted {
        let parent = path.split().0;
        let spare = is_kept_directory(path, preset) || above_kept.contains(path.as_bytes());
        if spare && !occupied.contains(path.as_bytes()) {
            kept.insert(path.clone());
            above_kept.extend(parent);
        } else {
            occupied.extend(parent);
        }
    }
    kept
}

fn name_of(root: &BytesStart<'_>) -> Option<String> {
    let name = attribute(root, "name").or_else(|| attribute(root, "key"))?;
    Some(match attribute(root, "version") {
        Some(version) => format!("{name}:v{version}"),
        None => name,
    })
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
    Some(value.into_owned())
}

fn position(name: &[u8]) -> Option<usize> {
    ARTIFACT_TYPES
        .iter()
        .position(|kind| kind.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Mode;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_innermost_artifact_directory_gives_the_rank() {
        let cases = [
            ("default/api/a.xml", Some(11)),
            ("7/synapse-configs/default/api/a.xml", Some(11)),
            ("default/imports/i.xml", Some(0)),
            ("default/inbound-endpoints/i.xml", Some(12)),
            ("api/sequences/s.xml", Some(3)),
            ("default/sequences/deep/s.xml", Some(3)),
            ("default/synapse.xml", None),
            ("default/api", None),
            ("default/apis/a.xml", None),
        ];
        for (text, expected) in cases {
            assert_eq!(rank(&path(text)), expected, "{text}");
        }
    }

    #[test]
    fn only_names_in_xml_are_gated() {
        assert!(is_gated(&path("default/api/a.xml")));
        assert!(!is_gated(&path("default/api/a.xml.back")));
        assert!(!is_gated(&path("default/api/a.XML")));
    }

    #[test]
    fn the_root_element_names_the_artifact() {
        let cases: &[(&str, Option<&str>)] = &[
            ("<api name='a' context='/a'/>", Some("a")),
            (
                "<?xml version='1.0'?>\n<!-- c -->\n<sequence xmlns='x' name=\"s &amp; t\">\n</sequence>",
                Some("s & t"),
            ),
            ("<api name='a' version='1.0.0'/>", Some("a:v1.0.0")),
            ("<localEntry key='k'/>", Some("k")),
            ("<definitions><sequence name='inner'/></definitions>", None),
            ("", None),
            ("<api name='a", None),
        ];
        for (content, name) in cases {
            assert_eq!(
                artifact_name(content.as_bytes()).as_deref(),
                *name,
                "{content}"
            );
        }
    }

    #[test]
    fn empty_artifact_directories_and_what_holds_only_them_are_no_drift() {
        let directory = || Entry::Directory {
            mode: Mode::new(0o755),
        };
        let disk: Vec<_> = [
            "default",
            "default/api",
            "default/sequences",
            "default/empty",
            "7",
            "7/default",
            "7/default/api",
            "8",
            "8/default",
            "8/default/api",
            "8/default/api/mine",
        ]
        .map(|text| (path(text), directory()))
        .into();
        let agreed = Manifest::from_entries(disk[..2].to_vec());
        let kept = kept_directories(
            disk.iter().map(|(path, entry)| (path, entry)),
            &agreed,
            Preset::Synapse,
        );
        let expected = ["7", "7/default", "7/default/api", "default/sequences"];
        assert_eq!(kept, expected.map(path).into());
    }
}
