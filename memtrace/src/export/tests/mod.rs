//! Tests of all formats on histories whose every number is known.

mod calls;
mod documentation;
mod golden;
mod history;
mod oracles;
mod properties;
mod segments;
mod stream;
mod windows;

use self::history::History;
use super::{Data, Table, tables::Value};
use crate::model::{Summary, Timeline};

/// All rows of a table, each value with the name of its column.
fn rows(data: &Data<'_>, table: Table) -> Vec<Vec<(&'static str, Value<'static>)>> {
    let columns = table.columns();
    let mut rows = Vec::new();
    table
        .rows(data, &mut |values| {
            assert_eq!(values.len(), columns.len());
            let owned = |value: &Value<'_>| match value {
                Value::Text(text) => Value::from(text.to_string()),
                Value::Missing => Value::Missing,
                Value::Integer(number) => Value::Integer(*number),
                Value::Flag(flag) => Value::Flag(*flag),
            };
            let names = columns.iter().map(|column| column.name);
            rows.push(names.zip(values.iter().map(owned)).collect());
            Ok(())
        })
        .expect("nothing fails");
    rows
}

/// The number in a column of a row.
fn number(row: &[(&str, Value<'_>)], name: &str) -> u64 {
    let value = &row
        .iter()
        .find(|(column, _)| *column == name)
        .expect("it")
        .1;
    let Value::Integer(number) = value else {
        panic!("{name} is {value:?}");
    };
    u64::try_from(*number).expect("not negative")
}

fn data<'a>(summary: &'a Summary, timeline: &'a Timeline) -> Data<'a> {
    Data {
        summary,
        spans: timeline,
        started_boot_ns: Some(5_000_000_000),
    }
}
