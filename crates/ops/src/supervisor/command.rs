//! What a service is started as: its words, its executable, its environment.
//!
//! `run` is split into words by the quoting rules of the POSIX shell (XCU 2.2) and run without a shell: what only a shell
//! would understand is refused, never passed on as a word that happens to contain `|`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::Chars;

use weft_model::plan::EnvValue;

/// Words that a command may have.
const WORDS_MAX: usize = 1024;

/// Why a command cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No word.
    #[error("the command is empty")]
    Empty,
    /// A quote without its end.
    #[error("a {0} quote has no end")]
    Unclosed(char),
    /// Something only a shell understands.
    #[error("`{found}` needs a shell, and none is used; write: sh -c {whole}")]
    Shell {
        /// What was found.
        found: String,
        /// The whole command, quoted.
        whole: String,
    },
    /// `NAME=value command`.
    #[error("`{0}` sets a variable; say it under `env:`")]
    Assignment(String),
    /// More words than anybody writes.
    #[error("the command has more than {WORDS_MAX} words")]
    TooLong,
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

/// The words of a command.
///
/// # Errors
/// What a shell would be needed for, or a quote without its end.
pub fn split(command: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut letters = command.chars().peekable();
    let shell = |found: String| CommandError::Shell { found, whole: quote(command) };
    while skip_blank(&mut letters) {
        if words.len() == WORDS_MAX {
            return Err(CommandError::TooLong);
        }
        words.push(word(&mut letters).map_err(|stop| match stop {
            Stop::Unclosed(quote) => CommandError::Unclosed(quote),
            Stop::Shell(found) => shell(found),
        })?);
    }
    let first = words.first().ok_or(CommandError::Empty)?;
    if first.is_empty() {
        return Err(CommandError::Empty);
    }
    if let Some((name, _)) = first.split_once('=')
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return Err(CommandError::Assignment(first.clone()));
    }
    Ok(words)
}

enum Stop {
    Unclosed(char),
    Shell(String),
}

/// Skips blanks; false at the end.
fn skip_blank(letters: &mut Peekable<Chars<'_>>) -> bool {
    while letters.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
    letters.peek().is_some()
}

/// One word; the first letter is not blank.
fn word(letters: &mut Peekable<Chars<'_>>) -> Result<String, Stop> {
    let mut word = String::new();
    let start = |word: &String, c: char| word.is_empty() && (c == '~' || c == '#');
    while let Some(c) = letters.next_if(|c| *c != ' ' && *c != '\t') {
        match c {
            '\'' => single_quoted(letters, &mut word)?,
            '"' => double_quoted(letters, &mut word)?,
            '\\' => match letters.next() {
                // A backslash before a line end joins the lines.
                Some('\n') => {}
                Some(next) => word.push(next),
                None => return Err(Stop::Unclosed('\\')),
            },
            '$' => dollar(letters, &mut word)?,
            // A line end that YAML left in a folded text ends a command in a shell.
            '\n' if letters.peek().is_none() => {}
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\n' => {
                return Err(Stop::Shell(c.escape_debug().to_string()));
            }
            c if start(&word, c) => return Err(Stop::Shell(c.to_string())),
            c => word.push(c),
        }
    }
    Ok(word)
}

fn single_quoted(letters: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), Stop> {
    loop {
        match letters.next() {
            Some('\'') => return Ok(()),
            Some(c) => word.push(c),
            None => return Err(Stop::Unclosed('\'')),
        }
    }
}

fn double_quoted(letters: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), Stop> {
    loop {
        match letters.next() {
            Some('"') => return Ok(()),
            Some('\\') => match letters.next() {
                Some('\n') => {}
                Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return Err(Stop::Unclosed('"')),
            },
            Some('$') => dollar(letters, word)?,
            Some('`') => return Err(Stop::Shell('`'.to_string())),
            Some(c) => word.push(c),
            None => return Err(Stop::Unclosed('"')),
        }
    }
}

/// A `$` that begins an expansion is refused; one that stands alone is itself.
fn dollar(letters: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), Stop> {
    match letters.peek() {
        Some(c) if c.is_alphanumeric() || "_({@*#?$!-".contains(*c) => Err(Stop::Shell(format!("${c}"))),
        _ => {
            word.push('$');
            Ok(())
        }
    }
}

/// `text` in single quotes.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.trim_end().replace('\'', r"'\''"))
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
    pub callees: Vec<(String, u16)>,
    /// The sidecar as forward proxy.
    pub proxy: u16,
    /// The sidecar's own API.
    pub api: u16,
}

impl Told {
    /// The variables of `interfaces.md`, without those of the manifest.
    pub fn variables(&self) -> Vec<(String, String)> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let hosts = "localhost,127.0.0.1,::1";
        let mut all = vec![("PORT".to_owned(), self.port.to_string())];
        all.extend(self.callees.iter().map(|(variable, port)| (variable.clone(), url(*port))));
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
    fn words_are_split_as_a_shell_does() {
        for (command, words) in [
            ("python3 app.py", vec!["python3", "app.py"]),
            ("  a\t b  ", vec!["a", "b"]),
            ("a 'b c' \"d e\"f\\ g", vec!["a", "b c", "d ef g"]),
            (r#"sh -c 'echo "$HOME" | wc; true'"#, vec!["sh", "-c", "echo \"$HOME\" | wc; true"]),
            (r#"a "\$x \" \\ \n""#, vec!["a", "$x \" \\ \\n"]),
            ("a '' \"\"", vec!["a", "", ""]),
            ("curl http://x/?a=b*c[1]#d", vec!["curl", "http://x/?a=b*c[1]#d"]),
            ("a 100$ b\n", vec!["a", "100$", "b"]),
            ("java -Xmx64m '-Dx=y z' -jar a.jar", vec!["java", "-Xmx64m", "-Dx=y z", "-jar", "a.jar"]),
        ] {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused_by_name() {
        for (command, found) in [
            ("a | b", "|"),
            ("a && b", "&"),
            ("a; b", ";"),
            ("a > b", ">"),
            ("a $HOME", "$H"),
            ("a \"$(b)\"", "$("),
            ("a `b`", "`"),
            ("~/bin/a", "~"),
            ("a # b", "#"),
            ("a\nb", "\\n"),
        ] {
            match split(command) {
                Err(CommandError::Shell { found: seen, .. }) => assert_eq!(seen, found, "{command}"),
                other => panic!("{command}: {other:?}"),
            }
        }
        let error = split("echo it's | wc").unwrap_err();
        assert_eq!(error, CommandError::Unclosed('\''));
        let error = split("echo 'it' | wc").unwrap_err().to_string();
        assert_eq!(error, r"`|` needs a shell, and none is used; write: sh -c 'echo '\''it'\'' | wc'");
        assert_eq!(split(" "), Err(CommandError::Empty));
        assert_eq!(split("'' a"), Err(CommandError::Empty));
        assert_eq!(split("A=1 b"), Err(CommandError::Assignment("A=1".to_owned())));
    }

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
        let told = Told { port: 7005, callees: vec![("USERS_URL".to_owned(), 4001)], proxy: 4002, api: 4003 };
        let manifest = [("PORT", "1"), ("http_proxy", ""), ("MODE", "dev")]
            .map(|(name, value)| (name.to_owned(), EnvValue::new(value, value)))
            .into();
        let all = environment(&users, &told, &manifest);
        let get = |name: &str| all.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!(get("HOME"), Some("/home/me"));
        assert_eq!((get("WEFT_X"), get("LISTEN_FDS")), (None, None));
        assert_eq!(get("PORT"), Some("7005"));
        assert_eq!(get("USERS_URL"), Some("http://127.0.0.1:4001"));
        assert_eq!((get("HTTP_PROXY"), get("http_proxy")), (Some("http://127.0.0.1:4002"), Some("")));
        assert_eq!(get("WEFT_URL"), Some("http://127.0.0.1:4003"));
        assert_eq!(get("MODE"), Some("dev"));
    }
}
