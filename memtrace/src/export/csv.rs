//! Comma-separated values, RFC 4180: a header line, lines that end with CR LF, fields with
//! commas or quotes in quotes, quotes doubled.
//!
//! A missing value is an empty field without quotes, empty text is `""`. Times are RFC 3339
//! with nanoseconds, flags `true` and `false`. Text is escaped (see
//! [`tables`](super::tables)), so a record is always one line.

use std::io;

use super::{
    Data, ExportError, Table,
    tables::{Kind, Value},
    time::Rfc3339,
};

/// Writes one table.
///
/// # Errors
///
/// The writer's, or the timeline cannot be read.
pub fn write(data: &Data<'_>, table: Table, out: &mut dyn io::Write) -> Result<(), ExportError> {
    let columns = table.columns();
    let mut line = String::new();
    for column in &columns {
        separate(&mut line);
        line.push_str(column.name);
    }
    line.push_str("\r\n");
    out.write_all(line.as_bytes())?;
    table.rows(data, &mut |values| {
        line.clear();
        for (index, (value, column)) in values.iter().zip(&columns).enumerate() {
            if index > 0 {
                line.push(',');
            }
            field(value, column.kind, &mut line);
        }
        line.push_str("\r\n");
        Ok(out.write_all(line.as_bytes())?)
    })
}

fn separate(line: &mut String) {
    if !line.is_empty() {
        line.push(',');
    }
}

fn field(value: &Value<'_>, kind: Kind, line: &mut String) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = match value {
        Value::Missing => Ok(()),
        Value::Integer(number) if kind == Kind::Time => write!(line, "{}", Rfc3339(*number)),
        Value::Integer(number) => write!(line, "{number}"),
        Value::Flag(flag) => write!(line, "{flag}"),
        Value::Text(text) => {
            quoted(text, line);
            Ok(())
        }
    };
}

fn quoted(text: &str, line: &mut String) {
    let plain = !text.is_empty()
        && !text.contains([',', '"', '\r', '\n'])
        // Readers disagree on whether spaces at the ends count; in quotes they do.
        && !text.starts_with(' ')
        && !text.ends_with(' ');
    if plain {
        line.push_str(text);
        return;
    }
    line.push('"');
    for c in text.chars() {
        if c == '"' {
            line.push('"');
        }
        line.push(c);
    }
    line.push('"');
}
