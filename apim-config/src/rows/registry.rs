//! Row 6, `registry.xml`: governance and configuration mounted from the shared
//! database, beside the local registry that ships.

use roxmltree::Node;

use super::{Context, Patched};
use crate::{
    finding::{Refusal, Row},
    patch::{
        Changes, Want,
        xml::{Xml, escape, text_of},
    },
    setup::Port,
};

/// The name of the shared registry, as `dbConfig` and as instance.
const NAME: &str = "wso2gov";
const SOURCE: &str = "jdbc/WSO2GovDB";
const MOUNTED: [&str; 2] = ["/_system/governance", "/_system/config"];

const SHARED: &str =
    "APIs and their documents in the registry would be on this node only and gone after a failover";
const SOURCE_WHY: &str = "the shared registry needs a data source that master-datasources.xml defines under this JNDI name";
const INSTANCE: &str = "a mount whose instanceId no remoteInstance has stays unmounted, after overwrite=\"true\" has deleted the local copy";
const URL: &str = "the remote instance is the node itself, at its own HTTPS port with the offset";
const CACHE: &str =
    "nodes with different cacheIds do not invalidate each other's cache and show old APIs";

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("wso2registry")?;
    let local = xml
        .with_attribute(root, "dbConfig", ("name", "wso2registry"))?
        .ok_or_else(|| xml.absent(root, "<dbConfig name=\"wso2registry\">"))?;
    let last = database(xml, root, local, changes)?;
    let last = instance(xml, root, last, context, changes)?;
    for path in MOUNTED {
        mount(xml, root, (last, path), changes)?;
    }
    unknown_instances(xml, root, changes)
}

/// The `dbConfig`, and what the next element is put after.
fn database<'a, 't>(
    xml: &Xml<'t>,
    root: Node<'a, 't>,
    local: Node<'a, 't>,
    changes: &mut Changes,
) -> Result<Node<'a, 't>, Refusal> {
    let want = Want::new(Row::Registry, SOURCE, SOURCE_WHY);
    if let Some(present) = xml.with_attribute(root, "dbConfig", ("name", NAME))? {
        xml.set_child(present, "dataSource", &want, changes)?;
        return Ok(present);
    }
    let block =
        format!("\n<dbConfig name=\"{NAME}\">\n    <dataSource>{SOURCE}</dataSource>\n</dbConfig>");
    let place = format!("dbConfig[@name='{NAME}']");
    xml.insert_after(local, (&block, &place), &want, changes);
    Ok(local)
}

fn instance<'a, 't>(
    xml: &Xml<'t>,
    root: Node<'a, 't>,
    after: Node<'a, 't>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Result<Node<'a, 't>, Refusal> {
    let database = &context.view.setup.database;
    let url = format!(
        "https://localhost:{}/registry",
        context.view.node.port(Port::ServletHttps)
    );
    let cache_id = format!(
        "{}@{}",
        database.user,
        database.jdbc_address(&database.registry)
    );
    let ours = xml
        .children(root, "remoteInstance")
        .filter(|instance| xml.children(*instance, "id").any(|id| text_of(id) == NAME));
    let want = |value, why| Want::new(Row::Registry, value, why);
    if let Some(present) = xml.only(ours, &format!("the remoteInstance {NAME}"))? {
        xml.set_attribute(present, ("url", "url"), &want(&url, URL), changes);
        xml.set_child(present, "dbConfig", &want(NAME, SHARED), changes)?;
        xml.set_child(present, "readOnly", &want("false", SHARED), changes)?;
        xml.set_child(present, "registryRoot", &want("/", SHARED), changes)?;
        xml.set_child(present, "enableCache", &want("true", CACHE), changes)?;
        xml.set_child(present, "cacheId", &want(&cache_id, CACHE), changes)?;
        return Ok(present);
    }
    let block = format!(
        "
<remoteInstance url=\"{url}\">
    <id>{NAME}</id>
    <cacheId>{}</cacheId>
    <dbConfig>{NAME}</dbConfig>
    <readOnly>false</readOnly>
    <enableCache>true</enableCache>
    <registryRoot>/</registryRoot>
</remoteInstance>",
        escape(&cache_id)
    );
    let place = format!("remoteInstance[{NAME}]");
    xml.insert_after(after, (&block, &place), &want(&url, SHARED), changes);
    Ok(after)
}

fn mount<'t>(
    xml: &Xml<'t>,
    root: Node<'_, 't>,
    (after, path): (Node<'_, 't>, &str),
    changes: &mut Changes,
) -> Patched {
    let want = |value, why| Want::new(Row::Registry, value, why);
    if let Some(present) = xml.with_attribute(root, "mount", ("path", path))? {
        xml.set_attribute(
            present,
            ("overwrite", "path"),
            &want("true", SHARED),
            changes,
        );
        xml.set_child(present, "instanceId", &want(NAME, INSTANCE), changes)?;
        return xml.set_child(present, "targetPath", &want(path, SHARED), changes);
    }
    let block = format!(
        "
<mount path=\"{path}\" overwrite=\"true\">
    <instanceId>{NAME}</instanceId>
    <targetPath>{path}</targetPath>
</mount>"
    );
    let place = format!("mount[@path='{path}']");
    xml.insert_after(after, (&block, &place), &want(NAME, SHARED), changes);
    Ok(())
}

/// Mounts of somebody else that lead nowhere.
fn unknown_instances(xml: &Xml<'_>, root: Node<'_, '_>, changes: &mut Changes) -> Patched {
    let known: Vec<String> = xml
        .children(root, "remoteInstance")
        .flat_map(|instance| {
            xml.children(instance, "id")
                .map(text_of)
                .collect::<Vec<_>>()
        })
        .collect();
    for mount in xml.children(root, "mount") {
        if mount
            .attribute("path")
            .is_some_and(|path| MOUNTED.contains(&path))
        {
            continue;
        }
        let id = xml.one(mount, "instanceId")?;
        if text_of(id) == NAME || known.contains(&text_of(id)) {
            continue;
        }
        let want = Want::new(Row::Registry, "the id of a remoteInstance", INSTANCE);
        let finding = want.missed(xml.place(id), Some(&text_of(id)));
        changes.by_hand.push(finding);
    }
    Ok(())
}
