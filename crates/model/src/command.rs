//! The words of a command: what `run` and `build` of a service are started as.
//!
//! A command is split into words by the quoting rules of the POSIX shell (XCU 2.2) and run without a shell: what only a
//! shell would understand is refused where the manifest is checked, never passed on as a word that happens to contain `|`.

/// Words that a command may have.
const WORDS_MAX: usize = 1024;

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No word.
    #[error("the command is empty")]
    Empty,
    /// A quote without its end.
    #[error("a {quote} quote has no end")]
    Unclosed {
        /// `'`, `"` or a backslash.
        quote: char,
        /// Where it is, in bytes.
        at: usize,
    },
    /// Something only a shell understands.
    #[error("`{found}` needs a shell, and none is used")]
    Shell {
        /// What was found.
        found: String,
        /// Where it is, in bytes: from, to.
        part: (usize, usize),
    },
    /// `NAME=value command`.
    #[error("`{0}` sets a variable; say it under `env:`")]
    Assignment(String),
    /// More words than anybody writes.
    #[error("the command has more than {WORDS_MAX} words")]
    TooLong,
}

/// The words of a command; at least one, and the first is not empty.
///
/// # Errors
/// What a shell would be needed for, or a quote without its end.
pub fn split(command: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut letters = Letters { text: command, at: 0 };
    while letters.skip_blank() {
        if words.len() == WORDS_MAX {
            return Err(CommandError::TooLong);
        }
        words.push(word(&mut letters)?);
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

/// A text and how much of it was read.
struct Letters<'t> {
    text: &'t str,
    /// In bytes; always between two letters.
    at: usize,
}

impl Letters<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|letter| wanted(*letter))?;
        self.next()
    }

    /// Skips blanks; false at the end.
    fn skip_blank(&mut self) -> bool {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
        self.peek().is_some()
    }

    /// What was read last needs a shell; it began at `start`.
    fn shell(&self, start: usize) -> CommandError {
        let found = self.text.get(start..self.at).unwrap_or_default();
        CommandError::Shell { found: found.escape_debug().to_string(), part: (start, self.at) }
    }
}

fn is_blank(letter: char) -> bool {
    letter == ' ' || letter == '\t'
}

/// One word; the first letter is not blank.
fn word(letters: &mut Letters<'_>) -> Result<String, CommandError> {
    let begin = letters.at;
    let mut word = String::new();
    while letters.peek().is_some_and(|c| !is_blank(c)) {
        let at = letters.at;
        let Some(c) = letters.next() else { break };
        match c {
            '\'' => single_quoted(letters, at, &mut word)?,
            '"' => double_quoted(letters, at, &mut word)?,
            '\\' => match letters.next() {
                // A backslash before a line end joins the lines.
                Some('\n') => {}
                Some(next) => word.push(next),
                None => return Err(CommandError::Unclosed { quote: '\\', at }),
            },
            '$' => dollar(letters, at, &mut word)?,
            // A line end that YAML left in a folded text ends a command in a shell.
            '\n' if letters.peek().is_none() => {}
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\n' => {
                // `&&`, `||` and `>>` are one thing to whoever wrote them.
                if matches!(c, '|' | '&' | '<' | '>') && letters.peek() == Some(c) {
                    letters.next();
                }
                return Err(letters.shell(at));
            }
            '~' | '#' if at == begin => return Err(letters.shell(at)),
            c => word.push(c),
        }
    }
    Ok(word)
}

fn single_quoted(letters: &mut Letters<'_>, at: usize, word: &mut String) -> Result<(), CommandError> {
    loop {
        match letters.next() {
            Some('\'') => return Ok(()),
            Some(c) => word.push(c),
            None => return Err(CommandError::Unclosed { quote: '\'', at }),
        }
    }
}

fn double_quoted(letters: &mut Letters<'_>, at: usize, word: &mut String) -> Result<(), CommandError> {
    let unclosed = CommandError::Unclosed { quote: '"', at };
    loop {
        let at = letters.at;
        match letters.next() {
            Some('"') => return Ok(()),
            Some('\\') => match letters.next() {
                Some('\n') => {}
                Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return Err(unclosed),
            },
            Some('$') => dollar(letters, at, word)?,
            Some('`') => return Err(letters.shell(at)),
            Some(c) => word.push(c),
            None => return Err(unclosed),
        }
    }
}

/// A `$` that begins an expansion is refused; one that stands alone is itself.
fn dollar(letters: &mut Letters<'_>, at: usize, word: &mut String) -> Result<(), CommandError> {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    match letters.next_if(|c| name(c) || "({@*#?$!-".contains(c)) {
        Some(first) if name(first) => {
            while letters.next_if(name).is_some() {}
            Err(letters.shell(at))
        }
        Some(_) => Err(letters.shell(at)),
        None => {
            word.push('$');
            Ok(())
        }
    }
}

/// `text` in single quotes, as a shell reads it.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.trim_end().replace('\'', r"'\''"))
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
            ("a && b", "&&"),
            ("a; b", ";"),
            ("a > b", ">"),
            ("a $HOME/b", "$HOME"),
            ("a \"$(b)\"", "$("),
            ("a `b`", "`"),
            ("~/bin/a", "~"),
            ("a # b", "#"),
            ("a\nb", "\\n"),
        ] {
            match split(command) {
                Err(CommandError::Shell { found: seen, part }) => {
                    assert_eq!(seen, found, "{command}");
                    assert_eq!(command[part.0..part.1].escape_debug().to_string(), found, "{command}");
                }
                other => panic!("{command}: {other:?}"),
            }
        }
        let error = split("écho it's | wc").unwrap_err();
        assert_eq!(error, CommandError::Unclosed { quote: '\'', at: 8 });
        assert_eq!(split(r"a \"), Err(CommandError::Unclosed { quote: '\\', at: 2 }));
        assert_eq!(split("a \"$x"), Err(CommandError::Shell { found: "$x".to_owned(), part: (3, 5) }));
        assert_eq!(quote("echo 'it' | wc\n"), r"'echo '\''it'\'' | wc'");
        assert_eq!(split(" "), Err(CommandError::Empty));
        assert_eq!(split("'' a"), Err(CommandError::Empty));
        assert_eq!(split("A=1 b"), Err(CommandError::Assignment("A=1".to_owned())));
    }
}
