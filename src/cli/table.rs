//! Aligned tables: text to the left, numbers to the right.

/// A table under construction.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts with the headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// Adds a row of as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row has a cell for each heading");
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let column = |c: usize| self.rows.iter().map(move |r| r[c].as_str());
        let widths: Vec<usize> =
            (0..columns).map(|c| column(c).map(|s| s.chars().count()).max().unwrap_or(0)).collect();
        let numeric: Vec<bool> = (0..columns).map(|c| column(c).skip(1).all(is_number)).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).zip(&numeric).map(|((cell, &width), &right)| {
                if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
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
}
