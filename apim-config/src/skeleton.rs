//! The places of each file without the file: what is patched where no home was
//! given, so that the result is a complete snippet to put into the real one.

use crate::{
    home::{DEPLOYMENT_TOML, Home},
    version::{Layout, Version},
};

const NOTE: &str = "Not a whole file: these are the places of {file} that the setup needs. Put them into the one of the home, or run `apim-sync config apply` there.";

/// A home of that release with nothing in it but the places.
#[must_use]
pub(crate) fn skeleton(version: Version) -> Home {
    let mut home = Home::default();
    home.insert(
        "bin/version.txt",
        format!("WSO2 API Manager v{version}").into_bytes(),
    );
    if version.layout() == Layout::DeploymentToml {
        let note = NOTE.replace("{file}", "deployment.toml");
        home.insert(
            DEPLOYMENT_TOML,
            format!("# {note}\n{DEPLOYMENT}").into_bytes(),
        );
        return home;
    }
    for (path, content) in [
        ("datasources/master-datasources.xml", DATA_SOURCES),
        ("user-mgt.xml", USERS),
        ("registry.xml", REGISTRY),
        ("axis2/axis2.xml", AXIS2),
        ("carbon.xml", CARBON),
        ("tomcat/catalina-server.xml", CATALINA),
        ("api-manager.xml", API_MANAGER),
    ] {
        let section = if version.has_traffic_manager() {
            "TrafficManager"
        } else {
            "DataPublisher"
        };
        let note = NOTE.replace("{file}", path);
        let content = content
            .replace("{throttling}", section)
            .replace("{commit}", &version.default_auto_commit().to_string());
        let path = format!("repository/conf/{path}");
        home.insert(path, format!("<!-- {note} -->\n{content}").into_bytes());
    }
    home.insert("repository/conf/jndi.properties", Vec::new());
    for portal in ["store", "publisher", "admin"] {
        let path = format!("repository/deployment/server/jaggeryapps/{portal}/site/conf/site.json");
        let listed = version.has_second_stream() && portal != "publisher";
        let list = if listed { LISTED } else { "" };
        let note = NOTE.replace("{file}", "site.json");
        let content = SITE.replace("{listed}", list);
        home.insert(path, format!("// {note}\n{content}").into_bytes());
    }
    home
}

const DATA_SOURCES: &str = "\
<datasources-configuration>
    <datasources>
        <datasource>
            <name>WSO2AM_DB</name>
            <description>The data source of the API Manager</description>
            <jndiConfig>
                <name>jdbc/WSO2AM_DB</name>
            </jndiConfig>
            <definition type=\"RDBMS\">
                <configuration>
                    <url></url>
                    <username></username>
                    <password></password>
                    <driverClassName></driverClassName>
                    <maxActive>50</maxActive>
                    <maxWait>60000</maxWait>
                    <minIdle>5</minIdle>
                    <testOnBorrow>true</testOnBorrow>
                    <validationQuery>SELECT 1</validationQuery>
                    <validationInterval>30000</validationInterval>
                    <defaultAutoCommit>{commit}</defaultAutoCommit>
                </configuration>
            </definition>
        </datasource>
    </datasources>
</datasources-configuration>
";

const USERS: &str = "\
<UserManager>
    <Realm>
        <Configuration>
            <AdminUser>
                <UserName></UserName>
                <Password></Password>
            </AdminUser>
            <Property name=\"dataSource\"></Property>
        </Configuration>
    </Realm>
</UserManager>
";

const REGISTRY: &str = "\
<wso2registry>
    <!-- This one ships and stays: -->
    <dbConfig name=\"wso2registry\">
        <dataSource>jdbc/WSO2CarbonDB</dataSource>
    </dbConfig>
</wso2registry>
";

const AXIS2: &str = "\
<axisconfig name=\"AxisJava2.0\">
    <clustering class=\"org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent\"
                enable=\"false\">
        <parameter name=\"membershipScheme\"></parameter>
        <parameter name=\"domain\"></parameter>
        <parameter name=\"localMemberHost\"></parameter>
        <parameter name=\"localMemberPort\"></parameter>
        <members>
            <member>
                <hostName></hostName>
                <port></port>
            </member>
        </members>
    </clustering>
</axisconfig>
";

const CARBON: &str = "\
<Server xmlns=\"http://wso2.org/projects/carbon/carbon.xml\">
    <!--HostName>commented out in the stock file: this is where it belongs</HostName-->
    <!--MgtHostName>likewise</MgtHostName-->
    <Ports>
        <Offset></Offset>
    </Ports>
</Server>
";

const CATALINA: &str = "\
<Server>
    <Service>
        <Connector port=\"9763\"/>
        <Connector port=\"9443\"/>
    </Service>
</Server>
";

const API_MANAGER: &str = "\
<APIManager>
    <!-- AuthManager, APIKeyValidator and APIStore have a ServerURL too: those stay as they are. -->
    <AuthManager/>
    <APIGateway>
        <Environments>
            <Environment>
                <ServerURL></ServerURL>
            </Environment>
        </Environments>
    </APIGateway>
    <APIKeyValidator>
        <KeyValidatorClientType>ThriftClient</KeyValidatorClientType>
    </APIKeyValidator>
    <APIStore/>
    <ThrottlingConfigurations>
        <{throttling}>
            <ReceiverUrlGroup></ReceiverUrlGroup>
            <AuthUrlGroup></AuthUrlGroup>
        </{throttling}>
    </ThrottlingConfigurations>
</APIManager>
";

const SITE: &str = "\
{
    \"reverseProxy\" : {
        \"enabled\" : false,
        \"host\" : \"\",
        \"context\" : \"\"
    }{listed}
}
";

const LISTED: &str = ",\n    \"whiteListedHostNames\" : [\"localhost\"]";

const DEPLOYMENT: &str = "\
[server]

[super_admin]

[database.apim_db]

[database.shared_db]

# The rest of this table stays as it is in the home.
[[apim.gateway.environment]]
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::State,
        plan::plan,
        secret::{Secret, Secrets},
        setup::{Setup, template},
    };

    #[test]
    fn every_release_has_every_place() {
        let setup = Setup::parse(&template(&Default::default())).unwrap();
        let secrets = Secrets {
            database: Secret::new("d"),
            admin: Secret::new("a"),
        };
        for version in ["2.0", "2.1", "2.2", "2.5", "2.6", "3.0", "3.1", "3.2"] {
            let home = skeleton(version.parse().unwrap());
            let view = setup.view("apim-2").unwrap();
            let result = plan(&home, view, &secrets).unwrap();
            assert_eq!(result.refusals, [], "{version}");
            let mut after = home.clone();
            for file in &result.files {
                after.insert(file.path.clone(), file.after.clone());
            }
            let again = plan(&after, view, &secrets).unwrap();
            assert_eq!(again.files, [], "{version}");
            // The local data source, which the snippets leave out, is not missed.
            let left = again.findings.iter().filter(|it| {
                it.state == State::Wrong && it.found.as_deref() != Some("jdbc/WSO2CarbonDB")
            });
            assert_eq!(left.count(), 0, "{version}");
        }
    }
}
