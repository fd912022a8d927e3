//! `nginx.conf`: the load balancer in front of the pair.
//!
//! A whole file, and the only judge of it is nginx: `tests/nginx` starts it in
//! front of two nodes, stops one and looks where each request arrives.

use crate::{
    setup::{LoadBalancer, Node, Port, Setup, authority},
    version::Layout,
};

use self::contexts::GATEWAY_SERVICE;
pub use self::contexts::{Context, contexts};

mod contexts;

/// Consoles, admin services and REST APIs.
const SERVLET: Upstream = Upstream {
    name: "apim_servlet",
    port: Port::ServletHttps,
    what: "Consoles, admin services and REST APIs.",
};
/// API traffic over HTTPS.
const GATEWAY_HTTPS: Upstream = Upstream {
    name: "apim_gateway_https",
    port: Port::GatewayHttps,
    what: "API traffic over HTTPS.",
};
/// API traffic over HTTP.
const GATEWAY_HTTP: Upstream = Upstream {
    name: "apim_gateway_http",
    port: Port::GatewayHttp,
    what: "API traffic over HTTP.",
};

/// A port of both nodes, the active's first.
struct Upstream {
    name: &'static str,
    port: Port,
    what: &'static str,
}

/// `nginx/nginx.conf`: a whole file.
#[must_use]
pub fn nginx_conf(setup: &Setup, layout: Layout) -> String {
    let front = Front::new(&setup.load_balancer);
    let upstreams = [SERVLET, GATEWAY_HTTPS, GATEWAY_HTTP].map(|it| upstream(&it, setup));
    [
        &head(setup),
        BASICS,
        &upstreams.concat(),
        FAILOVER,
        &routes(layout),
        &redirects(setup, &front),
        &https_server(setup, &front, layout),
        &http_server(setup, &front),
        "}\n",
    ]
    .concat()
}

/// The load balancer as clients write it.
struct Front {
    host: String,
    https: String,
    http: String,
}

impl Front {
    fn new(front: &LoadBalancer) -> Self {
        let host = bracketed(&front.host);
        let with = |port, default| {
            if port == default {
                host.clone()
            } else {
                authority(&front.host, port)
            }
        };
        Self {
            https: with(front.https_port, 443),
            http: with(front.http_port, 80),
            host,
        }
    }
}

fn head(setup: &Setup) -> String {
    let [active, passive] = setup.nodes();
    let row = |node: &Node| format!("{} ({}, offset {})", node.name, node.host, node.offset);
    format!(
        "\
# The load balancer of an active-passive pair of WSO2 API Manager.
# Written by `apim-sync config generate`: change setup.toml, not this file.
#
#   active   {}
#   passive  {}
#
# Which node answers?     The end of each line in /var/log/nginx/access.log;
#                         two addresses: the first one failed.
# 502 Bad Gateway?        Neither node answered. /var/log/nginx/error.log says why.
# Take the active out:    write `down` behind its address in the three upstreams.
# A change takes effect:  nginx -t && nginx -s reload
# Host names of nodes are looked up at the start and at a reload, not in between.

worker_processes auto;
worker_rlimit_nofile 16384;
error_log /var/log/nginx/error.log warn;

events {{
    worker_connections 4096;
}}

",
        row(active),
        row(passive)
    )
}

/// Where `http` begins, and what does not depend on the setup.
const BASICS: &str = "\
http {
    log_format apim '$remote_addr - $remote_user [$time_local] \"$request\" $status '
                    '$body_bytes_sent \"$http_user_agent\" $request_time s '
                    '$upstream_status $upstream_addr';
    access_log /var/log/nginx/access.log apim;
    server_tokens off;

    # Archives of APIs are uploaded through here.
    client_max_body_size 100m;
    # Tokens and SAML messages make long headers, both ways.
    large_client_header_buffers 4 32k;
    proxy_buffer_size 32k;
    proxy_buffers 8 32k;
    proxy_busy_buffers_size 64k;
    # Names such as api_key are legal; nginx drops them unless told not to.
    underscores_in_headers on;

    # ---- The nodes -------------------------------------------------------
    # All requests go to the active. When it fails once, the passive gets them
    # for 10 s; then one request tries the active again, and if it is back, so
    # is everything else. A `zone` is what all worker processes know together.
";

fn upstream(upstream: &Upstream, setup: &Setup) -> String {
    let Upstream { name, port, what } = *upstream;
    let [active, passive] = setup.nodes().map(|node| node.authority(port));
    format!(
        "
    # {what}
    upstream {name} {{
        zone {name} 64k;
        server {active} max_fails=1 fail_timeout=10s;
        server {passive} backup;
        keepalive 32;
    }}
"
    )
}

const FAILOVER: &str = "
    # What is a failure: no connection within 2 s, or one that breaks. The other
    # node then gets the same request; but a POST that was sent already is never
    # sent twice. http_500 and http_503 are not listed on purpose: an API whose
    # own back end is broken answers with them, and one such API would take the
    # active out for all.
    proxy_connect_timeout 2s;
    proxy_next_upstream error timeout;
    # A slow API is not a dead node: the gateway itself gives up after 180 s
    # (passthru-http.properties), so only a node that hangs gets to 300 s, and by
    # then its request is not tried elsewhere.
    proxy_send_timeout 300s;
    proxy_read_timeout 300s;
    proxy_next_upstream_timeout 10s;

    # Connections to the nodes stay open. Their certificates are not verified:
    # the stock one is made out to localhost. To do so, set proxy_ssl_verify,
    # proxy_ssl_trusted_certificate and proxy_ssl_name.
    proxy_http_version 1.1;
    proxy_ssl_session_reuse on;
";

fn routes(layout: Layout) -> String {
    let rows: Vec<_> = contexts(layout)
        .map(|it| (pattern(it.path), it.what))
        .collect();
    let exception = pattern(GATEWAY_SERVICE);
    let width = rows.iter().map(|(it, _)| it.len()).max().unwrap_or(0);
    let (servlet, gateway) = (SERVLET.name, GATEWAY_HTTPS.name);
    let rows = rows
        .iter()
        .map(|(pattern, what)| format!("        {pattern:width$} {servlet}; # {what}\n"));
    let rows: String = rows.collect();
    format!(
        "
    # ---- Who serves which path -------------------------------------------
    # /t/TENANT/carbon is served where /carbon is.
    map $uri $apim_path {{
        default $uri;
        \"~^/t/[^/]+(?<in_tenant>/.*)$\" $in_tenant;
    }}

    # Whole segments only: /carbonated is an API. Another web application of
    # port 9443 (/portal of 2.0 and 2.1, say) is one more line.
    map $apim_path $apim_upstream {{
        # Every other path is an API, /token, /revoke, /authorize and /userinfo too.
        # WebSocket APIs have ports of their own, 9099 and 8099, and are not here.
        default {gateway};
        # A proxy service of the gateway.
        {exception} {gateway};

{rows}    }}
"
    )
}

/// The context and everything below it; Tomcat writes `;jsessionid=` behind it.
fn pattern(path: &str) -> String {
    let path = path.replace('.', r"\.").replace('*', "[^/;]*");
    format!("\"~^/{path}(?:[/;]|$)\"")
}

fn redirects(setup: &Setup, front: &Front) -> String {
    let hosts = own_hosts(setup);
    let of = |ports: &[Port]| {
        let all = setup.nodes().into_iter();
        let all = all.flat_map(|node| ports.iter().map(|port| node.port(*port).to_string()));
        distinct(all)
    };
    let https_ports = of(&[Port::ServletHttps, Port::ServletHttp, Port::GatewayHttps]);
    let http_ports = of(&[Port::GatewayHttp]);
    let https_names = format!("{}|{}", SERVLET.name, GATEWAY_HTTPS.name);
    let rule = |ports, names: &str, to| {
        format!(
            "    proxy_redirect \"~*^https?://(?:(?:{hosts}):(?:{ports})|{names})(?<rest>[/?#].*)?$\"\n                   {to}$rest;\n"
        )
    };
    [
        "
    # ---- Redirects -------------------------------------------------------
    # A Location that names a node leads clients past the load balancer, so it is
    # rewritten. One to any other host or port (an identity provider, a redirect
    # of an API) and a relative one stay as they are. Cookies stay too: their
    # paths are right, because no path is changed on the way.
",
        &rule(
            https_ports,
            &https_names,
            format!("https://{}", front.https),
        ),
        &rule(
            http_ports,
            GATEWAY_HTTP.name,
            format!("http://{}", front.http),
        ),
    ]
    .concat()
}

/// The hosts under which a node may name itself, as a regular expression. The
/// load balancer's is one: a node that was not told `proxyPort` puts its own
/// port behind it.
fn own_hosts(setup: &Setup) -> String {
    let [active, passive] = setup.nodes();
    let own = [&active.host, &passive.host, &setup.load_balancer.host].map(String::as_str);
    let all = own.into_iter().chain(["localhost", "127.0.0.1", "::1"]);
    distinct(all.map(|host| {
        let literal = bracketed(host).replace('.', r"\.");
        literal.replace('[', r"\[").replace(']', r"\]")
    }))
}

/// Alternatives of a regular expression, each once.
fn distinct(all: impl Iterator<Item = String>) -> String {
    let mut once = Vec::new();
    for it in all {
        if !once.contains(&it) {
            once.push(it);
        }
    }
    once.join("|")
}

fn https_server(setup: &Setup, front: &Front, layout: Layout) -> String {
    let balancer = &setup.load_balancer;
    let images = match layout {
        Layout::Files => REGISTRY_IMAGES.replace("{servlet}", SERVLET.name),
        Layout::DeploymentToml => String::new(),
    };
    format!(
        "
    # ---- HTTPS: everything -----------------------------------------------
    server {{
{listen}        server_name {host};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:apim_tls:10m;

{headers}{images}
        # No path behind the address: the node gets what the client sent.
        location / {{
            proxy_pass https://$apim_upstream;
        }}
    }}
",
        listen = listen(balancer, balancer.https_port, " ssl"),
        host = front.host,
        certificate = quoted(&balancer.certificate.display().to_string()),
        key = quoted(&balancer.certificate_key.display().to_string()),
        headers = headers(&front.host, &front.https, balancer.https_port),
    )
}

/// The store and the publisher of 2.x address images below their own path.
const REGISTRY_IMAGES: &str = "
        # Images: /store/t/TENANT/registry/... is /t/TENANT/registry/... there.
        location ~ ^/(?:store|publisher)/(?:t/[^/]+/)?registry/ {
            rewrite ^/(store|publisher)/((?:t/[^/]+/)?)registry/(.*)$ /$2registry/$3 break;
            proxy_pass https://{servlet};
        }
";

fn http_server(setup: &Setup, front: &Front) -> String {
    let balancer = &setup.load_balancer;
    format!(
        "
    # ---- HTTP: API traffic; consoles and logins are sent to HTTPS --------
    server {{
{listen}        server_name {host};

{headers}
        location / {{
            if ($apim_upstream = {servlet}) {{
                return 301 https://{https}$request_uri;
            }}
            proxy_pass http://{gateway};
        }}
    }}
",
        listen = listen(balancer, balancer.http_port, ""),
        host = front.host,
        headers = headers(&front.host, &front.http, balancer.http_port),
        servlet = SERVLET.name,
        https = front.https,
        gateway = GATEWAY_HTTP.name,
    )
}

/// IPv4; IPv6 only where the load balancer is known by such an address, because
/// nginx does not start where the system has no IPv6.
fn listen(balancer: &LoadBalancer, port: u16, more: &str) -> String {
    let line = |address| format!("        listen {address}{port}{more};\n");
    if balancer.host.contains(':') {
        return line("") + &line("[::]:");
    }
    format!(
        "{}        # With IPv6 also: listen [::]:{port}{more};\n",
        line("")
    )
}

fn headers(host: &str, authority: &str, port: u16) -> String {
    format!(
        "        # What clients wrote, whatever the node is called: links and redirects
        # are made from it.
        proxy_set_header Host {authority};
        proxy_set_header X-Forwarded-Host {authority};
        proxy_set_header X-Forwarded-Server {host};
        proxy_set_header X-Forwarded-Port {port};
        proxy_set_header X-Forwarded-Proto $scheme;
        # Throttling and deny lists by address believe the first word of this, so
        # none of the client's own is passed on. Behind another proxy: set_real_ip_from.
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header Connection \"\";
"
    )
}

/// A word of nginx' configuration. A `$` in it is a variable's, always.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(hosts: [&str; 2], balancer: &str, layout: Layout) -> String {
        let [a, b] = hosts;
        let text = format!(
            "[[node]]\nname = \"a\"\nhost = \"{a}\"\n[[node]]\nname = \"b\"\nhost = \"{b}\"\n\
             [load_balancer]\n{balancer}\n[admin]\npassword_env = \"A\"\n\
             [database]\nhost = \"db\"\npassword_env = \"D\"\n"
        );
        nginx_conf(&Setup::parse(&text).unwrap(), layout)
    }

    const TWO: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

    #[test]
    fn no_path_stands_behind_the_address_of_a_node() {
        let text = conf(TWO, "host = \"lb\"", Layout::Files);
        let targets = text.lines().filter(|it| it.contains("proxy_pass "));
        let targets: Vec<_> = targets.map(|it| it.trim().trim_end_matches(';')).collect();
        assert_eq!(targets.len(), 3);
        for target in targets {
            let address = target.split_once("://").unwrap().1;
            assert!(!address.contains('/'), "{target}");
        }
        assert!(!text.contains("ssl on") && text.contains("listen 443 ssl;"));
    }

    #[test]
    fn every_context_stands_in_the_file_once_and_the_gateway_s_do_not() {
        for layout in [Layout::Files, Layout::DeploymentToml] {
            let text = conf(TWO, "host = \"lb\"", layout);
            for context in contexts(layout) {
                let row = format!("{} ", pattern(context.path));
                assert_eq!(text.matches(&row).count(), 1, "{row}");
            }
            for api in ["token", "revoke", "authorize", "userinfo", "api"] {
                assert!(!text.contains(&pattern(api)), "{api}");
            }
        }
    }

    #[test]
    fn an_ipv6_address_is_in_brackets_and_escaped_where_it_is_a_pattern() {
        let text = conf(["fd00::1", "fd00::2"], "host = \"fd00::9\"", Layout::Files);
        assert!(text.contains("server [fd00::1]:9443 max_fails=1"));
        assert!(text.contains("server [fd00::2]:8280 backup;"));
        assert!(text.contains(r"(?:(?:\[fd00::1\]|\[fd00::2\]|\[fd00::9\]|localhost|"));
        assert!(text.contains("proxy_set_header Host [fd00::9];"));
        assert!(text.contains("listen [::]:443 ssl;\n        server_name [fd00::9];"));
    }

    #[test]
    fn a_port_that_is_not_the_scheme_s_own_is_part_of_what_clients_write() {
        let text = conf(
            TWO,
            "host = \"lb\"\nhttps_port = 8443\nhttp_port = 8080",
            Layout::DeploymentToml,
        );
        assert!(text.contains("proxy_set_header Host lb:8443;"));
        assert!(text.contains("proxy_set_header Host lb:8080;"));
        assert!(text.contains("return 301 https://lb:8443$request_uri;"));
        assert!(!text.contains("store"), "the store is 2.x'");
    }
}
