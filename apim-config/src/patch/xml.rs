//! Places in XML. roxmltree finds them; the text is edited, never written anew.

use std::ops::Range;

use roxmltree::{Document, Node, NodeType, ParsingOptions};

use super::{Changes, Place, Want};
use crate::{
    edit::{Edit, indentation, indented, line, line_end},
    finding::Refusal,
};

use self::ill_formed::ill_formed;

mod ill_formed;
#[cfg(test)]
mod tests;

/// Nodes of a document at the most; a stock file has some thousands.
const NODES_MAX: u32 = 1_000_000;

/// A well-formed file.
pub(crate) struct Xml<'t> {
    file: &'t str,
    text: &'t str,
    document: Document<'t>,
}

type Found<'a, 't> = Result<Node<'a, 't>, Refusal>;

impl<'t> Xml<'t> {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not well-formed.
    pub(crate) fn parse(file: &'t str, text: &'t str) -> Result<Self, Refusal> {
        let options = ParsingOptions {
            allow_dtd: false,
            nodes_limit: NODES_MAX,
            ..ParsingOptions::default()
        };
        match Document::parse_with_options(text, options) {
            Ok(document) => Ok(Self {
                file,
                text,
                document,
            }),
            Err(error) => {
                let (line, reason) = ill_formed(text, &error);
                Err(Refusal {
                    file: file.to_owned(),
                    line: Some(line),
                    reason,
                })
            }
        }
    }

    /// The outermost element, which has to have that name.
    ///
    /// # Errors
    /// When it has another one: it is another kind of file.
    pub(crate) fn root(&self, name: &str) -> Found<'_, 't> {
        let root = self.document.root_element();
        if root.tag_name().name() == name {
            return Ok(root);
        }
        let reason = format!(
            "its outermost element is <{}>, not <{name}>",
            root.tag_name().name()
        );
        Err(self.refuse(root, reason))
    }

    /// The elements of that name directly below `parent`.
    pub(crate) fn children<'a>(
        &self,
        parent: Node<'a, 't>,
        name: &str,
    ) -> impl Iterator<Item = Node<'a, 't>> {
        parent
            .children()
            .filter(move |node| node.is_element() && node.tag_name().name() == name)
    }

    /// The one element of that name directly below `parent`.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub(crate) fn one<'a>(&self, parent: Node<'a, 't>, name: &str) -> Found<'a, 't> {
        let label = format!("<{name}>");
        let found = self.only(self.children(parent, name), &label)?;
        found.ok_or_else(|| self.absent(parent, &label))
    }

    /// The one element at the end of a path of names below `parent`.
    ///
    /// # Errors
    /// When one of them is missing or there is more than one.
    pub(crate) fn path<'a>(&self, parent: Node<'a, 't>, names: &[&str]) -> Found<'a, 't> {
        names
            .iter()
            .try_fold(parent, |parent, name| self.one(parent, name))
    }

    /// The element of that name directly below `parent`, if there is one.
    ///
    /// # Errors
    /// When there is more than one.
    pub(crate) fn at_most_one<'a>(
        &self,
        parent: Node<'a, 't>,
        name: &str,
    ) -> Result<Option<Node<'a, 't>>, Refusal> {
        self.only(self.children(parent, name), &format!("<{name}>"))
    }

    /// The element of that name below `parent` whose attribute has that value,
    /// if there is one.
    ///
    /// # Errors
    /// When there is more than one.
    pub(crate) fn with_attribute<'a>(
        &self,
        parent: Node<'a, 't>,
        name: &str,
        (attribute, value): (&str, &str),
    ) -> Result<Option<Node<'a, 't>>, Refusal> {
        let all = self.children(parent, name);
        let label = format!("<{name} {attribute}=\"{value}\">");
        self.only(
            all.filter(|node| node.attribute(attribute) == Some(value)),
            &label,
        )
    }

    /// The only one of `nodes`, if any.
    ///
    /// # Errors
    /// When there is more than one: which of them is meant is not known.
    pub(crate) fn only<'a>(
        &self,
        nodes: impl Iterator<Item = Node<'a, 't>>,
        label: &str,
    ) -> Result<Option<Node<'a, 't>>, Refusal> {
        let mut nodes = nodes;
        let Some(first) = nodes.next() else {
            return Ok(None);
        };
        match nodes.next() {
            None => Ok(Some(first)),
            Some(second) => {
                let reason = format!(
                    "{label} stands twice, at line {} and here: which one counts is not clear; remove one",
                    self.line(first)
                );
                Err(self.refuse(second, reason))
            }
        }
    }

    /// The refusal that something is not below `parent`.
    pub(crate) fn absent(&self, parent: Node<'_, '_>, label: &str) -> Refusal {
        let reason = format!("there is no {label} in <{}>", parent.tag_name().name());
        self.refuse(parent, reason)
    }

    /// A refusal at a node.
    pub(crate) fn refuse(&self, node: Node<'_, '_>, reason: impl Into<String>) -> Refusal {
        Refusal {
            file: self.file.to_owned(),
            line: Some(self.line(node)),
            reason: reason.into(),
        }
    }

    /// The line where a node starts.
    pub(crate) fn line(&self, node: Node<'_, '_>) -> usize {
        line(self.text, node.range().start)
    }

    /// Where a node is, for people: its elements from the outermost one's child on.
    pub(crate) fn place(&self, node: Node<'_, '_>) -> Place<'t> {
        let mut names: Vec<String> = node
            .ancestors()
            .filter(Node::is_element)
            .map(label)
            .collect();
        names.reverse();
        Place {
            file: self.file,
            line: self.line(node),
            place: names.join("/"),
        }
    }

    /// Makes an element's text what is wanted. Where a vault keeps a secret
    /// (`svns:secretAlias`), it stays there.
    ///
    /// # Errors
    /// When the element holds elements.
    pub(crate) fn set_text(
        &self,
        node: Node<'_, '_>,
        want: &Want<'_>,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        if node.children().any(|child| child.is_element()) {
            return Err(self.refuse(node, format!("{} holds elements, not a value", label(node))));
        }
        let in_vault = node
            .attributes()
            .any(|attribute| attribute.name() == "secretAlias");
        let found = text_of(node);
        if found == want.value || (want.secret && in_vault) {
            return Ok(());
        }
        let finding = want.missed(self.place(node), Some(&found));
        let escaped = escape(want.value);
        let Some(pieces) = self.value_ranges(node) else {
            changes.mend(self.opened(node, &escaped), finding);
            return Ok(());
        };
        let (first, rest) = pieces;
        let first = Edit {
            range: first,
            replacement: escaped,
        };
        changes.mend(first, finding);
        // Comments cut a value into pieces, which are read as one.
        let rest = rest.into_iter().map(|range| Edit {
            range,
            replacement: String::new(),
        });
        changes.edits.extend(rest);
        Ok(())
    }

    /// Makes an attribute what is wanted; one that is missing is put after the
    /// attribute `after`, separated from it as that one is from what precedes it.
    pub(crate) fn set_attribute(
        &self,
        node: Node<'_, 't>,
        (name, after): (&str, &str),
        want: &Want<'_>,
        changes: &mut Changes,
    ) {
        let attribute = |name: &str| {
            let mut all = node.attributes();
            all.find(|it| it.namespace().is_none() && it.name() == name)
        };
        let mut place = self.place(node);
        place.place = format!("{}/@{name}", place.place);
        if let Some(present) = attribute(name) {
            if present.value() != want.value {
                let edit = Edit {
                    range: present.range_value(),
                    replacement: escape(want.value),
                };
                changes.mend(edit, want.missed(place, Some(present.value())));
            }
            return;
        }
        let at = attribute(after).map_or_else(
            || node.range().start + 1 + self.tag_name_len(node),
            |anchor| anchor.range().end,
        );
        let separator = attribute(after).map_or(" ", |anchor| {
            let before = &self.text[..anchor.range().start];
            &before[before.trim_end().len()..]
        });
        let edit = Edit {
            range: at..at,
            replacement: format!("{separator}{name}=\"{}\"", escape(want.value)),
        };
        changes.mend(edit, want.missed(place, None));
    }

    /// Puts `block` on lines of its own after a node, indented like it.
    pub(crate) fn insert_after(
        &self,
        anchor: Node<'_, '_>,
        (block, name): (&str, &str),
        want: &Want<'_>,
        changes: &mut Changes,
    ) {
        let Range { start, end } = anchor.range();
        let ending = line_end(self.text, end);
        let block = indented(block, indentation(self.text, start), ending);
        let edit = Edit {
            range: end..end,
            replacement: format!("{ending}{block}"),
        };
        let mut place = self.place(anchor.parent_element().unwrap_or(anchor));
        place.line = self.line(anchor);
        place.place = format!("{}/{name}", place.place);
        changes.mend(edit, want.missed(place, None));
    }

    /// Makes the child `name` of `parent` say what is wanted, adding it after
    /// the last child where it is missing.
    ///
    /// # Errors
    /// When there are two, or nothing to put it after.
    pub(crate) fn set_child(
        &self,
        parent: Node<'_, 't>,
        name: &str,
        want: &Want<'_>,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        if let Some(child) = self.at_most_one(parent, name)? {
            return self.set_text(child, want, changes);
        }
        let last = parent.children().rfind(Node::is_element);
        let last = last.ok_or_else(|| self.absent(parent, &format!("<{name}>")))?;
        let block = format!("<{name}>{}</{name}>", escape(want.value));
        self.insert_after(last, (&block, name), want, changes);
        Ok(())
    }

    /// Takes an element away, and the white space before it.
    pub(crate) fn remove(&self, node: Node<'_, '_>, want: &Want<'_>, changes: &mut Changes) {
        let range = node.range();
        let start = self.text[..range.start].trim_end_matches(BLANKS).len();
        let edit = Edit {
            range: start..range.end,
            replacement: String::new(),
        };
        let found = self.text[range].split_whitespace().collect::<Vec<_>>();
        changes.mend(edit, want.missed(self.place(node), Some(&found.join(" "))));
    }

    /// Replaces everything between an element's tags.
    pub(crate) fn replace_inner(
        &self,
        node: Node<'_, '_>,
        block: &str,
        (want, found): (&Want<'_>, &str),
        changes: &mut Changes,
    ) {
        let start = node.range().start;
        let ending = line_end(self.text, start);
        let outer = indentation(self.text, start);
        let body = indented(block, &format!("{outer}    "), ending);
        let content = format!("{ending}{body}{ending}{outer}");
        let edit = match inner(self.text, node) {
            Some(range) => Edit {
                range,
                replacement: content,
            },
            None => self.opened(node, &content),
        };
        changes.mend(edit, want.missed(self.place(node), Some(found)));
    }

    /// The edit that gives `<a/>` the content `content`.
    fn opened(&self, node: Node<'_, '_>, content: &str) -> Edit {
        let Range { start, end } = node.range();
        let name = &self.text[start + 1..start + 1 + self.tag_name_len(node)];
        Edit {
            range: end - 2..end,
            replacement: format!(">{content}</{name}>"),
        }
    }

    /// Bytes of an element's name as written, prefix included.
    fn tag_name_len(&self, node: Node<'_, '_>) -> usize {
        let tag = &self.text[node.range().start + 1..node.range().end];
        tag.find(|it: char| it.is_whitespace() || matches!(it, '/' | '>'))
            .unwrap_or(tag.len())
    }

    /// The pieces of the value inside an element, without the white space and the
    /// comments around them: the first one, which may be empty, and the rest.
    fn value_ranges(&self, node: Node<'_, '_>) -> Option<(Range<usize>, Vec<Range<usize>>)> {
        let inner = inner(self.text, node)?;
        let comments = node
            .children()
            .filter(|child| matches!(child.node_type(), NodeType::Comment | NodeType::PI))
            .map(|child| child.range());
        let mut pieces = Vec::new();
        let mut at = inner.start;
        for comment in comments {
            pieces.push(at..comment.start);
            at = comment.end;
        }
        pieces.push(at..inner.end);
        let mut pieces = pieces
            .into_iter()
            .map(|piece| trimmed(self.text, piece))
            .filter(|piece| !piece.is_empty());
        let first = pieces.next().unwrap_or(inner.start..inner.start);
        Some((first, pieces.collect()))
    }
}

/// A range of the text without the white space around it.
pub(crate) fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start_matches(BLANKS).len());
    let end = range.start + piece.trim_end_matches(BLANKS).len();
    start..end.max(start)
}

/// Between the tags; `None` for `<a/>`. The document is well-formed, so the
/// start tag ends at the first `>` outside quotes.
pub(crate) fn inner(text: &str, node: Node<'_, '_>) -> Option<Range<usize>> {
    let outer = node.range();
    let source = &text[outer.clone()];
    let mut quote = None;
    let close = source.char_indices().find(|&(_, it)| match (quote, it) {
        (None, '"' | '\'') => {
            quote = Some(it);
            false
        }
        (Some(open), it) if open == it => {
            quote = None;
            false
        }
        (None, '>') => true,
        _ => false,
    });
    let start = close?.0 + 1;
    let end = source.rfind("</").filter(|&end| end >= start)?;
    Some(outer.start + start..outer.start + end)
}

/// An element for people: `Property[@name='dataSource']`.
fn label(node: Node<'_, '_>) -> String {
    let name = node.tag_name().name();
    let key = ["name", "path", "port"]
        .into_iter()
        .find_map(|key| node.attribute(key).map(|value| (key, value)));
    match key {
        Some((key, value)) if node.parent_element().is_some() => {
            format!("{name}[@{key}='{value}']")
        }
        _ => name.to_owned(),
    }
}

/// An element's text, comments and the white space around it left out.
#[must_use]
pub(crate) fn text_of(node: Node<'_, '_>) -> String {
    let texts = node.children().filter(Node::is_text);
    let text: String = texts.filter_map(|text| text.text()).collect();
    text.trim_matches(BLANKS).to_owned()
}

/// White space as XML has it: a no-break space is a character like any other, and
/// Java reads it as one.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Text as XML writes it, in elements and in attributes.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
