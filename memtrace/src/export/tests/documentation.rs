//! `docs/export.md` says what the tables are.

use std::fmt::Write as _;

use crate::export::{Table, tables::SCHEMA};

/// The documentation of a table, as it has to be in the document.
fn section(table: Table) -> String {
    let mut text = format!("### {}\n\n{}\n\n", table.name(), table.meaning());
    text.push_str("| column | unit | meaning |\n|---|---|---|\n");
    for column in table.columns() {
        let optional = if column.optional { ", optional" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {}{optional} | {} |",
            column.name,
            column.kind.name(),
            column.meaning
        );
    }
    text
}

/// Each column with its unit and meaning; what is missing is printed, to be pasted.
#[test]
fn every_column_is_documented() {
    let document = include_str!("../../../../docs/export.md");
    assert!(document.contains(SCHEMA));
    for table in Table::ALL {
        let section = section(table);
        assert!(
            document.contains(&section),
            "docs/export.md does not have this:\n{section}"
        );
    }
}
