//! Talking to a running control: finds it by its data directory, asks its admin API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_control::server::{CONTROL_FILE, ControlFile, TOKEN_FILE};

use super::Common;
use super::manifest::Place;

/// Making a connection, and each read and write.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where to look for a running system.
#[derive(clap::Args, Debug)]
pub(crate) struct Where {
    /// The manifest, or the folder that holds `weft.yaml`; in place of `--file`.
    path: Option<PathBuf>,
    /// The system's data directory; `.weft` beside the manifest where absent.
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
}

impl Where {
    /// The data directory.
    pub(crate) fn data_dir(&self, common: &Common) -> anyhow::Result<PathBuf> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => Ok(Place::find(common, self.path.as_deref())?.folder.join(".weft")),
        }
    }
}

/// The admin API of a running control.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    token: String,
}

impl Admin {
    /// Finds the control of the system whose data is in `data_dir`.
    pub(crate) fn find(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(CONTROL_FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "nothing runs here: there is no {}; start the system with `weft up`, or name its folder",
                path.display()
            ),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let file: ControlFile =
            serde_json::from_slice(&bytes).with_context(|| format!("{} cannot be read", path.display()))?;
        let token = data_dir.join(TOKEN_FILE);
        let token =
            std::fs::read_to_string(&token).with_context(|| format!("cannot read {}", token.display()))?;
        let address = file.admin.parse().with_context(|| format!("{} names no address", path.display()))?;
        Ok(Self { address, token: token.trim().to_owned() })
    }

    /// Asks for a resource.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask("GET", path, None)
    }

    /// Sends a value.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.ask("POST", path, Some(&serde_json::to_string(body)?))
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&str>) -> anyhow::Result<T> {
        let answer = self.exchange(method, path, body.unwrap_or_default()).with_context(|| {
            format!("control does not answer at {}; was it killed? `weft up` starts it again", self.address)
        })?;
        let (status, text) = split(&answer).context("control's answer is not HTTP")?;
        if status != 200 {
            let problem: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
            bail!(
                "control refuses ({status}): {}",
                problem["detail"].as_str().unwrap_or("it does not say why")
            );
        }
        serde_json::from_str(text).context("control's answer is not as expected; is it of another version?")
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len(),
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Status and body of an answer that ends with its connection; control sends no chunks to who closes.
fn split(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_and_garbage_is_not() {
        assert_eq!(split("HTTP/1.1 200 OK\r\na: b\r\n\r\n{}"), Some((200, "{}")));
        for bad in ["", "HTTP/1.1", "HTTP/1.1 20", "SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn where_nothing_runs_it_says_so() {
        let error = Admin::find(Path::new("/nonexistent/.weft")).unwrap_err();
        assert!(error.to_string().contains("nothing runs here"), "{error}");
    }
}
