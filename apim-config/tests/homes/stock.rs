//! Stock homes as they ship.

use std::collections::HashSet;

use apim_config::{
    finding::{Row, State},
    home::Home,
    pair::mismatches,
    setup::Setup,
};

use crate::{
    compare::differences,
    load::{all, applied, one_machine, planned, secrets, text, two_machines},
};

const NODES: [&str; 2] = ["apim-1", "apim-2"];

/// What may differ, by file: the places of the setup's table.
const PLACES: [(&str, &[&str]); 7] = [
    (
        "repository/conf/datasources/master-datasources.xml",
        &["/datasources-configuration/datasources/datasource"],
    ),
    (
        "repository/conf/user-mgt.xml",
        &[
            "/UserManager/Realm/Configuration/AdminUser/Password=",
            "/UserManager/Realm/Configuration/Property=",
        ],
    ),
    (
        "repository/conf/registry.xml",
        &[
            "/wso2registry/dbConfig",
            "/wso2registry/remoteInstance",
            "/wso2registry/mount",
        ],
    ),
    (
        "repository/conf/axis2/axis2.xml",
        &[
            "/axisconfig/clustering/@enable=",
            "/axisconfig/clustering/parameter=",
            "/axisconfig/clustering/members/member/",
        ],
    ),
    (
        "repository/conf/api-manager.xml",
        &[
            "/APIManager/APIGateway/Environments/Environment/ServerURL=",
            "/APIManager/ThrottlingConfigurations/DataPublisher/ReceiverUrlGroup=",
            "/APIManager/ThrottlingConfigurations/DataPublisher/AuthUrlGroup=",
            "/APIManager/ThrottlingConfigurations/TrafficManager/ReceiverUrlGroup=",
            "/APIManager/ThrottlingConfigurations/TrafficManager/AuthUrlGroup=",
            "/APIManager/APIKeyValidator/Thrift",
        ],
    ),
    (
        "repository/conf/carbon.xml",
        &[
            "/Server/HostName",
            "/Server/MgtHostName",
            "/Server/Ports/Offset=",
        ],
    ),
    (
        "repository/conf/tomcat/catalina-server.xml",
        &["/Server/Service/Connector/@proxyPort="],
    ),
];

/// Every release, every setup, every node.
fn each(check: impl Fn(&str, &Home, &Setup, &str)) {
    for (version, home) in all() {
        for setup in [two_machines(), one_machine()] {
            for node in NODES {
                check(version, &home, &setup, node);
            }
        }
    }
}

#[test]
fn xml_is_the_same_outside_the_places_of_the_setup() {
    each(|version, home, setup, node| {
        let after = applied(home, setup, node);
        for (file, places) in PLACES {
            let found = differences(&text(home, file), &text(&after, file));
            assert!(
                !found.is_empty() || file.contains("carbon"),
                "{version} {file}"
            );
            for line in found {
                let place = &line[1..];
                assert!(
                    places.iter().any(|allowed| place.starts_with(allowed)),
                    "{version} {node} {file}: {line}"
                );
            }
        }
    });
}

#[test]
fn lines_that_are_not_meant_stay_byte_for_byte() {
    each(|version, home, setup, node| {
        for file in planned(home, setup, node).files {
            let Some(before) = file.before else {
                continue;
            };
            let lines = |bytes: &[u8]| {
                let lines = bytes.split_inclusive(|&byte| byte == b'\n');
                lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            let crlf = |bytes: &[u8]| {
                let all = lines(bytes);
                all.iter().filter(|line| line.ends_with(b"\r\n")).count() * 2 > all.len()
            };
            assert_eq!(crlf(&before), crlf(&file.after), "{version} {}", file.path);
            let after: HashSet<Vec<u8>> = lines(&file.after).into_iter().collect();
            let kept = lines(&before)
                .iter()
                .filter(|line| after.contains(*line))
                .count();
            let changed = lines(&before).len() - kept;
            assert!(changed <= 10, "{version} {node} {}: {changed}", file.path);
            if crlf(&before) {
                let mixed = lines(&file.after)
                    .iter()
                    .any(|line| line.ends_with(b"\n") && !line.ends_with(b"\r\n"));
                assert!(!mixed, "{version} {}", file.path);
            }
        }
    });
}

#[test]
fn a_second_time_nothing_changes_and_nothing_is_found() {
    each(|version, home, setup, node| {
        let after = applied(home, setup, node);
        let again = planned(&after, setup, node);
        assert_eq!(again.files, [], "{version} {node}");
        let found: Vec<_> = again
            .findings
            .iter()
            .filter(|finding| finding.state != State::Warning)
            .collect();
        assert!(found.is_empty(), "{version} {node}: {found:#?}");
        let warned: Vec<_> = again.findings.iter().map(|finding| finding.row).collect();
        assert_eq!(warned, [Row::Keystore], "{version} {node}");
    });
}

#[test]
fn every_step_is_found_undone_in_a_stock_home() {
    for (version, home) in all() {
        let plan = planned(&home, &one_machine(), "apim-2");
        for row in [1, 5, 6, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19] {
            let found = plan
                .findings
                .iter()
                .any(|finding| finding.row.number() == row);
            assert!(found, "{version}: row {row}");
        }
    }
}

#[test]
fn two_patched_homes_fit_together_and_mixed_up_ones_do_not() {
    for (_, home) in all() {
        for setup in [two_machines(), one_machine()] {
            let version = home.version(None).unwrap();
            let [active, passive] = NODES.map(|node| applied(&home, &setup, node));
            assert_eq!(mismatches(&setup, version, (&active, &passive)), []);
            let same = mismatches(&setup, version, (&active, &active));
            let names: Vec<_> = same.iter().map(|mismatch| mismatch.name).collect();
            for name in [
                "member of the cluster",
                "other member",
                "other node's broker",
            ] {
                assert!(names.contains(&name), "{names:?}");
            }
            let stock = mismatches(&setup, version, (&active, &home));
            assert!(stock.iter().any(|it| it.name == "gateway's ServerURL"));
            assert!(!format!("{stock:?}").contains(secrets().admin.expose()));
        }
    }
}

#[test]
fn values_are_those_of_the_table() {
    for (version, home) in all() {
        let after = applied(&home, &one_machine(), "apim-2");
        let has = |file: &str, words: &[&str]| {
            let text = text(&after, file);
            for word in words {
                assert!(text.contains(word), "{version} {file}: {word}");
            }
        };
        let commit = if version == "2.6.0" { "true" } else { "false" };
        has(
            "repository/conf/datasources/master-datasources.xml",
            &[
                "<url>jdbc:mysql://localhost:3306/apimgtdb?autoReconnect=true&amp;useSSL=false</url>",
                "jdbc/WSO2GovDB",
                "jdbc/WSO2UM_DB",
                "<password>d&lt;b&gt;&amp;&quot;'\\",
                &format!("<defaultAutoCommit>{commit}</defaultAutoCommit>"),
                "jdbc:h2:repository/database/WSO2CARBON_DB",
            ],
        );
        has(
            "repository/conf/registry.xml",
            &[
                "<remoteInstance url=\"https://localhost:9444/registry\">\r\n",
                "<cacheId>apim@jdbc:mysql://localhost:3306/regdb</cacheId>",
                "<dbConfig name=\"wso2registry\">",
            ],
        );
        let mounts = text(&after, "repository/conf/registry.xml");
        assert_eq!(
            mounts.matches("<instanceId>wso2gov</instanceId>").count(),
            2
        );
        has(
            "repository/conf/jndi.properties",
            &[
                "amqp://admin:a%40d%3Am%2Fi%3Fn%25%23%26%3C@clientid/carbon?brokerlist='tcp://localhost:5673'",
            ],
        );
        has(
            "repository/conf/jndi2.properties",
            &["brokerlist='tcp://10.0.0.7:5672?retries='5'%26connectdelay='50''"],
        );
        has(
            "repository/conf/api-manager.xml",
            &[
                "<ServerURL>https://10.0.0.7:9443${carbon.context}",
                "<ReceiverUrlGroup>{tcp://10.0.0.7:9611},{tcp://10.0.0.7:9612}</ReceiverUrlGroup>",
                "<ThriftClientPort>10398</ThriftClientPort>",
                "<ThriftServerPort>10398</ThriftServerPort>",
            ],
        );
        has(
            "repository/conf/carbon.xml",
            &["<Offset>1</Offset>", "<HostName>api.example.org</HostName>"],
        );
        let second = format!(
            "repository/deployment/server/eventpublishers/{}",
            "jmsEventPublisher_1.10.0-2.xml"
        );
        let wanted = matches!(version, "2.5.0" | "2.6.0");
        assert_eq!(after.file(&second).is_some(), wanted, "{version}");
    }
}

#[test]
fn no_password_is_in_a_diff_or_a_finding() {
    each(|_, home, setup, node| {
        let plan = planned(home, setup, node);
        let mut shown = format!("{:?}", plan.findings);
        for file in &plan.files {
            shown.push_str(&file.diff());
        }
        for secret in [
            "d<b>",
            "d&lt;b",
            "a@d:m",
            "a%40d",
            "a@d",
            "assword>wso2carbon<",
            ">admin</Password",
        ] {
            assert!(!shown.contains(secret), "{secret}");
        }
    });
}
