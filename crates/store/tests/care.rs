//! Joining, forgetting and marking: the same records in fewer files, no older days than are wanted, and days that rows came to later.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{files, read, record, write};
use record::Record;
use store::{Indicator, Keep, Reader, Span, StoreError, compact, find, prune};

/// Records of a day.
const DAY: u64 = 4 * 86_400;

fn parquet(root: &Path) -> Vec<PathBuf> {
    files(root, ".parquet")
}

/// What a search tells: the host, when it met it first, its packets, and how many records of each kind.
type Met = (String, String, Vec<String>, BTreeMap<String, u64>);

/// Everything that a search tells.
fn met(root: &Path, what: &str) -> Vec<Met> {
    let sought = find(root, &[Indicator::of(what).unwrap()], &Span::default()).unwrap();
    assert!(sought.failures.is_empty(), "{:?}", sought.failures);
    let of = |f: store::Found| {
        let proof =
            f.proof.iter().map(|p| format!("{} {}", sought.inputs[p.file() as usize].path, p.number()));
        (f.host, f.first.to_string(), proof.collect(), f.records)
    };
    sought.found.clone().into_iter().map(of).collect()
}

#[test]
fn joined_runs_tell_the_same_records_in_the_same_order() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    // By the hour, two at once, and one that came late.
    for hour in [0, 1, 2, 3, 5, 4] {
        write(&root, hour * 400..hour * 400 + 500);
    }
    let (before, reader) = read(&root, Span::default());
    let (inputs, health, notices) = (reader.inputs().to_vec(), reader.health(), reader.notices());
    drop(reader);
    let searches = ["198.18.3.21", "*.example", "10.0.0.200", "10.0.0.7"];
    let found: Vec<_> = searches.iter().map(|s| met(&root, s)).collect();
    assert!(found.iter().all(|f| !f.is_empty()));
    let done = compact(&root).unwrap();
    assert_eq!((done.runs, done.files), ((6, 1), (18, 3)));
    assert_eq!(parquet(&root).len(), 3);
    let (after, reader) = read(&root, Span::default());
    assert!(after == before);
    assert_eq!((reader.inputs(), reader.health(), reader.notices()), (&inputs[..], health, notices));
    assert!(reader.failures().is_empty());
    drop(reader);
    assert_eq!(searches.iter().map(|s| met(&root, s)).collect::<Vec<_>>(), found);
    // There is nothing to do any more, and the next run goes on behind it.
    let again = compact(&root).unwrap();
    assert_eq!((again.runs, again.files), ((1, 1), (3, 3)));
    write(&root, 9_000..9_100);
    let (all, reader) = read(&root, Span::default());
    assert_eq!((all.len(), reader.inputs().len()), (before.len() + 100, inputs.len() + 3));
    assert!(files(&root.join("runs"), ".json").iter().any(|p| p.ends_with("r000007.json")));
}

#[test]
fn what_was_joined_is_not_written_again_for_every_few_that_come() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    (0..4).for_each(|n| write(&root, n * 500..n * 500 + 500));
    compact(&root).unwrap();
    let large = parquet(&root);
    (0..2).for_each(|n| write(&root, 2_000 + n * 100..2_100 + n * 100));
    let before = read(&root, Span::default()).0;
    let done = compact(&root).unwrap();
    assert_eq!(done.runs, (3, 2));
    assert!(large.iter().all(|p| p.exists()), "{large:?}");
    assert!(read(&root, Span::default()).0 == before && before.len() == 2_200);
    // When as much has come, all of it is one.
    (0..20).for_each(|n| write(&root, 2_200 + n * 100..2_300 + n * 100));
    let before = read(&root, Span::default()).0;
    assert_eq!(compact(&root).unwrap().runs, (22, 1));
    assert!(read(&root, Span::default()).0 == before && before.len() == 4_200);
}

#[test]
fn a_run_in_many_pieces_is_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..8_000);
    let before = parquet(&root).len();
    let done = compact(&root).unwrap();
    assert_eq!((done.runs, done.files), ((1, 1), (before as u64, 3)));
    assert_eq!(read(&root, Span::default()).0, (0..8_000).map(record).collect::<Vec<Record>>());
}

#[test]
fn what_is_read_stays_until_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    (0..3).for_each(|n| write(&root, n * 500..n * 500 + 500));
    let mut reader = Reader::open(&root, Span::default(), 0).unwrap();
    assert!(reader.next(None).is_some());
    let before = parquet(&root);
    compact(&root).unwrap();
    prune(&root, Keep::Bytes(0), false).unwrap();
    assert!(before.iter().all(|p| p.exists()), "the files of who reads");
    let rest = std::iter::from_fn(|| reader.next(None)).count();
    assert_eq!((rest, reader.failures().len()), (1_499, 0));
    drop(reader);
    assert_eq!(read(&root, Span::default()).0.len(), 1_500);
    assert_eq!(parquet(&root).len(), 3, "and then they go");
}

#[test]
fn a_store_in_which_something_is_damaged_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    (0..3).for_each(|n| write(&root, n * 500..n * 500 + 500));
    let broken = parquet(&root).into_iter().find(|p| p.to_string_lossy().contains("dns")).unwrap();
    let mut bytes = std::fs::read(&broken).unwrap();
    let middle = bytes.len() / 2;
    bytes[4..middle].fill(0xa5);
    std::fs::write(&broken, &bytes).unwrap();
    let before = parquet(&root);
    assert!(matches!(compact(&root), Err(StoreError::Damaged { .. })));
    let (all, reader) = read(&root, Span::default());
    assert!(all.len() > 1_300 && reader.failures().len() == 1);
    drop(reader);
    assert_eq!(parquet(&root), before);
}

#[test]
fn old_days_are_forgotten_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    // A run of two days, one of the second, one of the fourth.
    let first_midnight = 25_600;
    write(&root, first_midnight - 300..first_midnight + 300);
    write(&root, first_midnight + 300..first_midnight + 800);
    write(&root, first_midnight + 2 * DAY..first_midnight + 2 * DAY + 400);
    let all = read(&root, Span::default()).0;
    let dry = prune(&root, Keep::Days(3), true).unwrap();
    assert_eq!(dry.days.iter().map(|d| d.day.as_str()).collect::<Vec<_>>(), ["2023-11-14"]);
    assert_eq!(read(&root, Span::default()).0, all, "it was only asked");
    assert_eq!(prune(&root, Keep::Days(3), false).unwrap(), dry);
    let (left, reader) = read(&root, Span::default());
    assert_eq!(left, all[300..]);
    assert!(reader.failures().is_empty());
    let told = reader.notices().join("\n");
    assert!(told.contains("before 2023-11-15 was removed"), "{told}");
    drop(reader);
    assert!(!root.join("kind=conn/day=2023-11-14").exists());
    assert_eq!(prune(&root, Keep::Days(3), false).unwrap().days, []);
    // By a day that has not come yet nothing is forgotten, and it stays.
    let second = record(first_midnight).head().known;
    let kept = prune(&root, Keep::DaysUntil(1, second), true).unwrap();
    assert_eq!((kept.days.len(), kept.left.len()), (0, 2));
    // Of the first two runs nothing is left.
    let done = prune(&root, Keep::Days(1), false).unwrap();
    assert_eq!((done.days.len(), done.runs, done.left.len()), (1, 2, 1));
    let (left, reader) = read(&root, Span::default());
    assert_eq!((left.len(), reader.inputs().len()), (400, 3));
    drop(reader);
    // The last day stays, whatever it takes.
    let done = prune(&root, Keep::Bytes(1), false).unwrap();
    assert_eq!((done.days.len(), done.left.len(), done.left[0].bytes > 1), (0, 1, true));
}

#[test]
fn the_last_days_that_fit_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    (0..4).for_each(|day| write(&root, 30_000 + day * DAY..30_500 + day * DAY));
    let all = prune(&root, Keep::Bytes(u64::MAX), true).unwrap();
    let bytes: Vec<u64> = all.left.iter().map(|d| d.bytes).collect();
    assert_eq!((bytes.len(), all.days.len()), (4, 0));
    let exact = prune(&root, Keep::Bytes(bytes[2] + bytes[3]), true).unwrap();
    assert_eq!((exact.days.len(), exact.left.len()), (2, 2));
    let less = prune(&root, Keep::Bytes(bytes[2] + bytes[3] - 1), false).unwrap();
    assert_eq!((less.days.len(), less.runs), (3, 3));
    assert_eq!(read(&root, Span::default()).0.len(), 500);
}

#[test]
fn rows_that_come_after_their_day_was_analysed_mark_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let judged = || {
        let mut reader = Reader::open(&root, Span::default(), 0).unwrap();
        while reader.next(None).is_some() {}
        let told: Vec<String> = reader.notices().into_iter().filter(|n| n.contains("rows came")).collect();
        reader.analysed().note().unwrap();
        told
    };
    write(&root, 30_000..30_500);
    write(&root, 30_000 + DAY..30_500 + DAY);
    assert!(judged().is_empty() && judged().is_empty());
    // A later day is no surprise.
    write(&root, 30_000 + 2 * DAY..30_100 + 2 * DAY);
    assert!(judged().is_empty());
    // Rows of the first day.
    let written = common::written(&root, 31_000..31_200);
    let told = written.notice.unwrap();
    assert!(told.contains("2023-11-15 (240)") && told.contains("analysed before"), "{told}");
    // What only joins changes no day.
    compact(&root).unwrap();
    let told = judged().join("\n");
    assert!(told.contains("after these were analysed: 2023-11-15 (240);"), "{told}");
    assert!(judged().is_empty(), "it was analysed since");
    // A part of a day is not the day.
    write(&root, 31_200..31_210);
    let until = record::Timestamp::parse("2023-11-15T12:00:00Z");
    let reader = Reader::open(&root, Span { until, ..Span::default() }, 0).unwrap();
    assert!(reader.notices().iter().any(|n| n.contains("2023-11-15")));
    reader.analysed().note().unwrap();
    drop(reader);
    assert_eq!(judged().len(), 1);
}

#[test]
fn what_a_cluster_told_of_days_that_are_gone_goes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let first_midnight = 25_600;
    write(&root, first_midnight - 300..first_midnight);
    write(&root, first_midnight + 2 * DAY..first_midnight + 2 * DAY + 400);
    // Analyses: of both days, of the last one, of another file of that name, of nothing that can be read, and one that goes on.
    let catalog = store::Catalog::open(&root, Span::default(), 0).unwrap();
    let told = |files: &[store::TableFile], more: u64| {
        let of = |f: &store::TableFile| serde_json::json!({"path": f.path, "bytes": f.bytes + more, "crc32": f.crc32});
        serde_json::json!({ "files": files.iter().map(of).collect::<Vec<_>>() }).to_string()
    };
    let all = catalog.files();
    let last: Vec<store::TableFile> =
        all.iter().filter(|f| f.path.contains("day=2023-11-17")).cloned().collect();
    assert!(!last.is_empty() && last.len() < all.len());
    let put = |id: &str, manifest: Option<String>| {
        let folder = root.join("analyses").join(id);
        std::fs::create_dir_all(folder.join("parts")).unwrap();
        std::fs::write(folder.join("parts/a.parquet"), "hosts").unwrap();
        if let Some(text) = manifest {
            std::fs::write(folder.join("MANIFEST.json"), text).unwrap();
        }
    };
    let there = || -> Vec<String> {
        let names = std::fs::read_dir(root.join("analyses")).into_iter().flatten().flatten();
        let mut names: Vec<String> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    put("both", Some(told(&all, 0)));
    put("last", Some(told(&last, 0)));
    put("other", Some(told(&last, 1)));
    put("unread", Some("{".to_owned()));
    put("begun", None);
    // Joining nothing removes what nobody can go on from, and not what is under way; not while somebody reads.
    assert!(prune(&root, Keep::Days(9), false).unwrap().waits);
    assert_eq!(there().len(), 5);
    drop(catalog);
    compact(&root).unwrap();
    assert_eq!(there(), ["begun", "both", "last"]);
    let reads = store::Catalog::open(&root, Span::default(), 0).unwrap();
    assert!(prune(&root, Keep::Days(1), false).unwrap().waits, "somebody reads");
    drop(reads);
    // Asked again, there is no day to forget any more, and what told of it goes.
    let again = prune(&root, Keep::Days(1), false).unwrap();
    assert_eq!((again.days.len(), again.waits), (0, false));
    assert_eq!(there(), ["begun", "last"]);
}
