//! Row 1, `master-datasources.xml`: three schemas on the shared database. The
//! local ones (`WSO2_CARBON_DB`, `WSO2_MB_STORE_DB`) stay local.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::{Context, Patched};
use crate::{
    finding::{Refusal, Row},
    patch::{
        Changes, Want,
        xml::{Xml, escape, text_of},
    },
};

const ON_SHARED: &str = "each node would use a database of its own, and the passive would know no API, user or subscription";
const SAME_USER: &str = "the node cannot log in to the shared database";
const DRIVER: &str = "the driver does not fit the database server";
const COMMIT: &str = "the release was built and tested with this value";
const JNDI: &str = "the server finds a data source by its JNDI name: without it, whatever refers to it fails to start";

/// A data source on the shared database.
struct Shared<'a> {
    name: &'static str,
    jndi: &'static str,
    description: &'static str,
    schema: &'a str,
}

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("datasources-configuration")?;
    let list = xml.one(root, "datasources")?;
    let database = &context.view.setup.database;
    let api_manager = Shared {
        name: "WSO2AM_DB",
        jndi: "jdbc/WSO2AM_DB",
        description: "The data source of the API Manager",
        schema: &database.api_manager,
    };
    let added = [
        Shared {
            name: "WSO2GOV_DB",
            jndi: "jdbc/WSO2GovDB",
            description: "The data source of the registry that both nodes share",
            schema: &database.registry,
        },
        Shared {
            name: "WSO2UM_DB",
            jndi: "jdbc/WSO2UM_DB",
            description: "The data source of the users that both nodes share",
            schema: &database.user_manager,
        },
    ];
    one_of_each_jndi_name(xml, list)?;
    let first = source(xml, list, api_manager.name)?
        .ok_or_else(|| xml.absent(list, "<datasource> named WSO2AM_DB"))?;
    present(xml, first, &api_manager, context, changes)?;
    for shared in &added {
        match source(xml, list, shared.name)? {
            Some(node) => present(xml, node, shared, context, changes)?,
            None => absent(xml, first, shared, context, changes),
        }
    }
    named(xml, list, changes)
}

/// Two sources under one name: the server takes the one it reads last.
fn one_of_each_jndi_name(xml: &Xml<'_>, list: Node<'_, '_>) -> Patched {
    let mut known = BTreeMap::new();
    for source in xml.children(list, "datasource") {
        let Some(name) = jndi_name(xml, source)? else {
            continue;
        };
        if let Some(earlier) = known.get(&name) {
            let line = xml.line(*earlier);
            return Err(xml.refuse(
                source,
                format!("two data sources have the JNDI name `{name}`, at line {line} and here; remove one"),
            ));
        }
        known.insert(name, source);
    }
    Ok(())
}

fn source<'a, 't>(
    xml: &Xml<'t>,
    list: Node<'a, 't>,
    name: &str,
) -> Result<Option<Node<'a, 't>>, Refusal> {
    let named = xml.children(list, "datasource").filter(|source| {
        xml.children(*source, "name")
            .any(|child| text_of(child) == name)
    });
    xml.only(named, &format!("the data source {name}"))
}

fn jndi_name(xml: &Xml<'_>, source: Node<'_, '_>) -> Result<Option<String>, Refusal> {
    let source = xml.at_most_one(source, "jndiConfig")?;
    let name = source
        .map(|config| xml.at_most_one(config, "name"))
        .transpose()?
        .flatten();
    Ok(name.map(text_of).filter(|name| !name.is_empty()))
}

fn present<'t>(
    xml: &Xml<'t>,
    node: Node<'_, 't>,
    shared: &Shared<'_>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let database = &context.view.setup.database;
    let want = |value, why| Want::new(Row::DataSources, value, why);
    jndi_present(xml, node, shared, changes)?;
    let settings = xml.path(node, &["definition", "configuration"])?;
    let url = database.jdbc_url(shared.schema);
    xml.set_child(settings, "url", &want(&url, ON_SHARED), changes)?;
    let user = want(&database.user, SAME_USER);
    xml.set_child(settings, "username", &user, changes)?;
    let password = want(context.secrets.database.expose(), SAME_USER).secret();
    xml.set_child(settings, "password", &password, changes)?;
    let driver = want(database.driver(), DRIVER);
    xml.set_child(settings, "driverClassName", &driver, changes)?;
    let commit = context.version.default_auto_commit().to_string();
    let commit = want(&commit, COMMIT);
    xml.set_child(settings, "defaultAutoCommit", &commit, changes)
}

fn jndi_present<'t>(
    xml: &Xml<'t>,
    node: Node<'_, 't>,
    shared: &Shared<'_>,
    changes: &mut Changes,
) -> Patched {
    let want = Want::new(Row::DataSources, shared.jndi, JNDI);
    if let Some(config) = xml.at_most_one(node, "jndiConfig")? {
        let name = xml.one(config, "name")?;
        return xml.set_text(name, &want, changes);
    }
    let anchor = xml
        .at_most_one(node, "description")?
        .map_or_else(|| xml.one(node, "name"), Ok)?;
    let block = format!(
        "<jndiConfig>\n    <name>{}</name>\n</jndiConfig>",
        shared.jndi
    );
    xml.insert_after(anchor, (&block, "jndiConfig/name"), &want, changes);
    Ok(())
}

fn absent(
    xml: &Xml<'_>,
    after: Node<'_, '_>,
    shared: &Shared<'_>,
    context: &Context<'_>,
    changes: &mut Changes,
) {
    let database = &context.view.setup.database;
    let url = database.jdbc_url(shared.schema);
    let block = format!(
        "
<datasource>
    <name>{name}</name>
    <description>{description}</description>
    <jndiConfig>
        <name>{jndi}</name>
    </jndiConfig>
    <definition type=\"RDBMS\">
        <configuration>
            <url>{url}</url>
            <username>{user}</username>
            <password>{password}</password>
            <driverClassName>{driver}</driverClassName>
            <maxActive>50</maxActive>
            <maxWait>60000</maxWait>
            <minIdle>5</minIdle>
            <testOnBorrow>true</testOnBorrow>
            <validationQuery>SELECT 1</validationQuery>
            <validationInterval>30000</validationInterval>
            <defaultAutoCommit>{commit}</defaultAutoCommit>
        </configuration>
    </definition>
</datasource>",
        name = shared.name,
        description = shared.description,
        jndi = shared.jndi,
        url = escape(&url),
        user = escape(&database.user),
        password = escape(context.secrets.database.expose()),
        driver = database.driver(),
        commit = context.version.default_auto_commit(),
    );
    let place = format!("datasource[{}]", shared.name);
    let want = Want::new(Row::DataSources, &url, ON_SHARED);
    xml.insert_after(after, (&block, &place), &want, changes);
}

/// Every source that is not ours needs a JNDI name too: nothing can be edited
/// there, as its name is not known.
fn named(xml: &Xml<'_>, list: Node<'_, '_>, changes: &mut Changes) -> Patched {
    const OURS: [&str; 3] = ["WSO2AM_DB", "WSO2GOV_DB", "WSO2UM_DB"];
    for source in xml.children(list, "datasource") {
        let name = xml.one(source, "name").map(text_of)?;
        if OURS.contains(&name.as_str()) || jndi_name(xml, source)?.is_some() {
            continue;
        }
        let mut place = xml.place(source);
        place.place = format!("{}[{name}]/jndiConfig/name", place.place);
        let want = Want::new(Row::DataSources, "a JNDI name", JNDI);
        changes.by_hand.push(want.missed(place, None));
    }
    Ok(())
}
