//! Row 10, `axis2.xml`: the two nodes as one Hazelcast cluster of well-known
//! members.

use roxmltree::Node;

use super::{Context, Patched};
use crate::{
    finding::Row,
    patch::{
        Changes, Want,
        xml::{Xml, escape, text_of},
    },
};

const ENABLED: &str =
    "without the cluster neither node hears of the other's changes to caches and throttling";
const SCHEME: &str = "multicast finds members in one network segment only, and strangers too";
const DOMAIN: &str = "only members of one domain form a cluster";
const HOST: &str = "this is the address that the other member connects to";
const PORT: &str = "the offset does not move this port: two nodes on one machine need two";
const MEMBER: &str =
    "a well-known member is where a node looks for the cluster: the other node, not itself";

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("axisconfig")?;
    let cluster = xml.one(root, "clustering")?;
    let node = context.view.node;
    let want = |value, why| Want::new(Row::Cluster, value, why);
    xml.set_attribute(
        cluster,
        ("enable", "class"),
        &want("true", ENABLED),
        changes,
    );
    let port = node.cluster_port.to_string();
    let parameters = [
        ("membershipScheme", "wka", SCHEME),
        ("domain", context.view.setup.cluster_domain.as_str(), DOMAIN),
        ("localMemberHost", node.cluster_host.as_str(), HOST),
        ("localMemberPort", port.as_str(), PORT),
    ];
    for (name, value, why) in parameters {
        let parameter = xml
            .with_attribute(cluster, "parameter", ("name", name))?
            .ok_or_else(|| xml.absent(cluster, &format!("<parameter name=\"{name}\">")))?;
        xml.set_text(parameter, &want(value, why), changes)?;
    }
    members(xml, xml.one(cluster, "members")?, context, changes)
}

/// The other node, and nobody else: a stale address may lead into another
/// cluster. The node itself may stand there too.
fn members(
    xml: &Xml<'_>,
    list: Node<'_, '_>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let address =
        |node: &crate::setup::Node| (node.cluster_host.clone(), node.cluster_port.to_string());
    let other = address(context.view.other);
    let own = address(context.view.node);
    let mut found = Vec::new();
    for member in xml.children(list, "member") {
        let host = text_of(xml.one(member, "hostName")?);
        let port = text_of(xml.one(member, "port")?);
        found.push((member, (host, port)));
    }
    let all_known = found.iter().all(|(_, at)| *at == other || *at == own);
    if all_known && found.iter().any(|(_, at)| *at == other) {
        return Ok(());
    }
    let want = |value| Want::new(Row::Cluster, value, MEMBER);
    if let Some(((first, _), rest)) = found.split_first() {
        xml.set_text(xml.one(*first, "hostName")?, &want(&other.0), changes)?;
        xml.set_text(xml.one(*first, "port")?, &want(&other.1), changes)?;
        let none = want("no other member");
        rest.iter()
            .for_each(|(member, _)| xml.remove(*member, &none, changes));
        return Ok(());
    }
    let wanted = format!("{}:{}", other.0, other.1);
    let block = format!(
        "<member>\n    <hostName>{}</hostName>\n    <port>{}</port>\n</member>",
        escape(&other.0),
        other.1
    );
    xml.replace_inner(list, &block, (&want(&wanted), ""), changes);
    Ok(())
}
