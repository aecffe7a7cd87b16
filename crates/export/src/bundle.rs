//! The bundle: what is handed over, with the hash of everything in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, Write};

use anyhow::{Context, ensure};
use report::{CaptureLine, Line};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use verdict::HostStory;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{Reporter, arf, indicators_csv, stix, xarf};

const MANIFEST: &str = "manifest.json";
/// Bytes of one file that are unpacked when a bundle is checked: slices are far smaller.
const LARGEST: u64 = 4 << 30;
/// Bytes of a manifest: some hundreds of names and hashes.
const LARGEST_MANIFEST: u64 = 16 << 20;

/// What a bundle says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// The program that made it.
    program: String,
    version: String,
    /// The version of the JSON lines.
    schema: u32,
    host: String,
    verdict: String,
    /// The captures that the slice was cut from, with their SHA-256.
    inputs: Vec<report::InputLine>,
    /// What must be told about the slice.
    notes: Vec<String>,
    /// SHA-256 of every other file.
    files: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    record::hex(&Sha256::digest(bytes))
}

/// Makes a bundle: the packets, the report, the story as JSON, STIX, indicators, a manifest with the hash of each, and XARF and a mail unless
/// [`Reporter::refuses`] says why not. The same input gives the same bytes.
///
/// # Errors
/// None that memory would not give.
pub fn bundle(
    capture: &CaptureLine,
    story: &HostStory,
    slice: &[u8],
    by: &Reporter,
    mut notes: Vec<String>,
) -> anyhow::Result<Vec<u8>> {
    let capture = &capture.without_paths();
    let lines = [Line::Capture(Cow::Borrowed(capture)), Line::Host(Cow::Borrowed(story))];
    let mut json = String::new();
    for line in &lines {
        json.push_str(&line.to_json()?);
        json.push('\n');
    }
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("slice.pcapng", slice.to_vec()),
        ("report.html", report::html::html(capture, std::slice::from_ref(story)).into_bytes()),
        ("story.jsonl", json.into_bytes()),
        ("story.md", report::markdown(capture, std::slice::from_ref(story), false).into_bytes()),
        ("stix.json", format!("{:#}\n", stix(story)).into_bytes()),
        ("indicators.csv", indicators_csv(story)?.into_bytes()),
    ]);
    if let Some(why) = by.refuses(story) {
        notes.push(why);
    } else {
        files.insert("xarf.json", format!("{:#}\n", xarf(story, by)).into_bytes());
        files.insert("abuse.eml", arf(story, by).into_bytes());
    }
    let manifest = Manifest {
        program: "hydrophone".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        schema: CaptureLine::SCHEMA,
        host: story.host.to_string(),
        verdict: story.verdict.name().into(),
        inputs: capture.inputs.clone(),
        notes,
        files: files.iter().map(|(name, bytes)| ((*name).to_owned(), hex(bytes))).collect(),
    };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    let text = serde_json::to_string_pretty(&manifest)?;
    for (name, bytes) in std::iter::once((MANIFEST, text.into_bytes())).chain(files) {
        zip.start_file(name, options)?;
        zip.write_all(&bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// What came of checking a bundle.
#[derive(Debug, Default)]
pub struct Checked {
    /// Whose it is, with its verdict.
    pub about: String,
    /// Files whose hash is what the manifest says.
    pub good: Vec<String>,
    /// What is wrong: changed, missing, or not in the manifest.
    pub wrong: Vec<String>,
}

/// Checks every file of a bundle against its manifest, a piece at a time.
///
/// # Errors
/// It is no bundle, or it is damaged so that nothing can be said.
pub fn verify(bundle: impl Read + Seek) -> anyhow::Result<Checked> {
    let mut zip = ZipArchive::new(bundle).context("it is no zip file, or a damaged one")?;
    let mut text = String::new();
    zip.by_name(MANIFEST)
        .with_context(|| format!("it has no {MANIFEST}: it is no bundle of this program"))?
        .take(LARGEST_MANIFEST)
        .read_to_string(&mut text)
        .with_context(|| format!("{MANIFEST} is damaged"))?;
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{MANIFEST} is not understood"))?;
    ensure!(
        manifest.schema == CaptureLine::SCHEMA,
        "it was written in form {} by hydrophone {}, and this version reads form {}",
        manifest.schema,
        record::clean(&manifest.version),
        CaptureLine::SCHEMA
    );
    let mut checked =
        Checked { about: format!("{}: {}", manifest.host, manifest.verdict), ..Checked::default() };
    for (name, hash) in &manifest.files {
        let mut read = || -> anyhow::Result<String> {
            let mut file = zip.by_name(name)?.take(LARGEST);
            let (mut sum, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
            loop {
                match file.read(&mut piece)? {
                    0 => break,
                    n => sum.update(&piece[..n]),
                }
            }
            ensure!(file.limit() > 0, "too large");
            Ok(record::hex(&sum.finalize()))
        };
        match read() {
            Ok(sum) if sum == *hash => checked.good.push(name.clone()),
            Ok(_) => checked.wrong.push(format!("{name}: changed")),
            Err(e) => checked.wrong.push(format!("{name}: {e}")),
        }
    }
    for name in zip.file_names() {
        let name = name?;
        let name = name.as_ref();
        if name != MANIFEST && !manifest.files.contains_key(name) {
            checked.wrong.push(format!("{name}: not in the manifest"));
        }
    }
    checked.wrong.sort();
    Ok(checked)
}
