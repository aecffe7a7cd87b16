//! An analysis of a store: its tasks, what they left, and what is published of it.
//!
//! Nothing of a cluster is trusted: each range of shares is a task that is run, tried again and published by itself; what a lost attempt left does not count, and two
//! attempts that tell differently are an error. Readers see an analysis when its manifest is there, and then the whole of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures_util::{StreamExt, TryStreamExt, stream};
use ipnet::IpNet;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use pipeline::{Input, Outcome};
use record::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Catalog, Span, TableFile};
use verdict::{HostStory, NetworkFacts, Share, by_strength, stories};

use crate::engine::{Engine, Failed};
use crate::part::{self, Part};
use crate::plan::plan;
use crate::tables;
use crate::task::{Judging, Task, below, edition};

/// Where analyses lie below a store.
pub const FOLDER: &str = "analyses";
/// What says that an analysis is whole.
const MANIFEST: &str = "MANIFEST.json";
/// The form of manifests.
const FORM: u32 = 1;

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
    home: Vec<IpNet>,
    /// The files that were read, now or by the analyses that it went on from.
    files: Vec<String>,
    first_inputs: Vec<u32>,
    /// When the last record became known.
    last: Option<Timestamp>,
    records: u64,
    hosts: u64,
    evidence: u64,
    parts: Vec<Part>,
    from: Option<String>,
    failures: Vec<String>,
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

    /// Paths in a folder, below the store.
    async fn list(&self, folder: &str) -> anyhow::Result<Vec<String>> {
        let all: Vec<object_store::ObjectMeta> =
            self.objects.list(Some(&self.key(folder)?)).try_collect().await?;
        let below = |m: &object_store::ObjectMeta| {
            m.location.as_ref().strip_prefix(&self.prefix).map(|p| p.trim_start_matches('/').to_owned())
        };
        let mut paths: Vec<String> = all.iter().filter_map(below).collect();
        paths.sort_unstable();
        Ok(paths)
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

/// How hosts are judged, and over what.
struct Plan<'a> {
    asked: &'a Asked,
    judging: Judging,
    judged: String,
    edition: String,
    place: Place,
    first_inputs: Vec<u32>,
    last: Option<Timestamp>,
    /// Files that could not be read.
    bad: BTreeMap<String, String>,
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
        bad: BTreeMap::new(),
    };
    // Of a file that is damaged nothing is believed, and everything else is there.
    loop {
        let files: Vec<TableFile> =
            catalog.files().into_iter().filter(|f| !plan.bad.contains_key(&f.path)).collect();
        match plan.run(&files, engine, &progress).await? {
            Ran::Done(ran) => return plan.told(ran, catalog).await,
            Ran::Damaged(found) => plan.bad.extend(found),
        }
    }
}

/// How a run over some files went.
enum Ran {
    Done(Box<Done>),
    Damaged(BTreeMap<String, String>),
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
    /// Runs the tasks over these files that were not done before.
    async fn run(
        &self,
        files: &[TableFile],
        engine: &Engine,
        progress: &(impl Fn(u64, u64) + Sync),
    ) -> anyhow::Result<Ran> {
        let Asked { shares, ranges, .. } = *self.asked;
        let names: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
        let id = hash(&(&self.edition, shares, ranges, &self.judged, &names, self.last, &self.first_inputs))?;
        let folder = format!("{FOLDER}/{}", &id[..16]);
        if self.asked.anew {
            // First what says that something is there.
            let (parts, first): (Vec<String>, Vec<String>) =
                self.place.list(&folder).await?.into_iter().partition(|p| p.contains("/parts/"));
            for path in first.iter().chain(&parts) {
                self.place.remove(path).await?;
            }
        }
        if let Some(manifest) = self.place.read::<Manifest>(&format!("{folder}/{MANIFEST}")).await?
            && self.place.has_all(&manifest.parts).await?
        {
            let before = manifest.parts.len();
            let done = Done { folder, manifest, is_published: true, records: 0, before, retried: Vec::new() };
            return Ok(Ran::Done(Box::new(done)));
        }
        let base = self.base(files).await?;
        let known: BTreeSet<&str> =
            base.iter().flat_map(|(_, m)| m.files.iter().map(String::as_str)).collect();
        let new: Vec<TableFile> =
            files.iter().filter(|f| !known.contains(f.path.as_str())).cloned().collect();
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
                task.from = base.as_ref().and_then(of_task).map(|p| p.path);
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
            }
            progress(total * parts.len() as u64 / all, total);
        }
        drop(running);
        parts.sort_by(|a, b| a.task.cmp(&b.task));
        let earlier = base.as_ref().map_or(0, |(_, m)| m.records);
        let manifest = Manifest {
            hydrophone_analysis: FORM,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            edition: self.edition.clone(),
            shares,
            ranges,
            judging: self.judged.clone(),
            home: self.judging.home.clone(),
            files: names.into_iter().map(str::to_owned).collect(),
            first_inputs: self.first_inputs.clone(),
            last: files.iter().map(|f| f.known.1).max(),
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
    async fn base(&self, files: &[TableFile]) -> anyhow::Result<Option<(String, Manifest)>> {
        let mut best: Option<(String, Manifest)> = None;
        if self.asked.anew {
            return Ok(None);
        }
        for path in self.place.list(FOLDER).await?.iter().filter(|p| p.ends_with(MANIFEST)) {
            let Ok(Some(m)) = self.place.read::<Manifest>(path).await else { continue };
            let same = m.hydrophone_analysis == FORM
                && (m.edition == self.edition && m.judging == self.judged)
                && (m.shares, m.ranges) == (self.asked.shares, self.asked.ranges)
                && self.first_inputs.starts_with(&m.first_inputs);
            let all: BTreeMap<&str, &TableFile> = files.iter().map(|f| (f.path.as_str(), f)).collect();
            let read: BTreeSet<&str> = m.files.iter().map(String::as_str).collect();
            let later = || {
                let mut new = all.values().filter(|f| !read.contains(f.path.as_str()));
                new.all(|f| m.last.is_none_or(|last| f.known.0 > last))
            };
            if same
                && read.iter().all(|path| all.contains_key(path))
                && later()
                && self.place.has_all(&m.parts).await?
                && best.as_ref().is_none_or(|(_, b)| b.files.len() < m.files.len())
            {
                let folder = path.trim_end_matches(MANIFEST).trim_end_matches('/').to_owned();
                best = Some((folder, m));
            }
        }
        Ok(best)
    }

    /// Does a task, if nobody did it before, and publishes what came of it.
    async fn task(&self, task: &Task, files: &[TableFile], engine: &Engine) -> anyhow::Result<Attempted> {
        let published = format!("{}/range-{}.json", task.folder, task.name());
        if let Some(part) = self.place.read::<Part>(&published).await? {
            if self.place.has(&part.path).await? {
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
                let damaged = self.damaged(&mine).await?;
                if !damaged.is_empty() {
                    return Ok(Attempted::Damaged(damaged));
                }
                if matches!(engine, Engine::Embedded(_)) {
                    bail!("{}: {why}", task.name());
                }
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
            let Some(part) = self.place.read::<Part>(path).await? else { continue };
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
            if let Some(e) = tables::damage(&self.place.objects, &key).await? {
                let path = PathBuf::from(&self.asked.store).join(&file.path);
                let why =
                    format!("{} is damaged ({e}); everything else of the store is there", path.display());
                found.insert(file.path.clone(), why);
            }
        }
        Ok(found)
    }

    /// Tells the stories of all shares, and publishes them.
    async fn told(&self, done: Box<Done>, catalog: &Catalog) -> anyhow::Result<Analysed> {
        let Done { folder, mut manifest, is_published, records, before, retried } = *done;
        let mut failures = catalog.failures().to_vec();
        failures.extend(manifest.failures.iter().cloned());
        let health = catalog.health();
        let facts = pipeline::facts(&health, failures.is_empty());
        let mut by_site: BTreeMap<u16, Vec<&Part>> = BTreeMap::new();
        for part in &manifest.parts {
            let site = part.task.split('-').next().and_then(|s| s.strip_prefix("site")?.parse().ok());
            by_site.entry(site.unwrap_or_default()).or_default().push(part);
        }
        let mut all: Vec<(u16, HostStory)> = Vec::new();
        let mut shares = Vec::new();
        for (site, parts) in by_site {
            let mut told = Vec::new();
            for part in parts {
                told.extend(part::told(&self.place.objects, &self.place.prefix, part).await?);
            }
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

/// The folder of the analysis that read most of what a store holds now, if there is a whole one.
///
/// # Errors
/// The store cannot be listed.
pub async fn newest(place: &Place, catalog: &Catalog) -> anyhow::Result<Option<String>> {
    let now: BTreeSet<String> = catalog.files().into_iter().map(|f| f.path).collect();
    let mut best: Option<(usize, String)> = None;
    for path in place.list(FOLDER).await? {
        let Some(folder) = path.strip_suffix(MANIFEST) else { continue };
        let Ok(Some(m)) = place.read::<Manifest>(&path).await else { continue };
        if !m.files.iter().all(|f| now.contains(f)) {
            continue;
        }
        let this = (m.files.len(), folder.trim_end_matches('/').to_owned());
        best = best.max(Some(this));
    }
    Ok(best.map(|(_, folder)| folder))
}
