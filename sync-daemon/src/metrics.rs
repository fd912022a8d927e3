//! `[metrics] listen`: what the node knows, for Prometheus, load balancers and a
//! browser.
//!
//! Three pages over plain HTTP, read-only, meant for localhost: `/metrics`,
//! `/healthz` and a status page at `/`. Everything is drawn from the same
//! [`Status`] that `apim-sync status` shows.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::{debug, warn};

use crate::events::{DriftCause, HookStatus, PeerState, Status, TreeState};

/// Bytes of a request that are read; the first line is all that counts.
const REQUEST_BYTES_MAX: usize = 4 << 10;
/// Requests at one time; further ones wait.
const REQUESTS_MAX: usize = 8;
/// From connection to answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// After a failed accept (too many open files): not a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers requests for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    status: impl Fn() -> Status + Send + Sync + 'static,
) {
    let status = Arc::new(status);
    let seats = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, caller)) => {
                let status = Arc::clone(&status);
                tokio::spawn(async move {
                    let answered = timeout(REQUEST_WITHIN, answer(stream, &*status)).await;
                    if !matches!(answered, Ok(Ok(()))) {
                        debug!(%caller, "a metrics request was not answered");
                    }
                    drop(seat);
                });
            }
            Err(error) => {
                warn!("cannot accept a metrics request: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    status: &(dyn Fn() -> Status + Sync),
) -> std::io::Result<()> {
    let path = request_path(&mut stream).await?;
    let (code, kind, body) = match path.as_deref() {
        Some("/metrics") => ("200 OK", "text/plain; version=0.0.4", metrics(&status())),
        Some("/healthz") => healthz(&status()),
        Some("/") => ("200 OK", "text/html; charset=utf-8", page(&status())),
        Some(_) => ("404 Not Found", "text/plain", "not here\n".to_owned()),
        None => ("400 Bad Request", "text/plain", "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// The path of a GET request; the rest of the request is read and ignored.
async fn request_path(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut piece = [0; 512];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut piece).await?;
        if count == 0 || head.len() + count > REQUEST_BYTES_MAX {
            return Ok(None);
        }
        head.extend_from_slice(&piece[..count]);
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split_ascii_whitespace();
    let is_get = words.next() == Some("GET");
    Ok(words.next().filter(|_| is_get).map(str::to_owned))
}

/// Healthy: nothing is halted and every peer is connected.
fn healthz(status: &Status) -> (&'static str, &'static str, String) {
    let halted = status.guard.halted
        || status.conflict.is_some()
        || status
            .trees
            .iter()
            .any(|tree| tree.state == TreeState::Halted);
    let cut_off = status
        .peers
        .iter()
        .any(|peer| peer.state != PeerState::Connected);
    match (halted, cut_off) {
        (true, _) => (
            "503 Service Unavailable",
            "text/plain",
            "halted\n".to_owned(),
        ),
        (false, true) => (
            "503 Service Unavailable",
            "text/plain",
            "a peer is not connected\n".to_owned(),
        ),
        (false, false) => ("200 OK", "text/plain", "ok\n".to_owned()),
    }
}

/// Prometheus's text format.
fn metrics(status: &Status) -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: &[(String, f64)]| {
        let kind = match name.ends_with("_total") {
            true => "counter",
            false => "gauge",
        };
        let _ = writeln!(
            out,
            "# HELP apim_sync_{name} {help}\n# TYPE apim_sync_{name} {kind}"
        );
        for (labels, value) in samples {
            let _ = writeln!(out, "apim_sync_{name}{labels} {value}");
        }
    };
    let trees = |value: fn(&crate::events::TreeStatus) -> f64| -> Vec<(String, f64)> {
        status
            .trees
            .iter()
            .map(|tree| (label("tree", &tree.name), value(tree)))
            .collect()
    };
    let peers = |value: fn(&crate::events::PeerStatus) -> f64| -> Vec<(String, f64)> {
        status
            .peers
            .iter()
            .map(|peer| (label("peer", &peer.name), value(peer)))
            .collect()
    };
    let hooks = |value: fn(&HookStatus) -> f64| -> Vec<(String, f64)> {
        status
            .hooks
            .iter()
            .map(|hook| (label("hook", hook.last.hook.name()), value(hook)))
            .collect()
    };
    let plain = |value: f64| [(String::new(), value)];
    family("epoch", "Epoch of this node.", &plain(status.epoch as f64));
    family(
        "paused",
        "Whether sending is paused.",
        &plain(flag(status.paused)),
    );
    family(
        "role_conflict",
        "Whether another active was found and a person has to decide.",
        &plain(flag(status.conflict.is_some())),
    );
    family(
        "guard_halted",
        "Whether the deletion guard holds a plan back.",
        &plain(flag(status.guard.halted)),
    );
    family(
        "drift_paths",
        "Paths that are not as agreed, here or on the peers of an active, by cause.",
        &drift(status),
    );
    family(
        "held_paths",
        "Paths that are not sent for now.",
        &plain(status.held.len() as f64),
    );
    family(
        "tree_files",
        "Files in a tree.",
        &trees(|tree| tree.files as f64),
    );
    family(
        "tree_bytes",
        "Bytes in a tree.",
        &trees(|tree| tree.bytes as f64),
    );
    family(
        "tree_generation",
        "Generation of a tree.",
        &trees(|tree| tree.generation as f64),
    );
    family(
        "tree_halted",
        "Whether a tree is halted.",
        &trees(|tree| flag(tree.state == TreeState::Halted)),
    );
    family(
        "peer_connected",
        "Whether a peer is connected.",
        &peers(|peer| flag(peer.state == PeerState::Connected)),
    );
    family(
        "peer_lag_seconds",
        "Age of the oldest change that a peer has not applied.",
        &peers(|peer| peer.lag_seconds),
    );
    family(
        "peer_pending_files",
        "Paths that a peer has not applied.",
        &peers(|peer| peer.pending_files as f64),
    );
    family(
        "peer_last_verify_seconds",
        "When the last verify with a peer ended, seconds since 1970; 0 for never.",
        &peers(|peer| {
            peer.last_verify
                .as_ref()
                .map_or(0.0, |verify| verify.unix_seconds as f64)
        }),
    );
    let lease = status.lease.as_ref();
    family(
        "lease_held",
        "Whether this node holds the lease that decides which is active.",
        &lease.map_or(Vec::new(), |it| plain(flag(it.held)).into()),
    );
    family(
        "hook_failed",
        "Whether the last run of a hook did not succeed.",
        &hooks(|hook| flag(!hook.last.outcome.succeeded())),
    );
    family(
        "hook_runs_total",
        "Runs of a hook since the node started.",
        &hooks(|hook| hook.runs as f64),
    );
    family(
        "hook_failures_total",
        "Runs of a hook that did not succeed.",
        &hooks(|hook| hook.failures as f64),
    );
    out
}

fn drift(status: &Status) -> Vec<(String, f64)> {
    let count = |cause: DriftCause| status.drift.iter().filter(|it| it.cause == cause).count();
    let causes = DriftCause::ALL.into_iter();
    causes
        .map(|cause| (label("cause", cause.name()), count(cause) as f64))
        .collect()
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

/// A page that needs no script: it asks to be loaded again every five seconds.
fn page(status: &Status) -> String {
    let mut rows = String::new();
    for tree in &status.trees {
        let cells = [
            tree.name.clone(),
            format!("{:?}", tree.state).to_lowercase(),
            tree.files.to_string(),
            tree.generation.to_string(),
            tree.root.chars().take(16).collect(),
            tree.detail.clone().unwrap_or_default(),
        ];
        row(&mut rows, &cells);
    }
    let mut peers = String::new();
    for peer in &status.peers {
        let cells = [
            peer.name.clone(),
            format!("{:?}", peer.state).to_lowercase(),
            format!("{:.1}", peer.lag_seconds),
            peer.pending_files.to_string(),
            peer.detail.clone().unwrap_or_default(),
        ];
        row(&mut peers, &cells);
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <title>apim-sync {node}</title><style>body{{font:16px/1.5 system-ui;margin:2rem}}\
         table{{border-collapse:collapse;margin-bottom:1rem}}td,th{{border:1px solid #999;padding:.3rem .6rem;text-align:left}}</style>\
         <h1>{node}: {role}, epoch {epoch}</h1>\
         <table><tr><th>tree<th>state<th>files<th>generation<th>root<th>detail{rows}</table>\
         <table><tr><th>peer<th>state<th>lag, s<th>pending<th>detail{peers}</table></html>\n",
        node = html(&status.node),
        role = status.role.name(),
        epoch = status.epoch,
    )
}

fn row(out: &mut String, cells: &[String]) {
    out.push_str("<tr>");
    for cell in cells {
        let _ = write!(out, "<td>{}", html(cell));
    }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Drift, DriftKind, GuardStatus, PathText, Role};

    fn status() -> Status {
        Status {
            node: "apim-1 <b>".into(),
            id: "00".into(),
            role: Role::Active,
            epoch: 3,
            conflict: None,
            no_active: None,
            running: true,
            paused_seconds: None,
            paused: false,
            pauses: vec![],
            trees: Vec::new(),
            peers: Vec::new(),
            guard: GuardStatus::default(),
            drift: Vec::new(),
            drifted: 0,
            held: Vec::new(),
            lease: None,
            hooks: Vec::new(),
        }
    }

    async fn get(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, status));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn the_pages_are_served_and_nothing_else() {
        let metrics = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
        assert!(metrics.contains("\napim_sync_epoch 3\n"), "{metrics}");
        let health = get("GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(health.ends_with("\r\n\r\nok\n"), "{health}");
        let page = get("GET / HTTP/1.1\r\n\r\n").await;
        assert!(page.contains("apim-1 &lt;b&gt;: active, epoch 3"), "{page}");
        assert!(
            get("GET /etc/passwd HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 404")
        );
        assert!(
            get("POST / HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 400")
        );
    }

    #[tokio::test]
    async fn an_endless_request_is_refused() {
        let answer = get(&"x".repeat(REQUEST_BYTES_MAX + 1)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }

    #[test]
    fn drift_is_counted_by_cause() {
        let mut drifted = status();
        drifted.drift.push(Drift {
            tree: "t".into(),
            path: PathText {
                path: "a.xml".into(),
                escaped: false,
            },
            kind: DriftKind::Deleted,
            cause: DriftCause::Rejected,
            peer: Some("apim-2".into()),
            as_of_unix_seconds: None,
        });
        let text = metrics(&drifted);
        for (cause, count) in [("edited", 0), ("rejected", 1), ("restored", 0)] {
            let line = format!("\napim_sync_drift_paths{{cause=\"{cause}\"}} {count}\n");
            assert!(text.contains(&line), "{line:?} in {text}");
        }
    }

    #[test]
    fn a_halted_guard_is_not_healthy() {
        let mut halted = status();
        halted.guard.halted = true;
        assert!(healthz(&halted).0.starts_with("503"));
    }
}
