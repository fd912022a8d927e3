use super::*;

/// The shortest description of two machines.
const SHORT: &str = "\
version = \"2.6.0\"
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
";

fn refusal(text: &str) -> String {
    Setup::parse(text).unwrap_err().to_string()
}

#[test]
fn a_short_description_is_enough() {
    let setup = Setup::parse(SHORT).unwrap();
    assert_eq!(setup.active.name, "apim-1");
    assert_eq!(setup.passive.home, PathBuf::from("/opt/wso2am-2.6.0"));
    assert_eq!(setup.gateway_authority(), "192.168.10.1:9443");
    assert_eq!(setup.database.clients, ["192.168.10.1", "192.168.10.2"]);
    assert_eq!(
        setup.database.jdbc_url("regdb"),
        "jdbc:mysql://192.168.10.5:3306/regdb?autoReconnect=true&useSSL=false&allowPublicKeyRetrieval=true"
    );
    assert!(setup.warnings().is_empty());
}

#[test]
fn two_nodes_on_one_machine_get_ports_of_their_own() {
    let text = SHORT
        .replace("192.168.10.2", "192.168.10.1")
        .replace("192.168.10.5", "localhost");
    let setup = Setup::parse(&text).unwrap();
    assert_eq!(setup.passive.offset, 1);
    assert_eq!(setup.passive.port(Port::Broker), 5673);
    assert_eq!(
        [setup.active.cluster_port, setup.passive.cluster_port],
        [4000, 4001]
    );
    assert_ne!(setup.active.state_dir, setup.passive.state_dir);
    assert_eq!(
        setup.database.clients,
        ["192.168.10.1", "localhost", "127.0.0.1"]
    );
}

#[test]
fn who_is_active_is_one_key() {
    let setup = Setup::parse(&format!("active = \"apim-2\"\n{SHORT}")).unwrap();
    assert_eq!(setup.active.host, "192.168.10.2");
    let back = setup.with_active("apim-1");
    assert_eq!(back.active.name, "apim-1");
    assert_eq!(back.view("apim-2").unwrap().other.name, "apim-1");
    assert!(refusal(&format!("active = \"apim-3\"\n{SHORT}")).contains("apim-1 and apim-2"));
}

#[test]
fn a_promotion_changes_one_value_of_the_text() {
    let named = format!("# who\nactive = \"apim-1\"  # now\n{SHORT}");
    let text = text_with_active(&named, "apim-2").unwrap();
    assert_eq!(text, named.replacen("\"apim-1\"", "\"apim-2\"", 1));
    let added = text_with_active(SHORT, "apim-2").unwrap();
    assert_eq!(added, format!("active = \"apim-2\"\n{SHORT}"));
    assert_eq!(Setup::parse(&added).unwrap().active.name, "apim-2");
    let marked = text_with_active(&format!("\u{feff}{SHORT}"), "apim-2").unwrap();
    assert_eq!(Setup::parse(&marked).unwrap().active.name, "apim-2");
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest() {
    let text = SHORT.replace("password_env = \"DB\"", "pasword_env = \"DB\"");
    assert_eq!(
        refusal(&text),
        "line 12: unknown key `pasword_env`; did you mean `password_env`?"
    );
    let text = SHORT.replace("[admin]", "[admon]");
    assert!(
        refusal(&text).contains("did you mean `admin`?"),
        "{}",
        refusal(&text)
    );
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let cases = [
        (
            SHORT.replace("\"192.168.10.5\"", "\"localhost\""),
            "both reach",
        ),
        (SHORT.replace("apim-2", "apim-1"), "both nodes are named"),
        (SHORT.replace("2.6.0", "2.4.0"), "line 1: version"),
        (SHORT.replace("2.6.0", "4.1.0"), "userstores"),
        (
            SHORT.replace("192.168.10.2", "10.0.0.2:9443"),
            "port has a key",
        ),
        (
            SHORT.replace("api.example.org", "api example"),
            "no host name",
        ),
        (
            SHORT.replace("password_env = \"DB\"\n", ""),
            "[database] needs the password",
        ),
        (
            SHORT.replace("[admin]", "engine = \"oracle\"\n[admin]"),
            "`mysql` or `mariadb`",
        ),
        (
            SHORT.replace("[admin]", "registry = \"a`b\"\n[admin]"),
            "letters, digits",
        ),
        (
            SHORT.replace("name = \"apim-2\"", "name = \"apim-2\"\noffset = 60000"),
            "past 65535",
        ),
        (
            SHORT.replace("[admin]\npassword_env = \"ADMIN\"\n", ""),
            "admin",
        ),
    ];
    for (text, reason) in cases {
        assert!(
            refusal(&text).contains(reason),
            "{reason}: {}",
            refusal(&text)
        );
    }
}

#[test]
fn the_template_is_a_description() {
    let known = Known {
        version: Some("2.6.0".parse().unwrap()),
        home: Some("/srv/wso2am".into()),
        trees: vec!["synapse-configs", "tenants"],
        ..Known::default()
    };
    let setup = Setup::parse(&template(&known)).unwrap();
    assert_eq!(setup.sync.trees, [Tree::SynapseConfigs, Tree::Tenants]);
    assert_eq!(setup.active.home, PathBuf::from("/srv/wso2am"));
    Setup::parse(&template(&Known::default())).unwrap();
}

#[test]
fn every_commented_key_of_the_template_is_legal() {
    let text: String = template(&Known::default())
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.starts_with("password_env") => key,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let setup = Setup::parse(&text).unwrap();
    assert_eq!(setup.active.cluster_port, 4000);
}

#[test]
fn loopback_in_the_cluster_is_worth_a_warning() {
    let text = SHORT.replace(
        "host = \"192.168.10.1\"",
        "host = \"192.168.10.1\"\ncluster_host = \"127.0.0.1\"",
    );
    let setup = Setup::parse(&text).unwrap();
    assert!(setup.warnings()[0].contains("apim-1"));
}
