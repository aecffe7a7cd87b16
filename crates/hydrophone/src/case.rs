//! A case: everything a run found, in a folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use report::{CaptureLine, Line, parse_lines};
use sha2::{Digest, Sha256};
use verdict::HostStory;

/// The lines of `--json`.
const LINES: &str = "case.jsonl";
/// The report for a browser.
const REPORT: &str = "report.html";
/// The hashes of the inputs, as `sha256sum -c` reads them.
const HASHES: &str = "inputs.sha256";

/// SHA-256 of a file in hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat())
}

/// Makes sure that `dir` can become a case: it does not exist, is empty, or is a case already.
pub fn check(dir: &Path) -> anyhow::Result<()> {
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| format!("{} cannot be a case folder", dir.display())),
        Ok(mut entries) => {
            if dir.join(LINES).is_file() || entries.next().is_none() {
                Ok(())
            } else {
                bail!("{} is not empty and no case: choose another folder for -o", dir.display())
            }
        }
    }
}

/// Writes a case: beside its place first, then moved there as a whole.
pub fn write(dir: &Path, lines: &[Line], capture: &CaptureLine) -> anyhow::Result<()> {
    let beside = |what: &str| -> PathBuf {
        let mut name = dir.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{what}-{}", std::process::id()));
        dir.with_file_name(name)
    };
    let (fresh, old) = (beside("new"), beside("old"));
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    let put = |name: &str, text: &str| -> anyhow::Result<()> {
        let path = fresh.join(name);
        let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_json()?);
        text.push('\n');
    }
    put(LINES, &text)?;
    let stories: Vec<HostStory> = lines
        .iter()
        .filter_map(|l| match l {
            Line::Host(h) => Some(h.as_ref().clone()),
            Line::Capture(_) => None,
        })
        .collect();
    put(REPORT, &report::html::html(capture, &stories))?;
    let mut hashes = String::new();
    for input in &capture.inputs {
        if let Some(hash) = &input.sha256 {
            hashes.push_str(&format!("{hash}  {}\n", input.path));
        }
    }
    put(HASHES, &hashes)?;
    put_in_place(&fresh, dir, &old)
}

/// Moves the finished folder to its place. Where a case is there already, the two change places in one step, so that at
/// every moment either the old case or the new one is there, whole.
fn put_in_place(fresh: &Path, dir: &Path, old: &Path) -> anyhow::Result<()> {
    if !dir.exists() {
        return fs::rename(fresh, dir).with_context(|| format!("cannot make {}", dir.display()));
    }
    if exchange(fresh, dir).is_ok() {
        return fs::remove_dir_all(fresh).with_context(|| format!("cannot remove {}", fresh.display()));
    }
    // A file system that cannot exchange: the old one steps aside first.
    fs::rename(dir, old).with_context(|| format!("cannot replace {}", dir.display()))?;
    fs::rename(fresh, dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))
}

#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Reads a case back.
pub fn read(dir: &Path) -> anyhow::Result<(CaptureLine, Vec<HostStory>)> {
    let path = if dir.is_dir() { dir.join(LINES) } else { dir.to_owned() };
    let text = fs::read_to_string(&path).with_context(|| {
        format!("{} is no case: make one with `hydrophone read CAPTURE -o {}`", dir.display(), dir.display())
    })?;
    let lines = parse_lines(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    let (mut capture, mut stories) = (None, Vec::new());
    for line in lines {
        match line {
            Line::Capture(c) => capture = Some(*c),
            Line::Host(h) => stories.push(*h),
        }
    }
    let capture = capture.with_context(|| format!("{} has no line of type \"capture\"", path.display()))?;
    Ok((capture, stories))
}
