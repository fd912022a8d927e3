//! Homes from the disk into memory, and setups for them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use apim_config::{
    home::{DIRECTORIES, FILES, Home},
    plan::{Plan, plan},
    secret::{Secret, Secrets},
    setup::Setup,
};

/// Stock homes by name; `None`, said on the terminal, where there are none.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn stock(name: &str) -> Option<Home> {
    let homes = env::var_os("SYNC_TESTS_HOMES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/wso2/homes"),
        PathBuf::from,
    );
    let root = homes.join(name);
    if !root.is_dir() {
        println!(
            "SKIPPED: no stock home at {}; point SYNC_TESTS_HOMES at some",
            root.display()
        );
        return None;
    }
    let mut home = Home::default();
    for path in FILES {
        if let Ok(content) = fs::read(root.join(path)) {
            home.insert(path, content);
        }
    }
    for (directory, ending) in DIRECTORIES {
        for entry in fs::read_dir(root.join(directory)).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(ending) {
                let path = format!("{directory}/{name}");
                home.insert(path.clone(), fs::read(root.join(&path)).unwrap());
            }
        }
    }
    Some(with_driver(home))
}

/// The homes of the tests have no libraries.
pub(crate) fn with_driver(mut home: Home) -> Home {
    let jar = "mysql-connector-j-8.4.0.jar".to_owned();
    home.insert_names("repository/components/lib", vec![jar]);
    home
}

/// Every stock home there is, with its release.
pub(crate) fn all() -> Vec<(&'static str, Home)> {
    ["2.0.0", "2.1.0", "2.2.0", "2.5.0", "2.6.0"]
        .into_iter()
        .filter_map(|version| Some((version, stock(&format!("wso2am-{version}"))?)))
        .collect()
}

/// Two machines.
pub(crate) fn two_machines() -> Setup {
    Setup::parse(
        "\
[[node]]
name = \"apim-1\"
host = \"192.168.10.1\"
[[node]]
name = \"apim-2\"
host = \"192.168.10.2\"
[load_balancer]
host = \"api.example.org\"
[database]
host = \"192.168.10.5\"
password_env = \"DB\"
[admin]
password_env = \"ADMIN\"
",
    )
    .unwrap()
}

/// One machine, the second node with offset 1.
pub(crate) fn one_machine() -> Setup {
    Setup::parse(
        "\
[[node]]
name = \"apim-1\"
host = \"10.0.0.7\"
[[node]]
name = \"apim-2\"
host = \"10.0.0.7\"
[load_balancer]
host = \"api.example.org\"
https_port = 8443
[database]
host = \"localhost\"
engine_version = \"5.7\"
password_env = \"DB\"
[admin]
password_env = \"ADMIN\"
",
    )
    .unwrap()
}

/// Passwords that every format has to escape.
pub(crate) fn secrets() -> Secrets {
    Secrets {
        database: Secret::new("d<b>&\"'\\é"),
        admin: Secret::new("a@d:m/i?n%#&<"),
    }
}

/// The plan of one node.
pub(crate) fn planned(home: &Home, setup: &Setup, node: &str) -> Plan {
    plan(home, setup.view(node).unwrap(), &secrets()).unwrap()
}

/// The home after its plan was carried out.
pub(crate) fn applied(home: &Home, setup: &Setup, node: &str) -> Home {
    let plan = planned(home, setup, node);
    assert_eq!(plan.refusals, [], "{node}");
    let mut after = home.clone();
    for file in plan.files {
        after.insert(file.path, file.after);
    }
    after
}

/// A file as text; ISO-8859-1 is read as UTF-8 where it is ASCII.
pub(crate) fn text(home: &Home, path: &str) -> String {
    home.file(path)
        .unwrap_or_default()
        .iter()
        .map(|&byte| char::from(byte))
        .collect()
}

/// The bytes of what [`text`] has read.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap())
        .collect()
}
