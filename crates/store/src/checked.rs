//! Looks whether every file is there as it was written.

use std::path::Path;

use crate::read::{Past, settled};
use crate::settle::Settled;
use crate::{Counted, StoreError, counted, open};

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files of tables.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them of which no checksum is known, so that only their size was compared: they were written by an older version.
    pub unsummed: u64,
    /// What is missing or is not what was written, and what failed or ended early when it was written.
    pub failures: Vec<String>,
}

/// Reads every file that counts, and compares it with what was noted when it was written; what killed runs left is brought in order first, if that can be done.
///
/// # Errors
/// It is no store, or another version's.
pub fn check_files(root: &Path) -> Result<Checked, StoreError> {
    let place = &open(root)?;
    let Settled { is_written, failures, .. } = settled(place);
    let _reading = place.reading();
    let Counted { runs, segments, bad } = counted(place)?;
    let mut done = Checked { failures, ..Checked::default() };
    done.failures.extend(bad.iter().map(ToString::to_string));
    done.failures.extend(Past::of(runs, &segments, 0, is_written).failures);
    for part in segments.iter().flat_map(|segment| &segment.parts) {
        done.files += 1;
        done.bytes += part.bytes;
        done.unsummed += u64::from(part.crc32.is_none());
        if let Err(e) = place.open_sure(part) {
            done.failures.push(e.to_string());
        }
    }
    Ok(done)
}
