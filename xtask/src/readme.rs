//! Keeps the README's promises about commands true.

use std::{fs, path::Path};

/// What the README promises; `cargo xtask ci` runs the first as it stands, and
/// the second is the one under way.
const COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo xtask test"];

/// Checks that the README shows each command on a line of its own in a code
/// block. Its quick start is run by the end-to-end tests.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let path = root.join("README.md");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("reading {}: {error}", path.display()))?;
    let shown = code_lines(&text);
    for command in COMMANDS {
        if !shown.contains(&command) {
            return Err(format!(
                "README.md no longer shows `{command}` in a code block; show it again or change \
                 the list in xtask/src/readme.rs and .ci/run"
            ));
        }
    }
    Ok(())
}

/// The lines inside fenced blocks, without trailing comments.
fn code_lines(markdown: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line.split(" #").next().unwrap_or(line).trim());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::code_lines;

    #[test]
    fn only_fenced_lines_are_commands() {
        let text = "cargo run\n```sh\ncargo xtask test   # all checks\n```\nls\n";
        assert_eq!(code_lines(text), ["cargo xtask test"]);
    }
}
