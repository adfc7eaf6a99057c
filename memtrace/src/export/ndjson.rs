//! Newline-delimited JSON: one object per line and row, with the table's columns as keys.
//!
//! Every key is in every line; a missing value is `null`. Numbers are integers, times
//! strings in RFC 3339 with nanoseconds. Text is escaped (see [`tables`](super::tables)).

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
    let mut line = Vec::new();
    table.rows(data, &mut |values| {
        line.clear();
        for (value, column) in values.iter().zip(&columns) {
            line.push(if line.is_empty() { b'{' } else { b',' });
            json(column.name, &mut line)?;
            line.push(b':');
            match value {
                Value::Missing => json(&(), &mut line)?,
                Value::Integer(number) if column.kind == Kind::Time => {
                    json(&Rfc3339(*number).to_string(), &mut line)?;
                }
                Value::Integer(number) => json(number, &mut line)?,
                Value::Flag(flag) => json(flag, &mut line)?,
                Value::Text(text) => json(text, &mut line)?,
            }
        }
        line.extend(b"}\n");
        Ok(out.write_all(&line)?)
    })
}

fn json<T: serde::Serialize + ?Sized>(value: &T, line: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(line, value).map_err(io::Error::from)
}
