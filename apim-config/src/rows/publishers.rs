//! Row 14, event publishers: throttle decisions go to the other node's broker
//! too. Each is a file of its own, deployed by its name.

use super::{Context, Part, Patch, Patched};
use crate::{
    finding::{Refusal, Row},
    home::{Home, PUBLISHERS},
    patch::{Changes, Want, xml::Xml},
    text::Text,
};

const DUPLICATE: &str = "a publisher whose name another one has is not deployed: the other node gets no throttle decisions";
const STREAM: &str = "the publisher passes on the decisions of this stream";
const BROKER: &str = "the publisher has to use the other node's broker, not this one's again";
const FORM: &str =
    "the publisher passes decisions on as a map to the topic that both nodes listen on";

/// A publisher to the other node.
struct Publisher {
    file: &'static str,
    name: &'static str,
    stream_version: &'static str,
    patch: Patch,
}

const FIRST: Publisher = Publisher {
    file: "jmsEventPublisher2.xml",
    name: "jmsEventPublisher2",
    stream_version: "1.0.0",
    patch: Patch::Xml(|xml, _, changes| patch(xml, &FIRST, changes)),
};
const SECOND: Publisher = Publisher {
    file: "jmsEventPublisher_1.10.0-2.xml",
    name: "jmsEventPublisher-1.0.0-2",
    stream_version: "1.1.0",
    patch: Patch::Xml(|xml, _, changes| patch(xml, &SECOND, changes)),
};

const STREAM_NAME: &str = "org.wso2.throttle.globalThrottle.stream";
const JNDI_FILE: &str = "repository/conf/jndi2.properties";

/// What an adapter of that kind needs, in the order it is written.
const PROPERTIES: [(&str, &str); 6] = [
    (
        "java.naming.factory.initial",
        "org.wso2.andes.jndi.PropertiesFileInitialContextFactory",
    ),
    ("java.naming.provider.url", JNDI_FILE),
    ("transport.jms.DestinationType", "topic"),
    ("transport.jms.Destination", "throttleData"),
    ("transport.jms.ConcurrentPublishers", "allow"),
    (
        "transport.jms.ConnectionFactoryJNDIName",
        "TopicConnectionFactory",
    ),
];

/// A publisher that is there: its file, its name and where that stands.
struct Present {
    path: String,
    name: String,
    line: usize,
}

/// The publishers of a release: the files that have their names, or new ones.
pub(crate) fn publishers(home: &Home, context: &Context<'_>) -> Result<Vec<Part>, Refusal> {
    let mut wanted = vec![&FIRST];
    if context.version.has_second_stream() {
        wanted.push(&SECOND);
    }
    let mut present = present(home)?;
    let parts: Vec<_> = wanted
        .into_iter()
        .map(|publisher| part(publisher, &mut present))
        .collect();
    names_differ(&present)?;
    Ok(parts)
}

/// The file of a publisher: the one that has its name, or else the usual one,
/// which then gets it.
fn part(publisher: &Publisher, present: &mut [Present]) -> Part {
    let usual = format!("{PUBLISHERS}/{}", publisher.file);
    let named = present.iter().find(|it| it.name == publisher.name);
    let path = named.map_or(usual, |it| it.path.clone());
    if let Some(renamed) = present.iter_mut().find(|it| it.path == path) {
        publisher.name.clone_into(&mut renamed.name);
    }
    Part {
        path,
        rows: &[Row::Publishers],
        patch: publisher.patch,
        made: Some(text(publisher)),
        secret: false,
    }
}

/// Every publisher that is there.
fn present(home: &Home) -> Result<Vec<Present>, Refusal> {
    let mut present = Vec::new();
    for (path, content) in home.in_directory(PUBLISHERS) {
        let text = Text::of_xml(content).map_err(|error| Refusal {
            file: path.to_owned(),
            line: None,
            reason: error.to_string(),
        })?;
        let xml = Xml::parse(path, &text.text)?;
        let Ok(root) = xml.root("eventPublisher") else {
            continue;
        };
        if let Some(name) = root.attribute("name") {
            present.push(Present {
                path: path.to_owned(),
                name: name.to_owned(),
                line: xml.line(root),
            });
        }
    }
    Ok(present)
}

/// Refuses a name that two files would have once they are patched: which of them
/// is meant is not known here.
fn names_differ(present: &[Present]) -> Result<(), Refusal> {
    for (index, this) in present.iter().enumerate() {
        let twin = present[..index].iter().find(|it| it.name == this.name);
        if let Some(twin) = twin {
            return Err(Refusal {
                file: this.path.clone(),
                line: Some(this.line),
                reason: format!(
                    "the event publisher name `{}` is used twice, at {}:{} too: {DUPLICATE}; give one of them another name or remove it",
                    this.name, twin.path, twin.line
                ),
            });
        }
    }
    Ok(())
}

fn patch(xml: &Xml<'_>, publisher: &Publisher, changes: &mut Changes) -> Patched {
    let root = xml.root("eventPublisher")?;
    let want = |value, why| Want::new(Row::Publishers, value, why);
    let name = want(publisher.name, DUPLICATE);
    xml.set_attribute(root, ("name", "name"), &name, changes);
    let from = xml.one(root, "from")?;
    let stream = want(STREAM_NAME, STREAM);
    xml.set_attribute(from, ("streamName", "streamName"), &stream, changes);
    let version = want(publisher.stream_version, STREAM);
    xml.set_attribute(from, ("version", "streamName"), &version, changes);
    let to = xml.one(root, "to")?;
    let adapter = want("jms", FORM);
    xml.set_attribute(
        to,
        ("eventAdapterType", "eventAdapterType"),
        &adapter,
        changes,
    );
    for (name, value) in PROPERTIES {
        let why = if value == JNDI_FILE { BROKER } else { FORM };
        match xml.with_attribute(to, "property", ("name", name))? {
            Some(property) => xml.set_text(property, &want(value, why), changes)?,
            None => {
                let last = xml.children(to, "property").last();
                let last = last.ok_or_else(|| xml.absent(to, "<property>"))?;
                let block = format!("<property name=\"{name}\">{value}</property>");
                let place = format!("property[@name='{name}']");
                xml.insert_after(last, (&block, &place), &want(value, why), changes);
            }
        }
    }
    enabled(xml, root, changes)
}

/// `processing="disable"` turns a publisher off.
fn enabled<'t>(xml: &Xml<'t>, root: roxmltree::Node<'_, 't>, changes: &mut Changes) -> Patched {
    if root
        .attribute("processing")
        .is_some_and(|it| it != "enable")
    {
        let want = Want::new(Row::Publishers, "enable", STREAM);
        xml.set_attribute(root, ("processing", "processing"), &want, changes);
    }
    let mapping = xml.one(root, "mapping")?;
    if mapping.attribute("type") != Some("map") {
        let want = Want::new(Row::Publishers, "map", FORM);
        xml.set_attribute(mapping, ("type", "type"), &want, changes);
    }
    Ok(())
}

/// A new publisher.
fn text(publisher: &Publisher) -> String {
    let properties: String = PROPERTIES
        .iter()
        .map(|(name, value)| format!("    <property name=\"{name}\">{value}</property>\n"))
        .collect();
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<eventPublisher name=\"{name}\" statistics=\"disable\" trace=\"disable\" xmlns=\"http://wso2.org/carbon/eventpublisher\">
  <from streamName=\"{STREAM_NAME}\" version=\"{version}\"/>
  <mapping customMapping=\"disable\" type=\"map\"/>
  <to eventAdapterType=\"jms\">
{properties}  </to>
</eventPublisher>
",
        name = publisher.name,
        version = publisher.stream_version,
    )
}
