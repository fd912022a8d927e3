//! What the script copied and the engine does not, and what keeps it right.

use super::{LeftBehind, copies::Copies, filter};

/// Every place that is known; what is asked is whether it was copied.
const KNOWN: [LeftBehind; 13] = [
    of(
        "repository/deployment/server/eventpublishers",
        "differs per node: jmsEventPublisher2.xml leads to the other node; `apim-sync config apply` writes it",
    ),
    of(
        "repository/deployment/server/eventreceivers",
        "ships with the product; make a change on every node by hand",
    ),
    of(
        "repository/deployment/server/eventstreams",
        "ships with the product; make a change on every node by hand",
    ),
    of(
        "repository/deployment/server/jaggeryapps",
        "site.json differs per node: `apim-sync config apply` writes it; install themes on every node by hand",
    ),
    of(
        "repository/deployment/server/webapps",
        "ships with the product; the server unpacks it itself. Install your own .war on every node",
    ),
    of(
        "repository/deployment/server/carbonapps",
        "deploy each .car on every node, or give it a [[tree]] of its own",
    ),
    of(
        "repository/deployment/server/axis2services",
        "ships with the product; install your own .aar on every node",
    ),
    of(
        "repository/deployment/server/axis2modules",
        "ships with the product; patches and updates go to every node",
    ),
    of(
        "repository/components",
        "connectors, bundles and patches: install the same on every node, each with a restart",
    ),
    of(
        "repository/conf",
        "differs per node: ports, members, jndi2.properties; `apim-sync config apply` writes it",
    ),
    of(
        "repository/database",
        "local to each node; a copy of an open H2 database is broken. Never copy it",
    ),
    of(
        "repository/resources",
        "keystores must be the same on every node, installed once with both servers stopped",
    ),
    of("repository/logs", "each node's own"),
];

const fn of(path: &'static str, instead: &'static str) -> LeftBehind {
    LeftBehind { path, instead }
}

/// What the commands covered.
pub(super) fn found(copies: &Copies) -> Vec<LeftBehind> {
    let is_copied = |known: &&LeftBehind| is_copied(copies, known.path);
    KNOWN.iter().filter(is_copied).copied().collect()
}

/// Whether any command copied the directory at `path` of the home.
pub(super) fn is_copied(copies: &Copies, path: &str) -> bool {
    line_of_copy(copies, path, |_| true).is_some()
}

/// The line of the first command that `counts` and copied the directory.
pub(super) fn line_of_copy(
    copies: &Copies,
    path: &str,
    counts: impl Fn(&super::rsync::Options) -> bool,
) -> Option<usize> {
    let names: Vec<&str> = path.split('/').collect();
    let found = copies.copying.iter().find(|copying| {
        let options = &copying.rsync.options;
        let covers = copying.sources.iter().any(|(source, begins_in)| {
            let source = &source.names;
            let is_above =
                source.len() <= names.len() && source.iter().zip(&names).all(|(a, b)| a == b);
            let is_below =
                source.len() > names.len() && names.iter().zip(source).all(|(a, b)| a == b);
            let start = source.len().saturating_sub(usize::from(!begins_in));
            is_below
                || is_above
                    && (start + 1..=names.len())
                        .all(|end| filter::is_taken(&options.filters, &names[start..end]))
        });
        covers && counts(options)
    });
    found.map(|copying| copying.call.line)
}
