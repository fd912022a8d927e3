//! What comes out: configurations, patterns, steps.

use super::*;

#[test]
fn the_configuration_of_each_node_says_what_was_assumed() {
    let import = import(WORKERS, SCRIPT);
    let passive = import.engine_config(1);
    assert!(
        passive.contains(
            "# CHECK: `~/setup/as/am-2.1.0` was taken for `/home/ubuntu/setup/as/am-2.1.0`"
        ),
        "{passive}"
    );
    let active = import.engine_config(0);
    assert!(active.contains("# WRITE ABSOLUTE PATHS"), "{active}");
    assert!(
        active.contains("path = \"~/am-2.1.0/repository"),
        "{active}"
    );
}

#[test]
fn the_configuration_has_the_keys_that_the_engine_reads() {
    let import = looped("rsync -a --exclude '\"quoted\"' --include x $S $x");
    for node in 0..2 {
        let text = import.engine_config(node);
        let config: toml::Table = toml::from_str(&text).unwrap();
        let keys = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&config), ["metrics", "node", "tree"]);
        assert_eq!(
            config["node"]["name"].as_str(),
            Some(import.nodes[node].name.as_str())
        );
        let trees = config["tree"].as_array().unwrap();
        assert_eq!(trees.len(), 3);
        for tree in trees {
            let tree = tree.as_table().unwrap();
            assert_eq!(
                keys(tree),
                ["exclude", "name", "path", "preset", "work_dir"]
            );
            let home = import.nodes[node].home.as_str();
            let name = tree["name"].as_str().unwrap();
            assert_eq!(
                tree["work_dir"].as_str(),
                Some(format!("{home}/.apim-sync/{name}").as_str())
            );
            assert_eq!(tree["exclude"][1].as_str(), Some("\"quoted\""));
            assert_eq!(tree["exclude"][2].as_str(), Some("+ x"));
        }
    }
}

#[test]
fn nodes_with_ipv6_addresses_listen_and_are_invited_there() {
    let import = import(
        "",
        "rsync -a /o/repository/tenants/ [fd00::2]:/o/repository/tenants",
    );
    for (node, advertise) in [(0, None), (1, Some("[fd00::2]:7420"))] {
        let config: toml::Table = toml::from_str(&import.engine_config(node)).unwrap();
        assert_eq!(config["node"]["listen"].as_str(), Some("[::]:7420"));
        let found = config["node"]
            .get("advertise")
            .and_then(toml::Value::as_str);
        assert_eq!(found, advertise);
    }
}

#[test]
fn a_newline_in_a_name_stays_in_its_comment() {
    let script = "rsync -a --exclude-from \"/a\nb = 1\" /o/repository/tenants/ \"u@h:~/a\nx = 1/repository/tenants\"";
    let import = import("", script);
    for node in 0..2 {
        let table: toml::Table = toml::from_str(&import.engine_config(node)).unwrap();
        assert_eq!(table.len(), 3);
    }
}

#[test]
fn two_nodes_on_one_machine_share_neither_port_nor_state() {
    let import = import(
        "",
        "rsync -a /o/a/repository/tenants/ /o/b/repository/tenants",
    );
    let found: Vec<_> = import
        .nodes
        .iter()
        .map(|it| (it.port, it.state_dir.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (7420, "/var/lib/apim-sync"),
            (7430, "/var/lib/apim-sync-apim-2")
        ]
    );
}

#[test]
fn the_first_step_stops_cron_and_the_last_ones_prove_it() {
    let steps = import(WORKERS, SCRIPT).steps();
    let at = |text: &str| steps.iter().position(|it| it.contains(text)).unwrap();
    let order = [
        "cron job",
        "On apim-1: put",
        "On apim-2 (",
        "apim-sync join",
        "apim-sync daemon",
        "apim-sync bootstrap",
        "exits 0",
        "authorized_keys",
    ];
    let places: Vec<_> = order.into_iter().map(at).collect();
    assert_eq!(places[0], 0);
    assert!(places.is_sorted(), "{places:?} {steps:#?}");
}

#[test]
fn a_home_directory_makes_the_path_of_the_active_node_absolute() {
    let import = read(WORKERS, SCRIPT, Some("/home/am/")).unwrap();
    assert_eq!(import.nodes[0].home, "~/am-2.1.0");
    assert_eq!(
        import.nodes[0].place,
        Place::Assumed("/home/am/am-2.1.0".into())
    );
    let script = SCRIPT.replace("am_server_dir=~", "am_server_dir=$HOME");
    let same = read(WORKERS, &script, Some("/home/am")).unwrap();
    assert_eq!(same.nodes[0].place, import.nodes[0].place);
}

#[test]
fn patterns_carry_over_to_the_trees_they_are_about() {
    let import = looped(
        "rsync -a --include '/synapse-configs/default/api/keep.bak' --exclude='*.bak' --exclude /webapps/ --exclude userstores --exclude-from /etc/skip $S $x",
    );
    assert_eq!(names(&import), ["synapse-configs", "executionplans"]);
    assert_eq!(import.trees[0].include, ["/default/api/keep.bak"]);
    assert_eq!(import.trees[0].exclude, ["*.back", "*.bak", "userstores"]);
    assert_eq!(import.trees[1].include, [""; 0]);
    assert_eq!(import.pattern_files, ["/etc/skip"]);
    let config = import.engine_config(0);
    assert!(
        config.contains("# ADD the patterns in `/etc/skip`"),
        "{config}"
    );
}

#[test]
fn a_part_of_a_tree_becomes_the_tree() {
    let import = looped(
        "rsync -a --exclude /x.xml ${S}synapse-configs/default/api/ $x/synapse-configs/default/api",
    );
    assert_eq!(names(&import), ["synapse-configs"]);
    assert_eq!(import.trees[0].exclude, ["*.back", "/default/api/x.xml"]);
    let notes: Vec<_> = import.notes.iter().map(Note::to_string).collect();
    assert!(
        notes
            .iter()
            .any(|it| it.contains("the whole tree is taken")),
        "{notes:?}"
    );
}
