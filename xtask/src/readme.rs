//! Keeps the README's promises about commands true.

use std::{fs, path::Path};

/// What the README promises; `cargo xtask ci` runs the first as it stands, and
/// the second is the one under way.
const COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo xtask test"];

/// Where a test that the README names must be.
const TESTS: &str = "tests/tests/e2e";

/// Checks that the README shows each command on a line of its own in a code
/// block, and that every test it names exists. Its quick start is run by the
/// end-to-end tests.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let text = read(&root.join("README.md"))?;
    check_commands(&text)?;
    test_names(&text).try_for_each(|(module, test)| {
        let file = root.join(TESTS).join(module).with_extension("rs");
        if read(&file)?.contains(&format!("fn {test}()")) {
            return Ok(());
        }
        Err(format!(
            "README.md names the test `{module}::{test}`, which {} does not have",
            file.display()
        ))
    })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("reading {}: {error}", path.display()))
}

fn check_commands(text: &str) -> Result<(), String> {
    let shown = code_lines(text);
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

/// Module and name of every test in backticks.
fn test_names(markdown: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = markdown.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|text| text.split_once("::"))
        .filter(|(_, test)| !test.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{code_lines, test_names};

    #[test]
    fn quoted_tests_are_found() {
        let text = "a `b::c`, `d::` and `e`; `f::g`";
        assert_eq!(
            test_names(text).collect::<Vec<_>>(),
            [("b", "c"), ("f", "g")]
        );
    }

    #[test]
    fn only_fenced_lines_are_commands() {
        let text = "cargo run\n```sh\ncargo xtask test   # all checks\n```\nls\n";
        assert_eq!(code_lines(text), ["cargo xtask test"]);
    }
}
