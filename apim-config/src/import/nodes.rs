//! The nodes: the machine that the script runs on, and each that it copies to.

use super::{
    At, ImportError, Node, Note, Place, Role, below,
    copies::Copies,
    place::{below_user, directory_of},
    trees,
    workers::WORKERS_MAX,
};
use crate::setup::is_loopback;

/// The first port of the engine on a machine, and the step to the next one.
const SYNC_PORT: u16 = 7420;
const SYNC_PORT_STEP: u16 = 10;
const STATE_DIR: &str = "/var/lib/apim-sync";

/// Every node, the active one first.
pub(super) fn nodes(
    copies: &Copies,
    home_directory: Option<&str>,
) -> Result<Vec<Node>, ImportError> {
    let home = trees::home(copies)?;
    if copies.targets.len() > WORKERS_MAX {
        return Err(ImportError::Whole {
            reason: format!("the script copies to more than {WORKERS_MAX} nodes"),
            by_hand: "`apim-sync init` on each node",
        });
    }
    let line = copies.copying.first().map_or(1, |it| it.call.line);
    let mut nodes = vec![Node {
        name: "apim-1".into(),
        role: Role::Active,
        host: None,
        user: None,
        place: local(&home, home_directory),
        home,
        at: At::script(line),
        port: SYNC_PORT,
        state_dir: STATE_DIR.into(),
    }];
    for copied in &copies.targets {
        let target = &copied.target;
        let is_here = |host: &Option<String>| host.as_deref().is_none_or(is_loopback);
        let is_twin = |node: &&Node| {
            node.host == target.host || (is_here(&node.host) && is_here(&target.host))
        };
        let twins = nodes.iter().filter(is_twin).count();
        let name = format!("apim-{}", nodes.len() + 1);
        let step = u16::try_from(twins)
            .unwrap_or(u16::MAX)
            .saturating_mul(SYNC_PORT_STEP);
        nodes.push(Node {
            role: Role::Passive,
            place: match target.host {
                Some(_) => remote(&copied.home, target.user.as_deref()),
                None => local(&copied.home, home_directory),
            },
            host: target.host.clone(),
            user: target.user.clone(),
            home: copied.home.clone(),
            at: copied.at,
            port: SYNC_PORT.saturating_add(step),
            state_dir: match twins {
                0 => STATE_DIR.into(),
                _ => format!("{STATE_DIR}-{name}"),
            },
            name,
        });
    }
    Ok(nodes)
}

/// A home on this machine.
fn local(home: &str, home_directory: Option<&str>) -> Place {
    if home.starts_with('/') {
        return Place::Given(home.into());
    }
    let is_tilde = home.starts_with(['~', '$']);
    match (home_directory, below_user(home)) {
        (Some(directory), Some(path)) if is_tilde && directory.starts_with('/') => {
            Place::Assumed(below(directory, path))
        }
        _ => Place::Unknown,
    }
}

/// A home on a machine that the script logs in to.
fn remote(home: &str, user: Option<&str>) -> Place {
    if home.starts_with('/') {
        return Place::Given(home.into());
    }
    match (user, below_user(home)) {
        (Some(user), Some(path)) => Place::Assumed(below(&directory_of(user), path)),
        _ => Place::Unknown,
    }
}

/// What is to be said of where a node's home is.
pub(super) fn of_place(node: &Node) -> Option<Note> {
    let text = match &node.place {
        Place::Given(_) => return None,
        Place::Assumed(path) => format!(
            "{}: `{}` is taken for `{path}`; check that on the node",
            node.name, node.home
        ),
        Place::Unknown => format!(
            "{}: `{}` is no absolute path; write one into its configuration, which is refused until then",
            node.name, node.home
        ),
    };
    Some(Note {
        at: Some(node.at),
        text,
    })
}
