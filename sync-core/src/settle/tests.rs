//! Settling as scripts: one line a step, with what came out of it.

use super::*;
use crate::sample::path;

/// Plays a script: one line a step, `time what`, with what came out of it.
///
/// `touch P`, `flush`, `lost`, `rescan`; `due`, `renamed` and `released` are followed by the
/// paths expected; `next` by the deadline expected or `never`. Observations:
/// `new P CONTENT [ARTIFACT]`, `same P`, `gone P CONTENT [ARTIFACT]`,
/// `absent P`, `moved P`, `unfit P`.
fn play(script: &str) -> Settle {
    let mut settle = Settle::new(Pace::default());
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = Duration::from_millis(words[0].parse().unwrap());
        step(&mut settle, now, words[1], &words[2..], line);
    }
    settle
}

fn step(settle: &mut Settle, now: Duration, verb: &str, words: &[&str], line: &str) {
    let show = |paths: Vec<RelPath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    match verb {
        "touch" => words
            .iter()
            .for_each(|word| settle.touched(path(word), now)),
        "flush" => settle.flush(),
        "lost" => settle.rescan(),
        "rescan" => assert!(settle.take_rescan(), "{line}"),
        "due" => assert_eq!(show(settle.due(now)), words, "{line}"),
        "renamed" => assert_eq!(show(settle.moved()), words, "{line}"),
        "released" => assert_eq!(show(settle.released()), words, "{line}"),
        "next" => {
            let next = settle
                .next_deadline()
                .map(|next| next.as_millis().to_string());
            assert_eq!(next.as_deref().unwrap_or("never"), words[0], "{line}");
        }
        _ => settle.observed(path(words[0]), observation(verb, &words[1..]), now),
    }
}

fn observation(verb: &str, words: &[&str]) -> Observation {
    let content = words.first().map(|word| ContentId::of(word.as_bytes()));
    let artifact = words.get(1).map(ToString::to_string);
    match verb {
        "new" => Observation::Present {
            changed: true,
            content,
            artifact,
        },
        "same" => Observation::Present {
            changed: false,
            content,
            artifact,
        },
        "gone" => Observation::Missing { content, artifact },
        "absent" => Observation::Absent,
        "moved" => Observation::Unstable,
        "unfit" => Observation::Unfit("line 1: x".into()),
        _ => panic!("no such verb: {verb}"),
    }
}

#[test]
fn a_burst_is_due_as_one_set_when_it_is_quiet() {
    play(
        "0 next never
         100 touch a
         130 touch b a
         130 next 180
         179 due
         180 due a b
         180 next never
         181 due",
    );
}

#[test]
fn a_burst_that_goes_on_is_due_after_a_second() {
    let touches: String = (0..40).map(|n| format!("{} touch a\n", n * 30)).collect();
    let settle = play(&format!("{touches} 1180 next 1000\n 1180 due a"));
    assert_eq!(settle.pending(), Pending::default());
}

#[test]
fn a_file_deleted_and_saved_again_is_never_deleted() {
    play(
        "0 touch api/a.xml
         50 due api/a.xml
         50 gone api/a.xml v1 A
         50 released
         50 next 10050
         5000 touch api/a.xml
         5050 due api/a.xml
         5050 new api/a.xml v2 A
         5050 released
         5050 next never
         60000 due
         60000 released",
    );
}

#[test]
fn a_deletion_is_believed_after_its_hold_and_a_second_look() {
    play(
        "0 touch a
         50 due a
         50 gone a v1
         10049 due
         10050 due a
         10050 released
         10060 gone a v1
         10060 released a
         10060 next never
         10060 released",
    );
    // A second look that finds the file, or something unreadable, drops it.
    play(
        "0 gone a v1
         10000 due a
         10001 same a v1
         10001 released
         10001 next never",
    );
    play(
        "0 gone a v1
         10000 due a
         10001 moved a
         10051 due a
         10051 gone a v1
         10051 released
         10051 next 20051",
    );
}

#[test]
fn a_second_look_that_is_never_answered_is_asked_for_again() {
    play(
        "0 gone a v1
         10000 due a
         10000 next 20000
         20000 due a
         20001 gone a v1
         20001 released a",
    );
}

#[test]
fn another_touch_does_not_prolong_a_hold() {
    play(
        "0 gone a v1
         9000 touch a
         9050 due a
         9050 gone a v1
         9050 released
         9050 next 10000",
    );
}

#[test]
fn a_rename_is_released_at_once_whichever_half_is_seen_first() {
    for (one, other) in [
        ("gone api/old.xml v1 A", "new api/new.xml v1 A"),
        ("gone api/old.xml v1 A", "new api/new.xml v2 A"),
        ("gone api/old.xml v1", "new other/new.xml v1"),
    ] {
        play(&format!(
            "0 {one}\n 5 {other}\n 5 renamed api/old.xml\n 5 next never"
        ));
        play(&format!(
            "0 {other}\n 5 {one}\n 5 renamed api/old.xml\n 5 next never"
        ));
    }
}

#[test]
fn what_only_resembles_a_rename_is_not_one() {
    for other in [
        "new sequences/new.xml v2 A", // the same name in another directory
        "new api/new.xml v2 B",
        "same api/new.xml v1", // was there before
    ] {
        play(&format!("0 gone api/old.xml v1 A\n 5 {other}\n 5 renamed"));
    }
    // One new file stands for one deletion; an old one for none.
    play("0 new n v1\n 1 gone a v1\n 1 gone b v1\n 1 renamed a");
    play("0 gone a v1\n 0 gone b v1\n 1 new n v1\n 1 renamed a");
    play("0 new n v1\n 10000 gone a v1\n 10000 renamed");
    play("0 new n v1\n 1 gone n v1\n 1 renamed\n 2 gone a v1\n 2 renamed");
}

#[test]
fn a_path_that_comes_back_before_it_is_taken_is_not_deleted() {
    play(
        "0 gone a v1
         1 new b v1
         2 new a v3
         2 renamed",
    );
}

#[test]
fn what_must_not_travel_is_listed_until_it_is_mended_or_gone() {
    let mut settle = play("0 gone a v1\n 1 unfit a\n 1 next never\n 2 unfit b");
    assert_eq!(settle.unfit().count(), 2);
    settle.observed(path("a"), observation("new", &["v2"]), Duration::ZERO);
    settle.observed(path("b"), Observation::Absent, Duration::ZERO);
    assert_eq!(settle.pending(), Pending::default());
}

#[test]
fn a_flush_makes_touches_due_but_not_deletions() {
    play(
        "0 gone a v1
         10 touch b
         10 flush
         10 next 10
         10 due b
         10 flush
         11 touch c
         11 due
         61 due c",
    );
}

#[test]
fn an_unstable_path_is_looked_at_again() {
    play("0 touch a\n 50 due a\n 60 moved a\n 60 due\n 110 due a");
}

#[test]
fn lost_hints_ask_for_a_rescan_and_touches_count_again_once_it_begins() {
    play(
        "0 gone held v1
         0 touch a
         1 lost
         2 touch b
         2 next 0
         100 due
         100 rescan
         101 touch c
         151 due c
         10000 due held",
    );
}

#[test]
fn too_many_touches_become_one_rescan() {
    let mut settle = Settle::new(Pace::default());
    for n in 0..=TOUCHED_PATHS_MAX {
        settle.touched(path(&n.to_string()), Duration::ZERO);
    }
    assert_eq!(settle.pending().touched, 0);
    assert_eq!(settle.due(Duration::from_secs(9)), []);
    assert!(settle.take_rescan());
    assert!(!settle.take_rescan());
    settle.touched(path("a"), Duration::ZERO);
    assert_eq!(settle.due(Duration::from_secs(9)), [path("a")]);
}
