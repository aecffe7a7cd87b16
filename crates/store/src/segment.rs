//! A segment: hot while it is written, closed as Parquet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind};
use std::panic::AssertUnwindSafe;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, UInt8Type, UInt16Type, UInt64Type};
use arrow_array::{BooleanArray, LargeStringArray, PrimitiveArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use arrow_schema::{FieldRef, Schema};
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use record::Timestamp;

use crate::place::Place;
use crate::row::{self, Row, day, day_name, schema};
use crate::{Part, Segment, StoreError, segment_key, segment_name};

/// Rows that are looked at, or passed over, together.
const ROW_GROUP: usize = 32_768;
/// Partitions of a segment's rows, which stand in the path and not in the file.
const PARTITIONS: [&str; 2] = ["kind", "site"];
/// Columns that a filter says of which values are not in a group of rows, and about how many different ones a group has (*assumed*: more make it wrong
/// more often, which costs time and nothing else).
const FILTERED: [(&str, u64); 8] = [
    ("host", 8_192),
    ("remote", 32_768),
    ("community_id", 32_768),
    ("name", 8_192),
    ("user_agent", 1_024),
    ("ja4", 512),
    ("certificate", 2_048),
    ("uri", 8_192),
];
/// How often such a filter may be wrong.
const WRONG: f64 = 0.01;

fn fields() -> Vec<FieldRef> {
    // It depends on the type alone, as the schema does.
    Vec::<FieldRef>::try_from(&schema()).unwrap_or_else(|e| unreachable!("{e}"))
}

fn in_file(field: &FieldRef) -> bool {
    !PARTITIONS.contains(&field.name().as_str())
}

/// The columns of a table's files.
pub fn in_files() -> Vec<FieldRef> {
    fields().into_iter().filter(in_file).collect()
}

/// Rows as a batch.
pub fn batch(rows: &[Row]) -> Result<RecordBatch, serde_arrow::Error> {
    serde_arrow::to_record_batch(&fields(), &rows)
}

/// A segment that is being written.
pub struct Hot {
    to: StreamWriter<BufWriter<File>>,
}

impl Hot {
    /// Begins one.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        let io = StoreError::io("write", path);
        let file = File::create_new(path).map_err(io)?;
        let schema = Schema::new(fields());
        let to = StreamWriter::try_new_buffered(file, &schema).map_err(StoreError::written(path))?;
        Ok(Self { to })
    }

    /// Writes rows; when this returns they are on the disk.
    pub fn append(&mut self, path: &Path, rows: &RecordBatch) -> Result<(), StoreError> {
        self.to.write(rows).and_then(|()| self.to.flush()).map_err(StoreError::written(path))?;
        self.to.get_ref().get_ref().sync_data().map_err(StoreError::io("write", path))
    }
}

/// How a hot segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind a whole batch.
    Clean,
    /// Within a batch that was being written.
    Torn,
    /// In what nobody wrote.
    Damaged,
}

/// What is left of a hot segment.
pub struct Recovered {
    /// All whole batches.
    pub batches: Vec<RecordBatch>,
    /// What is behind them.
    pub end: End,
}

/// The rows of a hot segment whose writer is gone.
pub fn recovered(path: &Path) -> Result<Recovered, StoreError> {
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut batches = Vec::new();
    // A stream that was never finished has no end, which is no fault. Of a damaged one, its reader may panic.
    let read = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let reader = StreamReader::try_new(BufReader::new(file), None)?;
        for batch in reader {
            batches.push(batch?);
        }
        Ok::<(), ArrowError>(())
    }));
    let end = match read {
        Ok(Ok(())) => End::Clean,
        Ok(Err(ArrowError::IoError(_, e))) if e.kind() == ErrorKind::UnexpectedEof => End::Torn,
        _ => End::Damaged,
    };
    Ok(Recovered { batches, end })
}

/// The columns of a batch by which its rows are divided and put in order.
struct Keys<'a> {
    kind: &'a LargeStringArray,
    site: &'a PrimitiveArray<UInt16Type>,
    bucket: &'a PrimitiveArray<UInt8Type>,
    host: &'a LargeStringArray,
    known: &'a PrimitiveArray<TimestampNanosecondType>,
    seq: &'a PrimitiveArray<UInt64Type>,
    primary: &'a BooleanArray,
    proof: &'a LargeStringArray,
}

impl<'a> Keys<'a> {
    /// None where they are of other types.
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i64>();
        Some(Self {
            kind: text("kind")?,
            site: batch.column_by_name("site")?.as_primitive_opt()?,
            bucket: batch.column_by_name("bucket")?.as_primitive_opt()?,
            host: text("host")?,
            known: batch.column_by_name("known")?.as_primitive_opt()?,
            seq: batch.column_by_name("seq")?.as_primitive_opt()?,
            primary: batch.column_by_name("is_primary")?.as_boolean_opt()?,
            proof: text("proof")?,
        })
    }
}

/// A table: kind, day and site.
type Table<'a> = (&'a str, i64, u16);

/// Closes a segment: its rows become Parquet, and it counts when the last of its files is there.
pub fn close(place: &Place, run: &str, number: u32, batches: &[RecordBatch]) -> Result<Segment, StoreError> {
    let name = segment_key(run, number);
    let keys: Option<Vec<Keys<'_>>> = batches.iter().map(Keys::of).collect();
    let keys = keys.ok_or_else(|| place.damaged(&name, &"its columns are of other types"))?;
    // Where each table's rows stand: the batch, and the row of it.
    let mut tables: BTreeMap<Table<'_>, Vec<(usize, usize)>> = BTreeMap::new();
    let (mut count, mut last_input) = (0u64, 0);
    for (b, of) in keys.iter().enumerate() {
        for i in 0..of.seq.len() {
            let table = (of.kind.value(i), day(of.known.value(i)), of.site.value(i));
            tables.entry(table).or_default().push((b, i));
            count += u64::from(of.primary.value(i));
            last_input = last_input.max(row::last_input(of.proof.value(i)));
        }
    }
    let mut parts = Vec::new();
    for ((kind, day, site), mut rows) in tables {
        let key = |(b, i): (usize, usize)| {
            let of = &keys[b];
            (of.bucket.value(i), of.host.value(i), of.known.value(i), of.seq.value(i))
        };
        rows.sort_unstable_by(|a, b| key(*a).cmp(&key(*b)));
        let day = day_name(day);
        let path = format!("kind={kind}/day={day}/site={site}/{}.parquet", segment_name(run, number));
        let table = parquet(batches, &rows).map_err(|e| place.damaged(&path, &e))?;
        let (bytes, crc32) = (table.len() as u64, Some(crc32fast::hash(&table)));
        place.write(&path, table)?;
        let times = || rows.iter().map(|(b, i)| keys[*b].known.value(*i));
        parts.push(Part {
            path,
            kind: kind.to_owned(),
            day,
            site,
            rows: rows.len() as u64,
            bytes,
            first: Timestamp(times().min().unwrap_or(0)),
            last: Timestamp(times().max().unwrap_or(0)),
            crc32,
        });
    }
    let segment = Segment { run: run.to_owned(), number, rows: count, last_input, parts };
    place.write_json(&name, &segment)?;
    Ok(segment)
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(format!("hydrophone store {}", crate::VERSION));
    for (column, values) in FILTERED {
        properties = properties
            .set_column_bloom_filter_enabled(column.into(), true)
            .set_column_bloom_filter_fpp(column.into(), WRONG)
            .set_column_bloom_filter_max_ndv(column.into(), values);
    }
    properties.build()
}

/// These rows of the batches as one table.
fn parquet(batches: &[RecordBatch], rows: &[(usize, usize)]) -> Result<Vec<u8>, ParquetError> {
    let kept: Vec<usize> = (0..).zip(&fields()).filter(|(_, f)| in_file(f)).map(|(i, _)| i).collect();
    let narrow: Result<Vec<RecordBatch>, _> = batches.iter().map(|b| b.project(&kept)).collect();
    let narrow = narrow?;
    let narrow: Vec<&RecordBatch> = narrow.iter().collect();
    let batch = interleave_record_batch(&narrow, rows)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties()))?;
    writer.write(&batch)?;
    writer.into_inner()
}
