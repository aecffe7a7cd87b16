//! A segment: hot while it is written, closed as Parquet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Field, FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use record::Timestamp;

use crate::row::{Row, day_name, schema};
use crate::{Part, SEGMENTS, Segment, StoreError, publish, write_json};

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

/// Rows as a batch.
pub fn batch(rows: &[&Row]) -> Result<RecordBatch, serde_arrow::Error> {
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
        let to = StreamWriter::try_new_buffered(file, &schema).map_err(|e| StoreError::damaged(path, &e))?;
        Ok(Self { to })
    }

    /// Writes rows; when this returns they are on the disk.
    pub fn append(&mut self, path: &Path, rows: &[Row]) -> Result<(), StoreError> {
        let rows: Vec<&Row> = rows.iter().collect();
        let batch = batch(&rows).map_err(|e| StoreError::damaged(path, &e))?;
        self.to.write(&batch).and_then(|()| self.to.flush()).map_err(|e| StoreError::damaged(path, &e))?;
        self.to.get_ref().get_ref().sync_data().map_err(StoreError::io("write", path))
    }
}

/// The rows of a hot segment whose writer is gone: all whole batches, and whether something behind them was torn.
pub fn recovered(path: &Path) -> Result<(Vec<Row>, bool), StoreError> {
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut rows = Vec::new();
    // A stream that was never finished has no end, which is no fault.
    let Ok(reader) = StreamReader::try_new(BufReader::new(file), None) else { return Ok((rows, true)) };
    for batch in reader {
        let Ok(batch) = batch else { return Ok((rows, true)) };
        let more: Vec<Row> =
            serde_arrow::from_record_batch(&batch).map_err(|e| StoreError::damaged(path, &e))?;
        rows.extend(more);
    }
    Ok((rows, false))
}

/// Closes a segment: its rows become Parquet, and it counts when the last of its files is there.
pub fn close(root: &Path, run: &str, number: u32, rows: &[Row]) -> Result<Segment, StoreError> {
    let mut tables: BTreeMap<(&str, i64, u16), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        tables.entry((&row.kind, row.day(), row.site)).or_default().push(row);
    }
    let mut parts = Vec::new();
    for ((kind, day, site), mut rows) in tables {
        rows.sort_unstable_by(|a, b| {
            (a.bucket, &a.host, a.known, a.seq).cmp(&(b.bucket, &b.host, b.known, b.seq))
        });
        let day = day_name(day);
        let folder = format!("kind={kind}/day={day}/site={site}");
        let path = format!("{folder}/{run}-{number:05}.parquet");
        std::fs::create_dir_all(root.join(&folder)).map_err(StoreError::io("make", &root.join(&folder)))?;
        let bytes = parquet(&root.join(&path), &rows)?;
        let times = || rows.iter().map(|r| r.known);
        parts.push(Part {
            path,
            kind: kind.to_owned(),
            day,
            site,
            rows: rows.len() as u64,
            bytes,
            first: Timestamp(times().min().unwrap_or(0)),
            last: Timestamp(times().max().unwrap_or(0)),
        });
    }
    let count = rows.iter().filter(|r| r.is_primary).count() as u64;
    let last_input = rows.iter().map(Row::last_input).max().unwrap_or(0);
    let segment = Segment { run: run.to_owned(), number, rows: count, last_input, parts };
    write_json(&root.join(SEGMENTS).join(format!("{run}-{number:05}.json")), &segment)?;
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

/// Writes rows of one table, and says how many bytes they take.
fn parquet(path: &Path, rows: &[&Row]) -> Result<u64, StoreError> {
    let whole = batch(rows).map_err(|e| StoreError::damaged(path, &e))?;
    let kept: Vec<usize> = (0..)
        .zip(whole.schema().fields())
        .filter(|(_, f): &(usize, &Arc<Field>)| !PARTITIONS.contains(&f.name().as_str()))
        .map(|(i, _)| i)
        .collect();
    let batch = whole.project(&kept).map_err(|e| StoreError::damaged(path, &e))?;
    let fresh = path.with_extension("part");
    let io = StoreError::io("write", path);
    let file = File::create(&fresh).map_err(&io)?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties()))
        .map_err(|e| StoreError::damaged(path, &e))?;
    writer.write(&batch).map_err(|e| StoreError::damaged(path, &e))?;
    let file = writer.into_inner().map_err(|e| StoreError::damaged(path, &e))?;
    file.sync_all().map_err(&io)?;
    let bytes = file.metadata().map_err(&io)?.len();
    publish(&fresh, path)?;
    Ok(bytes)
}
