//! An `APIM_HOME` of 2.6.0 in miniature: every file that the setup touches, with
//! the traps of the stock ones (twins in comments, CRLF, four `ServerURL`s,
//! JSON that is none), and little else. Written here; nothing of it is WSO2's.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What a home's file may be told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, (Vec<u8>, SystemTime)>);

impl Snapshot {
    /// Every file below `root`: content and time.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn of(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        gather(root, &mut files)?;
        Ok(Self(files))
    }

    /// The files that are not the same in `other`.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<PathBuf> {
        let all = self.0.keys().chain(other.0.keys());
        let mut changed: Vec<PathBuf> = all
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

fn gather(
    directory: &Path,
    files: &mut BTreeMap<PathBuf, (Vec<u8>, SystemTime)>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else {
            let time = fs::metadata(&path)?.modified()?;
            files.insert(path.clone(), (fs::read(&path)?, time));
        }
    }
    Ok(())
}

/// Makes a home in `root`.
///
/// # Panics
/// When it cannot be written.
pub fn make(root: &Path) {
    for (path, content) in FILES {
        let path = root.join(path);
        let parent = path.parent().expect("a file is in a directory");
        fs::create_dir_all(parent).expect("the home can be written");
        let content = if path.ends_with("registry.xml") {
            content.replace('\n', "\r\n")
        } else {
            content.to_owned()
        };
        fs::write(&path, content).expect("the home can be written");
    }
    for portal in ["store", "publisher", "admin"] {
        let path = format!("repository/deployment/server/jaggeryapps/{portal}/site/conf");
        fs::create_dir_all(root.join(&path)).expect("the home can be written");
        fs::write(root.join(path).join("site.json"), SITE).expect("the home can be written");
    }
}

const FILES: [(&str, &str); 16] = [
    ("bin/version.txt", "WSO2 API Manager v2.6.0\n"),
    (
        "bin/wso2carbon-version.txt",
        "WSO2 Carbon Framework v4.4.35\n",
    ),
    ("bin/wso2server.sh", "#!/bin/sh\n"),
    ("repository/database/LOCAL.db", "of one node"),
    ("repository/logs/wso2carbon.log", "of one node"),
    (
        "repository/components/lib/mysql-connector-j-8.4.0.jar",
        "a jar",
    ),
    (
        "repository/deployment/server/synapse-configs/default/api/Pizza.xml",
        "<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"Pizza\" context=\"/pizza\"/>",
    ),
    (
        "repository/conf/datasources/master-datasources.xml",
        DATA_SOURCES,
    ),
    ("repository/conf/user-mgt.xml", USERS),
    ("repository/conf/registry.xml", REGISTRY),
    ("repository/conf/axis2/axis2.xml", AXIS2),
    ("repository/conf/api-manager.xml", API_MANAGER),
    ("repository/conf/carbon.xml", CARBON),
    ("repository/conf/tomcat/catalina-server.xml", CATALINA),
    ("repository/conf/jndi.properties", JNDI),
    (
        "repository/deployment/server/eventpublishers/jmsEventPublisher.xml",
        PUBLISHER,
    ),
];

const DATA_SOURCES: &str = "<datasources-configuration>
  <datasources>
    <datasource>
      <name>WSO2_CARBON_DB</name>
      <jndiConfig><name>jdbc/WSO2CarbonDB</name></jndiConfig>
      <definition type=\"RDBMS\"><configuration><url>jdbc:h2:local</url><password>old-secret</password></configuration></definition>
    </datasource>
    <datasource>
      <name>WSO2AM_DB</name>
      <jndiConfig>
        <name>jdbc/WSO2AM_DB</name>
      </jndiConfig>
      <definition type=\"RDBMS\">
        <configuration>
          <url>jdbc:h2:local</url>
          <username>h2</username>
          <password>old-secret</password>
          <driverClassName>org.h2.Driver</driverClassName>
        </configuration>
      </definition>
    </datasource>
    <!--datasource>
      <name>WSO2GOV_DB</name>
    </datasource-->
  </datasources>
</datasources-configuration>
";

const USERS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<UserManager>
  <Realm>
    <Configuration>
      <AdminUser>
        <UserName>admin</UserName>
        <Password>admin</Password>
      </AdminUser>
      <Property name=\"dataSource\">jdbc/WSO2CarbonDB</Property>
    </Configuration>
  </Realm>
</UserManager>
";

const REGISTRY: &str = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>
<wso2registry>
    <dbConfig name=\"wso2registry\">
        <dataSource>jdbc/WSO2CarbonDB</dataSource>
    </dbConfig>

    <!--mount path=\"/_system/config\" overwrite=\"true|false|virtual\">
        <instanceId>instanceid</instanceId>
    </mount-->
</wso2registry>
";

const AXIS2: &str = "<axisconfig name=\"AxisJava2.0\">
    <clustering class=\"agent\"
                enable=\"false\">
        <parameter name=\"membershipScheme\">multicast</parameter>
        <parameter name=\"domain\">wso2.carbon.domain</parameter>
        <parameter name=\"localMemberHost\">127.0.0.1</parameter>
        <parameter name=\"localMemberPort\">4000</parameter>
        <members>
            <member>
                <hostName>127.0.0.1</hostName>
                <port>4000</port>
            </member>
        </members>
    </clustering>
</axisconfig>
";

const API_MANAGER: &str = "<APIManager>
    <AuthManager>
        <ServerURL>https://localhost:${mgt.transport.https.port}${carbon.context}services/</ServerURL>
    </AuthManager>
    <APIGateway><Environments><Environment type=\"hybrid\">
        <ServerURL>https://localhost:${mgt.transport.https.port}${carbon.context}services/</ServerURL>
    </Environment></Environments></APIGateway>
    <APIKeyValidator>
        <ServerURL>https://localhost:${mgt.transport.https.port}${carbon.context}services/</ServerURL>
        <KeyValidatorClientType>ThriftClient</KeyValidatorClientType>
        <!--ThriftClientPort>10397</ThriftClientPort-->
        <EnableThriftServer>true</EnableThriftServer>
    </APIKeyValidator>
    <APIStore>
        <ServerURL>https://localhost:${mgt.transport.https.port}${carbon.context}services/</ServerURL>
    </APIStore>
    <ThrottlingConfigurations>
        <TrafficManager>
            <ReceiverUrlGroup>tcp://${carbon.local.ip}:${receiver.url.port}</ReceiverUrlGroup>
            <AuthUrlGroup>ssl://${carbon.local.ip}:${auth.url.port}</AuthUrlGroup>
        </TrafficManager>
    </ThrottlingConfigurations>
</APIManager>
";

const CARBON: &str = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>
<Server xmlns=\"http://wso2.org/projects/carbon/carbon.xml\">
    <Version>2.6.0</Version>
    <!--HostName>www.wso2.org</HostName-->
    <!--MgtHostName>mgt.wso2.org</MgtHostName-->
    <Ports>
        <Offset>0</Offset>
    </Ports>
</Server>
";

const CATALINA: &str = "<Server port=\"8005\">
    <Service name=\"Catalina\">
        <!-- proxyPort=\"80\" -->
        <Connector port=\"9763\"
                   redirectPort=\"9443\"/>
        <Connector port=\"9443\"
                   scheme=\"https\"/>
    </Service>
</Server>
";

const JNDI: &str = "# factories
connectionfactory.TopicConnectionFactory = amqp://admin:admin@clientid/carbon?brokerlist='tcp://localhost:5672'
connectionfactory.QueueConnectionFactory = amqp://admin:admin@clientID/test?brokerlist='tcp://localhost:5672'
topic.throttleData = throttleData
";

const PUBLISHER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<eventPublisher name=\"jmsEventPublisher\" xmlns=\"http://wso2.org/carbon/eventpublisher\">
  <from streamName=\"org.wso2.throttle.globalThrottle.stream\" version=\"1.0.0\"/>
</eventPublisher>
";

const SITE: &str = "{
    \"context\" : \"/portal\",
    \"reverseProxy\" : {
        \"enabled\" : false,    // true, false or \"auto\"
        \"host\" : \"sample.proxydomain.com\",
        \"context\":\"\",
        //\"regContext\":\"\"
    },
    \"whiteListedHostNames\" : [\"localhost\"],
}
";
