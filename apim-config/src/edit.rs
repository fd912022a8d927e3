//! Edits of a text: what to put where, all at once.

use std::ops::Range;

/// One replacement; an insertion has an empty range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Edit {
    /// Bytes of the text that go.
    pub range: Range<usize>,
    /// What comes instead.
    pub replacement: String,
}

/// The text with every edit made; everything outside their ranges is the same
/// byte for byte. Insertions at one place come in the order they were made.
///
/// # Panics
/// When two ranges overlap or one is no range of the text: a bug of whoever
/// made them.
#[must_use]
pub(crate) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut ordered: Vec<&Edit> = edits.iter().collect();
    ordered.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut result = String::with_capacity(text.len() + 256);
    let mut at = 0;
    for edit in ordered {
        assert!(edit.range.start >= at, "edits overlap at byte {at}");
        result.push_str(&text[at..edit.range.start]);
        result.push_str(&edit.replacement);
        at = edit.range.end;
    }
    result.push_str(&text[at..]);
    result
}

/// The number of the line that holds byte `at`, from 1.
#[must_use]
pub(crate) fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// How the line that holds byte `at` ends, so that what is put beside it ends
/// alike: files with both kinds of line ends exist.
#[must_use]
pub(crate) fn line_end(text: &str, at: usize) -> &'static str {
    // Bytes, as `at` may be inside of a character.
    let bytes = text.as_bytes();
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let next = after.iter().position(|&byte| byte == b'\n');
    let newline = next
        .map(|index| before.len() + index)
        .or_else(|| before.iter().rposition(|&byte| byte == b'\n'));
    match newline {
        Some(newline) if bytes[..newline].ends_with(b"\r") => "\r\n",
        _ => "\n",
    }
}

/// The white space before byte `at` on its line, if nothing else is there; else
/// that at the line's start.
#[must_use]
pub(crate) fn indentation(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[start..];
    let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
    &line[..blank]
}

/// `block`, written with `\n` and without indentation, as it looks at a place
/// that is indented by `indentation` and ends its lines with `line_end`.
#[must_use]
pub(crate) fn indented(block: &str, indentation: &str, line_end: &str) -> String {
    let lines: Vec<String> = block
        .lines()
        .map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("{indentation}{line}")
            }
        })
        .collect();
    lines.join(line_end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edit(range: Range<usize>, replacement: &str) -> Edit {
        Edit {
            range,
            replacement: replacement.into(),
        }
    }

    #[test]
    fn edits_are_made_at_once_and_in_any_order() {
        let edits = [
            edit(4..5, "E"),
            edit(0..1, ""),
            edit(2..2, "1"),
            edit(2..2, "2"),
        ];
        assert_eq!(apply("abcde", &edits), "b12cdE");
    }

    #[test]
    fn a_line_beside_another_ends_like_it() {
        let text = "a\r\nb\nc";
        assert_eq!(line_end(text, 0), "\r\n");
        assert_eq!(line_end(text, 3), "\n");
        assert_eq!(line_end(text, 6), "\n");
        assert_eq!(line_end("", 0), "\n");
        assert_eq!(line_end("\u{e9}\r\n", 1), "\r\n");
        assert_eq!(line(text, 5), 3);
    }

    #[test]
    fn a_block_takes_the_indentation_of_its_place() {
        let text = "<a>\n\t  <b/>";
        assert_eq!(indentation(text, 7), "\t  ");
        assert_eq!(indented("x\n\n  y", "  ", "\r\n"), "  x\r\n\r\n    y");
    }

    proptest! {
        #[test]
        fn what_is_outside_the_edits_is_kept(text in "[a-z\r\n<>]{0,40}", a in 0usize..40, b in 0usize..40) {
            let (a, b) = (a.min(b).min(text.len()), a.max(b).min(text.len()));
            let result = apply(&text, &[edit(a..b, "#")]);
            prop_assert_eq!(result, format!("{}#{}", &text[..a], &text[b..]));
        }
    }
}
