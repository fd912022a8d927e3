//! A real etcd of one member, and a way to it that can be cut.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{self, DEADLINE};

/// A running etcd; it ends when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    address: String,
}

/// The files for TLS: a certificate authority, and a certificate with its key that
/// serve both the member and its clients.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Who signed.
    pub authority: PathBuf,
    /// For 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`.
    ///
    /// # Panics
    /// When openssl does not.
    #[must_use]
    pub fn make(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name);
        let made = Self {
            authority: path("ca.pem"),
            certificate: path("cert.pem"),
            key: path("key.pem"),
        };
        let script = "set -e
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=ca -keyout ca-key.pem -out ca.pem
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=member -keyout key.pem -out request.pem
            echo subjectAltName=IP:127.0.0.1 > names
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 1 -extfile names -out cert.pem";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(directory);
        let output = command.output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        made
    }
}

impl Etcd {
    /// `None`, said on the terminal, where there is no etcd.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(directory: &Path, tls: Option<&Certificates>) -> Option<Self> {
        let [client, peer] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let client_url = format!("{scheme}://{client}");
        let peer_url = format!("http://{peer}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(directory.join("etcd"));
        for (option, value) in [
            ("--listen-client-urls", &client_url),
            ("--advertise-client-urls", &client_url),
            ("--listen-peer-urls", &peer_url),
            ("--initial-advertise-peer-urls", &peer_url),
            ("--initial-cluster", &format!("default={peer_url}")),
        ] {
            command.args([option, value]);
        }
        if let Some(tls) = tls {
            command.arg("--cert-file").arg(&tls.certificate);
            command.arg("--key-file").arg(&tls.key);
            command.arg("--trusted-ca-file").arg(&tls.authority);
            command.arg("--client-cert-auth");
        }
        let log = std::fs::File::create(directory.join("etcd.log")).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let etcd = Self {
            child: spawned(command)?,
            address: client,
        };
        wait::until("etcd to listen", DEADLINE, || {
            TcpStream::connect(&etcd.address)
        });
        Some(etcd)
    }

    /// Where it listens, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lets it stand still, as a machine under water does, or go on.
    ///
    /// # Panics
    /// When it is gone.
    pub fn suspend(&self, suspend: bool) {
        let signal = if suspend { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).expect("our own child takes signals");
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn spawned(mut command: Command) -> Option<Child> {
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            println!("SKIPPED: no etcd on this machine: {error}");
            None
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Best effort: the test is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// A way to a listener that can be cut: what is on it is lost, and nothing new
/// comes through.
#[derive(Debug)]
pub struct Way {
    address: String,
    cut: Arc<AtomicBool>,
}

impl Way {
    /// A way to `to`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let way = Self {
            address: listener.local_addr().expect("its address").to_string(),
            cut: Arc::default(),
        };
        let (to, cut) = (to.to_owned(), Arc::clone(&way.cut));
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let cut = Arc::clone(&cut);
                if let Ok(called) = TcpStream::connect(&to) {
                    pump(&caller, &called, &cut);
                }
            }
        });
        way
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Cuts it, or mends it.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

fn pump(one: &TcpStream, other: &TcpStream, cut: &Arc<AtomicBool>) {
    for (from, to) in [(one, other), (other, one)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let cut = Arc::clone(cut);
        // A connection that ends is of no interest here.
        thread::spawn(move || drop(carry(from, to, &cut)));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) -> io::Result<()> {
    from.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(_) if cut.load(Ordering::SeqCst) => {}
            Ok(count) => to.write_all(&bytes[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    to.shutdown(Shutdown::Write)
}
