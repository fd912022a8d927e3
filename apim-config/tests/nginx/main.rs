#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! The generated `nginx.conf`, judged by nginx: is it accepted, and where does
//! each request arrive while the active runs, is gone, and is back.

mod world;

use apim_config::{generate::nginx::contexts, version::Layout};
use world::{Ground, HOST, Programs, World};

const LAYOUTS: [Layout; 2] = [Layout::Files, Layout::DeploymentToml];

#[test]
fn nginx_accepts_the_file_of_every_kind_of_setup() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let ground = Ground::new(&programs);
    let two_machines = [("10.0.0.1", 0), ("10.0.0.2", 0)];
    for (nodes, balancer) in [
        (two_machines, "host = \"api.example.org\""),
        ([("localhost", 0), ("localhost", 1)], "host = \"localhost\""),
        ([("127.0.0.1", 3), ("127.0.0.1", 70)], "host = \"lb\""),
        (
            [("fd00::1", 0), ("fd00::2", 0)],
            "host = \"api.example.org\"",
        ),
        (
            two_machines,
            "host = \"lb\"\nhttps_port = 18443\nhttp_port = 18080",
        ),
    ] {
        for layout in LAYOUTS {
            ground.accepts(&ground.setup(nodes, balancer), layout);
        }
    }
}

/// Every path of the table, a tenant's too, and APIs, with who serves them.
fn served(layout: Layout) -> Vec<(String, &'static str)> {
    let servlet = contexts(layout).flat_map(|context| {
        let path = context.path.replace('*', "2.6.0-v2");
        [
            format!("/{path}"),
            format!("/{path}/deep/page.jsp?x=1"),
            format!("/t/acme.com/{path}/"),
        ]
    });
    let apis = [
        "/",
        "/token",
        "/revoke",
        "/authorize",
        "/userinfo",
        "/t/acme/weather",
        "/t/carbon",
        "/carbonated/1.0",
        "/storefront/1.0",
        "/Carbon/1.0",
        "/weather/carbon/1.0",
        "/api/orders/1.0",
        "/api/amount/1.0",
        "/scimxwell/1.0",
        "/services/WorkflowCallbackService",
    ];
    let servlet = servlet.map(|path| (path, "servlet"));
    let apis = apis.map(|path| (path.to_owned(), "gateway"));
    servlet.chain(apis).collect()
}

/// Asks for everything; each request has to arrive at that node, unchanged.
fn check(world: &World, layout: Layout, node: &str) {
    let (paths, pools): (Vec<_>, Vec<_>) = served(layout).into_iter().unzip();
    for method in ["GET", "POST"] {
        let lines = world.lines(method, "https", &paths);
        let wanted = paths.iter().zip(&pools);
        let wanted = wanted.map(|(path, pool)| format!("{node} {pool} {method} {path}"));
        assert_eq!(lines, wanted.collect::<Vec<_>>());
    }
    let apis: Vec<_> = paths.iter().zip(&pools).collect();
    let apis = apis.into_iter().filter(|(_, pool)| **pool == "gateway");
    let apis: Vec<_> = apis.map(|(path, _)| path.clone()).collect();
    let lines = world.lines("GET", "http", &apis);
    let wanted = apis
        .iter()
        .map(|path| format!("{node} gateway-http GET {path}"));
    assert_eq!(lines, wanted.collect::<Vec<_>>());
}

fn fails_over_and_comes_back(layout: Layout) {
    let Some(programs) = Programs::find() else {
        return;
    };
    let mut world = World::start(&programs, layout);
    check(&world, layout, "active");
    world.stop_active();
    check(&world, layout, "passive");
    world.return_active();
    check(&world, layout, "active");
}

#[test]
fn every_context_of_2_fails_over_to_the_passive_and_comes_back() {
    fails_over_and_comes_back(Layout::Files);
}

#[test]
fn every_context_of_3_fails_over_to_the_passive_and_comes_back() {
    fails_over_and_comes_back(Layout::DeploymentToml);
}

#[test]
fn a_path_arrives_as_the_client_wrote_it() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    for path in [
        "/store/a%20b?x=%2F",
        "/store;jsessionid=1?a=b&c=%26",
        "/publisher/%C3%A4%2Fb;v=1/?q=a+b",
        "/carbon/admin/index.jsp?loginStatus=true",
        "/weather/1.0/a%2Fb%20c?q=%3F%23&empty=",
    ] {
        let line = world.get("https", path, &[]).body;
        assert!(line.ends_with(&format!(" GET {path}\n")), "{line}");
    }
    let plain = world.get("http", "/weather/a%2Fb?x=%2F", &[]).body;
    assert_eq!(plain, "active gateway-http GET /weather/a%2Fb?x=%2F\n");
}

#[test]
fn images_are_taken_from_the_registry_of_the_tenant() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    for (path, arrives) in [
        ("/store/registry/resource/a", "/registry/resource/a"),
        (
            "/publisher/t/acme.com/registry/resource/_system/my%20icon?v=%2F1",
            "/t/acme.com/registry/resource/_system/my%20icon?v=%2F1",
        ),
        ("/store/site/registry/x", "/store/site/registry/x"),
        ("/store/registryx/a", "/store/registryx/a"),
    ] {
        let line = world.get("https", path, &[]).body;
        assert_eq!(line, format!("active servlet GET {arrives}\n"));
    }
}

#[test]
fn a_redirect_to_a_node_leads_to_the_load_balancer_and_no_other_is_touched() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    let (https, http) = (world.https, world.http);
    let [active, passive] = [&world.active, &world.passive].map(|it| it.offset);
    let to_https = |rest: &str| format!("https://{HOST}:{https}{rest}");
    let to_http = |rest: &str| format!("http://{HOST}:{http}{rest}");
    let same = |location: &str| (location.to_owned(), location.to_owned());
    let cases = [
        (
            format!("https://127.0.0.1:{}/carbon/admin/?x=%2F", 9443 + active),
            to_https("/carbon/admin/?x=%2F"),
        ),
        (
            format!("https://LOCALHOST:{}/publisher#top", 9443 + passive),
            to_https("/publisher#top"),
        ),
        (format!("https://{HOST}:{}", 9443 + active), to_https("")),
        (
            format!("http://localhost:{}/carbon/", 9763 + active),
            to_https("/carbon/"),
        ),
        (
            format!("https://127.0.0.1:{}/weather", 8243 + active),
            to_https("/weather"),
        ),
        (
            format!("http://127.0.0.1:{}/weather?a=b", 8280 + passive),
            to_http("/weather?a=b"),
        ),
        ("https://apim_servlet/carbon/".into(), to_https("/carbon/")),
        (
            "http://apim_gateway_http/weather".into(),
            to_http("/weather"),
        ),
        same(&to_https("/store/")),
        same("https://idp.example.org/oauth2/authorize?redirect_uri=https%3A%2F%2Flocalhost"),
        same(&format!(
            "https://idp.example.org:{}/samlsso",
            9443 + active
        )),
        same(&format!(
            "https://idp.example.org/?to=https://127.0.0.1:{}/",
            9443 + active
        )),
        same(&format!("https://127.0.0.1:{}.example.org/", 9443 + active)),
        same("https://localhost:3000/callback"),
        same("https://localhost/callback"),
        same("/store/site/pages/login.jag"),
    ];
    for (scheme, path) in [
        ("https", "/carbon"),
        ("https", "/weather"),
        ("http", "/weather"),
    ] {
        for (from, to) in &cases {
            let answer = world.get(scheme, path, &["-H", &format!("X-Location: {from}")]);
            assert_eq!(
                answer.header("location"),
                Some(to.as_str()),
                "{scheme} {path}"
            );
        }
    }
}

#[test]
fn plain_http_leads_consoles_to_https_with_their_query() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    for path in [
        "/carbon/?a=%2F&b=1",
        "/t/acme/store",
        "/api/am/store/v0.14/apis",
        "/oauth2/token",
    ] {
        let answer = world.get("http", path, &[]);
        let wanted = format!("https://{HOST}:{}{path}", world.https);
        assert_eq!(
            (answer.status, answer.header("location")),
            (301, Some(wanted.as_str()))
        );
    }
}

#[test]
fn a_node_sees_what_the_client_wrote_and_a_cookie_keeps_its_path() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    for (scheme, path, port) in [
        ("https", "/carbon", world.https),
        ("https", "/store/registry/resource/a", world.https),
        ("https", "/weather", world.https),
        ("http", "/weather", world.http),
    ] {
        let cookie = "JSESSIONID=1; Path=/publisher; Secure; HttpOnly";
        let headers = [
            "-H",
            "X-Look: 1",
            "-H",
            "api_key: 7",
            "-H",
            "X-Forwarded-For: 6.6.6.6",
            "-H",
            &format!("X-Cookie: {cookie}"),
        ];
        let answer = world.get(scheme, path, &headers);
        assert_eq!(answer.header("set-cookie"), Some(cookie));
        let (authority, port) = (format!("{HOST}:{port}"), port.to_string());
        for (name, value) in [
            ("host", authority.as_str()),
            ("forwarded-host", &authority),
            ("forwarded-server", HOST),
            ("forwarded-port", &port),
            ("forwarded-proto", scheme),
            ("forwarded-for", "127.0.0.1"),
            ("connection", ""),
            ("api-key", "7"),
        ] {
            assert_eq!(answer.seen(name), value, "{name} of {scheme} {path}");
        }
    }
    until_reused(&world);
}

/// Each worker has connections of its own, so not the first request finds one.
fn until_reused(world: &World) {
    world::until("a connection that is used again", || {
        let answer = world.get("https", "/carbon", &["-H", "X-Look: 1"]);
        answer.seen("requests") != "1"
    });
}

#[test]
fn an_error_of_an_api_takes_no_node_out() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    for _ in 0..3 {
        let answer = world.get("https", "/weather", &["-H", "X-Fault: 1"]);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (503, "active gateway fault\n")
        );
        let next = world.get("https", "/weather", &[]);
        assert_eq!(next.body, "active gateway GET /weather\n");
    }
}

#[test]
fn an_archive_of_an_api_is_let_through() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let world = World::start(&programs, Layout::Files);
    let archive = tempfile::NamedTempFile::new().unwrap();
    archive.as_file().set_len(20 << 20).unwrap();
    let upload = format!("@{}", archive.path().display());
    let more = ["-H", "Expect:", "--data-binary", &upload];
    let answer = world.get("https", "/api-import-export-2.6.0-v2/import-api", &more);
    assert_eq!(answer.status, 200, "{}", answer.body);
}
