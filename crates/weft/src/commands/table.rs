//! Tables of text for people: columns as wide as they must be, two spaces between.

use std::fmt;

/// A table with a head.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// One more row. Control characters are shown as escapes: what others named must not move the cursor.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        let shown = |cell: &&str| {
            cell.chars()
                .flat_map(|letter| {
                    let plain = (!letter.is_control()).then_some(letter);
                    let escaped = letter.is_control().then(|| letter.escape_default());
                    plain.into_iter().chain(escaped.into_iter().flatten())
                })
                .collect()
        };
        self.rows.push(cells.iter().map(shown).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().map(|row| cell(row, column)).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (text, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{text:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_escapes_stay_text() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["first", "x"]);
        table.row(["\u{1b}[2J", ""]);
        assert_eq!(table.to_string(), "A          LONG\nfirst      x\n\\u{1b}[2J\n");
    }
}
