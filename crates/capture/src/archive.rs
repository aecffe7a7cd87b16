//! Zip archives, as the field hands captures around: often with a password, which is customarily `infected`.
//!
//! A capture in an archive is named as if the archive were a folder: `sample.zip/2024-01-01.pcap`. It is unpacked to a temporary file that has
//! no name, within the bounds of every unpacking; a wrong password shows by the checksum.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipReadOptions;

use crate::format::Magic;
use crate::unpack::Packing;
use crate::{CaptureError, unpack};

/// The password that researchers share samples with.
const CUSTOMARY: &str = "infected";
/// Bytes of a file that say whether it may be a capture or a log, and what else it is.
const HEAD: u64 = 64;
/// Files of an archive that are looked at.
const MAX_MEMBERS: usize = 4096;
/// What a zip archive begins with.
const MAGIC: [u8; 4] = [b'P', b'K', 3, 4];

/// Whether a file begins as a zip archive.
pub fn is_archive(path: &Path) -> bool {
    let mut magic = [0; 4];
    let is_file = path.metadata().is_ok_and(|m| m.is_file());
    is_file && File::open(path).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && magic == MAGIC
}

/// An archive and the name of a file within, of a path that leads through an archive as through a folder.
pub fn split(path: &Path) -> Option<(PathBuf, String)> {
    if path.symlink_metadata().is_ok() {
        return None;
    }
    let archive = path.ancestors().skip(1).find(|a| a.metadata().is_ok_and(|m| m.is_file()))?;
    let member = path.strip_prefix(archive).ok()?.to_str()?.to_owned();
    is_archive(archive).then(|| (archive.to_owned(), member))
}

/// The file that a path leads to: the archive, of a capture in one.
pub fn file_of(path: &Path) -> PathBuf {
    split(path).map_or_else(|| path.to_owned(), |(archive, _)| archive)
}

fn read_error(path: &Path, source: impl Into<io::Error>) -> CaptureError {
    CaptureError::Open { path: path.display().to_string(), source: source.into() }
}

fn archive(path: &Path) -> Result<ZipArchive<File>, CaptureError> {
    let file = File::open(path).map_err(|e| read_error(path, e))?;
    ZipArchive::new(file).map_err(|e| read_error(path, e))
}

/// The files of an archive by index, under names that lead into it and nowhere else: what climbs out of a folder or begins at the root is
/// taken from where the archive stands, and of two that are then called alike the later has a number.
fn named(archive: &ZipArchive<File>) -> BTreeMap<String, usize> {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    for (index, raw) in archive.file_names_raw().enumerate() {
        let raw = String::from_utf8_lossy(raw).replace('\0', "_");
        if raw.ends_with('/') {
            continue;
        }
        let parts = raw.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
        let mut name = parts.collect::<Vec<_>>().join("/");
        if name.is_empty() {
            name.push_str("unnamed");
        }
        let number = numbers.entry(name.clone()).or_insert(1);
        let mut free = name.clone();
        while all.contains_key(&free) {
            *number += 1;
            free = format!("{name}~{number}");
        }
        all.insert(free, index);
    }
    all
}

/// The files of an archive, in its order.
///
/// # Errors
/// It is damaged, or has too many.
pub fn members(path: &Path) -> Result<Vec<String>, CaptureError> {
    let archive = archive(path)?;
    if archive.len() > MAX_MEMBERS {
        let what = format!("holds {} files, more than {MAX_MEMBERS}: unpack it by hand", archive.len());
        return Err(CaptureError::Unsupported { path: path.display().to_string(), what });
    }
    let mut all: Vec<(String, usize)> = named(&archive).into_iter().collect();
    all.sort_by_key(|(_, index)| *index);
    Ok(all.into_iter().map(|(name, _)| name).collect())
}

/// Unpacks one file of an archive, with the first of the passwords that fits.
///
/// # Errors
/// It is not there, damaged, packed in a way that is not read, a bomb, or no password fits.
pub fn unpacked(path: &Path, member: &str, passwords: &[String]) -> Result<File, CaptureError> {
    let shown = || format!("{}/{member}", path.display());
    let mut archive = archive(path)?;
    let index = named(&archive).get(member).copied().ok_or_else(|| CaptureError::Unsupported {
        path: shown(),
        what: "is not in the archive".to_owned(),
    })?;
    let (encrypted, packed) = {
        let raw = archive.by_index_raw(index).map_err(|e| read_error(path, e))?;
        (raw.encrypted(), raw.compressed_size())
    };
    let customary = CUSTOMARY.to_owned();
    let tries: Vec<Option<&String>> =
        if encrypted { passwords.iter().chain([&customary]).map(Some).collect() } else { vec![None] };
    let mut last = io::Error::other("not read");
    for password in tries {
        match unpack_with(&mut archive, index, packed, password.map(String::as_bytes)) {
            Ok(file) => return Ok(file),
            Err(e) if unpack::is_bomb(&e) => {
                return Err(CaptureError::Bomb { path: shown(), offset: 0, ratio: unpack::BOMB_RATIO });
            }
            Err(e) => last = e,
        }
        if !may_be_password(&last) {
            break;
        }
    }
    if encrypted && may_be_password(&last) {
        let what = format!(
            "is encrypted, and no password fits (tried: {}{CUSTOMARY:?}): give it with --zip-password",
            if passwords.is_empty() { String::new() } else { "yours, ".to_owned() }
        );
        return Err(CaptureError::Unsupported { path: shown(), what });
    }
    Err(CaptureError::Open { path: shown(), source: last })
}

/// Whether a failure is what a wrong password looks like: its check or that of the content fails, or the content does not unpack.
fn may_be_password(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(e.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}

/// Whether first bytes are those of a capture, packed or not, or of text that may be a log: what begins with a tag is none, and syslog's priority
/// is a number.
fn is_wanted(head: &[u8]) -> bool {
    let may_be_log = match head {
        [b'<', then, ..] => then.is_ascii_digit(),
        _ => !head.iter().any(|b| *b < b'\t'),
    };
    Magic::of(head).is_some() || Packing::of(head).is_some() || may_be_log
}

fn unpack_with(
    archive: &mut ZipArchive<File>,
    index: usize,
    packed: u64,
    password: Option<&[u8]>,
) -> io::Result<File> {
    let options = ZipReadOptions::new().password(password);
    let mut from = archive.by_index_with_options(index, options).map_err(io::Error::from)?;
    let mut file = tempfile::tempfile()?;
    let (mut block, mut given) = (vec![0; 256 << 10], 0u64);
    // What is neither a capture nor text is not unpacked for its own sake; of an encrypted one only the whole tells whether the password fits.
    let mut head = Vec::new();
    from.by_ref().take(HEAD).read_to_end(&mut head)?;
    file.write_all(&head)?;
    if password.is_none() && !is_wanted(&head) {
        file.rewind()?;
        return Ok(file);
    }
    given += head.len() as u64;
    loop {
        match from.read(&mut block)? {
            0 => break,
            n => {
                given += n as u64;
                unpack::check(given, packed)?;
                file.write_all(&block[..n])?;
            }
        }
    }
    file.rewind()?;
    Ok(file)
}
