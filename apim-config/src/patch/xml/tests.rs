use super::*;
use crate::finding::{Row, State};

fn want(value: &str) -> Want<'_> {
    Want::new(Row::Carbon, value, "because")
}

/// Edits `text` at the element `path` below its root.
fn edited(text: &str, edit: impl Fn(&Xml<'_>, Node<'_, '_>, &mut Changes)) -> (String, Changes) {
    let xml = Xml::parse("a.xml", text).unwrap();
    let mut changes = Changes::default();
    edit(&xml, xml.root("r").unwrap(), &mut changes);
    (changes.applied_to(text), changes)
}

#[test]
fn only_the_value_changes() {
    let cases = [
        (
            "<r><a>\n  old\n </a><!--a>old</a--></r>",
            "<r><a>\n  a&amp;b\n </a><!--a>old</a--></r>",
        ),
        ("<r><a x='>'>o&lt;d</a></r>", "<r><a x='>'>a&amp;b</a></r>"),
        ("<r><a></a></r>", "<r><a>a&amp;b</a></r>"),
        ("<r><a /></r>", "<r><a >a&amp;b</a></r>"),
        (
            "<r><a>1<!-- note --></a></r>",
            "<r><a>a&amp;b<!-- note --></a></r>",
        ),
        (
            "<r><a>b<!-- 1 -->c<!-- 2 --> d</a></r>",
            "<r><a>a&amp;b<!-- 1 --><!-- 2 --> </a></r>",
        ),
        (
            "<r><a><!-- 1 --></a></r>",
            "<r><a>a&amp;b<!-- 1 --></a></r>",
        ),
        ("<r><a><![CDATA[x]]></a></r>", "<r><a>a&amp;b</a></r>"),
    ];
    for (text, expected) in cases {
        let xml = Xml::parse("a.xml", text).unwrap();
        let mut changes = Changes::default();
        let node = xml.path(xml.root("r").unwrap(), &["a"]).unwrap();
        xml.set_text(node, &want("a&b"), &mut changes).unwrap();
        let result = changes.applied_to(text);
        assert_eq!(result, expected);
        let again = Xml::parse("a.xml", &result).unwrap();
        assert_eq!(
            text_of(again.path(again.root("r").unwrap(), &["a"]).unwrap()),
            "a&b"
        );
    }
}

#[test]
fn a_value_that_is_right_is_left_alone() {
    let (text, changes) = edited("<r> <a> x </a></r>", |xml, root, changes| {
        let node = xml.one(root, "a").unwrap();
        xml.set_text(node, &want("x"), changes).unwrap();
    });
    assert_eq!(
        (text.as_str(), changes),
        ("<r> <a> x </a></r>", Changes::default())
    );
}

#[test]
fn a_secret_in_the_vault_stays_there() {
    let text = "<r xmlns:s='urn:s'><a s:secretAlias='x'></a></r>";
    let (_, changes) = edited(text, |xml, root, changes| {
        let node = xml.one(root, "a").unwrap();
        xml.set_text(node, &want("p").secret(), changes).unwrap();
    });
    assert_eq!(changes, Changes::default());
}

#[test]
fn an_attribute_is_added_as_its_neighbours_are_written() {
    let text = "<r><c a=\"1\"\r\n   port=\"2\"\r\n   z=\"3\"/></r>";
    let (result, changes) = edited(text, |xml, root, changes| {
        let node = xml.one(root, "c").unwrap();
        xml.set_attribute(node, ("proxyPort", "port"), &want("443"), changes);
        xml.set_attribute(node, ("z", "port"), &want("4"), changes);
    });
    assert_eq!(
        result,
        "<r><c a=\"1\"\r\n   port=\"2\"\r\n   proxyPort=\"443\"\r\n   z=\"4\"/></r>"
    );
    assert_eq!(changes.findings[0].place, "r/c[@port='2']/@proxyPort");
    assert_eq!(changes.findings[0].state, State::Missing);
    assert_eq!(changes.findings[1].found.as_deref(), Some("3"));
    assert_eq!(changes.findings[1].line, Some(1));
}

#[test]
fn what_is_inserted_stands_like_its_neighbour() {
    let text = "<r>\r\n\t<a/>\r\n</r>\r\n";
    let (result, changes) = edited(text, |xml, root, changes| {
        xml.set_child(root, "b", &want("1"), changes).unwrap();
    });
    assert_eq!(result, "<r>\r\n\t<a/>\r\n\t<b>1</b>\r\n</r>\r\n");
    assert_eq!(changes.findings[0].line, Some(2));
}

#[test]
fn nothing_of_a_damaged_file_is_quoted() {
    for text in [
        "<r><password>p&Hunter2;x</password></r>",
        "<r><password>ab<Hunter2>x</password></r>",
        "<r><password>ab<Hunter2",
        "<r><password a=1>Hunter2</password></r>",
        "<r><password>ab</Hunter2",
    ] {
        let refusal = Xml::parse("a.xml", text).err().unwrap();
        assert!(!refusal.to_string().contains("Hunter2"), "{refusal}");
    }
}

#[test]
fn what_is_damaged_or_ambiguous_is_refused_with_its_line() {
    let cut = Xml::parse("registry.xml", "<r>\n<mount>\n</moun")
        .err()
        .unwrap();
    assert_eq!((cut.file.as_str(), cut.line), ("registry.xml", Some(3)));
    assert!(cut.reason.contains("cut off after `</moun`"), "{cut}");
    let xml = Xml::parse("a.xml", "<r>\n<a/>\n<a/></r>").unwrap();
    let root = xml.root("r").unwrap();
    let twice = xml.one(root, "a").unwrap_err();
    assert_eq!(twice.line, Some(3));
    assert!(twice.reason.contains("line 2"), "{twice}");
    assert!(
        xml.one(root, "b")
            .unwrap_err()
            .reason
            .contains("no <b> in <r>")
    );
    assert!(xml.root("x").is_err());
}

#[test]
fn what_only_looks_alike_is_left_alone() {
    let text = "<r xmlns:z='urn:z'><c z:enable='x' class='y'/></r>";
    let (result, _) = edited(text, |xml, root, changes| {
        let node = xml.one(root, "c").unwrap();
        xml.set_attribute(node, ("enable", "class"), &want("true"), changes);
    });
    assert_eq!(
        result,
        "<r xmlns:z='urn:z'><c z:enable='x' class='y' enable=\"true\"/></r>"
    );
    let (result, _) = edited("<r><a>&#160;0</a></r>", |xml, root, changes| {
        let node = xml.one(root, "a").unwrap();
        xml.set_text(node, &want("0"), changes).unwrap();
    });
    assert_eq!(result, "<r><a>0</a></r>");
    assert!(Xml::parse("a.xml", "<!DOCTYPE r [<!ENTITY m 'x'>]><r>&m;</r>").is_err());
}
