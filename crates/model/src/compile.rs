//! The door of the model: files → findings, model and plans, in one call.
//!
//! Every half reports all it finds: mistakes of form and of meaning come in the same run. Plans exist only where nothing
//! refuses the manifest.

use std::collections::BTreeMap;

use crate::api::{self, Api};
use crate::check::check;
use crate::code::Code;
use crate::derive::derive;
use crate::finding::{Finding, excerpt, refuses};
use crate::grammar::variables::Environment;
use crate::load::load;
use crate::manifest::{GatewayTls, Manifest, Spanned};
use crate::model::Model;
use crate::plan::Plans;
use crate::resolve::resolve;
use crate::sources::{FileError, Files, Sources, tidy};
use crate::yaml::FILE_BYTES_MAX;

/// Most bytes of all API files together.
pub const API_BYTES_MAX: usize = 64 << 20;

/// What a manifest compiles to.
#[derive(Debug)]
pub struct Compiled {
    /// All findings, in the order of the files.
    pub findings: Vec<Finding>,
    /// The files, for excerpts and names.
    pub sources: Sources,
    /// The manifest with its names resolved; absent where a file could not be read. With errors among the findings it
    /// holds what could be resolved.
    pub model: Option<Model>,
    /// What each process must do; absent where a finding refuses the manifest.
    pub plans: Option<Plans>,
}

impl Compiled {
    /// Whether a finding refuses the manifest.
    pub fn refused(&self) -> bool {
        self.plans.is_none()
    }
}

/// Compiles the file `main` (a path that `files` knows), with the overlay that `overlay` names. `${NAME}` is filled in from
/// `environment`. Pure but for `files`; the same files and environment give the same bytes. Never panics.
pub fn compile(files: &dyn Files, main: &str, overlay: Option<&str>, environment: &Environment) -> Compiled {
    let loaded = load(files, main, overlay, environment);
    let (mut findings, mut sources) = (loaded.findings, loaded.sources);
    let Some(manifest) = loaded.manifest else {
        return Compiled { findings, sources, model: None, plans: None };
    };
    find_folders(files, &manifest, &mut findings);
    find_certificate(files, &manifest, &mut findings);
    let apis = read_apis(files, &manifest, &mut sources, &mut findings);
    let names = sources.iter().map(|source| source.path.clone()).collect();
    let (model, more) = resolve(manifest, apis, names);
    findings.extend(more);
    findings.extend(check(&model));
    tidy(&mut findings);
    let plans = (!refuses(&findings)).then(|| derive(&model));
    Compiled { findings, sources, model: Some(model), plans }
}

/// Looks for the folders that services run in.
///
/// A build may make a folder, though never the one that it runs in itself. So a missing one is only worth a warning
/// where some build runs, and runs elsewhere.
fn find_folders(files: &dyn Files, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let mut said: Vec<&Spanned<String>> = Vec::new();
    let mut builds: Vec<Option<&str>> = Vec::new();
    for service in &manifest.services {
        said.extend(&service.cwd);
        builds.extend(service.build.as_ref().map(|_| service.cwd.as_deref().map(String::as_str)));
        for version in &service.versions {
            said.extend(&version.cwd);
            let cwd = version.cwd.as_ref().or(service.cwd.as_ref());
            let build = version.build.as_ref().or(service.build.as_ref());
            builds.extend(build.map(|_| cwd.map(|cwd| cwd.value.as_str())));
        }
    }
    for cwd in said {
        if files.is_folder(cwd) {
            continue;
        }
        let message = format!("there is no folder `{}`", excerpt(cwd));
        let finding = if builds.is_empty() || builds.contains(&Some(cwd.value.as_str())) {
            let remedy = "correct the path, or make the folder; it is relative to the folder of the manifest";
            Finding::error(Code::FolderMissing, cwd.span, message).remedy(remedy)
        } else {
            let remedy = "nothing to do if a `build` makes it; else correct the path";
            Finding::warning(Code::FolderMissing, cwd.span, message).remedy(remedy)
        };
        findings.push(finding);
    }
}

/// Looks whether the edge can serve TLS with the files that it names: the gateway would refuse its plan otherwise.
///
/// What they hold is not kept: neither a certificate nor a key is ever shown as a source.
fn find_certificate(files: &dyn Files, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let tls = manifest.gateway.as_ref().and_then(|gateway| gateway.tls.as_deref());
    let Some(GatewayTls::Files { cert, key }) = tls else { return };
    let mut read = |what: &str, path: &Spanned<String>| match files.read(path, FILE_BYTES_MAX + 1) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = format!("the {what} `{}` cannot be read: {error}", excerpt(path));
            findings.push(
                Finding::error(Code::FileMissing, path.span, message).remedy(Code::FileMissing.remedy()),
            );
            None
        }
    };
    let (chain, secret) = (read("certificate", cert), read("private key", key));
    let (Some(chain), Some(secret)) = (chain, secret) else { return };
    if let Some(mistake) = files.certificate_mistake(&chain, &secret) {
        let (path, remedy) = if mistake.in_key {
            (key, "name a PEM file with the private key of the first certificate in `cert`")
        } else {
            (cert, "name a PEM file with the chain, the gateway's own certificate first")
        };
        let message = format!("`{}` cannot be used: {}", excerpt(path), mistake.why);
        findings.push(Finding::error(Code::CertificateUnusable, path.span, message).remedy(remedy));
    }
}

/// The APIs of all services by name. A file that several services share is read once.
fn read_apis(
    files: &dyn Files,
    manifest: &Manifest,
    sources: &mut Sources,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Api> {
    let mut by_path: BTreeMap<&str, Option<Api>> = BTreeMap::new();
    let mut by_service = BTreeMap::new();
    let mut bytes_left = API_BYTES_MAX;
    for service in &manifest.services {
        let Some(path) = &service.api else { continue };
        let known = by_path.entry(path.value.as_str());
        let api = known.or_insert_with(|| read_api(files, path, &mut bytes_left, sources, findings));
        if let Some(api) = api {
            by_service.insert(service.name.value.clone(), api.clone());
        }
    }
    by_service
}

fn read_api(
    files: &dyn Files,
    path: &Spanned<String>,
    bytes_left: &mut usize,
    sources: &mut Sources,
    findings: &mut Vec<Finding>,
) -> Option<Api> {
    let read = files.read(path, FILE_BYTES_MAX + 1).and_then(|bytes| {
        *bytes_left = bytes_left.checked_sub(bytes.len()).ok_or_else(|| {
            FileError::Other(format!("all API files together are larger than {} MiB", API_BYTES_MAX >> 20))
        })?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => {
            let file = sources.add(path, &bytes);
            let (api, more) = api::read(file, path, &bytes);
            findings.extend(more);
            api
        }
        Err(error) => {
            let message = format!("the API file `{path}` cannot be read: {error}");
            findings.push(
                Finding::error(Code::FileMissing, path.span, message).remedy(Code::FileMissing.remedy()),
            );
            None
        }
    }
}
