//! From patterns for what a script copied to patterns for one tree of it.
//!
//! rsync tries a pattern on the path from where the copy begins, the engine on
//! the path in the tree. So what a pattern says about the directories between
//! is cut off, and what it says of nothing in the tree is left out.

use super::rsync::Filter;

/// The patterns of one tree.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Carried {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    /// Patterns that cannot be cut.
    pub(super) lost: Vec<String>,
}

/// The patterns for the tree at `prefix` of what is copied; `None` where it is
/// not copied at all.
pub(super) fn carry(filters: &[Filter], prefix: &[&str]) -> Option<Carried> {
    if !(1..=prefix.len()).all(|depth| is_taken(filters, &prefix[..depth])) {
        return None;
    }
    let mut carried = Carried::default();
    for filter in filters {
        let (pattern, is_include) = match filter {
            Filter::Exclude(pattern) => (pattern, false),
            Filter::Include(pattern) => (pattern, true),
        };
        match cut(pattern, prefix) {
            Some(cut) => cut.into_iter().for_each(|it| carried.add(it, is_include)),
            None => carried.lost.push(pattern.clone()),
        }
    }
    Some(carried)
}

impl Carried {
    /// The engine asks `include` first; one that comes after an exclude keeps
    /// its place there, with its sign.
    fn add(&mut self, pattern: String, is_include: bool) {
        match (is_include, self.exclude.is_empty()) {
            (false, _) => self.exclude.push(pattern),
            (true, true) => self.include.push(pattern),
            (true, false) => self.exclude.push(format!("+ {pattern}")),
        }
    }
}

/// Whether the directory at `path` is copied: the first pattern that matches
/// decides.
pub(super) fn is_taken(filters: &[Filter], path: &[&str]) -> bool {
    let path = path.join("/");
    let decides = filters.iter().find(|filter| match filter {
        Filter::Exclude(pattern) | Filter::Include(pattern) => matches(pattern, &path),
    });
    !matches!(decides, Some(Filter::Exclude(_)))
}

/// The patterns that say in the tree what `pattern` says outside; `None` where
/// that cannot be told.
fn cut(pattern: &str, prefix: &[&str]) -> Option<Vec<String>> {
    if prefix.is_empty() {
        return Some(vec![pattern.to_owned()]);
    }
    let Some(anchored) = pattern.strip_prefix('/') else {
        let mut cut = vec![pattern.to_owned()];
        if !pattern.trim_end_matches('/').contains('/') {
            return Some(cut);
        }
        // It may begin between, too.
        let rests = (0..prefix.len()).filter_map(|start| rest(pattern, &prefix[start..]).flatten());
        cut.extend(rests);
        return Some(cut);
    };
    rest(anchored, prefix).map(|rest| rest.into_iter().collect())
}

/// What is left of `pattern` below `prefix`: nothing where it says nothing of
/// what is there, `None` where that cannot be told.
fn rest(pattern: &str, prefix: &[&str]) -> Option<Option<String>> {
    let mut rest = pattern;
    for name in prefix {
        let Some((first, after)) = rest.split_once('/') else {
            return (!rest.contains("**")).then_some(None);
        };
        if first.contains("**") || first.contains(['[', '\\']) {
            return None;
        }
        if !wild(first.as_bytes(), name.as_bytes()) {
            return Some(None);
        }
        rest = after;
    }
    let is_nothing = rest.trim_matches('/').is_empty();
    Some((!is_nothing).then(|| format!("/{rest}")))
}

/// Whether `pattern` matches the directory at `path`. Classes and backslashes
/// match nothing: the names asked for here are known and plain.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    let pattern = pattern.strip_suffix("/***").unwrap_or(pattern);
    if let Some(anchored) = pattern.strip_prefix('/') {
        return wild(anchored.as_bytes(), path.as_bytes());
    }
    if let Some(inner) = pattern.strip_prefix("**/")
        && wild(inner.as_bytes(), path.as_bytes())
    {
        return true;
    }
    let slashes = |text: &str| text.matches('/').count();
    let any_length = pattern.contains("**");
    let starts = path
        .match_indices('/')
        .map(|(at, _)| at + 1)
        .chain(std::iter::once(0));
    starts
        .map(|start| &path[start..])
        .filter(|tail| any_length || slashes(tail) == slashes(pattern))
        .any(|tail| wild(pattern.as_bytes(), tail.as_bytes()))
}

/// Whether `*`, `**` and `?` make `pattern` match all of `text`.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    // reached[n]: what is read of the pattern matches text[..n].
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let [first, after @ ..] = rest {
        let stars = rest.iter().take_while(|&&byte| byte == b'*').count();
        if stars > 0 {
            for at in 0..text.len() {
                let passes = stars > 1 || text[at] != b'/';
                reached[at + 1] |= reached[at] && passes;
            }
            rest = &rest[stars..];
            continue;
        }
        for at in (0..text.len()).rev() {
            let same = text[at] == *first || (*first == b'?' && text[at] != b'/');
            reached[at + 1] = reached[at] && same;
        }
        reached[0] = false;
        rest = after;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        let filter = |text: &&str| match text.strip_prefix("+ ") {
            Some(pattern) => Filter::Include(pattern.into()),
            None => Filter::Exclude((*text).into()),
        };
        texts.iter().map(filter).collect()
    }

    #[test]
    fn patterns_are_cut_to_the_tree() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&["*.log"], &[], &["*.log"]),
            (&["/webapps/", "webapps"], &[], &["webapps"]),
            (
                &["/synapse-configs/default/api/x"],
                &[],
                &["/default/api/x"],
            ),
            (&["/*/default/tasks/"], &[], &["/default/tasks/"]),
            (
                &["synapse-configs/default/x"],
                &[],
                &["synapse-configs/default/x", "/default/x"],
            ),
            (&["+ keep", "*"], &["keep"], &[]),
            (&["+ /synapse-configs/***", "*"], &["/***"], &["*"]),
            (&["*.x", "+ a.x"], &[], &["*.x", "+ a.x"]),
        ];
        for (texts, include, exclude) in cases {
            let carried = carry(&filters(texts), &["synapse-configs"]);
            let Some(carried) = carried else {
                assert!(exclude.is_empty(), "{texts:?}");
                continue;
            };
            assert_eq!(carried.include, *include, "{texts:?}");
            assert_eq!(carried.exclude, *exclude, "{texts:?}");
            assert!(carried.lost.is_empty(), "{texts:?}");
        }
    }

    #[test]
    fn a_tree_that_was_left_out_is_not_taken() {
        for text in [
            "synapse-configs",
            "/server/synapse-configs/",
            "synapse-*",
            "**/synapse-configs",
            "/**",
            "server/***",
        ] {
            let path = &["server", "synapse-configs"];
            assert_eq!(carry(&filters(&[text]), path), None, "{text}");
        }
        for text in ["/synapse-configs", "default", "/server/x", "s?"] {
            let path = &["server", "synapse-configs"];
            assert!(carry(&filters(&[text]), path).is_some(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_said() {
        let carried = carry(&filters(&["/**/x/y"]), &["synapse-configs"]).unwrap();
        assert_eq!(carried.lost, ["/**/x/y"]);
    }
}
