//! File names that are legal on Linux and unkind to programs.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

/// Names with line ends, escapes, invalid UTF-8, wildcards, options, shell
/// syntax, direction overrides, and both length limits.
#[must_use]
pub fn names() -> Vec<OsString> {
    let mut names: Vec<Vec<u8>> = [
        &b"two\nlines.xml"[..],
        b"carriage\rreturn.xml",
        b"\x1b[2J\x1b[31mred.xml",
        b"\xff\xfe\x80.xml",
        b"-rf",
        b"--delete.xml",
        b"~root",
        b"*",
        b"?[a-z]{b,c}.xml",
        b" leading and trailing ",
        b"tab\tand\x07bell",
        b"quote'double\"back`tick.xml",
        b"$(touch owned); echo $HOME #.xml",
        b"back\\slash.xml",
        b"%2e%2e%2f.xml",
        b"...",
        b"\x01",
        b"*deleting   x.xml",
        "combining e\u{301}.xml".as_bytes(),
        "composed \u{e9}.xml".as_bytes(),
        "right\u{202e}lmx.to-left".as_bytes(),
        "\u{1f600}.xml".as_bytes(),
        b"a",
        b"CON",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push(vec![b'x'; 255]);
    names.into_iter().map(OsString::from_vec).collect()
}
