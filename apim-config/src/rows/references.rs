//! What refers to a data source by its JNDI name, across files: a name that no
//! data source has stops the server, and no edit of one file can tell which of
//! the two is meant.

use roxmltree::{Document, Node};

use crate::{
    edit::line,
    finding::{Finding, Row, State},
    home::{DATA_SOURCES, Home},
    mask,
    patch::xml::text_of,
    text::Text,
};

/// A file, the step it belongs to, and which of its elements refer to a source.
type Referring = (&'static str, Row, fn(Node<'_, '_>) -> bool);

/// The files that refer to data sources.
const REFERENCES: [Referring; 3] = [
    ("repository/conf/registry.xml", Row::Registry, |node| {
        node.tag_name().name() == "dataSource"
    }),
    ("repository/conf/user-mgt.xml", Row::Users, |node| {
        node.tag_name().name() == "Property" && node.attribute("name") == Some("dataSource")
    }),
    (
        "repository/conf/api-manager.xml",
        Row::DataSources,
        |node| node.tag_name().name() == "DataSourceName",
    ),
];

/// Every reference to a name that no data source has. `text` is a file as it
/// will be; a damaged one is told about elsewhere, and may define anything.
pub(crate) fn undefined(home: &Home, text: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let sources = home.in_directory(DATA_SOURCES).map(|(path, content)| {
        text(path).or_else(|| Text::of_xml(content).ok().map(|text| text.text))
    });
    let defined: Option<Vec<_>> = sources
        .map(|text| text.and_then(|text| names(&text)))
        .collect();
    let names = match defined {
        Some(names) if !names.is_empty() => names.concat(),
        _ => return Vec::new(),
    };
    let of_file = |(file, row, is_reference): &Referring| {
        let text = text(file).unwrap_or_default();
        let Ok(document) = Document::parse(&text) else {
            return Vec::new();
        };
        let references = document.descendants().filter(|node| is_reference(*node));
        let undefined = references.filter(|node| !names.contains(&text_of(*node)));
        undefined
            .map(|node| Finding {
                row: *row,
                state: State::Wrong,
                file: (*file).to_owned(),
                line: Some(line(&text, node.range().start)),
                place: node.tag_name().name().to_owned(),
                found: Some(mask::shown(&text_of(node))),
                wanted: Some(format!("one of: {}", names.join(", "))),
                why: "no data source has this JNDI name, so what refers to it does not start; correct it by hand".into(),
            })
            .collect()
    };
    REFERENCES.iter().flat_map(of_file).collect()
}

/// The JNDI names that are defined.
fn names(text: &str) -> Option<Vec<String>> {
    let document = Document::parse(text).ok()?;
    let configs = document
        .descendants()
        .filter(|node| node.tag_name().name() == "jndiConfig");
    let named = configs.flat_map(|config| {
        config
            .children()
            .filter(|it| it.tag_name().name() == "name")
    });
    Some(named.map(text_of).collect())
}
