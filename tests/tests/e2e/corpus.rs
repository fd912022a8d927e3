//! Real artifact trees, release after release. Skipped where they are absent.

use sync_tests::{Settings, World, corpus};

#[test]
fn successive_releases_of_a_stock_product_are_followed() {
    follow("apim-dist-default");
}

#[test]
fn successive_releases_of_a_large_test_suite_are_followed() {
    follow("mi-tests-mediator-1");
}

fn follow(project: &str) {
    let Some(releases) = corpus::releases(project) else {
        return;
    };
    let (world, _) = World::running_with(
        0,
        &Settings {
            // A new release may well drop half of the files.
            max_delete: "100%",
            ..Settings::default()
        },
    );
    for release in releases {
        corpus::lay_over(&release.join("synapse-configs"), &world.active.tree).unwrap();
        world.push();
        world.until_equal_but_empty_directories();
        world.verify_clean();
    }
}
