//! Aligned tables: text on the left, numbers on the right.

use crate::text::{escaped, shortened};

/// Maximum number of characters of a cell.
const CELL: usize = 200;

/// A column with a fixed width.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub heading: &'static str,
    pub width: usize,
    /// Whether cells are right-aligned.
    pub right: bool,
}

/// A line of cells. A cell that is too wide for its column loses its middle.
pub fn line(columns: &[Column], cells: &[String]) -> String {
    let cells = columns.iter().zip(cells).map(|(column, cell)| aligned(cell, column.width, column.right));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
}

/// The line below the headings.
pub fn rule(columns: &[Column]) -> String {
    columns.iter().map(|column| "─".repeat(column.width)).collect::<Vec<_>>().join("  ") + "\n"
}

fn aligned(cell: &str, width: usize, right: bool) -> String {
    let cell = shortened(&escaped(cell), width);
    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

/// A table under construction.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| cell(h)).collect()] }
    }

    /// Adds a row with one cell per heading.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row has a cell for each heading");
        self.rows.push(cells.iter().map(|text| cell(text)).collect());
    }
}

/// The text, made safe to print on a terminal.
fn cell(text: &str) -> String {
    shortened(&escaped(text), CELL)
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let column = |c: usize| self.rows.iter().map(move |r| r[c].as_str());
        let widths: Vec<usize> =
            (0..columns).map(|c| column(c).map(|s| s.chars().count()).max().unwrap_or(0)).collect();
        let numeric: Vec<bool> = (0..columns).map(|c| column(c).skip(1).all(is_number)).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells =
                row.iter().zip(&widths).zip(&numeric).map(|((cell, &width), &right)| aligned(cell, width, right));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            if i == 0 {
                let rules: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
                writeln!(f, "{}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit() || "+-–".contains(c)) || cell.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_left_and_numbers_right() {
        let mut table = Table::new(&["name", "params"]);
        table.row(vec!["τ".into(), "7".into()]);
        table.row(vec!["resnet18".into(), "11,689,512".into()]);
        let expected = "name          params\n────────  ──────────\nτ                  7\nresnet18  11,689,512\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_cell_is_one_short_line_that_a_terminal_can_show() {
        let mut table = Table::new(&["class\x1b[2J", "images"]);
        table.row(vec!["a\nb\x07".into(), "1".into()]);
        table.row(vec!["x".repeat(1_000_000), "2".into()]);
        let text = table.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("class\\u{1b}[2J ") && text.contains("\na\\nb\\u{7} "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() == CELL + 8), "{text}");
    }

    #[test]
    fn columns_of_known_width_keep_it() {
        let column = |heading, width, right| Column { heading, width, right };
        let columns = [column("image", 7, false), column("p", 4, true)];
        let row = |image: &str, p: &str| line(&columns, &[image.into(), p.into()]);
        assert_eq!(row("image", "p") + &rule(&columns), "image       p\n───────  ────\n");
        assert_eq!(row("cat.jpg", "5 %"), "cat.jpg   5 %\n");
        assert_eq!(row("a long name", "99 %"), "a l…ame  99 %\n");
        assert_eq!(row("a\nb", ""), "a\\nb\n");
    }
}
