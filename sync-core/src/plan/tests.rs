//! The order of plans as tables, and plans carried out on a model of a disk.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::manifest::Record;
use crate::sample::{changes, path, tree};

fn plan(preset: Preset, base: &str, list: &str) -> String {
    let (base, changes) = (tree(base), changes(list));
    check(&base, &changes, preset).unwrap();
    Plan::new(&base, &changes, preset).to_string()
}

#[track_caller]
fn assert_plan(preset: Preset, base: &str, list: &str, expected: &[&str]) {
    let plan = plan(preset, base, list);
    assert_eq!(plan.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_synapse_set_comes_in_start_up_order_and_goes_in_reverse() {
    assert_plan(
        Preset::Synapse,
        "d/api/old.xml o1
         d/sequences/old.xml o2
         d/endpoints/old.xml o3
         d/api/same.xml s",
        "+ d/api/a.xml 1
         + d/endpoints/b.xml 22
         + d/inbound-endpoints/ 750
         + d/inbound-endpoints/c.xml 333
         + d/api/b.xml 1234
         + d/synapse.xml 1
         + d/sequences/z.xml 1
         - d/endpoints/old.xml
         - d/api/old.xml
         - d/sequences/old.xml",
        &[
            "create d/inbound-endpoints/ 750",
            "put d/synapse.xml 644 1 bytes",
            "put d/endpoints/b.xml 644 2 bytes",
            "put d/sequences/z.xml 644 1 bytes",
            "put d/api/a.xml 644 1 bytes",
            "put d/api/b.xml 644 4 bytes",
            "put d/inbound-endpoints/c.xml 644 3 bytes",
            "delete d/api/old.xml",
            "delete d/sequences/old.xml",
            "delete d/endpoints/old.xml",
        ],
    );
}

#[test]
fn tenants_are_ordered_as_one_set_and_renames_stay_within_a_tenant() {
    assert_plan(
        Preset::Tenants,
        "1/s/d/api/m.xml moves
         7/s/d/api/m.xml moves
         7/userstores/old.xml u
         7/executionplans/e.siddhiql e",
        "- 7/s/d/api/m.xml
         - 7/userstores/
         - 7/userstores/old.xml
         - 7/executionplans/e.siddhiql
         + 7/s/d/api/n.xml moves
         + 7/executionplans/f.siddhiql e
         + 9/
         + 9/s/
         + 9/s/d/
         + 9/s/d/api/
         + 9/s/d/api/m.xml moves
         + 9/s/d/endpoints/
         + 9/s/d/endpoints/e.xml 1",
        &[
            "create 9/ 755",
            "create 9/s/ 755",
            "create 9/s/d/ 755",
            "create 9/s/d/api/ 755",
            "create 9/s/d/endpoints/ 755",
            "put 7/executionplans/f.siddhiql 644 1 bytes",
            "put 9/s/d/endpoints/e.xml 644 1 bytes",
            "delete 7/s/d/api/m.xml",
            "put 7/s/d/api/n.xml 644 5 bytes",
            "put 9/s/d/api/m.xml 644 5 bytes",
            "delete 7/userstores/old.xml",
            "delete 7/executionplans/e.siddhiql",
            "keep 7/userstores/",
        ],
    );
}

#[test]
fn what_a_tenants_deployer_starts_from_stays_and_so_does_the_tenant() {
    let list = "- 7/\n- 7/userstores/\n- 7/userstores/deep/\n- 7/userstores/deep/u.xml";
    let base = "7/userstores/deep/u.xml u";
    let delete = "delete 7/userstores/deep/u.xml";
    let inner = "remove 7/userstores/deep/";
    assert_plan(
        Preset::Tenants,
        base,
        list,
        &[delete, inner, "keep 7/userstores/", "keep 7/"],
    );
    assert_plan(
        Preset::Synapse,
        base,
        list,
        &[delete, inner, "remove 7/userstores/", "remove 7/"],
    );
}

#[test]
fn a_plain_set_comes_by_path() {
    assert_plan(
        Preset::Plain,
        "api/old x",
        "+ z y\n+ api/new x\n+ l -> z\n+ a/b/ 755\n+ a/ 755\n- api/old",
        &[
            "create a/ 755",
            "create a/b/ 755",
            "put api/new 644 1 bytes",
            "link l -> z",
            "put z 644 1 bytes",
            "delete api/old",
        ],
    );
}

#[test]
fn an_artifact_in_a_new_file_is_deleted_right_before_it_is_put() {
    assert_plan(
        Preset::Synapse,
        "d/api/m.xml moves\nd/api/x.xml gone\nd/sequences/m.xml other",
        "- d/api/m.xml
         - d/api/x.xml
         - d/sequences/m.xml
         + d/api/a.xml 1
         + d/api/n.xml moves
         + d/api/o.xml moves
         + d/endpoints/
         + d/endpoints/m.xml other",
        &[
            "create d/endpoints/ 755",
            "put d/endpoints/m.xml 644 5 bytes",
            "put d/api/a.xml 644 1 bytes",
            "delete d/api/m.xml",
            "put d/api/n.xml 644 5 bytes",
            "put d/api/o.xml 644 5 bytes",
            "delete d/api/x.xml",
            "delete d/sequences/m.xml",
        ],
    );
}

#[test]
fn an_artifact_is_recognised_by_its_name_in_other_content() {
    let base = tree("d/api/m.xml v1\nd/api/k.xml w1\nd/sequences/s.xml x1");
    let changes = changes(
        "- d/api/m.xml\n- d/sequences/s.xml\n+ d/api/n.xml v2\n+ d/api/k.xml w2\n+ d/api/z.xml y",
    );
    let names = BTreeMap::from([
        (path("d/api/m.xml"), "M"),
        (path("d/api/n.xml"), "M"),
        (path("d/api/k.xml"), "K"),
        (path("d/api/z.xml"), "S"),
        (path("d/sequences/s.xml"), "S"),
    ]);
    let name = |path: &RelPath| names.get(path).map(ToString::to_string);
    let plan = Plan::with_names(&base, &changes, Preset::Synapse, name).to_string();
    let expected = "put d/api/k.xml 644 2 bytes\n\
                    delete d/api/m.xml\n\
                    put d/api/n.xml 644 2 bytes\n\
                    put d/api/z.xml 644 1 bytes\n\
                    delete d/sequences/s.xml\n";
    assert_eq!(plan, expected);
}

#[test]
fn emptied_artifact_directories_stay_and_so_do_those_above_them() {
    let base = "7/d/api/a.xml 1\n7/d/api/more/b 2\n7/other/x 3";
    let list = "- 7/\n- 7/d/\n- 7/d/api/\n- 7/d/api/a.xml\n- 7/d/api/more/\n- 7/d/api/more/b\n- 7/other/\n- 7/other/x";
    let files = [
        "delete 7/d/api/more/b",
        "delete 7/d/api/a.xml",
        "delete 7/other/x",
    ];
    let synapse = [
        "remove 7/other/",
        "remove 7/d/api/more/",
        "keep 7/d/api/",
        "keep 7/d/",
        "keep 7/",
    ];
    assert_plan(
        Preset::Synapse,
        base,
        list,
        &[&files[..], &synapse].concat(),
    );
    let plain = [
        "delete 7/other/x",
        "delete 7/d/api/more/b",
        "delete 7/d/api/a.xml",
    ];
    let all = [
        "remove 7/other/",
        "remove 7/d/api/more/",
        "remove 7/d/api/",
        "remove 7/d/",
        "remove 7/",
    ];
    assert_plan(Preset::Plain, base, list, &[&plain[..], &all].concat());
}

#[test]
fn a_mode_is_changed_without_a_word_about_the_content() {
    assert_plan(
        Preset::Plain,
        "a x\nd/f y\nlocked/ 500",
        "+ a x 600\n+ d/ 700\n+ d/f y\n+ locked/ 755",
        &["mode d 700", "mode locked 755", "mode a 600", "restore d/f"],
    );
}

#[test]
fn a_directory_is_locked_only_after_the_work_in_it() {
    assert_plan(
        Preset::Plain,
        "old/f x",
        "+ old/ 555\n+ new/ 500\n+ new/f y\n- old/f",
        &[
            "create new/ 700",
            "put new/f 644 1 bytes",
            "delete old/f",
            "mode old 555",
            "mode new 500",
        ],
    );
}

#[test]
fn a_change_of_kind_is_one_exchange_after_what_was_below_is_gone() {
    assert_plan(
        Preset::Synapse,
        "a x\nb/api/y.xml 1\nb/c/d 2\nz 3",
        "+ a/\n+ a/f 1\n+ b now\n- b/api/\n- b/api/y.xml\n- b/c/\n- b/c/d\n- b/extra\n- z",
        &[
            "exchange a for a/ 755",
            "put a/f 644 1 bytes",
            "delete b/api/y.xml",
            "delete b/c/d",
            "clear b/extra",
            "remove b/c/",
            "remove b/api/",
            "exchange b/ for b",
            "delete z",
        ],
    );
}

#[test]
fn changes_that_change_nothing_heal_the_disk() {
    assert_plan(
        Preset::Synapse,
        "d/api/a.xml 1",
        "+ d/api/a.xml 1\n+ d/api/\n- d/api/a.xml.back\n- d/x\n- d/x/api\n- d/x/api/y",
        &[
            "restore d/api",
            "restore d/api/a.xml",
            "clear d/x/api/y",
            "clear d/x/api unless a directory",
            "clear d/x unless a directory",
            "clear d/api/a.xml.back",
        ],
    );
}

#[test]
fn a_step_knows_its_change_and_what_stands_there() {
    let base = tree("d/api/a.xml 1\nd/api/b.xml 2");
    let changes = changes("+ d/api/c.xml 3\n- d/api/b.xml\n+ d/api/a.xml 4");
    let plan = Plan::new(&base, &changes, Preset::Synapse);
    let seen: Vec<_> = plan
        .steps()
        .iter()
        .map(|step| (step.change, step.expected.clone()))
        .collect();
    let a = base.get(&path("d/api/a.xml"));
    let b = base.get(&path("d/api/b.xml"));
    assert_eq!(seen, [(2, a), (0, None), (1, b)]);
}

#[test]
fn what_does_not_lead_to_a_tree_is_refused() {
    let base = "d/api/a.xml 1\nf x";
    let cases: &[(&str, Result<(), PlanError>)] = &[
        ("+ d/api/a.xml 1", Ok(())),
        ("- nothing", Ok(())),
        ("- nothing/here", Ok(())),
        ("+ n/ \n+ n/m/\n+ n/m/f x", Ok(())),
        ("+ n/m/f x", Err(PlanError::NoParent(path("n/m/f")))),
        ("+ f/below x", Err(PlanError::BelowFile(path("f/below")))),
        ("+ f/\n+ f/below x", Ok(())),
        (
            "+ n x\n+ n/below x",
            Err(PlanError::BelowFile(path("n/below"))),
        ),
        ("- d/api/", Err(PlanError::Orphan(path("d/api/a.xml")))),
        ("+ d/api now", Err(PlanError::Orphan(path("d/api/a.xml")))),
        ("- d/\n- d/api/a.xml", Err(PlanError::Orphan(path("d/api")))),
        ("- d/\n- d/api/\n- d/api/a.xml", Ok(())),
        (
            "- d/api/\n+ d/api/a.xml 2",
            Err(PlanError::NoParent(path("d/api/a.xml"))),
        ),
        ("+ f y\n+ f y", Err(PlanError::Duplicate(path("f")))),
        ("+ f y\n- f", Err(PlanError::Duplicate(path("f")))),
        ("+ l -> f", Err(PlanError::Symlink(path("l")))),
    ];
    for (list, expected) in cases {
        let list = list.replace("/ \n", "/\n");
        assert_eq!(
            check(&tree(base), &changes(&list), Preset::Synapse),
            *expected,
            "{list}"
        );
    }
    let link = changes("+ l -> f\n+ l/below x");
    let refused = Err(PlanError::BelowFile(path("l/below")));
    assert_eq!(check(&tree(base), &link, Preset::Plain), refused);
}

#[test]
fn a_kept_content_keeps_its_modification_time() {
    let mut base = tree("f x");
    let Some(Entry::File(mut old)) = base.get(&path("f")) else {
        panic!("a file")
    };
    old.mtime.seconds = 77;
    base.insert(path("f"), Entry::File(old));
    let after = |list| apply_changes(&base, &changes(list));
    let seconds = |manifest: Manifest| {
        manifest
            .get(&path("f"))
            .unwrap()
            .as_file()
            .unwrap()
            .mtime
            .seconds
    };
    assert_eq!(seconds(after("+ f x 600")), 77);
    assert_eq!(seconds(after("+ f y")), 0);
}

#[test]
fn summaries_and_itemised_lines_say_what_scripts_expect() {
    let base = tree("a/k 1\na/moved m\nb x\nc x\nd/ 700\ne old\nl -> b\nkind/");
    let list = "+ a/k 1 600\n- a/moved\n+ a/n m\n- c\n+ d/\n+ e newer\n+ f fresh\n+ g/\n+ l -> c\n- gone\n+ b x\n+ kind now";
    let changes = changes(list);
    let lines: Vec<String> = summarise(&base, &changes)
        .iter()
        .map(|line| {
            let from = line.from.as_ref().map(|from| format!(" from {from}"));
            format!(
                "{} {} {}{}",
                line.action.name(),
                line.path,
                line.bytes,
                from.unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "metadata a/k 0",
            "rename a/n 1 from a/moved",
            "update b 1",
            "delete c 0",
            "metadata d 0",
            "update e 5",
            "create f 5",
            "create g 0",
            "delete gone 0",
            "update kind 3",
            "update l 0",
        ]
    );
    let items: Vec<String> = changes
        .iter()
        .map(|change| {
            format!(
                "{} {}",
                itemize(change, base.get(&change.path).as_ref()),
                change.path
            )
        })
        .collect();
    assert_eq!(
        items,
        [
            ".f...p..... a/k",
            "*deleting   a/moved",
            "<f+++++++++ a/n",
            "*deleting   c",
            ".d...p..... d",
            "<fcs....... e",
            "<f+++++++++ f",
            "cd+++++++++ g",
            "cLc........ l",
            "*deleting   gone",
            ".f          b",
            "<f+++++++++ kind",
        ]
    );
}

/// A disk that knows nothing but names, and refuses what a real one would.
struct Disk(BTreeMap<RelPath, Entry>);

impl Disk {
    fn of(manifest: &Manifest) -> Self {
        Self(manifest.iter().map(Record::pair).collect())
    }

    fn perform(
        &mut self,
        Step {
            path,
            work,
            expected,
            ..
        }: &Step,
    ) {
        let parent = path.parent().map(|parent| self.0.get(&parent).cloned());
        let gone_parent = matches!(work, Work::Clear | Work::ClearFile);
        assert!(
            gone_parent
                || parent.is_none_or(|parent| parent.is_some_and(|entry| entry.is_directory())),
            "no parent: {path}"
        );
        let found = self.0.get(path).cloned();
        assert_eq!(found.as_ref(), expected.as_ref(), "{path}");
        match work {
            Work::CreateDirectory(mode) | Work::ReplaceFileByDirectory(mode) => {
                assert!(!found.is_some_and(|entry| entry.is_directory()));
                self.put(path, Entry::Directory { mode: *mode });
            }
            Work::PutFile(file) => {
                assert!(!found.is_some_and(|entry| entry.is_directory()));
                self.put(path, Entry::File(*file));
            }
            Work::PutSymlink(target) => {
                let target = target.clone();
                self.put(path, Entry::Symlink { target });
            }
            Work::SetMode(mode) => self.set_mode(path, *mode),
            Work::Restore(entry) => assert!(found.is_some_and(|found| found.same_identity(entry))),
            Work::ReplaceDirectoryByFile(entry) => {
                assert!(self.is_empty(path), "not empty: {path}");
                self.put(path, entry.clone());
            }
            Work::DeleteFile => assert!(!self.0.remove(path).unwrap().is_directory()),
            Work::RemoveDirectory => {
                assert!(self.is_empty(path), "not empty: {path}");
                assert!(self.0.remove(path).unwrap().is_directory());
            }
            Work::KeepDirectory => assert!(found.is_some_and(|entry| entry.is_directory())),
            Work::Clear | Work::ClearFile => assert_eq!(found, None),
        }
    }

    fn put(&mut self, path: &RelPath, entry: Entry) {
        self.0.insert(path.clone(), entry);
    }

    fn set_mode(&mut self, path: &RelPath, new: Mode) {
        match self.0.get_mut(path) {
            Some(Entry::Directory { mode }) => *mode = new,
            Some(Entry::File(file)) => file.mode = new,
            other => panic!("no mode on {other:?}"),
        }
    }

    fn is_empty(&self, directory: &RelPath) -> bool {
        !self
            .0
            .keys()
            .any(|path| path != directory && path.starts_with(directory))
    }
}

/// Trees over few names, so that kinds change and contents move often.
fn any_tree(links: bool) -> impl Strategy<Value = Manifest> {
    let name = prop_oneof![Just("api"), Just("sequences"), Just("a"), Just("b.xml")];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let line =
        (path, 0..if links { 8 } else { 7 }, 0..3u8).prop_map(|(path, kind, content)| match kind {
            0 | 1 => format!("{path}/"),
            2 => format!("{path}/ 555"),
            3 => format!("{path} v{content} 600"),
            7 => format!("{path} -> t{content}"),
            _ => format!("{path} v{content}"),
        });
    prop::collection::vec(line, 0..24).prop_map(|lines| tree_of(&lines))
}

/// The longest part of `lines` that is a tree: nothing below a file.
fn tree_of(lines: &[String]) -> Manifest {
    let mut manifest = Manifest::new();
    for line in lines {
        let addition = tree(line);
        let fits = addition.iter().map(Record::pair).all(|(path, entry)| {
            manifest
                .get(&path)
                .is_none_or(|old| old.is_directory() == entry.is_directory())
        });
        if fits {
            for (path, entry) in addition.iter().map(Record::pair) {
                manifest.insert(path, entry);
            }
        }
    }
    manifest
}

/// What may be left beyond the target: the directories the plan keeps.
fn kept(plan: &Plan) -> BTreeSet<RelPath> {
    let keeps = plan
        .steps()
        .iter()
        .filter(|step| step.work == Work::KeepDirectory);
    keeps.map(|step| step.path.clone()).collect()
}

fn carry_out(base: &Manifest, target: &Manifest, preset: Preset) {
    let changes = changes_between(target, base);
    assert_eq!(check(base, &changes, preset), Ok(()));
    assert_eq!(apply_changes(base, &changes), *target);
    let plan = Plan::new(base, &changes, preset);
    let lasting: Vec<RelPath> = base
        .iter()
        .map(Record::path)
        .filter(|path| target.get(path).is_some())
        .collect();
    let mut disk = Disk::of(base);
    for step in plan.steps() {
        disk.perform(step);
        for path in &lasting {
            assert!(disk.0.contains_key(path), "a hole at {path} after `{step}`");
        }
    }
    for path in kept(&plan) {
        assert!(preset == Preset::Synapse && disk.0.remove(&path).is_some());
    }
    assert_eq!(Manifest::from_entries(disk.0), *target);
}

fn deployer_rank(step: &Step) -> Option<usize> {
    crate::artifact::rank(&step.path)
}

proptest! {
    #[test]
    fn a_plan_leads_to_the_target_without_a_hole(base in any_tree(true), target in any_tree(true)) {
        carry_out(&base, &target, Preset::Plain);
    }

    #[test]
    fn a_synapse_plan_leads_to_the_target_without_a_hole(base in any_tree(false), target in any_tree(false)) {
        carry_out(&base, &target, Preset::Synapse);
    }

    #[test]
    fn puts_keep_the_deployers_order(base in any_tree(false), target in any_tree(false)) {
        let plan = Plan::new(&base, &changes_between(&target, &base), Preset::Synapse);
        let puts = plan.steps().iter().filter(|step| matches!(step.work, Work::PutFile(_)));
        prop_assert!(puts.map(deployer_rank).is_sorted());
    }

    #[test]
    fn a_plan_does_not_depend_on_the_order_of_changes(base in any_tree(true), target in any_tree(true)) {
        let changes = changes_between(&target, &base);
        let reversed: Vec<Change> = changes.iter().rev().cloned().collect();
        let plan = |changes: &[Change]| Plan::new(&base, changes, Preset::Synapse).to_string();
        prop_assert_eq!(plan(&changes), plan(&reversed));
        prop_assert_eq!(summarise(&base, &changes), summarise(&base, &reversed));
    }

    #[test]
    fn what_a_check_lets_pass_leads_to_a_tree(base in any_tree(true), target in any_tree(true), mask in any::<u64>()) {
        let all = changes_between(&target, &base).into_iter().enumerate();
        let some: Vec<Change> = all.filter(|(at, _)| mask >> (at % 64) & 1 == 1).map(|(_, change)| change).collect();
        let after = apply_changes(&base, &some);
        let is_tree = after.iter().map(Record::path).all(|path| {
            path.parent().is_none_or(|parent| after.has_directory(&parent))
        });
        prop_assert_eq!(check(&base, &some, Preset::Plain).is_ok(), is_tree);
    }
}
