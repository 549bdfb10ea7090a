//! What a service offers: the operations of its API file, OpenAPI 3 or `.proto`.
//!
//! Only what the model needs is read: which endpoints there are, which of them are published to other contexts, and which
//! may be repeated. Schemas, descriptions and responses are not looked at, so a file with a mistake in them still serves.

mod openapi;
mod proto;

use crate::code::Code;
use crate::finding::{FileId, Finding, Span, did_you_mean};
use crate::pattern::{EndpointPattern, method_covers};

/// Most operations in one file; the largest public APIs have about a thousand.
pub const OPERATIONS_MAX: usize = 10_000;

/// Operations of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Which kind of file they come from.
    pub kind: ApiKind,
    /// Sorted by endpoint.
    pub operations: Vec<Operation>,
}

/// Kind of an API file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKind {
    /// OpenAPI 3.0 or 3.1, YAML or JSON.
    OpenApi,
    /// Protocol buffers.
    Proto,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Method and path, or gRPC service (with package) and method.
    pub endpoint: EndpointPattern,
    /// Where the API file declares it.
    pub span: Span,
    /// `operationId`.
    pub id: Option<String>,
    /// Open to other contexts (`x-published: true`).
    pub published: bool,
    /// Declared idempotent (`x-idempotent: true`, `idempotency_level`), whatever its method is.
    pub idempotent: bool,
}

/// Why an endpoint is none of an API's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It has the path, with these methods only.
    Method(Vec<String>),
    /// It has nothing like it; perhaps this was meant.
    Unknown(Option<String>),
    /// It is HTTP and the API is gRPC, or the other way round.
    Protocol,
}

/// Reads an API file; `.proto` by the end of its name, OpenAPI else. The API is absent where nothing can be made of it.
pub fn read(file: FileId, name: &str, bytes: &[u8]) -> (Option<Api>, Vec<Finding>) {
    let (api, findings) =
        if name.ends_with(".proto") { proto::read(file, name, bytes) } else { openapi::read(file, bytes) };
    let sorted = api.map(|mut api| {
        api.operations.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        api
    });
    (sorted, findings)
}

impl Api {
    /// Whether any operation is marked as published: then only those are open to other contexts of an open host.
    pub fn marks_published(&self) -> bool {
        self.operations.iter().any(|operation| operation.published)
    }

    /// Whether any operation may be repeated: by its method (RFC 9110, section 9.2.2) or by declaration.
    pub fn has_idempotent(&self) -> bool {
        self.operations.iter().any(Operation::may_repeat)
    }

    /// The endpoint as the API knows it: the package filled in. A near one is looked for if `hint` says so.
    ///
    /// # Errors
    /// The API has no such endpoint.
    pub fn resolve(&self, endpoint: &EndpointPattern, hint: bool) -> Result<EndpointPattern, Mismatch> {
        match endpoint {
            EndpointPattern::Grpc { service, method } => self.resolve_grpc(service, method, hint),
            EndpointPattern::Http { .. } => self.resolve_http(endpoint, hint),
        }
    }

    fn resolve_http(&self, endpoint: &EndpointPattern, hint: bool) -> Result<EndpointPattern, Mismatch> {
        if self.operations.iter().any(|operation| operation.endpoint.intersects(endpoint)) {
            return Ok(endpoint.clone());
        }
        if self.kind == ApiKind::Proto {
            return Err(Mismatch::Protocol);
        }
        let EndpointPattern::Http { path: want, .. } = endpoint else { return Err(Mismatch::Protocol) };
        let mut methods: Vec<String> = Vec::new();
        for operation in &self.operations {
            let EndpointPattern::Http { method: Some(method), path, .. } = &operation.endpoint else {
                continue;
            };
            if path.intersects(want) && !methods.contains(method) {
                methods.push(method.clone());
            }
        }
        if methods.is_empty() { Err(self.unknown(endpoint, hint)) } else { Err(Mismatch::Method(methods)) }
    }

    fn resolve_grpc(&self, service: &str, method: &str, hint: bool) -> Result<EndpointPattern, Mismatch> {
        if self.kind == ApiKind::OpenApi {
            return Err(Mismatch::Protocol);
        }
        let want = EndpointPattern::Grpc { service: service.to_owned(), method: method.to_owned() };
        // One file has one package, so a service without its package is never ambiguous.
        let known = self.operations.iter().find(|operation| operation.endpoint.intersects(&want));
        match known.map(|operation| &operation.endpoint) {
            Some(EndpointPattern::Grpc { service, .. }) => {
                Ok(EndpointPattern::Grpc { service: service.clone(), method: method.to_owned() })
            }
            _ => Err(self.unknown(&want, hint)),
        }
    }

    fn unknown(&self, endpoint: &EndpointPattern, hint: bool) -> Mismatch {
        if !hint {
            return Mismatch::Unknown(None);
        }
        let known: Vec<String> =
            self.operations.iter().map(|operation| operation.endpoint.to_string()).collect();
        let text = endpoint.to_string();
        let short: Vec<String> = known.iter().map(|known| without_package(known).to_owned()).collect();
        let near = did_you_mean(&text, known.iter().map(String::as_str))
            .or_else(|| did_you_mean(&text, short.iter().map(String::as_str)));
        Mismatch::Unknown(near.map(str::to_owned))
    }
}

impl Operation {
    /// Whether it may be sent again: by its method (RFC 9110, section 9.2.2) or by declaration.
    pub fn may_repeat(&self) -> bool {
        let by_method =
            matches!(&self.endpoint, EndpointPattern::Http { method: Some(method), .. } if repeats(method));
        self.idempotent || by_method
    }
}

fn repeats(method: &str) -> bool {
    ["GET", "PUT", "DELETE", "OPTIONS", "TRACE"].iter().any(|safe| method_covers(Some(safe), method))
}

/// `Service/Method` of `package.Service/Method`.
fn without_package(endpoint: &str) -> &str {
    let Some((service, _)) = endpoint.split_once('/') else { return endpoint };
    service.rfind('.').map_or(endpoint, |dot| &endpoint[dot + 1..])
}

fn too_many(span: Span) -> Finding {
    Finding::error(Code::ApiNotSupported, span, format!("more than {OPERATIONS_MAX} operations in one API"))
        .remedy("split the API into one file for each service")
}

#[cfg(test)]
mod tests;
