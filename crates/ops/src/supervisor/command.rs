//! What a service is started as: its executable and its environment. Its words are those of `weft_model::command`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use weft_model::plan::EnvValue;

/// Why a command cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It has no words; a manifest with it is refused before it comes to this.
    #[error(transparent)]
    Words(#[from] weft_model::command::CommandError),
    /// No such program.
    #[error("`{program}` is neither in {cwd} nor on the PATH")]
    NotFound {
        /// As it was written.
        program: String,
        /// Where it was looked for first.
        cwd: String,
    },
    /// It is there and cannot be run.
    #[error("`{0}` is not an executable file")]
    NotExecutable(String),
    /// The folder is missing.
    #[error("its folder {0} does not exist")]
    NoFolder(String),
}

/// Where the program is: with a slash, in `cwd` or absolute; without, in `cwd`, then along `path`.
///
/// # Errors
/// It is nowhere, or not executable.
pub fn resolve(program: &str, cwd: &Path, path: Option<&OsStr>) -> Result<PathBuf, CommandError> {
    if !cwd.is_dir() {
        return Err(CommandError::NoFolder(cwd.display().to_string()));
    }
    let here = cwd.join(program);
    if executable(&here) {
        return std::path::absolute(&here)
            .map_err(|_| CommandError::NotExecutable(here.display().to_string()));
    }
    if program.contains('/') && here.exists() {
        return Err(CommandError::NotExecutable(here.display().to_string()));
    }
    if !program.contains('/') {
        let folders = path.map(std::env::split_paths).into_iter().flatten();
        if let Some(found) = folders.map(|folder| folder.join(program)).find(|found| executable(found)) {
            return Ok(found);
        }
    }
    Err(CommandError::NotFound { program: program.to_owned(), cwd: cwd.display().to_string() })
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Addresses that a service is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where it shall listen on `127.0.0.1`.
    pub port: u16,
    /// Variable and port of the sidecar's outbound listener, for each callee.
    pub callees: Vec<Callee>,
    /// The sidecar as forward proxy.
    pub proxy: u16,
    /// The sidecar's own API.
    pub api: u16,
}

/// Where a callee is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callee {
    /// Name of the variable that says so.
    pub variable: String,
    /// `http`, or `tcp` for one that is said to speak a protocol of its own: no client of HTTP should take it for one.
    pub scheme: &'static str,
    /// On `127.0.0.1`.
    pub port: u16,
}

impl Told {
    /// The variables of `interfaces.md`, without those of the manifest.
    pub fn variables(&self) -> Vec<(String, String)> {
        let address = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
        let url = |port| address("http", port);
        let hosts = "localhost,127.0.0.1,::1";
        let mut all = vec![("PORT".to_owned(), self.port.to_string())];
        let callee = |it: &Callee| (it.variable.clone(), address(it.scheme, it.port));
        all.extend(self.callees.iter().map(callee));
        for (name, value) in [
            ("HTTP_PROXY", url(self.proxy)),
            ("http_proxy", url(self.proxy)),
            ("NO_PROXY", hosts.to_owned()),
            ("no_proxy", hosts.to_owned()),
            ("WEFT_URL", url(self.api)),
        ] {
            all.push((name.to_owned(), value));
        }
        all
    }
}

/// The whole environment of a service: what the user has, without what speaks to us; then what it is told; then what
/// the manifest says, except that nothing overrules where it must listen.
pub fn environment(
    users: &[(OsString, OsString)],
    told: &Told,
    manifest: &BTreeMap<String, EnvValue>,
) -> BTreeMap<OsString, OsString> {
    let ours = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"WEFT_") || name.starts_with(b"LISTEN_") || name == b"NOTIFY_SOCKET"
    };
    let mut all: BTreeMap<OsString, OsString> =
        users.iter().filter(|(name, _)| !ours(name)).cloned().collect();
    all.extend(told.variables().into_iter().map(|(name, value)| (name.into(), value.into())));
    let overrules = |name: &str| name != "PORT";
    let said = manifest.iter().filter(|(name, _)| overrules(name));
    all.extend(said.map(|(name, value)| (name.into(), value.reveal().into())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_beside_the_service_before_the_path() {
        let root = std::env::temp_dir().join(format!("weft-command-{}", std::process::id()));
        let (cwd, bin) = (root.join("cwd"), root.join("bin"));
        std::fs::create_dir_all(&cwd).unwrap();
        std::fs::create_dir_all(&bin).unwrap();
        let program = |folder: &Path, name: &str, mode: u32| {
            std::fs::write(folder.join(name), "").unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        program(&bin, "both", 0o755);
        program(&cwd, "both", 0o755);
        program(&bin, "path", 0o755);
        program(&cwd, "data", 0o644);
        let find = |name: &str| resolve(name, &cwd, Some(bin.as_os_str()));
        assert_eq!(find("both").unwrap(), cwd.join("both"));
        assert_eq!(find("path").unwrap(), bin.join("path"));
        assert_eq!(find("../bin/path").unwrap(), cwd.join("../bin/path"));
        assert!(matches!(find("./data"), Err(CommandError::NotExecutable(_))));
        assert!(matches!(find("nowhere"), Err(CommandError::NotFound { .. })));
        assert!(
            matches!(find("./path"), Err(CommandError::NotFound { .. })),
            "a slash means here, not the PATH"
        );
        assert!(matches!(resolve("both", &root.join("no"), None), Err(CommandError::NoFolder(_))));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_environment_is_the_users_then_ours_then_the_manifests() {
        let users: Vec<(OsString, OsString)> =
            [("HOME", "/home/me"), ("WEFT_X", "1"), ("LISTEN_FDS", "2"), ("http_proxy", "p")]
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec();
        let callee = |variable: &str, scheme, port| Callee { variable: variable.to_owned(), scheme, port };
        let callees = vec![callee("USERS_URL", "http", 4001), callee("STORE_URL", "tcp", 4004)];
        let told = Told { port: 7005, callees, proxy: 4002, api: 4003 };
        let manifest = [("PORT", "1"), ("http_proxy", ""), ("MODE", "dev")]
            .map(|(name, value)| (name.to_owned(), EnvValue::new(value, value)))
            .into();
        let all = environment(&users, &told, &manifest);
        let get = |name: &str| all.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!(get("HOME"), Some("/home/me"));
        assert_eq!((get("WEFT_X"), get("LISTEN_FDS")), (None, None));
        assert_eq!(get("PORT"), Some("7005"));
        assert_eq!(get("USERS_URL"), Some("http://127.0.0.1:4001"));
        assert_eq!(get("STORE_URL"), Some("tcp://127.0.0.1:4004"));
        assert_eq!((get("HTTP_PROXY"), get("http_proxy")), (Some("http://127.0.0.1:4002"), Some("")));
        assert_eq!(get("WEFT_URL"), Some("http://127.0.0.1:4003"));
        assert_eq!(get("MODE"), Some("dev"));
    }
}
