//! Records of several runs in one order of time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, UInt64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use record::{Record, Timestamp};

use crate::place::{Blob, Place};
use crate::{Part, Segment, Span, StoreError};

/// A record as a segment holds it.
pub struct Held {
    /// Its place in its run.
    pub seq: u64,
    /// It itself, its inputs numbered as those of the whole.
    pub record: Record,
    /// The local end that its row is of, and whether that is the record's own; only where rows are wanted.
    pub stands: Option<(String, bool)>,
}

/// One run's records, segment by segment.
struct Stream {
    /// The number that its first input has in the whole.
    first_input: u32,
    segments: VecDeque<Segment>,
    /// Those of the segment that is read, in order.
    ready: VecDeque<Held>,
}

impl Stream {
    /// When its next record became known, or the earliest that this may be where its segment was not read; none at its end.
    fn begins(&mut self, span: &Span) -> Option<Timestamp> {
        if let Some(next) = self.ready.front() {
            return Some(next.record.head().known);
        }
        loop {
            let parts = &self.segments.front()?.parts;
            let wanted = parts.iter().filter(|p| span.meets(p.site, p.first, p.last));
            if let Some(first) = wanted.map(|p| p.first).min() {
                return Some(first);
            }
            self.segments.pop_front();
        }
    }
}

/// Several runs. Of each there is one segment in memory, and none before its turn comes.
pub struct Merge {
    place: Place,
    span: Span,
    /// Whether every row is wanted, or every record once.
    rows: bool,
    streams: Vec<Stream>,
    /// Each stream that is not over, by when it goes on.
    turns: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Files that could not be read.
    pub failures: Vec<StoreError>,
}

impl Merge {
    /// Of these runs: the number of the first input of each, and its segments.
    pub fn of(place: &Place, span: &Span, runs: Vec<(u32, VecDeque<Segment>)>) -> Self {
        let stream = |(first_input, segments)| Stream { first_input, segments, ready: VecDeque::new() };
        let mut streams: Vec<Stream> = runs.into_iter().map(stream).collect();
        let turns = streams.iter_mut().enumerate().filter_map(|(n, s)| Some(Reverse((s.begins(span)?, n))));
        let turns = turns.collect();
        let (place, span) = (place.clone(), span.clone());
        Self { place, span, rows: false, streams, turns, failures: Vec::new() }
    }

    /// Gives every row: of a record between two local ends there are two.
    pub fn rows(mut self) -> Self {
        self.rows = true;
        self
    }

    /// The next that became known until then; nothing where all of them became known later, or none is left.
    pub fn next(&mut self, until: Option<Timestamp>) -> Option<Held> {
        loop {
            let Reverse((known, n)) = *self.turns.peek()?;
            if until.is_some_and(|until| known > until) {
                return None;
            }
            self.turns.pop();
            let next = self.streams[n].ready.pop_front();
            if next.is_none() {
                self.read(n);
            }
            if let Some(begins) = self.streams[n].begins(&self.span) {
                self.turns.push(Reverse((begins, n)));
            }
            if let Some(mut next) = next {
                next.record.renumber(self.streams[n].first_input);
                return Some(next);
            }
        }
    }

    /// Reads a run's next segment.
    fn read(&mut self, n: usize) {
        let Some(segment) = self.streams[n].segments.pop_front() else { return };
        let mut held = Vec::new();
        for part in &segment.parts {
            if !self.span.meets(part.site, part.first, part.last) {
                continue;
            }
            if let Err(e) = read_part(&self.place, part, &self.span, self.rows, &mut held) {
                self.failures.push(e);
            }
        }
        let primary = |h: &Held| h.stands.as_ref().is_none_or(|(_, primary)| *primary);
        held.sort_by_key(|h| (h.seq, !primary(h)));
        self.streams[n].ready = held.into();
    }
}

/// Reads what is wanted of a file.
fn read_part(
    place: &Place,
    part: &Part,
    span: &Span,
    rows: bool,
    into: &mut Vec<Held>,
) -> Result<(), StoreError> {
    let key = part.path.as_str();
    let damaged = |e: &dyn std::fmt::Display| place.damaged(key, &e);
    let builder =
        ParquetRecordBatchReaderBuilder::<Blob>::try_new(place.open_sure(part)?).map_err(|e| damaged(&e))?;
    let wanted = ["known", "seq", "is_primary", "record", "host"];
    let wanted = &wanted[..if rows { 5 } else { 4 }];
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|e| damaged(&e))?;
    let before = into.len();
    let done = take(place, key, reader, span, rows, into);
    if done.is_err() {
        // Of a file that is damaged nothing is believed.
        into.truncate(before);
    }
    done
}

fn take(
    place: &Place,
    key: &str,
    reader: ParquetRecordBatchReader,
    span: &Span,
    rows: bool,
    into: &mut Vec<Held>,
) -> Result<(), StoreError> {
    let damaged = |e: &dyn std::fmt::Display| place.damaged(key, &e);
    for batch in reader {
        let batch = batch.map_err(|e| damaged(&e))?;
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| damaged(&format!("it has no column {name}")))
        };
        let of_other_types = || damaged(&"its columns are of other types");
        let known = column("known")?.as_primitive_opt::<TimestampNanosecondType>();
        let seq = column("seq")?.as_primitive_opt::<UInt64Type>();
        let (primary, record) =
            (column("is_primary")?.as_boolean_opt(), column("record")?.as_binary_opt::<i64>());
        let (Some(known), Some(seq), Some(primary), Some(record)) = (known, seq, primary, record) else {
            return Err(of_other_types());
        };
        let hosts = if rows {
            Some(column("host")?.as_string_opt::<i64>().ok_or_else(of_other_types)?)
        } else {
            None
        };
        for i in 0..batch.num_rows() {
            if (rows || primary.value(i)) && span.has(Timestamp(known.value(i))) {
                let told = postcard::from_bytes(record.value(i)).map_err(|e| damaged(&e))?;
                let stands = hosts.map(|hosts| (hosts.value(i).to_owned(), primary.value(i)));
                into.push(Held { seq: seq.value(i), record: told, stands });
            }
        }
    }
    Ok(())
}
