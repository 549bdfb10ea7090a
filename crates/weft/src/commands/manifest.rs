//! The manifest as every command finds it: the main file, its folder, the environment; and how its findings are shown.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use weft_model::finding::{Finding, Severity};
use weft_model::render;
use weft_model::sources::{CertificateMistake, FileError, Files, Sources};
use weft_stdx::clock::Clock;
use weft_trust::edge::{EdgeCertificate, EdgeError};

use super::{Common, Output, as_far_as_read};

use crate::terminal::colours;

/// Name of the main file where a folder is given.
const MAIN: &str = "weft.yaml";

/// Where the manifest is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder that all paths of the manifest start from.
    pub(crate) folder: PathBuf,
    /// Name of the main file in it.
    pub(crate) main: String,
}

impl Place {
    /// From the positional argument, where one is given, or `--file`; each a file or a folder with `weft.yaml`.
    pub(crate) fn find(common: &Common, path: Option<&Path>) -> anyhow::Result<Place> {
        let path = path.unwrap_or(&common.file);
        let path = if path.is_dir() { path.join(MAIN) } else { path.to_owned() };
        let name = path.file_name().with_context(|| format!("`{}` is not a file", path.display()))?;
        let main = name
            .to_str()
            .with_context(|| format!("the name of `{}` is not UTF-8", path.display()))?
            .to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Place { folder: folder.to_owned(), main })
    }

    /// Its files.
    pub(crate) fn files(&self) -> Folder {
        Folder::new(self.folder.clone())
    }
}

/// The files below a folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The files below `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where a file that the manifest names is.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Files for Folder {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        let path = self.place(path);
        let other = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::Missing,
            _ => FileError::Other(error.to_string()),
        };
        // Opening a pipe would wait for its writer.
        if !std::fs::metadata(&path).map_err(other)?.is_file() {
            return Err(FileError::Other("it is not a file".into()));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(other)?;
        file.take(bytes_max as u64).read_to_end(&mut bytes).map_err(other)?;
        Ok(bytes)
    }

    fn is_folder(&self, path: &str) -> bool {
        self.root.join(path).is_dir()
    }

    fn certificate_mistake(&self, chain: &[u8], key: &[u8]) -> Option<CertificateMistake> {
        let error = EdgeCertificate::from_pem(chain, key, Clock::system().wall()).err()?;
        let in_key = matches!(error, EdgeError::Key | EdgeError::KeyKind | EdgeError::Mismatch);
        Some(CertificateMistake { in_key, why: error.to_string() })
    }

    fn folder(&self) -> String {
        if self.root == Path::new(".") { String::new() } else { format!("{}/", self.root.display()) }
    }
}

/// The environment that `${NAME}` is filled in from. What is not UTF-8 cannot be named there.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Findings as a JSON value for `--output json`.
pub(crate) fn findings_json(findings: &[Finding], sources: &Sources) -> Value {
    render::json(findings, sources)
}

/// Findings as text.
pub(crate) fn findings_text(findings: &[Finding], sources: &Sources, colour: bool) -> String {
    render::text(findings, sources, render::Style { colour, ..render::Style::default() })
}

/// Shows findings that refuse the manifest to a command that needs one without mistakes: as text on standard error, or as JSON on standard
/// output.
pub(crate) fn show_findings(findings: &[Finding], sources: &Sources, output: Output) -> std::io::Result<()> {
    as_far_as_read(match output {
        Output::Text => {
            let mut out = std::io::stderr().lock();
            let colour = colours(&out);
            // The words of `weft check`.
            let refused = format!("refused: {}\n", count(findings).unwrap_or_default());
            out.write_all((findings_text(findings, sources, colour) + &refused).as_bytes())
        }
        Output::Json => print_json(&serde_json::json!({ "findings": findings_json(findings, sources) })),
    })
}

/// `2 errors, 1 warning`; nothing where there is nothing to count.
pub(crate) fn count(findings: &[Finding]) -> Option<String> {
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let name = |count: usize, one: &str, many: &str| {
        (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
    };
    let parts = [
        name(of(Severity::Error), "error", "errors"),
        name(of(Severity::Warning), "warning", "warnings"),
        name(of(Severity::Advice), "piece of advice", "pieces of advice"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Prints a JSON value and a line end.
pub(crate) fn print_json(value: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(file: &str) -> Common {
        Common { file: file.into(), env: None, output: Output::Text, log_level: String::new() }
    }

    #[test]
    fn a_folder_stands_for_its_manifest() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
        for path in [folder.clone(), folder.join(MAIN)] {
            let place = Place::find(&common("elsewhere.yaml"), Some(&path)).unwrap();
            assert_eq!((place.folder.as_path(), place.main.as_str()), (folder.as_path(), MAIN));
        }
        let place = Place::find(&common("weft.yaml"), None).unwrap();
        assert_eq!((place.folder.as_path(), place.files().folder().as_str()), (Path::new("."), ""));
        assert!(Place::find(&common(".."), None).is_ok());
        assert!(Place::find(&common("/"), None).is_ok());
    }

    #[test]
    fn reading_is_bounded_and_never_waits() {
        let files = Folder { root: "/dev".into() };
        assert!(matches!(files.read("zero", 10), Err(FileError::Other(_))));
        assert_eq!(files.read("no-such-file", 10), Err(FileError::Missing));
        let files = Folder { root: env!("CARGO_MANIFEST_DIR").into() };
        assert_eq!(files.read("Cargo.toml", 9).unwrap(), b"[package]");
    }

    #[test]
    fn findings_are_counted_in_words() {
        let one = Finding::warning(weft_model::code::Code::BadValue, Default::default(), "x");
        let two = Finding::error(weft_model::code::Code::BadValue, Default::default(), "x");
        assert_eq!(count(&[]), None);
        assert_eq!(count(&[two.clone(), one, two]).unwrap(), "2 errors, 1 warning");
    }
}
