//! What is asked of the flows of a case, and what comes.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::LazyLock;

use case::{Cell, FlowError, FlowWriter, Flows, Kind, Local, Query, Span};
use common::{Run, sample};
use record::{Segment, Timestamp};

const KINDS: [Kind; 4] = [Kind::Flow, Kind::Dns, Kind::Web, Kind::Mail];
const BOT: &str = "10.20.0.13";

static OFFICE: LazyLock<Run> = LazyLock::new(|| Run::of(&sample("office-day.pcapng.zst")));

/// A quarter of the flows of an office's day, every second of which was seen in VLAN 12.
fn flows(dir: &Path) -> Flows {
    let path = dir.join("flows.sqlite");
    let mut writer = FlowWriter::create(&path).unwrap();
    let rows = OFFICE.records.iter().filter(|r| !matches!(r, record::Record::File(_)));
    for mut record in rows.step_by(4).cloned() {
        let tagged = record.head().flow.packet.number() % 2 == 0;
        record.head_mut().segment = tagged.then_some(Segment::Vlan(12));
        writer.record(&record);
    }
    writer.finish().unwrap();
    Flows::open(&path).unwrap()
}

/// Every row of a kind that a search finds, page by page.
fn rows(flows: &Flows, query: &Query) -> Vec<Vec<Cell>> {
    let mut all = Vec::new();
    loop {
        let page =
            flows.page(&Query { page: (all.len() as u64).div_ceil(query.rows), ..query.clone() }).unwrap();
        all.extend_from_slice(&page.rows);
        if all.len() as u64 >= page.total {
            assert_eq!(all.len() as u64, page.total);
            return all;
        }
        assert_eq!(page.rows.len() as u64, query.rows, "a page before the last is full");
    }
}

fn each(rows: &[Vec<Cell>]) -> Vec<String> {
    let mut all: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    all.sort_unstable();
    all
}

fn place(kind: Kind, column: &str) -> usize {
    kind.columns().iter().position(|c| *c == column).unwrap()
}

/// As SQLite has them: nothing, then numbers, then texts.
fn less_or_same(a: &Cell, b: &Cell) -> bool {
    let number = |c: &Cell| match c {
        Cell::Whole(n) => Some(*n as f64),
        Cell::Number(x) => Some(*x),
        _ => None,
    };
    match (a, b) {
        (Cell::None, _) => true,
        (Cell::Text(a), Cell::Text(b)) => a <= b,
        (a, b) => number(a).is_some_and(|a| number(b).is_none_or(|b| a <= b) && *b != Cell::None),
    }
}

#[test]
fn pages_hold_every_row_once_in_the_order_of_any_column() {
    let dir = tempfile::tempdir().unwrap();
    let flows = flows(dir.path());
    for kind in KINDS {
        let all = rows(&flows, &Query { rows: 1_000, ..Query::of(kind) });
        assert!(all.len() > 100, "{} of {kind:?}", all.len());
        for (at, column) in kind.columns().iter().enumerate() {
            for descending in [false, true] {
                let query = Query { sort: (*column).into(), descending, rows: 97, ..Query::of(kind) };
                let sorted = rows(&flows, &query);
                let fits = |a: &[Cell], b: &[Cell]| {
                    if descending { less_or_same(&b[at], &a[at]) } else { less_or_same(&a[at], &b[at]) }
                };
                assert!(sorted.is_sorted_by(|a, b| fits(a, b)), "{kind:?} by {column}, {descending}");
                assert!(each(&sorted) == each(&all), "{kind:?} by {column}: not every row once");
            }
        }
        let unknown = Query { sort: "id; DROP TABLE flow".into(), rows: 1_000, ..Query::of(kind) };
        assert!(rows(&flows, &unknown) == all, "by time");
        let far = flows.page(&Query { page: u64::MAX, rows: u64::MAX, ..Query::of(kind) }).unwrap();
        assert_eq!((far.rows.len(), far.total), (0, all.len() as u64));
        let wide = flows.page(&Query { rows: u64::MAX, ..Query::of(kind) }).unwrap();
        assert!(wide.rows.len() <= 1_000);
    }
}

/// Whether a row, whose cells are had by column, fits.
type Fits<'a> = &'a dyn Fn(&dyn Fn(&'static str) -> Cell) -> bool;

#[test]
fn a_search_finds_the_rows_that_it_describes_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let flows = flows(dir.path());
    let text = |c: &Cell| c.text().unwrap_or_default().to_lowercase();
    let whole = |c: Cell| c.whole().unwrap_or(-1);
    let searches: [(Kind, &str, Fits); 17] = [
        (Kind::Flow, "service:smtp", &|of| text(&of("service")) == "smtp"),
        (Kind::Flow, "resp_p:25 state:SF", &|of| whole(of("resp_p")) == 25 && text(&of("state")) == "sf"),
        (Kind::Flow, "resp_bytes:>5000", &|of| whole(of("resp_bytes")) > 5_000),
        (Kind::Flow, "orig_pkts:<=3 orig_pkts:>=2", &|of| (2..=3).contains(&whole(of("orig_pkts")))),
        (Kind::Flow, "segment:vlan12", &|of| text(&of("segment")) == "vlan12"),
        (Kind::Flow, "resp:198.18.*", &|of| text(&of("resp")).starts_with("198.18.")),
        (Kind::Dns, "rcode:3 query:*example", &|of| {
            whole(of("rcode")) == 3 && text(&of("query")).ends_with("example")
        }),
        (Kind::Dns, "score:>-3.4", &|of| matches!(of("score"), Cell::Number(x) if x > -3.4)),
        (Kind::Web, "kind:http POST", &|of| {
            let words = ["host", "remote", "name", "detail", "agent"];
            text(&of("kind")) == "http" && words.iter().any(|c| text(&of(c)).contains("post"))
        }),
        (Kind::Flow, "resp_bytes:>1k", &|of| whole(of("resp_bytes")) > 1_000),
        (Kind::Flow, "25", &|of| whole(of("resp_p")) == 25 || whole(of("orig_p")) == 25),
        (Kind::Flow, "-resp_p:25", &|of| whole(of("resp_p")) != 25),
        (Kind::Flow, "198.18.0.0/16 -service:smtp", &|of| {
            ["orig", "resp"].iter().any(|c| text(&of(c)).starts_with("198.18."))
                && text(&of("service")) != "smtp"
        }),
        (Kind::Dns, "-example", &|of| {
            ["host", "query", "answers"].iter().all(|c| !text(&of(c)).contains("example"))
        }),
        (Kind::Web, "remote:198.18.0.0/17", &|of| {
            let third = text(&of("remote"))
                .strip_prefix("198.18.")
                .and_then(|r| r.split('.').next()?.parse::<u8>().ok());
            third.is_some_and(|n| n < 128)
        }),
        (Kind::Mail, "messages:>0", &|of| whole(of("messages")) > 0),
        (Kind::Mail, "%", &|_| false),
    ];
    for (kind, search, fits) in searches {
        let found = rows(&flows, &Query { search: search.into(), ..Query::of(kind) });
        let all = rows(&flows, &Query { rows: 1_000, ..Query::of(kind) });
        let want: Vec<&Vec<Cell>> = all.iter().filter(|row| fits(&|c| row[place(kind, c)].clone())).collect();
        assert!(found.iter().eq(want.iter().copied()), "{search}: {} and {} rows", found.len(), want.len());
        assert!(search == "%" || (!want.is_empty() && want.len() < all.len()), "{search} parts nothing");
    }
}

#[test]
fn a_search_that_is_not_understood_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let flows = flows(dir.path());
    let ask = |search: &str| flows.page(&Query { search: search.into(), ..Query::of(Kind::Dns) });
    let long = "x".repeat(501);
    let many = "x ".repeat(25);
    for (search, why) in [
        ("resp_bytes:>5", "\"resp_bytes\" is no column here; these are: ts, host, server"),
        ("id:1", "\"id\" is no column"),
        ("host:", "host: says no value"),
        ("-host:", "host: says no value"),
        ("score:>abc", "score:>abc: \"abc\" is no number"),
        ("rcode:<=", "\"\" is no number"),
        (&long, "at most 24 words and 500 characters"),
        (&many, "at most 24 words"),
    ] {
        match ask(search) {
            Err(FlowError::Search(told)) => assert!(told.contains(why), "{search}: {told}"),
            other => panic!("{search}: {other:?}"),
        }
    }
    for address in ["fe80::1", "fd::1", "dead:beef::1"] {
        assert_eq!(ask(address).unwrap().total, 0, "{address} is looked for, and is no column");
    }
}

#[test]
fn times_are_within_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let flows = flows(dir.path());
    for kind in KINDS {
        let all = rows(&flows, &Query::of(kind));
        let at = |row: &Vec<Cell>| Timestamp(row[0].whole().unwrap());
        let (from, to) = (at(&all[all.len() / 3]), at(&all[all.len() / 2]));
        let some = rows(&flows, &Query { from: Some(from), to: Some(to), ..Query::of(kind) });
        let want = all.iter().filter(|r| (from..=to).contains(&at(r)));
        assert!(some.len() > 1 && some.iter().eq(want), "{kind:?}");
    }
}

#[test]
fn what_a_host_is_told_is_of_its_own_segment() {
    let dir = tempfile::tempdir().unwrap();
    let flows = flows(dir.path());
    let host: std::net::IpAddr = BOT.parse().unwrap();
    let all = rows(&flows, &Query::of(Kind::Flow));
    let mut seen = 0;
    for segment in [Some("vlan12"), Some(""), None] {
        let local = Local { host, segment: segment.map(str::to_owned) };
        let of = |kind: Kind| rows(&flows, &Query { local: Some(local.clone()), ..Query::of(kind) });
        let own = |row: &&Vec<Cell>| {
            row[2].text() == Some(BOT) && segment.is_none_or(|s| row[21].text() == Some(s))
        };
        let mine: Vec<&Vec<Cell>> = all.iter().filter(own).collect();
        let theirs = |row: &&Vec<Cell>| {
            row[4].text() == Some(BOT) && segment.is_none_or(|s| row[21].text() == Some(s))
        };
        assert_eq!(of(Kind::Flow).len(), mine.len() + all.iter().filter(theirs).count());
        assert!(of(Kind::Dns).iter().all(|r| segment.is_none_or(|s| r[10].text() == Some(s))));

        let whole = |row: &[Cell], column: &str| row[place(Kind::Flow, column)].whole().unwrap();
        let peers = flows.peers(&local, Span::ALL, 9_999).unwrap();
        assert!(peers.is_sorted_by(|a, b| a.flows >= b.flows), "most flows first");
        assert_eq!(peers.iter().map(|p| p.flows).sum::<i64>(), mine.len() as i64);
        for peer in &peers {
            let with: Vec<_> = mine.iter().filter(|r| r[4].text() == Some(&peer.remote)).collect();
            let sum = |column: &str| with.iter().map(|r| whole(r, column)).sum::<i64>();
            assert_eq!((peer.out, peer.back), (sum("orig_bytes"), sum("resp_bytes")));
            let times: Vec<i64> = with.iter().map(|r| whole(r, "ts")).collect();
            assert_eq!((times.iter().min(), times.iter().max()), (Some(&peer.first), Some(&peer.last)));
            let calls = flows.contacts(&local, peer.remote.parse().unwrap(), Span::ALL).unwrap();
            assert_eq!(calls.iter().map(|c| c.0).collect::<Vec<_>>(), times);
        }
        assert_eq!(flows.peers(&local, Span::ALL, 2).unwrap(), peers[..2]);
        assert!(
            flows.ports(&local).unwrap().iter().eq(mine
                .iter()
                .map(|r| whole(r, "resp_p"))
                .collect::<std::collections::BTreeSet<_>>()
                .iter())
        );

        let mails = of(Kind::Mail);
        let minutes = flows.mail_by_minute(&local, Span::ALL).unwrap();
        assert!(minutes.is_sorted_by(|a, b| a.0 < b.0) && minutes.iter().all(|m| m.0 % 60_000_000_000 == 0));
        assert_eq!(minutes.iter().map(|m| m.1).sum::<i64>(), mails.len() as i64);
        assert_eq!(
            minutes.iter().map(|m| m.2).sum::<i64>(),
            mails.iter().map(|r| r[6].whole().unwrap()).sum::<i64>()
        );
        seen += mine.len();
    }
    assert_eq!(
        seen,
        2 * all.iter().filter(|r| r[2].text() == Some(BOT)).count(),
        "each segment has its part"
    );
}

#[test]
fn a_flow_is_found_by_its_name_and_called_by_what_resolved_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let flows = flows(dir.path());
    let all = rows(&flows, &Query { rows: 1_000, ..Query::of(Kind::Flow) });
    for row in all.iter().step_by(50) {
        assert_eq!(flows.flow(row[20].text().unwrap()).unwrap().as_ref(), Some(row));
    }
    assert_eq!(flows.flow("1' OR '1'='1").unwrap(), None);
    let answers = rows(&flows, &Query { rows: 1_000, ..Query::of(Kind::Dns) });
    let mut named = 0;
    for row in &all {
        let Some(name) = row[18].text() else { continue };
        let told = |a: &&Vec<Cell>| {
            a[3].text() == Some(name) && a[6].text().unwrap_or_default().contains(row[4].text().unwrap())
        };
        assert!(answers.iter().any(|a| told(&a)), "{row:?}");
        named += 1;
    }
    assert!(named > 10);
}

#[test]
fn what_is_no_whole_file_of_flows_is_told_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    drop(flows(dir.path()));
    let bytes = std::fs::read(dir.path().join("flows.sqlite")).unwrap();
    let open = |bytes: &[u8]| {
        let path = dir.path().join("other.sqlite");
        std::fs::write(&path, bytes).unwrap();
        Flows::open(&path).err().map(|e| e.to_string())
    };
    assert_eq!(open(&bytes), None);
    for cut in (0..bytes.len()).step_by(4096 * 8).chain([1, 100, bytes.len() - 4096]) {
        assert!(open(&bytes[..cut]).is_some(), "cut to {cut} of {}", bytes.len());
    }
    assert!(open(b"no database at all, but longer than a head of one would be: a hundred bytes and some, that are not it").is_some());
    // The form, which SQLite keeps for its users at byte 60.
    let mut older = bytes;
    older[63] = 1;
    let told = open(&older).unwrap();
    assert!(told.contains("form 1") && told.contains("read the capture again with -o"), "{told}");
    assert!(FlowWriter::create(&dir.path().join("flows.sqlite")).is_err(), "one is there");
}
