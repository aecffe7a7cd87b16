//! What an analysis found, as tables; and the tables of a store, to be asked by SQL.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{
    ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt16Array,
    UInt64Array,
};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::arrow::{ArrowWriter, ProjectionMask};
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use record::{Record, Timestamp};
use report::Line;
use store::TableFile;
use verdict::HostStory;

fn parquet(columns: Vec<(&str, ArrayRef)>) -> anyhow::Result<Vec<u8>> {
    let batch = RecordBatch::try_from_iter(columns)?;
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

fn text<T: ToString>(all: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from(all.map(|t| t.to_string()).collect::<Vec<_>>()))
}

fn times(all: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let times: TimestampNanosecondArray = all.map(|t| t.map(|t| t.0)).collect();
    Arc::new(times.with_timezone("UTC"))
}

fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|t| t.to_string()).collect::<Vec<_>>().join(" ")
}

/// A row a host: what is said of it, and the whole of it as the program's line.
///
/// # Errors
/// It cannot be written down.
pub fn hosts(all: &[(u16, HostStory)]) -> anyhow::Result<Vec<u8>> {
    let s = || all.iter().map(|(_, s)| s);
    let lines: Result<Vec<String>, _> =
        s().map(|s| Line::Host(std::borrow::Cow::Borrowed(s)).to_json()).collect();
    parquet(vec![
        ("site", Arc::new(UInt16Array::from_iter_values(all.iter().map(|(site, _)| *site)))),
        ("host", text(s().map(|s| s.host))),
        ("verdict", text(s().map(|s| s.verdict.name()))),
        ("level_db", Arc::new(Float64Array::from_iter_values(s().map(|s| s.level_db)))),
        ("since", times(s().map(|s| s.since))),
        ("first", times(s().map(|s| s.first))),
        ("last", times(s().map(|s| s.last))),
        ("flows", Arc::new(UInt64Array::from_iter_values(s().map(|s| s.flows)))),
        (
            "findings",
            text(s().map(|s| s.findings.iter().map(|f| f.kind.as_str()).collect::<Vec<_>>().join("; "))),
        ),
        ("line", text(lines?.into_iter())),
    ])
}

/// A row a piece of evidence.
///
/// # Errors
/// It cannot be written down.
pub fn evidence(all: &[(u16, HostStory)]) -> anyhow::Result<Vec<u8>> {
    let e = || all.iter().flat_map(|(site, s)| s.evidence.iter().map(move |e| (*site, e)));
    parquet(vec![
        ("site", Arc::new(UInt16Array::from(e().map(|(site, _)| site).collect::<Vec<_>>()))),
        ("host", text(e().map(|(_, e)| e.evidence.host))),
        ("started", times(e().map(|(_, e)| Some(e.evidence.started)))),
        ("ts", times(e().map(|(_, e)| Some(e.evidence.ts)))),
        ("stage", text(e().map(|(_, e)| e.evidence.stage))),
        ("behaviour", text(e().map(|(_, e)| e.evidence.behaviour.clone()))),
        ("grades", text(e().map(|(_, e)| words(e.evidence.grades.iter().map(|g| g.name.clone()))))),
        ("db", Arc::new(Float64Array::from(e().map(|(_, e)| e.db).collect::<Vec<_>>()))),
        ("key", text(e().map(|(_, e)| e.evidence.key.clone()))),
        ("remotes", text(e().map(|(_, e)| words(&e.evidence.remotes)))),
        ("community_ids", text(e().map(|(_, e)| words(&e.evidence.community_ids)))),
        ("packets", text(e().map(|(_, e)| words(&e.evidence.packets)))),
    ])
}

/// What is said of a file that is not there.
pub const GONE: &str = "it is gone";

/// What is said of a file that has other bytes than it was written with.
pub fn of_another_size(lies: u64, f: &TableFile) -> Option<String> {
    (lies != f.bytes).then(|| format!("it has {lies} bytes, and was written with {}", f.bytes))
}

/// A file that is what was written, or why it is not.
async fn whole(
    objects: &Arc<dyn ObjectStore>,
    key: &Key,
    f: &TableFile,
) -> anyhow::Result<Result<Bytes, String>> {
    let bytes = match objects.get(key).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(Err(GONE.to_owned())),
        found => found?.bytes().await?,
    };
    if let Some(why) = of_another_size(bytes.len() as u64, f) {
        return Ok(Err(why));
    }
    if f.crc32.is_some_and(|crc32| crc32fast::hash(&bytes) != crc32) {
        return Ok(Err("its bytes are not those that were written (CRC-32)".to_owned()));
    }
    Ok(Ok(bytes))
}

/// Why a file is not the one that was written.
///
/// # Errors
/// It cannot be fetched.
pub async fn altered(
    objects: &Arc<dyn ObjectStore>,
    key: &Key,
    f: &TableFile,
) -> anyhow::Result<Option<String>> {
    Ok(whole(objects, key, f).await?.err())
}

/// Reads what the analyst needs of a file of a table: why it cannot be had, where it is damaged.
///
/// # Errors
/// It cannot be fetched.
pub async fn damage(
    objects: &Arc<dyn ObjectStore>,
    key: &Key,
    f: &TableFile,
) -> anyhow::Result<Option<String>> {
    let bytes = match whole(objects, key, f).await? {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Some(why)),
    };
    let read = || -> anyhow::Result<()> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let needed = ["bucket", "known", "seq", "record"];
        let mask = ProjectionMask::columns(builder.parquet_schema(), needed);
        let mut rows = 0;
        for batch in builder.with_projection(mask).build()? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            let records = batch.column_by_name("record").and_then(|c| c.as_binary_opt::<i64>());
            let records = records.ok_or_else(|| anyhow::anyhow!("its columns are of other types"))?;
            for record in records.iter().flatten() {
                postcard::from_bytes::<Record>(record)?;
            }
        }
        anyhow::ensure!(rows == f.rows, "it has {rows} rows, and was written with {}", f.rows);
        Ok(())
    };
    Ok(read().err().map(|e| e.to_string()))
}
