//! Two nodes, a load balancer that reads the generated file, and a client.
//!
//! The nodes are nginx too, each as one process: they answer with what arrived,
//! and a request's own headers say what else the answer shall hold.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use apim_config::{generate::nginx::nginx_conf, setup::Setup, version::Layout};
use tempfile::TempDir;

/// Reached only by a fault, on the slowest machine too.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// What clients call the load balancer.
pub(crate) const HOST: &str = "lb.test";

/// The programs, or which one is missing.
#[derive(Clone)]
pub(crate) struct Programs {
    nginx: PathBuf,
    openssl: PathBuf,
    curl: PathBuf,
}

impl Programs {
    /// Says which one is missing, and that the test is skipped.
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    pub(crate) fn find() -> Option<Self> {
        let found = |name| program(name).ok_or(name);
        let all = || {
            Ok::<_, &str>(Self {
                nginx: found("nginx")?,
                openssl: found("openssl")?,
                curl: found("curl")?,
            })
        };
        all()
            .inspect_err(|name| println!("SKIPPED: there is no {name} here"))
            .ok()
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|it| it.join(name)).find(|it| it.is_file())
}

/// A folder with a certificate, in which nginx may write as any user.
pub(crate) struct Ground {
    folder: TempDir,
    programs: Programs,
}

impl Ground {
    pub(crate) fn new(programs: &Programs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ground = Self {
            folder,
            programs: programs.clone(),
        };
        let mut openssl = Command::new(&programs.openssl);
        openssl.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
        openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-subj", &format!("/CN={HOST}")]);
        openssl.args(["-addext", &format!("subjectAltName=DNS:{HOST}")]);
        openssl.arg("-keyout").arg(ground.path("lb key.pem"));
        openssl.arg("-out").arg(ground.path("lb.pem"));
        succeeds(&mut openssl);
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A description whose last table is the load balancer's.
    pub(crate) fn setup(&self, nodes: [(&str, u16); 2], balancer: &str) -> Setup {
        let node = |name, (host, offset)| {
            format!("[[node]]\nname = \"{name}\"\nhost = \"{host}\"\noffset = {offset}\n")
        };
        let [active, passive] = nodes;
        let text = [
            node("one", active),
            node("two", passive),
            "[admin]\npassword_env = \"A\"\n[database]\nhost = \"db\"\npassword_env = \"D\"\n"
                .into(),
            format!("[load_balancer]\n{balancer}\n"),
            format!("certificate = \"{}\"\n", self.path("lb.pem").display()),
            format!(
                "certificate_key = \"{}\"\n",
                self.path("lb key.pem").display()
            ),
        ];
        Setup::parse(&text.concat()).unwrap()
    }

    /// The generated file; what differs from it is where nginx writes, ports
    /// that only root may open, and how long a test waits.
    fn write(&self, setup: &Setup, layout: Layout) -> PathBuf {
        let text = nginx_conf(setup, layout)
            .replace("/var/log/nginx", &self.folder.path().display().to_string())
            .replace("\nhttp {\n", &format!("\nhttp {{\n{TEMPORARY}"))
            .replace("listen 443 ", "listen 8443 ")
            .replace("listen [::]:443 ", "listen [::]:8443 ")
            .replace("listen 80;", "listen 8080;")
            .replace("listen [::]:80;", "listen [::]:8080;")
            .replace("fail_timeout=10s", "fail_timeout=1s");
        let path = self.path("nginx.conf");
        fs::write(&path, text).unwrap();
        path
    }

    /// `nginx -t`.
    pub(crate) fn accepts(&self, setup: &Setup, layout: Layout) {
        let path = self.write(setup, layout);
        let output = succeeds(self.nginx(&path, "").arg("-t"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("[warn]"), "{said}");
    }

    fn nginx(&self, conf: &Path, more: &str) -> Command {
        let mut nginx = Command::new(&self.programs.nginx);
        nginx.arg("-p").arg(self.folder.path());
        nginx.arg("-e").arg("stderr");
        nginx.arg("-c").arg(conf);
        nginx
            .arg("-g")
            .arg(format!("pid {}.pid; {more}", conf.display()));
        nginx
    }
}

const TEMPORARY: &str = "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
                         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n";

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

/// Asks until the answer is yes.
pub(crate) fn until(what: &str, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    while !probe() {
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        thread::sleep(PAUSE);
    }
}

/// A running load balancer in front of two nodes on this machine.
pub(crate) struct World {
    pub(crate) active: Node,
    pub(crate) passive: Node,
    pub(crate) https: u16,
    pub(crate) http: u16,
    balancer: Child,
    ground: Ground,
}

/// One node, running or not.
pub(crate) struct Node {
    name: &'static str,
    /// What is added to the product's ports.
    pub(crate) offset: u16,
    process: Option<Child>,
}

/// What a client got.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl World {
    /// Starts all three.
    pub(crate) fn start(programs: &Programs, layout: Layout) -> Self {
        let ground = Ground::new(programs);
        let offset = free_offset();
        let (https, http) = (offset + 9500, offset + 9501);
        let balancer = format!("host = \"{HOST}\"\nhttps_port = {https}\nhttp_port = {http}");
        let nodes = [("127.0.0.1", offset), ("127.0.0.1", offset + 1)];
        let setup = ground.setup(nodes, &balancer);
        let conf = ground.write(&setup, layout);
        let balancer = ground.nginx(&conf, "daemon off;").spawn().unwrap();
        let mut world = Self {
            active: Node::new("active", offset),
            passive: Node::new("passive", offset + 1),
            https,
            http,
            balancer,
            ground,
        };
        world.active.start(&world.ground);
        world.passive.start(&world.ground);
        for (scheme, pool) in [("https", "carbon"), ("https", "api"), ("http", "api")] {
            until("the active's answers", || {
                let answer = world.get(scheme, &format!("/{pool}"), &[]);
                answer.body.starts_with("active")
            });
        }
        world
    }

    /// Stops the active as a crash does.
    pub(crate) fn stop_active(&mut self) {
        self.active.stop();
    }

    /// Starts the active again and waits until the load balancer is back there.
    pub(crate) fn return_active(&mut self) {
        self.active.start(&self.ground);
        for (scheme, path) in [("https", "/carbon"), ("https", "/api"), ("http", "/api")] {
            until("the return to the active", || {
                self.get(scheme, path, &[]).body.starts_with("active")
            });
        }
    }

    fn curl(&self) -> Command {
        let mut curl = Command::new(&self.ground.programs.curl);
        curl.args(["-s", "--max-time", "20", "--path-as-is", "--globoff"]);
        for port in [self.https, self.http] {
            curl.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
        }
        curl.arg("--cacert").arg(self.ground.path("lb.pem"));
        curl
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        let port = if scheme == "https" {
            self.https
        } else {
            self.http
        };
        format!("{scheme}://{HOST}:{port}{path}")
    }

    /// One request, with more arguments for curl.
    pub(crate) fn get(&self, scheme: &str, path: &str, more: &[&str]) -> Answer {
        let mut curl = self.curl();
        curl.arg("-i").args(more).arg(self.url(scheme, path));
        let text = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).unwrap_or("0");
        Answer {
            status: status.parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// The first line of each answer, over one connection.
    pub(crate) fn lines(&self, method: &str, scheme: &str, paths: &[String]) -> Vec<String> {
        let mut curl = self.curl();
        if method == "POST" {
            curl.args(["--data", "body"]);
        }
        curl.args(paths.iter().map(|path| self.url(scheme, path)));
        let output = succeeds(&mut curl);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Answer {
    /// The value of a header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|it| it.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// A field that the node saw, as `name=value` in its answer.
    pub(crate) fn seen(&self, name: &str) -> &str {
        let line = self.body.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key == name).then_some(value)
        });
        line.unwrap_or_else(|| panic!("no {name} in {:?}", self.body))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Only a master that is asked to takes its workers with it.
        let id = self.balancer.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        if asked.is_ok_and(|it| it.success()) {
            _ = self.balancer.wait();
        }
    }
}

impl Node {
    fn new(name: &'static str, offset: u16) -> Self {
        Self {
            name,
            offset,
            process: None,
        }
    }

    fn start(&mut self, ground: &Ground) {
        let conf = ground.path(&format!("{}.conf", self.name));
        fs::write(&conf, self.conf()).unwrap();
        let mut nginx = ground.nginx(&conf, "daemon off; master_process off;");
        nginx.stderr(Stdio::null());
        self.process = Some(nginx.spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn conf(&self) -> String {
        let server = |pool: &str, port: u16, tls: &str| {
            let port = port + self.offset;
            NODE.replace("{node}", self.name)
                .replace("{pool}", pool)
                .replace("{listen}", &format!("127.0.0.1:{port}{tls}"))
        };
        [
            "events {}\nerror_log stderr crit;\nhttp {\naccess_log off;\nabsolute_redirect off;\n",
            "client_max_body_size 0;\nunderscores_in_headers on;\nssl_certificate lb.pem;\nssl_certificate_key \"lb key.pem\";\n",
            TEMPORARY,
            &server("servlet", 9443, " ssl"),
            &server("gateway", 8243, " ssl"),
            &server("gateway-http", 8280, ""),
            "}\n",
        ]
        .concat()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a node answers.
const NODE: &str = "
server {
    listen {listen};
    add_header Set-Cookie $http_x_cookie always;
    if ($http_x_location) { return 302 $http_x_location; }
    if ($http_x_fault) { return 503 \"{node} {pool} fault\\n\"; }
    if ($http_x_look) {
        return 200 \"{node}
host=$http_host
forwarded-host=$http_x_forwarded_host
forwarded-server=$http_x_forwarded_server
forwarded-port=$http_x_forwarded_port
forwarded-proto=$http_x_forwarded_proto
forwarded-for=$http_x_forwarded_for
connection=$http_connection
requests=$connection_requests
api-key=$http_api_key
\";
    }
    return 200 \"{node} {pool} $request_method $request_uri\\n\";
}
";

/// An offset at which the ports of two nodes and of a load balancer are free.
/// All are below those that the system gives to clients.
fn free_offset() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() * 7 % 1000).unwrap();
    for _ in 0..1000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = 2000 + (first + step) % 1000 * 20;
        let mut ports = [8243, 8244, 8280, 8281, 9443, 9444, 9500, 9501].into_iter();
        if ports.all(|port| TcpListener::bind(("0.0.0.0", port + offset)).is_ok()) {
            return offset;
        }
    }
    panic!("no free ports");
}
