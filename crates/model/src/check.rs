//! Whether what the manifest says makes sense: every refusal of meaning, all at once.
//!
//! Pure: a model goes in, findings come out. Names that stand for nothing were reported when they were resolved; what a
//! single value may be, when it was read.

mod calls;
mod cycles;
mod recovery;
mod relations;
mod routes;
mod services;

use crate::code::Code;
use crate::finding::{Finding, Span};
use crate::manifest::Spanned;
use crate::model::Model;
use weft_stdx::units::Percent;

/// All findings of meaning, in no particular order.
pub fn check(model: &Model) -> Vec<Finding> {
    let mut report = Report::default();
    services::check(model, &mut report);
    relations::check(model, &mut report);
    calls::check(model, &mut report);
    cycles::check(model, &mut report);
    recovery::check(model, &mut report);
    routes::check(model, &mut report);
    report.findings
}

/// Collects findings. Each has its remedy.
#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding that refuses the manifest; to be given more words by the caller.
    fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Finding {
        self.push(Finding::error(code, span, message).remedy(remedy))
    }

    /// Adds a finding that lets it pass.
    fn warning(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Finding {
        self.push(Finding::warning(code, span, message).remedy(remedy))
    }

    fn push(&mut self, finding: Finding) -> &mut Finding {
        self.findings.push(finding);
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// A share that plans can hold: whole parts of `step_ppm`.
    fn share(&mut self, share: &Spanned<Percent>, step_ppm: u32, finest: &str) {
        if !share.as_ppm().is_multiple_of(step_ppm) {
            let message = format!("shares here are no finer than {finest}");
            self.error(Code::OutOfRange, share.span, message, "round it");
        }
    }
}

/// A second place, added to a finding that is already in the report.
fn note(finding: &mut Finding, span: Span, text: impl Into<String>) {
    finding.notes.push(crate::finding::Note { span, text: text.into() });
}
