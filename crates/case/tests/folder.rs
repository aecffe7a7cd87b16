//! How a case comes to its place, what stays when another takes it, and what is told of one that is damaged.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use case::{Case, Triage, TriageEntry, TriageState, check};
use common::{Run, sample};
use record::{HostId, Segment, Timestamp};
use verdict::HostStory;

static BLOCKED: LazyLock<Run> = LazyLock::new(|| Run::of(&sample("kraken-blocked.pcapng")));
static READER: LazyLock<Run> = LazyLock::new(|| Run::of(&sample("clean-newsreader.pcapng")));

/// Everything that lies in a folder and below, by name; a folder with nothing in it too.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if fs::read_dir(entry.path()).is_ok_and(|mut below| below.next().is_some()) {
            all.extend(files(&entry.path()).into_iter().map(|(n, bytes)| (format!("{name}/{n}"), bytes)));
        } else {
            all.insert(name, fs::read(entry.path()).unwrap_or_default());
        }
    }
    all
}

fn names(dir: &Path) -> Vec<String> {
    files(dir).into_keys().collect()
}

fn why<T>(made: anyhow::Result<T>) -> String {
    made.err().map(|e| format!("{e:#}")).expect("it is refused")
}

fn note(case: &Path, note: &str) -> anyhow::Result<Triage> {
    let entry = TriageEntry {
        state: TriageState::Noted,
        note: note.into(),
        who: "Ada".into(),
        when: "2026-01-01T00:00:00Z".into(),
        stood: None,
    };
    Triage::add(case, "10.20.0.13", entry)
}

fn notes(case: &Path) -> Vec<String> {
    Triage::read(case).unwrap().of("10.20.0.13").iter().map(|e| e.note.clone()).collect()
}

#[test]
fn a_case_is_at_its_place_whole_or_not_at_all() {
    const WHOLE: [&str; 4] = ["case.jsonl", "flows.sqlite", "inputs.sha256", "report.html"];
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("deep/case");
    let begun = BLOCKED.begin(&case).unwrap();
    assert!(!case.exists());
    drop(begun);
    assert_eq!(names(dir.path()), ["deep"], "what is dropped leaves nothing");
    BLOCKED.write(&case).unwrap();
    assert_eq!(names(&case), WHOLE);
    let before = files(dir.path());
    assert_eq!(before.len(), WHOLE.len(), "nothing is left beside it");
    let read = Case::read(&case).unwrap();
    let told = |stories: &[HostStory]| -> Vec<_> {
        let ids = |s: &HostStory| s.evidence.iter().map(|e| e.evidence.id()).collect::<Vec<_>>();
        stories.iter().map(|s| (s.host, s.verdict, s.level_db, ids(s))).collect()
    };
    assert_eq!(told(&read.stories), told(&BLOCKED.stories));
    assert_eq!(read.capture.inputs, BLOCKED.capture.inputs);
    let hash = BLOCKED.capture.inputs[0].sha256.as_deref().unwrap();
    let line = format!("{hash}  {}\n", sample("kraken-blocked.pcapng").display());
    assert_eq!(before["deep/case/inputs.sha256"], line.into_bytes());

    // Another run over it that ends early, or cannot write.
    drop(READER.begin(&case).unwrap());
    assert!(files(dir.path()) == before);
    let begun = READER.begin(&case).unwrap();
    let fresh = dir.path().join(format!("deep/case.new-{}", std::process::id()));
    fs::create_dir(fresh.join("report.html")).unwrap();
    let refused = why(begun.finish(&READER.capture, &READER.stories));
    assert!(refused.contains("report.html") && files(dir.path()) == before, "{refused}");
    // And one that ends well.
    READER.write(&case).unwrap();
    assert_eq!(names(dir.path()), before.into_keys().collect::<Vec<_>>());
    assert_eq!(told(&Case::read(&case).unwrap().stories), told(&READER.stories));
}

#[test]
fn nothing_but_a_case_gives_its_place_away() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/thesis.txt"), "years of work").unwrap();
    assert!(check(&at("none")).is_ok() && check(&at("empty")).is_ok());
    for (path, said) in
        [("other", "is not empty and no case"), ("other/thesis.txt", "cannot be a case folder")]
    {
        let told = why(BLOCKED.write(&at(path)));
        assert!(told.contains(said), "{told}");
    }
    assert!(why(check(Path::new("."))).contains("needs a folder with a name"));
    assert_eq!(names(dir.path()), ["empty", "other/thesis.txt"]);
    // What a person has put into a case is not the program's to remove.
    BLOCKED.write(&at("empty")).unwrap();
    fs::write(at("empty/capture.pcapng"), "packets").unwrap();
    let told = why(READER.write(&at("empty")));
    assert!(
        told.contains("capture.pcapng is none of the case's") && at("empty/capture.pcapng").exists(),
        "{told}"
    );
}

#[test]
fn notes_stay_with_the_captures_that_they_are_about() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    let aside = || fs::read_to_string(case.join("triage-before.json")).unwrap_or_default();
    BLOCKED.write(&case).unwrap();
    note(&case, "of the first").unwrap();
    assert_eq!(BLOCKED.write(&case).unwrap(), [""; 0], "nothing is replaced");
    assert_eq!((notes(&case), aside()), (vec!["of the first".to_owned()], String::new()));
    // What is read grows, as a store does: they are about hosts that are still there.
    let mut grown = BLOCKED.clone();
    grown.capture.inputs.extend(READER.capture.inputs.iter().cloned());
    assert_eq!(grown.write(&case).unwrap(), [""; 0], "nothing is replaced");
    assert_eq!((notes(&case), aside()), (vec!["of the first".to_owned()], String::new()));
    fs::remove_dir_all(&case).unwrap();
    BLOCKED.write(&case).unwrap();
    note(&case, "of the first").unwrap();
    // Of other captures: aside, and there they stay, whatever is run next.
    assert_eq!(READER.write(&case).unwrap(), [sample("kraken-blocked.pcapng").display().to_string()]);
    assert!(notes(&case).is_empty() && aside().contains("of the first"));
    note(&case, "of the second").unwrap();
    READER.write(&case).unwrap();
    assert_eq!(notes(&case), ["of the second"]);
    assert!(aside().contains("of the first"), "{}", aside());
    // What is set aside later stands beside it.
    BLOCKED.write(&case).unwrap();
    assert!(aside().contains("of the first") && aside().contains("of the second"), "{}", aside());
    READER.write(&case).unwrap();
    note(&case, "of the second").unwrap();
    // A case of an older form is read again as it advises; nobody knows that it is of others.
    let lines = fs::read_to_string(case.join("case.jsonl")).unwrap();
    fs::write(case.join("case.jsonl"), lines.replacen("\"schema\":1", "\"schema\":0", 1)).unwrap();
    READER.write(&case).unwrap();
    assert_eq!(notes(&case), ["of the second"]);
    // Two streams are not the same because nothing is known of either.
    let mut stream = BLOCKED.clone();
    stream.capture.inputs[0] =
        report::InputLine { path: "-".into(), absolute: None, size: None, sha256: None, log: None };
    stream.write(&case).unwrap();
    note(&case, "of a stream").unwrap();
    assert_eq!(stream.write(&case).unwrap(), ["-"]);
    assert!(notes(&case).is_empty() && aside().contains("of a stream"));
}

#[test]
fn notes_that_cannot_be_kept_stop_the_case_from_taking_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    BLOCKED.write(&case).unwrap();
    // What cannot be copied: a folder in place of the file.
    fs::create_dir(case.join("triage.json")).unwrap();
    let before = files(dir.path());
    let told = why(BLOCKED.write(&case));
    assert!(told.contains("triage.json") && files(dir.path()) == before, "{told}");
}

#[test]
fn what_is_said_is_bounded_and_what_is_damaged_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let entry = TriageEntry {
        state: TriageState::Closed,
        note: "ä".repeat(5_000),
        who: "é".repeat(200),
        when: "2026-01-01T00:00:00Z".into(),
        stood: None,
    };
    let all = Triage::add(dir.path(), "10.20.0.13", entry).unwrap();
    let kept = &all.of("10.20.0.13")[0];
    assert_eq!((kept.note.chars().count(), kept.who.chars().count()), (4_000, 100));
    assert_eq!(Triage::read(dir.path()).unwrap(), all);
    assert!(all.of("10.20.0.1").is_empty() && Triage::read(&dir.path().join("none")).is_ok());
    let line = r#"{"state":"noted","who":"Ada","when":"now"}"#;
    let full = format!(r#"{{"hosts":{{"10.20.0.13":[{}]}}}}"#, vec![line; 1_000].join(","));
    let path = dir.path().join("triage.json");
    for (text, said) in
        [(full.as_str(), "1000 entries"), ("{\"hosts\": 5", "is not what this program writes")]
    {
        fs::write(&path, text).unwrap();
        let told = why(note(dir.path(), "one more"));
        assert!(told.contains(said), "{told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_damaged_case_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("case");
    assert!(why(Case::read(&case)).contains("is no case: make one with"));
    BLOCKED.write(&case).unwrap();
    let (lines, flows) = (case.join("case.jsonl"), case.join("flows.sqlite"));
    let text = fs::read_to_string(&lines).unwrap();
    let (_, hosts) = text.split_once('\n').unwrap();
    for (damaged, said) in [
        (&text[..text.len() - 20], "line 3"),
        (&text.replacen("{\"type\":\"host\"", "{\"type\":\"ghost\"", 1), "line 2"),
        (&text.replacen("\"schema\":1", "\"schema\":9", 1), "form 9"),
        (hosts, "no line of type \"capture\""),
        ("", "no line of type \"capture\""),
    ] {
        fs::write(&lines, damaged).unwrap();
        let told = why(Case::read(&case));
        assert!(told.contains(said), "{told}");
    }
    fs::write(&lines, &text).unwrap();
    let read = Case::read(&case).unwrap();
    assert!(read.flows().is_ok());
    fs::write(&flows, &fs::read(&flows).unwrap()[..9_000]).unwrap();
    assert!(why(read.flows()).contains("flows.sqlite is damaged: read the capture again with -o"));
    fs::remove_file(&flows).unwrap();
    assert!(why(read.flows()).contains("has no flows: read the capture again with -o"));
}

#[test]
fn a_capture_that_is_not_what_it_was_gives_no_packets() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("c.pcapng");
    let bytes = fs::read(sample("kraken-blocked.pcapng")).unwrap();
    fs::write(&capture, &bytes).unwrap();
    let case = dir.path().join("case");
    Run::of(&capture).write(&case).unwrap();
    let mut read = Case::read(&case).unwrap();
    assert_eq!(read.captures(None, &[]).unwrap().paths, std::slice::from_ref(&capture));
    let mut other = bytes.clone();
    other[20_000] ^= 1;
    fs::write(&capture, other).unwrap();
    assert!(why(read.captures(None, &[])).contains("has changed since this case was made"));
    // Where it lies now may be a folder that keeps something of its path.
    let moved = dir.path().join("moved");
    let below = moved.join(dir.path().file_name().unwrap());
    fs::create_dir_all(&below).unwrap();
    fs::remove_file(&capture).unwrap();
    assert!(why(read.captures(Some(&moved), &[])).contains("is gone: say where it lies now with --captures"));
    fs::write(below.join("c.pcapng"), bytes).unwrap();
    assert_eq!(read.captures(Some(&moved), &[]).unwrap().paths, [below.join("c.pcapng")]);
    read.capture.inputs[0].size = None;
    assert!(why(read.captures(None, &[])).contains("was a stream: its packets are gone"));
}

#[test]
fn a_host_is_asked_for_by_address_segment_and_time() {
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let noon = at("2008-04-08T12:00:00Z");
    let host = |segment: Option<Segment>, since: Option<Timestamp>, until: Option<Timestamp>| HostStory {
        segment,
        since,
        until,
        ..BLOCKED.stories[0].clone()
    };
    let vlan = Some(Segment::Vlan(12));
    let stories = vec![
        host(vlan, None, Some(noon)),
        host(vlan, Some(noon), None),
        host(Some(Segment::Untagged), None, None),
    ];
    let case = Case { dir: "case".into(), capture: BLOCKED.capture.clone(), stories };
    let ip = case.stories[0].host;
    let asked = |which: &str| {
        let story = case.story(format!("{ip}{which}").parse().unwrap());
        story
            .map(|s| case.stories.iter().position(|t| std::ptr::eq(s, t)).unwrap())
            .map_err(|e| format!("{e:#}"))
    };
    assert_eq!(asked(""), Ok(0), "the strongest");
    assert_eq!(asked("@untagged"), Ok(2));
    assert_eq!(
        (asked("@vlan12,2008-04-08T11:59:59Z"), asked("@2008-04-08T12:00:00Z,vlan12")),
        (Ok(0), Ok(1))
    );
    for (n, story) in case.stories.iter().enumerate() {
        assert_eq!(
            asked(story.id().to_string().strip_prefix(&ip.to_string()).unwrap()),
            Ok(n),
            "by its own id"
        );
    }
    assert!(asked("@vlan13").unwrap_err().contains("was not seen in vlan13: ask for "));
    let told = case.story("10.9.9.9".parse().unwrap()).unwrap_err().to_string();
    assert!(told.contains("it has 3 hosts"), "{told}");
    for wrong in ["", "10.0.0", "10.0.0.5@", "10.0.0.5@noon", "10.0.0.5@vlan4096"] {
        assert!(wrong.parse::<HostId>().is_err(), "{wrong}");
    }
    let local = |n: usize| case.local(&case.stories[n]).segment;
    assert_eq!((local(0).as_deref(), local(2).as_deref()), (Some("vlan12"), Some("")));
}
