//! Which paths a tree leaves out, by rsync's patterns.
//!
//! Rules are asked in the order given and the first that matches decides; what
//! none matches is included. A directory left out hides everything below it,
//! whatever later rules say. Works on bytes; knows no file system: the caller
//! says whether a path is a directory.

use thiserror::Error;

use crate::{
    glob::Glob,
    limits::{EXCLUDE_RULES_MAX, PATH_BYTES_MAX},
    path::{RelPath, escape},
};

/// The rules of one tree.
#[derive(Clone, Default, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Why text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// A pattern without anything to match.
    #[error("the pattern is empty")]
    Empty,
    /// A pattern longer than any path.
    #[error("the pattern `{0}...` has more than {PATH_BYTES_MAX} bytes")]
    TooLong(String),
    /// A `[` without `]`, an unknown `[:class:]`, a `\` with nothing after it.
    #[error("the pattern `{pattern}` is malformed: {reason}")]
    Malformed {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More rules than would be asked for every path in good time.
    #[error("more than {EXCLUDE_RULES_MAX} exclude and include rules")]
    TooMany,
}

/// What a matching rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Exclude,
    Include,
}

#[derive(Clone, Debug)]
struct Rule {
    effect: Effect,
    pattern: Pattern,
}

impl Rules {
    /// No rules: everything is included.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Adds what `--exclude` takes: a pattern, `- pattern`, `+ pattern` for an
    /// include, or `!`, which forgets all rules so far.
    ///
    /// # Errors
    /// When the pattern is empty or too long, or there are too many rules.
    pub fn exclude(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        self.add(Effect::Exclude, rule)
    }

    /// Adds what `--include` takes; as [`Rules::exclude`] otherwise.
    ///
    /// # Errors
    /// As [`Rules::exclude`].
    pub fn include(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        self.add(Effect::Include, rule)
    }

    /// Adds the lines of an `--exclude-from` file. Empty lines and lines that
    /// start with `#` or `;` are comments.
    ///
    /// # Errors
    /// As [`Rules::exclude`].
    pub fn exclude_lines(&mut self, text: &[u8]) -> Result<(), RuleError> {
        lines(text).try_for_each(|line| self.exclude(line))
    }

    /// Adds the lines of an `--include-from` file; as [`Rules::exclude_lines`]
    /// otherwise.
    ///
    /// # Errors
    /// As [`Rules::exclude`].
    pub fn include_lines(&mut self, text: &[u8]) -> Result<(), RuleError> {
        lines(text).try_for_each(|line| self.include(line))
    }

    fn add(&mut self, effect: Effect, rule: &[u8]) -> Result<(), RuleError> {
        let (effect, pattern) = match rule {
            b"!" => {
                self.rules.clear();
                return Ok(());
            }
            [b'-', b' ', pattern @ ..] => (Effect::Exclude, pattern),
            [b'+', b' ', pattern @ ..] => (Effect::Include, pattern),
            pattern => (effect, pattern),
        };
        if self.rules.len() == EXCLUDE_RULES_MAX {
            return Err(RuleError::TooMany);
        }
        let pattern = Pattern::parse(pattern)?;
        self.rules.push(Rule { effect, pattern });
        Ok(())
    }

    /// Whether `path` is excluded: by itself or with a directory above it.
    #[must_use]
    pub fn matches(&self, path: &RelPath, is_directory: bool) -> bool {
        self.matches_bytes(path.as_bytes(), is_directory)
    }

    /// The same for the bytes of a path.
    #[must_use]
    pub fn matches_bytes(&self, bytes: &[u8], is_directory: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let above = |&at: &usize| bytes[at] == b'/';
        (0..bytes.len())
            .filter(above)
            .any(|slash| self.excludes(&bytes[..slash], true))
            || self.excludes(bytes, is_directory)
    }

    fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        self.rules
            .iter()
            .find(|rule| rule.pattern.matches(path, is_directory))
            .is_some_and(|rule| rule.effect == Effect::Exclude)
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter(|line| !matches!(line, [] | [b'#' | b';', ..]))
}

/// One pattern, with what its text says decided once.
#[derive(Clone, Debug)]
struct Pattern {
    /// Without the anchor and without the trailing slash.
    glob: Glob,
    directories_only: bool,
    /// Ends in `***`: a directory is given a slash at its end, so that `x/***`
    /// matches `x` as well as what is in it.
    with_directory: bool,
    start: Start,
}

/// Where in a path a pattern may begin to match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// At the beginning.
    Path,
    /// At the last so many components.
    Components(usize),
    /// At any component.
    Anywhere,
    /// At the beginning of the path with a slash in front, so that `**/x` also
    /// matches a top-level `x`.
    Slash,
}

impl Start {
    fn of(text: &[u8]) -> Self {
        let slashes = text.iter().filter(|&&byte| byte == b'/').count();
        if text.starts_with(b"/") {
            Self::Path
        } else if text.starts_with(b"**") {
            Self::Slash
        } else if text.windows(2).any(|pair| pair == b"**") {
            Self::Anywhere
        } else {
            Self::Components(slashes + 1)
        }
    }
}

impl Pattern {
    fn parse(pattern: &[u8]) -> Result<Self, RuleError> {
        if pattern.len() > PATH_BYTES_MAX {
            return Err(RuleError::TooLong(escape(&pattern[..40])));
        }
        let (text, directories_only) = match pattern {
            [text @ .., b'/'] if !text.is_empty() => (text, true),
            text => (text, false),
        };
        let start = Start::of(text);
        let text = text.strip_prefix(b"/").unwrap_or(text);
        if text.is_empty() {
            return Err(RuleError::Empty);
        }
        let glob = Glob::parse(text).map_err(|reason| RuleError::Malformed {
            pattern: escape(pattern),
            reason,
        })?;
        Ok(Self {
            glob,
            directories_only,
            with_directory: text.ends_with(b"***"),
            start,
        })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        if self.with_directory && is_directory {
            return self.matches_from_start(&[path, b"/"].concat());
        }
        self.matches_from_start(path)
    }

    fn matches_from_start(&self, path: &[u8]) -> bool {
        match self.start {
            Start::Path => self.glob.matches(path),
            Start::Slash => self.glob.matches(&[b"/", path].concat()),
            Start::Components(count) => {
                last_components(path, count).is_some_and(|name| self.glob.matches(name))
            }
            Start::Anywhere => starts(path).any(|start| self.glob.matches(&path[start..])),
        }
    }
}

/// The last `count` components of `path`, if it has so many.
fn last_components(path: &[u8], count: usize) -> Option<&[u8]> {
    let start = starts(path).rev().nth(count - 1)?;
    Some(&path[start..])
}

/// Where the components of `path` start.
fn starts(path: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    let slash = |&at: &usize| path[at] == b'/';
    std::iter::once(0).chain((0..path.len()).filter(slash).map(|at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules as on a command line (`-` excludes, `+` includes), then paths
    /// (directories end in `/`), each with whether it is excluded.
    type Case = (&'static [&'static str], &'static [(&'static str, bool)]);

    fn check((rules, paths): Case) {
        let mut parsed = Rules::new();
        for rule in rules {
            parsed.exclude(rule.as_bytes()).unwrap();
        }
        for (path, excluded) in paths {
            let is_directory = path.ends_with('/');
            let path = RelPath::new(path.trim_end_matches('/').as_bytes()).unwrap();
            assert_eq!(
                parsed.matches(&path, is_directory),
                *excluded,
                "{path} with {rules:?}"
            );
        }
    }

    #[test]
    fn patterns_mean_what_the_manual_of_rsync_says() {
        let cases: &[Case] = &[
            (&[], &[("a", false), ("a/", false)]),
            (&["*.o"], &[("x.o", true), ("d/x.o", true), ("x.oo", false)]),
            (
                &["/foo"],
                &[("foo", true), ("foo/", true), ("d/foo", false)],
            ),
            (
                &["foo/"],
                &[
                    ("foo", false),
                    ("foo/", true),
                    ("foo/x", true),
                    ("d/foo/x", true),
                ],
            ),
            (
                &["foo/*/bar"],
                &[
                    ("foo/a/bar", true),
                    ("d/foo/a/bar/", true),
                    ("foo/bar", false),
                    ("foo/a/b/bar", false),
                ],
            ),
            (
                &["/foo/**/bar"],
                &[
                    ("foo/a/bar", true),
                    ("foo/a/b/bar", true),
                    ("foo/bar", false),
                    ("d/foo/a/bar", false),
                ],
            ),
            (
                &["+ */", "+ *.c", "- *"],
                &[
                    ("a/", false),
                    ("a/x.c", false),
                    ("a/x.h", true),
                    ("x.c", false),
                ],
            ),
            (
                &["+ foo/", "+ foo/bar.c", "- *"],
                &[
                    ("foo/", false),
                    ("foo/bar.c", false),
                    ("foo/x.c", true),
                    ("bar.c", true),
                ],
            ),
            (
                &["foo/bar"],
                &[
                    ("foo/bar", true),
                    ("d/foo/bar", true),
                    ("dfoo/bar", false),
                    ("bar", false),
                ],
            ),
            (
                &["dir/***"],
                &[
                    ("dir/", true),
                    ("dir/x", true),
                    ("d/dir/x/y", true),
                    ("dir", false),
                ],
            ),
            (
                &["dir/**"],
                &[("dir/", false), ("dir/x", true), ("d/dir/x/y", true)],
            ),
            (
                &["**/tmp"],
                &[("tmp", true), ("a/tmp", true), ("a/tmpx", false)],
            ),
            (&["a?c"], &[("abc", true), ("a/c", false), ("abbc", false)]),
            (&["*.[ch]"], &[("x.c", true), ("x.h", true), ("x.o", false)]),
            (&["[!a-c]x"], &[("dx", true), ("bx", false)]),
            (&["[]x]"], &[("]", true), ("x", true), ("y", false)]),
            (&["[[:digit:]-]"], &[("7", true), ("-", true), ("a", false)]),
            (&[r"foo\bar"], &[(r"foo\bar", true), ("foobar", false)]),
            (&[r"foo\bar*"], &[("foobar1", true), (r"foo\bar1", false)]),
            (&[r"a\*", "x*"], &[("ab", false), ("xb", true)]),
            (
                &["*.back"],
                &[
                    ("default/api/a.xml.back", true),
                    ("default/api/a.xml", false),
                ],
            ),
            (&["- secret/", "+ secret/open"], &[("secret/open", true)]),
            (&["- *", "!", "- a"], &[("a", true), ("b", false)]),
            (
                &["*a*a*a*a*a*b"],
                &[("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false)],
            ),
        ];
        cases.iter().copied().for_each(check);
    }

    #[test]
    fn names_that_are_not_utf8_match_byte_for_byte() {
        let mut rules = Rules::new();
        rules.exclude(b"\xff?").unwrap();
        assert!(rules.matches(&RelPath::new(b"d/\xff\xfe").unwrap(), false));
        assert!(!rules.matches(&RelPath::new(b"d/\xfe\xfe").unwrap(), false));
    }

    #[test]
    fn files_of_patterns_have_comments_and_signs() {
        let mut rules = Rules::new();
        rules
            .exclude_lines(b"# comment\n; too\n\n+ keep.log\r\n*.log")
            .unwrap();
        rules.include_lines(b"x").unwrap();
        assert_eq!(rules.rules.len(), 3);
        assert!(rules.matches(&RelPath::new(b"a.log").unwrap(), false));
        assert!(!rules.matches(&RelPath::new(b"keep.log").unwrap(), false));
    }

    #[test]
    fn what_cannot_match_is_refused() {
        for pattern in ["", "/", "[a", "[[:nothing:]]", "*\\", "+ "] {
            assert!(
                Rules::new().exclude(pattern.as_bytes()).is_err(),
                "{pattern}"
            );
        }
        assert!(Rules::new().exclude(&[b'x'; PATH_BYTES_MAX + 1]).is_err());
    }
}
