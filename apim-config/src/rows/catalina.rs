//! Row 16, `catalina-server.xml`: the ports that clients see.

use super::{Context, Patched};
use crate::{
    finding::Row,
    patch::{Changes, Want, xml::Xml},
    setup::Port,
};

const PROXY: &str = "without it the server redirects clients to its own port, which the load balancer does not serve";

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("Server")?;
    let service = xml.one(root, "Service")?;
    let front = &context.view.setup.load_balancer;
    for (port, proxy) in [
        (Port::ServletHttp, front.http_port),
        (Port::ServletHttps, front.https_port),
    ] {
        let port = (port as u16).to_string();
        let connector = xml
            .with_attribute(service, "Connector", ("port", &port))?
            .ok_or_else(|| xml.absent(service, &format!("<Connector port=\"{port}\">")))?;
        let proxy = proxy.to_string();
        let want = Want::new(Row::Tomcat, &proxy, PROXY);
        xml.set_attribute(connector, ("proxyPort", "port"), &want, changes);
    }
    Ok(())
}
