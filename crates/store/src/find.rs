//! Who met an address, a name, a certificate: asked of months, answered from the few groups of rows that can hold it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, BooleanArray, LargeStringArray, RecordBatch};
use ipnet::IpNet;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::file::statistics::Statistics;
use record::{PacketId, Timestamp};

use crate::place::{Blob, Place};
use crate::read::{Past, settled};
use crate::{Part, Segment, Span, StoreError, StoredInput, open, segments};

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
    /// What a text is an indicator of, by its form; defanged ones are understood. A user agent says so: `ua:TEXT`.
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        if let Some(agent) = text.strip_prefix("ua:") {
            return Self::UserAgent(agent.to_owned());
        }
        let plain = text.replace("[.]", ".").replace("[:]", ":").replace("hxxp", "http");
        if let Ok(ip) = plain.parse() {
            return Self::Address(ip);
        }
        if let Ok(net) = plain.parse() {
            return Self::Network(net);
        }
        let is_hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
        if plain.len() == 64 && is_hex(&plain) {
            return Self::Certificate(plain.to_ascii_lowercase());
        }
        if plain.starts_with("1:") && plain.ends_with('=') {
            return Self::CommunityId(plain);
        }
        if is_ja4(&plain) {
            return Self::Ja4(plain);
        }
        let rest = plain.strip_prefix("http://").or_else(|| plain.strip_prefix("https://")).unwrap_or(&plain);
        if let Some((name, path)) = rest.split_once('/') {
            return Self::Url { name: name.to_ascii_lowercase(), uri: format!("/{path}") };
        }
        let name = rest.trim_end_matches('.').to_ascii_lowercase();
        match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            Some(below) => Self::Below(below.to_owned()),
            None => Self::Name(name),
        }
    }
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

    /// Which rows hold something of it; those of a batch whose columns are of other types all may.
    fn hits(&self, batch: &RecordBatch) -> BooleanArray {
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i64>();
        let columns: Option<Vec<(&str, &Column, &LargeStringArray)>> =
            self.columns.iter().map(|(c, w)| Some((*c, w, text(c)?))).collect();
        let Some(columns) = columns else { return vec![true; batch.num_rows()].into() };
        let mut hits = Vec::new();
        let mut is_hit = |row: usize| {
            hits.clear();
            for (name, column, values) in columns.iter().filter(|(.., values)| values.is_valid(row)) {
                column.of(name, values.value(row), &mut hits);
            }
            !hits.is_empty()
        };
        (0..batch.num_rows()).map(|row| Some(is_hit(row))).collect()
    }

    /// Whether a group of rows may hold something of it, by what its columns say of themselves.
    fn may_be_in(
        &self,
        file: &ParquetRecordBatchReaderBuilder<Blob>,
        group: usize,
    ) -> Result<bool, parquet::errors::ParquetError> {
        let metadata = file.metadata().row_group(group);
        for (i, column) in metadata.columns().iter().enumerate() {
            let name = column.column_path().string();
            let Some(wanted) = self.columns.get(name.as_str()) else { continue };
            let rows = metadata.num_rows() as u64;
            if column.statistics().and_then(Statistics::null_count_opt).is_some_and(|nulls| nulls >= rows) {
                continue;
            }
            // An answer holds several values, of which a filter would know the text as a whole.
            let one_value = wanted.networks.is_empty() && wanted.below.is_empty() && name != "answers";
            let filter = if one_value { file.get_row_group_column_bloom_filter(group, i)? } else { None };
            if filter.is_none_or(|f| wanted.values.keys().any(|v| f.check(&v.as_str()))) {
                return Ok(true);
            }
        }
        Ok(false)
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
    let wanted = Arc::new(Wanted::of(indicators));
    let notices = settled(place);
    let _reading = place.reading();
    let (all, bad) = segments(place)?;
    let failures = bad.iter().map(ToString::to_string).collect();
    let mut sought = Sought { notices, failures, ..Sought::default() };
    let mut found: BTreeMap<(usize, String), Found> = BTreeMap::new();
    let past = Past::of(place, &all, 0)?;
    sought.failures.extend(past.failures);
    sought.inputs = past.inputs;
    let parts = || all.iter().flat_map(|s| s.parts.iter().map(move |p| (s, p)));
    sought.search.files = parts().count() as u64;
    let in_span: Vec<(&Segment, &Part)> =
        parts().filter(|(_, p)| span.meets(p.site, p.first, p.last)).collect();
    sought.search.in_span = in_span.len() as u64;
    for some in in_span.chunks(place.at_a_time()) {
        for ((segment, part), may_hold) in some.iter().zip(may_hold(place, &wanted, some)) {
            let first_input = past.first_inputs.get(&segment.run).copied().unwrap_or(0);
            let table = Table { place, part, first_input };
            let searched = may_hold.and_then(|groups| {
                sought.search.groups += groups.all;
                sought.search.read += groups.wanted.len() as u64;
                search(table, groups, &wanted, span, &mut sought.search, &mut found)
            });
            if let Err(e) = searched {
                sought.failures.push(e.to_string());
            }
        }
    }
    sought.found = found.into_values().collect();
    sought.found.sort_by(|a, b| (a.indicator, a.first, &a.host).cmp(&(b.indicator, b.first, &b.host)));
    Ok(sought)
}

/// The groups of rows of a file.
struct Groups {
    all: u64,
    /// Those that may hold something.
    wanted: Vec<usize>,
    /// What the file says of itself.
    metadata: ArrowReaderMetadata,
}

/// The groups that may hold something, of each of these files; where they lie far away, of all of them at a time.
fn may_hold(
    place: &Place,
    wanted: &Arc<Wanted>,
    files: &[(&Segment, &Part)],
) -> Vec<Result<Groups, StoreError>> {
    let groups = |part: &Part| groups(place, part, wanted);
    if let [(_, part)] = files {
        return vec![groups(part)];
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = files.iter().map(|(_, part)| scope.spawn(|| groups(part))).collect();
        let stopped = |_| Err(StoreError::Stopped);
        threads.into_iter().map(|t| t.join().unwrap_or_else(stopped)).collect()
    })
}

fn groups(place: &Place, part: &Part, sought: &Wanted) -> Result<Groups, StoreError> {
    let key = &part.path;
    let damaged = |e: &dyn std::fmt::Display| place.damaged(key, &e);
    let file = place.open(key, part.bytes)?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|e| damaged(&e))?;
    let all = metadata.metadata().num_row_groups();
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
    let mut wanted = Vec::new();
    for group in 0..all {
        if sought.may_be_in(&builder, group).map_err(|e| damaged(&e))? {
            wanted.push(group);
        }
    }
    Ok(Groups { all: all as u64, wanted, metadata })
}

fn search(
    table: Table<'_>,
    groups: Groups,
    sought: &Arc<Wanted>,
    span: &Span,
    counts: &mut Search,
    found: &mut BTreeMap<(usize, String), Found>,
) -> Result<(), StoreError> {
    if groups.wanted.is_empty() {
        return Ok(());
    }
    let key = &table.part.path;
    let damaged = |e: &dyn std::fmt::Display| table.place.damaged(key, &e);
    let file = table.place.open_whole(key)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, groups.metadata);
    let columns = [
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
    let schema = builder.parquet_schema();
    let mask = ProjectionMask::columns(schema, columns);
    // The other columns of a row are read only where it is one that is looked for.
    let asked = ProjectionMask::columns(schema, sought.columns.keys().copied());
    let (wanted, groups) = (Arc::clone(sought), groups.wanted);
    let is_hit = ArrowPredicateFn::new(asked, move |batch| Ok(wanted.hits(&batch)));
    counts.rows += groups.iter().map(|g| builder.metadata().row_group(*g).num_rows() as u64).sum::<u64>();
    let builder = builder.with_row_filter(RowFilter::new(vec![Box::new(is_hit)]));
    let reader = builder.with_projection(mask).with_row_groups(groups).build();
    for batch in reader.map_err(|e| damaged(&e))? {
        let batch = batch.map_err(|e| damaged(&e))?;
        look(&batch, table, sought, span, counts, found)
            .ok_or_else(|| damaged(&"its columns are of other types"))?;
    }
    Ok(())
}

fn look(
    batch: &RecordBatch,
    table: Table<'_>,
    wanted: &Arc<Wanted>,
    span: &Span,
    counts: &mut Search,
    found: &mut BTreeMap<(usize, String), Found>,
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
