//! What is written is read: whole, in order, once; and found.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{START, files, is_local, read, record, write};
use record::{Record, Timestamp};
use store::{Indicator, Reader, Span, StoreError, Times, Writer, find};

#[test]
fn what_is_written_is_read_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..5_300);
    let (all, reader) = read(&root, Span::default());
    assert_eq!(all, (0..5_300).map(record).collect::<Vec<Record>>());
    assert_eq!((reader.inputs().len(), reader.health().packets), (3, 7));
    assert!(reader.failures().is_empty() && reader.notices() == ["said"]);
    assert!(files(&root.join("hot"), "arrows").is_empty());
}

#[test]
fn runs_are_put_in_one_order_of_time_and_their_packets_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    // The later one first, and they overlap.
    write(&root, 2_000..4_000);
    write(&root, 0..2_500);
    let (all, reader) = read(&root, Span::default());
    assert_eq!(all.len(), 4_500);
    assert!(all.is_sorted_by_key(|r| r.head().known));
    assert_eq!(reader.inputs().len(), 6);
    let files: std::collections::BTreeSet<u32> = all.iter().map(|r| r.head().flow.packet.file()).collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn a_span_leaves_out_what_lies_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..4_000);
    let span = Span {
        since: Some(Timestamp::from_secs(START + 100)),
        until: Some(Timestamp::from_secs(START + 200)),
        sites: Vec::new(),
    };
    let (all, reader) = read(&root, span.clone());
    let expected: Vec<Record> = (0..4_000).map(record).filter(|r| span.has(r.head().known)).collect();
    assert_eq!((all.len(), &all), (400, &expected));
    assert!(reader.notices().iter().any(|n| n.contains("400 records")), "{:?}", reader.notices());
    let elsewhere = Span { sites: vec![4], ..Span::default() };
    assert!(read(&root, elsewhere).0.is_empty());
}

#[test]
fn who_met_what_is_found_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..20_000);
    let all: Vec<Record> = (0..20_000).map(record).collect();
    let at = |text: &str| {
        let sought = find(&root, &[Indicator::of(text).unwrap()], &Span::default()).unwrap();
        assert!(sought.failures.is_empty(), "{:?}", sought.failures);
        sought
    };
    // An address that was asked for and called.
    let ip = "198.18.3.21";
    let met = |r: &&Record| {
        let asked =
            matches!(r, Record::Dns(d) if d.answers.iter().any(|a| a.addr == Some(ip.parse().unwrap())));
        asked || r.tuple().resp.ip.to_string() == ip
    };
    let hosts: std::collections::BTreeSet<String> =
        all.iter().filter(met).map(|r| r.tuple().orig.ip.to_string()).collect();
    let sought = at(ip);
    let found: std::collections::BTreeSet<String> = sought.found.iter().map(|f| f.host.clone()).collect();
    assert!(!hosts.is_empty() && found == hosts, "{found:?} {hosts:?}");
    assert_eq!(sought.found[0].first, all.iter().find(met).unwrap().head().known);
    // Between two local ends a record counts once, for who began.
    let asked = at("WWW5.example.");
    let of: usize = all.iter().filter(|r| matches!(r, Record::Dns(d) if d.query == "www5.example")).count();
    assert_eq!(asked.found.iter().map(|f| f.records["dns"]).sum::<u64>(), of as u64);
    assert!(at("*.example").found.len() > asked.found.len());
    // A fifth of the hosts only ask.
    assert_eq!(at("198.18.0.0/16").found.len(), 80);
    let id = record::CommunityId::of(all[2].tuple()).to_string();
    assert!(at(&id).found.iter().any(|f| f.host == all[2].tuple().orig.ip.to_string()));
    // What is not there costs no rows.
    let nothing = at("203.0.113.77");
    assert!(nothing.found.is_empty() && nothing.search.groups > 20);
    let nothing = at("no.such.name");
    assert!(nothing.found.is_empty());
    assert!(nothing.search.read * 10 <= nothing.search.groups, "{:?}", nothing.search);
}

#[test]
fn an_indicator_is_what_it_looks_like() {
    let of = |text: &str| Indicator::of(text).unwrap();
    assert_eq!(of("198.51.100[.]7"), Indicator::Address("198.51.100.7".parse().unwrap()));
    assert_eq!(of("2001:db8::/32"), Indicator::Network("2001:db8::/32".parse().unwrap()));
    assert_eq!(of("Evil[.]Example."), Indicator::Name("evil.example".into()));
    assert_eq!(of("*.evil.example"), Indicator::Below("evil.example".into()));
    let url = Indicator::Url { name: "evil.example".into(), uri: "/a/b?c=d".into() };
    assert_eq!(of("hxxp://Evil.example/a/b?c=d"), url);
    assert_eq!(
        of("t13d1516h2_8daaf6152771_b186095e22b6"),
        Indicator::Ja4("t13d1516h2_8daaf6152771_b186095e22b6".into())
    );
    assert_eq!(
        of("1:wCb3OG7yAFWelaUydu0D+125CLM="),
        Indicator::CommunityId("1:wCb3OG7yAFWelaUydu0D+125CLM=".into())
    );
    assert_eq!(of("ua:curl/8.0"), Indicator::UserAgent("curl/8.0".into()));
    assert_eq!(of(&"AB".repeat(32)), Indicator::Certificate("ab".repeat(32)));
    assert_eq!(of("::ffff:192.0.2.7"), Indicator::Address("192.0.2.7".parse().unwrap()));
    assert_eq!(of("PC-03"), Indicator::Name("pc-03".into()));
    assert_eq!(of("http://192.0.2.7/24"), Indicator::Url { name: "192.0.2.7".into(), uri: "/24".into() });
    let name = |name: &str| Indicator::Name(name.into());
    for (text, is) in [
        ("192.0.2.7:25", Indicator::Address("192.0.2.7".parse().unwrap())),
        ("[2001:db8::7]:443", Indicator::Address("2001:db8::7".parse().unwrap())),
        ("https://[2001:db8::7]", Indicator::Address("2001:db8::7".parse().unwrap())),
        ("evil.example:8080", name("evil.example")),
        ("http://evil.example:8080", name("evil.example")),
        ("ftp://user@Evil.example", name("evil.example")),
        ("b\u{fc}cher.example", name("xn--bcher-kva.example")),
        ("_dmarc.evil.example", name("_dmarc.evil.example")),
    ] {
        assert_eq!(of(text), is, "{text}");
    }
    for (text, uri) in [
        ("HXXP://evil.example.:8080/a?b#c", "/a?b"),
        ("evil.example/", "/"),
        ("http://evil.example?x=1", "/?x=1"),
    ] {
        assert_eq!(of(text), Indicator::Url { name: "evil.example".into(), uri: uri.into() }, "{text}");
    }
    assert_eq!(of("T13D1516H2_8DAAF6152771_B186095E22B6"), of("t13d1516h2_8daaf6152771_b186095e22b6"));
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    for none in [
        "",
        " ",
        "/gate.php",
        "http:///x",
        md5,
        "192.0.2.0 /24",
        "192.0.2.0/33",
        "192.0.2.256",
        "192.0.2.1-192.0.2.9",
        "192.0.2.7%eth0",
        "02:00:0a:14:00:0d",
        "Mozilla/4.0 (x)",
        "a b",
        "a..b",
    ] {
        assert_eq!(Indicator::of(none), None, "{none:?}");
    }
}

#[test]
fn a_damaged_file_is_named_and_everything_else_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..3_000);
    let broken = files(&root, "r000001-00001.parquet")
        .into_iter()
        .find(|p| p.to_string_lossy().contains("dns"))
        .unwrap();
    let mut bytes = std::fs::read(&broken).unwrap();
    let middle = bytes.len() / 2;
    bytes[4..middle].fill(0xa5);
    std::fs::write(&broken, &bytes).unwrap();
    let (all, reader) = read(&root, Span::default());
    let told = reader.failures().join("\n");
    assert!(told.contains("is damaged") && told.contains(broken.to_str().unwrap()), "{told}");
    let lost = 3_000 - all.len();
    assert!(lost > 100 && lost < 1_000, "{lost}");
    let sought = find(&root, &[Indicator::of("*.example").unwrap()], &Span::default()).unwrap();
    assert_eq!(sought.failures.len(), 1);
}

#[test]
fn a_run_that_was_killed_gives_what_was_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut writer = Writer::begin(&root, &[], is_local).unwrap().in_pieces_of(100, 1000);
    (0..1_234).for_each(|n| writer.record(&record(n)));
    writer.flush().unwrap();
    // Gone without a word; the last batch is torn.
    drop(writer);
    let hot = files(&root.join("hot"), ".arrows").pop().unwrap();
    let bytes = std::fs::read(&hot).unwrap();
    std::fs::write(&hot, &bytes[..bytes.len() - 100]).unwrap();
    let (all, reader) = read(&root, Span::default());
    assert!((1_000..1_234).contains(&all.len()), "{}", all.len());
    assert_eq!(all, (0..all.len() as u64).map(record).collect::<Vec<Record>>());
    let told = reader.notices().join("\n");
    assert!(told.contains("was killed") && told.contains("torn"), "{told}");
    assert!(reader.inputs()[0].path.contains("r000001"));
    // And again, when it is in order.
    assert_eq!(read(&root, Span::default()).0.len(), all.len());
}

/// What is seen of a store while a file of it is somewhere else.
fn without(file: &Path, look: impl FnOnce()) {
    let aside = tempfile::tempdir().unwrap();
    let there = aside.path().join("file");
    std::fs::rename(file, &there).unwrap();
    look();
    std::fs::rename(&there, file).unwrap();
}

#[test]
fn what_names_files_and_is_gone_is_missed_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    (0..2).for_each(|n| write(&root, n * 1_000..n * 1_000 + 1_000));
    let all = files(&root, ".parquet");
    let missed = |gone: &str, says: &str| {
        without(&root.join(gone), || {
            let (left, reader) = read(&root, Span::default());
            assert!(left.len() < 2_000, "{}", left.len());
            let told = reader.failures().join("\n");
            assert!(told.contains(says), "{gone}: {told}");
            drop(reader);
            let sought = store::find(&root, &[], &Span::default()).unwrap();
            assert!(sought.failures.join("\n").contains(says));
            assert!(matches!(store::compact(&root), Err(StoreError::Damaged { .. })));
            assert_eq!(files(&root, ".parquet"), all);
        });
    };
    missed("segments/r000002-00000.json", "of its 1000 records are not there");
    missed("runs/r000001.json", "it is gone");
    missed("runs/r000002.json", "it is gone");
    // Nobody takes its number, nor writes over its files.
    let bytes = || all.iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>();
    let whole = bytes();
    without(&root.join("runs/r000002.json"), || write(&root, 2_000..2_010));
    assert!(root.join("runs/r000003.json").exists());
    assert_eq!(bytes(), whole);
    write(&root, 2_010..2_100);
    assert_eq!(read(&root, Span::default()).0.len(), 2_100, "it was copied again");
    // Of a joined one, which alone says what it was made of, too.
    store::compact(&root).unwrap();
    let joined = files(&root, ".parquet");
    for gone in ["runs/r000004c1.json", "segments/r000004c1-00000.json"] {
        without(&root.join(gone), || {
            let reader = read(&root, Span::default()).1;
            assert_eq!(reader.failures().len(), 1, "{:?}", reader.failures());
            drop(reader);
            assert_eq!(files(&root, ".parquet"), joined);
        });
    }
    assert_eq!(read(&root, Span::default()).0.len(), 2_100);
}

#[test]
fn a_table_that_is_another_or_has_other_bits_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..2_000);
    let table = files(&root, "r000001-00000.parquet").pop().unwrap();
    let whole = std::fs::read(&table).unwrap();
    let told = |bytes: &[u8]| {
        std::fs::write(&table, bytes).unwrap();
        let (left, reader) = read(&root, Span::default());
        assert!(left.len() < 2_000, "{}", left.len());
        assert_eq!(store::check_files(&root).unwrap().failures, reader.failures());
        reader.failures().join("\n")
    };
    let mut bits = whole.clone();
    bits[200] ^= 1;
    assert!(told(&bits).contains("its bytes are not those that were written (CRC-32)"));
    assert!(told(&[&whole[..], b"x"].concat()).contains("and was written with"));
    std::fs::write(&table, &whole).unwrap();
    assert_eq!(read(&root, Span::default()).0.len(), 2_000);
    let checked = store::check_files(&root).unwrap();
    assert!(checked.files > 0 && checked.unsummed == 0 && checked.failures.is_empty());
}

#[test]
fn files_that_no_segment_names_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..2_000);
    let some = files(&root, "r000001-00000.parquet").pop().unwrap();
    let orphan = some.with_file_name("r000009-00000.parquet");
    std::fs::copy(&some, &orphan).unwrap();
    // Of what nobody knows why it lies there nothing is removed.
    for _ in 0..2 {
        let (left, reader) = read(&root, Span::default());
        assert_eq!(left.len(), 2_000);
        assert!(reader.failures().join("").contains("no segment names tables of it"));
        drop(reader);
        assert!(orphan.exists() && some.exists());
    }
}

#[test]
fn one_writes_at_a_time_and_only_into_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let writer = Writer::begin(&root, &[], is_local).unwrap();
    assert!(matches!(Writer::begin(&root, &[], is_local), Err(StoreError::Busy(_))));
    let (_, reader) = read(&root, Span::default());
    assert!(reader.notices()[0].contains("is being written"), "{:?}", reader.notices());
    drop(writer);
    assert!(Writer::begin(&root, &[], is_local).is_ok());
    let other = dir.path().join("photos");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("cat.jpg"), b"x").unwrap();
    assert!(matches!(Writer::begin(&other, &[], is_local), Err(StoreError::Other(_))));
    assert!(matches!(find(&other, &[], &Span::default()), Err(StoreError::Other(_))));
    std::fs::write(root.join("store.json"), r#"{"hydrophone_store":9}"#).unwrap();
    let said = || {
        let Err(e) = Writer::begin(&root, &[], is_local) else { panic!() };
        e.to_string()
    };
    assert!(
        said().contains(
            "of form 9, and this version knows form 5: read it with the version that wrote it, or a newer one"
        ),
        "{}",
        said()
    );
    // An older one says who made it, and what it was made of can be read again.
    std::fs::write(root.join("store.json"), r#"{"hydrophone_store":0,"made_by":"0.0.9"}"#).unwrap();
    let told = said();
    assert!(told.contains("of form 0") && told.contains("hydrophone 0.0.9, which made it"), "{told}");
    assert!(told.contains("runs/*.json"), "{told}");
    assert!(matches!(read_error(&root), StoreError::Version { found: 0, .. }));
}

fn read_error(root: &Path) -> StoreError {
    let Err(e) = Reader::open(root, Span::default(), 0) else { panic!() };
    e
}

#[test]
fn files_are_the_same_however_their_rows_came() {
    let dir = tempfile::tempdir().unwrap();
    let written = |name: &str, batch: usize, kill: bool| {
        let root = dir.path().join(name);
        let mut writer = Writer::begin(&root, &[], is_local).unwrap().in_pieces_of(batch, 2_000);
        (0..5_100).for_each(|n| writer.record(&record(n)));
        if kill {
            writer.flush().unwrap();
            drop(writer);
            read(&root, Span::default());
        } else {
            writer.finish(common::inputs(), true, Vec::new(), Vec::new(), record::Health::default()).unwrap();
        }
        let of =
            |p: std::path::PathBuf| (p.strip_prefix(&root).unwrap().to_owned(), std::fs::read(&p).unwrap());
        files(&root, ".parquet").into_iter().map(of).collect::<Vec<_>>()
    };
    let whole = written("whole", 2_000, false);
    assert_eq!(whole.len(), 12);
    assert!(whole == written("small", 64, false));
    assert!(whole == written("killed", 500, true));
}

#[test]
fn a_writer_that_fails_stops_nobody_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut writer = Writer::begin(&root, &[], is_local).unwrap().in_pieces_of(100, 1_000);
    std::fs::remove_dir(root.join("hot")).unwrap();
    // More than may wait for it.
    (0..50_000).for_each(|n| writer.record(&record(n)));
    let said = writer.finish(common::inputs(), true, Vec::new(), Vec::new(), record::Health::default());
    let said = said.unwrap_err().to_string();
    assert!(said.contains("cannot write") && said.contains("hot"), "{said}");
    // Who asks for the disk in between is told then.
    std::fs::create_dir(root.join("hot")).unwrap();
    let mut writer = Writer::begin(&root, &[], is_local).unwrap();
    std::fs::remove_dir(root.join("hot")).unwrap();
    writer.record(&record(1));
    assert!(matches!(writer.flush(), Err(StoreError::Io { .. })));
    assert!(writer.flush().is_err());
}

#[test]
fn the_form_of_a_record_is_that_of_the_version() {
    // Whoever changes what a record is changes what stores hold: raise `store::VERSION`, and these.
    let form = |n: u64| {
        let bytes = postcard::to_stdvec(&record(n)).unwrap();
        (bytes.len(), record::fnv1a(&bytes))
    };
    let of_version_5 =
        [(77, 9_165_590_974_379_559_233), (108, 4_577_447_273_093_222_960), (116, 7_570_985_904_656_835_819)];
    assert_eq!((store::VERSION, [form(0), form(1), form(2)]), (5, of_version_5));
    // What a run counted stands beside it.
    assert_eq!(postcard::to_stdvec(&record::Health::default()).unwrap().len(), 32);
}

#[test]
fn of_a_run_that_has_not_ended_nothing_is_removed_either() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut writer = Writer::begin(&root, &[], is_local).unwrap().in_pieces_of(100, 500);
    (0..1_234).for_each(|n| writer.record(&record(n)));
    writer.flush().unwrap();
    drop(writer);
    let tables = files(&root, ".parquet");
    let note = files(&root.join("segments"), ".json").pop().unwrap();
    without(&note, || {
        let failures = read(&root, Span::default()).1.failures().join("");
        assert!(failures.contains("no segment names tables of it"), "{failures}");
        assert!(tables.iter().all(|table| table.exists()));
    });
    assert_eq!(read(&root, Span::default()).0.len(), 1_234);
}

#[test]
fn a_kill_in_the_first_batch_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut writer = Writer::begin(&root, &[], is_local).unwrap();
    (0..3_000).for_each(|n| writer.record(&record(n)));
    writer.flush().unwrap();
    drop(writer);
    let hot = files(&root.join("hot"), ".arrows").pop().unwrap();
    let bytes = std::fs::read(&hot).unwrap();
    assert!(bytes.len() > 100_000);
    std::fs::write(&hot, &bytes[..60_000]).unwrap();
    let (all, reader) = read(&root, Span::default());
    assert!(all.is_empty() && reader.failures().is_empty(), "{:?}", reader.failures());
    assert!(reader.notices().join("").contains("what came last was torn"));
}

#[test]
fn what_others_put_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    write(&root, 0..100);
    let table = files(&root, ".parquet").pop().unwrap();
    let theirs =
        ["mine.parquet", "Copy of r000001-00000.parquet", "r000001-00000-backup.parquet", "r1-0.parquet"];
    for name in theirs {
        std::fs::copy(&table, table.with_file_name(name)).unwrap();
    }
    std::fs::write(table.with_file_name("r000001-00001.part"), "left by a kill").unwrap();
    assert_eq!(read(&root, Span::default()).0.len(), 100);
    assert!(theirs.iter().all(|name| table.with_file_name(name).exists()));
    assert!(!table.with_file_name("r000001-00001.part").exists());
}

#[test]
fn times_meet_and_hold() {
    let times = |since: Option<i64>, until: Option<i64>| Times {
        since: since.map(Timestamp),
        until: until.map(Timestamp),
    };
    let all = Times::default();
    let (early, late, empty) = (times(None, Some(5)), times(Some(5), None), times(Some(5), Some(5)));
    assert!(!early.meet(&late) && early.meet(&all) && late.meet(&times(Some(1), Some(6))));
    assert!(!empty.meet(&all) && !all.meet(&empty));
    assert!(
        all.hold(&early) && late.hold(&times(Some(7), Some(8))) && !early.hold(&all) && !early.hold(&late)
    );
}
