//! Row 9, `site.json` of store, publisher and admin: they are behind a proxy.

use super::{Context, Part, Patch, Patched};
use crate::{
    finding::Row,
    patch::{
        Changes, Want,
        site_json::{SiteJson, quoted},
    },
};

const PROXY: &str =
    "the portal would build links with the node's address, which clients do not reach";
const LISTED: &str = "from 2.5 on a portal answers only requests to a host that is on this list";

/// The three portals.
pub(super) fn parts() -> Vec<Part> {
    let part = |name: &str, patch| {
        let path = format!("repository/deployment/server/jaggeryapps/{name}/site/conf/site.json");
        Part::present(&[Row::Portals], &path, Patch::SiteJson(patch))
    };
    vec![
        part("store", |json, context, changes| {
            patch(json, context, "/store", changes)
        }),
        part("publisher", |json, context, changes| {
            patch(json, context, "/publisher", changes)
        }),
        part("admin", |json, context, changes| {
            patch(json, context, "/admin", changes)
        }),
    ]
}

fn patch(json: &SiteJson<'_>, context: &Context<'_>, path: &str, changes: &mut Changes) -> Patched {
    let proxy = json.object("reverseProxy")?;
    let front = &context.view.setup.load_balancer;
    let host = quoted(&front.https_authority());
    let path = quoted(path);
    for (name, value) in [
        ("enabled", "true"),
        ("host", host.as_str()),
        ("context", path.as_str()),
    ] {
        let want = Want::new(Row::Portals, value, PROXY);
        json.set(
            (proxy, name),
            &format!("reverseProxy.{name}"),
            &want,
            changes,
        )?;
    }
    if !context.version.has_second_stream() {
        return Ok(());
    }
    let want = Want::new(Row::Portals, &front.host, LISTED);
    json.hold("whiteListedHostNames", &want, changes)
}
