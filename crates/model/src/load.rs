//! The door to the first half of the model: files → typed manifest and findings.

use crate::finding::{Finding, refuses};
use crate::grammar::variables::Environment;
use crate::manifest::Manifest;
use crate::sources::{Files, Sources, gather, tidy};

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// What the files say; absent where one of them could not be read, as half of it would be misunderstood. With
    /// errors among the findings it holds what could be read.
    pub manifest: Option<Manifest>,
    /// All mistakes of form, in the order of the files.
    pub findings: Vec<Finding>,
    /// The files, for excerpts.
    pub sources: Sources,
}

impl Loaded {
    /// Whether a finding refuses the manifest.
    pub fn refused(&self) -> bool {
        self.manifest.is_none() || refuses(&self.findings)
    }
}

/// Loads the file `main` (a path that `files` knows), with the overlay that `overlay` names. `${NAME}` is filled in from
/// `environment`. Never panics, whatever the bytes.
pub fn load(files: &dyn Files, main: &str, overlay: Option<&str>, environment: &Environment) -> Loaded {
    let gathered = gather(files, main, overlay, environment);
    let mut findings = gathered.findings;
    let manifest = gathered.tree.and_then(|tree| {
        let (manifest, more) = crate::read::read(&tree, environment);
        findings.extend(more);
        gathered.whole.then_some(manifest)
    });
    tidy(&mut findings);
    Loaded { manifest, findings, sources: gathered.sources }
}
