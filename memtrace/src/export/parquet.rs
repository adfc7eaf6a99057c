//! Apache Parquet: one file per table.
//!
//! Integers are `INT64`, coded as differences; times are timestamps in UTC with
//! nanoseconds; text is UTF-8 (see [`tables`](super::tables)); pages are compressed with
//! zstd. The file's key-value metadata has the schema's version, the verdict, and for each
//! column `memtrace.column.NAME`, its unit and meaning.

use std::{io, mem, sync::Arc};

use parquet::{
    basic::{
        Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
    },
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{WriterProperties, WriterVersion},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{ColumnPath, Type, TypePtr},
};

use super::{
    Data, ExportError, Table,
    tables::{Column, Kind, SCHEMA, Value},
};
use crate::report::subject::subject;

/// Rows that are kept in memory and written together. Readers work in parallel on groups
/// of about this size.
const GROUP_ROWS: usize = 122_880;

/// The value of a column in rows that have one, and which rows do.
#[derive(Debug)]
struct Buffer {
    values: Values,
    /// 1 for each row with a value, 0 for one without; empty for columns that have no gaps.
    present: Vec<i16>,
}

#[derive(Debug)]
enum Values {
    Integers(Vec<i64>),
    Flags(Vec<bool>),
    Texts(Vec<ByteArray>),
}

/// Writes one table.
///
/// # Errors
///
/// The writer's, or the timeline cannot be read.
pub fn write(
    data: &Data<'_>,
    table: Table,
    out: &mut (dyn io::Write + Send),
) -> Result<(), ExportError> {
    let columns = table.columns();
    let schema = schema(table, &columns)?;
    let properties = Arc::new(properties(data, table, &columns)?);
    let mut writer = SerializedFileWriter::new(out, schema, properties)?;
    let mut buffers: Vec<Buffer> = columns.iter().map(Buffer::new).collect();
    let mut rows = 0;
    table.rows(data, &mut |values| {
        for ((buffer, column), value) in buffers.iter_mut().zip(&columns).zip(values) {
            buffer.push(column, value)?;
        }
        rows += 1;
        if rows == GROUP_ROWS {
            rows = 0;
            write_group(&mut writer, &mut buffers)?;
        }
        Ok(())
    })?;
    if rows > 0 {
        write_group(&mut writer, &mut buffers)?;
    }
    writer.close()?;
    Ok(())
}

fn schema(table: Table, columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let mut fields = Vec::new();
    for column in columns {
        let (physical, logical) = match column.kind {
            Kind::Bytes | Kind::Nanoseconds | Kind::Number => (Physical::INT64, None),
            Kind::Time => (
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::NANOS)),
            ),
            Kind::Flag => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(column.name, physical)
            .with_logical_type(logical)
            .with_repetition(if column.optional {
                Repetition::OPTIONAL
            } else {
                Repetition::REQUIRED
            })
            .build()?;
        fields.push(Arc::new(field));
    }
    let group = Type::group_type_builder(table.name())
        .with_fields(fields)
        .build()?;
    Ok(Arc::new(group))
}

fn properties(
    data: &Data<'_>,
    table: Table,
    columns: &[Column],
) -> Result<WriterProperties, ParquetError> {
    let certificate = &data.summary.certificate;
    let mut metadata = vec![
        pair("memtrace.schema", SCHEMA),
        pair("memtrace.table", table.name()),
        pair("memtrace.meaning", table.meaning()),
        pair("memtrace.command", &subject(data.summary)),
        pair("memtrace.verdict", certificate.verdict.name()),
        pair("memtrace.tier", &certificate.tier),
        pair("memtrace.width_ns", &data.spans.width_ns().to_string()),
    ];
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("memtrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_dictionary_enabled(false);
    for column in columns {
        metadata.push(pair(
            &format!("memtrace.column.{}", column.name),
            &format!("{}: {}", column.kind.name(), column.meaning),
        ));
        let path = ColumnPath::from(column.name);
        builder = match column.kind {
            Kind::Bytes | Kind::Nanoseconds | Kind::Time | Kind::Number => {
                builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            Kind::Text => builder.set_column_dictionary_enabled(path, true),
            Kind::Flag => builder,
        };
    }
    Ok(builder.set_key_value_metadata(Some(metadata)).build())
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue::new(key.to_owned(), value.to_owned())
}

impl Buffer {
    fn new(column: &Column) -> Self {
        let values = match column.kind {
            Kind::Bytes | Kind::Nanoseconds | Kind::Time | Kind::Number => {
                Values::Integers(Vec::new())
            }
            Kind::Flag => Values::Flags(Vec::new()),
            Kind::Text => Values::Texts(Vec::new()),
        };
        Self {
            values,
            present: Vec::new(),
        }
    }

    fn push(&mut self, column: &Column, value: &Value<'_>) -> Result<(), ParquetError> {
        match (&mut self.values, value) {
            (_, Value::Missing) if column.optional => {}
            (Values::Integers(values), Value::Integer(number)) => values.push(*number),
            (Values::Flags(values), Value::Flag(flag)) => values.push(*flag),
            (Values::Texts(values), Value::Text(text)) => values.push(ByteArray::from(&**text)),
            (_, value) => {
                return Err(ParquetError::General(format!(
                    "the value {value:?} does not belong into column {}",
                    column.name
                )));
            }
        }
        if column.optional {
            self.present.push((*value != Value::Missing).into());
        }
        Ok(())
    }
}

type Output<'a> = &'a mut (dyn io::Write + Send);

fn write_group(
    writer: &mut SerializedFileWriter<Output<'_>>,
    buffers: &mut [Buffer],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for buffer in buffers {
        let present = mem::take(&mut buffer.present);
        match &mut buffer.values {
            Values::Integers(values) => {
                write_column::<Int64Type>(&mut group, &mem::take(values), &present)?;
            }
            Values::Flags(values) => {
                write_column::<BoolType>(&mut group, &mem::take(values), &present)?;
            }
            Values::Texts(values) => {
                write_column::<ByteArrayType>(&mut group, &mem::take(values), &present)?;
            }
        }
    }
    group.close()?;
    Ok(())
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Output<'_>>,
    values: &[T::T],
    present: &[i16],
) -> Result<(), ParquetError> {
    let mut column = group
        .next_column()?
        .ok_or_else(|| ParquetError::General("fewer columns than expected".to_owned()))?;
    let levels = (!present.is_empty()).then_some(present);
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
