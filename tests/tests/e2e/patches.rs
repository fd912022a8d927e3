//! Large texts that changed in many places.

use std::fmt::Write as _;

use sync_tests::{World, compare::Strictness, world::peer_of};

/// Lines that do not repeat.
fn text(lines: u64) -> String {
    (0..lines).fold(String::new(), |mut text, line| {
        let word = line.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        writeln!(text, "{line}: {word:016x}").unwrap();
        text
    })
}

/// Bytes that the active sent to the passive so far.
fn sent(world: &World) -> u64 {
    let status = world.active.status();
    peer_of(&status, "apim-2").unwrap()["sent_bytes"]
        .as_u64()
        .unwrap()
}

#[test]
fn scattered_edits_in_a_large_text_cost_their_surroundings() {
    let (world, _) = World::running(0);
    let old = text(40_000);
    world.save("large.txt", &old);
    world.push();
    world.until_equal(Strictness::Identity);
    let lines = (0..).zip(old.lines());
    let new: String = lines.fold(String::new(), |mut new, (number, line)| {
        let edited = if number % 1_000 == 7 { "edited" } else { line };
        writeln!(new, "{edited}").unwrap();
        new
    });
    let before = sent(&world);
    world.save("large.txt", &new);
    world.push();
    world.until_equal(Strictness::Identity);
    let (sent, whole) = (sent(&world) - before, new.len() as u64);
    assert!(sent < whole / 10, "{sent} bytes for a text of {whole}");
    world.verify_clean();
}

/// What the active sends for one edit of a file of `lines` lines, packets included.
fn edit(world: &World, lines: u64, edited: &str) -> u64 {
    let before = sent(world);
    world.save("small.txt", &text(lines).replace("100: ", edited));
    world.push();
    world.until_equal(Strictness::Identity);
    sent(world) - before
}

#[test]
fn an_edit_of_a_content_that_was_sent_before_costs_its_surroundings() {
    // Below 8 KiB, where no sketch is sent, and above.
    for lines in [250, 2_000] {
        let (world, _) = World::running(0);
        world.save("small.txt", &text(lines));
        world.push();
        world.until_equal(Strictness::Identity);
        let patched = edit(&world, lines, "one hundred: ");
        assert!(patched < 2_500, "{patched} bytes");
        // Where something else stands than was agreed, the whole is asked for.
        let at = world.passive.tree.join("small.txt");
        std::fs::write(at, text(lines).replace("99: ", "another: ")).unwrap();
        let whole = edit(&world, lines, "five score: ");
        assert!(whole > 2 * patched, "{whole} and {patched} bytes");
        world.verify_clean();
    }
}

/// Large contents are asked for while the small ones come, both of a first fill and of
/// an edit that comes with its contents.
#[test]
fn large_texts_come_beside_small_ones() {
    let mut world = World::new();
    let apis = world.fill(200);
    let large = text(40_000);
    for name in ["one.txt", "two.txt", "three.txt"] {
        world.save(name, &large.replace("7: ", name));
    }
    world.active.start();
    world.passive.run(&["bootstrap"]).exits(0);
    world.until_equal(Strictness::Times);
    world.passive.start();
    world.until_in_step();
    world.save("one.txt", &large.replace("9: ", "nine: "));
    world.save("four.txt", &large);
    apis[0].revised().save(&world.active.tree).unwrap();
    world.push();
    world.until_equal(Strictness::Identity);
    world.verify_clean();
}
