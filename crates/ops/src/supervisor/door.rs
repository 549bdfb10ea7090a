//! The door of a running `weft up`: a Unix socket in its data directory, through which `weft restart` and `weft down` speak.
//!
//! One JSON line asks, JSON lines answer, the last one says `done` or `error`. The socket's mode keeps other users out, and
//! each caller's user id is checked as well (`SO_PEERCRED`), since a file system may ignore the mode.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Its name in the data directory.
pub const SOCKET_FILE: &str = "up.sock";
/// Bytes of a question.
const LINE_BYTES_MAX: u64 = 4096;
/// How long a caller may take to ask.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Before the next caller is taken, where one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answers that wait for a slow caller.
const ANSWERS_MAX: usize = 32;
/// Callers that are served at once.
const CALLERS_MAX: usize = 16;

/// What a caller may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Replace processes without losing a request.
    Restart {
        /// A service, `gateway`, `control` or `sidecars`; every service where absent.
        target: Option<String>,
        /// Run the builds of the services again first.
        build: bool,
    },
    /// Drain everything and end. Answered by the end of the stream.
    Down,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// On the way.
    Progress(String),
    /// Done.
    Done(String),
    /// Refused or failed.
    Error(String),
}

/// A question with the way back to who asked.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub ask: Ask,
    /// Where answers go; the stream ends when it is dropped.
    pub answers: mpsc::Sender<Answer>,
}

/// The open door; the socket's file goes with it.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens it in `data_dir`, which must be locked by the caller: a socket that is there is of a killed system.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = short(data_dir, |short| UnixListener::bind(short))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Hands questions to `asked` until that is closed. Not cancel-safe; spawn it.
    pub async fn serve(self, asked: mpsc::Sender<Asked>) {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CALLERS_MAX));
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        // Descriptors that ran out come back; asking for them without a pause takes a core.
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = asked.closed() => return,
            };
            let ours = rustix::process::geteuid().as_raw();
            let known = stream.peer_cred().is_ok_and(|caller| caller.uid() == ours || caller.uid() == 0);
            let Ok(place) = std::sync::Arc::clone(&places).try_acquire_owned() else { continue };
            if known {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let _ = converse(stream, &asked).await;
                    drop(place);
                });
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut input = BufReader::new(read.take(LINE_BYTES_MAX));
    tokio::time::timeout(ASK_LIMIT, input.read_line(&mut line)).await??;
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    match serde_json::from_str(&line) {
        Ok(ask) => {
            let _ = asked.send(Asked { ask, answers }).await;
        }
        Err(error) => {
            let _ = answers.try_send(Answer::Error(format!("not understood: {error}")));
            drop(answers);
        }
    }
    while let Some(answer) = answered.recv().await {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        write.write_all(&line).await?;
    }
    Ok(())
}

/// Asks the `weft up` of `data_dir`; `each` gets every answer. `None`: no system runs there.
///
/// # Errors
/// The connection broke before an answer that ends it.
pub async fn ask(data_dir: &Path, ask: &Ask, mut each: impl FnMut(&Answer)) -> io::Result<Option<Answer>> {
    let connected = match short(data_dir, |short| std::os::unix::net::UnixStream::connect(short)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    connected.set_nonblocking(true)?;
    let (read, mut write) = UnixStream::from_std(connected)?.into_split();
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer: Answer = serde_json::from_str(&line)?;
        each(&answer);
        if !matches!(answer, Answer::Progress(_)) {
            return Ok(Some(answer));
        }
    }
    match ask {
        Ask::Down => Ok(Some(Answer::Done("it is down".to_owned()))),
        Ask::Restart { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A socket's path holds about a hundred bytes; by way of the open folder it always fits.
fn short<T>(folder: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let folder = std::fs::File::open(folder)?;
    with(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_line_by_line_however_long_the_folder_is() {
        let folder =
            std::env::temp_dir().join(format!("weft-door-{}", std::process::id())).join("x".repeat(150));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(ask(&folder, &Ask::Down, |_| ()).await.unwrap(), None, "nobody is there");
        std::fs::write(folder.join(SOCKET_FILE), "").unwrap();
        let door = Door::open(&folder).unwrap();
        let mode = folder.join(SOCKET_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (asked, mut questions) = mpsc::channel(1);
        let serving = tokio::spawn(door.serve(asked));
        let restart = Ask::Restart { target: Some("orders".into()), build: false };
        let answering = tokio::spawn(async move {
            let Asked { ask, answers } = questions.recv().await.unwrap();
            answers.send(Answer::Progress("one".into())).await.unwrap();
            answers.send(Answer::Done("two".into())).await.unwrap();
            (ask, questions)
        });
        let mut all = Vec::new();
        let last = ask(&folder, &restart, |answer| all.push(answer.clone())).await.unwrap();
        assert_eq!(last, Some(Answer::Done("two".into())));
        assert_eq!(all.len(), 2);
        let (seen, questions) = answering.await.unwrap();
        assert_eq!(seen, restart);
        drop(questions);
        serving.await.unwrap();
        assert!(!folder.join(SOCKET_FILE).exists(), "the file goes with the door");
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}
