//! The last good plan of a data plane, on disk: what it starts with when control is away.
//!
//! Holds no key.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_model::plan::{PLAN_FORMAT, Plan};
use weft_model::wire::{Endpoints, Instance};

use crate::store::{self, Durable};

/// Bytes of such a file.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A plan and the instances that it knew of.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Version, as control named it.
    pub version: String,
    /// The plan.
    pub plan: Plan,
    /// Instances of its upstreams when it was written; absent where they were not known yet.
    pub endpoints: Option<Endpoints>,
}

/// How it is written.
#[derive(Serialize, Deserialize)]
struct File {
    version: String,
    plan: serde_json::Value,
    endpoints: Option<Vec<Row>>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    service: String,
    instance: String,
    address: String,
    version: String,
    state: i32,
}

/// Whether a name is safe as that of a file: what instance names are made of.
pub(super) fn is_file_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(inner)
}

fn path_of(data_dir: &Path, instance: &str) -> PathBuf {
    data_dir.join("plans").join(format!("{instance}.json"))
}

/// The stored plan; `None`, with a word in the log, where it cannot be used.
pub(super) fn read(data_dir: &Path, instance: &str) -> Option<Stored> {
    let path = path_of(data_dir, instance);
    let parsed = match store::read(&path, FILE_BYTES_MAX) {
        Ok(None) => return None,
        Ok(Some(bytes)) => parse(&bytes),
        Err(error) => Err(error.to_string()),
    };
    parsed
        .inspect_err(
            |reason| tracing::warn!(path = %path.display(), %reason, "the plan on disk cannot be used"),
        )
        .ok()
}

fn parse(bytes: &[u8]) -> Result<Stored, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let plan = plan_of_value(file.plan)?;
    let endpoints =
        file.endpoints.map(|rows| Endpoints { instances: rows.into_iter().map(Row::instance).collect() });
    Ok(Stored { version: file.version, plan, endpoints })
}

/// A plan from its JSON, if this build understands its format.
pub(super) fn plan_of(json: &str) -> Result<Plan, String> {
    plan_of_value(serde_json::from_str(json).map_err(|error| error.to_string())?)
}

/// The number first: another format need not be readable as this one.
fn plan_of_value(value: serde_json::Value) -> Result<Plan, String> {
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if format != u64::from(PLAN_FORMAT) {
        return Err(format!("the plan has format {format}, this build understands {PLAN_FORMAT}"));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Keeps a plan, its JSON as control sent it.
pub(super) fn write(
    data_dir: &Path,
    instance: &str,
    version: &str,
    json: &str,
    endpoints: Option<&Endpoints>,
) -> io::Result<()> {
    let path = path_of(data_dir, instance);
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let rows = endpoints.map(|endpoints| endpoints.instances.iter().map(Row::of).collect());
    let plan = serde_json::from_str(json)?;
    let bytes = serde_json::to_vec(&File { version: version.to_owned(), plan, endpoints: rows })?;
    // After a power cut nothing of the system runs, and control comes back before anyone needs this.
    store::replace(&path, &bytes, Durable::No)
}

impl Row {
    fn of(instance: &Instance) -> Self {
        Self {
            service: instance.service.clone(),
            instance: instance.instance.clone(),
            address: instance.address.clone(),
            version: instance.version.clone(),
            state: instance.state,
        }
    }

    fn instance(self) -> Instance {
        Instance {
            service: self.service,
            instance: self.instance,
            address: self.address,
            version: self.version,
            state: self.state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::plan;
    use crate::store::tests::Folder;

    #[test]
    fn a_plan_comes_back_with_its_endpoints() {
        let folder = Folder::new();
        let plan = plan("orders", &["catalog"]);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(read(&folder.0, "orders-1"), None);
        write(&folder.0, "orders-1", "v", &json, None).unwrap();
        assert_eq!(read(&folder.0, "orders-1").unwrap().endpoints, None);
        let instance = Instance {
            service: "catalog".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            ..Instance::default()
        };
        let endpoints = Endpoints { instances: vec![instance] };
        write(&folder.0, "orders-1", "v", &json, Some(&endpoints)).unwrap();
        let stored = Stored { version: "v".to_owned(), plan, endpoints: Some(endpoints) };
        assert_eq!(read(&folder.0, "orders-1"), Some(stored));
    }

    #[test]
    fn what_cannot_be_used_is_no_plan() {
        let folder = Folder::new();
        let mut plan = plan("orders", &[]);
        plan.format = PLAN_FORMAT + 1;
        let json = serde_json::to_string(&plan).unwrap();
        write(&folder.0, "orders-1", "v", &json, None).unwrap();
        assert_eq!(read(&folder.0, "orders-1"), None);
        std::fs::write(path_of(&folder.0, "orders-1"), b"{\"version\":\"v\",\"plan\":{").unwrap();
        assert_eq!(read(&folder.0, "orders-1"), None);
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_files() {
        for name in ["orders-1", "gateway", "a.b_C-9"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["", "..", ".hidden", "a/b", "a\0b", "\u{e4}"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
