#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! The database scripts, run by the real client on a real MariaDB, with the
//! product's own table scripts where they are at hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use apim_config::{
    generate::sql::{self, Scripts},
    secret::Secret,
    setup::Setup,
    version::Layout,
};

use self::server::{Answer, Server};

mod server;

/// What breaks quoting: of SQL, of the client, of patterns, of encodings.
const NASTY: &str = "it's \"q\" \\' \\\\ %_ `b` $x; -- é /* #\\";

/// Tables that tell which script ran in which schema.
const LANDMARKS: [(&str, &str); 3] = [
    ("apimgtdb", "AM_API"),
    ("userdb", "UM_USER"),
    ("regdb", "REG_RESOURCE"),
];

/// Two nodes at loopback addresses of their own, so that the database server
/// sees them come from different hosts.
fn setup(home: &Path, port: u16, database: &str) -> Setup {
    let text = format!(
        "[[node]]\nname = \"apim-1\"\nhost = \"127.0.0.2\"\nhome = '{}'\n\
         [[node]]\nname = \"apim-2\"\nhost = \"127.0.0.3\"\nhome = \"/opt/passive\"\n\
         [load_balancer]\nhost = \"api.example.org\"\n[admin]\npassword_env = \"ADMIN\"\n\
         [database]\nhost = \"127.0.0.1\"\nport = {port}\npassword_env = \"DB\"\n{database}\n",
        home.display()
    );
    Setup::parse(&text).unwrap()
}

const MARIADB: &str = "engine = \"mariadb\"";

fn databases(setup: &Setup, password: &str) -> String {
    sql::databases(setup, Layout::Files, &Secret::new(password))
}

fn tables(setup: &Setup) -> String {
    let home = setup.active.home.clone();
    let scripts = Scripts::of_home(|path| home.join(path).exists());
    sql::tables(setup, Layout::Files, &scripts).unwrap()
}

/// A home with the scripts of that release, at a path with blanks.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn home(server: &Server, release: &str) -> PathBuf {
    let place = server.directory().join(format!("a home of {release}"));
    let real = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/wso2/homes")
        .join(format!("wso2am-{release}"));
    if let Ok(real) = real.canonicalize() {
        std::os::unix::fs::symlink(real, &place).unwrap();
        return place;
    }
    println!("SKIPPED: no scripts of {release}; small ones take their place");
    fs::create_dir_all(place.join("dbscripts/apimgt")).unwrap();
    let write = |path: &str, text: &str| fs::write(place.join(path), text).unwrap();
    write(
        "dbscripts/apimgt/mysql5.7.sql",
        "CREATE TABLE AM_API (N VARCHAR(255), M VARCHAR(255), O VARCHAR(255), P VARCHAR(255));\n\
         CREATE INDEX I ON AM_API (N, M, O, P);\nINSERT INTO AM_API (N) VALUES ('one');\n",
    );
    write(
        "dbscripts/mysql5.7.sql",
        "CREATE TABLE UM_USER (N INTEGER);\nCREATE TABLE REG_RESOURCE (N INTEGER);\n",
    );
    place
}

fn succeeds(answer: Answer) -> String {
    assert!(answer.success, "{}", answer.errors);
    answer.output
}

fn fails_with(answer: &Answer, reason: &str) {
    assert!(!answer.success, "it went through: {}", answer.output);
    assert!(answer.errors.contains(reason), "{}", answer.errors);
}

/// All that the server holds in the schemas, as one text: every table with a
/// checksum, and every routine.
fn contents(server: &Server) -> String {
    let tables =
        "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables
        WHERE table_schema IN ('apimgtdb', 'userdb', 'regdb') ORDER BY 1;";
    let routines = "SELECT routine_schema, routine_name FROM information_schema.routines
        WHERE routine_schema IN ('apimgtdb', 'userdb', 'regdb');";
    let tables = succeeds(server.root(tables));
    let routines = succeeds(server.root(routines));
    if tables.is_empty() {
        return routines;
    }
    let tables: Vec<&str> = tables.lines().collect();
    let sums = succeeds(server.root(&format!("CHECKSUM TABLE {};", tables.join(", "))));
    sums + &routines
}

#[test]
fn the_databases_script_runs_again_and_a_new_password_takes_the_old_one_s_place() {
    let Some(server) = Server::start() else {
        return;
    };
    let login = |password| server.login("127.0.0.2", "apim", password, "SELECT 'in';");
    let old = "engine_version = \"5.6\"";
    for (database, first) in [(MARIADB, "first"), (old, "third")] {
        let setup = setup(Path::new("/opt/active"), server.port(), database);
        for password in [first, first, NASTY] {
            succeeds(server.root(&databases(&setup, password)));
            assert_eq!(succeeds(login(password)), "in\n");
        }
        fails_with(&login(first), "Access denied");
    }
    // What backslashes and quotes mean in a session is the server's setting.
    succeeds(server.root("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES';"));
    let setup = setup(Path::new("/opt/active"), server.port(), MARIADB);
    succeeds(server.root(&databases(&setup, "between")));
    succeeds(server.root(&databases(&setup, NASTY)));
    assert_eq!(succeeds(login(NASTY)), "in\n");
}

#[test]
fn both_nodes_reach_their_schemas_from_their_addresses_and_nobody_else_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let setup = setup(
        Path::new("/opt/active"),
        server.port(),
        "engine = \"mariadb\"\napi_manager = \"am_db\"",
    );
    succeeds(server.root(&databases(&setup, NASTY)));
    // A name that the pattern `am_db` would match if its `_` were any letter.
    succeeds(server.root("CREATE DATABASE amxdb; CREATE TABLE amxdb.t (n INTEGER);"));
    for node in setup.nodes() {
        let run = |statement: &str| server.login(&node.host, "apim", NASTY, statement);
        let address = succeeds(run("SELECT SUBSTRING_INDEX(USER(), '@', -1);"));
        assert_eq!(address.trim(), node.host);
        for schema in ["am_db", "userdb", "regdb"] {
            succeeds(run(&format!(
                "CREATE TABLE {schema}.t (n INTEGER); INSERT INTO {schema}.t VALUES (1); DROP TABLE {schema}.t;"
            )));
        }
        for foreign in ["SELECT * FROM mysql.global_priv;", "SELECT * FROM amxdb.t;"] {
            fails_with(&run(foreign), "denied");
        }
        fails_with(&run("CREATE DATABASE other;"), "Access denied");
    }
    let stranger = server.login("127.0.0.4", "apim", NASTY, "SELECT 1;");
    fails_with(&stranger, "'127.0.0.4'");
}

#[test]
fn the_tables_script_fills_each_schema_once_and_says_why_not_again() {
    let Some(server) = Server::start() else {
        return;
    };
    for release in ["2.1.0", "2.6.0"] {
        let setup = setup(&home(&server, release), server.port(), MARIADB);
        let tables = tables(&setup);
        assert!(tables.contains("mariadb --abort-source-on-error"));
        assert_eq!(tables.matches("mysql5.7.sql\n").count(), 3, "{tables}");
        fails_with(&server.root(&tables), "a schema is missing");

        succeeds(server.root(&databases(&setup, "x")));
        let made = succeeds(server.root(&tables));
        assert_eq!(made.lines().count(), LANDMARKS.len(), "{made}");
        for (schema, table) in LANDMARKS {
            succeeds(server.root(&format!("SELECT * FROM {schema}.{table};")));
        }
        let sets = server.root(
            "SELECT DISTINCT table_collation FROM information_schema.tables
               WHERE table_schema IN ('apimgtdb', 'userdb', 'regdb');",
        );
        assert_eq!(succeeds(sets), "latin1_swedish_ci\n");

        let before = contents(&server);
        let again = server.root(&tables);
        fails_with(
            &again,
            "nothing was done: these schemas have tables already",
        );
        assert!(again.output.contains("userdb"), "{}", again.output);
        // What `source` at the client's prompt does: it goes on after errors.
        let forced = server.root_at_the_prompt(&tables);
        assert!(forced.errors.contains("READ ONLY"), "{}", forced.errors);
        assert_eq!(contents(&server), before);
        succeeds(server.root("DROP DATABASE apimgtdb; DROP DATABASE userdb; DROP DATABASE regdb;"));
    }
}

/// Why latin1 is the default: keys of the scripts are too long for four bytes a
/// character, and what fails half-way leaves half of the tables.
#[test]
fn the_scripts_do_not_fit_into_utf8mb4_and_latin1_is_asked_for_in_time() {
    let Some(server) = Server::start() else {
        return;
    };
    for release in ["2.1.0", "2.6.0"] {
        let home = home(&server, release);
        let of_server = "engine = \"mariadb\"\ncharacter_set = \"server\"";
        let of_server = setup(&home, server.port(), of_server);
        succeeds(server.root(&databases(&of_server, "x")));
        assert_eq!(
            succeeds(server.root("SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = 'apimgtdb';")),
            "utf8mb4\n"
        );

        // Schemas that somebody made by hand: seen before the first table.
        let latin1 = setup(&home, server.port(), MARIADB);
        succeeds(server.root(&databases(&latin1, "x")));
        fails_with(&server.root(&tables(&latin1)), "another character set");
        assert_eq!(contents(&server), "");

        fails_with(&server.root(&tables(&of_server)), "key was too long");
        let userdb =
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'userdb';";
        assert_eq!(
            succeeds(server.root(userdb)),
            "0\n",
            "it went on after an error"
        );
        succeeds(server.root("DROP DATABASE apimgtdb; DROP DATABASE userdb; DROP DATABASE regdb;"));
    }
}
