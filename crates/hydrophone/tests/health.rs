//! What a capture is worth: each fault is measured, told first, and takes the word "quiet" away where it must.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capture::{Batch, CaptureSet, LINKTYPE_ETHERNET, PcapngWriter, Source};
use common::{host, hydrophone, read_json, sample};
use record::Timestamp;

/// The clean host of the sample.
const READER: &str = "10.20.0.70";

/// A packet on its way into another capture.
struct Frame {
    number: usize,
    ts: Timestamp,
    bytes: Vec<u8>,
    original: u32,
}

/// Writes the sample anew, each packet as often and as changed as it is given back.
fn rewrite(to: &Path, mut change: impl FnMut(Frame) -> Vec<Frame>) {
    let source = Source::Path(sample("clean-newsreader.pcapng"));
    let mut set = CaptureSet::open(&[source], &Arc::default()).expect("a sample");
    let mut writer = PcapngWriter::new(Vec::new(), LINKTYPE_ETHERNET, "test").expect("memory");
    let (mut batch, mut number) = (Batch::default(), 0);
    while set.next_batch(&mut batch) {
        for meta in &batch.packets {
            let bytes = batch.frame(meta).to_vec();
            number += 1;
            for f in change(Frame { number, ts: meta.ts, bytes, original: meta.original }) {
                writer.packet(f.ts, &f.bytes, f.original).expect("memory");
            }
        }
    }
    std::fs::write(to, writer.into_inner()).expect("written");
}

/// Reads a rewritten sample: the reader's verdict with what could not be seen, and the head of the terminal's report.
fn read(change: impl FnMut(Frame) -> Vec<Frame>) -> (String, String, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pcapng");
    rewrite(&path, change);
    let name = path.to_str().expect("UTF-8");
    let lines = read_json(&[name]);
    let story = host(&lines, READER);
    let out = hydrophone().args(["read", name]).output().expect("it runs");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let warnings: Vec<&str> = text.lines().filter(|l| l.starts_with("! ")).collect();
    (
        story["verdict"].as_str().expect("a verdict").to_owned(),
        story["unseen"].to_string(),
        warnings.join("\n"),
    )
}

fn is_tcp(f: &Frame) -> bool {
    f.bytes.get(23) == Some(&6)
}

#[test]
fn a_whole_capture_says_quiet_and_warns_of_nothing() {
    let (verdict, unseen, warnings) = read(|f| vec![f]);
    assert_eq!((verdict.as_str(), unseen.as_str(), warnings.as_str()), ("quiet", "[]", ""));
}

#[test]
fn a_span_port_that_hears_everything_twice_changes_nothing_but_the_warning() {
    let (verdict, unseen, warnings) = read(|f| {
        let again = Frame { ts: f.ts.plus(Duration::from_micros(40)), bytes: f.bytes.clone(), ..f };
        vec![f, again]
    });
    assert_eq!((verdict.as_str(), unseen.as_str()), ("quiet", "[]"));
    assert!(warnings.contains("seen twice"), "{warnings}");
}

#[test]
fn one_side_the_middle_and_cut_packets_take_quiet_away() {
    let from_host = |f: &Frame| f.bytes.get(26..30) == Some(&[10, 20, 0, 70][..]);
    let (verdict, unseen, _) = read(|f| if is_tcp(&f) && !from_host(&f) { vec![] } else { vec![f] });
    assert!(verdict == "inconclusive" && unseen.contains("one side only"), "{verdict} {unseen}");
    let (verdict, unseen, _) = read(|f| if is_tcp(&f) && f.bytes[47] & 2 != 0 { vec![] } else { vec![f] });
    assert!(verdict == "inconclusive" && unseen.contains("had begun"), "{verdict} {unseen}");
    let (verdict, unseen, warnings) = read(|mut f| {
        f.bytes.truncate(60);
        vec![f]
    });
    assert!(verdict == "inconclusive" && unseen.contains("snap length"), "{verdict} {unseen}");
    assert!(warnings.contains("cut by the snap length"), "{warnings}");
}

#[test]
fn a_clock_that_steps_back_takes_quiet_away() {
    let (verdict, unseen, warnings) = read(|mut f| {
        if f.number > 50 {
            f.ts = f.ts.minus(Duration::from_mins(5));
        }
        vec![f]
    });
    assert!(verdict == "inconclusive" && unseen.contains("steps back"), "{verdict} {unseen}");
    assert!(warnings.contains("jumps back"), "{warnings}");
}

#[test]
fn offload_is_named_and_believed() {
    let (verdict, unseen, warnings) = read(|mut f| {
        if is_tcp(&f) && f.bytes.get(26..28) == Some(&[10, 20][..]) {
            f.bytes[50] ^= 0x3c;
        }
        vec![f]
    });
    assert_eq!((verdict.as_str(), unseen.as_str()), ("quiet", "[]"));
    assert!(warnings.contains("the card fills them in"), "{warnings}");
}
