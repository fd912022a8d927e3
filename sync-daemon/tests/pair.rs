//! Two nodes in this process, over real QUIC on loopback and real directories.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sync_daemon::{
    config::Config,
    control::{Bootstrap, Push, Request, Verify, Wait},
    events::{Event, Role, Status, Summary},
    failure::{Failure, FailureKind},
    identity::Identity,
    node::{Node, NodeMode},
    standing::Standing,
    trust::{Peer, TrustStore},
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Nothing in a test takes longer than this unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Side {
    name: &'static str,
    directory: PathBuf,
    identity: Identity,
}

impl Side {
    fn new(directory: &Path, name: &'static str, role: Role) -> Self {
        let directory = directory.join(name);
        fs::create_dir_all(directory.join("state")).unwrap();
        fs::create_dir_all(directory.join("tree")).unwrap();
        let identity = Identity::create(&directory.join("state")).unwrap();
        Standing::create(&directory.join("state"), role).unwrap();
        Self {
            name,
            directory,
            identity,
        }
    }

    fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    fn trust(&self, other: &Self, address: Option<String>) {
        let mut store = TrustStore::load(&self.directory.join("state")).unwrap();
        store
            .add(Peer {
                name: other.name.parse().unwrap(),
                id: other.identity.id(),
                address: address.map(|address| address.parse().unwrap()),
            })
            .unwrap();
    }

    async fn start(&self) -> Node {
        self.start_with("").await
    }

    /// Starts with more lines in `[watch]`.
    async fn start_with(&self, watch: &str) -> Node {
        let file = self.directory.join("config.toml");
        let text = format!(
            "[node]\nname = \"{}\"\nlisten = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n\
             [[tree]]\nname = \"t\"\npath = \"{}\"\n[watch]\ndelete_hold_ms = 300\n{watch}\n",
            self.name,
            self.directory.join("state").display(),
            self.tree().display(),
        );
        fs::write(&file, &text).unwrap();
        let config = Config::from_text(&text, &file).unwrap();
        Node::start(config, Some(file), NodeMode::Daemon)
            .await
            .unwrap()
    }
}

struct Pair {
    _directory: TempDir,
    active_side: Side,
    passive_side: Side,
    active: Node,
    passive: Node,
}

impl Pair {
    /// A started pair; `fill` writes the active's tree first.
    async fn start(fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let active_side = Side::new(directory.path(), "apim-1", Role::Active);
        let passive_side = Side::new(directory.path(), "apim-2", Role::Passive);
        fill(&active_side.tree());
        passive_side.trust(&active_side, None);
        let passive = passive_side.start().await;
        active_side.trust(&passive_side, Some(passive.local_address().to_string()));
        let active = active_side.start().await;
        Self {
            _directory: directory,
            active_side,
            passive_side,
            active,
            passive,
        }
    }

    fn write(&self, path: &str, content: &str) {
        write(&self.active_side.tree(), path, content);
    }

    fn on_passive(&self, path: &str) -> PathBuf {
        self.passive_side.tree().join(path)
    }

    async fn push(&self) -> Result<Vec<Event>, (Failure, Vec<Event>)> {
        request(
            &self.active,
            Request::Push(Push {
                wait: Wait::Applied,
                ..Push::default()
            }),
        )
        .await
    }

    async fn verify(&self) -> Result<Vec<Event>, (Failure, Vec<Event>)> {
        request(&self.active, Request::Verify(Verify::default())).await
    }

    async fn stop(self) {
        self.active.stop().await.unwrap();
        self.passive.stop().await.unwrap();
    }
}

fn write(tree: &Path, path: &str, content: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

async fn request(node: &Node, request: Request) -> Result<Vec<Event>, (Failure, Vec<Event>)> {
    let (sender, mut receiver) = mpsc::channel(1024);
    let handle = node.handle();
    let work = tokio::time::timeout(
        PATIENCE,
        async move { handle.request(request, sender).await },
    );
    let collect = async {
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        events
    };
    let (outcome, events) = tokio::join!(work, collect);
    match outcome.expect("the request hangs") {
        Ok(()) => Ok(events),
        Err(failure) => Err((failure, events)),
    }
}

async fn status(node: &Node) -> Status {
    let events = request(node, Request::Status).await.unwrap();
    match events.into_iter().next() {
        Some(Event::Status(status)) => *status,
        other => panic!("no status but {other:?}"),
    }
}

/// Waits until `condition` holds.
async fn until(mut condition: impl FnMut() -> bool) {
    let held = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap();
}

fn api(name: &str, body: &str) -> String {
    format!(
        "<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/{name}\">{body}</api>\n"
    )
}

#[tokio::test]
async fn what_is_pushed_is_on_the_passive_byte_for_byte() {
    let pair = Pair::start(|tree| {
        for n in 0..50 {
            write(
                tree,
                &format!("default/api/admin--A{n}_v1.xml"),
                &api(&format!("A{n}"), ""),
            );
        }
    })
    .await;
    pair.push().await.unwrap();
    for n in 0..50 {
        let content =
            fs::read_to_string(pair.on_passive(&format!("default/api/admin--A{n}_v1.xml")))
                .unwrap();
        assert_eq!(content, api(&format!("A{n}"), ""));
    }
    pair.write("default/api/admin--A7_v1.xml", &api("A7", "<resource/>"));
    fs::remove_file(pair.active_side.tree().join("default/api/admin--A8_v1.xml")).unwrap();
    pair.push().await.unwrap();
    assert_eq!(
        fs::read_to_string(pair.on_passive("default/api/admin--A7_v1.xml")).unwrap(),
        api("A7", "<resource/>")
    );
    assert!(!pair.on_passive("default/api/admin--A8_v1.xml").exists());
    let events = pair.verify().await.unwrap();
    let summary = events.iter().find_map(|event| match event {
        Event::Summary(Summary::Verify(summary)) => Some(summary),
        _ => None,
    });
    let summary = summary.unwrap();
    assert!(summary.in_sync);
    assert_eq!(summary.root_local, summary.root_peer);
    assert_eq!(summary.files, 49);
    pair.stop().await;
}

#[tokio::test]
async fn an_edit_arrives_without_being_asked_for() {
    let pair = Pair::start(|tree| write(tree, "default/api/a.xml", &api("a", ""))).await;
    pair.push().await.unwrap();
    pair.write("default/sequences/new/deep/s.xml", "<sequence name=\"s\"/>");
    let there = pair.on_passive("default/sequences/new/deep/s.xml");
    until(|| there.exists()).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_directory_that_went_and_came_back_is_still_watched() {
    let pair = Pair::start(|tree| write(tree, "default/api/a.xml", &api("a", ""))).await;
    pair.push().await.unwrap();
    let (there, away) = (
        pair.active_side.tree().join("default/api"),
        pair.active_side.directory.join("away"),
    );
    fs::rename(&there, &away).unwrap();
    fs::rename(&away, &there).unwrap();
    pair.push().await.unwrap();
    pair.write("default/api/a.xml", &api("a", "<resource/>"));
    let there = pair.on_passive("default/api/a.xml");
    until(|| fs::read_to_string(&there).unwrap() == api("a", "<resource/>")).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_renamed_directory_is_one_change_whatever_else_is_held() {
    let pair = Pair::start(|tree| {
        for n in 0..30 {
            write(
                tree,
                &format!("default/old/{n}.xml"),
                &api(&n.to_string(), ""),
            );
        }
        write(tree, "default/api/gone.xml", &api("gone", ""));
    })
    .await;
    pair.push().await.unwrap();
    let tree = pair.active_side.tree();
    fs::remove_file(tree.join("default/api/gone.xml")).unwrap();
    fs::rename(tree.join("default/old"), tree.join("default/new")).unwrap();
    // Two generations would halt: most files would only be deleted.
    pair.push().await.unwrap();
    assert!(pair.on_passive("default/new/29.xml").exists());
    assert!(!pair.on_passive("default/old/0.xml").exists());
    assert!(!pair.on_passive("default/api/gone.xml").exists());
    pair.stop().await;
}

#[tokio::test]
async fn a_file_is_sent_once_it_is_closed_with_the_time_set_then() {
    let pair = Pair::start(|tree| write(tree, "default/api/a.xml", &api("a", ""))).await;
    pair.push().await.unwrap();
    let (path, there) = (
        pair.active_side.tree().join("default/api/a.xml"),
        pair.on_passive("default/api/a.xml"),
    );
    let content = api("a", "<resource/>");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    // Complete and quiet for longer than it takes to settle, but still open.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read_to_string(&there).unwrap(), api("a", ""));
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    drop(file);
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    until(|| fs::read_to_string(&there).unwrap() == content).await;
    assert_eq!(fs::metadata(&there).unwrap().modified().unwrap(), time);
    pair.stop().await;
}

#[tokio::test]
async fn large_files_travel_by_recipe() {
    let noise = |seed: u64, length: usize| -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    let mut content = noise(1, 8 << 20);
    let pair = Pair::start(|tree| fs::write(tree.join("big.car"), &content).unwrap()).await;
    pair.push().await.unwrap();
    assert!(fs::read(pair.on_passive("big.car")).unwrap() == content);
    content.splice(4_000_000..4_000_000, noise(2, 20));
    fs::write(pair.active_side.tree().join("big.car"), &content).unwrap();
    let events = pair.push().await.unwrap();
    assert!(fs::read(pair.on_passive("big.car")).unwrap() == content);
    let sent = events.iter().find_map(|event| match event {
        Event::Summary(Summary::Transfer(summary)) => Some(summary.sent_bytes),
        _ => None,
    });
    assert!(
        sent.unwrap() < 1 << 20,
        "sent {sent:?} bytes for 20 new ones"
    );
    pair.stop().await;
}

#[tokio::test]
async fn an_emptied_source_halts_and_a_release_lets_it_go() {
    let pair = Pair::start(|tree| {
        for n in 0..10 {
            write(
                tree,
                &format!("default/api/{n}.xml"),
                &api(&n.to_string(), ""),
            );
        }
    })
    .await;
    pair.push().await.unwrap();
    for n in 0..6 {
        fs::remove_file(pair.active_side.tree().join(format!("default/api/{n}.xml"))).unwrap();
    }
    let (failure, _) = pair.push().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Halted, "{failure}");
    assert!(pair.on_passive("default/api/0.xml").exists());
    let halted = status(&pair.active).await;
    assert!(halted.guard.halted);
    let plan = halted.guard.plans[0].plan.clone();
    request(&pair.active, Request::Release { plan })
        .await
        .unwrap();
    pair.push().await.unwrap();
    assert!(!pair.on_passive("default/api/0.xml").exists());
    assert!(pair.on_passive("default/api/9.xml").exists());
    pair.stop().await;
}

#[tokio::test]
async fn a_vanished_source_halts_and_recovers() {
    let pair = Pair::start(|tree| write(tree, "default/api/a.xml", &api("a", ""))).await;
    pair.push().await.unwrap();
    let (tree, away) = (
        pair.active_side.tree(),
        pair.active_side.directory.join("away"),
    );
    fs::rename(&tree, &away).unwrap();
    let (failure, _) = pair.push().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Halted, "{failure}");
    fs::rename(&away, &tree).unwrap();
    pair.write("default/api/b.xml", &api("b", ""));
    let healed = async {
        while pair.push().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, healed).await.unwrap();
    assert!(pair.on_passive("default/api/a.xml").exists());
    assert!(pair.on_passive("default/api/b.xml").exists());
    pair.stop().await;
}

#[tokio::test]
async fn drift_is_named_by_verify_and_mended_by_push() {
    let pair = Pair::start(|tree| {
        for n in 0..5 {
            write(
                tree,
                &format!("default/api/{n}.xml"),
                &api(&n.to_string(), ""),
            );
        }
    })
    .await;
    pair.push().await.unwrap();
    fs::remove_file(pair.on_passive("default/api/0.xml")).unwrap();
    fs::write(pair.on_passive("default/api/1.xml"), "edited here").unwrap();
    fs::write(pair.on_passive("default/api/extra.xml"), "only here").unwrap();
    let touched = fs::File::open(pair.on_passive("default/api/2.xml")).unwrap();
    let its_own = touched.metadata().unwrap().modified().unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    let (linked, outside) = (pair.on_passive("default/api/3.xml"), "/nowhere");
    fs::remove_file(&linked).unwrap();
    std::os::unix::fs::symlink(outside, &linked).unwrap();
    let (failure, events) = pair.verify().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Differences);
    let mut kinds: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Difference(difference) => Some((
                difference.path.path.clone(),
                format!("{:?}", difference.kind),
            )),
            _ => None,
        })
        .collect();
    kinds.sort();
    let expected = [
        ("default/api/0.xml", "Missing"),
        ("default/api/1.xml", "Content"),
        ("default/api/2.xml", "Metadata"),
        ("default/api/3.xml", "Unreadable"),
        ("default/api/extra.xml", "Extra"),
    ];
    assert_eq!(
        kinds,
        expected.map(|(path, kind)| (path.to_owned(), kind.to_owned()))
    );
    pair.push().await.unwrap();
    pair.verify().await.unwrap();
    assert_eq!(
        fs::read_to_string(pair.on_passive("default/api/1.xml")).unwrap(),
        api("1", "")
    );
    assert!(!pair.on_passive("default/api/extra.xml").exists());
    let mended = fs::metadata(pair.on_passive("default/api/2.xml")).unwrap();
    assert_eq!(mended.modified().unwrap(), its_own);
    assert_eq!(fs::read_to_string(&linked).unwrap(), api("3", ""));
    pair.stop().await;
}

#[tokio::test]
async fn a_hand_edit_on_the_passive_is_in_its_status_by_itself() {
    let pair = Pair::start(|tree| write(tree, "default/api/a.xml", &api("a", ""))).await;
    pair.push().await.unwrap();
    fs::write(pair.on_passive("default/api/a.xml"), "edited here").unwrap();
    write(
        &pair.passive_side.tree(),
        "default/new/deep/b.xml",
        "made here",
    );
    let seen = async {
        loop {
            let drift = status(&pair.passive).await.drift;
            let paths: Vec<_> = drift.iter().map(|drift| drift.path.path.as_str()).collect();
            if paths
                == [
                    "default/api/a.xml",
                    "default/new",
                    "default/new/deep",
                    "default/new/deep/b.xml",
                ]
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
    // A change of the source replaces the edited file, which is then as agreed.
    pair.write("default/api/a.xml", &api("a", "<resource/>"));
    fs::remove_dir_all(pair.on_passive("default/new")).unwrap();
    let mended = async {
        loop {
            let drift = status(&pair.passive).await.drift;
            if drift.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, mended).await.unwrap();
    pair.verify().await.unwrap();
    pair.stop().await;
}

#[tokio::test]
async fn a_passive_that_was_away_catches_up() {
    let pair = Pair::start(|tree| write(tree, "default/api/a.xml", &api("a", ""))).await;
    pair.push().await.unwrap();
    let address = pair.passive.local_address();
    let Pair {
        _directory,
        active_side,
        passive_side,
        active,
        passive,
    } = pair;
    passive.stop().await.unwrap();
    write(&active_side.tree(), "default/api/b.xml", &api("b", ""));
    let file = passive_side.directory.join("config.toml");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("127.0.0.1:0", &address.to_string());
    let config = Config::from_text(&text, &file).unwrap();
    // The socket of the stopped node is released by a task of its own.
    let again = async {
        loop {
            match Node::start(config.clone(), None, NodeMode::Daemon).await {
                Ok(node) => return node,
                Err(failure) => assert!(failure.message.contains("cannot listen"), "{failure}"),
            }
            tokio::task::yield_now().await;
        }
    };
    let passive = tokio::time::timeout(PATIENCE, again).await.unwrap();
    let there = passive_side.tree().join("default/api/b.xml");
    until(|| there.exists()).await;
    active.stop().await.unwrap();
    passive.stop().await.unwrap();
}

#[tokio::test]
async fn a_bootstrap_fills_a_passive_without_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let active_side = Side::new(directory.path(), "apim-1", Role::Active);
    let passive_side = Side::new(directory.path(), "apim-2", Role::Passive);
    for n in 0..500 {
        write(
            &active_side.tree(),
            &format!("default/api/{n}.xml"),
            &api(&n.to_string(), ""),
        );
    }
    active_side.trust(&passive_side, None);
    let active = active_side.start().await;
    passive_side.trust(&active_side, Some(active.local_address().to_string()));
    let passive = passive_side.start().await;
    let events = request(&passive, Request::Bootstrap(Bootstrap::default()))
        .await
        .unwrap();
    assert!(passive_side.tree().join("default/api/499.xml").exists());
    let files = events.iter().find_map(|event| match event {
        Event::Summary(Summary::Transfer(summary)) => Some(summary.files),
        _ => None,
    });
    assert_eq!(files, Some(500));
    passive.stop().await.unwrap();
    active.stop().await.unwrap();
}

#[tokio::test]
async fn a_set_that_is_written_while_the_active_starts_travels_whole() {
    let directory = tempfile::tempdir().unwrap();
    let active_side = Side::new(directory.path(), "apim-1", Role::Active);
    let passive_side = Side::new(directory.path(), "apim-2", Role::Passive);
    passive_side.trust(&active_side, None);
    let passive = passive_side.start().await;
    active_side.trust(&passive_side, Some(passive.local_address().to_string()));
    write(&active_side.tree(), "plain/a", "begun");
    let active = active_side.start_with("settle_ms = 500").await;
    // The first look is over long before this.
    tokio::time::sleep(Duration::from_millis(200)).await;
    write(&active_side.tree(), "plain/a", "begun and finished");
    let there = passive_side.tree().join("plain/a");
    let arrived = async {
        loop {
            match fs::read_to_string(&there) {
                Ok(content) => return content,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    let content = tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    assert_eq!(content, "begun and finished");
    active.stop().await.unwrap();
    passive.stop().await.unwrap();
}

#[tokio::test]
async fn a_passive_says_what_it_does_not_take() {
    let directory = tempfile::tempdir().unwrap();
    let active_side = Side::new(directory.path(), "apim-1", Role::Active);
    let passive_side = Side::new(directory.path(), "apim-2", Role::Passive);
    write(&active_side.tree(), "default/api/a.xml", &api("a", ""));
    write(
        &passive_side.tree(),
        "default/api/a.xml",
        &api("another", ""),
    );
    passive_side.trust(&active_side, None);
    let passive = passive_side.start().await;
    active_side.trust(&passive_side, Some(passive.local_address().to_string()));
    let active = active_side.start().await;
    let push = Push {
        wait: Wait::Applied,
        ..Push::default()
    };
    let (failure, _) = request(&active, Request::Push(push)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Halted, "{failure}");
    let tree = status(&passive).await.trees.remove(0);
    let detail = tree.detail.unwrap();
    assert!(detail.contains("never synchronised"), "{detail}");
    let confirm = Bootstrap {
        confirm: Some("apim-2".to_owned()),
        ..Bootstrap::default()
    };
    request(&passive, Request::Bootstrap(confirm))
        .await
        .unwrap();
    assert_eq!(status(&passive).await.trees.remove(0).detail, None);
    assert_eq!(
        fs::read_to_string(passive_side.tree().join("default/api/a.xml")).unwrap(),
        api("a", "")
    );
    active.stop().await.unwrap();
    passive.stop().await.unwrap();
}

#[tokio::test]
async fn a_tree_that_was_equal_from_the_beginning_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let active_side = Side::new(directory.path(), "apim-1", Role::Active);
    let passive_side = Side::new(directory.path(), "apim-2", Role::Passive);
    write(&active_side.tree(), "default/api/a.xml", &api("a", ""));
    write(&passive_side.tree(), "default/api/a.xml", &api("a", ""));
    passive_side.trust(&active_side, None);
    let passive = passive_side.start().await;
    active_side.trust(&passive_side, Some(passive.local_address().to_string()));
    let active = active_side.start().await;
    let push = || {
        Request::Push(Push {
            wait: Wait::Applied,
            ..Push::default()
        })
    };
    request(&active, push()).await.unwrap();
    write(
        &active_side.tree(),
        "default/api/a.xml",
        &api("a", "<resource/>"),
    );
    request(&active, push()).await.unwrap();
    let there = fs::read_to_string(passive_side.tree().join("default/api/a.xml")).unwrap();
    assert_eq!(there, api("a", "<resource/>"));
    active.stop().await.unwrap();
    passive.stop().await.unwrap();
}
