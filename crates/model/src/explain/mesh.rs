//! A call between two services: whether it is declared, and which relation of their contexts governs it.

use crate::code::Code;
use crate::explain::question::usage;
use crate::explain::upstream::{Reached, Request};
use crate::explain::{Explainer, Outcome, QuestionError, Source};
use crate::finding::did_you_mean;
use crate::model::{Model, Service, ServiceId};
use crate::plan::{Protocol, RolePlan};

impl Explainer<'_> {
    pub(super) fn mesh(&mut self, caller: &str, callee: &str) -> Result<Outcome, QuestionError> {
        let (model, plans) = (self.model, self.plans);
        let from = find(model, caller)?;
        let to = find(model, callee)?;
        let connection = self.question.method.is_empty();
        if connection != (model.service(to).protocol == Protocol::Tcp) {
            return Err(if connection {
                usage()
            } else {
                QuestionError::Text(format!("`{callee}` speaks TCP: ask for `{caller} -> {callee}`"))
            });
        }
        self.contexts(model.service(from), model.service(to));
        let Some(plan) = plans.sidecars.get(caller) else {
            let says = format!("`{caller}` runs elsewhere: it has no sidecar and no identity");
            return Ok(self.refused(Code::NoIdentity, says, Source::Derived));
        };
        let RolePlan::Sidecar(sidecar) = &plan.role else { return Err(QuestionError::NoGateway) };
        let Some(out) = sidecar.outbound.iter().find(|out| out.callee == callee) else {
            let says = format!("`{caller}` does not declare calls to `{callee}`");
            let source = self.at(model.service(from).said.name.span);
            return Ok(self.refused(Code::CalleeNotDeclared, says, source));
        };
        self.line(
            "call",
            format!("declared; `{caller}` finds it at `{}`", out.variable),
            Source::Line(out.origin.clone()),
        );
        let sent = Request { method: self.question.method.clone(), path: self.question.path.clone() };
        if !out.endpoints.is_empty()
            && !out.endpoints.iter().any(|endpoint| endpoint.matches(&sent.method, &sent.path))
        {
            let open: Vec<String> = out.endpoints.iter().map(ToString::to_string).collect();
            let says = format!("only {} may be called", crate::resolve::list(&open));
            return Ok(self.refused(Code::NotAllowed, says, Source::Line(out.origin.clone())));
        }
        let allowed = self.upstream(plan, callee, &sent, Reached::Mesh { caller });
        Ok(if allowed {
            Outcome::Forwarded { upstreams: vec![callee.to_owned()] }
        } else {
            Outcome::Refused {
                code: Code::NotAllowed.to_string(),
                name: Code::NotAllowed.name().to_owned(),
                status: Code::NotAllowed.status(),
            }
        })
    }

    /// How the contexts of the two stand to each other.
    fn contexts(&mut self, caller: &Service, callee: &Service) {
        let (Some(from), Some(to)) = (caller.context, callee.context) else { return };
        if from == to {
            let says = format!("both are in `{}`", self.model.context_name(from));
            self.line("context", says, Source::Derived);
            return;
        }
        let pair = format!("`{}` calls `{}`", self.model.context_name(from), self.model.context_name(to));
        match self.model.relation(from, to) {
            Some(id) => {
                let says = format!("{pair}: {}", self.model.relations[id.0].pattern.as_str());
                let source = self.at(self.model.relations[id.0].span);
                self.line("context", says, source);
            }
            None => self.line("context", format!("{pair}: no relation allows it"), Source::Default),
        }
    }
}

fn find(model: &Model, name: &str) -> Result<ServiceId, QuestionError> {
    model.find(name).ok_or_else(|| {
        let near = did_you_mean(name, model.services.iter().map(Service::name));
        QuestionError::UnknownService { name: name.to_owned(), near: near.map(str::to_owned) }
    })
}
