//! Which trees the script's commands covered, with the patterns that carry
//! over.

use super::{
    At, ImportError, ImportedTree, Note,
    copies::{Copies, Copying},
    filter::{self, Carried},
    place::Inside,
    rsync::Filter,
};
use crate::setup::Tree;

/// What a hot deployer leaves behind, and no node shall send.
const BACK: &str = "*.back";

/// The trees, and what is to be said of them.
pub(super) fn found(copies: &Copies) -> Result<(Vec<ImportedTree>, Vec<Note>), ImportError> {
    let mut trees: Vec<ImportedTree> = Vec::new();
    let mut notes = Vec::new();
    for tree in Tree::ALL {
        let mut found: Option<ImportedTree> = None;
        for copying in &copies.copying {
            let Some((carried, from)) = of_command(tree, copying) else {
                continue;
            };
            let line = copying.call.line;
            notes.extend(carried.lost.iter().map(|pattern| lost(line, tree, pattern)));
            match &mut found {
                Some(before) => {
                    before.lines.push(line);
                    notes.extend(before.differs(&carried).then(|| other(line, tree)));
                }
                None => {
                    notes.extend(from.map(|from| widened(line, tree, &from)));
                    found = Some(ImportedTree::new(tree, line, carried));
                }
            }
        }
        trees.extend(found);
    }
    if trees.is_empty() {
        return Err(nothing(copies));
    }
    notes.extend(trees.iter().filter_map(|tree| partly(tree, copies)));
    Ok((trees, notes))
}

impl ImportedTree {
    fn new(tree: Tree, line: usize, carried: Carried) -> Self {
        let mut exclude = carried.exclude;
        if !exclude.iter().any(|it| it == BACK) {
            exclude.insert(0, BACK.into());
        }
        Self {
            tree,
            lines: vec![line],
            include: carried.include,
            exclude,
        }
    }

    fn differs(&self, carried: &Carried) -> bool {
        let own = self.exclude.iter().filter(|it| *it != BACK);
        let others = carried.exclude.iter().filter(|it| *it != BACK);
        self.include != carried.include || own.ne(others)
    }
}

/// The patterns for a tree, if this command covers it; and where in the tree
/// the copy began, if not at its top.
fn of_command(tree: Tree, copying: &Copying) -> Option<(Carried, Option<String>)> {
    let names: Vec<&str> = tree.path().split('/').collect();
    let filters = &copying.rsync.options.filters;
    copying.sources.iter().find_map(|(source, begins_in)| {
        let source = &source.names;
        let common = source.iter().zip(&names).all(|(a, b)| a == b);
        if !common {
            return None;
        }
        if let Some(below) = source.get(names.len()..).filter(|it| !it.is_empty()) {
            let carried = below_top(filters, below, *begins_in);
            return Some((carried, Some(below.join("/"))));
        }
        let start = source.len().saturating_sub(usize::from(!begins_in));
        filter::carry(filters, &names[start..]).map(|it| (it, None))
    })
}

/// Patterns of a copy that began inside the tree.
fn below_top(filters: &[Filter], below: &[String], begins_in: bool) -> Carried {
    let depth = below.len() - usize::from(!begins_in);
    let longer = |pattern: &String| match pattern.strip_prefix('/') {
        Some(rest) if depth > 0 => format!("/{}/{rest}", below[..depth].join("/")),
        _ => pattern.clone(),
    };
    let filters: Vec<Filter> = filters
        .iter()
        .map(|filter| match filter {
            Filter::Exclude(pattern) => Filter::Exclude(longer(pattern)),
            Filter::Include(pattern) => Filter::Include(longer(pattern)),
        })
        .collect();
    filter::carry(&filters, &[]).unwrap_or_default()
}

/// The homes that the script copies from must be one.
pub(super) fn home(copies: &Copies) -> Result<String, ImportError> {
    let mut sources = copies.copying.iter().flat_map(|copying| {
        let line = copying.call.line;
        copying
            .sources
            .iter()
            .map(move |(inside, _)| (line, inside))
    });
    let Some((_, Inside { home, .. })) = sources.next() else {
        return Err(nothing(copies));
    };
    match sources.find(|(_, other)| other.home != *home) {
        None => Ok(home.clone()),
        Some((line, other)) => Err(ImportError::Line {
            at: At::script(line),
            reason: format!(
                "the script copies from two homes, `{home}` and `{}`",
                other.home
            ),
            by_hand: "make one script of each home, and import each",
        }),
    }
}

fn nothing(copies: &Copies) -> ImportError {
    let seen: Vec<String> = copies
        .notes
        .iter()
        .take(3)
        .map(|note| format!(" ({note})"))
        .collect();
    ImportError::Whole {
        reason: format!(
            "no rsync of the script copies a tree that a passive node reads: synapse-configs, executionplans, userstores, tenants{}",
            seen.concat()
        ),
        by_hand: "is it the right script, and is the workers list not empty? Else `apim-sync init` on each node",
    }
}

fn lost(line: usize, tree: Tree, pattern: &str) -> Note {
    let name = tree.name();
    Note::script(
        line,
        format!(
            "the pattern `{pattern}` cannot be cut to the tree {name}: add what it meant to `exclude` by hand"
        ),
    )
}

fn other(line: usize, tree: Tree) -> Note {
    let name = tree.name();
    Note::script(
        line,
        format!(
            "this rsync covers {name} again with other patterns; those of the first one are taken: compare"
        ),
    )
}

fn widened(line: usize, tree: Tree, from: &str) -> Note {
    let name = tree.name();
    Note::script(
        line,
        format!(
            "the script copied `{from}` of {name} only; the whole tree is taken, so that an API never arrives without its endpoints"
        ),
    )
}

/// Says where a tree went to some nodes only.
fn partly(tree: &ImportedTree, copies: &Copies) -> Option<Note> {
    let covers = |number: &usize| {
        let copying = copies.copying.get(*number);
        copying.is_some_and(|it| tree.lines.contains(&it.call.line))
    };
    let without = copies
        .targets
        .iter()
        .find(|target| !target.by.iter().any(covers))?;
    let name = tree.tree.name();
    Some(Note {
        at: Some(without.at),
        text: format!(
            "the script did not copy {name} to this node; now it gets it as the others do"
        ),
    })
}
