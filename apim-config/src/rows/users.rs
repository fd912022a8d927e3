//! Row 5, `user-mgt.xml`: users in the shared database, and the administrator.

use super::{Context, Patched};
use crate::{
    finding::Row,
    patch::{Changes, Want, xml::Xml},
};

const SHARED_USERS: &str = "users and roles would be in a database of this node: after a failover nobody of them can log in";
const ADMINISTRATOR: &str =
    "the other files of both nodes log in as the administrator that this file names";

pub(super) fn patch(xml: &Xml<'_>, context: &Context<'_>, changes: &mut Changes) -> Patched {
    let root = xml.root("UserManager")?;
    let settings = xml.path(root, &["Realm", "Configuration"])?;
    let source = xml
        .with_attribute(settings, "Property", ("name", "dataSource"))?
        .ok_or_else(|| xml.absent(settings, "<Property name=\"dataSource\">"))?;
    let want = Want::new(Row::Users, "jdbc/WSO2UM_DB", SHARED_USERS);
    xml.set_text(source, &want, changes)?;
    let admin = xml.one(settings, "AdminUser")?;
    let user = Want::new(Row::Users, &context.view.setup.admin.user, ADMINISTRATOR);
    xml.set_text(xml.one(admin, "UserName")?, &user, changes)?;
    let password = Want::new(Row::Users, context.secrets.admin.expose(), ADMINISTRATOR).secret();
    xml.set_text(xml.one(admin, "Password")?, &password, changes)
}
