//! Hostile bytes for the manifest: no panic on the way from bytes to plans and rendered findings, and every finding lies
//! in its file. A NUL byte, which no manifest may hold, parts the main file, an overlay and an API file.

#![no_main]

use weft_model::render::{self, Style};
use weft_model::sources::{FileError, Files};

struct Parts<'d>(Vec<&'d [u8]>);

impl Files for Parts<'_> {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        let part = match path {
            "weft.yaml" => 0,
            "weft.ci.yaml" => 1,
            "api.proto" | "api.yaml" => 2,
            _ => return Err(FileError::Missing),
        };
        let bytes = self.0.get(part).ok_or(FileError::Missing)?;
        Ok(bytes[..bytes.len().min(bytes_max)].to_vec())
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let files = Parts(data.split(|byte| *byte == 0).collect());
    let overlay = (files.0.len() > 1).then_some("ci");
    let environment = [("A".to_owned(), "x".to_owned())].into();
    let compiled = weft_model::compile(&files, "weft.yaml", overlay, &environment);
    for finding in &compiled.findings {
        for span in finding.notes.iter().map(|note| note.span).chain([finding.span]) {
            let Some(source) = compiled.sources.get(span.file) else { panic!("{finding:?} is in no file") };
            assert!(span.start <= span.end && span.end as usize <= source.text.len(), "{finding:?}");
        }
    }
    let _ = render::text(&compiled.findings, &compiled.sources, Style::default());
    let _ = render::json(&compiled.findings, &compiled.sources);
});
