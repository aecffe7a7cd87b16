//! Records that rest are asked again: the same stories, and who met what.

mod common;
#[path = "../../store/tests/common/s3.rs"]
mod s3;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::{hydrophone, read_json, run, sample};
use s3::{BUCKET, Server};
use serde_json::Value;

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The hosts' lines alone: the capture's own names files and hashes.
fn hosts(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|l| l["type"] == "host").collect()
}

#[test]
fn what_was_not_read_to_its_end_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, store) = (dir.path().join("whole"), dir.path().join("store"));
    let capture = sample("office-day.pcapng.zst");
    let read = |into: &Path| run(&["read", utf8(&capture), "--store", utf8(into), "--quiet"]);
    let rows = |of: &Path| run(&["find", utf8(of), "10.20.0.13", "--json"]).1;
    assert_eq!(read(&whole).0, Some(0));
    // Killed when some of it is on the disk, twice, and asked to end soon after it began.
    let hit = |signal: &str| {
        let mut reading = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
            .args(["read", utf8(&capture), "--store", utf8(&store), "--quiet"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let hot = store.join("hot");
        let files = || {
            let all = std::fs::read_dir(&hot).into_iter().flatten().flatten().map(|e| e.path());
            all.filter(|p| p.is_file()).collect::<BTreeSet<_>>()
        };
        let before = files();
        let is_there = || files().difference(&before).next().is_some();
        if signal == "-INT" {
            std::thread::sleep(Duration::from_millis(50));
        }
        while signal != "-INT" && reading.try_wait().unwrap().is_none() && !is_there() {
            std::thread::yield_now();
        }
        let id = reading.id().to_string();
        std::process::Command::new("kill").args([signal, &id]).status().unwrap();
        let code = reading.wait().unwrap().code();
        // Who is asked to end says so itself, once it listens.
        code != Some(0) && (signal != "-INT" || code.is_some())
    };
    // Anew where one was done before it was hit.
    let caught = (0..20).any(|_| {
        let _ = std::fs::remove_dir_all(&store);
        ["-KILL", "-KILL", "-INT"].into_iter().all(hit)
    });
    assert!(caught, "it was never caught at it");
    let (code, _, err) = read(&store);
    assert!(code == Some(0) && err.contains("is read anew"), "{code:?} {err}");
    assert_eq!(rows(&store), rows(&whole));
    assert_eq!(hosts(&read_json(&[utf8(&store)])), hosts(&read_json(&[utf8(&whole)])));
    let (code, _, err) = read(&store);
    assert!(code == Some(2) && err.contains("was read into it before"), "{err}");
}

#[test]
fn what_is_read_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let (capture, copy) = (dir.path().join("a.pcapng"), dir.path().join("b.pcapng"));
    std::fs::copy(sample("clean-monitor.pcapng"), &capture).unwrap();
    std::fs::copy(sample("clean-monitor.pcapng"), &copy).unwrap();
    let read = |what: &Path| run(&["read", utf8(what), "--store", utf8(&store), "--quiet"]);
    let told = || run(&["read", utf8(&store), "--json", "--quiet"]).1;
    assert_eq!(read(&capture).0, Some(0));
    let once = told();
    for again in [&capture, &copy, &dir.path().to_owned()] {
        let (code, _, err) = read(again);
        assert!(code == Some(2) && err.contains("was read into it before"), "{err}");
        assert_eq!(told(), once);
    }
    // Nothing lies between them.
    let (code, _, err) = run(&["read", utf8(&capture), "--since", "2026-11-02", "--until", "2026-11-01"]);
    assert!(code == Some(2) && err.contains("is not before --until"), "{err}");
    // A log that has grown, and one that was written anew under the same name.
    let (zeek, log) = (dir.path().join("zeek"), dir.path().join("conn.log"));
    run(&["read", "-q", utf8(&sample("kraken-old.pcapng")), "--format", &format!("zeek={}", zeek.display())]);
    let all = std::fs::read_to_string(zeek.join("conn.log")).unwrap();
    let half = all[..all.len() / 2].rfind('\n').unwrap() + 1;
    std::fs::write(&log, &all[..half]).unwrap();
    assert_eq!(read(&log).0, Some(0));
    std::fs::write(&log, &all).unwrap();
    let (code, _, err) = read(&log);
    assert!(code == Some(2) && err.contains("and has grown since"), "{err}");
    let other: String = all.split_inclusive('\n').filter(|l| !l.contains("\t53\t")).collect();
    std::fs::write(&log, other).unwrap();
    assert_eq!(read(&log).0, Some(0));
}

#[test]
fn a_store_tells_the_stories_that_the_captures_told() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["kraken-new", "kraken-old", "kraken-mutated", "clean-mail-server", "clean-bittorrent-vpn"] {
        let store = dir.path().join(name);
        let capture = sample(&format!("{name}.pcapng"));
        let direct = read_json(&[utf8(&capture)]);
        let kept = read_json(&[utf8(&capture), "--store", utf8(&store)]);
        let again = read_json(&[utf8(&store)]);
        assert_eq!(hosts(&direct), hosts(&kept), "{name}");
        assert_eq!(hosts(&direct), hosts(&again), "{name}");
        // And what the capture was worth.
        for key in ["packets", "bytes", "flows", "first", "last", "home", "complete", "anomalies"] {
            assert_eq!(direct[0][key], again[0][key], "{name} {key}");
        }
        assert!(again[0]["inputs"][0]["sha256"].is_string(), "{}", again[0]["inputs"]);
    }
}

#[test]
fn several_runs_and_a_capture_are_one_story() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, days) = (dir.path().join("store"), ["kraken-new", "clean-browser-news"]);
    let captures: Vec<_> = days.iter().map(|d| sample(&format!("{d}.pcapng"))).collect();
    let together = read_json(&[utf8(&captures[0]), utf8(&captures[1])]);
    for capture in &captures {
        read_json(&[utf8(capture), "--store", utf8(&store)]);
    }
    let verdict = |l: &&Value| (l["host"].clone(), l["verdict"].clone(), l["level_db"].clone());
    let of = |lines: &[Value]| hosts(lines).iter().map(verdict).collect::<Vec<_>>();
    assert_eq!(of(&together), of(&read_json(&[utf8(&store)])));
    // A store beside a capture that is not in it.
    let half = dir.path().join("half");
    read_json(&[utf8(&captures[0]), "--store", utf8(&half)]);
    assert_eq!(of(&together), of(&read_json(&[utf8(&half), utf8(&captures[1])])));
    // Packets are those of the right file.
    let again = read_json(&[utf8(&captures[1]), utf8(&half)]);
    let bot = common::host(&again, testkit::BOT);
    let packet = bot["evidence"][0]["packets"][0].as_str().expect("a packet").to_owned();
    assert!(packet.starts_with("1:"), "{packet}");
    assert!(again[0]["inputs"][1]["path"].as_str().is_some_and(|p| p.ends_with("kraken-new.pcapng")));
}

#[test]
fn who_met_what_is_told_with_its_proof() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    let capture = sample("kraken-new.pcapng");
    read_json(&[utf8(&capture), "--store", utf8(&store)]);
    let lines = read_json(&[utf8(&capture)]);
    let remote = common::host(&lines, testkit::BOT)["evidence"][0]["remotes"][0]
        .as_str()
        .expect("a remote")
        .to_owned();
    let (code, out, err) = run(&["find", utf8(&store), &remote, "203.0.113.99", "--explain"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("met by 1 host") && out.contains(testkit::BOT), "{out}");
    assert!(out.contains("met by nobody: 203.0.113[.]99") && out.contains("looked at:"), "{out}");
    let json = hydrophone().args(["find", utf8(&store), &remote, "--json"]).output().expect("it runs");
    let found: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!((&found["type"], &found["host"]), (&"found".into(), &testkit::BOT.into()));
    assert!(found["input"].as_str().is_some_and(|p| p.ends_with("kraken-new.pcapng")), "{found}");
    // A list of indicators.
    let list = dir.path().join("list.txt");
    std::fs::write(&list, format!("# mine\n{remote}\nno.such.example\n")).expect("written");
    let (_, out, _) = run(&["find", utf8(&store), "--intel", utf8(&list)]);
    assert!(out.contains("met by 1 host") && out.contains("no.such[.]example"), "{out}");
    // Before it happened.
    let (_, out, _) = run(&["find", utf8(&store), &remote, "--until", "2008-04-08"]);
    assert!(out.contains("met by nobody"), "{out}");
}

#[test]
fn what_another_threshold_would_change_is_told_with_its_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, case) = (dir.path().join("store"), dir.path().join("case"));
    let capture = sample("kraken-new.pcapng");
    run(&["read", utf8(&capture), "--store", utf8(&store), "-o", utf8(&case), "--quiet"]);
    let (_, out, err) = run(&["read", utf8(&store), "--against", utf8(&case), "--quiet"]);
    assert!(out.contains(": 0 of ") && out.contains("verdicts differ"), "{out}{err}");
    let expect = dir.path().join("expect.toml");
    let text = format!(
        "[[expect]]\nname = \"test\"\nwho = [\"{}\"]\nbehaviours = []\nwhy = \"a test\"\nowner = \"us\"\nuntil = \"2099-01-01\"\n",
        testkit::BOT
    );
    std::fs::write(&expect, text).expect("written");
    let (code, out, err) =
        run(&["read", utf8(&store), "--against", utf8(&case), "--expect", utf8(&expect), "--quiet"]);
    assert!(out.contains(testkit::BOT) && out.contains("→ quiet"), "{code:?} {out}{err}");
    assert!(out.contains("no more: spam_run") && out.contains("because it is expected"), "{out}");
}

#[test]
fn what_cannot_be_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = sample("kraken-blocked.pcapng");
    let photos = dir.path().join("photos");
    std::fs::create_dir(&photos).expect("made");
    std::fs::write(photos.join("cat.jpg"), "x").expect("written");
    let (code, _, err) = run(&["read", utf8(&capture), "--store", utf8(&photos)]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains(
            "is no store that hydrophone wrote: `read --store` makes one in an empty or a new folder"
        ),
        "{err}"
    );
    let (code, _, err) = run(&["find", utf8(&photos), "1.2.3.4"]);
    assert_eq!((code, err.contains("is no store")), (Some(2), true), "{err}");
    let store = dir.path().join("store");
    run(&["read", utf8(&capture), "--store", utf8(&store), "--quiet"]);
    let (code, _, err) = run(&["read", utf8(&store), "--store", utf8(&store)]);
    assert_eq!((code, err.contains("is read: name another store")), (Some(2), true), "{err}");
    let (code, _, err) = run(&["find", utf8(&store), "1.2.3.4", "--since", "yesterday"]);
    assert_eq!((code, err.contains("is no time: write 2026-11-01")), (Some(2), true), "{err}");
    let (code, _, err) = run(&["read", utf8(&capture), "--site", "1"]);
    assert_eq!((code, err.contains("none is read")), (Some(2), true), "{err}");
    let (code, _, err) = run(&["find", utf8(&store)]);
    assert_eq!((code, err.contains("<INDICATOR>")), (Some(2), true), "{err}");
}

#[test]
fn a_store_that_cannot_be_written_takes_nothing_from_the_story() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    std::fs::create_dir_all(store.join("kind=conn")).expect("made");
    let form = format!(r#"{{"hydrophone_store":{}}}"#, store::VERSION);
    std::fs::write(dir.path().join("store/store.json"), form).expect("written");
    // A file where a folder has to be.
    std::fs::write(store.join("kind=conn/day=2008-04-08"), "x").expect("written");
    let capture = sample("kraken-new.pcapng");
    let (code, out, err) = run(&["read", utf8(&capture), "--store", utf8(&store), "--quiet"]);
    assert_eq!(code, Some(3), "{err}");
    assert!(out.contains("INFECTED  10.20.0.13") && out.contains("not all of it was kept"), "{out}");
}

#[test]
fn a_store_is_looked_after_and_tells_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    for name in ["kraken-new", "clean-browser-news", "clean-mail-server"] {
        run(&["read", utf8(&sample(&format!("{name}.pcapng"))), "--store", utf8(&store), "--quiet"]);
    }
    let blocked =
        testkit::scenarios::ALL.iter().find(|(name, _)| *name == "kraken-blocked").expect("a scenario").1;
    let next_day = dir.path().join("next-day.pcapng");
    std::fs::write(&next_day, blocked().on_days(&[1]).pcapng()).expect("written");
    run(&["read", utf8(&next_day), "--store", utf8(&store), "--quiet"]);
    let before = read_json(&[utf8(&store)]);
    let (code, out, err) = run(&["store", "compact", utf8(&store)]);
    assert!(code == Some(0) && out.starts_with("joined: ") && out.contains("4 runs are now"), "{out}{err}");
    let (_, out, _) = run(&["store", "compact", utf8(&store)]);
    assert!(out.starts_with("nothing to join: "), "{out}");
    let after = read_json(&[utf8(&store)]);
    assert_eq!((hosts(&before), &before[0]["inputs"]), (hosts(&after), &after[0]["inputs"]));
    // The bot's is a story of two days.
    let (code, out, _) = run(&["store", "prune", utf8(&store), "--keep-days", "1", "--dry-run"]);
    assert!(code == Some(0) && out.starts_with("would remove 2008-04-08: "), "{out}");
    assert_eq!(hosts(&read_json(&[utf8(&store)])), hosts(&before));
    let (_, out, _) = run(&["store", "prune", utf8(&store), "--keep-days", "1"]);
    assert!(out.starts_with("removed 2008-04-08: ") && out.contains("\nkept 2008-04-09: 1 day, "), "{out}");
    let left = read_json(&[utf8(&store)]);
    let notices = left[0]["notices"].to_string();
    assert!(notices.contains("before 2008-04-09 was removed from the store"), "{notices}");
    assert!(left[0]["first"].as_str() >= Some("2008-04-09"), "{}", left[0]["first"]);
    let (_, out, _) = run(&["store", "prune", utf8(&store), "--keep-bytes", "1B"]);
    assert!(out.contains("nothing to remove") && out.contains("the last day alone takes more"), "{out}");
}

#[test]
fn looking_after_what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    run(&["read", utf8(&sample("kraken-blocked.pcapng")), "--store", utf8(&store), "--quiet"]);
    for args in [
        &["store"][..],
        &["store", "prune", utf8(&store)],
        &["store", "prune", utf8(&store), "--keep-days", "0"],
        &["store", "prune", utf8(&store), "--keep-days", "1", "--keep-bytes", "1GiB"],
        &["store", "compact", utf8(dir.path())],
    ] {
        assert_eq!(run(args).0, Some(2), "{args:?}");
    }
    let (_, page, _) = run(&["man"]);
    assert!(page.contains("store\\-prune") && page.contains("keep\\-days"), "the manual page has them");
}

#[test]
fn a_day_that_rows_came_to_later_is_marked() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    let notices = |lines: &[Value]| lines[0]["notices"].to_string();
    read_json(&[utf8(&sample("kraken-new.pcapng")), "--store", utf8(&store)]);
    assert!(!notices(&read_json(&[utf8(&store)])).contains("rows came to days"));
    let late = read_json(&[utf8(&sample("clean-mail-server.pcapng")), "--store", utf8(&store)]);
    assert!(notices(&late).contains("that were analysed before: 2008-04-0"), "{}", notices(&late));
    let marked = notices(&read_json(&[utf8(&store)]));
    assert!(marked.contains("rows came to days after these were analysed: 2008-04-0"), "{marked}");
    assert!(!notices(&read_json(&[utf8(&store)])).contains("rows came to days"), "it was analysed since");
}

#[test]
fn a_store_in_a_bucket_tells_what_one_in_a_folder_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path());
    let env = server.env(&dir.path().join("state"));
    let with = |env: &[(&'static str, String)], args: &[&str]| {
        let out = hydrophone().envs(env.iter().cloned()).args(args).output().expect("it runs");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let run = |args: &[&str]| with(&env, args);
    let (folder, bucket) = (dir.path().join("folder"), format!("s3://{BUCKET}/network/north"));
    let captures = ["kraken-new", "clean-browser-news", "clean-mail-server"]
        .map(|name| sample(&format!("{name}.pcapng")));
    for capture in &captures {
        for store in [utf8(&folder), &bucket] {
            let (code, _, err) = run(&["read", utf8(capture), "--store", store, "--quiet"]);
            assert_eq!((code, err.as_str()), (Some(0), ""));
        }
    }
    let same = |args: &[&str]| {
        let at = |store: &str| {
            let args: Vec<&str> = args.iter().map(|a| if *a == "STORE" { store } else { a }).collect();
            let (code, out, err) = run(&args);
            assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
            out
        };
        let (here, there) = (at(utf8(&folder)), at(&bucket));
        assert_eq!(here, there, "{args:?}");
        here
    };
    assert!(same(&["read", "STORE", "--quiet"]).contains("INFECTED  10.20.0.13"));
    assert!(same(&["read", "STORE", "--json", "--quiet"]).contains(testkit::BOT));
    assert!(same(&["find", "STORE", testkit::BOT, "no.such.example", "--explain"]).contains("met by 1 host"));
    assert!(same(&["store", "compact", "STORE"]).starts_with("joined: "));
    assert!(same(&["read", "STORE", "--quiet"]).contains("INFECTED  10.20.0.13"));
    assert!(same(&["find", "STORE", "10.20.0.0/24", "--json"]).contains("\"found\""));
    // A capture and a bucket are one story; a case of it lies here.
    let case = dir.path().join("case");
    let (code, out, err) =
        run(&["read", &bucket, utf8(&sample("clean-bittorrent-vpn.pcapng")), "-o", utf8(&case)]);
    assert!(code == Some(0) && out.contains("INFECTED  10.20.0.13"), "{out}{err}");
    let (code, _, err) = run(&["serve", &bucket]);
    assert!(code == Some(2) && err.contains("say where with -o CASE"), "{err}");
    // What cannot be is said, and soon.
    let (code, _, err) = run(&["read", &format!("s3://{BUCKET}/nothing")]);
    assert!(code == Some(2) && err.contains("is no store that hydrophone wrote"), "{err}");
    for none in ["s3://", "s3:///", "s3:///x"] {
        let (code, _, err) = run(&["read", none]);
        assert!(code == Some(2) && err.contains("it names no bucket: s3://BUCKET/PREFIX"), "{none}: {err}");
    }
    for endpoint in ["nonsense", "http://", "http:// x", "ftp://a.example"] {
        let mut wrong = env.clone();
        wrong.push(("AWS_ENDPOINT_URL", endpoint.into()));
        let (code, _, err) = with(&wrong, &["find", &bucket, "1.2.3.4"]);
        assert!(
            code == Some(2) && err.contains("and no http://HOST:PORT or https://HOST"),
            "{endpoint}: {err}"
        );
    }
    let mut wrong = env.clone();
    wrong.push(("AWS_SECRET_ACCESS_KEY", "another".into()));
    let (code, _, err) = with(&wrong, &["find", &bucket, "1.2.3.4"]);
    assert!(
        code == Some(3) && err.contains("cannot read s3://sensors/network/north/store.json"),
        "{code:?} {err}"
    );
    wrong.push(("AWS_ENDPOINT_URL", "http://127.0.0.1:1".into()));
    let (code, _, err) = with(&wrong, &["find", &bucket, "1.2.3.4"]);
    assert!(code == Some(3) && err.contains("127.0.0.1:1"), "{code:?} {err}");
    // Its old days are forgotten.
    let later = dir.path().join("later.pcapng");
    let kraken =
        testkit::scenarios::ALL.iter().find(|(name, _)| *name == "kraken-new").expect("a scenario").1;
    std::fs::write(&later, kraken().on_days(&[3]).pcapng()).expect("written");
    for store in [utf8(&folder), &bucket] {
        run(&["read", utf8(&later), "--store", store, "--quiet"]);
    }
    assert!(same(&["store", "prune", "STORE", "--keep-days", "1", "--dry-run"]).starts_with("would remove "));
    assert!(same(&["store", "prune", "STORE", "--keep-days", "1"]).starts_with("removed "));
    assert!(same(&["find", "STORE", "10.20.0.0/16", "--json"]).contains("2008-04-11"));
    assert!(same(&["read", "STORE", "--quiet"]).contains("INFECTED  10.20.0.13"));
    // Somebody else's is left alone.
    std::fs::create_dir_all(dir.path().join(BUCKET).join("photos")).expect("made");
    std::fs::write(dir.path().join(BUCKET).join("photos/cat.jpg"), "x").expect("written");
    let photos = format!("s3://{BUCKET}/photos");
    let (code, _, err) = run(&["read", utf8(&captures[0]), "--store", &photos, "--quiet"]);
    assert!(code == Some(2) && err.contains("makes one in an empty or a new folder"), "{err}");
}

#[test]
fn a_read_that_was_killed_clears_nobody_until_it_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let capture = sample("kraken-new.pcapng");
    let mut killed = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
        .args(["read", "-q", "-", "--store", utf8(&store)])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It waits for the rest.
    let bytes = std::fs::read(&capture).unwrap();
    std::io::Write::write_all(killed.stdin.as_mut().unwrap(), &bytes[..100_000]).unwrap();
    let note = store.join("runs/r000001.json");
    while !std::fs::read_to_string(&note).is_ok_and(|n| n.contains("\"ends\": true")) {
        assert_eq!(killed.try_wait().unwrap(), None);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    for _ in 0..2 {
        let (code, out, err) = run(&["find", utf8(&store), "198.18.9.25"]);
        assert!(code == Some(3) && err.contains("was killed while it read"), "{out}{err}");
        let lines = read_json(&[utf8(&store)]);
        assert_eq!(lines[0]["complete"], false);
    }
}

#[test]
fn parts_of_a_file_share_no_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let capture = sample("kraken-new.pcapng");
    let read = |part: &[&str]| {
        let args = [&["read", "-q", utf8(&capture), "--store", utf8(&store)][..], part].concat();
        let (code, _, err) = run(&args);
        assert!(code == Some(0) || err.contains("was read into it before"), "{part:?}: {err}");
        code.unwrap()
    };
    let (first, second) = ("2008-04-08T09:05:00Z", "2008-04-08T09:10:00Z");
    assert_eq!(read(&["--until", first]), 0);
    assert_eq!(read(&["--until", first]), 2, "a job that ran again");
    assert_eq!(read(&["--since", first, "--until", second]), 0);
    assert_eq!(read(&["--since", "2008-04-08T09:09:59Z"]), 2);
    assert_eq!(read(&[]), 2);
    // To its end, as far as it goes now.
    assert_eq!(read(&["--since", second]), 0);
    assert_eq!(read(&["--since", "2008-04-08T09:20:00Z"]), 2);
    let last = read_json(&[utf8(&capture)])[0]["last"].as_str().unwrap().to_owned();
    assert_eq!(read(&["--since", &last]), 2, "the last moment is of it");
    assert_eq!(read(&["--since", "2008-04-08T10:00:00Z"]), 0, "what may have come since");
    let packets = |lines: &[Value]| lines[0]["packets"].as_u64().unwrap();
    assert_eq!(packets(&read_json(&[utf8(&store)])), packets(&read_json(&[utf8(&capture)])));
}
