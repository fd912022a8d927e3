//! Homes damaged in the ways of the field.

use apim_config::{
    finding::{Finding, Row, State},
    home::Home,
    plan::gateway_plan,
};

use crate::load::{applied, bytes, planned, stock, text, two_machines};

const REGISTRY: &str = "repository/conf/registry.xml";
const API_MANAGER: &str = "repository/conf/api-manager.xml";
const DATA_SOURCES: &str = "repository/conf/datasources/master-datasources.xml";
const PUBLISHERS: &str = "repository/deployment/server/eventpublishers";

/// A patched 2.6.0 home; `None` where there is none.
fn patched() -> Option<Home> {
    Some(applied(&stock("wso2am-2.6.0")?, &two_machines(), "apim-1"))
}

fn edited(home: &Home, file: &str, old: &str, new: &str) -> Home {
    let before = text(home, file);
    assert!(before.contains(old), "{file} has {old}");
    let mut home = home.clone();
    home.insert(file, bytes(&before.replacen(old, new, 1)));
    home
}

fn found(home: &Home) -> Vec<Finding> {
    let plan = planned(home, &two_machines(), "apim-1");
    let serious = plan
        .findings
        .into_iter()
        .filter(|finding| finding.state != State::Warning);
    serious.collect()
}

/// The one finding in a home, and that mending it brings back `good`.
fn mended(home: &Home, good: &Home) -> Finding {
    let mut findings = found(home);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(&applied(home, &two_machines(), "apim-1"), good);
    findings.remove(0)
}

fn refused(home: &Home) -> Finding {
    let plan = planned(home, &two_machines(), "apim-1");
    assert_eq!(plan.refusals.len(), 1, "{:#?}", plan.refusals);
    let mut damaged = plan
        .findings
        .into_iter()
        .filter(|finding| finding.state == State::Damaged);
    damaged.next().unwrap()
}

#[test]
fn a_registry_that_is_cut_off_is_named_with_its_line() {
    let Some(good) = patched() else { return };
    let whole = text(&good, REGISTRY);
    let cut = whole.find("</mount>").unwrap() + "</moun".len();
    let mut home = good.clone();
    home.insert(REGISTRY, bytes(&whole[..cut]));
    let finding = refused(&home);
    assert_eq!(finding.file, REGISTRY);
    assert_eq!(finding.line, Some(whole[..cut].lines().count()));
    assert!(finding.found.unwrap().contains("cut off after `</moun`"));
}

#[test]
fn a_file_that_is_not_understood_leaves_each_of_its_steps_open() {
    let Some(good) = patched() else { return };
    let home = edited(&good, API_MANAGER, "</APIManager>", "");
    let open: Vec<Row> = found(&home).iter().map(|finding| finding.row).collect();
    assert_eq!(open, [Row::Gateway, Row::Throttling, Row::KeyValidation]);
}

#[test]
fn a_promotion_changes_nothing_but_where_apis_are_published_to() {
    let Some(good) = patched() else { return };
    let throttling = "<ReceiverUrlGroup>";
    let mut home = edited(&good, API_MANAGER, throttling, "<ReceiverUrlGroup>x");
    home.insert(REGISTRY, bytes("<cut off"));
    let before = text(&home, API_MANAGER);
    let promoted = two_machines().with_active("apim-2");
    let plan = gateway_plan(&home, promoted.views()[0]).unwrap();
    let [file] = &plan.files[..] else {
        panic!("{:#?}", plan.files)
    };
    let after = String::from_utf8(file.after.clone()).unwrap();
    let changed: Vec<_> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .collect();
    assert_eq!(before.lines().count(), after.lines().count());
    assert_eq!(changed.len(), 1, "{changed:#?}");
    assert!(changed[0].1.contains("<ServerURL>"), "{changed:#?}");
}

#[test]
fn a_mount_without_its_instance_is_mended() {
    let Some(good) = patched() else { return };
    let old = "<instanceId>wso2gov</instanceId>\r\n        <targetPath>/_system/config";
    let home = edited(&good, REGISTRY, old, &old.replace("wso2gov", "gov"));
    let finding = mended(&home, &good);
    assert_eq!(finding.found.as_deref(), Some("gov"));
    assert!(
        finding.why.contains("no remoteInstance has"),
        "{}",
        finding.why
    );
}

#[test]
fn a_server_url_edited_in_the_wrong_element_is_mended() {
    let Some(good) = patched() else { return };
    let stock_url = "https://localhost:${mgt.transport.https.port}${carbon.context}services/";
    let gateway = "https://192.168.10.1:9443${carbon.context}services/";
    let wrong = edited(&good, API_MANAGER, gateway, stock_url);
    let wrong = edited(&wrong, API_MANAGER, stock_url, gateway);
    let findings = found(&wrong);
    let places: Vec<_> = findings.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "APIManager/APIGateway/Environments/Environment/ServerURL",
            "APIManager/AuthManager/ServerURL"
        ]
    );
    let line = text(&wrong, API_MANAGER)
        .lines()
        .position(|line| line.contains(gateway));
    assert_eq!(findings[1].line, line.map(|index| index + 1));
    assert!(findings[1].why.contains("not the gateway's"));
    assert_eq!(applied(&wrong, &two_machines(), "apim-1"), good);
    let elsewhere = edited(
        &good,
        API_MANAGER,
        stock_url,
        "https://10.9.9.9:9443/services/",
    );
    assert_eq!(
        mended(&elsewhere, &good).found.as_deref(),
        Some("https://10.9.9.9:9443/services/")
    );
}

#[test]
fn a_publisher_that_kept_the_name_it_was_copied_from_is_mended() {
    let Some(good) = patched() else { return };
    let file = format!("{PUBLISHERS}/jmsEventPublisher2.xml");
    let home = edited(
        &good,
        &file,
        "name=\"jmsEventPublisher2\"",
        "name=\"jmsEventPublisher\"",
    );
    let finding = mended(&home, &good);
    assert_eq!(finding.file, file);
    assert!(finding.why.contains("whose name another one has"));
}

#[test]
fn a_name_that_two_other_publishers_have_is_refused() {
    let Some(good) = patched() else { return };
    let mut home = good.clone();
    let copy = text(&good, &format!("{PUBLISHERS}/jmsEventPublisher.xml"));
    home.insert(format!("{PUBLISHERS}/mine.xml"), bytes(&copy));
    let finding = refused(&home);
    let reason = finding.found.unwrap();
    assert!(
        reason.contains("`jmsEventPublisher` is used twice"),
        "{reason}"
    );
}

#[test]
fn a_copied_name_that_mending_another_file_leaves_is_refused() {
    let Some(good) = patched() else { return };
    let usual = format!("{PUBLISHERS}/jmsEventPublisher2.xml");
    let mut home = edited(
        &good,
        &usual,
        "name=\"jmsEventPublisher2\"",
        "name=\"jmsEventPublisher\"",
    );
    let other = format!("{PUBLISHERS}/aOther.xml");
    home.insert(other, bytes(&text(&good, &usual)));
    let finding = refused(&home);
    assert!(
        finding
            .found
            .unwrap()
            .contains("`jmsEventPublisher` is used twice")
    );
    assert_eq!(finding.line, Some(2));
}

#[test]
fn a_publisher_that_is_cut_off_is_refused() {
    let Some(good) = patched() else { return };
    let file = format!("{PUBLISHERS}/blockingEventJMSPublisher.xml");
    let mut home = good.clone();
    home.insert(file.clone(), bytes(&text(&good, &file)[..300]));
    assert_eq!(refused(&home).file, file);
}

#[test]
fn a_mount_of_somebody_else_that_leads_nowhere_is_found() {
    let Some(good) = patched() else { return };
    let local = "<dbConfig name=\"wso2registry\">";
    let mount =
        "<mount path=\"/_system/nodes\" overwrite=\"true\"><instanceId>gov</instanceId></mount>";
    let home = edited(&good, REGISTRY, local, &format!("{mount}{local}"));
    assert_eq!(found(&home)[0].found.as_deref(), Some("gov"));
    let broker =
        "<jndiConfig>\n                <name>WSO2MBStoreDB</name>\n            </jndiConfig>";
    let home = edited(&good, DATA_SOURCES, broker, "");
    assert!(found(&home)[0].place.contains("WSO2_MB_STORE_DB"));
}

#[test]
fn the_releases_own_way_to_commit_is_kept() {
    let Some(good) = patched() else { return };
    let whole = text(&good, DATA_SOURCES);
    let (before, after) = whole.split_once("jdbc/WSO2AM_DB").unwrap();
    let other = after.replacen("AutoCommit>true<", "AutoCommit>false<", 1);
    let mut home = good.clone();
    home.insert(
        DATA_SOURCES,
        bytes(&format!("{before}jdbc/WSO2AM_DB{other}")),
    );
    assert_eq!(mended(&home, &good).found.as_deref(), Some("false"));
}

#[test]
fn a_comment_between_stale_members_stays() {
    let Some(good) = patched() else { return };
    let axis2 = "repository/conf/axis2/axis2.xml";
    let member = "<member>\n                <hostName>192.168.10.2</hostName>";
    let stale = "<member><hostName>10.1.1.1</hostName><port>1</port></member>\n            <!-- keep me -->\n            ";
    let home = edited(&good, axis2, member, &format!("{stale}{member}"));
    let after = text(&applied(&home, &two_machines(), "apim-1"), axis2);
    assert!(after.contains("<!-- keep me -->") && !after.contains("10.1.1.1"));
    assert_eq!(after.matches("<hostName>192.168.10.2").count(), 1);
}

#[test]
fn the_guides_element_outside_of_the_environment_is_found() {
    let Some(good) = patched() else { return };
    let home = edited(
        &good,
        API_MANAGER,
        "<APIGateway>",
        "<APIGateway><ServerURL>https://x/</ServerURL>",
    );
    assert_eq!(found(&home)[0].place, "APIManager/APIGateway/ServerURL");
}

#[test]
fn the_actives_own_address_is_right_on_the_active() {
    let Some(good) = patched() else { return };
    let stock_url = "https://localhost:${mgt.transport.https.port}${carbon.context}services/";
    let home = edited(
        &good,
        API_MANAGER,
        stock_url,
        "https://192.168.10.1:9443/services/",
    );
    assert_eq!(found(&home), []);
}

#[test]
fn a_file_with_a_password_is_for_its_owner_only() {
    let Some(good) = patched() else { return };
    let mut home = good.clone();
    home.mark_readable("repository/conf/user-mgt.xml");
    home.mark_readable("repository/conf/carbon.xml");
    let plan = planned(&home, &two_machines(), "apim-1");
    let places: Vec<_> = plan.findings.iter().map(|it| it.place.as_str()).collect();
    assert!(places.contains(&"the file's mode"), "{places:?}");
    let paths: Vec<_> = plan.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["repository/conf/user-mgt.xml"]);
}

#[test]
fn a_source_of_another_file_is_known() {
    let Some(good) = patched() else { return };
    let local = "<dbConfig name=\"wso2registry\">";
    let more = "<dbConfig name=\"mine\"><dataSource>jdbc/MINE</dataSource></dbConfig>";
    let mut home = edited(&good, REGISTRY, local, &format!("{more}{local}"));
    assert_eq!(found(&home)[0].found.as_deref(), Some("jdbc/MINE"));
    let mine = "<a><datasources><datasource><jndiConfig><name>jdbc/MINE</name></jndiConfig></datasource></datasources></a>";
    home.insert(
        "repository/conf/datasources/my-datasources.xml",
        bytes(mine),
    );
    assert_eq!(found(&home), []);
}

#[test]
fn the_publisher_is_the_file_that_has_its_name() {
    let Some(good) = patched() else { return };
    let usual = format!("{PUBLISHERS}/jmsEventPublisher2.xml");
    let mut home = stock("wso2am-2.6.0").unwrap();
    let other = format!("{PUBLISHERS}/toTheOtherNode.xml");
    home.insert(other, bytes(&text(&good, &usual)));
    let after = applied(&home, &two_machines(), "apim-1");
    assert!(after.file(&usual).is_none());
}

#[test]
fn a_data_source_without_its_jndi_name_is_mended() {
    let Some(good) = patched() else { return };
    let config = "\n            <jndiConfig>\n                <name>jdbc/WSO2GovDB</name>\n            </jndiConfig>";
    let home = edited(&good, DATA_SOURCES, config, "");
    let finding = mended(&home, &good);
    assert!(
        finding.place.ends_with("jndiConfig/name"),
        "{}",
        finding.place
    );
    let empty = edited(&good, DATA_SOURCES, "jdbc/WSO2GovDB", "");
    assert_eq!(
        mended(&empty, &good).wanted.as_deref(),
        Some("jdbc/WSO2GovDB")
    );
}

#[test]
fn a_reference_to_a_source_that_nobody_defines_is_found() {
    let Some(good) = patched() else { return };
    let local = "<dataSource>jdbc/WSO2CarbonDB</dataSource>";
    let home = edited(&good, REGISTRY, local, &local.replace("Carbon", "Carbno"));
    let findings = found(&home);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].found.as_deref(), Some("jdbc/WSO2CarbnoDB"));
    assert_eq!(findings[0].line, Some(30));
    let name = "<DataSourceName>jdbc/WSO2AM_DB</DataSourceName>";
    let home = edited(&good, API_MANAGER, name, &name.replace("AM_DB", "AMDB"));
    assert_eq!(found(&home)[0].place, "DataSourceName");
}

#[test]
fn two_sources_with_one_jndi_name_are_refused() {
    let Some(good) = patched() else { return };
    let home = edited(&good, DATA_SOURCES, "jdbc/WSO2UM_DB", "jdbc/WSO2GovDB");
    assert!(
        refused(&home)
            .found
            .unwrap()
            .contains("JNDI name `jdbc/WSO2GovDB`")
    );
}

#[test]
fn mixed_line_ends_are_kept_and_followed() {
    let Some(good) = stock("wso2am-2.6.0") else {
        return;
    };
    let file = "repository/conf/carbon.xml";
    let twin = "<!--HostName>www.wso2.org</HostName-->\n";
    let home = edited(&good, file, twin, &twin.replace('\n', "\r\n"));
    let after = text(&applied(&home, &two_machines(), "apim-1"), file);
    assert!(after.contains("</HostName-->\r\n    <HostName>api.example.org</HostName>\r\n"));
    assert!(after.contains("</MgtHostName-->\n    <MgtHostName>api.example.org</MgtHostName>\n"));
}

#[test]
fn a_home_configured_by_hand_is_brought_into_order() {
    let Some(home) = stock("wso2am-2.6.0") else {
        return;
    };
    let gov = "<dbConfig name=\"wso2registry\">";
    let by_hand = edited(
        &home,
        REGISTRY,
        gov,
        "<dbConfig name=\"wso2gov\"><dataSource>jdbc/Other</dataSource></dbConfig>\r\n    <remoteInstance url=\"https://localhost:9453/registry\"><id>wso2gov</id><dbConfig>wso2gov</dbConfig><readOnly>false</readOnly><registryRoot>/</registryRoot></remoteInstance>\r\n    <mount path=\"/_system/config\" overwrite=\"true\"><instanceId>gov</instanceId><targetPath>/_system/config</targetPath></mount>\r\n    <dbConfig name=\"wso2registry\">",
    );
    let axis2 = "repository/conf/axis2/axis2.xml";
    let by_hand = edited(
        &by_hand,
        axis2,
        "<member>",
        "<member><hostName>10.1.1.1</hostName><port>4100</port></member><member>",
    );
    let mut by_hand = by_hand;
    let jndi2 = "\u{c2}connectionfactory.TopicConnectionFactory = amqp://admin:admin@clientid/carbon?brokerlist='tcp://localhost:5673'\n";
    let latin1: Vec<u8> = jndi2
        .chars()
        .map(|it| u8::try_from(u32::from(it)).unwrap())
        .collect();
    by_hand.insert("repository/conf/jndi2.properties", latin1);
    let after = applied(&by_hand, &two_machines(), "apim-1");
    let registry = text(&after, REGISTRY);
    assert!(registry.contains("https://localhost:9443/registry"));
    assert!(registry.contains("<cacheId>apim@jdbc:mysql://192.168.10.5:3306/regdb</cacheId>"));
    assert_eq!(
        registry.matches("<instanceId>wso2gov</instanceId>").count(),
        2
    );
    assert!(!text(&after, axis2).contains("10.1.1.1"));
    let jndi2 = text(&after, "repository/conf/jndi2.properties");
    assert!(
        jndi2.starts_with("connectionfactory.TopicConnectionFactory = amqp://admin:a%40"),
        "{jndi2}"
    );
    assert!(jndi2.contains("tcp://192.168.10.2:5672?retries"), "{jndi2}");
    assert_eq!(found(&after), []);
}

#[test]
fn a_file_of_another_release_is_refused() {
    let (Some(new), Some(old)) = (stock("wso2am-2.6.0"), stock("wso2am-2.1.0")) else {
        return;
    };
    let mut home = new.clone();
    home.insert(API_MANAGER, bytes(&text(&old, API_MANAGER)));
    assert!(
        refused(&home)
            .found
            .unwrap()
            .contains("no <TrafficManager>")
    );
    let mut home = new;
    let carbon = "repository/conf/carbon.xml";
    home.insert(carbon, bytes(&text(&old, carbon)));
    let error = home.version(None).unwrap_err().to_string();
    assert!(
        error.contains("mix of releases") && error.contains("2.1.0"),
        "{error}"
    );
}

#[test]
fn an_absent_file_is_refused() {
    let Some(good) = stock("wso2am-2.1.0") else {
        return;
    };
    let mut home = Home::default();
    for path in apim_config::home::FILES {
        if let Some(content) = good.file(path).filter(|_| path != REGISTRY) {
            home.insert(path, content.to_vec());
        }
    }
    assert!(refused(&home).found.unwrap().contains("missing"));
}
