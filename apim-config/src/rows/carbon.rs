//! Row 15, `carbon.xml`: the port offset, and the names that clients see.

use roxmltree::{Node, NodeType};

use super::{Context, Patched};
use crate::{
    finding::Row,
    patch::{
        Changes, Want,
        xml::{Xml, escape},
    },
};

const OFFSET: &str = "two nodes on one machine need different ports";
const HOST_NAME: &str =
    "links and redirects of the server would name the node, which clients do not reach";

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("Server")?;
    let host = &context.view.setup.load_balancer.host;
    for name in ["HostName", "MgtHostName"] {
        host_name(xml, root, (name, host), changes)?;
    }
    let offset = context.view.node.offset.to_string();
    let want = Want::new(Row::Carbon, &offset, OFFSET);
    xml.set_text(xml.path(root, &["Ports", "Offset"])?, &want, changes)
}

/// Stock files have the element in a comment: the live one comes after it.
fn host_name<'t>(
    xml: &Xml<'t>,
    root: Node<'_, 't>,
    (name, host): (&str, &str),
    changes: &mut Changes,
) -> Patched {
    let want = Want::new(Row::Carbon, host, HOST_NAME);
    if let Some(present) = xml.at_most_one(root, name)? {
        return xml.set_text(present, &want, changes);
    }
    let opening = format!("{name}>");
    let twin = root
        .children()
        .filter(|node| node.node_type() == NodeType::Comment)
        .find(|node| {
            node.text()
                .is_some_and(|text| text.trim_start().starts_with(&opening))
        });
    let anchor = match twin {
        Some(twin) => twin,
        None => xml.one(root, "Version")?,
    };
    let block = format!("<{name}>{}</{name}>", escape(host));
    xml.insert_after(anchor, (&block, name), &want, changes);
    Ok(())
}
