//! 3.0 to 3.2: one `deployment.toml`, written here in the shape it ships.

use apim_config::home::Home;

use crate::load::{applied, one_machine, planned, two_machines, with_driver};

const TOML: &str = "\
[server]
hostname = \"localhost\"
node_ip = \"127.0.0.1\"
#offset=0
mode = \"single\" #single or ha

[super_admin]
username = \"admin\"
password = \"admin\"
create_admin_account = true

[database.apim_db]
type = \"h2\"
url = \"jdbc:h2:./repository/database/WSO2AM_DB\"
username = \"wso2carbon\"
password = \"wso2carbon\"

[database.shared_db]
type = \"h2\"
url = \"jdbc:h2:./repository/database/WSO2SHARED_DB\"
username = \"wso2carbon\"
password = \"wso2carbon\"

[keystore.tls]
file_name =  \"wso2carbon.jks\"
password =  \"wso2carbon\"

[[apim.gateway.environment]]
name = \"Production and Sandbox\"
service_url = \"https://localhost:${mgt.transport.https.port}/services/\"
username= \"${admin.username}\"

#[apim.throttling]
#throttle_decision_endpoints = [\"tcp://localhost:5672\",\"tcp://localhost:5672\"]

#[[apim.throttling.url_group]]
#type = \"loadbalance\"

[[event_handler]]
name=\"userPostSelfRegistration\"

[service_provider]
sp_name_regex = \"^[\\\\sa-zA-Z0-9._-]*$\"";

fn home(toml: &str) -> Home {
    let mut home = Home::default();
    home.insert("bin/version.txt", b"WSO2 API Manager v3.2.0".to_vec());
    home.insert(
        "bin/wso2carbon-version.txt",
        b"WSO2 Carbon Framework v4.6.0".to_vec(),
    );
    home.insert("repository/conf/deployment.toml", toml.as_bytes().to_vec());
    with_driver(home)
}

fn toml_of(home: &Home) -> String {
    String::from_utf8(
        home.file("repository/conf/deployment.toml")
            .unwrap()
            .to_vec(),
    )
    .unwrap()
}

#[test]
fn one_file_gets_the_whole_setup_and_keeps_its_comments() {
    for text in [TOML.to_owned(), TOML.replace('\n', "\r\n")] {
        let setup = one_machine();
        let after = applied(&home(&text), &setup, "apim-2");
        let toml = toml_of(&after);
        let parsed: toml::Table = toml.parse().unwrap();
        assert_eq!(
            parsed["server"]["hostname"].as_str(),
            Some("api.example.org")
        );
        assert_eq!(parsed["server"]["offset"].as_integer(), Some(1));
        assert_eq!(
            parsed["super_admin"]["password"].as_str(),
            Some("a@d:m/i?n%#&<")
        );
        let shared = &parsed["database"]["shared_db"];
        assert_eq!(shared["type"].as_str(), Some("mysql"));
        assert_eq!(
            shared["url"].as_str(),
            Some("jdbc:mysql://localhost:3306/shareddb?autoReconnect=true&useSSL=false")
        );
        let apim = &parsed["apim"];
        assert_eq!(
            apim["gateway"]["environment"][0]["service_url"].as_str(),
            Some("https://10.0.0.7:9443/services/")
        );
        assert_eq!(
            apim["throttling"]["event_duplicate_url"][0].as_str(),
            Some("tcp://10.0.0.7:5672")
        );
        let groups = apim["throttling"]["url_group"].as_array().unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            groups[1]["traffic_manager_urls"][0].as_str(),
            Some("tcp://10.0.0.7:9612")
        );
        assert_eq!(
            parsed["clustering"]["members"][0].as_str(),
            Some("10.0.0.7:4000")
        );
        assert_eq!(
            parsed["transport"]["https"]["properties"]["proxyPort"].as_integer(),
            Some(8443)
        );
        for line in text.lines().filter(|line| line.starts_with('#')) {
            assert!(toml.contains(line), "{line}");
        }
        assert!(toml.contains("mode = \"single\" #single or ha"));
        assert_eq!(
            toml.matches('\n').count() == toml.matches("\r\n").count(),
            text.contains('\r')
        );
        assert_eq!(planned(&after, &setup, "apim-2").files, []);
    }
}

#[test]
fn the_other_node_differs_where_it_has_to() {
    let setup = two_machines();
    let [active, passive] = ["apim-1", "apim-2"].map(|node| applied(&home(TOML), &setup, node));
    let version = active.version(None).unwrap();
    assert_eq!(
        apim_config::pair::mismatches(&setup, version, (&active, &passive)),
        []
    );
    assert!(toml_of(&active).contains("local_member_host = \"192.168.10.1\""));
    assert!(toml_of(&passive).contains("service_url = \"https://192.168.10.1:9443/services/\""));
}

#[test]
fn what_is_not_clear_is_refused() {
    let refusal = |toml: &str| {
        let plan = planned(&home(toml), &two_machines(), "apim-1");
        plan.refusals.first().unwrap().to_string()
    };
    let twice = TOML.replace(
        "#[apim.throttling]",
        "[[apim.gateway.environment]]\nname = \"b\"",
    );
    assert!(refusal(&twice).contains("several [[apim.gateway.environment]]"));
    let group = format!("{TOML}\n[[apim.throttling.url_group]]\ntype = \"failover\"\n");
    assert!(refusal(&group).contains("a pair has two"));
    assert!(refusal("[server\n").contains("not TOML"));
    let inline = TOML.replace("[keystore.tls]", "clustering = 1\n[keystore.tls]");
    let inline = inline.replace("[server]", "transport = { https = 1 }\n[server]");
    assert!(refusal(&inline).contains("not written as a table"));
}
