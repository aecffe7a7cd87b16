//! Who met an address, a name, a certificate: asked of months, answered from the few groups of rows that can hold it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampNanosecondType};
use arrow_array::{Array, BooleanArray, LargeStringArray, RecordBatch};
use arrow_schema::{DataType, FieldRef, Schema};
use ipnet::IpNet;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::statistics::Statistics;
use record::{PacketId, Timestamp};

use crate::place::{Blob, Place};
use crate::read::{Past, settled};
use crate::settle::Settled;
use crate::{Counted, Part, Segment, Span, StoreError, StoredInput, counted, open};

/// Hosts that one search tells of; further ones are counted.
const MOST_HOSTS: usize = 10_000;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indicator {
    /// An address, at either end or in an answer.
    Address(IpAddr),
    /// A network, at either end.
    Network(IpNet),
    /// A name, as it was asked for.
    Name(String),
    /// A name and all names below it.
    Below(String),
    /// A URL: a name, and the path there.
    Url {
        /// The name.
        name: String,
        /// Path and query.
        uri: String,
    },
    /// A client's JA4 fingerprint.
    Ja4(String),
    /// SHA-256 of a certificate.
    Certificate(String),
    /// What a client calls itself.
    UserAgent(String),
    /// A flow's Community ID.
    CommunityId(String),
}

impl Indicator {
    /// What a text is an indicator of, by its form; defanged ones are understood, and ports are not looked at. A user agent says so: `ua:TEXT`. None where it has the form of
    /// none.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(agent) = text.strip_prefix("ua:") {
            return Some(Self::UserAgent(agent.to_owned()));
        }
        let plain = text.replace("[.]", ".").replace("[:]", ":");
        if plain.contains(char::is_whitespace) {
            return None;
        }
        if let Ok(ip) = plain.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Self::Address(ip.to_canonical()));
        }
        if let Ok(net) = plain.parse() {
            return Some(Self::Network(net));
        }
        if plain.bytes().all(|b| b.is_ascii_hexdigit()) && HASHES.contains(&plain.len()) {
            // Of the others no table has any.
            return (plain.len() == 64).then(|| Self::Certificate(plain.to_ascii_lowercase()));
        }
        if plain.starts_with("1:") && plain.ends_with('=') {
            return Some(Self::CommunityId(plain));
        }
        if is_ja4(&plain) {
            return Some(Self::Ja4(plain.to_ascii_lowercase()));
        }
        if let Some(below) = plain.strip_prefix("*.").or_else(|| plain.strip_prefix('.')) {
            return name_of(below).map(Self::Below);
        }
        let (scheme, rest) = match plain.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, plain.as_str()),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let port = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let host = port.map_or(host, |(host, _)| host);
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        // A network that is none is no URL.
        let is_page = |path: &str| scheme.is_some() || ip.is_none() || path[1..].parse::<u16>().is_err();
        let path = path.split('#').next().unwrap_or_default();
        if path.is_empty() {
            return ip.map(Self::Address).or_else(|| name_of(host).map(Self::Name));
        }
        let name = ip.map(|ip| ip.to_string()).or_else(|| name_of(host)).filter(|_| is_page(path))?;
        let uri = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self::Url { name, uri })
    }
}

/// Digits of hashes: MD5, SHA-1, SHA-256, SHA-512.
const HASHES: [usize; 4] = [32, 40, 64, 128];

/// A host's name as the wire has it: labels without what no name has, and a last one that is no number.
fn name_of(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| !l.is_empty() && l.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    let last = text.rsplit('.').next()?;
    if !text.split('.').all(label) || last.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    idna::domain_to_ascii(text).ok().filter(|name| !name.is_empty())
}

/// What is looked for in one column.
#[derive(Default)]
struct Column {
    /// Values, and the indicators that they are.
    values: HashMap<String, Vec<usize>>,
    networks: Vec<(IpNet, usize)>,
    /// Names of which everything below is wanted.
    below: HashMap<String, Vec<usize>>,
}

impl Column {
    /// The indicators that a value is.
    fn of(&self, column: &str, value: &str, hits: &mut Vec<usize>) {
        if column == "answers" {
            for answer in value.split(' ') {
                hits.extend(self.values.get(answer).into_iter().flatten());
            }
            return;
        }
        hits.extend(self.values.get(value).into_iter().flatten());
        if !self.networks.is_empty()
            && let Ok(ip) = value.parse::<IpAddr>()
        {
            hits.extend(self.networks.iter().filter(|(net, _)| net.contains(&ip)).map(|(_, n)| n));
        }
        if !self.below.is_empty() {
            let mut rest = Some(value);
            while let Some(name) = rest {
                hits.extend(self.below.get(name).into_iter().flatten());
                rest = name.split_once('.').map(|(_, parent)| parent);
            }
        }
    }
}

/// What is looked for, by the columns that it may stand in.
struct Wanted {
    columns: BTreeMap<&'static str, Column>,
    /// The names that a URL's path has to be asked of.
    names: HashMap<usize, String>,
}

impl Wanted {
    fn of(indicators: &[Indicator]) -> Self {
        let mut wanted = Self { columns: BTreeMap::new(), names: HashMap::new() };
        for (n, indicator) in indicators.iter().enumerate() {
            let (columns, value): (&[&'static str], &str) = match indicator {
                Indicator::Address(ip) => {
                    let text = ip.to_string();
                    for column in ["host", "remote", "answers"] {
                        wanted
                            .columns
                            .entry(column)
                            .or_default()
                            .values
                            .entry(text.clone())
                            .or_default()
                            .push(n);
                    }
                    continue;
                }
                Indicator::Network(net) => {
                    for column in ["host", "remote"] {
                        wanted.columns.entry(column).or_default().networks.push((*net, n));
                    }
                    continue;
                }
                Indicator::Below(name) => {
                    let column = wanted.columns.entry("name").or_default();
                    column.below.entry(name.clone()).or_default().push(n);
                    continue;
                }
                Indicator::Url { name, uri } => {
                    wanted.names.insert(n, name.clone());
                    (&["uri"], uri)
                }
                Indicator::Name(name) => (&["name"], name),
                Indicator::Ja4(print) => (&["ja4"], print),
                Indicator::Certificate(hash) => (&["certificate"], hash),
                Indicator::UserAgent(agent) => (&["user_agent"], agent),
                Indicator::CommunityId(id) => (&["community_id"], id),
            };
            for column in columns {
                wanted.columns.entry(column).or_default().values.entry(value.to_owned()).or_default().push(n);
            }
        }
        wanted
    }

    /// Which rows hold something of it in these columns, whose values stand in dictionaries; none where they do not.
    fn hits(&self, batch: &RecordBatch) -> Option<Vec<bool>> {
        let mut rows = vec![false; batch.num_rows()];
        let mut hits = Vec::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let (wanted, name) = (self.columns.get(field.name().as_str())?, field.name());
            let column = column.as_dictionary_opt::<Int32Type>()?;
            let values = column.values().as_string_opt::<i64>()?;
            let is_hit = |value: Option<&str>| {
                hits.clear();
                if let Some(value) = value {
                    wanted.of(name, value, &mut hits);
                }
                !hits.is_empty()
            };
            let hit: Vec<bool> = values.iter().map(is_hit).collect();
            if hit.contains(&true) {
                for (row, key) in rows.iter_mut().zip(column.keys()) {
                    *row |= key.is_some_and(|key| hit.get(key as usize) == Some(&true));
                }
            }
        }
        Some(rows)
    }

    /// The columns of a group of rows that may hold something of it, by what they say of themselves.
    fn may_be_in(
        &self,
        file: &ParquetRecordBatchReaderBuilder<Blob>,
        group: usize,
    ) -> Result<BTreeSet<&'static str>, parquet::errors::ParquetError> {
        let metadata = file.metadata().row_group(group);
        let mut found = BTreeSet::new();
        for (i, column) in metadata.columns().iter().enumerate() {
            let name = column.column_path().string();
            let Some((name, wanted)) = self.columns.get_key_value(name.as_str()) else { continue };
            let rows = metadata.num_rows() as u64;
            if column.statistics().and_then(Statistics::null_count_opt).is_some_and(|nulls| nulls >= rows) {
                continue;
            }
            // An answer holds several values, of which a filter would know the text as a whole.
            let one_value = wanted.networks.is_empty() && wanted.below.is_empty() && *name != "answers";
            let filter = if one_value { file.get_row_group_column_bloom_filter(group, i)? } else { None };
            if filter.is_none_or(|f| wanted.values.keys().any(|v| f.check(&v.as_str()))) {
                found.insert(*name);
            }
        }
        Ok(found)
    }
}

/// `t13d1516h2_8daaf6152771_b186095e22b6`.
fn is_ja4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('_').collect();
    let is_hex = |t: &str| t.bytes().all(|b| b.is_ascii_hexdigit());
    matches!(parts[..], [a, b, c] if a.len() == 10 && b.len() == 12 && c.len() == 12 && is_hex(b) && is_hex(c))
}

/// One host's meetings with an indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which of the indicators, by its number.
    pub indicator: usize,
    /// The host.
    pub host: String,
    /// The other end, where it was met first.
    pub remote: String,
    /// When it became known first.
    pub first: Timestamp,
    /// And last.
    pub last: Timestamp,
    /// How often, by kind of record; a flow counts once.
    pub records: BTreeMap<String, u64>,
    /// The flow of the first.
    pub uid: String,
    /// The packets or lines of the first.
    pub proof: Vec<PacketId>,
}

/// What a search looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Files of the store.
    pub files: u64,
    /// Those that lie in the span.
    pub in_span: u64,
    /// Groups of rows in them.
    pub groups: u64,
    /// Groups that were read; of the others their statistics or filters say that nothing is there.
    pub read: u64,
    /// Rows of those.
    pub rows: u64,
    /// Hosts beyond the most that are told.
    pub further: u64,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// Each host with each indicator, by indicator and first time.
    pub found: Vec<Found>,
    /// What was looked at.
    pub search: Search,
    /// What was read into the store, in the order of packet ids.
    pub inputs: Vec<StoredInput>,
    /// What has to be told of the store.
    pub notices: Vec<String>,
    /// Files that could not be read.
    pub failures: Vec<String>,
}

/// A file of the store.
#[derive(Clone, Copy)]
struct Table<'a> {
    place: &'a Place,
    part: &'a Part,
    /// The number of its run's first input.
    first_input: u32,
}

/// Looks for indicators in a store.
///
/// # Errors
/// It is no store, or another version's.
pub fn find(root: &Path, indicators: &[Indicator], span: &Span) -> Result<Sought, StoreError> {
    let place = &open(root)?;
    let wanted = Wanted::of(indicators);
    let Settled { is_written, notices, mut failures } = settled(place);
    let _reading = place.reading();
    let Counted { runs, segments: all, bad } = counted(place)?;
    failures.extend(bad.iter().map(ToString::to_string));
    let mut sought = Sought { notices, failures, ..Sought::default() };
    let mut found = Met::new();
    let past = Past::of(runs, &all, 0, is_written);
    sought.failures.extend(past.failures);
    sought.inputs = past.inputs;
    let parts = || all.iter().flat_map(|s| s.parts.iter().map(move |p| (s, p)));
    sought.search.files = parts().count() as u64;
    let in_span: Vec<(&Segment, &Part)> =
        parts().filter(|(_, p)| span.meets(p.site, p.first, p.last)).collect();
    sought.search.in_span = in_span.len() as u64;
    for some in in_span.chunks(FILES) {
        let table = |(segment, part): &(&Segment, &'_ Part)| {
            let first_input = past.first_inputs.get(&segment.run).copied().unwrap_or(0);
            search(Table { place, part, first_input }, &wanted, span)
        };
        for searched in at_once(some, place.at_a_time(), table) {
            match searched {
                Ok(of) => of.join(&mut sought.search, &mut found),
                Err(e) => sought.failures.push(e.to_string()),
            }
        }
    }
    sought.found = found.into_values().collect();
    sought.found.sort_by(|a, b| (a.indicator, a.first, &a.host).cmp(&(b.indicator, b.first, &b.host)));
    Ok(sought)
}

/// Does something of each of these, on so many threads: what came of it, in their order.
fn at_once<T: Sync, R: Send>(
    all: &[T],
    threads: usize,
    each: impl Fn(&T) -> Result<R, StoreError> + Sync,
) -> Vec<Result<R, StoreError>> {
    let next = AtomicUsize::new(0);
    // Each takes whatever is next: some files hold much, and most of them nothing.
    let work = || {
        let take = || next.fetch_add(1, Ordering::Relaxed);
        std::iter::from_fn(|| Some(take())).map_while(|n| Some((n, each(all.get(n)?)))).collect::<Vec<_>>()
    };
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..threads.min(all.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)));
        }
        done
    });
    done.sort_unstable_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, came)| came).collect()
}

/// Each host with each indicator.
type Met = BTreeMap<(usize, String), Found>;

/// What a file holds.
#[derive(Default)]
struct InFile {
    search: Search,
    found: Met,
}

impl InFile {
    /// Adds it to what files before it hold.
    fn join(self, search: &mut Search, found: &mut Met) {
        search.groups += self.search.groups;
        search.read += self.search.read;
        search.rows += self.search.rows;
        search.further += self.search.further;
        for (key, new) in self.found {
            if found.len() >= MOST_HOSTS && !found.contains_key(&key) {
                search.further += new.records.values().sum::<u64>();
                continue;
            }
            match found.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(new);
                }
                Entry::Occupied(mut known) => known.get_mut().join(new),
            }
        }
    }
}

impl Found {
    /// Adds what another file holds of the same.
    fn join(&mut self, other: Self) {
        let Self { remote, first, last, records, uid, proof, .. } = other;
        if first < self.first {
            (self.first, self.remote, self.uid, self.proof) = (first, remote, uid, proof);
        }
        self.last = self.last.max(last);
        for (kind, n) in records {
            *self.records.entry(kind).or_default() += n;
        }
    }
}

fn search(table: Table<'_>, sought: &Wanted, span: &Span) -> Result<InFile, StoreError> {
    let (place, key) = (table.place, &table.part.path);
    let damaged = |e: &dyn std::fmt::Display| place.damaged(key, &e);
    let of_other_types = || damaged(&"its columns are of other types");
    let file = place.open(key, table.part.bytes)?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|e| damaged(&e))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
    let mut of = InFile::default();
    let (mut wanted, mut asked) = (Vec::new(), BTreeSet::new());
    let groups = metadata.metadata().num_row_groups();
    of.search.groups = groups as u64;
    for group in 0..groups {
        let columns = sought.may_be_in(&builder, group).map_err(|e| damaged(&e))?;
        if !columns.is_empty() {
            wanted.push(group);
            asked.extend(columns);
            of.search.rows += metadata.metadata().row_group(group).num_rows() as u64;
        }
    }
    of.search.read = wanted.len() as u64;
    if wanted.is_empty() {
        return Ok(of);
    }
    let file = place.open_whole(key, table.part.bytes)?;
    // Which rows they are, by the columns that may say so, whose dictionaries are looked at once.
    let again = |columns: ArrowReaderMetadata, names: &[&str]| -> Result<_, StoreError> {
        let file = file.try_clone().map_err(StoreError::io("read", &place.shown(key)))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, columns);
        let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        Ok(builder.with_projection(mask).with_row_groups(wanted.clone()).with_batch_size(ROWS))
    };
    let asked: Vec<&str> = asked.into_iter().collect();
    let dictionaries = with_dictionaries(&metadata, &asked).map_err(|e| damaged(&e))?;
    let mut filters = Vec::new();
    for batch in again(dictionaries, &asked)?.build().map_err(|e| damaged(&e))? {
        let batch = batch.map_err(|e| damaged(&e))?;
        filters.push(BooleanArray::from(sought.hits(&batch).ok_or_else(of_other_types)?));
    }
    let selection = RowSelection::from_filters(&filters);
    if !selection.selects_any() {
        return Ok(of);
    }
    let reader = again(metadata, &COLUMNS)?.with_row_selection(selection).build();
    for batch in reader.map_err(|e| damaged(&e))? {
        let batch = batch.map_err(|e| damaged(&e))?;
        look(&batch, table, sought, span, &mut of.search, &mut of.found).ok_or_else(of_other_types)?;
    }
    Ok(of)
}

/// Files whose finds are held until those before them are told.
const FILES: usize = 256;
/// Rows that are looked at together.
const ROWS: usize = 32_768;
/// What is told of a meeting.
const COLUMNS: [&str; 14] = [
    "host",
    "remote",
    "is_primary",
    "known",
    "uid",
    "proof",
    "name",
    "info",
    "answers",
    "uri",
    "ja4",
    "certificate",
    "user_agent",
    "community_id",
];

/// What a file says of itself, where the values of these columns are read as they are written: each once.
fn with_dictionaries(
    metadata: &ArrowReaderMetadata,
    columns: &[&str],
) -> Result<ArrowReaderMetadata, parquet::errors::ParquetError> {
    let field = |field: &FieldRef| {
        if !columns.contains(&field.name().as_str()) {
            return Arc::clone(field);
        }
        let values = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8));
        Arc::new(field.as_ref().clone().with_data_type(values))
    };
    let schema = Schema::new(metadata.schema().fields().iter().map(field).collect::<Vec<_>>());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

fn look(
    batch: &RecordBatch,
    table: Table<'_>,
    wanted: &Wanted,
    span: &Span,
    counts: &mut Search,
    found: &mut Met,
) -> Option<()> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i64>();
    let (host, remote, uid, proof) = (text("host")?, text("remote")?, text("uid")?, text("proof")?);
    let primary = batch.column_by_name("is_primary")?.as_boolean_opt()?;
    let known = batch.column_by_name("known")?.as_primitive_opt::<TimestampNanosecondType>()?;
    let (names, info) = (text("name")?, text("info")?);
    // A flow is told when it begins, while it goes on, and when it is over: it counts once.
    let counts_once = |i: usize| table.part.kind != "conn" || info.value(i) == "closed";
    let columns: Vec<(&str, &Column, &LargeStringArray)> =
        wanted.columns.iter().map(|(c, w)| Some((*c, w, text(c)?))).collect::<Option<_>>()?;
    let mut hits = Vec::new();
    for i in 0..batch.num_rows() {
        let at = Timestamp(known.value(i));
        if !primary.value(i) || !span.has(at) {
            continue;
        }
        hits.clear();
        for (name, column, values) in columns.iter().filter(|(.., values)| values.is_valid(i)) {
            column.of(name, values.value(i), &mut hits);
        }
        hits.sort_unstable();
        hits.dedup();
        for n in hits.iter().copied() {
            let asked = || names.is_valid(i).then(|| names.value(i));
            if wanted.names.get(&n).is_some_and(|name| !asked().is_some_and(|a| a.eq_ignore_ascii_case(name)))
            {
                continue;
            }
            let key = (n, host.value(i).to_owned());
            if found.len() >= MOST_HOSTS && !found.contains_key(&key) {
                counts.further += 1;
                continue;
            }
            let packets = proof.value(i).split(' ').filter_map(PacketId::parse);
            let new = Found {
                indicator: n,
                host: key.1.clone(),
                remote: remote.value(i).to_owned(),
                first: at,
                last: at,
                records: BTreeMap::new(),
                uid: uid.value(i).to_owned(),
                proof: packets.map(|p| p.behind(table.first_input)).collect(),
            };
            let entry = found.entry(key).or_insert_with(|| new.clone());
            if at < entry.first {
                let Found { remote, uid, proof, .. } = new;
                (entry.first, entry.remote, entry.uid, entry.proof) = (at, remote, uid, proof);
            }
            entry.last = entry.last.max(at);
            *entry.records.entry(table.part.kind.clone()).or_default() += u64::from(counts_once(i));
        }
    }
    Some(())
}
