//! Where a store lies: in a folder, or in a bucket of S3.
//!
//! A bucket holds what counts: what is closed, and what names it. What is being written lies in a folder of this machine until it is closed, because an
//! object cannot grow.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use parquet::file::reader::{ChunkReader, Length};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::catalog::Objects;
use crate::{HOT, LOCK, Part, READERS, StoreError};

/// How the name of a place in a bucket begins.
const SCHEME: &str = "s3://";
/// What the folder of what is being written is called.
const ID: &str = "id";
/// Requests that are under way at a time.
const AT_A_TIME: usize = 32;
/// What is read of an object's end at first: that of a table holds what its columns say of themselves.
const TAIL: u64 = 64 << 10;
/// How often, and for how long, a request is tried again (*assumed*: a name or port that is wrong is told in seconds).
const TRIES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may take, and a request with all that it carries (*assumed*: a segment of 13 MB on a line of 256 kbit/s).
const CONNECTING: Duration = Duration::from_secs(10);
const CARRYING: Duration = Duration::from_mins(10);
/// What others have taken the place of stays so long in a bucket, which does not tell who reads (*assumed*: longer than any reading).
const GRACE: Duration = Duration::from_hours(24);

/// Where a store lies.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A part of a bucket.
    Bucket(Arc<Bucket>),
}

/// A part of a bucket.
#[derive(Debug)]
pub struct Bucket {
    /// As people name it.
    url: String,
    prefix: Key,
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
    /// Where on this machine lies what is being written.
    spool: PathBuf,
}

/// Whether a path names a place in a bucket.
pub fn is_bucket(path: &Path) -> bool {
    path.to_str().is_some_and(|p| p.starts_with(SCHEME))
}

/// A part of a bucket, as its name and the environment say.
struct Found {
    url: String,
    prefix: Key,
    objects: Arc<dyn ObjectStore>,
    endpoint: String,
}

/// The name of the bucket.
fn bucket_of(url: &str) -> &str {
    url[SCHEME.len()..].split('/').next().unwrap_or_default()
}

/// What is asked for the files of a place in a bucket: `s3://BUCKET/`, and what stands before each path.
///
/// # Errors
/// The name or the environment is not such.
pub fn objects(path: &Path) -> Result<Option<Objects>, StoreError> {
    if !is_bucket(path) {
        return Ok(None);
    }
    let Found { url, prefix, objects, .. } = find(path)?;
    Ok(Some(Objects { store: objects, base: format!("{SCHEME}{}/", bucket_of(&url)), prefix }))
}

/// Finds a place in a bucket.
fn find(path: &Path) -> Result<Found, StoreError> {
    let given = path.to_string_lossy();
    let rest = given[SCHEME.len()..].trim_end_matches('/');
    let url = format!("{SCHEME}{rest}");
    let bad = |why: String| StoreError::Named { url: url.clone(), why };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(bad("it names no bucket: s3://BUCKET/PREFIX".into()));
    }
    let prefix = Key::parse(prefix).map_err(|e| bad(e.to_string()))?;
    let retry = RetryConfig { max_retries: TRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
    let times = ClientOptions::new().with_connect_timeout(CONNECTING).with_timeout(CARRYING);
    let builder = AmazonS3Builder::from_env().with_client_options(times);
    let builder = builder.with_bucket_name(bucket).with_retry(retry);
    let said = |key| builder.get_config_value(&key);
    let endpoint =
        said(AmazonS3ConfigKey::S3Endpoint).or_else(|| said(AmazonS3ConfigKey::Endpoint)).unwrap_or_default();
    let is_url = |scheme: &str| {
        endpoint.strip_prefix(scheme).is_some_and(|host| {
            host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                && !host.contains(|c: char| c.is_whitespace() || c.is_control())
        })
    };
    if !endpoint.is_empty() && !is_url("http://") && !is_url("https://") {
        return Err(bad(format!(
            "AWS_ENDPOINT_URL is {endpoint:?}, and no http://HOST:PORT or https://HOST"
        )));
    }
    let builder = if endpoint.starts_with("http://") { builder.with_allow_http(true) } else { builder };
    let objects: Arc<dyn ObjectStore> = Arc::new(builder.build().map_err(|e| bad(e.to_string()))?);
    Ok(Found { url, prefix, objects, endpoint })
}

impl Place {
    /// The place that a path or `s3://BUCKET/PREFIX` names. Who may ask, and where, is said by the environment as for other programs
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL` …).
    ///
    /// # Errors
    /// The name or the environment is not such.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        if !is_bucket(path) {
            return Ok(Self::Folder(path.to_owned()));
        }
        let Found { url, prefix, objects, endpoint, .. } = find(path)?;
        let bad = |why: String| StoreError::Named { url: url.clone(), why };
        let bucket = bucket_of(&url);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| bad(e.to_string()))?;
        let spool = state_folder()
            .ok_or_else(|| bad("what is being written needs a folder: set XDG_STATE_HOME or HOME".into()))?
            .join("hydrophone/spool")
            .join([endpoint.trim_end_matches('/'), bucket, prefix.as_ref()].map(plain).join("_"));
        Ok(Self::Bucket(Arc::new(Bucket { url, prefix, objects, runtime, spool })))
    }

    /// How people name a file of it.
    pub fn shown(&self, key: &str) -> PathBuf {
        match self {
            Self::Folder(root) if key.is_empty() => root.clone(),
            Self::Folder(root) => root.join(key),
            Self::Bucket(bucket) if key.is_empty() => bucket.url.clone().into(),
            Self::Bucket(bucket) => format!("{}/{key}", bucket.url).into(),
        }
    }

    /// How people name it.
    pub fn name(&self) -> PathBuf {
        self.shown("")
    }

    /// The folder of this machine in which lies what is being written.
    pub fn hot(&self) -> PathBuf {
        self.here().join(HOT)
    }

    /// The folder of this machine that belongs to it.
    fn here(&self) -> &Path {
        match self {
            Self::Folder(root) => root,
            Self::Bucket(bucket) => &bucket.spool,
        }
    }

    /// Why something of it could not be done.
    fn error(&self, what: &'static str, key: &str) -> impl Fn(io::Error) -> StoreError {
        let path = self.shown(key);
        move |source| StoreError::Io { what, path: path.clone(), source }
    }

    /// Why what stands in a file of it is not what was written.
    pub fn damaged(&self, key: &str, why: &impl ToString) -> StoreError {
        StoreError::damaged(&self.shown(key), why)
    }

    /// Whether nothing is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        match self {
            Self::Folder(root) => Ok(!root.exists() || root.read_dir().is_ok_and(|mut d| d.next().is_none())),
            Self::Bucket(bucket) => {
                let mut any = bucket.objects.list(Some(&bucket.prefix));
                let first = bucket.runtime.block_on(any.next()).transpose();
                Ok(first.map_err(io_error).map_err(self.error("read", ""))?.is_none())
            }
        }
    }

    /// Makes the folder of what is being written.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_hot(&self) -> Result<(), StoreError> {
        let hot = self.hot();
        std::fs::create_dir_all(&hot).map_err(StoreError::io("make", &hot))
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    /// It cannot be said.
    pub fn has(&self, key: &str) -> Result<bool, StoreError> {
        match self {
            Self::Folder(root) => Ok(root.join(key).is_file()),
            Self::Bucket(bucket) => match bucket.runtime.block_on(bucket.objects.head(&bucket.key(key))) {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(e) => Err(self.error("read", key)(io_error(e))),
            },
        }
    }

    /// A whole file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, key: &str) -> Result<Bytes, StoreError> {
        match self {
            Self::Folder(root) => {
                std::fs::read(root.join(key)).map(Bytes::from).map_err(self.error("read", key))
            }
            Self::Bucket(bucket) => {
                bucket.runtime.block_on(bucket.get(key)).map_err(io_error).map_err(self.error("read", key))
            }
        }
    }

    /// Whole files, in their order.
    pub fn read_all(&self, keys: &[String]) -> Vec<Result<Bytes, StoreError>> {
        match self {
            Self::Folder(_) => keys.iter().map(|key| self.read(key)).collect(),
            Self::Bucket(bucket) => {
                let each = |key: &String| {
                    let key = key.clone();
                    async move { bucket.get(&key).await.map_err(io_error).map_err(self.error("read", &key)) }
                };
                let all: Vec<_> = keys.iter().map(each).collect();
                bucket.runtime.block_on(stream::iter(all).buffered(AT_A_TIME).collect())
            }
        }
    }

    /// What JSON says.
    ///
    /// # Errors
    /// It cannot be read, or says something else.
    pub fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<T, StoreError> {
        self.parse(key, &self.read(key)?)
    }

    /// What JSON says that was read.
    ///
    /// # Errors
    /// It says something else.
    pub fn parse<T: DeserializeOwned>(&self, key: &str, text: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(text).map_err(|e| self.damaged(key, &e))
    }

    /// Writes a file whole or not at all: when this returns, it is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, key: &str, content: Vec<u8>) -> Result<(), StoreError> {
        match self {
            Self::Folder(root) => write_whole(&root.join(key), &content),
            Self::Bucket(bucket) => {
                let at = bucket.key(key);
                let put = bucket.objects.put(&at, content.into());
                bucket.runtime.block_on(put).map_err(io_error).map_err(self.error("write", key))?;
                Ok(())
            }
        }
    }

    /// Writes JSON, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_json(&self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_vec_pretty(value).map_err(|e| self.damaged(key, &e))?;
        self.write(key, text)
    }

    /// The names in a folder of it that end so, without that, in their order; none where there is no such folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self, folder: &str, ending: &str) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = match self {
            Self::Folder(root) => files_of(&root.join(folder))?,
            Self::Bucket(bucket) => {
                let folder = bucket.key(folder);
                let list = bucket.objects.list_with_delimiter(Some(&folder));
                let list = bucket.runtime.block_on(list).map_err(io_error).map_err(self.error("read", ""))?;
                let name = |o: object_store::ObjectMeta| o.location.filename().map(str::to_owned);
                list.objects.into_iter().filter_map(name).collect()
            }
        };
        names = names.iter().filter_map(|n| n.strip_suffix(ending).map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// All files below a folder of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn below(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Folder(root) => {
                let mut found = Vec::new();
                let mut left = vec![folder.to_owned()];
                while let Some(folder) = left.pop() {
                    for name in files_of(&root.join(&folder))? {
                        let path = format!("{folder}/{name}");
                        if root.join(&path).is_dir() { left.push(path) } else { found.push(path) }
                    }
                }
                Ok(found)
            }
            Self::Bucket(bucket) => {
                let list = bucket.objects.list(Some(&bucket.key(folder))).try_collect::<Vec<_>>();
                let list = bucket.runtime.block_on(list).map_err(io_error).map_err(self.error("read", ""))?;
                let path = |o: &object_store::ObjectMeta| {
                    let parts: Vec<_> = o.location.prefix_match(&bucket.prefix)?.collect();
                    Some(parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/"))
                };
                Ok(list.iter().filter_map(path).collect())
            }
        }
    }

    /// The files of all tables, named ones and others.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn tables(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Folder(root) => tables_in(root),
            Self::Bucket(bucket) => {
                let list = bucket.objects.list(Some(&bucket.prefix)).try_collect::<Vec<_>>();
                let list = bucket.runtime.block_on(list).map_err(io_error).map_err(self.error("read", ""))?;
                let below = list.iter().filter_map(|o| {
                    let parts: Vec<_> = o.location.prefix_match(&bucket.prefix)?.collect();
                    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
                    parts.first()?.starts_with("kind=").then(|| parts.join("/"))
                });
                Ok(below.collect())
            }
        }
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Folder(root) => remove_file(&root.join(key)),
            Self::Bucket(bucket) => match bucket.runtime.block_on(bucket.objects.delete(&bucket.key(key))) {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(self.error("remove", key)(io_error(e))),
            },
        }
    }

    /// Removes a table's file, and the folders that then hold nothing any more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_table(&self, key: &str) -> Result<(), StoreError> {
        self.remove(key)?;
        if let Self::Folder(root) = self {
            for folder in root.join(key).ancestors().skip(1).take_while(|f| f != root) {
                if std::fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Opens a file of which parts are read, and which has so many bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(&self, key: &str, size: u64) -> Result<Blob, StoreError> {
        match self {
            Self::Folder(root) => {
                let file = File::open(root.join(key)).map_err(self.error("read", key))?;
                let lies = file.metadata().map_err(self.error("read", key))?.len();
                self.is_of_size(key, lies, size)?;
                Ok(Blob::File(file))
            }
            Self::Bucket(bucket) => {
                let (bucket, name, key) = (bucket.clone(), key, bucket.key(key));
                let range = bucket.objects.get_range(&key, size.saturating_sub(TAIL)..size);
                let tail = bucket.runtime.block_on(range).map_err(io_error);
                let tail = tail.map_err(self.error("read", name))?;
                Ok(Blob::Object { bucket, key, size, tail })
            }
        }
    }

    /// Opens a file of which most is read, and which has so many bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open_whole(&self, key: &str, size: u64) -> Result<Blob, StoreError> {
        match self {
            Self::Folder(_) => self.open(key, size),
            Self::Bucket(_) => self.read(key).map(Blob::Whole),
        }
    }

    /// Opens a file that is what was written, to the last bit.
    ///
    /// # Errors
    /// It cannot be read, or is another one.
    pub fn open_sure(&self, part: &Part) -> Result<Blob, StoreError> {
        let bytes = self.read(&part.path)?;
        self.is_of_size(&part.path, bytes.len() as u64, part.bytes)?;
        if part.crc32.is_some_and(|crc32| crc32fast::hash(&bytes) != crc32) {
            return Err(self.damaged(&part.path, &"its bytes are not those that were written (CRC-32)"));
        }
        Ok(Blob::Whole(bytes))
    }

    /// Whether a file lies there as it was written.
    fn is_of_size(&self, key: &str, lies: u64, size: u64) -> Result<(), StoreError> {
        if lies == size {
            return Ok(());
        }
        Err(self.damaged(key, &format!("it has {lies} bytes, and was written with {size}")))
    }

    /// How many files are better asked at a time than one after the other.
    pub fn at_a_time(&self) -> usize {
        match self {
            Self::Folder(_) => std::thread::available_parallelism().map_or(1, NonZero::get),
            Self::Bucket(_) => AT_A_TIME,
        }
    }

    /// Whether a killed run may have left something on this machine.
    ///
    /// # Errors
    /// It cannot be said.
    pub fn may_be_unsettled(&self) -> Result<bool, StoreError> {
        match self {
            Self::Folder(_) => Ok(true),
            Self::Bucket(_) => Ok(!files_of(&self.hot())?.is_empty()),
        }
    }

    /// Takes it for oneself to write.
    ///
    /// # Errors
    /// Somebody else writes, or it cannot be written.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        let here = self.here();
        if let Self::Bucket(_) = self {
            std::fs::create_dir_all(here).map_err(StoreError::io("make", here))?;
        }
        let path = here.join(LOCK);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(StoreError::io("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::Busy(self.name())),
            Err(std::fs::TryLockError::Error(e)) => return Err(StoreError::io("lock", &path)(e)),
        }
        if let Self::Bucket(bucket) = self {
            bucket.lock(self)?;
        }
        Ok(Lock { _file: file, place: self.clone() })
    }

    /// Keeps files where they are while they are read; nothing where that cannot be said.
    pub fn reading(&self) -> Option<File> {
        let Self::Folder(root) = self else { return None };
        let file = File::options().create(true).append(true).open(root.join(READERS)).ok()?;
        // Who removes files is done soon.
        file.lock_shared().ok()?;
        Some(file)
    }

    /// Makes sure that nobody reads what was written before a moment, for as long as it is held: everything in a folder, what is a day old in a bucket.
    /// Nothing where somebody does.
    pub fn nobody_reads(&self) -> Option<Unread> {
        let Self::Folder(root) = self else { return Some(Unread { _file: None }) };
        let file = File::options().create(true).append(true).open(root.join(READERS)).ok()?;
        file.try_lock().ok()?;
        Some(Unread { _file: Some(file) })
    }

    /// Whether what this file took the place of is read by nobody any more. Whoever asks holds the lock, whose time is that of the bucket's clock.
    ///
    /// # Errors
    /// It cannot be said.
    pub fn is_past(&self, key: &str) -> Result<bool, StoreError> {
        let Self::Bucket(bucket) = self else { return Ok(true) };
        let made = |key: &str| {
            let meta = bucket.runtime.block_on(bucket.objects.head(&bucket.key(key)));
            Ok(meta.map_err(io_error).map_err(self.error("read", key))?.last_modified)
        };
        let age = made(LOCK)?.signed_duration_since(made(key)?);
        Ok(age.to_std().is_ok_and(|age| age >= GRACE))
    }
}

/// Nobody reads while this is held.
pub struct Unread {
    _file: Option<File>,
}

/// Nobody else writes while this is held.
pub struct Lock {
    _file: File,
    place: Place,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Place::Bucket(bucket) = &self.place else { return };
        // While something is left here that is not in the bucket, nobody else may join or forget what it belongs to: this machine takes the
        // lock over, and others are told whose it is. What somebody else holds by now is theirs.
        let is_settled = files_of(&self.place.hot()).is_ok_and(|left| left.is_empty());
        let is_mine =
            || self.place.read_json::<Holder>(LOCK).is_ok_and(|h| bucket.id().is_ok_and(|id| h.id == id));
        if is_settled && is_mine() {
            let _ = self.place.remove(LOCK);
        }
    }
}

/// Who writes into a bucket.
#[derive(Serialize, Deserialize)]
struct Holder {
    /// The machine's name, for people.
    host: String,
    /// What the folder of what it writes is called, drawn once: names of machines and folders are not theirs alone.
    id: String,
}

impl Bucket {
    fn key(&self, key: &str) -> Key {
        self.prefix.parts().chain(key.split('/').filter(|p| !p.is_empty()).map(Into::into)).collect()
    }

    async fn get(&self, key: &str) -> object_store::Result<Bytes> {
        self.objects.get(&self.key(key)).await?.bytes().await
    }

    /// What the folder of what is being written is called. Whoever asks holds that.
    fn id(&self) -> Result<String, StoreError> {
        let path = self.spool.join(ID);
        match std::fs::read_to_string(&path) {
            Ok(id) if !id.is_empty() => return Ok(id),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(StoreError::io("read", &path)(e)),
            _ => {}
        }
        let drawn = || RandomState::new().build_hasher().finish();
        let id = format!("{:016x}{:016x}", drawn(), drawn());
        write_whole(&path, id.as_bytes())?;
        Ok(id)
    }

    /// Says that this machine writes; what a killed run of it left is taken over.
    fn lock(&self, place: &Place) -> Result<(), StoreError> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let me = Holder { host: host.trim().to_owned(), id: self.id()? };
        let text = serde_json::to_vec(&me).map_err(|e| place.damaged(LOCK, &e))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let at = self.key(LOCK);
        let put = self.objects.put_opts(&at, text.into(), options);
        match self.runtime.block_on(put) {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let holder: Holder = place.read_json(LOCK)?;
                if holder.id == me.id {
                    // It says from now on when that was.
                    let text = serde_json::to_vec(&me).map_err(|e| place.damaged(LOCK, &e))?;
                    return place.write(LOCK, text);
                }
                let url = self.url.clone();
                Err(StoreError::Held { url, host: holder.host, lock: place.shown(LOCK) })
            }
            Err(e) => Err(place.error("lock", LOCK)(io_error(e))),
        }
    }
}

/// A file of which parts are read.
pub enum Blob {
    /// Of a folder.
    File(File),
    /// Read already.
    Whole(Bytes),
    /// Of a bucket; its end was read.
    Object {
        /// Where it lies.
        bucket: Arc<Bucket>,
        /// What it is called there.
        key: Key,
        /// Its size in bytes.
        size: u64,
        /// Its last bytes.
        tail: Bytes,
    },
}

impl Blob {
    /// Another handle on it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::File(file) => Self::File(file.try_clone()?),
            Self::Whole(bytes) => Self::Whole(bytes.clone()),
            Self::Object { bucket, key, size, tail } => {
                Self::Object { bucket: bucket.clone(), key: key.clone(), size: *size, tail: tail.clone() }
            }
        })
    }
}

impl Length for Blob {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Object { size, .. } => *size,
        }
    }
}

impl ChunkReader for Blob {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Whole(bytes) => Box::new(bytes.get_read(start)?),
            Self::Object { size, .. } => {
                Box::new(self.get_bytes(start, size.saturating_sub(start) as usize)?.reader())
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Whole(bytes) => bytes.get_bytes(start, length),
            Self::Object { bucket, key, size, tail } => {
                let begins = size - tail.len() as u64;
                if start >= begins {
                    return tail.get_bytes(start - begins, length);
                }
                let range = bucket.objects.get_range(key, start..start + length as u64);
                bucket.runtime.block_on(range).map_err(|e| parquet::errors::ParquetError::External(e.into()))
            }
        }
    }
}

/// Why a bucket did not give or take something.
fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            io::Error::new(io::ErrorKind::PermissionDenied, error)
        }
        error => io::Error::other(error),
    }
}

/// Where programs keep what they go on with (XDG).
fn state_folder() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")))
}

/// A text as a part of a folder's name, which no other text has.
fn plain(text: &str) -> String {
    let byte = |b: u8| match b {
        b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The names of the files in a folder; none where there is no such folder.
pub fn files_of(folder: &Path) -> Result<Vec<String>, StoreError> {
    let io = StoreError::io("read", folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    entries.map(|e| Ok(e.map_err(&io)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Removes a file of this machine, if it is there.
pub fn remove_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all: what has its name is on the disk.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let io = StoreError::io("write", path);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
    let fresh = path.with_extension("part");
    let mut file = File::create(&fresh).map_err(&io)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(&io)?;
    std::fs::rename(&fresh, path).map_err(&io)?;
    // The name is to be there as well.
    File::open(folder).and_then(|f| f.sync_all()).map_err(&io)
}

/// The files of tables in a folder, also those that were not finished.
fn tables_in(root: &Path) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in root.read_dir().map_err(StoreError::io("read", root))? {
        let entry = entry.map_err(StoreError::io("read", root))?;
        if entry.file_name().to_string_lossy().starts_with("kind=") && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().map_err(StoreError::io("read", &folder))? {
            let path = entry.map_err(StoreError::io("read", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_some_and(|e| e == "parquet" || e == "part") {
                found.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}
