//! Row 21, `deployment.toml` of API Manager 3.0 to 3.2: the whole setup in one
//! file, from which the server writes the others.

use super::{Context, Patched};
use crate::{
    finding::{Refusal, Row},
    patch::{
        Changes, Want,
        toml::{Setting, Toml, quoted},
    },
    setup::{Port, authority},
};

const HOST: &str =
    "links and redirects of the server would name the node, which clients do not reach";
const OFFSET: &str = "two nodes on one machine need different ports";
const PROXY: &str = "without it the server redirects clients to its own port, which the load balancer does not serve";
const ADMINISTRATOR: &str = "both nodes log in to each other as this administrator";
const SHARED: &str = "each node would use a database of its own, and the passive would know no API, user or subscription";
const EVENTS: &str = "each node counts requests by the events it gets: a node that gets none starts counting from zero after a failover";
const GATEWAY: &str = "both publishers deploy to the active's gateway: what the passive published to itself would be on the passive only, and overwritten";
const CLUSTER: &str = "without the cluster neither node hears of the other's changes to caches";

/// Only where APIs are published to.
pub(super) fn patch_gateway(
    toml: &Toml<'_>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    gateway(toml, context, changes)
}

pub(super) fn patch(toml: &Toml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    server(toml, context, changes)?;
    administrator(toml, context, changes)?;
    let database = &context.view.setup.database;
    for (table, schema) in [
        ("apim_db", &database.api_manager),
        ("shared_db", &database.shared),
    ] {
        shared_database(toml, (table, schema), context, changes)?;
    }
    gateway(toml, context, changes)?;
    throttling(toml, context, changes)?;
    cluster(toml, context, changes)
}

fn setting<'a>(key: &'a str, value: &'a str, why: &'a str) -> Setting<'a> {
    Setting {
        key,
        want: Want::new(Row::DeploymentToml, value, why),
    }
}

fn secret<'a>(key: &'a str, value: &'a str, why: &'a str) -> Setting<'a> {
    let mut setting = setting(key, value, why);
    setting.want.secret = true;
    setting
}

fn server(toml: &Toml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let front = &context.view.setup.load_balancer;
    let host = quoted(&front.host);
    let offset = context.view.node.offset.to_string();
    let mut settings = vec![setting("hostname", &host, HOST)];
    let stands = toml.plain(&["server", "offset"]).is_some();
    if context.view.node.offset != 0 || stands {
        settings.push(setting("offset", &offset, OFFSET));
    }
    toml.set(&["server"], &settings, changes)?;
    for (scheme, port) in [("https", front.https_port), ("http", front.http_port)] {
        let port = port.to_string();
        let proxy = [setting("proxyPort", &port, PROXY)];
        toml.set(&["transport", scheme, "properties"], &proxy, changes)?;
    }
    Ok(())
}

fn administrator(toml: &Toml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let user = quoted(&context.view.setup.admin.user);
    let password = quoted(context.secrets.admin.expose());
    let settings = [
        setting("username", &user, ADMINISTRATOR),
        secret("password", &password, ADMINISTRATOR),
    ];
    toml.set(&["super_admin"], &settings, changes)
}

fn shared_database(
    toml: &Toml<'_>,
    (table, schema): (&str, &str),
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let database = &context.view.setup.database;
    let url = quoted(&database.jdbc_url(schema));
    let user = quoted(&database.user);
    let password = quoted(context.secrets.database.expose());
    let driver = quoted(database.driver());
    let settings = [
        // The type chooses queries, which MariaDB shares with MySQL.
        setting("type", "\"mysql\"", SHARED),
        setting("url", &url, SHARED),
        setting("username", &user, SHARED),
        secret("password", &password, SHARED),
        setting("driver", &driver, SHARED),
    ];
    toml.set(&["database", table], &settings, changes)
}

fn gateway(toml: &Toml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let path = ["apim", "gateway", "environment"];
    let url = quoted(&format!(
        "https://{}/services/",
        context.view.setup.gateway_authority()
    ));
    let settings = [Setting {
        key: "service_url",
        want: Want::new(Row::Gateway, &url, GATEWAY),
    }];
    match toml.tables(&path)?.as_slice() {
        [environment] => toml.set_in(environment, &path.join("."), &settings, changes),
        [] => Err(toml.refuse(None, "there is no [[apim.gateway.environment]]".into())),
        [_, second, ..] => Err(toml.refuse(
            second.span(),
            "there are several [[apim.gateway.environment]]: which of them is this pair's gateway is not clear".into(),
        )),
    }
}

fn throttling(toml: &Toml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let other = context.view.other;
    let broker = authority(&other.host, other.port(Port::Broker));
    let duplicate = format!("[{}]", quoted(&format!("tcp://{broker}")));
    let settings = [setting("event_duplicate_url", &duplicate, EVENTS)];
    toml.set(&["apim", "throttling"], &settings, changes)?;
    let nodes = context.view.setup.nodes_by_name();
    let groups = toml.tables(&["apim", "throttling", "url_group"])?;
    if !groups.is_empty() && groups.len() != nodes.len() {
        return Err(wrong_groups(toml, groups.len()));
    }
    for (index, node) in nodes.into_iter().enumerate() {
        let list = |scheme: &str, port| {
            let url = format!("{scheme}://{}", node.authority(port));
            format!("[{}]", quoted(&url))
        };
        let (urls, auth) = (list("tcp", Port::Receiver), list("ssl", Port::ReceiverAuth));
        let settings = [
            setting("traffic_manager_urls", &urls, EVENTS),
            setting("traffic_manager_auth_urls", &auth, EVENTS),
            setting("type", "\"loadbalance\"", EVENTS),
        ];
        match groups.get(index) {
            Some(group) => toml.set_in(group, "apim.throttling.url_group", &settings, changes)?,
            None => toml.append("[[apim.throttling.url_group]]", &settings, changes),
        }
    }
    Ok(())
}

fn wrong_groups(toml: &Toml<'_>, count: usize) -> Refusal {
    let reason = format!(
        "there are {count} [[apim.throttling.url_group]], and a pair has two, one a node: remove them, they are written anew"
    );
    toml.refuse(None, reason)
}

fn cluster(toml: &Toml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let (node, other) = (context.view.node, context.view.other);
    let host = quoted(&node.cluster_host);
    let port = node.cluster_port.to_string();
    let domain = quoted(&context.view.setup.cluster_domain);
    let member = authority(&other.cluster_host, other.cluster_port);
    let members = format!("[{}]", quoted(&member));
    let settings = [
        setting("membership_scheme", "\"wka\"", CLUSTER),
        setting("domain", &domain, CLUSTER),
        setting("local_member_host", &host, CLUSTER),
        setting("local_member_port", &port, CLUSTER),
        setting("members", &members, CLUSTER),
    ];
    toml.set(&["clustering"], &settings, changes)
}
