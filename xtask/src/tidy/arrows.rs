//! Which crate may know which: the table of `ARCHITECTURE.md`, held against what the crates declare.

use crate::shell::{Package, Shell};

/// A crate and the crates that it may use. Tools (`weft-testkit`, `xtask`) and examples are no part of the product.
const ARROWS: [(&str, &[&str]); 9] = [
    ("weft-stdx", &[]),
    ("weft-model", &["weft-stdx"]),
    ("weft-trust", &["weft-stdx", "weft-model"]),
    ("weft-proxy", &["weft-stdx", "weft-model", "weft-trust"]),
    ("weft-control", &["weft-stdx", "weft-model", "weft-trust"]),
    ("weft-ops", &["weft-stdx", "weft-model", "weft-trust"]),
    ("weft", &["weft-stdx", "weft-model", "weft-trust", "weft-proxy", "weft-control", "weft-ops"]),
    ("weft-testkit", &[]),
    ("xtask", &[]),
];

/// Heavy or consequential crates, and the only ones of ours that may use them.
const KEPT_IN: [(&str, &[&str]); 6] = [
    ("h2", &["weft-proxy", "weft-testkit"]),
    ("hyper", &["weft-control", "shop"]),
    ("rcgen", &["weft-trust", "weft-control"]),
    ("anyhow", &["weft", "xtask", "shop"]),
    ("clap", &["weft"]),
    ("annotate-snippets", &["weft-model"]),
];

/// All arrows that are not in the table.
pub(super) fn check(shell: &Shell) -> Vec<String> {
    shell.metadata.packages.iter().flat_map(of_package).collect()
}

fn of_package(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let ours = |name: &str| name == "weft" || name.starts_with("weft-");
    let may = ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let mut breaches = Vec::new();
    if may.is_none() && ours(name) {
        breaches.push(format!(
            "{name}: a crate that the table of arrows does not know (xtask/src/tidy/arrows.rs)"
        ));
    }
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        // Tests may use the harness and build certificates by themselves.
        let dev = dependency.kind.as_deref() == Some("dev");
        if ours(to) && !may.unwrap_or_default().contains(&to) && !(dev && to == "weft-testkit") {
            breaches.push(format!("{name} → {to}: not an arrow of ARCHITECTURE.md"));
        }
        let kept = KEPT_IN.iter().find(|(heavy, _)| *heavy == to);
        if let Some((_, homes)) = kept.filter(|(_, homes)| !dev && !homes.contains(&name)) {
            breaches.push(format!("{name} → {to}: this crate is kept in {}", homes.join(", ")));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Dependency;

    fn breaches(from: &str, to: &str, kind: Option<&str>) -> usize {
        let dependency = Dependency { name: to.to_owned(), kind: kind.map(str::to_owned) };
        of_package(&Package { name: from.to_owned(), dependencies: vec![dependency] }).len()
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_a_breach() {
        assert_eq!(breaches("weft-proxy", "weft-model", None), 0);
        assert_eq!(breaches("weft-model", "weft-proxy", None), 1);
        assert_eq!(breaches("weft-proxy", "weft-control", None), 1);
        assert_eq!(breaches("weft-proxy", "weft-control", Some("dev")), 1);
        assert_eq!(breaches("weft", "weft-testkit", Some("dev")), 0);
        assert_eq!(breaches("weft", "weft-testkit", None), 1);
        assert_eq!(breaches("weft-brand-new", "serde", None), 1);
    }

    #[test]
    fn a_crate_that_is_kept_in_one_place_is_a_breach_in_another() {
        assert_eq!(breaches("weft-control", "h2", None), 1);
        assert_eq!(breaches("weft-control", "h2", Some("dev")), 0);
        assert_eq!(breaches("weft-proxy", "h2", None), 0);
    }
}
