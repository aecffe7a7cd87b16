//! What decides verdicts, as one number: executors of another build refuse a task, and a run of another build is not gone on from.

use std::path::{Path, PathBuf};

/// Whose sources decide.
const ROOMS: [&str; 6] = ["record", "behaviour", "verdict", "store", "pipeline", "cluster"];

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push(path);
        }
    }
}

fn main() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = Vec::new();
    for room in ROOMS {
        let room = crates.join(room);
        for part in ["src", "lists", "calibration.toml"] {
            let part = room.join(part);
            if part.exists() {
                println!("cargo:rerun-if-changed={}", part.display());
            }
            if part.is_dir() {
                files(&part, &mut all);
            } else if part.is_file() {
                all.push(part);
            }
        }
    }
    all.sort();
    let mut text = Vec::new();
    for path in all {
        text.extend(path.strip_prefix(&crates).unwrap_or(&path).display().to_string().into_bytes());
        text.extend(std::fs::read(&path).unwrap_or_default());
    }
    let hash = record::fnv1a(&text);
    println!("cargo:rustc-env=HYDROPHONE_SOURCES={hash:016x}");
}
