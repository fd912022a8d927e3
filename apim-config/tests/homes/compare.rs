//! Two XML files compared as XML sees them: elements, attributes, texts and
//! comments, in order; white space between elements does not count.

use roxmltree::{Document, Node, NodeType};
use similar::{ChangeTag, TextDiff};

/// What is in one of the two only: `-` in the first, `+` in the second.
pub(crate) fn differences(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (lines(before), lines(after));
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    TextDiff::from_slices(&before, &after)
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            ChangeTag::Equal => None,
            ChangeTag::Delete => Some(format!("-{}", change.value())),
            ChangeTag::Insert => Some(format!("+{}", change.value())),
        })
        .collect()
}

fn lines(text: &str) -> Vec<String> {
    let document = Document::parse(text).unwrap();
    let mut lines = Vec::new();
    flatten(document.root(), "", &mut lines);
    lines
}

fn flatten(node: Node<'_, '_>, path: &str, lines: &mut Vec<String>) {
    for child in node.children() {
        match child.node_type() {
            NodeType::Element => {
                let path = format!("{path}/{}", label(child));
                lines.push(path.clone());
                for attribute in child.attributes() {
                    lines.push(format!(
                        "{path}/@{}={}",
                        attribute.name(),
                        attribute.value()
                    ));
                }
                flatten(child, &path, lines);
            }
            NodeType::Text if child.text().is_some_and(|text| !text.trim().is_empty()) => {
                lines.push(format!("{path}={}", child.text().unwrap()));
            }
            NodeType::Comment => lines.push(format!("{path}/#{}", child.text().unwrap())),
            _ => {}
        }
    }
}

/// An element's name; a data source is told from its siblings.
fn label(node: Node<'_, '_>) -> String {
    let name = node.tag_name().name();
    let key = node
        .children()
        .find(|child| name == "datasource" && child.tag_name().name() == "name");
    match key.and_then(|key| key.text()) {
        Some(key) => format!("{name}[{key}]"),
        None => name.to_owned(),
    }
}
