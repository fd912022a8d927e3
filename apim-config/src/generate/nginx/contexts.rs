//! Which paths the servlet transport (9443) serves; every other path is an API,
//! and the gateway's.

use crate::version::Layout;

/// What the servlet transport of every release serves.
///
/// From the web applications that the `bin.xml` of product-apim puts into the
/// releases, the addresses in their `identity.xml`, and the servlets of Carbon.
const CONTEXTS: &[Context] = &[
    Context::new("carbon", "management console"),
    Context::new("publisher", "API publisher"),
    Context::new("admin", "admin portal"),
    Context::new("api/am", "REST APIs of the portals"),
    Context::new("api/identity", "recovery, consent, users"),
    Context::new("client-registration", "registration of clients"),
    Context::new("oauth2", "OAuth 2; /token and /revoke are APIs"),
    Context::new("oidc", "OpenID Connect sessions"),
    Context::new(".well-known/webfinger", "OpenID Connect discovery"),
    Context::new("authenticationendpoint", "login pages"),
    Context::new("accountrecoveryendpoint", "recovery pages"),
    Context::new("emailverification", "links in e-mails"),
    Context::new("commonauth", "login, all protocols"),
    Context::new("logincontext", "state of a login"),
    Context::new("samlsso", "SAML"),
    Context::new("acs", "SAML, into the management console"),
    Context::new("openid", "OpenID"),
    Context::new("openidserver", "OpenID"),
    Context::new("passivests", "WS-Federation"),
    Context::new("identity", "metadata of the identity provider"),
    Context::new("scim2", "users and groups"),
    Context::new("wso2/scim", "users and groups, SCIM 1.1"),
    Context::new("services", "admin services (SOAP)"),
    Context::new("registry", "images and documents"),
    Context::new("fileupload", "uploads of the management console"),
    Context::new("filedownload", "downloads of the management console"),
    Context::new("am/sample", "back ends of the sample APIs"),
];

/// What only 2.x serves.
const CONTEXTS_OF_2: &[Context] = &[
    Context::new("store", "API store"),
    Context::new("throttle/data", "what gateways block"),
    Context::new("micro-gateway", "APIs for the microgateway"),
    Context::new("api-import-export-*", "import and export of APIs"),
    Context::new("thriftAuthenticator", "login of Thrift clients"),
];

/// What only 3.x serves.
const CONTEXTS_OF_3: &[Context] = &[
    Context::new("devportal", "developer portal"),
    Context::new("admin-old", "admin portal of 3.1, in 3.2"),
    Context::new("throttle/data", "what gateways block, to 3.1"),
    Context::new("internal/data", "what gateways block, 3.2"),
    Context::new("keymanager-operations", "key manager"),
];

/// Below a servlet context, and yet the gateway's: a proxy service.
pub(super) const GATEWAY_SERVICE: &str = "services/WorkflowCallbackService";

/// A path that the servlet transport serves, with everything below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The first segments of the path, without the slash before them; a `*`
    /// stands for the rest of a segment.
    pub path: &'static str,
    /// What is there, in a few words.
    pub what: &'static str,
}

impl Context {
    const fn new(path: &'static str, what: &'static str) -> Self {
        Self { path, what }
    }
}

/// What the servlet transport serves. The same paths behind `/t/TENANT` are the
/// tenants'.
pub fn contexts(layout: Layout) -> impl Iterator<Item = &'static Context> {
    let more = match layout {
        Layout::Files => CONTEXTS_OF_2,
        Layout::DeploymentToml => CONTEXTS_OF_3,
    };
    CONTEXTS.iter().chain(more)
}
