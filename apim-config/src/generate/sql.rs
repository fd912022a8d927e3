//! The two scripts for the database server: schemas with their user, and tables.
//!
//! Both are fed to the `mysql` (or `mariadb`) client, as [`client`] says; it then
//! stops at the first error.

use std::{collections::BTreeSet, path::Path};

use thiserror::Error;

use crate::{
    secret::Secret,
    setup::{Database, Engine, Setup, is_loopback},
    version::Layout,
};

/// Bytes of a path that the client's `source` command keeps.
const SOURCE_BYTES_MAX: usize = 511;

/// Why `-Dsetup`, which WSO2's guide names, is not used; part of both scripts.
const NO_SETUP: &str = "\
-- Never start a node with -Dsetup: the server then creates tables by itself, and
-- in a database that the other node uses already it can create them anew, which
-- loses what they hold. The tables come from 02-tables.sql, once.
";

/// Why no script with the tables can be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqlError {
    /// A home that is no complete one.
    #[error("`{home}` has neither {first} nor {second}: is it the home of an API Manager?")]
    NoScript {
        /// The home.
        home: String,
        /// What was preferred.
        first: String,
        /// What would have done.
        second: String,
    },
    /// The client reads a path to the end of the line, without any quoting.
    #[error(
        "the database client cannot read `{0}`: a path in its `source` command has no `;`, no backslash and no control character, and {SOURCE_BYTES_MAX} bytes at most"
    )]
    Path(String),
}

/// Which of the product's database scripts there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scripts(Option<BTreeSet<&'static str>>);

impl Scripts {
    /// What to look for, below an `APIM_HOME`.
    pub const CANDIDATES: [&'static str; 4] = [
        Kind::ApiManager.path(true),
        Kind::ApiManager.path(false),
        Kind::Carbon.path(true),
        Kind::Carbon.path(false),
    ];

    /// No home is at hand: the scripts that the release is known to ship.
    #[must_use]
    pub fn unknown() -> Self {
        Self(None)
    }

    /// Those of a home; `exists` is asked for each of [`Self::CANDIDATES`].
    #[must_use]
    pub fn of_home(exists: impl Fn(&str) -> bool) -> Self {
        let found = Self::CANDIDATES.into_iter().filter(|path| exists(path));
        Self(Some(found.collect()))
    }

    /// The script of a kind: the one for 5.7 and later where that is wanted.
    fn choose(&self, kind: Kind, newer: bool, home: &Path) -> Result<&'static str, SqlError> {
        let [first, second] = [kind.path(newer), kind.path(!newer)];
        match &self.0 {
            None => Ok(first),
            Some(found) if found.contains(first) => Ok(first),
            Some(found) if found.contains(second) => Ok(second),
            Some(_) => Err(SqlError::NoScript {
                home: home.display().to_string(),
                first: first.to_owned(),
                second: second.to_owned(),
            }),
        }
    }
}

/// What a script makes the tables of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// APIs, applications, subscriptions, tokens.
    ApiManager,
    /// Users and the registry: one script for both.
    Carbon,
}

impl Kind {
    const fn path(self, newer: bool) -> &'static str {
        match (self, newer) {
            (Self::ApiManager, true) => "dbscripts/apimgt/mysql5.7.sql",
            (Self::ApiManager, false) => "dbscripts/apimgt/mysql.sql",
            (Self::Carbon, true) => "dbscripts/mysql5.7.sql",
            (Self::Carbon, false) => "dbscripts/mysql.sql",
        }
    }
}

/// `database/01-databases.sql`: the schemas, and a user that may use them, and
/// nothing else, from the hosts of both nodes.
///
/// It can be run again: what exists stays, the user gets this password. It
/// holds the password in clear, so whoever writes it keeps others from reading.
#[must_use]
pub fn databases(setup: &Setup, layout: Layout, password: &Secret) -> String {
    let database = &setup.database;
    let schemas = schemas(database, layout);
    let mut text = databases_head(database);
    text.push_str(&create_schemas(database, &schemas));
    for client in &database.clients {
        let account = format!("{}@{}", literal(&database.user), literal(client));
        text.push('\n');
        text.push_str(&user(
            database.engine,
            &account,
            &literal(password.expose()),
        ));
        for schema in names(&schemas) {
            let pattern = schema.replace('_', "\\_");
            text.push_str(&format!("GRANT ALL ON `{pattern}`.* TO {account};\n"));
        }
    }
    text.push_str("\nSET SESSION sql_mode = @apim_sql_mode;\n");
    text
}

/// `database/02-tables.sql`: runs the product's own scripts, which are in the
/// active node's home, in the schemas of [`databases`].
///
/// The scripts create tables once and are not made to be run again; so this
/// one first looks at the schemas and, unless they are there and empty, fails
/// with the reason before anything is changed.
///
/// # Errors
/// A home without the scripts, or at a path that the client cannot read.
pub fn tables(setup: &Setup, layout: Layout, scripts: &Scripts) -> Result<String, SqlError> {
    let database = &setup.database;
    let home = &setup.active.home;
    let newer = layout == Layout::Files && database.engine != Engine::MySql56;
    let schemas = schemas(database, layout);
    let mut text = tables_head(database, home, &schemas);
    text.push_str(&refusal(database, &schemas));
    for (schema, kind) in &schemas {
        let path = source_path(&home.join(scripts.choose(*kind, newer, home)?))?;
        text.push_str(&format!("\nUSE `{schema}`;\nsource {path}\n"));
    }
    text.push_str(&format!("\n{}\n", count(&schemas)));
    Ok(text)
}

/// The schemas and what is in them, each once.
fn schemas(database: &Database, layout: Layout) -> Vec<(&str, Kind)> {
    let all = match layout {
        Layout::Files => vec![
            (database.api_manager.as_str(), Kind::ApiManager),
            (database.user_manager.as_str(), Kind::Carbon),
            (database.registry.as_str(), Kind::Carbon),
        ],
        Layout::DeploymentToml => vec![
            (database.api_manager.as_str(), Kind::ApiManager),
            (database.shared.as_str(), Kind::Carbon),
        ],
    };
    let mut schemas = Vec::with_capacity(all.len());
    for schema in all {
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    schemas
}

/// The names of the schemas, each once.
fn names<'a>(schemas: &[(&'a str, Kind)]) -> Vec<&'a str> {
    let mut names = Vec::with_capacity(schemas.len());
    for (name, _) in schemas {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    names
}

/// The session is put into a known mode: what a backslash and a double quote
/// mean depends on it.
fn databases_head(database: &Database) -> String {
    format!(
        "\
-- The schemas of both API Managers, and their user. Run it as an administrator
-- of the database server:
--
--   {} < 01-databases.sql
--
-- It can be run again: what exists stays as it is, and the user gets the
-- password below. It holds that password: delete it when it has run.
--
-- The server tells the nodes apart by the address that they connect from. A host
-- name works only where the server finds it for that address (not with
-- skip_name_resolve).
--
{NO_SETUP}
SET NAMES utf8mb4;
SET @apim_sql_mode = @@SESSION.sql_mode;
SET SESSION sql_mode = '';

",
        client(database)
    )
}

fn create_schemas(database: &Database, schemas: &[(&str, Kind)]) -> String {
    let set = match &database.character_set {
        Some(name) => format!(" CHARACTER SET {name}"),
        None => String::new(),
    };
    let names = names(schemas).into_iter();
    names
        .map(|schema| format!("CREATE DATABASE IF NOT EXISTS `{schema}`{set};\n"))
        .collect()
}

/// Makes an account, or gives it the password. MySQL before 5.7 has neither
/// `IF NOT EXISTS` nor `ALTER USER ... IDENTIFIED BY`; there a grant of nothing
/// makes the account.
fn user(engine: Engine, account: &str, password: &str) -> String {
    match engine {
        Engine::MySql56 => format!(
            "GRANT USAGE ON *.* TO {account};\n\
             SET PASSWORD FOR {account} = PASSWORD({password});\n"
        ),
        Engine::MySql57 | Engine::MySql8 | Engine::MariaDb => format!(
            "CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password};\n\
             ALTER USER {account} IDENTIFIED BY {password};\n"
        ),
    }
}

fn tables_head(database: &Database, home: &Path, schemas: &[(&str, Kind)]) -> String {
    let client = client(database);
    format!(
        "\
-- The tables of both API Managers, made by the scripts of the product. Run it
-- ONCE, after 01-databases.sql, where {} is:
--
--   {client} < 02-tables.sql
--
-- Run exactly like this, it stops at the first error. When all went well, the
-- last it prints is the number of tables of each schema. Unless every schema is
-- there and empty, it changes nothing and says why. Whether it ran is seen with
--
--   {}
--
-- If it stopped inside one of those scripts, half of the tables are there. ONLY
-- if no API Manager has used the schemas yet, drop them, then run
-- 01-databases.sql and this script again.
--
{NO_SETUP}",
        home.display(),
        count(schemas)
    )
}

/// Asks for the number of tables in each schema that has any.
fn count(schemas: &[(&str, Kind)]) -> String {
    format!(
        "SELECT table_schema, COUNT(*) FROM information_schema.tables WHERE table_schema IN ({}) GROUP BY table_schema;",
        list(schemas)
    )
}

/// Fails, before anything is changed, unless every schema is there, empty and of
/// the right character set.
///
/// Without a stored procedure, which would stay behind when it fails: a
/// prepared statement is either nothing or a column of that name, and an
/// unknown column is an error that shows its name (64 bytes at most). At the
/// prompt, or with `--force`, the client goes on after an error; so the session
/// is made read-only first.
fn refusal(database: &Database, schemas: &[(&str, Kind)]) -> String {
    let number = names(schemas).len();
    let list = list(schemas);
    let other_set = match &database.character_set {
        Some(name) => format!(
            "  WHEN (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name IN ({list})\n    \
             AND LOWER(default_character_set_name) NOT IN ({})) > 0\n  \
             THEN 'nothing was done: a schema has another character set'\n",
            set_names(name)
        ),
        None => String::new(),
    };
    format!(
        "
{}
SET @apim_refusal = CASE
  WHEN (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name IN ({list})) < {number}
  THEN 'nothing was done: a schema is missing, run 01-databases.sql'
  WHEN (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema IN ({list})) > 0
  THEN 'nothing was done: these schemas have tables already'
{other_set}  ELSE NULL END;
SET @apim_check = IF(@apim_refusal IS NULL, 'DO 0', 'SET SESSION TRANSACTION READ ONLY');
PREPARE apim_check FROM @apim_check;
EXECUTE apim_check;
SET @apim_check = IF(@apim_refusal IS NULL, 'DO 0', CONCAT('SELECT `', @apim_refusal, '`'));
PREPARE apim_check FROM @apim_check;
EXECUTE apim_check;
DEALLOCATE PREPARE apim_check;
",
        count(schemas)
    )
}

/// What servers call a character set: `utf8` has had two names.
fn set_names(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name == "utf8" || name == "utf8mb3" {
        return "'utf8', 'utf8mb3'".to_owned();
    }
    literal(&name)
}

/// The names of the schemas as a list of strings.
fn list(schemas: &[(&str, Kind)]) -> String {
    let names: Vec<String> = names(schemas).into_iter().map(literal).collect();
    names.join(", ")
}

/// How an administrator runs a script: the client, to which the script is fed.
///
/// MariaDB's client, which Debian also calls `mysql`, goes on after an error in
/// a file that is read with `source`, and then exits with 0, unless it is told
/// not to. MySQL's stops by itself; `loose` lets it ignore what it does not know.
#[must_use]
pub fn client(database: &Database) -> String {
    let client = match database.engine {
        Engine::MariaDb => "mariadb --abort-source-on-error",
        Engine::MySql56 | Engine::MySql57 | Engine::MySql8 => "mysql --loose-abort-source-on-error",
    };
    let server = if is_loopback(&database.host) && database.port == 3306 {
        String::new()
    } else {
        format!(" -h {} -P {}", database.host, database.port)
    };
    format!("{client}{server} -u root -p")
}

/// A path as `source` reads it: spaces are part of it, quotes too, but nothing
/// can be escaped.
fn source_path(path: &Path) -> Result<String, SqlError> {
    let text = path.to_string_lossy().into_owned();
    let legal =
        |it: char| !it.is_control() && !matches!(it, ';' | '\\' | char::REPLACEMENT_CHARACTER);
    if text.len() > SOURCE_BYTES_MAX || !text.chars().all(legal) {
        return Err(SqlError::Path(text));
    }
    Ok(text)
}

/// A string literal, where a backslash escapes.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for it in text.chars() {
        match it {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\0' => literal.push_str("\\0"),
            '\u{1a}' => literal.push_str("\\Z"),
            it => literal.push(it),
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description of two machines with more lines for its `[database]`.
    fn setup(database: &str) -> Setup {
        let text = format!(
            "[[node]]\nname = \"a\"\nhost = \"10.0.0.1\"\nhome = \"/opt/wso2 am\"\n\
             [[node]]\nname = \"b\"\nhost = \"10.0.0.2\"\n\
             [load_balancer]\nhost = \"lb\"\n[admin]\npassword_env = \"A\"\n\
             [database]\nhost = \"10.0.0.5\"\npassword_env = \"D\"\n{database}\n"
        );
        Setup::parse(&text).unwrap()
    }

    /// The lines that the server sees.
    fn statements(text: &str) -> Vec<&str> {
        let lines = text.lines();
        lines
            .filter(|it| !it.starts_with("--") && !it.is_empty())
            .collect()
    }

    #[test]
    fn a_user_is_made_before_it_is_granted_exactly_its_schemas() {
        let setup = setup("api_manager = \"am_db\"\nclients = [\"10.0.0.%\"]");
        let text = databases(&setup, Layout::Files, &Secret::new(r"it's a \ trap"));
        let lines = statements(&text);
        assert_eq!(
            &lines[3..11],
            [
                "CREATE DATABASE IF NOT EXISTS `am_db` CHARACTER SET latin1;",
                "CREATE DATABASE IF NOT EXISTS `userdb` CHARACTER SET latin1;",
                "CREATE DATABASE IF NOT EXISTS `regdb` CHARACTER SET latin1;",
                r"CREATE USER IF NOT EXISTS 'apim'@'10.0.0.%' IDENTIFIED BY 'it''s a \\ trap';",
                r"ALTER USER 'apim'@'10.0.0.%' IDENTIFIED BY 'it''s a \\ trap';",
                r"GRANT ALL ON `am\_db`.* TO 'apim'@'10.0.0.%';",
                "GRANT ALL ON `userdb`.* TO 'apim'@'10.0.0.%';",
                "GRANT ALL ON `regdb`.* TO 'apim'@'10.0.0.%';",
            ]
        );
    }

    #[test]
    fn each_layout_has_its_schemas_and_each_node_its_account() {
        let setup = setup("character_set = \"server\"");
        let text = databases(&setup, Layout::DeploymentToml, &Secret::new("x"));
        assert!(text.contains("CREATE DATABASE IF NOT EXISTS `shareddb`;"));
        assert!(!text.contains("userdb") && !text.contains("CHARACTER SET"));
        for host in ["10.0.0.1", "10.0.0.2"] {
            assert!(text.contains(&format!("GRANT ALL ON `shareddb`.* TO 'apim'@'{host}';")));
        }
    }

    #[test]
    fn no_server_is_asked_for_what_it_does_not_know() {
        let of = |more: &str| databases(&setup(more), Layout::Files, &Secret::new("x"));
        let old = of("engine_version = \"5.6\"");
        assert!(!old.contains("CREATE USER") && !old.contains("IDENTIFIED BY"));
        for new in [of("engine_version = \"8.4\""), of("engine = \"mariadb\"")] {
            let grants: Vec<_> = new.lines().filter(|it| it.starts_with("GRANT")).collect();
            assert_eq!(grants.len(), 6);
            assert!(grants.iter().all(|it| !it.contains("IDENTIFIED")), "{new}");
            assert!(!new.contains("PASSWORD("), "{new}");
        }
    }

    #[test]
    fn the_script_for_the_server_is_sourced_if_the_home_has_it() {
        let sources = |engine: &str, layout, scripts: &Scripts| -> Vec<String> {
            let text = tables(&setup(engine), layout, scripts).unwrap();
            let paths = text.lines().filter_map(|it| it.strip_prefix("source "));
            paths.map(str::to_owned).collect()
        };
        let [new, old] = ["engine_version = \"5.7\"", "engine_version = \"5.6\""];
        let five_seven = [
            "/opt/wso2 am/dbscripts/apimgt/mysql5.7.sql",
            "/opt/wso2 am/dbscripts/mysql5.7.sql",
            "/opt/wso2 am/dbscripts/mysql5.7.sql",
        ];
        let plain = five_seven.map(|it| it.replace("5.7", ""));
        let unknown = Scripts::unknown();
        assert_eq!(sources(new, Layout::Files, &unknown), five_seven);
        assert_eq!(sources(old, Layout::Files, &unknown), plain);
        assert_eq!(sources(new, Layout::DeploymentToml, &unknown), plain[..2]);
        let only_plain = Scripts::of_home(|path| !path.contains("5.7"));
        assert_eq!(sources(new, Layout::Files, &only_plain), plain);
        let none = tables(&setup(new), Layout::Files, &Scripts::of_home(|_| false));
        assert!(none.unwrap_err().to_string().contains("neither"));
    }

    #[test]
    fn one_schema_for_users_and_registry_is_filled_once() {
        let setup = setup("registry = \"userdb\"");
        let text = tables(&setup, Layout::Files, &Scripts::unknown()).unwrap();
        assert_eq!(text.matches("\nsource ").count(), 2);
        assert!(text.contains("IN ('apimgtdb', 'userdb')) < 2"), "{text}");
    }

    #[test]
    fn a_home_that_the_client_cannot_read_is_refused() {
        let mut setup = setup("");
        for home in ["/opt/a;b", "/opt/a\\g", "/opt/a\nb"] {
            setup.active.home = home.into();
            let refused = tables(&setup, Layout::Files, &Scripts::unknown());
            assert!(matches!(refused, Err(SqlError::Path(_))), "{home:?}");
        }
        setup.active.home = format!("/{}", "a".repeat(500)).into();
        assert!(tables(&setup, Layout::Files, &Scripts::unknown()).is_err());
    }

    #[test]
    fn a_literal_ends_where_it_should() {
        assert_eq!(literal("a'b\\"), r"'a''b\\'");
        assert_eq!(literal("\n\0"), r"'\n\0'");
        assert_eq!(literal("é%\"`"), "'é%\"`'");
    }

    #[test]
    fn comments_hold_nothing_that_an_old_client_trips_over() {
        let setup = setup("");
        for text in [
            databases(&setup, Layout::Files, &Secret::new("x")),
            tables(&setup, Layout::Files, &Scripts::unknown()).unwrap(),
        ] {
            assert!(text.contains("-Dsetup"));
            let comments = text.lines().filter(|it| it.starts_with("--"));
            for comment in comments.filter(|it| !it.contains("WHERE")) {
                assert!(!comment.contains(['\'', '"', ';', '`']), "{comment}");
            }
        }
    }
}
