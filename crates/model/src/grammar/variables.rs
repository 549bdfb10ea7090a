//! `${NAME}` in a value: filled in from the environment that is passed in.
//!
//! `$${` stands for the text `${`. There is no default and no nesting: what a system needs is said, or it does not start.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::finding::{did_you_mean, excerpt};

use super::lexical::{Mistake, variable};

/// The environment that `${NAME}` is filled in from.
pub type Environment = BTreeMap<String, String>;

/// The text with its references filled in, or every mistake in it.
pub fn fill(text: &str, environment: &Environment) -> Result<String, Vec<Mistake>> {
    let mut filled = String::new();
    let mut mistakes = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[..start].ends_with('$') {
            filled.push_str(&text[at..start - 1]);
            filled.push_str("${");
            at = start + 2;
            continue;
        }
        filled.push_str(&text[at..start]);
        let Some(length) = text[start..].find('}') else {
            mistakes.push(mistake(
                Code::BadReference,
                "the closing `}` is missing".into(),
                (start, text.len()),
            ));
            return Err(mistakes);
        };
        let end = start + length + 1;
        match reference(&text[start + 2..end - 1], environment) {
            Ok(value) => filled.push_str(value),
            Err((code, why)) => mistakes.push(mistake(code, why, (start, end))),
        }
        at = end;
    }
    filled.push_str(&text[at..]);
    if mistakes.is_empty() { Ok(filled) } else { Err(mistakes) }
}

fn mistake(code: Code, why: String, part: (usize, usize)) -> Mistake {
    Mistake { code, why, part: Some(part) }
}

fn reference<'e>(name: &str, environment: &'e Environment) -> Result<&'e str, (Code, String)> {
    if name.starts_with("secret:") {
        return Err((
            Code::NotBuilt,
            "there are no stores of secrets yet; pass it in the environment: `${NAME}`".into(),
        ));
    }
    if variable(name).is_err() {
        let why = match name.split_once(":-") {
            Some((name, _)) => format!(
                "there is no default value here: write `${{{}}}` and set it in the environment",
                excerpt(name)
            ),
            None => "write the name of a variable: letters, digits and `_`".into(),
        };
        return Err((Code::BadReference, why));
    }
    environment.get(name).map(String::as_str).ok_or_else(|| {
        let near = did_you_mean(name, environment.keys().map(String::as_str));
        let near = near.map_or(String::new(), |near| format!(" (there is `{near}`)"));
        (Code::BadReference, format!("set `{name}` in the environment of weft{near}"))
    })
}
