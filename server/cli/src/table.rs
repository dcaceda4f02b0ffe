//! Text for people: columns and facts.

use hallmark_host::printable;

/// The widest that a column gets, in characters: a longer cell stands out of it, and moves no other line.
const WIDEST: usize = 400;

/// Columns under headings, padded with spaces. An empty list has its headings too: whoever reads it sees what was looked for.
pub(crate) fn columns<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    Columns::new(headings).next(rows)
}

/// Columns that are written part by part: the headings stand before the first part, and a column never gets narrower.
pub(crate) struct Columns<const N: usize> {
    headings: Option<[String; N]>,
    widths: [usize; N],
}

impl<const N: usize> Columns<N> {
    pub(crate) fn new(headings: [&str; N]) -> Self {
        Self {
            widths: headings.map(|heading| heading.chars().count()),
            headings: Some(headings.map(str::to_owned)),
        }
    }

    /// The next part.
    pub(crate) fn next(&mut self, rows: &[[String; N]]) -> String {
        let rows: Vec<[String; N]> = rows
            .iter()
            .map(|row| row.each_ref().map(|cell| printable(cell)))
            .collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count().min(WIDEST));
            }
        }
        let headings = self.headings.take();
        headings.iter().chain(&rows).map(|cells| self.line(cells)).collect()
    }

    fn line(&self, cells: &[String; N]) -> String {
        let padded: Vec<String> = cells
            .iter()
            .zip(self.widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    }
}

/// A label and a value a line; facts without a value are left out.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0)
        .min(WIDEST);
    let told = facts.iter().filter(|(_, value)| !value.is_empty());
    told.map(|(label, value)| format!("{label:<width$}  {}\n", printable(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = columns(["A", "LONG"], &[["x".into(), "1".into()], ["yyy".into(), "2".into()]]);
        assert_eq!(text, "A    LONG\nx    1\nyyy  2\n");
        assert_eq!(columns(["A", "LONG"], &[]), "A  LONG\n");
    }

    #[test]
    fn a_cell_of_any_length_has_its_place() {
        let text = columns(
            ["A", "B"],
            &[["x".repeat(70_000), "1".into()], ["y".into(), "2".into()]],
        );
        assert!(text.lines().nth(1).unwrap().ends_with("x  1"));
        assert_eq!(text.lines().nth(2).unwrap().len(), WIDEST + 3);
    }

    #[test]
    fn facts_line_up_and_leave_gaps_out() {
        let text = facts(&[("id", "a".into()), ("none", String::new()), ("state", "b".into())]);
        assert_eq!(text, "id     a\nstate  b\n");
    }
}
