//! An analysis of a store: its tasks, what they left, and what is published of it.
//!
//! Nothing of a cluster is trusted: each range of shares is a task that is run, tried again and published by itself; what a lost attempt left does not count, and two
//! attempts that tell differently are an error. Readers see an analysis when its manifest is there, and then the whole of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures_util::{StreamExt, TryStreamExt, stream};
use ipnet::IpNet;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use pipeline::{Doubles, Input, Outcome};
use record::{Health, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Catalog, Span, TableFile};
use verdict::{HostStory, NetworkFacts, Prior, Share, ShareTold, by_strength, stories};

use crate::engine::{Engine, Failed};
use crate::part::{self, Part};
use crate::plan::{LEASES, plan};
use crate::tables;
use crate::task::{Judging, Task, below, edition};

/// Where analyses lie below a store.
pub const FOLDER: &str = "analyses";
/// What says that an analysis is whole.
const MANIFEST: &str = "MANIFEST.json";
/// The form of manifests.
const FORM: u32 = 2;

/// What is to be analysed, and how.
pub struct Asked {
    /// The store.
    pub store: PathBuf,
    /// Shares that the network is analysed in: 1, 2, 4 … 64.
    pub shares: u32,
    /// Tasks that a site's shares are divided into: a power of two, at most as many as there are shares.
    pub ranges: u32,
    /// Tasks that run at a time.
    pub parallel: usize,
    /// How hosts are judged; without `home` the networks that the store is filed by.
    pub judging: Judging,
    /// Whether what was published before is not believed.
    pub anew: bool,
    /// How long an attempt at a task may take.
    pub patience: Duration,
    /// Attempts at a task.
    pub attempts: usize,
}

/// What came out.
pub struct Analysed {
    /// What a reader of the store would have been told.
    pub outcome: Outcome,
    /// Records that were analysed now.
    pub records: u64,
    /// The folder of it below the store.
    pub folder: String,
    /// The earlier analysis that was gone on from.
    pub from: Option<String>,
    /// Tasks that were done before.
    pub before: usize,
    /// Tasks that were tried again, and why.
    pub retried: Vec<String>,
}

/// What is published of an analysis. It is written last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    hydrophone_analysis: u32,
    made_by: String,
    edition: String,
    shares: u32,
    ranges: u32,
    /// SHA-256 of how hosts were judged.
    judging: String,
    prior: Prior,
    home: Vec<IpNet>,
    /// The files that were read, now or by the analyses that it went on from.
    files: Vec<FileRead>,
    first_inputs: Vec<u32>,
    /// When the last record became known.
    last: Option<Timestamp>,
    /// Files that could not be read: the next analysis looks at them first.
    #[serde(default)]
    bad: Vec<FileRead>,
    records: u64,
    hosts: u64,
    evidence: u64,
    parts: Vec<Part>,
    from: Option<String>,
    failures: Vec<String>,
}

/// A file that was read, as it was then: another one may have its name one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct FileRead {
    path: String,
    bytes: u64,
    crc32: Option<u32>,
}

impl FileRead {
    fn of(f: &TableFile) -> Self {
        Self { path: f.path.clone(), bytes: f.bytes, crc32: f.crc32 }
    }
}

/// Where a store's files lie.
#[derive(Clone)]
pub struct Place {
    /// What is asked for them.
    pub objects: Arc<dyn ObjectStore>,
    /// `file:///` or `s3://BUCKET/`.
    pub base: String,
    /// What stands before each path.
    pub prefix: String,
}

impl Place {
    /// Finds it.
    ///
    /// # Errors
    /// The name or the environment is wrong.
    pub fn of(store: &std::path::Path) -> anyhow::Result<Self> {
        if let Some(found) = store::objects(store)? {
            return Ok(Self { objects: found.store, base: found.base, prefix: found.prefix.to_string() });
        }
        let full = std::fs::canonicalize(store)?;
        let prefix = Key::from_absolute_path(&full)?.to_string();
        let url = url::Url::parse("file:///")?;
        let objects = crate::nodes::Places::default().get_store(&url)?;
        Ok(Self { objects, base: url.to_string(), prefix })
    }

    fn key(&self, path: &str) -> anyhow::Result<Key> {
        Ok(below(&self.prefix, path)?)
    }

    /// Whether there is such a file.
    async fn has(&self, path: &str) -> anyhow::Result<bool> {
        match self.objects.head(&self.key(path)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Reads something that is written whole; what is no more than a part of it, as a machine that went out leaves it, is removed.
    async fn read_whole<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        match self.objects.get(&self.key(path)?).await {
            Ok(found) => match serde_json::from_slice(&found.bytes().await?) {
                Ok(whole) => Ok(Some(whole)),
                Err(_) => self.remove(path).await.map(|()| None),
            },
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether all parts are there.
    async fn has_all(&self, parts: &[Part]) -> anyhow::Result<bool> {
        for part in parts {
            if !self.has(&part.path).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        match self.objects.get(&self.key(path)?).await {
            Ok(found) => {
                let bytes = found.bytes().await?;
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{path} is damaged"))?))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Publishes something, unless it is there: then whatever is there counts.
    async fn publish<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        what: &T,
    ) -> anyhow::Result<Option<T>> {
        let text = serde_json::to_vec_pretty(what)?;
        match self.objects.put_opts(&self.key(path)?, text.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(None),
            Err(object_store::Error::AlreadyExists { .. }) => self.read(path).await,
            Err(e) => Err(e.into()),
        }
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn write(&self, path: &str, content: Vec<u8>) -> anyhow::Result<()> {
        self.objects.put(&self.key(path)?, content.into()).await?;
        Ok(())
    }

    /// Paths in a folder, below the store, and when each was written.
    async fn listed(&self, folder: &str) -> anyhow::Result<Vec<(String, DateTime<Utc>)>> {
        let all: Vec<object_store::ObjectMeta> =
            self.objects.list(Some(&self.key(folder)?)).try_collect().await?;
        let below = |m: &object_store::ObjectMeta| {
            let path = m.location.as_ref().strip_prefix(&self.prefix)?;
            Some((path.trim_start_matches('/').to_owned(), m.last_modified))
        };
        let mut paths: Vec<(String, DateTime<Utc>)> = all.iter().filter_map(below).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    /// Paths in a folder, below the store.
    async fn list(&self, folder: &str) -> anyhow::Result<Vec<String>> {
        Ok(self.listed(folder).await?.into_iter().map(|(path, _)| path).collect())
    }

    /// The analyses that are wanted, most files first, of equal ones the last that was published: their folders. What is published of one is not kept beside another's.
    async fn analyses(&self, wanted: impl Fn(&str, &Manifest) -> bool) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for (path, at) in self.listed(FOLDER).await? {
            let Some(folder) = path.strip_suffix(MANIFEST).map(|folder| folder.trim_end_matches('/')) else {
                continue;
            };
            let Ok(Some(m)) = self.read::<Manifest>(&path).await else { continue };
            if m.hydrophone_analysis == FORM && wanted(folder, &m) {
                found.push((m.files.len(), at, folder.to_owned()));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().rev().map(|(.., folder)| folder).collect())
    }

    /// What is published of an analysis, if it is there.
    async fn published(&self, folder: &str) -> anyhow::Result<Option<Manifest>> {
        self.read(&format!("{folder}/{MANIFEST}")).await
    }

    /// Of these files those that are not what was written, and why: gone, of another size, or of other bytes. Of those in a bucket all would have to be fetched for
    /// that: their sizes are compared.
    async fn altered(&self, files: &[TableFile]) -> anyhow::Result<BTreeMap<String, String>> {
        /// Files that are looked at together.
        const AT_ONCE: usize = 8;
        let is_here = self.base.starts_with("file:");
        let mut looked = stream::iter(files.iter().map(|f| async move {
            let key = self.key(&f.path)?;
            let why = if is_here {
                tables::altered(&self.objects, &key, f).await?
            } else {
                match self.objects.head(&key).await {
                    Ok(lies) => tables::of_another_size(lies.size, f),
                    Err(object_store::Error::NotFound { .. }) => Some(tables::GONE.to_owned()),
                    Err(e) => return Err(e.into()),
                }
            };
            anyhow::Ok(why.map(|why| (f.path.clone(), why)))
        }))
        .buffer_unordered(AT_ONCE);
        let mut found = BTreeMap::new();
        while let Some(one) = looked.next().await {
            found.extend(one?);
        }
        Ok(found)
    }

    async fn remove(&self, path: &str) -> anyhow::Result<()> {
        match self.objects.delete(&self.key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

fn hash(of: &impl Serialize) -> anyhow::Result<String> {
    Ok(record::hex(&Sha256::digest(serde_json::to_vec(of)?)))
}

/// What is told of a store beside its rows; health is no JSON, for its keys are no words.
fn worth(health: &Health, failures: &[String]) -> anyhow::Result<String> {
    Ok(record::hex(&Sha256::digest(postcard::to_stdvec(&(health, failures))?)))
}

/// How hosts are judged, and over what.
struct Plan<'a> {
    asked: &'a Asked,
    judging: Judging,
    judged: String,
    edition: String,
    place: Place,
    first_inputs: Vec<u32>,
    last: Option<Timestamp>,
    /// SHA-256 of what is told of the store beside its rows.
    worth: String,
    /// Files that could not be read.
    bad: BTreeMap<String, String>,
    bad_files: Vec<FileRead>,
    /// Analyses that cannot be gone on from.
    unusable: BTreeSet<String>,
    /// Files that are what was written.
    whole: Mutex<BTreeSet<FileRead>>,
    /// Folders of which everything is done again, and was removed.
    cleared: Mutex<BTreeSet<String>>,
    /// What had to be done again, and why.
    again: Vec<String>,
}

/// Analyses a store. `progress` is told how many rows of how many were read.
///
/// # Errors
/// It is no store, contradicts what was asked, or a task could not be done.
pub async fn analyse(
    asked: &Asked,
    catalog: &Catalog,
    engine: &Engine,
    progress: impl Fn(u64, u64) + Sync,
) -> anyhow::Result<Analysed> {
    Share::all(asked.shares).map_err(anyhow::Error::msg)?;
    if !asked.ranges.is_power_of_two() || asked.ranges > asked.shares {
        bail!(
            "--ranges {}: the {} shares are divided into 1, 2, 4 … {} ranges",
            asked.ranges,
            asked.shares,
            asked.shares
        );
    }
    let mut judging = asked.judging.clone();
    let filed = catalog.home();
    match (&filed, judging.home.is_empty()) {
        (Some(filed), true) => judging.home.clone_from(filed),
        (Some(filed), false) if networks(filed) == networks(&judging.home) => judging.home.clone_from(filed),
        (None, _) if catalog.files().is_empty() => {}
        (Some(filed), false) => {
            let filed: Vec<String> = filed.iter().map(ToString::to_string).collect();
            let filed = filed.join(",");
            bail!(
                "the rows of this store are filed by the local networks {filed}, and --home says others: say these, or write the store anew with `hydrophone read {} --home … --store NEW`",
                asked.store.display()
            );
        }
        (None, _) => bail!(
            "the runs of this store are filed by different local networks, or an older version wrote it, which did not say by which: write it anew with `hydrophone read {} --home … --store NEW`",
            asked.store.display()
        ),
    }
    let place = Place::of(&asked.store)?;
    let health = catalog.health();
    let mut plan = Plan {
        judged: hash(&judging)?,
        asked,
        judging,
        edition: edition(),
        place,
        first_inputs: catalog.first_inputs(),
        last: health.last,
        worth: worth(&health, catalog.failures())?,
        bad: BTreeMap::new(),
        bad_files: Vec::new(),
        unusable: BTreeSet::new(),
        whole: Mutex::default(),
        cleared: Mutex::default(),
        again: Vec::new(),
    };
    let done = plan.until_it_is_told(catalog, engine, &progress).await;
    if done.is_err() {
        engine.give_up().await;
    }
    done.map_err(|e| e.context(Unfinished))
}

/// An analysis that was asked for rightly did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the analysis did not come to its end")]
pub struct Unfinished;

/// What the parts of an analysis tell.
enum Shares {
    /// By site.
    Told(BTreeMap<u16, Vec<ShareTold<'static>>>),
    /// Parts that are damaged, and why.
    Unreadable(Vec<(Part, String)>),
}

/// How a run over some files went.
enum Ran {
    Done(Box<Done>),
    Damaged(BTreeMap<String, String>),
    /// An earlier analysis cannot be gone on from.
    Unusable(String, String),
}

struct Done {
    folder: String,
    manifest: Manifest,
    is_published: bool,
    records: u64,
    before: usize,
    retried: Vec<String>,
}

impl Plan<'_> {
    /// Runs it until everything that can be read was, and what came of it can be.
    async fn until_it_is_told(
        &mut self,
        catalog: &Catalog,
        engine: &Engine,
        progress: &(impl Fn(u64, u64) + Sync),
    ) -> anyhow::Result<Analysed> {
        let mut tries = self.asked.attempts.max(1);
        // What was damaged the last time, and lies there as it did, is left out from the beginning: so the analysis of then can be gone on from.
        let mut suspected = BTreeSet::new();
        for folder in self.place.analyses(|_, m| !m.bad.is_empty()).await? {
            suspected.extend(self.place.published(&folder).await?.into_iter().flat_map(|m| m.bad));
        }
        let is_suspected = |f: &TableFile| suspected.contains(&FileRead::of(f));
        let suspected: Vec<TableFile> = catalog.files().into_iter().filter(is_suspected).collect();
        self.bad = self.damaged(&suspected).await?;
        // Of a file that is damaged nothing is believed, and everything else is there.
        loop {
            let (bad, files): (Vec<TableFile>, Vec<TableFile>) =
                catalog.files().into_iter().partition(|f| self.bad.contains_key(&f.path));
            self.bad_files = bad.iter().map(FileRead::of).collect();
            let mut ran = match self.run(&files, engine, progress).await? {
                Ran::Done(ran) => ran,
                Ran::Damaged(found) => {
                    // What others still do is of another analysis now.
                    engine.give_up().await;
                    self.bad.extend(found);
                    continue;
                }
                Ran::Unusable(folder, why) => {
                    engine.give_up().await;
                    self.again.push(format!("{folder} cannot be gone on from: {why}"));
                    self.unusable.insert(folder);
                    continue;
                }
            };
            let unreadable = match self.shares(&ran.manifest).await? {
                Shares::Told(told) => {
                    ran.retried.append(&mut self.again);
                    return self.told(ran, told, catalog).await;
                }
                Shares::Unreadable(unreadable) => unreadable,
            };
            tries -= 1;
            for (part, why) in unreadable {
                if tries == 0 {
                    bail!("{}: what it left cannot be read: {why}", part.task);
                }
                // What was published and cannot be read is done again.
                self.withdraw(&ran.folder, &part).await?;
                self.again.push(format!("{}: {why}", part.task));
            }
        }
    }

    /// Takes back what was published of a task.
    async fn withdraw(&self, folder: &str, part: &Part) -> anyhow::Result<()> {
        for path in [
            format!("{folder}/{MANIFEST}"),
            format!("{folder}/range-{}.json", part.task),
            part::note_of(&part.path),
            part.path.clone(),
        ] {
            self.place.remove(&path).await?;
        }
        Ok(())
    }

    /// What the shares of all parts tell, by site; or the parts that are damaged, and why.
    async fn shares(&self, manifest: &Manifest) -> anyhow::Result<Shares> {
        let mut by_site: BTreeMap<u16, Vec<ShareTold<'static>>> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for part in &manifest.parts {
            let site = part.task.split('-').next().and_then(|s| s.strip_prefix("site")?.parse().ok());
            match part::told(&self.place.objects, &self.place.prefix, part).await {
                Ok(told) => by_site.entry(site.unwrap_or_default()).or_default().extend(told),
                Err(e) if part::may_pass(&e) => return Err(e.into()),
                Err(e) => unreadable.push((part.clone(), e.to_string())),
            }
        }
        Ok(if unreadable.is_empty() { Shares::Told(by_site) } else { Shares::Unreadable(unreadable) })
    }

    /// Runs the tasks over these files that were not done before.
    async fn run(
        &self,
        files: &[TableFile],
        engine: &Engine,
        progress: &(impl Fn(u64, u64) + Sync),
    ) -> anyhow::Result<Ran> {
        let Asked { shares, ranges, .. } = *self.asked;
        let read: Vec<FileRead> = files.iter().map(FileRead::of).collect();
        let of = (&self.edition, shares, ranges, &self.judged, &read, self.last, &self.first_inputs);
        let id = hash(&(of, &self.worth))?;
        let folder = format!("{FOLDER}/{}", &id[..16]);
        let is_first = || self.cleared.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone());
        if self.asked.anew && is_first() {
            // First what says that something is there.
            let (parts, first): (Vec<String>, Vec<String>) =
                self.place.list(&folder).await?.into_iter().partition(|p| p.contains("/parts/"));
            for path in first.iter().chain(&parts) {
                self.place.remove(path).await?;
            }
        }
        if let Some(manifest) = self.place.read_whole::<Manifest>(&format!("{folder}/{MANIFEST}")).await?
            && self.place.has_all(&manifest.parts).await?
        {
            let before = manifest.parts.len();
            let done = Done { folder, manifest, is_published: true, records: 0, before, retried: Vec::new() };
            return Ok(Ran::Done(Box::new(done)));
        }
        let base = self.base(&read, files).await?;
        let known: BTreeSet<&FileRead> = base.iter().flat_map(|(_, m)| &m.files).collect();
        let is_new = |f: &&TableFile| !known.contains(&FileRead::of(f));
        let new: Vec<TableFile> = files.iter().filter(is_new).cloned().collect();
        let altered = self.altered(&new).await?;
        if !altered.is_empty() {
            return Ok(Ran::Damaged(altered.into_iter().map(|(path, why)| self.say(path, &why)).collect()));
        }
        let mut sites: BTreeMap<u16, Timestamp> = BTreeMap::new();
        for f in files {
            let known = sites.entry(f.site).or_insert(f.known.1);
            *known = f.known.1.max(*known);
        }
        let each = shares / ranges;
        let mut tasks = Vec::new();
        for (site, known) in sites {
            for range in 0..ranges {
                let mut task = Task {
                    edition: self.edition.clone(),
                    base: self.place.base.clone(),
                    prefix: self.place.prefix.clone(),
                    folder: folder.clone(),
                    site,
                    shares: (range * each, (range + 1) * each),
                    of: shares,
                    first_inputs: self.first_inputs.clone(),
                    known: Some(known),
                    last: self.last,
                    from: None,
                    judging: self.judging.clone(),
                };
                let of_task =
                    |(_, m): &(String, Manifest)| m.parts.iter().find(|p| p.task == task.name()).cloned();
                task.from = base.as_ref().and_then(of_task);
                tasks.push(task);
            }
        }
        // A row is read once by the task whose share it is of.
        let total: u64 = new.iter().map(|f| f.rows).sum();
        let all = tasks.len().max(1) as u64;
        let (mut parts, mut records, mut before, mut retried) = (Vec::new(), 0, 0, Vec::new());
        let mut running = stream::iter(tasks.iter().map(|task| self.task(task, &new, engine)))
            .buffer_unordered(self.asked.parallel.max(1));
        while let Some(done) = running.next().await {
            match done? {
                Attempted::Before(part) => {
                    before += 1;
                    parts.push(part);
                }
                Attempted::Now(part, again) => {
                    records += part.records;
                    retried.extend(again);
                    parts.push(part);
                }
                Attempted::Damaged(files) => return Ok(Ran::Damaged(files)),
                Attempted::Unusable(why) => {
                    let folder = base.map(|(folder, _)| folder).unwrap_or_default();
                    return Ok(Ran::Unusable(folder, why));
                }
            }
            progress(total * parts.len() as u64 / all, total);
        }
        drop(running);
        parts.sort_by(|a, b| a.task.cmp(&b.task));
        let missed = self.missed(&tasks, &parts, files, &new).await?;
        if !missed.is_empty() {
            return Ok(Ran::Damaged(missed));
        }
        let earlier = base.as_ref().map_or(0, |(_, m)| m.records);
        let manifest = Manifest {
            hydrophone_analysis: FORM,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            edition: self.edition.clone(),
            shares,
            ranges,
            judging: self.judged.clone(),
            prior: self.judging.prior,
            home: self.judging.home.clone(),
            files: read,
            first_inputs: self.first_inputs.clone(),
            last: files.iter().map(|f| f.known.1).max(),
            bad: self.bad_files.clone(),
            records: earlier + parts.iter().map(|p| p.records).sum::<u64>(),
            hosts: 0,
            evidence: 0,
            parts,
            from: base.map(|(folder, _)| folder),
            failures: self.bad.values().cloned().collect(),
        };
        let done = Done { folder, manifest, is_published: false, records, before, retried };
        Ok(Ran::Done(Box::new(done)))
    }

    /// The analysis that can be gone on from: of the same judgement, over some of the same files, all others of which came later. What came late is read with all of its
    /// time again.
    async fn base(
        &self,
        now: &[FileRead],
        files: &[TableFile],
    ) -> anyhow::Result<Option<(String, Manifest)>> {
        if self.asked.anew {
            return Ok(None);
        }
        let now: BTreeSet<&FileRead> = now.iter().collect();
        let is_gone_on_from = |folder: &str, m: &Manifest| {
            let same = (m.edition == self.edition && m.judging == self.judged)
                && (m.shares, m.ranges) == (self.asked.shares, self.asked.ranges)
                && self.first_inputs.starts_with(&m.first_inputs)
                && !self.unusable.contains(folder);
            same && {
                let read: BTreeSet<&FileRead> = m.files.iter().collect();
                let mut new = files.iter().filter(|f| !read.contains(&FileRead::of(f)));
                read.is_subset(&now) && new.all(|f| m.last.is_none_or(|last| f.known.0 > last))
            }
        };
        for folder in self.place.analyses(is_gone_on_from).await? {
            if let Some(m) = self.place.published(&folder).await?
                && self.place.has_all(&m.parts).await?
            {
                return Ok(Some((folder, m)));
            }
        }
        Ok(None)
    }

    /// Of these files those that are not what was written; each is looked at once.
    async fn altered(&self, files: &[TableFile]) -> anyhow::Result<BTreeMap<String, String>> {
        let known = self.whole.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let new: Vec<TableFile> =
            files.iter().filter(|f| !known.contains(&FileRead::of(f))).cloned().collect();
        let altered = self.place.altered(&new).await?;
        let whole = new.iter().filter(|f| !altered.contains_key(&f.path)).map(FileRead::of);
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).extend(whole);
        Ok(altered)
    }

    /// Files of which the analysts did not get all rows, where it can be said what they should have got.
    async fn missed(
        &self,
        tasks: &[Task],
        parts: &[Part],
        files: &[TableFile],
        new: &[TableFile],
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let sites: BTreeSet<u16> = tasks.iter().map(|t| t.site).collect();
        for site in sites {
            let names: BTreeSet<String> = tasks.iter().filter(|t| t.site == site).map(Task::name).collect();
            let of: Vec<&Part> = parts.iter().filter(|p| names.contains(&p.task)).collect();
            let went_on = of.iter().filter(|p| p.from.is_some()).count();
            // A site that nobody had seen before has nothing to go on from.
            let read = if went_on == 0 { files } else { new };
            let should: u64 = read
                .iter()
                .filter(|f| f.site == site)
                .map(|f| f.rows * if f.kind == LEASES { u64::from(self.asked.shares) } else { 1 })
                .sum();
            let did: u64 = of.iter().map(|p| p.read).sum();
            if did == should {
                continue;
            }
            let of_site: Vec<TableFile> = read.iter().filter(|f| f.site == site).cloned().collect();
            let damaged = self.damaged(&of_site).await?;
            if damaged.is_empty() {
                bail!("of {should} rows of site {site} {did} were read, and no file of it says why");
            }
            return Ok(damaged);
        }
        Ok(BTreeMap::new())
    }

    /// What is said of a file that cannot be read.
    fn say(&self, path: String, why: &str) -> (String, String) {
        let shown = PathBuf::from(&self.asked.store).join(&path);
        let said = format!("{} is damaged ({why}); everything else of the store is there", shown.display());
        (path, said)
    }

    /// Does a task, if nobody did it before, and publishes what came of it.
    async fn task(&self, task: &Task, files: &[TableFile], engine: &Engine) -> anyhow::Result<Attempted> {
        let published = format!("{}/range-{}.json", task.folder, task.name());
        if let Some(part) = self.place.read_whole::<Part>(&published).await? {
            if part.goes_on_as(task) && self.place.has(&part.path).await? {
                return Ok(Attempted::Before(part));
            }
            self.place.remove(&published).await?;
        }
        let mine: Vec<TableFile> = files.iter().filter(|f| f.site == task.site).cloned().collect();
        let mut again = Vec::new();
        loop {
            // What an attempt left that nobody waited for any more counts as well.
            if let Some(part) = self.left(task).await? {
                let other = self.place.publish(&published, &part).await?;
                if other.as_ref().is_some_and(|other| other.digest != part.digest) {
                    bail!("{}: two attempts tell differently of the same hosts: {published}", task.name());
                }
                // Whoever published first counts.
                return Ok(Attempted::Now(other.unwrap_or(part), again));
            }
            let made = plan(task.clone(), &mine)?;
            let failed = match engine.run(made, self.asked.patience).await {
                Err(failed) => failed,
                Ok(()) if self.left(task).await?.is_some() => continue,
                Ok(()) => Failed::Lost(format!(
                    "it is done, and nothing of it is in {}: do all executors reach this store by this name?",
                    self.asked.store.display()
                )),
            };
            if let Failed::Wrong(why) = &failed {
                let is_last = again.len() + 1 >= self.asked.attempts.max(1);
                // It says mostly which; to read all of them takes as long as the task.
                let named = |f: &&TableFile| f.path.rsplit('/').next().is_some_and(|name| why.contains(name));
                let named: Vec<TableFile> = mine.iter().filter(named).cloned().collect();
                let suspected = if is_last || matches!(engine, Engine::Embedded(_)) { &mine } else { &named };
                let damaged = self.damaged(suspected).await?;
                if !damaged.is_empty() {
                    return Ok(Attempted::Damaged(damaged));
                }
                if let Some(from) = &task.from
                    && let Err(e) = part::earlier(&self.place.objects, &self.place.prefix, from).await
                    && !part::may_pass(&e)
                {
                    return Ok(Attempted::Unusable(e.to_string()));
                }
                if matches!(engine, Engine::Embedded(_)) {
                    bail!("{}: {why}", task.name());
                }
            }
            if let Failed::Refused(why) = &failed {
                bail!("{}: {why}", task.name());
            }
            again.push(format!("{}: {failed}", task.name()));
            if again.len() >= self.asked.attempts.max(1) {
                bail!("{} was given up after {} attempts: {failed}", task.name(), again.len());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What attempts at a task left: one of them, where they tell the same.
    async fn left(&self, task: &Task) -> anyhow::Result<Option<Part>> {
        let mut found: Option<Part> = None;
        for path in self.place.list(&task.parts()).await?.iter().filter(|path| path.ends_with(part::NOTE)) {
            let Some(part) = self.place.read_whole::<Part>(path).await? else { continue };
            if !part.goes_on_as(task) || !self.place.has(&part.path).await? {
                continue;
            }
            match &found {
                Some(other) if other.digest != part.digest => {
                    bail!("two attempts tell differently of the same hosts: {} and {}", other.path, part.path)
                }
                Some(_) => {}
                None => found = Some(part),
            }
        }
        Ok(found)
    }

    /// The files that cannot be read, and why.
    async fn damaged(&self, files: &[TableFile]) -> anyhow::Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for file in files {
            let key = self.place.key(&file.path)?;
            if let Some(why) = tables::damage(&self.place.objects, &key, file).await? {
                found.extend([self.say(file.path.clone(), &why)]);
            }
        }
        Ok(found)
    }

    /// Tells the stories of all shares, and publishes them.
    async fn told(
        &self,
        done: Box<Done>,
        by_site: BTreeMap<u16, Vec<ShareTold<'static>>>,
        catalog: &Catalog,
    ) -> anyhow::Result<Analysed> {
        let Done { folder, mut manifest, is_published, records, before, retried } = *done;
        let mut failures = catalog.failures().to_vec();
        failures.extend(manifest.failures.iter().cloned());
        let mut health = catalog.health();
        let mut doubles = Doubles::default();
        manifest.parts.iter().for_each(|part| doubles.merge(&part.doubles));
        doubles.correct(&mut health);
        let facts = pipeline::facts(&health, failures.is_empty());
        let mut all: Vec<(u16, HostStory)> = Vec::new();
        let mut shares = Vec::new();
        for (site, told) in by_site {
            all.extend(stories(&told, None, &facts).into_iter().map(|s| (site, s)));
            shares.extend(told.into_iter().map(|t| t.facts));
        }
        let network = NetworkFacts::of(&shares);
        if !is_published {
            manifest.hosts = all.len() as u64;
            manifest.evidence = all.iter().map(|(_, s)| s.evidence.len() as u64).sum();
            self.place.write(&format!("{folder}/hosts.parquet"), tables::hosts(&all)?).await?;
            self.place.write(&format!("{folder}/evidence.parquet"), tables::evidence(&all)?).await?;
            let other = self.place.publish(&format!("{folder}/{MANIFEST}"), &manifest).await?;
            self.tidy(&folder, other.as_ref().unwrap_or(&manifest)).await?;
        }
        let mut stories: Vec<HostStory> = all.into_iter().map(|(_, s)| s).collect();
        by_strength(&mut stories);
        let mut notices = catalog.notices();
        notices.extend(doubles.notices());
        let of_inputs = notices.len();
        notices.extend(pipeline::told_of_network(&network, false));
        let input = |i: &store::StoredInput| Input {
            path: i.path.clone(),
            size: i.size,
            sha256: i.sha256.clone(),
            log: i.log.clone(),
        };
        let outcome = Outcome {
            inputs: catalog.inputs().iter().map(input).collect(),
            stories,
            health,
            notices,
            of_inputs,
            failures,
            home: self.judging.home.iter().map(ToString::to_string).collect(),
            home_chosen: "as given".to_owned(),
            activity: pipeline::Activity::default(),
            outside: network.outside,
            hosts_forgotten: network.forgotten,
            interrupted: false,
            shares: self.asked.shares,
            segments_apart: false,
            prior: self.judging.prior,
        };
        Ok(Analysed { outcome, records, folder, from: manifest.from, before, retried })
    }

    /// Removes what attempts left that does not count.
    async fn tidy(&self, folder: &str, manifest: &Manifest) -> anyhow::Result<()> {
        let kept: BTreeSet<&str> = manifest.parts.iter().map(|p| p.path.as_str()).collect();
        for path in self.place.list(&format!("{folder}/parts")).await? {
            if !kept.contains(path.as_str()) {
                self.place.remove(&path).await?;
            }
        }
        Ok(())
    }
}

/// How a task went.
enum Attempted {
    /// It was done before.
    Before(Part),
    /// It is done, and these attempts failed.
    Now(Part, Vec<String>),
    /// Some of its files cannot be read.
    Damaged(BTreeMap<String, String>),
    /// What it was to go on from cannot be read.
    Unusable(String),
}

/// Opens what is wanted of a store: all of it.
///
/// # Errors
/// It is no store.
pub fn open(store: &std::path::Path) -> anyhow::Result<Catalog> {
    Ok(Catalog::open(store, Span::default(), 0)?)
}

/// Networks in one order.
fn networks(all: &[IpNet]) -> BTreeSet<IpNet> {
    all.iter().map(IpNet::trunc).collect()
}

/// An analysis that questions are answered from.
pub struct Newest {
    /// Its folder below the store.
    pub folder: String,
    /// What is to be said of it.
    pub said: String,
    /// What it could not read.
    pub failures: Vec<String>,
}

/// The analysis that read most of what a store holds now, of several the one that was published last, if there is a whole one.
///
/// # Errors
/// The store cannot be listed.
pub async fn newest(place: &Place, catalog: &Catalog) -> anyhow::Result<Option<Newest>> {
    let now: BTreeSet<FileRead> = catalog.files().iter().map(FileRead::of).collect();
    let of_now = place.analyses(|_, m| m.files.iter().all(|f| now.contains(f))).await?;
    let Some(folder) = of_now.into_iter().next() else { return Ok(None) };
    Ok(place.published(&folder).await?.map(|m| {
        let more = now.len() - m.files.len();
        let more = if more > 0 {
            format!(", and {more} of the store's {} files came after it, or could not be read", now.len())
        } else {
            String::new()
        };
        let said = format!("hosts and evidence are those of {folder}, which starts from {}{more}", m.prior);
        Newest { folder, said, failures: m.failures }
    }))
}
