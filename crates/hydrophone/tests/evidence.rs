//! The packets that prove a story, what is handed over, and what hostile words do to it.

mod common;

use std::path::{Path, PathBuf};

use common::{run, sample};
use testkit::{BOT, Script, bots, scenarios};

fn good(args: &[&str]) -> String {
    let (code, out, err) = run(args);
    assert_eq!(code, Some(0), "{args:?}: {err}");
    out
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn case_of(dir: &Path, capture: &Path) -> PathBuf {
    let case = dir.join("case");
    good(&["read", "--quiet", utf8(capture), "-o", utf8(&case)]);
    case
}

fn case_of_script(dir: &Path, script: Script) -> PathBuf {
    let path = dir.join("scenario.pcapng");
    std::fs::write(&path, script.pcapng()).expect("written");
    case_of(dir, &path)
}

fn hosts(case: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(case.join("case.jsonl")).expect("a case");
    text.lines().skip(1).map(|l| serde_json::from_str(l).expect("JSON")).collect()
}

#[test]
fn the_slice_of_every_scenario_tells_its_story_again() {
    let study = scenarios::ALL.iter().filter(|s| s.0.starts_with("kraken"));
    for (name, make) in bots::ALL.iter().chain(study) {
        let dir = tempfile::tempdir().expect("a folder");
        let case = case_of_script(dir.path(), make());
        let slice = dir.path().join("slice.pcapng");
        let told = good(&["carve", utf8(&case), BOT, "-w", utf8(&slice)]);
        assert!(told.contains("the evidence is the same"), "{name}: {told}");
    }
}

#[test]
fn the_slices_of_real_captures_tell_their_stories_again() {
    let corpus = std::env::var_os("HYDROPHONE_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(corpus.join("bots")) else {
        common::skipped("no corpus");
        return;
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    let mut checked = 0;
    for file in files.iter().step_by(4) {
        let dir = tempfile::tempdir().expect("a folder");
        let case = case_of(dir.path(), file);
        for host in hosts(&case) {
            if !["suspicious", "likely", "infected"].contains(&host["verdict"].as_str().expect("a verdict")) {
                continue;
            }
            let ip = host["host"].as_str().expect("an address");
            let told = good(&["carve", utf8(&case), ip, "-w", utf8(&dir.path().join("slice.pcapng"))]);
            assert!(told.contains("the evidence is the same"), "{}: {told}", file.display());
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked} real captures");
}

#[test]
fn one_piece_of_evidence_alone_and_wrong_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = case_of(dir.path(), &sample("kraken-new.pcapng"));
    let slice = dir.path().join("slice.pcapng");
    let page = std::fs::read_to_string(case.join("report.html")).expect("a report");
    let at = page.find("<code>smtp_probe/probe</code>").expect("evidence in the report");
    let id = &page[at..][page[at..].find("id <code>").expect("an id") + 9..][..10];
    let told = good(&["carve", utf8(&case), BOT, "--evidence", id, "-w", utf8(&slice)]);
    assert!(told.contains("the evidence is the same"), "{told}");
    let lines = common::read_json(&[utf8(&slice), "--home", "10.0.0.0/8"]);
    let bot = common::host(&lines, BOT);
    let fired = bot["evidence"].as_array().expect("evidence");
    assert!(fired.iter().any(|e| e["behaviour"] == "smtp_probe"));
    assert!(!fired.iter().any(|e| e["behaviour"] == "spam_run"), "only what was asked for");
    let (code, _, err) = run(&["carve", utf8(&case), BOT, "--evidence", "nonsense", "-w", utf8(&slice)]);
    assert!(code == Some(2) && err.contains("nonsense"), "{err}");
    let (code, _, err) = run(&["carve", utf8(&case), "10.9.9.9", "-w", utf8(&slice)]);
    assert!(code == Some(2) && err.contains("10.20.0.13"), "{err}");
}

#[test]
fn a_capture_that_is_gone_or_another_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = dir.path().join("c.pcapng");
    std::fs::copy(sample("kraken-new.pcapng"), &capture).expect("copied");
    let case = case_of(dir.path(), &capture);
    let slice = dir.path().join("slice.pcapng");
    std::fs::write(&capture, b"other").expect("written");
    let (code, _, err) = run(&["carve", utf8(&case), BOT, "-w", utf8(&slice)]);
    assert!(code == Some(3) && err.contains("c.pcapng has 5 bytes"), "{err}");
    std::fs::remove_file(&capture).expect("removed");
    let (code, _, err) = run(&["bundle", utf8(&case), BOT, "-o", utf8(&dir.path().join("b.zip"))]);
    assert!(code == Some(3) && err.contains("c.pcapng is gone"), "{err}");
    assert!(!dir.path().join("b.zip").exists());
    let moved = dir.path().join("moved");
    std::fs::create_dir(&moved).expect("a folder");
    std::fs::copy(sample("kraken-new.pcapng"), moved.join("c.pcapng")).expect("copied");
    good(&["carve", utf8(&case), BOT, "-w", utf8(&slice), "--captures", utf8(&moved)]);
}

#[test]
fn nothing_that_is_read_is_written_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let capture = dir.path().join("c.pcapng");
    std::fs::copy(sample("kraken-blocked.pcapng"), &capture).expect("copied");
    let case = case_of(dir.path(), &capture);
    let page = case.join("report.html");
    for args in [
        vec!["read", "--quiet", utf8(&capture), "--html", utf8(&capture)],
        vec!["read", "--quiet", utf8(dir.path()), "--html", utf8(&capture)],
        vec!["carve", utf8(&case), BOT, "-w", utf8(&capture)],
        vec!["bundle", utf8(&case), BOT, "-o", utf8(&capture)],
        vec!["carve", utf8(&case), BOT, "-w", utf8(&page)],
    ] {
        let (code, _, err) = run(&args);
        assert!(code == Some(2) && err.contains("choose another name"), "{args:?}: {err}");
    }
    assert_eq!(
        std::fs::read(&capture).expect("it"),
        std::fs::read(sample("kraken-blocked.pcapng")).expect("it")
    );
    // Another capture in the place of the case: that is said, and its notes are not taken over.
    std::fs::write(case.join("triage.json"), r#"{"hosts":{}}"#).expect("written");
    let read = |name: &str| run(&["read", "--quiet", utf8(&sample(name)), "-o", utf8(&case)]).2;
    assert!(read("kraken-new.pcapng").contains("takes the place of one of"));
    assert!(case.join("triage-before.json").exists() && !case.join("triage.json").exists());
    std::fs::write(case.join("triage.json"), r#"{"hosts":{}}"#).expect("written");
    assert_eq!(read("kraken-new.pcapng"), "");
    assert!(case.join("triage.json").exists(), "the same capture: notes stay");
}

#[test]
fn a_bundle_is_the_same_each_time_and_shows_what_was_changed() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = case_of(dir.path(), &sample("kraken-old.pcapng"));
    let make = |name: &str| {
        let path = dir.path().join(name);
        good(&[
            "bundle",
            utf8(&case),
            BOT,
            "-o",
            utf8(&path),
            "--org",
            "Example",
            "--contact",
            "abuse@example.org",
        ]);
        std::fs::read(&path).expect("a bundle")
    };
    let bundle = make("a.zip");
    assert_eq!(bundle, make("b.zip"));
    let told = good(&["verify", utf8(&dir.path().join("a.zip"))]);
    assert!(told.contains("infected") && told.contains("slice.pcapng: unchanged"), "{told}");
    // A byte in every place: it is noticed, or it is none that says anything.
    let text = |at: usize| {
        let mut changed = bundle.clone();
        changed[at] ^= 1;
        let path = dir.path().join("changed.zip");
        std::fs::write(&path, changed).expect("written");
        run(&["verify", utf8(&path)])
    };
    let slice_at = bundle.windows(12).position(|w| w == b"slice.pcapng").expect("the slice") + 12;
    for at in [slice_at + 40, slice_at + 4_000, slice_at + 20_000] {
        let (code, out, err) = text(at);
        assert!(
            code == Some(3) && (out.contains("WRONG slice.pcapng") || !err.is_empty()),
            "{at}: {out}{err}"
        );
    }
    std::fs::write(dir.path().join("no.zip"), b"no zip at all").expect("written");
    let (code, _, err) = run(&["verify", utf8(&dir.path().join("no.zip"))]);
    assert!(code == Some(3) && err.contains("zip"), "{err}");
}

#[test]
fn a_case_under_other_names_tells_the_same_story() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = case_of(dir.path(), &sample("office-day.pcapng.zst"));
    let make = |name: &str, key: &str| {
        let file = dir.path().join("key");
        std::fs::write(&file, key).expect("written");
        let path = dir.path().join(name);
        let told = good(&["bundle", utf8(&case), BOT, "--pseudonymise", utf8(&file), "-o", utf8(&path)]);
        assert!(told.contains("the evidence is the same"), "{told}");
        good(&["verify", utf8(&path)]);
        let out = dir.path().join(format!("{name}.d"));
        let mut zip = zip::ZipArchive::new(std::fs::File::open(&path).expect("a bundle")).expect("a zip");
        zip.extract(&out).expect("unpacked");
        (std::fs::read(&path).expect("a bundle"), out)
    };
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let (first, out) = make("a.zip", key);
    assert_eq!(first, make("b.zip", key).0, "the same key, the same names");
    assert_ne!(first, make("c.zip", &key.replace("00", "77")).0);
    for file in std::fs::read_dir(&out).expect("files") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("bytes");
        let holds = |what: &[u8]| bytes.windows(what.len()).any(|w| w.eq_ignore_ascii_case(what));
        for old in [BOT.as_bytes(), b"pc-03", b"02:00:0a:14:00:0d", utf8(dir.path()).as_bytes()] {
            assert!(!holds(old), "{}: {}", path.display(), String::from_utf8_lossy(old));
        }
        // On the wire: the bot's address and Ethernet address.
        if path.ends_with("slice.pcapng") {
            assert!(!holds(&[10, 20, 0, 13]) && !holds(&[2, 0, 10, 20, 0, 13]));
        }
    }
    // Ids are derived from addresses: those of the packets are those of the story that goes with them, and no others.
    let ids = |path: &Path| -> std::collections::BTreeSet<String> {
        let lines = report::parse_lines(&std::fs::read_to_string(path).expect("lines")).expect("lines");
        let stories = lines.into_iter().filter_map(|l| match l {
            report::Line::Host(h) => Some(h),
            report::Line::Capture(_) | report::Line::Turn(_) | report::Line::Day(_) => None,
        });
        stories
            .filter(|s| !s.evidence.is_empty())
            .flat_map(|s| s.into_owned().evidence)
            .map(|e| e.evidence.id())
            .collect()
    };
    let (mine, theirs) = (ids(&case.join("case.jsonl")), ids(&out.join("story.jsonl")));
    let slice = std::fs::read(out.join("slice.pcapng")).expect("a slice");
    let says = |id: &String| slice.windows(id.len()).any(|w| w == id.as_bytes());
    assert!(!mine.iter().any(says) && theirs.iter().filter(|id| says(id)).count() > 5);
    let story = std::fs::read_to_string(out.join("story.jsonl")).expect("a story");
    let story: serde_json::Value = serde_json::from_str(story.lines().last().expect("a host")).expect("JSON");
    let other = story["host"].as_str().expect("an address");
    let lines = common::read_json(&[utf8(&out.join("slice.pcapng")), "--home", "10.0.0.0/8"]);
    assert_eq!(common::host(&lines, other)["verdict"], "infected", "slice and story name the same host");
    let file = dir.path().join("key");
    std::fs::write(&file, "too short").expect("written");
    let (code, _, err) = run(&["carve", utf8(&case), BOT, "--pseudonymise", utf8(&file), "-w", "/dev/null"]);
    assert!(code == Some(2) && err.contains("64 hexadecimal digits"), "{err}");
}

#[test]
fn what_changed_between_two_cases() {
    let dirs = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let old = case_of(dirs[0].path(), &sample("kraken-blocked.pcapng"));
    let new = case_of(dirs[1].path(), &sample("kraken-new.pcapng"));
    let told = good(&["diff", utf8(&old), utf8(&new)]);
    assert!(told.contains("stages gained: ") && told.contains("act"), "{told}");
    assert!(told.contains("new peers: "), "{told}");
    let other = tempfile::tempdir().expect("a folder");
    let old = case_of(other.path(), &sample("kraken-old.pcapng"));
    assert!(good(&["diff", utf8(&old), utf8(&new)]).contains("new ports: "));
    let same = good(&["diff", utf8(&new), utf8(&new)]);
    assert_eq!(same, "2 hosts: nothing changed that matters\n");
    std::fs::write(old.join("flows.sqlite"), "no database").expect("written");
    let (code, _, err) = run(&["diff", utf8(&old), utf8(&new)]);
    assert!(code == Some(3) && err.contains("peers and ports were not compared"), "{err}");
}

/// What is between the tags is text; everything else is the page.
fn skeleton(page: &str) -> Vec<String> {
    page.split('<').skip(1).map(|t| t.split(['>', ' ']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn hostile_words_change_nothing_but_text() {
    const PLAIN: &str = "plain-words-of-a-host.example";
    let told = |text: &str| {
        let dir = tempfile::tempdir().expect("a folder");
        let case = case_of_script(dir.path(), bots::words(text, 65_536 / text.len()));
        let page = std::fs::read_to_string(case.join("report.html")).expect("a report");
        let terminal =
            good(&["read", "--quiet", "--color", "never", utf8(&dir.path().join("scenario.pcapng"))]);
        let markdown = good(&["read", "--quiet", "--markdown", utf8(&dir.path().join("scenario.pcapng"))]);
        let explained = good(&["explain", utf8(&case), BOT]);
        good(&["bundle", utf8(&case), BOT, "-o", utf8(&dir.path().join("b.zip"))]);
        good(&["verify", utf8(&dir.path().join("b.zip"))]);
        let bot = hosts(&case).into_iter().find(|h| h["host"] == BOT).expect("the bot");
        (bot, page, terminal + &markdown + &explained)
    };
    let (bot, page, _) = told(PLAIN);
    assert!(
        bot["verdict"] == "suspicious" || bot["verdict"] == "likely",
        "{} {}",
        bot["verdict"],
        bot["level_db"]
    );
    for hostile in [
        "<script>alert(1)</script>.example",
        "\"><img src=x onerror=alert(1)>",
        "'onmouseover='alert(1)",
        "\u{1b}[31m\u{1b}]0;owned\u{7}.example",
        "\u{202e}elpmaxe.live\u{2066}",
        "](javascript:alert(1))|`x`",
        "]]><!--{{7*7}}${7*7}",
    ] {
        let (other, mine, texts) = told(hostile);
        assert_eq!(other["verdict"], bot["verdict"], "{hostile}");
        assert_eq!(other["level_db"], bot["level_db"], "{hostile}");
        let (a, b) = (skeleton(&mine), skeleton(&page));
        // A name that is none is no indicator: rows may be fewer, never of another kind.
        let strange: Vec<&String> = a.iter().filter(|t| !b.contains(t)).collect();
        assert!(strange.is_empty() && a.len() <= b.len(), "{hostile}: {strange:?} {} {}", a.len(), b.len());
        assert!(!mine.contains("onerror=alert(1)>") && !mine.contains("<script"), "{hostile}");
        for c in texts.chars() {
            let tame = !c.is_control() || c == '\n';
            assert!(
                tame && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'),
                "{hostile}: {c:?}"
            );
        }
    }
}

#[test]
fn ten_thousand_bots_are_a_page_that_can_be_used() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = case_of(dir.path(), &sample("kraken-new.pcapng"));
    let text = std::fs::read_to_string(case.join("case.jsonl")).expect("a case");
    let mut lines = report::parse_lines(&text).expect("lines").into_iter();
    let (Some(report::Line::Capture(capture)), Some(report::Line::Host(bot))) = (lines.next(), lines.next())
    else {
        panic!("a capture and a host");
    };
    let stories: Vec<verdict::HostStory> = (0..10_000u32)
        .map(|n| verdict::HostStory {
            host: std::net::Ipv4Addr::from(0x0a00_0001 + n).into(),
            ..bot.clone().into_owned()
        })
        .collect();
    let page = report::html::html(&capture, &stories);
    assert_eq!(page.matches("<section class=\"host\"").count(), 200);
    assert!(page.contains("9,800 more that are suspicious or above"));
    assert!(page.len() < 16 << 20, "{} bytes", page.len());
    if let Some(path) = std::env::var_os("HYDROPHONE_LARGE_REPORT") {
        std::fs::write(path, page).expect("written");
    }
}
