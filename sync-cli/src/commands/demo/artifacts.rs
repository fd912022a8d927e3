//! A synapse-configs tree such as a small gateway has: the same every time.

use std::{fs, io, path::Path};

/// API names, as publishers choose them; `PizzaShack` comes first because the
/// scenes edit it.
const NAMES: [&str; 40] = [
    "PizzaShack",
    "Weather",
    "Orders",
    "Customers",
    "Inventory",
    "Payments",
    "Invoices",
    "Shipping",
    "Catalog",
    "Pricing",
    "Loyalty",
    "Accounts",
    "Cards",
    "Loans",
    "Branches",
    "Rates",
    "Transfers",
    "Statements",
    "Claims",
    "Policies",
    "Quotes",
    "Doctors",
    "Appointments",
    "Prescriptions",
    "Flights",
    "Hotels",
    "Bookings",
    "Seats",
    "Baggage",
    "Maps",
    "Geocode",
    "Traffic",
    "Parking",
    "Users",
    "Roles",
    "Sessions",
    "Notifications",
    "Documents",
    "Search",
    "Reports",
];

/// Sequences that every gateway has.
const FIXED_SEQUENCES: [&str; 8] = [
    "main",
    "fault",
    "_auth_failure_handler_",
    "_cors_request_handler_",
    "_resource_mismatch_handler_",
    "_throttle_out_handler_",
    "_token_fault_",
    "dispatchSeq",
];

/// One API of the tree: the file it is in and the text it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Api {
    name: String,
    version: &'static str,
}

impl Api {
    /// The API at `index` in the tree.
    pub(super) fn at(index: usize) -> Self {
        Self {
            name: format!("{}API", NAMES[index % NAMES.len()]),
            version: "1.0.0",
        }
    }

    /// Its path in the tree.
    pub(super) fn path(&self) -> String {
        format!("default/api/admin--{}_v{}.xml", self.name, self.version)
    }

    /// Its definition; `revision` marks an edit.
    pub(super) fn text(&self, revision: u32) -> String {
        let Self { name, version } = self;
        let context = name.to_lowercase();
        let resources: String = RESOURCES
            .iter()
            .map(|(method, template)| resource(name, version, method, template))
            .collect();
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<api xmlns="http://ws.apache.org/ns/synapse" name="admin--{name}" context="/{context}/{version}" version="{version}" version-type="context">
{resources}    <handlers>
        <handler class="org.wso2.carbon.apimgt.gateway.handlers.security.CORSRequestHandler">
            <property name="apiImplementationType" value="ENDPOINT"/>
        </handler>
        <handler class="org.wso2.carbon.apimgt.gateway.handlers.security.APIAuthenticationHandler"/>
        <handler class="org.wso2.carbon.apimgt.gateway.handlers.throttling.ThrottleHandler">
            <property name="revision" value="{revision}"/>
        </handler>
        <handler class="org.wso2.carbon.apimgt.usage.publisher.APIMgtUsageHandler"/>
    </handlers>
</api>"#
        )
    }
}

const RESOURCES: [(&str, &str); 3] = [
    ("GET", "/items"),
    ("POST", "/items"),
    ("DELETE", "/items/{id}"),
];

fn resource(name: &str, version: &str, method: &str, template: &str) -> String {
    format!(
        r#"    <resource methods="{method}" uri-template="{template}" faultSequence="fault">
        <inSequence>
            <sequence key="admin--{name}_v{version}--In"/>
            <property name="api.ut.backendRequestTime" expression="get-property('SYSTEM_TIME')"/>
            <send>
                <endpoint key="admin--{name}--v{version}_APIproductionEndpoint"/>
            </send>
        </inSequence>
        <outSequence>
            <class name="org.wso2.carbon.apimgt.gateway.handlers.analytics.APIMgtResponseHandler"/>
            <send/>
        </outSequence>
    </resource>
"#
    )
}

/// Every file of the tree: path and text.
pub(super) fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for name in FIXED_SEQUENCES {
        files.push((
            format!("default/sequences/{name}.xml"),
            sequence(name, "gateway"),
        ));
    }
    files.push((
        "default/proxy-services/WorkflowCallbackService.xml".into(),
        proxy("WorkflowCallbackService"),
    ));
    for index in 0..NAMES.len() {
        files.extend(api_files(&Api::at(index)));
    }
    files
}

/// What the publisher writes for one API.
fn api_files(api: &Api) -> Vec<(String, String)> {
    let Api { name, version } = api;
    let mut files = vec![(api.path(), api.text(1))];
    for direction in ["In", "Out"] {
        let sequence_name = format!("admin--{name}_v{version}--{direction}");
        let path = format!("default/sequences/{sequence_name}.xml");
        files.push((path, sequence(&sequence_name, name)));
    }
    let endpoint_name = format!("admin--{name}--v{version}_APIproductionEndpoint");
    files.push((
        format!("default/endpoints/{endpoint_name}.xml"),
        endpoint(&endpoint_name, name),
    ));
    files.push((
        format!("default/local-entries/admin--{name}_v{version}_swagger.xml"),
        local_entry(name, version),
    ));
    files
}

fn sequence(name: &str, what: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<sequence xmlns="http://ws.apache.org/ns/synapse" name="{name}">
    <property name="what" value="{what}"/>
    <log level="custom">
        <property name="sequence" value="{name}"/>
    </log>
</sequence>"#
    )
}

fn endpoint(name: &str, api: &str) -> String {
    let host = api.to_lowercase();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<endpoint xmlns="http://ws.apache.org/ns/synapse" name="{name}">
    <http uri-template="https://{host}.backend.example.org/services">
        <timeout>
            <duration>30000</duration>
            <responseAction>fault</responseAction>
        </timeout>
        <suspendOnFailure>
            <errorCodes>101503,101504</errorCodes>
            <progressionFactor>1.0</progressionFactor>
        </suspendOnFailure>
    </http>
</endpoint>"#
    )
}

fn local_entry(name: &str, version: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<localEntry xmlns="http://ws.apache.org/ns/synapse" key="admin--{name}_v{version}_swagger">{{"swagger":"2.0","info":{{"title":"{name}","version":"{version}"}},"paths":{{"/items":{{}}}}}}</localEntry>"#
    )
}

fn proxy(name: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<proxy xmlns="http://ws.apache.org/ns/synapse" name="{name}" transports="https" startOnLoad="true">
    <target>
        <inSequence>
            <drop/>
        </inSequence>
    </target>
</proxy>"#
    )
}

/// Writes the whole tree below `root`; how many files and bytes that is.
pub(super) fn fill(root: &Path) -> io::Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for (path, text) in files() {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, &text)?;
        count += 1;
        bytes += text.len() as u64;
    }
    Ok((count, bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tree_has_two_hundred_distinct_well_formed_artifacts() {
        let files = files();
        let paths: BTreeSet<_> = files.iter().map(|(path, _)| path).collect();
        assert_eq!((files.len(), paths.len()), (209, 209));
        assert!(paths.contains(&"default/api/admin--PizzaShackAPI_v1.0.0.xml".to_owned()));
        for (path, text) in &files {
            let judged = sync_core::well_formed::well_formed(text.as_bytes());
            assert!(judged.is_ok(), "{path}: {judged:?}");
        }
    }

    #[test]
    fn a_revision_changes_the_text() {
        assert_ne!(Api::at(0).text(1), Api::at(0).text(2));
    }
}
