//! WSO2's own two-node configuration of 2.6.0 beside ours: every difference is
//! explained once in docs/wso2-reference.md.

use std::{collections::BTreeSet, fs, path::Path};

use apim_config::setup::Setup;

use crate::{
    compare::differences,
    load::{applied, stock, text},
};

const CONFS: &str = "../../shared/wso2/reference-configs/kubernetes-apim-2.6.0.9-pattern-1/confs";
const DOC: &str = "../docs/wso2-reference.md";

/// The pair as WSO2's configuration has it.
fn setup() -> Setup {
    Setup::parse(
        "\
[[node]]
name = \"apim-1\"
host = \"wso2apim-with-analytics-apim-1-service\"
[[node]]
name = \"apim-2\"
host = \"wso2apim-with-analytics-apim-2-service\"
[load_balancer]
host = \"wso2apim\"
[database]
host = \"wso2apim-with-analytics-rdbms-service\"
engine_version = \"5.7\"
user = \"wso2carbon\"
password_env = \"DB\"
[admin]
password_env = \"ADMIN\"
",
    )
    .unwrap()
}

/// `/a/b/c` of `+/a/b/@c=value`, the value and the sign left out.
fn place(line: &str) -> &str {
    let line = &line[1..];
    line.split('=').next().unwrap_or(line)
}

/// Whether the page names the place, or the data source that it is in.
fn is_explained(page: &str, place: &str) -> bool {
    let whole = place.find(']').map_or(place, |end| &place[..=end]);
    [place, whole]
        .iter()
        .any(|place| page.contains(&format!("`{place}`")))
}

#[test]
fn every_difference_from_wso2s_own_pair_is_explained() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(home) = stock("wso2am-2.6.0").filter(|_| here.join(CONFS).is_dir()) else {
        return;
    };
    let explained = fs::read_to_string(here.join(DOC)).unwrap();
    let mut found = BTreeSet::new();
    for node in ["apim-1", "apim-2"] {
        let ours = applied(&home, &setup(), node);
        for file in [
            "api-manager.xml",
            "user-mgt.xml",
            "carbon.xml",
            "registry.xml",
            "datasources/master-datasources.xml",
        ] {
            let theirs = fs::read(here.join(CONFS).join(node).join(file)).unwrap();
            let theirs: String = theirs.iter().map(|&byte| char::from(byte)).collect();
            let ours = text(&ours, &format!("repository/conf/{file}"));
            let found_here = differences(&theirs, &ours);
            let meant = found_here.iter().filter(|line| !line.contains("/#"));
            found.extend(meant.map(|line| place(line).to_owned()));
        }
    }
    let missing: Vec<_> = found
        .iter()
        .filter(|place| !is_explained(&explained, place))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/wso2-reference.md: {missing:#?}"
    );
    let stale: Vec<_> = explained
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with('/') && !found.iter().any(|it| it.starts_with(*word)))
        .collect();
    assert!(stale.is_empty(), "no longer a difference: {stale:#?}");
}
