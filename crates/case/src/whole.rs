//! What is written beside its place, and stands there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// A name beside a path that nobody else uses: this process's own.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{what}-{}", std::process::id()));
    path.with_file_name(name)
}

/// A file that appears at its place when it is finished. What is dropped before leaves nothing, and an older file as it was.
///
/// Where something stands that is no file (a pipe, a terminal, `/dev/null`), it is written to directly.
pub struct WholeFile {
    place: PathBuf,
    /// Where it grows, if that is not its place.
    fresh: Option<PathBuf>,
    out: BufWriter<File>,
}

impl WholeFile {
    /// Begins a file.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        // Behind a link it is the file that is replaced, and not the link.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let there = fs::metadata(&place).ok();
        ensure!(
            !there.as_ref().is_some_and(fs::Metadata::is_dir),
            "cannot write {}: it is a folder",
            path.display()
        );
        if there.as_ref().is_some_and(|m| !m.is_file()) {
            let file = File::options().write(true).open(&place).with_context(cannot)?;
            return Ok(Self { place, fresh: None, out: BufWriter::new(file) });
        }
        let fresh = beside(&place, "new");
        let file = File::create(&fresh).with_context(cannot)?;
        let made = Self { place, fresh: Some(fresh), out: BufWriter::new(file) };
        if let Some(there) = there {
            made.out.get_ref().set_permissions(there.permissions()).with_context(cannot)?;
        }
        Ok(made)
    }

    /// Where it will be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let done = self.out.flush().and_then(|()| match &self.fresh {
            Some(fresh) => {
                self.out.get_ref().sync_all()?;
                fs::rename(fresh, &self.place)
            }
            None => Ok(()),
        });
        done.with_context(|| format!("cannot write {}", self.place.display()))?;
        self.fresh = None;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(fresh) = &self.fresh {
            let _ = fs::remove_file(fresh);
        }
    }
}

/// A folder that appears at its place when it is finished, and takes the place of an older one in one step.
pub struct WholeFolder {
    place: PathBuf,
    fresh: PathBuf,
}

impl WholeFolder {
    /// Begins a folder; whether one that is there may be replaced is for the caller to say.
    ///
    /// # Errors
    /// Nothing can be written beside it.
    pub fn begin(place: &Path) -> anyhow::Result<Self> {
        if let Some(parent) = place.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let fresh = beside(place, "new");
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
        Ok(Self { place: place.to_owned(), fresh })
    }

    /// Where its files are written.
    pub fn path(&self) -> &Path {
        &self.fresh
    }

    /// Where it will be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// It cannot be moved there.
    pub fn finish(self) -> anyhow::Result<()> {
        put_in_place(&self.fresh, &self.place, &beside(&self.place, "old"))
    }
}

impl Drop for WholeFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.fresh);
    }
}

/// Moves the finished folder to its place. Where one is there already, the two change places in one step, so that at
/// every moment either the old one or the new one is there, whole.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let mut file = WholeFile::begin(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        for text in ["one", "two"] {
            let mut file = WholeFile::begin(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.finish().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(WholeFile::begin(dir.path()).is_err(), "a folder is no file");
        assert!(WholeFile::begin(&dir.path().join("none/x")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_written_to_and_a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut null = WholeFile::begin(Path::new("/dev/null")).unwrap();
        null.write_all(b"x").unwrap();
        null.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut out = WholeFile::begin(&link).unwrap();
        out.write_all(b"new").unwrap();
        out.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}
