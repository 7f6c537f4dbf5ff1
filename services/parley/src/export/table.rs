//! Rows as columns: what Parquet wants.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

/// A row group is written once it holds so many rows, or so many bytes in memory, roughly.
const GROUP_ROWS_MAX: usize = 64 << 10;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// What a value costs in memory beside its bytes.
const VALUE_BYTES: usize = 32;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number of 64 bits.
    Int,
    /// A point in time, in milliseconds since 1970 UTC.
    Time,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
}

/// One value of a row. `None` is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// Of [`Kind::Int`] and [`Kind::Time`].
    Int(Option<i64>),
    /// Of [`Kind::Text`].
    Text(Option<&'a str>),
    /// Of [`Kind::Texts`].
    Texts(Option<&'a [String]>),
}

/// A column of rows `R`: its name, what it holds, and how to get it. All columns may be null, so that a newer version's
/// event, of which only the headers are understood, is a row too.
pub(crate) struct Column<R> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) get: for<'a> fn(&'a R) -> Cell<'a>,
}

/// What is exported as rows of one kind.
pub(crate) trait Row: Sized + 'static {
    /// The directory that its files lie in.
    const TABLE: &'static str;
    /// In the order of the files' schema.
    const COLUMNS: &'static [Column<Self>];
}

/// A column's values that wait for their row group.
#[derive(Debug, Default)]
struct Buffer {
    ints: Vec<i64>,
    texts: Vec<ByteArray>,
    /// For each value, and each null, how much of its path is there.
    definitions: Vec<i16>,
    /// For each entry of a list whether it goes on (1) or begins (0).
    repetitions: Vec<i16>,
}

impl Buffer {
    /// Takes a value; returns about how many bytes it needs.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        match cell {
            Cell::Int(value) => {
                self.definitions.push(i16::from(value.is_some()));
                self.ints.extend(value);
                VALUE_BYTES
            }
            Cell::Text(value) => {
                self.definitions.push(i16::from(value.is_some()));
                self.texts.extend(value.map(ByteArray::from));
                VALUE_BYTES + value.map_or(0, str::len)
            }
            Cell::Texts(None) => self.push_empty(0),
            Cell::Texts(Some([])) => self.push_empty(1),
            Cell::Texts(Some(texts)) => {
                let mut bytes = 0;
                for (nth, text) in texts.iter().enumerate() {
                    self.definitions.push(2);
                    self.repetitions.push(i16::from(nth > 0));
                    self.texts.push(ByteArray::from(text.as_str()));
                    bytes += VALUE_BYTES + text.len();
                }
                bytes
            }
        }
    }

    fn push_empty(&mut self, definition: i16) -> usize {
        self.definitions.push(definition);
        self.repetitions.push(0);
        VALUE_BYTES
    }

    fn write(&self, kind: Kind, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let definitions = Some(self.definitions.as_slice());
        match kind {
            Kind::Int | Kind::Time => {
                column.typed::<Int64Type>().write_batch(&self.ints, definitions, None)?;
            }
            Kind::Text => {
                column.typed::<ByteArrayType>().write_batch(&self.texts, definitions, None)?;
            }
            Kind::Texts => {
                let repetitions = Some(self.repetitions.as_slice());
                column.typed::<ByteArrayType>().write_batch(&self.texts, definitions, repetitions)?;
            }
        }
        Ok(())
    }
}

/// The schema of a table, in Parquet's own notation.
fn schema<R: Row>() -> String {
    let columns = R::COLUMNS.iter().map(|column| {
        let name = column.name;
        match column.kind {
            Kind::Int => format!("optional int64 {name};"),
            Kind::Time => format!("optional int64 {name} (TIMESTAMP(MILLIS,true));"),
            Kind::Text => format!("optional binary {name} (STRING);"),
            Kind::Texts => format!(
                "optional group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}"
            ),
        }
    });
    format!("message {} {{ {} }}", R::TABLE, columns.collect::<Vec<_>>().join(" "))
}

/// Writes the rows of one file. What waits in memory is bounded by one row group.
pub(crate) struct TableWriter<R: Row, W: Write + Send> {
    file: SerializedFileWriter<W>,
    buffers: Vec<Buffer>,
    /// In the buffers.
    group: usize,
    group_bytes: usize,
    rows: u64,
    _rows: std::marker::PhantomData<fn(R)>,
}

impl<R: Row, W: Write + Send> TableWriter<R, W> {
    /// Begins a file.
    ///
    /// # Errors
    /// What the sink says.
    pub(crate) fn new(sink: W) -> Result<Self, ParquetError> {
        let schema = Arc::new(parse_message_type(&schema::<R>())?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_created_by(concat!("parley ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(sink, schema, Arc::new(properties))?;
        let (buffers, _rows) = (Self::empty(), std::marker::PhantomData);
        Ok(Self { file, buffers, group: 0, group_bytes: 0, rows: 0, _rows })
    }

    fn empty() -> Vec<Buffer> {
        R::COLUMNS.iter().map(|_| Buffer::default()).collect()
    }

    /// Adds a row.
    ///
    /// # Errors
    /// What the sink says; then the file is of no use.
    pub(crate) fn push(&mut self, row: &R) -> Result<(), ParquetError> {
        for (column, buffer) in R::COLUMNS.iter().zip(&mut self.buffers) {
            self.group_bytes += buffer.push(&(column.get)(row));
        }
        self.group += 1;
        self.rows += 1;
        if self.group >= GROUP_ROWS_MAX || self.group_bytes >= GROUP_BYTES_MAX {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let buffers = std::mem::replace(&mut self.buffers, Self::empty());
        (self.group, self.group_bytes) = (0, 0);
        let mut group = self.file.next_row_group()?;
        for (column, buffer) in R::COLUMNS.iter().zip(&buffers) {
            let missing = || ParquetError::General(format!("no column {}", column.name));
            let mut writer = group.next_column()?.ok_or_else(missing)?;
            buffer.write(column.kind, &mut writer)?;
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file; returns the sink and the number of rows.
    ///
    /// # Errors
    /// What the sink says.
    pub(crate) fn finish(mut self) -> Result<(W, u64), ParquetError> {
        if self.group > 0 {
            self.write_group()?;
        }
        Ok((self.file.into_inner()?, self.rows))
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;

    struct Pair {
        number: Option<i64>,
        text: Option<String>,
        texts: Option<Vec<String>>,
    }

    impl Row for Pair {
        const TABLE: &'static str = "pairs";
        const COLUMNS: &'static [Column<Self>] = &[
            Column { name: "number", kind: Kind::Time, get: |row| Cell::Int(row.number) },
            Column { name: "text", kind: Kind::Text, get: |row| Cell::Text(row.text.as_deref()) },
            Column { name: "texts", kind: Kind::Texts, get: |row| Cell::Texts(row.texts.as_deref()) },
        ];
    }

    fn texts(some: &[&str]) -> Option<Vec<String>> {
        Some(some.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nulls_lists_and_values_come_back_as_they_were() {
        let mut writer = TableWriter::<Pair, Vec<u8>>::new(Vec::new()).unwrap();
        let rows = [
            Pair { number: Some(1), text: Some("a".into()), texts: texts(&["x", "y"]) },
            Pair { number: None, text: None, texts: None },
            Pair { number: Some(-3), text: Some(String::new()), texts: Some(Vec::new()) },
            Pair { number: Some(4), text: None, texts: texts(&["z"]) },
        ];
        rows.iter().for_each(|row| writer.push(row).unwrap());
        let (bytes, count) = writer.finish().unwrap();
        assert_eq!(count, 4);
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        let shown: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert!(shown[0].contains(r#"text: "a", texts: ["x", "y"]"#), "{}", shown[0]);
        assert_eq!(read[0].get_timestamp_millis(0).unwrap(), 1);
        assert!(shown[1].contains("number: null, text: null, texts: null"), "{}", shown[1]);
        assert!(shown[2].contains(r#"text: "", texts: []"#), "{}", shown[2]);
        assert!(shown[3].contains(r#"text: null, texts: ["z"]"#), "{}", shown[3]);
    }

    #[test]
    fn a_row_group_is_bounded_by_rows_and_by_bytes() {
        let mut writer = TableWriter::<Pair, Vec<u8>>::new(Vec::new()).unwrap();
        for n in 0..70_000 {
            writer.push(&Pair { number: Some(n), text: None, texts: None }).unwrap();
        }
        let big = Pair { number: None, text: Some("x".repeat(9 << 20)), texts: None };
        for _ in 0..3 {
            writer.push(&big).unwrap();
        }
        assert!(writer.group_bytes < GROUP_BYTES_MAX);
        let (bytes, rows) = writer.finish().unwrap();
        assert_eq!(rows, 70_003);
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows());
        assert_eq!(groups.collect::<Vec<_>>(), [65_536, 4_465, 1, 1]);
    }
}
