//! Two homes side by side: what has to be equal is, and what has to differ
//! differs, whatever the description says.

use roxmltree::Node;

use crate::{
    amqp::BrokerUrl,
    home::{DEPLOYMENT_TOML, Home},
    mask,
    patch::{properties::Properties, toml::Toml, xml::text_of},
    secret::MASK,
    setup::{Setup, is_loopback},
    text::Text,
    version::{Layout, Version},
};

/// A fact of a home.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fact {
    file: &'static str,
    name: &'static str,
    value: Option<String>,
}

/// How two values have to be to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The same on both nodes.
    Equal,
    /// Of each node its own.
    Different,
}

/// Two values that are not to each other as they have to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The file, relative to `APIM_HOME`.
    pub file: &'static str,
    /// What is compared.
    pub name: &'static str,
    /// How it has to be.
    pub relation: Relation,
    /// What the active's home says; secrets are masked.
    pub active: String,
    /// What the passive's home says; secrets are masked.
    pub passive: String,
    /// What goes wrong otherwise.
    pub why: &'static str,
}

const DATA_SOURCES: &str = "repository/conf/datasources/master-datasources.xml";
const USERS: &str = "repository/conf/user-mgt.xml";
const REGISTRY: &str = "repository/conf/registry.xml";
const AXIS2: &str = "repository/conf/axis2/axis2.xml";
const API_MANAGER: &str = "repository/conf/api-manager.xml";
const CARBON: &str = "repository/conf/carbon.xml";
const JNDI2: &str = "repository/conf/jndi2.properties";
const KEYSTORE: &str = "repository/resources/security/wso2carbon.jks";
const TRUSTSTORE: &str = "repository/resources/security/client-truststore.jks";

const SAME_DATABASE: &str = "the nodes have to share one database";
const SAME_CACHE: &str = "nodes with different cacheIds do not invalidate each other's cache";
const SAME_CLUSTER: &str = "only members of one domain form a cluster";
const SAME_GATEWAY: &str = "both publishers have to deploy to the active's gateway";
const SAME_ADMIN: &str = "the nodes log in to each other as the administrator";
const SAME_NAME: &str = "clients know one name, whichever node answers";
const SAME_KEYS: &str = "what one node has signed or encrypted, the other has to read";
const SAME_EVENTS: &str = "both nodes have to send throttle events to both";
const OWN_MEMBER: &str = "two members of a cluster cannot have one address";
const OWN_PORTS: &str = "two nodes on one machine cannot share ports";
const OTHER_NODE: &str = "each node has to name the other one, not itself";

type Rule = (&'static str, Relation, &'static str);

/// The comparisons, by the name of the fact.
const RULES: [Rule; 16] = [
    ("URL of WSO2AM_DB", Relation::Equal, SAME_DATABASE),
    ("URL of WSO2GOV_DB", Relation::Equal, SAME_DATABASE),
    ("URL of WSO2UM_DB", Relation::Equal, SAME_DATABASE),
    ("administrator", Relation::Equal, SAME_ADMIN),
    ("administrator's password", Relation::Equal, SAME_ADMIN),
    ("cacheId of wso2gov", Relation::Equal, SAME_CACHE),
    ("cluster domain", Relation::Equal, SAME_CLUSTER),
    ("member of the cluster", Relation::Different, OWN_MEMBER),
    ("other member", Relation::Different, OTHER_NODE),
    (GATEWAY, Relation::Equal, SAME_GATEWAY),
    ("ReceiverUrlGroup", Relation::Equal, SAME_EVENTS),
    ("HostName", Relation::Equal, SAME_NAME),
    ("other node's broker", Relation::Different, OTHER_NODE),
    ("keystore", Relation::Equal, SAME_KEYS),
    ("truststore", Relation::Equal, SAME_KEYS),
    (OFFSET, Relation::Different, OWN_PORTS),
];
const OFFSET: &str = "port offset";
const GATEWAY: &str = "gateway's ServerURL";

/// Whether a URL is the node that it stands on: two nodes with the same text then
/// name two gateways.
fn names_itself(setup: &Setup, url: &str) -> bool {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let host = rest.split([':', '/']).next().unwrap_or(rest);
    let is_gateway = rest.starts_with(&setup.gateway_authority());
    !is_gateway && (rest.starts_with("${") || is_loopback(host))
}

/// Every pair of values that does not fit. What is missing on either side is
/// the other checks' business.
#[must_use]
pub fn mismatches(
    setup: &Setup,
    version: Version,
    (active, passive): (&Home, &Home),
) -> Vec<Mismatch> {
    let facts = |home| facts(home, version);
    let (active, passive) = (facts(active), facts(passive));
    let rules = RULES
        .iter()
        .filter(|(name, ..)| *name != OFFSET || setup.is_one_machine());
    rules
        .filter_map(|rule| mismatch(setup, rule, &active, &passive))
        .collect()
}

fn mismatch(
    setup: &Setup,
    (name, relation, why): &Rule,
    active: &[Fact],
    passive: &[Fact],
) -> Option<Mismatch> {
    let of = |facts: &'_ [Fact]| facts.iter().find(|fact| fact.name == *name).cloned();
    let (active, passive) = (of(active)?, of(passive)?);
    let (a, p) = (active.value?, passive.value?);
    let both = [&a, &p];
    let own = *name == GATEWAY && both.iter().all(|url| names_itself(setup, url));
    if !own && (a == p) == (*relation == Relation::Equal) {
        return None;
    }
    let shown = |value: String| match *name {
        "administrator's password" => MASK.to_owned(),
        _ => mask::shown(&value),
    };
    Some(Mismatch {
        file: active.file,
        name,
        relation: *relation,
        active: shown(a),
        passive: shown(p),
        why,
    })
}

fn facts(home: &Home, version: Version) -> Vec<Fact> {
    let fact = |file, name, value| Fact { file, name, value };
    let mut facts = vec![
        fact(KEYSTORE, "keystore", digest(home, KEYSTORE)),
        fact(TRUSTSTORE, "truststore", digest(home, TRUSTSTORE)),
    ];
    match version.layout() {
        Layout::DeploymentToml => facts.extend(toml_facts(home)),
        Layout::Files => {
            facts.extend(xml_facts(home, version));
            let broker = other_broker(home);
            facts.push(fact(JNDI2, "other node's broker", broker));
        }
    }
    facts
}

fn xml_facts(home: &Home, version: Version) -> Vec<Fact> {
    use Step::{Element, Named, With};

    let mut facts = Vec::new();
    let mut add = |file, name, value| facts.push(Fact { file, name, value });
    for (source, name) in [
        ("WSO2AM_DB", "URL of WSO2AM_DB"),
        ("WSO2GOV_DB", "URL of WSO2GOV_DB"),
        ("WSO2UM_DB", "URL of WSO2UM_DB"),
    ] {
        let path = [
            Element("datasources"),
            With("datasource", ("name", source)),
            Element("definition"),
            Element("configuration"),
            Element("url"),
        ];
        add(DATA_SOURCES, name, value(home, DATA_SOURCES, &path));
    }
    let admin = |name| {
        let path = ["Realm", "Configuration", "AdminUser", name].map(Element);
        value(home, USERS, &path)
    };
    add(USERS, "administrator", admin("UserName"));
    add(USERS, "administrator's password", admin("Password"));
    let cache_id = [
        With("remoteInstance", ("id", "wso2gov")),
        Element("cacheId"),
    ];
    add(
        REGISTRY,
        "cacheId of wso2gov",
        value(home, REGISTRY, &cache_id),
    );
    let parameter = |name| {
        let path = [Element("clustering"), Named("parameter", name)];
        value(home, AXIS2, &path)
    };
    let own = parameter("localMemberHost").zip(parameter("localMemberPort"));
    let own = own.map(|(host, port)| format!("{host}:{port}"));
    add(AXIS2, "cluster domain", parameter("domain"));
    add(AXIS2, "other member", others(home, own.as_deref()));
    add(AXIS2, "member of the cluster", own);
    let throttling = if version.has_traffic_manager() {
        "TrafficManager"
    } else {
        "DataPublisher"
    };
    for (name, path) in [
        (
            "gateway's ServerURL",
            &["APIGateway", "Environments", "Environment", "ServerURL"][..],
        ),
        (
            "ReceiverUrlGroup",
            &["ThrottlingConfigurations", throttling, "ReceiverUrlGroup"][..],
        ),
    ] {
        let path: Vec<_> = path.iter().map(|name| Element(name)).collect();
        add(API_MANAGER, name, value(home, API_MANAGER, &path));
    }
    add(
        CARBON,
        "HostName",
        value(home, CARBON, &[Element("HostName")]),
    );
    add(
        CARBON,
        OFFSET,
        value(home, CARBON, &["Ports", "Offset"].map(Element)),
    );
    facts
}

/// The members that a node looks for, but for itself: it may be listed too.
fn others(home: &Home, own: Option<&str>) -> Option<String> {
    let text = Text::of_xml(home.file(AXIS2)?).ok()?;
    let document = roxmltree::Document::parse(&text.text).ok()?;
    let path = ["clustering", "members"].map(Step::Element);
    let list = path.into_iter().try_fold(document.root_element(), down)?;
    let address = |member| {
        let part = |name| down(member, Step::Element(name)).map(text_of);
        Some(format!("{}:{}", part("hostName")?, part("port")?))
    };
    let members = list.children().filter(Node::is_element);
    let others: Vec<String> = members
        .filter_map(address)
        .filter(|member| Some(member.as_str()) != own)
        .collect();
    Some(others.join(", "))
}

fn toml_facts(home: &Home) -> Vec<Fact> {
    let Some(text) = home
        .file(DEPLOYMENT_TOML)
        .and_then(|bytes| Text::of_utf8(bytes).ok())
    else {
        return Vec::new();
    };
    let Ok(toml) = Toml::parse(DEPLOYMENT_TOML, &text.text) else {
        return Vec::new();
    };
    let at = |path: &[&str]| toml.plain(path);
    let member =
        at(&["clustering", "local_member_host"]).zip(at(&["clustering", "local_member_port"]));
    let offset = at(&["server", "offset"]).unwrap_or_else(|| "0".into());
    let facts = [
        ("URL of WSO2AM_DB", at(&["database", "apim_db", "url"])),
        ("URL of WSO2GOV_DB", at(&["database", "shared_db", "url"])),
        ("administrator", at(&["super_admin", "username"])),
        ("administrator's password", at(&["super_admin", "password"])),
        ("cluster domain", at(&["clustering", "domain"])),
        (
            "member of the cluster",
            member.map(|(host, port)| format!("{host}:{port}")),
        ),
        ("other member", at(&["clustering", "members"])),
        (
            "other node's broker",
            at(&["apim", "throttling", "event_duplicate_url"]),
        ),
        ("HostName", at(&["server", "hostname"])),
        (OFFSET, Some(offset)),
    ];
    facts
        .into_iter()
        .map(|(name, value)| Fact {
            file: DEPLOYMENT_TOML,
            name,
            value,
        })
        .collect()
}

/// A step down into an XML file: an element's name, and what tells it from its
/// siblings where there are several.
#[derive(Clone, Copy)]
enum Step<'a> {
    Element(&'a str),
    /// The element with a `name` attribute of that value.
    Named(&'a str, &'a str),
    /// The element with a child that says so.
    With(&'a str, (&'a str, &'a str)),
}

/// What an element says; nothing where the file or a step is absent, or the file
/// is damaged.
fn value(home: &Home, file: &'static str, path: &[Step<'_>]) -> Option<String> {
    let text = Text::of_xml(home.file(file)?).ok()?;
    let document = roxmltree::Document::parse(&text.text).ok()?;
    let found = path
        .iter()
        .try_fold(document.root_element(), |node, step| down(node, *step));
    found.map(text_of)
}

fn down<'a, 't>(node: Node<'a, 't>, step: Step<'_>) -> Option<Node<'a, 't>> {
    let (name, wanted) = match step {
        Step::Element(name) | Step::Named(name, _) | Step::With(name, _) => (name, step),
    };
    node.children()
        .filter(|child| child.is_element() && child.tag_name().name() == name)
        .find(|child| match wanted {
            Step::Element(_) => true,
            Step::Named(_, value) => child.attribute("name") == Some(value),
            Step::With(_, (name, text)) => child
                .children()
                .any(|it| it.is_element() && it.tag_name().name() == name && text_of(it) == text),
        })
}

fn other_broker(home: &Home) -> Option<String> {
    let text = Text::of_latin1(home.file(JNDI2)?).ok()?;
    let properties = Properties::parse(JNDI2, &text.text);
    let url = properties.value_of_any("connectionfactory.TopicConnectionFactory")?;
    BrokerUrl::parse(url)?.brokers().next().map(str::to_owned)
}

/// What tells two keystores apart for people: their sizes, and a sum where those
/// are equal.
fn digest(home: &Home, file: &str) -> Option<String> {
    let content = home.file(file)?;
    let sum = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Some(format!("{} bytes, {sum:016x}", content.len()))
}
