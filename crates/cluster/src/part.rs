//! What a task leaves: a file of what its shares tell and remember, and a note that says that it is whole.
//!
//! Several attempts at one task may leave several, of which whoever asked takes one: they say the same, or something is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, UInt8Array, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type, UInt32Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use pipeline::Doubles;
use record::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use verdict::{HostTold, ShareFacts, ShareTold};

use crate::task::{Task, below};

/// What a row is: of no one host, of a host, or a piece of what the analyst remembers.
const FACTS: u8 = 0;
const HOST: u8 = 1;
const STATE: u8 = 2;
/// Bytes of a state's piece.
const PIECE: usize = 4 << 20;
/// Bytes that are written together.
const BATCH: usize = 8 << 20;

/// What a task left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The task's name.
    pub task: String,
    /// The file, below the store.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of what it tells.
    pub digest: String,
    /// SHA-256 of what its analysts remember, which stands in no certain order: of another attempt it is another.
    pub state: String,
    /// The part that it goes on from, below the store.
    pub from: Option<String>,
    /// Rows that were read of the store's files.
    pub read: u64,
    /// Records that were seen.
    pub records: u64,
    /// When the last of them became known.
    pub last: Option<Timestamp>,
    /// What was told twice, in all that it and those before it read.
    pub doubles: Doubles,
}

impl Part {
    /// Whether it begins where a task does.
    pub fn goes_on_as(&self, task: &Task) -> bool {
        self.from.as_deref() == task.from.as_ref().map(|part| part.path.as_str())
    }
}

/// Whether what failed may go well the next time: a store that did not answer, and not one whose file is gone or another.
pub fn may_pass(e: &DataFusionError) -> bool {
    let DataFusionError::External(e) = e else { return false };
    e.downcast_ref::<object_store::Error>()
        .is_some_and(|e| !matches!(e, object_store::Error::NotFound { .. }))
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("share", DataType::UInt32, false),
        Field::new("what", DataType::UInt8, false),
        Field::new("body", DataType::Binary, false),
    ]))
}

fn external(e: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

/// Writes what a task leaves.
pub struct PartWriter {
    part: Part,
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    to: AsyncArrowWriter<BufWriter>,
    digest: Sha256,
    state: Sha256,
    rows: (Vec<u32>, Vec<u8>, Vec<Vec<u8>>),
    held: usize,
}

impl PartWriter {
    /// Begins one, whose name nobody else has.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(task: &Task, objects: Arc<dyn ObjectStore>) -> Result<Self> {
        let path = format!("{}/{}.parquet", task.parts(), uuid::Uuid::new_v4());
        let to = BufWriter::new(objects.clone(), below(&task.prefix, &path).map_err(external)?);
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let to = AsyncArrowWriter::try_new(to, schema(), Some(properties))?;
        let part = Part {
            task: task.name(),
            path,
            rows: 0,
            digest: String::new(),
            state: String::new(),
            from: task.from.as_ref().map(|part| part.path.clone()),
            read: 0,
            records: 0,
            last: None,
            doubles: task.from.as_ref().map(|part| part.doubles.clone()).unwrap_or_default(),
        };
        let (prefix, digest, state) = (task.prefix.clone(), Sha256::new(), Sha256::new());
        Ok(Self { part, objects, prefix, to, digest, state, rows: Default::default(), held: 0 })
    }

    /// A row of the store's files was read.
    pub const fn read(&mut self) {
        self.part.read += 1;
    }

    /// A record was seen.
    pub fn count(&mut self, known: Timestamp) {
        self.part.records += 1;
        self.part.last = self.part.last.max(Some(known));
    }

    /// What a share tells, and what its analyst remembers.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn share(
        &mut self,
        share: u32,
        told: &ShareTold<'_>,
        state: &[u8],
        doubles: &Doubles,
    ) -> Result<()> {
        self.part.doubles.merge(doubles);
        let facts = postcard::to_stdvec(&told.facts).map_err(external)?;
        self.row(share, FACTS, facts).await?;
        for host in &told.hosts {
            self.row(share, HOST, postcard::to_stdvec(host).map_err(external)?).await?;
        }
        for piece in state.chunks(PIECE) {
            self.row(share, STATE, piece.to_vec()).await?;
        }
        Ok(())
    }

    async fn row(&mut self, share: u32, what: u8, body: Vec<u8>) -> Result<()> {
        digest(if what == STATE { &mut self.state } else { &mut self.digest }, share, what, &body);
        self.part.rows += 1;
        self.held += body.len();
        self.rows.0.push(share);
        self.rows.1.push(what);
        self.rows.2.push(body);
        if self.held >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        let (shares, whats, bodies) = std::mem::take(&mut self.rows);
        self.held = 0;
        if shares.is_empty() {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(shares)),
            Arc::new(UInt8Array::from(whats)),
            Arc::new(BinaryArray::from_iter_values(bodies)),
        ];
        let batch = RecordBatch::try_new(schema(), columns)?;
        Ok(self.to.write(&batch).await?)
    }

    /// The file is whole; then the note says so.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn finish(mut self) -> Result<Part> {
        self.flush().await?;
        self.to.close().await?;
        self.part.digest = record::hex(&self.digest.finalize());
        self.part.state = record::hex(&self.state.finalize());
        let note = serde_json::to_vec(&self.part).map_err(external)?;
        let key = below(&self.prefix, &note_of(&self.part.path)).map_err(external)?;
        self.objects.put(&key, note.into()).await.map_err(external)?;
        Ok(self.part)
    }
}

/// Takes a row into the sum of what is told, or of what is remembered.
fn digest(sum: &mut Sha256, share: u32, what: u8, body: &[u8]) {
    sum.update(share.to_le_bytes());
    sum.update([what]);
    sum.update((body.len() as u64).to_le_bytes());
    sum.update(body);
}

/// How the name of a note ends.
pub const NOTE: &str = ".json";

/// The note that says that a part is whole.
pub fn note_of(path: &str) -> String {
    format!("{}{NOTE}", path.trim_end_matches(".parquet"))
}

/// What the shares of a part tell, each in its place.
///
/// # Errors
/// It cannot be read, or is not what was written.
pub async fn told(
    objects: &Arc<dyn ObjectStore>,
    prefix: &str,
    part: &Part,
) -> Result<Vec<ShareTold<'static>>> {
    let mut shares: BTreeMap<u32, (Option<ShareFacts>, Vec<HostTold<'static>>)> = BTreeMap::new();
    let (mut rows, mut sum, mut remembered) = (0, Sha256::new(), Sha256::new());
    let take = |share: u32, what: u8, body: &[u8]| -> Result<()> {
        rows += 1;
        digest(if what == STATE { &mut remembered } else { &mut sum }, share, what, body);
        let of = shares.entry(share).or_default();
        match what {
            FACTS => of.0 = Some(postcard::from_bytes(body).map_err(external)?),
            HOST => of.1.push(postcard::from_bytes(body).map_err(external)?),
            _ => {}
        }
        Ok(())
    };
    each(objects, prefix, &part.path, take).await?;
    if rows != part.rows {
        return Err(DataFusionError::Execution(format!(
            "{} has {rows} rows, and {} were written",
            part.path, part.rows
        )));
    }
    is_what_was_written(part, &part.digest, sum)?;
    // It is gone on from one day.
    is_what_was_written(part, &part.state, remembered)?;
    let whole = |(facts, hosts): (Option<ShareFacts>, _)| Some(ShareTold { hosts, facts: facts? });
    let told: Option<Vec<ShareTold<'static>>> = shares.into_values().map(whole).collect();
    told.ok_or_else(|| DataFusionError::Execution(format!("{} lacks what belongs to no one host", part.path)))
}

/// What the analysts of the shares of a part remember.
///
/// # Errors
/// It cannot be read, or is not what was written.
pub async fn earlier(
    objects: &Arc<dyn ObjectStore>,
    prefix: &str,
    part: &Part,
) -> Result<BTreeMap<u32, Vec<u8>>> {
    let mut states: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut sum = Sha256::new();
    each(objects, prefix, &part.path, |share, what, body| {
        if what == STATE {
            digest(&mut sum, share, what, body);
            states.entry(share).or_default().extend_from_slice(body);
        }
        Ok(())
    })
    .await?;
    is_what_was_written(part, &part.state, sum)?;
    Ok(states)
}

fn is_what_was_written(part: &Part, written: &str, read: Sha256) -> Result<()> {
    if record::hex(&read.finalize()) == written {
        return Ok(());
    }
    Err(DataFusionError::Execution(format!("{} is not what was written (SHA-256)", part.path)))
}

async fn each(
    objects: &Arc<dyn ObjectStore>,
    prefix: &str,
    path: &str,
    mut take: impl FnMut(u32, u8, &[u8]) -> Result<()>,
) -> Result<()> {
    let found = objects.get(&below(prefix, path).map_err(external)?).await.map_err(external)?;
    let bytes = found.bytes().await.map_err(external)?;
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(256).build()? {
        let batch = batch?;
        let shares = batch.column(0).as_primitive_opt::<UInt32Type>();
        let whats = batch.column(1).as_primitive_opt::<UInt8Type>();
        let bodies = batch.column(2).as_binary_opt::<i32>();
        let (Some(shares), Some(whats), Some(bodies)) = (shares, whats, bodies) else {
            return Err(DataFusionError::Execution(format!("{path} is no part of an analysis")));
        };
        for row in 0..batch.num_rows() {
            take(shares.value(row), whats.value(row), bodies.value(row))?;
        }
    }
    Ok(())
}
