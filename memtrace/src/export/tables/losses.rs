//! Where records of the timeline are missing.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::{model::Loss, report::escape::escape};

struct Source<'a> {
    loss: &'a Loss,
    started: Option<u64>,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

const FIELDS: &[Field] = &[
    Field::new("from_ns", Kind::Nanoseconds, "Not before this.", |s| {
        s.loss.from_ns.into()
    }),
    Field::new("from_time", Kind::Time, "The same.", |s| {
        wall(s.started, s.loss.from_ns)
    })
    .optional(),
    Field::new("until_ns", Kind::Nanoseconds, "Not after this.", |s| {
        s.loss.until_ns.into()
    }),
    Field::new("until_time", Kind::Time, "The same.", |s| {
        wall(s.started, s.loss.until_ns)
    })
    .optional(),
    Field::new("records", Kind::Number, "How many.", |s| {
        s.loss.records.into()
    }),
    Field::new("reason", Kind::Text, "Why.", |s| {
        escape(s.loss.reason.as_bytes()).into()
    }),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    for loss in data.spans.losses() {
        let source = Source {
            loss,
            started: data.summary.started_unix_ns,
        };
        give(FIELDS, |get| get(&source), row)?;
    }
    Ok(())
}
