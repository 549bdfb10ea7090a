//! Makes text of others safe to show: no escape sequence but colours, no control character, nothing that turns text round.

/// Letters of one escape sequence that are looked at; a longer one is taken for text from there on.
const SEQUENCE_LETTERS_MAX: usize = 64;

/// `line` without what could do more than show letters. With `colour`, SGR sequences (ECMA-48 8.3.117) stay, and end at
/// the end of the line.
pub fn neutral(line: &str, colour: bool) -> String {
    // A progress bar writes over itself: what is seen is what was written last.
    let line = line.trim_end_matches('\r');
    let line = line.rsplit_once('\r').map_or(line, |(_, last)| last);
    let mut safe = String::with_capacity(line.len());
    let mut coloured = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\x1b' | '\u{9b}' => {
                let (sequence, is_colour) = sequence(rest);
                if is_colour && colour {
                    safe.push_str(sequence);
                    coloured = true;
                }
                rest = rest.get(sequence.len()..).unwrap_or_default();
                continue;
            }
            '\t' => safe.push_str("    "),
            c if c.is_control() || turns_round(c) => {}
            c => safe.push(c),
        }
        rest = after;
    }
    if coloured {
        safe.push_str("\x1b[0m");
    }
    safe
}

/// Marks that change the direction of the text around them, and so can make it read as something else.
fn turns_round(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The escape sequence at the start of `text`, and whether it only sets colours.
fn sequence(text: &str) -> (&str, bool) {
    let mut letters = text.char_indices().take(SEQUENCE_LETTERS_MAX);
    let first = letters.next().map_or('\0', |(_, c)| c);
    let kind = if first == '\u{9b}' { Some('[') } else { letters.next().map(|(_, c)| c) };
    let upto = |end: usize| text.get(..end).unwrap_or(text);
    let one = upto(first.len_utf8());
    match kind {
        Some('[') => match letters.find(|(_, c)| !matches!(c, '\x20'..='\x3f')) {
            Some((at, last)) => {
                let whole = upto(at + last.len_utf8());
                let plain = |c: char| c.is_ascii_digit() || c == ';' || c == ':';
                let inner = whole.strip_prefix("\x1b[").and_then(|inner| inner.strip_suffix('m'));
                (whole, inner.is_some_and(|inner| inner.chars().all(plain)))
            }
            None => (one, false),
        },
        // A string (title, link, device control) up to BEL or ST; without an end, only its introducer goes.
        Some(']' | 'P' | '_' | '^' | 'X') => {
            let mut escaped = false;
            for (at, c) in text.char_indices().skip(2).take(4096) {
                if c == '\x07' || c == '\u{9c}' || (escaped && c == '\\') {
                    return (upto(at + c.len_utf8()), false);
                }
                escaped = c == '\x1b';
            }
            (upto(one.len() + 1), false)
        }
        Some(c) if !c.is_control() => (upto(one.len() + c.len_utf8()), false),
        _ => (one, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_survive_and_only_where_they_are_wanted() {
        for (line, plain, coloured) in [
            ("plain ünï", "plain ünï", "plain ünï"),
            ("\x1b[1;31mred\x1b[0m", "red", "\x1b[1;31mred\x1b[0m\x1b[0m"),
            ("\x1b[2J\x1b[Hclear", "clear", "clear"),
            ("a\x1b[10;20Hb", "ab", "ab"),
            ("\x1b]0;title\x07x", "x", "x"),
            ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link", "link"),
            ("\x1bPdevice\x1b\\x", "x", "x"),
            ("\x1b]no end", "no end", "no end"),
            ("\x1b[", "[", "["),
            ("\x1b[31", "[31", "[31"),
            ("\x1b", "", ""),
            ("\x1bcreset", "reset", "reset"),
            ("\u{9b}31mx", "x", "x"),
            ("10%\r50%\r100%", "100%", "100%"),
            ("dos\r", "dos", "dos"),
            ("a\tb\x08\x07\0c", "a    bc", "a    bc"),
            ("\u{202e}evil\u{2066}", "evil", "evil"),
            ("\x1b[?25lx", "x", "x"),
            ("\x1b[>4mx", "x", "x"),
        ] {
            assert_eq!(neutral(line, false), plain, "{line:?}");
            assert_eq!(neutral(line, true), coloured, "{line:?}");
        }
    }

    #[test]
    fn no_line_makes_it_leave_a_control_character() {
        let mut rng = weft_stdx::rng::Rng::seeded(11);
        let letters =
            ['\x1b', '[', ']', '\u{9b}', 'm', 'H', ';', '3', '\x07', '\\', 'x', '\r', '\u{9c}', 'ü'];
        for round in 0..20_000 {
            let line: String = (0..rng.below(24)).map(|_| letters[rng.below(letters.len())]).collect();
            assert!(!neutral(&line, false).chars().any(char::is_control), "seed 11, round {round}: {line:?}");
        }
    }
}
