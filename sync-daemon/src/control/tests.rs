//! Client and server against each other, over a real socket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::*;
use crate::failure::FailureKind;

/// Answers by what is asked, and says when a request begins or is cancelled.
#[derive(Default)]
struct Echo {
    begun: Notify,
    cancelled: Arc<Notify>,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Handler for Echo {
    fn handle(
        &self,
        request: Request,
        events: mpsc::Sender<Event>,
    ) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            match request {
                Request::Status => {
                    for number in 0..1_000 {
                        let notice = Event::notice(number.to_string());
                        events.send(notice).await.expect("the client reads");
                    }
                    Ok(())
                }
                Request::Resume(_) => {
                    let _cancelled = OnDrop(Arc::clone(&self.cancelled));
                    self.begun.notify_one();
                    std::future::pending().await
                }
                _ => Err(Failure::new(FailureKind::Role, "no").hint("never")),
            }
        })
    }
}

fn start(state_dir: &Path) -> (Arc<Echo>, JoinHandle<()>) {
    let echo = Arc::new(Echo::default());
    let socket = ControlSocket::bind(state_dir).unwrap();
    let server = tokio::spawn(socket.serve(Arc::clone(&echo) as Arc<dyn Handler>));
    (echo, server)
}

async fn ask(state_dir: &Path, request: Request) -> (Vec<Event>, Result<(), Failure>) {
    let mut events = Vec::new();
    let client = connect(state_dir).await.unwrap().expect("it runs");
    let outcome = client.call(&request, |event| events.push(event)).await;
    (events, outcome)
}

#[tokio::test]
async fn events_come_in_order_and_then_the_outcome() {
    let directory = TempDir::new().unwrap();
    let (_, _server) = start(directory.path());
    let (events, outcome) = ask(directory.path(), Request::Status).await;
    let expected: Vec<_> = (0..1_000).map(|n| Event::notice(n.to_string())).collect();
    assert_eq!(events, expected);
    assert_eq!(outcome, Ok(()));

    let (events, outcome) = ask(directory.path(), Request::Reload).await;
    assert_eq!(events, []);
    assert_eq!(
        outcome,
        Err(Failure::new(FailureKind::Role, "no").hint("never"))
    );
}

#[tokio::test]
async fn a_request_in_process_reports_the_same() {
    let mut events = 0;
    let outcome = answer(&Echo::default(), Request::Status, |_| events += 1).await;
    assert_eq!((events, outcome), (1_000, Ok(())));
}

#[tokio::test]
async fn no_daemon_is_not_an_error() {
    let directory = TempDir::new().unwrap();
    assert!(connect(directory.path()).await.unwrap().is_none());
    assert!(
        connect(&directory.path().join("absent"))
            .await
            .unwrap()
            .is_none()
    );
    // A socket whose daemon was killed stays behind and refuses.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("control.sock")).unwrap());
    assert!(connect(directory.path()).await.unwrap().is_none());
    let (_, _server) = start(directory.path());
    assert!(connect(directory.path()).await.unwrap().is_some());
}

#[tokio::test]
async fn only_the_owner_may_connect_and_the_socket_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().unwrap();
    let (_, server) = start(directory.path());
    let socket = directory.path().join("control.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_state_directory_deeper_than_a_socket_address_works() {
    let directory = TempDir::new().unwrap();
    let deep: PathBuf = directory.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    let (_, _server) = start(&deep);
    let (_, outcome) = ask(&deep, Request::Status).await;
    assert_eq!(outcome, Ok(()));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let directory = TempDir::new().unwrap();
    let (echo, _server) = start(directory.path());
    let asking = tokio::spawn({
        let state_dir = directory.path().to_owned();
        async move { ask(&state_dir, Request::Resume(Part::default())).await }
    });
    echo.begun.notified().await;
    asking.abort();
    echo.cancelled.notified().await;
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let directory = TempDir::new().unwrap();
    let (echo, _server) = start(directory.path());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS_MAX {
        let state_dir = directory.path().to_owned();
        asking.spawn(async move { ask(&state_dir, Request::Resume(Part::default())).await });
        echo.begun.notified().await;
    }
    let (_, outcome) = ask(directory.path(), Request::Status).await;
    assert!(outcome.unwrap_err().message.contains("16 requests"));
}

#[tokio::test]
async fn lines_that_are_no_request_are_answered_and_bounded() {
    let directory = TempDir::new().unwrap();
    let (_, _server) = start(directory.path());
    let junk = [
        b"{\"request\":\"fly\"}\n".to_vec(),
        b"not json\n".to_vec(),
        vec![b'x'; REQUEST_BYTES_MAX],
    ];
    for bytes in junk {
        let mut client = connect(directory.path()).await.unwrap().unwrap();
        client.raw().write_all(&bytes).await.unwrap();
        let answer = line::read::<Answer>(client.raw(), ANSWER_BYTES_MAX).await;
        match answer.unwrap().unwrap() {
            Answer::Failed(failure) => assert_eq!(failure.kind, FailureKind::Protocol),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let directory = TempDir::new().unwrap();
    let (_, _server) = start(directory.path());
    let mut client = connect(directory.path()).await.unwrap().unwrap();
    let closed = line::read::<Answer>(client.raw(), ANSWER_BYTES_MAX);
    let closed = tokio::time::timeout(Duration::from_secs(6), closed).await;
    assert!(closed.expect("within the deadline").unwrap().is_none());
}
