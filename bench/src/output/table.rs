//! A table, as text and in Markdown.

use std::fmt::Write as _;

/// Rows of cells under a header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// What it shows.
    pub(crate) title: String,
    /// Names of the columns.
    pub(crate) header: Vec<String>,
    /// Cells; the first columns, `left` of them, are text, the others numbers.
    pub(crate) rows: Vec<Vec<String>>,
    /// Columns that are set to the left.
    pub(crate) left: usize,
}

impl Table {
    /// An empty one.
    pub(crate) fn new(title: &str, left: usize, header: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            header: header.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
            left,
        }
    }

    /// For a terminal: aligned columns, and a title line.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<&Vec<String>> = std::iter::once(&self.header).chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut text = format!("{}\n", self.title);
        for line in &lines {
            let mut row = String::from(" ");
            for (column, cell) in line.iter().enumerate() {
                let width = width(column);
                // Writing to a string does not fail.
                let _ = if column < self.left {
                    write!(row, " {cell:<width$} ")
                } else {
                    write!(row, " {cell:>width$} ")
                };
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }

    /// In Markdown, without the title.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', r"\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = line(&self.header);
        let rule = |column| if column < self.left { "---" } else { "---:" };
        let rules: Vec<&str> = (0..self.header.len()).map(rule).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "|{}|", rules.join("|"));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        Table {
            rows: vec![row(["a|b", "1", "10.5"]), row(["long name", "22", "–"])],
            ..Table::new("Costs", 1, &["what", "n", "ns"])
        }
    }

    #[test]
    fn text_is_aligned() {
        let expected = "\
Costs
  what        n    ns
  a|b         1  10.5
  long name  22     –
";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn markdown_has_a_rule_and_no_stray_bars() {
        let expected = "\
| what | n | ns |
|---|---:|---:|
| a\\|b | 1 | 10.5 |
| long name | 22 | – |
";
        assert_eq!(table().markdown(), expected);
    }
}
