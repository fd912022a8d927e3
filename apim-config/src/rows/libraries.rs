//! Rows 4 and 7: what is in the home as a whole file and cannot be edited, the
//! JDBC driver and the keystore.

use super::Context;
use crate::{
    finding::{Finding, Row, State},
    home::{Home, LIBRARIES},
    patch::xml::{Xml, text_of},
    setup::Engine,
    text::Text,
    version::Layout,
};

const KEYSTORE: &str = "repository/resources/security/wso2carbon.jks";
const CARBON: &str = "repository/conf/carbon.xml";
/// What the subject of the certificate that ships says, in clear text.
const STOCK_SUBJECT: &[u8] = b"Mountain View";

/// Whether the driver's jar is there, and fits the driver's class.
pub(crate) fn connector(home: &Home, context: &Context<'_>) -> Option<Finding> {
    let engine = context.view.setup.database.engine;
    let jars: Vec<&str> = home
        .names(LIBRARIES)
        .iter()
        .map(String::as_str)
        .filter(|name| name.ends_with(".jar") && is_driver(name))
        .collect();
    if jars.iter().any(|jar| fits(jar, engine)) {
        return None;
    }
    let wanted = match engine {
        Engine::MySql56 | Engine::MySql57 => "mysql-connector-java-5.1.*.jar",
        Engine::MySql8 => "mysql-connector-j-8.*.jar or mysql-connector-java-8.*.jar",
        Engine::MariaDb => "mariadb-java-client-*.jar",
    };
    Some(Finding {
        row: Row::Connector,
        state: if jars.is_empty() {
            State::Missing
        } else {
            State::Wrong
        },
        file: LIBRARIES.to_owned(),
        line: None,
        place: "the JDBC driver".into(),
        found: (!jars.is_empty()).then(|| jars.join(", ")),
        wanted: Some(wanted.to_owned()),
        why: format!(
            "no data source starts without {}; put the jar there by hand",
            context.view.setup.database.driver()
        ),
    })
}

fn is_driver(name: &str) -> bool {
    ["mysql-connector-", "mariadb-java-client"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Whether a jar has the class that the data sources name: `cj` came with 6.0.
fn fits(jar: &str, engine: Engine) -> bool {
    let major = |prefix: &str| {
        let version = jar.strip_prefix(prefix)?;
        version.split(['.', '-']).next()?.parse::<u32>().ok()
    };
    let mysql = major("mysql-connector-j-").or_else(|| major("mysql-connector-java-"));
    match engine {
        Engine::MySql56 | Engine::MySql57 => mysql.is_some(),
        Engine::MySql8 => mysql.is_none_or(|major| major >= 6) && !jar.starts_with("mariadb"),
        Engine::MariaDb => jar.starts_with("mariadb-java-client"),
    }
}

/// Whether the keystore is still the one that everybody has.
pub(crate) fn keystore(home: &Home, context: &Context<'_>) -> Option<Finding> {
    let stock = match home.file(KEYSTORE) {
        Some(content) => content
            .windows(STOCK_SUBJECT.len())
            .any(|window| window == STOCK_SUBJECT),
        None => names_stock_keystore(home, context),
    };
    stock.then(|| Finding {
        row: Row::Keystore,
        state: State::Warning,
        file: KEYSTORE.to_owned(),
        line: None,
        place: "the keystore".into(),
        found: Some("the one that ships, whose private key is public".into()),
        wanted: Some("a keystore of your own, the same on both nodes".into()),
        why:
            "with it, anybody can read passwords in transit and sign tokens that both nodes accept"
                .into(),
    })
}

/// Where the keystore itself was not read: its configuration says so.
fn names_stock_keystore(home: &Home, context: &Context<'_>) -> bool {
    if context.version.layout() == Layout::DeploymentToml {
        let text = home.file("repository/conf/deployment.toml");
        let text = text.and_then(|bytes| Text::of_utf8(bytes).ok());
        return text.is_some_and(|text| {
            crate::patch::toml::Toml::parse("deployment.toml", &text.text).is_ok_and(|toml| {
                let value = |key| toml.plain(&["keystore", "tls", key]);
                value("file_name").as_deref() == Some("wso2carbon.jks")
                    && value("password").as_deref() == Some("wso2carbon")
            })
        });
    }
    let text = home.file(CARBON).and_then(|bytes| Text::of_xml(bytes).ok());
    text.is_some_and(|text| {
        Xml::parse(CARBON, &text.text).is_ok_and(|xml| {
            let value = |name| {
                let root = xml.root("Server").ok()?;
                let node = xml.path(root, &["Security", "KeyStore", name]).ok()?;
                Some(text_of(node))
            };
            value("Location").is_some_and(|path| path.ends_with("wso2carbon.jks"))
                && value("Password").as_deref() == Some("wso2carbon")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_fits_its_server() {
        assert!(fits("mysql-connector-java-5.1.47-bin.jar", Engine::MySql57));
        assert!(fits("mysql-connector-java-8.0.30.jar", Engine::MySql8));
        assert!(fits("mysql-connector-j-8.4.0.jar", Engine::MySql8));
        assert!(!fits("mysql-connector-java-5.1.47-bin.jar", Engine::MySql8));
        assert!(fits("mariadb-java-client-2.7.12.jar", Engine::MariaDb));
        assert!(!fits("mariadb-java-client-2.7.12.jar", Engine::MySql8));
        assert!(!fits("mysql-connector-j-8.4.0.jar", Engine::MariaDb));
    }
}
