//! Text that nobody wrote.

use proptest::prelude::*;

use super::*;

/// Pieces of scripts, so that arbitrary orders of them come far.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "rsync",
        "-a",
        "--delete",
        "--exclude",
        "'*'",
        "/o/repository/deployment/server/",
        "h:/o/repository/deployment/server",
        "$x",
        "${x",
        "`",
        "$(",
        ")",
        "(",
        "\"",
        "'",
        "\\",
        "\n",
        " ",
        " ",
        " ",
        ";",
        "for",
        "x",
        "in",
        "`cat l`",
        "do",
        "done",
        "while",
        "read",
        "<",
        ">",
        ">>",
        "<<",
        "<<<",
        "&",
        "&&",
        "|",
        "a=",
        "b=$a$a",
        "#",
        "~",
        "/",
        "..",
        "[",
        "]:",
        "@",
        "::",
        "trap",
        "EXIT",
        "mkdir",
        "é",
        "\r\n",
        "-e",
        "--",
        "-",
        "=",
        "!",
        "if",
        "{",
        "}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn survives(workers: &str, script: &str) {
    if let Ok(import) = read(workers, script, Some("/home/a")) {
        for node in 0..import.nodes.len() {
            let text = import.engine_config(node);
            assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
        }
        assert!(import.steps().len() > 8);
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(workers in ".*", script in "(?s).*") {
        survives(&workers, &script);
    }

    #[test]
    fn arbitrary_pieces_of_scripts_never_panic(workers in pieces(), script in pieces()) {
        survives(&workers, &script);
        let in_loop = format!("for x in `cat l`; do rsync -a {script} /o/repository/tenants/ $x; done");
        survives(&workers, &in_loop);
    }

    #[test]
    fn arbitrary_targets_and_patterns_never_panic(target in "\\PC*", pattern in "(?s).*") {
        let script = "for x in `cat l`; do rsync -a --exclude \"$p\" /o/repository/tenants/ $x/repository/tenants; done";
        let pattern = pattern.replace('\'', "");
        survives(&target, &format!("p='{pattern}'\n{script}"));
    }
}
