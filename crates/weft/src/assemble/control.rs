//! Joins the control plane with the manifest's files and the sockets that it was given.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use weft_control::reload::{Loaded, Manifest};
use weft_control::server::{Settings, bind_or_free};
use weft_model::sources::{CertificateMistake, FileError, Files};
use weft_stdx::clock::Clock;
use weft_trust::store::Passphrase;

use crate::commands::manifest::{Folder, Place, environment, findings_text};
use crate::terminal::colours;

/// What `weft control` was asked for.
pub(crate) struct Asked {
    /// The manifest.
    pub(crate) place: Place,
    /// Overlay to merge.
    pub(crate) overlay: Option<String>,
    /// The system's data directory; exists.
    pub(crate) data_dir: PathBuf,
    /// Where to listen, unless that socket is inherited.
    pub(crate) admin: String,
    /// Where to listen, unless that socket is inherited.
    pub(crate) mesh: String,
    /// Sockets that were handed down, by name.
    pub(crate) sockets: BTreeMap<String, TcpListener>,
    /// What the authority's keys are sealed with.
    pub(crate) passphrase: Option<Passphrase>,
    /// Life of identities.
    pub(crate) identity_lifetime: Duration,
}

/// Everything that control is started with.
pub(crate) fn settings(asked: Asked) -> anyhow::Result<Settings> {
    let Asked { place, overlay, data_dir, admin, mesh, mut sockets, passphrase, identity_lifetime } = asked;
    let mut socket = |name: &str, address: &str| match sockets.remove(name) {
        Some(listener) => Ok(listener),
        None => bind_or_free(address).with_context(|| format!("cannot listen on {address}")),
    };
    Ok(Settings {
        admin: socket("admin", &admin)?,
        mesh: socket("mesh", &mesh)?,
        metrics: sockets.remove("metrics"),
        data_dir,
        manifest: Arc::new(Compiler { place, overlay }),
        passphrase,
        identity_lifetime,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        clock: Clock::system(),
    })
}

/// Compiles the manifest as often as it is asked to.
pub(crate) struct Compiler {
    /// The manifest.
    pub(crate) place: Place,
    /// Overlay to merge.
    pub(crate) overlay: Option<String>,
}

impl Manifest for Compiler {
    fn load(&self) -> Loaded {
        self.compile().0
    }
}

impl Compiler {
    /// Compiles it as it is now; beside what came of it, the findings that let it pass, as people read them.
    pub(crate) fn compile(&self) -> (Loaded, String) {
        let files = Recording { files: self.place.files(), asked: Mutex::default() };
        let compiled = weft_model::compile(&files, &self.place.main, self.overlay.as_deref(), &environment());
        let asked = files.asked.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let files = asked.into_iter().map(|path| self.place.folder.join(path)).collect();
        let colour = colours(&std::io::stderr());
        let findings = findings_text(&compiled.findings, &compiled.sources, colour);
        match compiled.plans {
            Some(plans) => (Loaded { files, outcome: Ok(plans) }, findings),
            None => (Loaded { files, outcome: Err(findings) }, String::new()),
        }
    }
}

/// Remembers what was asked for, also what is not there: a file that appears is a change too.
struct Recording {
    files: Folder,
    asked: Mutex<Vec<PathBuf>>,
}

impl Recording {
    fn record(&self, path: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !asked.iter().any(|known| known == Path::new(path)) {
            asked.push(PathBuf::from(path));
        }
    }
}

impl Files for Recording {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        self.record(path);
        self.files.read(path, bytes_max)
    }

    /// What happens inside of a folder that is there is no change of the manifest; that one appears is.
    fn is_folder(&self, path: &str) -> bool {
        let there = self.files.is_folder(path);
        if !there {
            self.record(path);
        }
        there
    }

    fn certificate_mistake(&self, chain: &[u8], key: &[u8]) -> Option<CertificateMistake> {
        self.files.certificate_mistake(chain, key)
    }

    fn folder(&self) -> String {
        self.files.folder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_was_asked_for_is_watched_also_the_missing_ones() {
        let folder = std::env::temp_dir().join(format!("weft-assemble-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("weft.yaml"), "system: shop\ninclude: [missing.yaml]\n").unwrap();
        let place = Place { folder: folder.clone(), main: "weft.yaml".to_owned() };
        let loaded = Compiler { place, overlay: Some("prod".to_owned()) }.load();
        std::fs::remove_dir_all(&folder).unwrap();
        for name in ["weft.yaml", "missing.yaml", "weft.prod.yaml"] {
            assert!(loaded.files.contains(&folder.join(name)), "{name} in {:?}", loaded.files);
        }
        assert!(loaded.outcome.unwrap_err().contains("missing.yaml"));
    }
}
