//! Rows 13 and 17, `jndi2.properties` and `jndi.properties`: the brokers that
//! throttle decisions go to, the other node's and this one's.

use super::{Context, Patched};
use crate::{
    amqp::{BrokerUrl, user_info, with_retries},
    finding::Row,
    patch::{Changes, Want, properties::Properties},
    setup::{Port, authority, is_loopback},
};

const TOPIC: &str = "connectionfactory.TopicConnectionFactory";
const QUEUE: &str = "connectionfactory.QueueConnectionFactory";
const DESTINATION: &str = "topic.throttleData";

/// The factories and what stands between user and broker in their addresses.
const FACTORIES: [(&str, &str); 2] = [(TOPIC, "clientid/carbon"), (QUEUE, "clientID/test")];

const OWN: &str = "the node publishes throttle decisions to its own broker, at 5672 plus its offset, as the administrator";
const OTHER: &str = "the node publishes throttle decisions to the other node's broker, at 5672 plus that node's offset, or the other counts alone";
const STRAY: &str =
    "with stray characters before it, from a copied web page, the server reads another key";
const DESTINATION_WHY: &str = "this is the topic that both nodes listen on";

/// A new `jndi2.properties`.
pub(super) fn made(context: &Context<'_>) -> String {
    let mut text = "\
# The broker of the other node, for the event publishers that use this file.
# Written by `apim-sync config`.
"
    .to_owned();
    for (key, client) in FACTORIES {
        text.push_str(&format!("{key} = {}\n", other_url(context, client)));
    }
    text.push_str(&format!("{DESTINATION} = throttleData\n"));
    text
}

pub(super) fn other(
    properties: &Properties<'_>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    for (key, client) in FACTORIES {
        if !cleaned(properties, key, changes) {
            let wanted = other_url(context, client);
            set(properties, (key, OTHER), Row::OtherBroker, &wanted, changes)?;
        }
    }
    if cleaned(properties, DESTINATION, changes) {
        return Ok(());
    }
    let want = Want::new(Row::OtherBroker, "throttleData", DESTINATION_WHY);
    let found = properties.value(DESTINATION)?;
    properties.set(DESTINATION, &want, (found, "throttleData"), changes)
}

/// Whether a key had stray characters before it. Its value is looked at when it
/// has its name.
fn cleaned(properties: &Properties<'_>, key: &str, changes: &mut Changes) -> bool {
    let want = Want::new(Row::OtherBroker, key, STRAY);
    properties.clean(key, &want, changes)
}

pub(super) fn own(
    properties: &Properties<'_>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let node = context.view.node;
    let port = node.port(Port::Broker);
    let user = administrator(context);
    for (key, client) in FACTORIES {
        let found = properties.value(key)?;
        let is_own = |broker: &str| {
            broker.rsplit_once(':').is_some_and(|(host, at)| {
                at == port.to_string() && (is_loopback(host) || host == node.host)
            })
        };
        let broker = authority("localhost", port);
        let wanted = match found.and_then(BrokerUrl::parse) {
            Some(url) if url.user_info() == user && url.brokers().all(is_own) => continue,
            Some(url) if url.brokers().count() == 1 => url.with(&user, &broker),
            _ => format!("amqp://{user}@{client}?brokerlist='tcp://{broker}'"),
        };
        set(properties, (key, OWN), Row::OwnBroker, &wanted, changes)?;
    }
    Ok(())
}

fn administrator(context: &Context<'_>) -> String {
    user_info(&context.view.setup.admin.user, &context.secrets.admin)
}

fn other_url(context: &Context<'_>, client: &str) -> String {
    let other = context.view.other;
    let user = administrator(context);
    with_retries(&user, client, &other.host, other.port(Port::Broker))
}

fn set(
    properties: &Properties<'_>,
    (key, why): (&str, &str),
    row: Row,
    wanted: &str,
    changes: &mut Changes,
) -> Patched {
    let shown = |text: &str| BrokerUrl::parse(text).map(|url| url.shown());
    let found = properties.value(key)?;
    // What is no address is not shown: a password may be somewhere in it.
    let found = found.map(|found| shown(found).unwrap_or_else(|| "not an AMQP address".into()));
    let wanted_shown = shown(wanted).unwrap_or_default();
    let want = Want::new(row, wanted, why).secret();
    properties.set(key, &want, (found.as_deref(), &wanted_shown), changes)
}
