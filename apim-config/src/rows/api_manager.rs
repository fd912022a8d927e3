//! Rows 11, 18 and 19, `api-manager.xml`: where APIs are published to, who gets
//! throttle events, and the ports of the key validation.

use roxmltree::Node;

use super::{Context, Patched};
use crate::{
    finding::{Refusal, Row},
    patch::{
        Changes, Want,
        xml::{Xml, text_of},
    },
    setup::{Port, is_loopback},
};

const GATEWAY: &str = "both publishers deploy to the active's gateway: what the passive published to itself would be on the passive only, and overwritten";
const NOT_THE_GATEWAY: &str = "this ServerURL is not the gateway's: the node itself answers here, and would depend on the other one";
const EVENTS: &str = "each node counts requests by the events it gets: a node that gets none starts counting from zero after a failover";
const THRIFT: &str = "two nodes on one machine cannot both listen on port 10397: the second one's key validation fails";

const IN_ENVIRONMENT: &str = "the element in Environments/Environment; remove this one by hand";
const STRAY: &str = "the guide shows it here, but the server reads the one of the environment only";
/// How stock files name the node itself.
const LOCAL_URL: &str = "https://localhost:${mgt.transport.https.port}${carbon.context}services/";

/// Only where APIs are published to.
pub(super) fn patch_gateway(
    xml: &Xml<'_>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    gateway(xml, xml.root("APIManager")?, context, changes).map(drop)
}

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("APIManager")?;
    let published = gateway(xml, root, context, changes)?;
    for section in ["AuthManager", "APIKeyValidator", "APIStore"] {
        own_services(xml, (xml.one(root, section)?, published), context, changes)?;
    }
    stray_gateway_url(xml, root, changes)?;
    throttling(xml, root, context, changes)?;
    if context.view.setup.is_one_machine() {
        key_validation(xml, root, context, changes)?;
    }
    Ok(())
}

/// Whether the file names the active's gateway already.
fn gateway<'t>(
    xml: &Xml<'t>,
    root: Node<'_, 't>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Result<bool, Refusal> {
    let path = ["APIGateway", "Environments", "Environment", "ServerURL"];
    let url = xml.path(root, &path)?;
    let found = text_of(url);
    let authority = context.view.setup.gateway_authority();
    if authority_of(&found) == Some(&authority) {
        return Ok(true);
    }
    let rest = path_of(&found).unwrap_or("${carbon.context}services/");
    let wanted = format!("https://{authority}{rest}");
    let want = Want::new(Row::Gateway, &wanted, GATEWAY);
    xml.set_text(url, &want, changes)?;
    Ok(false)
}

/// The guide shows the element directly below `APIGateway`, where nobody reads it.
fn stray_gateway_url<'t>(xml: &Xml<'t>, root: Node<'_, 't>, changes: &mut Changes) -> Patched {
    let gateway = xml.one(root, "APIGateway")?;
    for url in xml.children(gateway, "ServerURL") {
        let want = Want::new(Row::Gateway, IN_ENVIRONMENT, STRAY);
        let finding = want.missed(xml.place(url), Some(&text_of(url)));
        changes.by_hand.push(finding);
    }
    Ok(())
}

/// The services beside the gateway are the node's own. Editing one of these four
/// `ServerURL`s instead of the gateway's is a mistake of the field.
fn own_services<'t>(
    xml: &Xml<'t>,
    (section, published): (Node<'_, 't>, bool),
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let Some(url) = xml.at_most_one(section, "ServerURL")? else {
        return Ok(());
    };
    let found = text_of(url);
    let host = authority_of(&found).and_then(host_of);
    let own =
        |host: &str| host == context.view.node.host || is_loopback(host) || host.starts_with("${");
    let is_gateway = authority_of(&found) == Some(&context.view.setup.gateway_authority());
    // The active's own address is right here too, unless it is what the gateway's
    // element should say and does not.
    if host.is_some_and(own) && (published || !is_gateway) {
        return Ok(());
    }
    let want = Want::new(Row::Gateway, LOCAL_URL, NOT_THE_GATEWAY);
    xml.set_text(url, &want, changes)
}

fn throttling<'t>(
    xml: &Xml<'t>,
    root: Node<'_, 't>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let parent = if context.version.has_traffic_manager() {
        "TrafficManager"
    } else {
        "DataPublisher"
    };
    let section = xml.path(root, &["ThrottlingConfigurations", parent])?;
    let group = |scheme: &str, port| {
        let nodes = context.view.setup.nodes_by_name();
        nodes
            .map(|node| format!("{{{scheme}://{}}}", node.authority(port)))
            .join(",")
    };
    for (name, wanted) in [
        ("ReceiverUrlGroup", group("tcp", Port::Receiver)),
        ("AuthUrlGroup", group("ssl", Port::ReceiverAuth)),
    ] {
        let want = Want::new(Row::Throttling, &wanted, EVENTS);
        xml.set_text(xml.one(section, name)?, &want, changes)?;
    }
    Ok(())
}

/// Both ports: the node's gateway asks the node's own key manager. They stand in
/// comments in stock files, and the default does not follow the offset where one
/// of them is set by hand.
fn key_validation<'t>(
    xml: &Xml<'t>,
    root: Node<'_, 't>,
    context: &Context<'_>,
    changes: &mut Changes,
) -> Patched {
    let section = xml.one(root, "APIKeyValidator")?;
    let port = context.view.node.port(Port::Thrift).to_string();
    let default = (Port::Thrift as u16).to_string();
    for (name, after) in [
        ("ThriftClientPort", "ThriftClientConnectionTimeOut"),
        ("ThriftServerPort", "EnableThriftServer"),
    ] {
        let want = Want::new(Row::KeyValidation, &port, THRIFT);
        match xml.at_most_one(section, name)? {
            Some(present) => xml.set_text(present, &want, changes)?,
            None if port == default => {}
            None => {
                let anchor = match xml.at_most_one(section, after)? {
                    Some(anchor) => anchor,
                    None => xml.one(section, "KeyValidatorClientType")?,
                };
                let block = format!("<{name}>{port}</{name}>");
                xml.insert_after(anchor, (&block, name), &want, changes);
            }
        }
    }
    Ok(())
}

/// `host:port` of `https://host:port/path`.
fn authority_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    let end = after_authority(rest);
    Some(&rest[..end])
}

/// `/path` of `https://host:port/path`; a property may begin it.
fn path_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    Some(&rest[after_authority(rest)..]).filter(|path| !path.is_empty())
}

/// Where host and port end: at a slash, or at a property (`${...}`) that is
/// neither host nor port.
fn after_authority(rest: &str) -> usize {
    let mut at = 0;
    while let Some(piece) = rest.get(at..).filter(|piece| !piece.is_empty()) {
        let begins_part = at == 0 || rest[..at].ends_with(':');
        let property = piece.starts_with("${");
        if piece.starts_with('/') || (property && !begins_part) {
            break;
        }
        at += match piece.find('}') {
            Some(end) if property => end + 1,
            _ if property => piece.len(),
            _ => part_len(piece),
        };
    }
    at
}

/// Bytes up to a slash or a property, or up to and with a colon.
fn part_len(piece: &str) -> usize {
    let ends = ["/", "${", ":"].map(|end| piece.find(end).unwrap_or(piece.len()));
    let end = ends.into_iter().min().unwrap_or(piece.len());
    end + usize::from(piece[end..].starts_with(':'))
}

/// The host of `host:port`.
fn host_of(authority: &str) -> Option<&str> {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None if authority.starts_with("${") => Some(authority),
        None => authority.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_with_its_properties() {
        let cases = [
            (
                LOCAL_URL,
                "localhost:${mgt.transport.https.port}",
                "${carbon.context}services/",
            ),
            (
                "https://10.0.0.1:9443/services/",
                "10.0.0.1:9443",
                "/services/",
            ),
            (
                "https://10.0.0.1:9443${carbon.context}services/",
                "10.0.0.1:9443",
                "${carbon.context}services/",
            ),
            (
                "https://${carbon.local.ip}:${mgt.transport.https.port}${carbon.context}/services/",
                "${carbon.local.ip}:${mgt.transport.https.port}",
                "${carbon.context}/services/",
            ),
            (
                "https://[fe80::1]:9443/services/",
                "[fe80::1]:9443",
                "/services/",
            ),
        ];
        for (url, authority, path) in cases {
            assert_eq!(authority_of(url), Some(authority), "{url}");
            assert_eq!(path_of(url), Some(path), "{url}");
        }
        assert_eq!(host_of("[fe80::1]:9443"), Some("fe80::1"));
        assert_eq!(authority_of("http://x"), None);
        for odd in [
            "https://a$b/c",
            "https://$",
            "https://${",
            "https://a:$b${c",
            "https://\u{e9}$",
        ] {
            assert!(authority_of(odd).is_some(), "{odd}");
        }
    }
}
