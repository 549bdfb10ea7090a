//! The console's own code, as far as it runs without a browser.

use std::path::Path;
use std::process::Command;

/// The page keeps what its content security policy promises: nothing from elsewhere, no script or style in the page, and
/// text from outside never parsed as markup.
#[test]
fn the_pages_hold_nothing_that_their_policy_forbids() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    for entry in std::fs::read_dir(&web).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "@import",
        ] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
        for (at, _) in text.match_indices("://") {
            let before = text[..at].rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap();
            let link = format!("{before}{}", text[at..].split(['"', '`', '<', ' ', '\n']).next().unwrap());
            // The name of SVG, and addresses that are put together from what control says.
            let own = link == "http://www.w3.org/2000/svg" || link.contains("://${");
            assert!(own, "{} links to {link}", path.display());
        }
        if path.extension().is_some_and(|kind| kind == "html") {
            assert!(
                !text.contains("style=") && !text.contains("onclick") && !text.contains("<style"),
                "{}",
                path.display()
            );
            for script in text.split("<script").skip(1) {
                assert!(script.split('>').nth(1).unwrap().starts_with("</script"), "a script in the page");
            }
        }
    }
}

#[test]
fn the_picture_is_laid_out_without_overlaps() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let run = Command::new("node").arg("--test").arg("layout.test.js").current_dir(web).output();
    let Ok(output) = run else {
        assert!(std::env::var_os("CI").is_none(), "continuous integration installs what this test needs");
        eprintln!(
            "NOT CHECKED: node is not installed, so the layout of the console's picture was not tested"
        );
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
