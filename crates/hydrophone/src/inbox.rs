//! Suricata's EVE by a socket of the file system (`filetype: unix_stream` or `unix_dgram`): every line is written to a log, which is followed as any other is. So a line
//! has a number by which it is shown, whoever is killed goes on where it was, and what cannot be kept is counted.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use pipeline::{ByteSize, LONGEST_LINE as LONGEST, OWN_EVENT};

use crate::status::Board;

/// The log that is written to: by a name of its own, so that a folder in which Suricata keeps logs loses none.
const LOG: &str = "hydrophone-eve.json";
/// Into so many files the folder is divided: the oldest goes where there are more bytes than allowed.
const FILES: u64 = 8;
/// The least that a folder may hold: a line of the longest in each file.
const LEAST: ByteSize = ByteSize(FILES * LONGEST as u64);
/// Senders at one time (*assumed*: Suricata opens one, or one a thread).
const SENDERS: usize = 64;
/// What a sender's line may keep of memory once it is over.
const KEPT: usize = 64 << 10;

/// A socket at which lines come.
#[derive(Debug)]
enum Door {
    Stream(UnixListener),
    Datagrams(UnixDatagram),
}

/// Where lines come, and where they are kept.
#[derive(Debug)]
pub struct Inbox {
    door: Door,
    socket: PathBuf,
    kept: Kept,
}

/// The socket's file, and whether datagrams are taken there: `PATH`, or `dgram:PATH`.
pub fn socket_of(named: &Path) -> (PathBuf, bool) {
    let datagrams = named.to_str().and_then(|text| text.strip_prefix("dgram:"));
    datagrams.map_or_else(|| (named.to_owned(), false), |path| (path.into(), true))
}

/// The log in a folder.
pub fn log_in(folder: &Path) -> PathBuf {
    folder.join(LOG)
}

/// What a folder may hold.
///
/// # Errors
/// That is too little.
pub fn allowed(most: ByteSize) -> anyhow::Result<ByteSize> {
    ensure!(most >= LEAST, "--eve-size {most} is too little: at least {LEAST} are needed");
    Ok(most)
}

impl Inbox {
    /// Opens the socket, which the owner and the group of this process may write to, and the log in the folder, which is made where there is none.
    ///
    /// # Errors
    /// One of them cannot be opened, or somebody takes lines there already.
    pub fn open(named: &Path, folder: &Path, most: ByteSize) -> anyhow::Result<Self> {
        let (socket, datagrams) = socket_of(named);
        let kept = Kept::open(folder, allowed(most)?)
            .with_context(|| format!("EVE cannot be kept in {}", folder.display()))?;
        let cannot = || format!("--eve-socket {} cannot be opened", socket.display());
        ensure!(!is_answered(&socket), "somebody takes lines at {} already", socket.display());
        // What a killed one left is nobody's; a file of another kind stays where it is.
        if std::fs::symlink_metadata(&socket).is_ok_and(|lies| is_socket(&lies)) {
            std::fs::remove_file(&socket).with_context(cannot)?;
        }
        let door = if datagrams {
            Door::Datagrams(UnixDatagram::bind(&socket).with_context(cannot)?)
        } else {
            Door::Stream(UnixListener::bind(&socket).with_context(cannot)?)
        };
        std::fs::set_permissions(&socket, Permissions::from_mode(0o660)).with_context(cannot)?;
        Ok(Self { door, socket, kept })
    }

    /// Takes what comes, on threads of their own; what is said of it stands on the board.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn take(self, board: &Board) -> io::Result<Taken> {
        let lost = self.kept.lost.clone();
        let lines = Arc::new(Lines { kept: Mutex::new(self.kept), board: board.clone() });
        let taken = Taken { socket: self.socket, lost };
        std::thread::Builder::new().name("eve".into()).spawn(move || match self.door {
            Door::Stream(door) => lines.accept(&door),
            Door::Datagrams(door) => lines.receive(&door),
        })?;
        Ok(taken)
    }
}

/// Lines that are taken: the socket's file is taken away at the end.
#[derive(Debug)]
pub struct Taken {
    socket: PathBuf,
    lost: Arc<AtomicU64>,
}

impl Taken {
    /// Lines that came and were not kept.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn is_socket(lies: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&lies.file_type())
}

/// Whether somebody takes what is sent there.
pub fn is_answered(socket: &Path) -> bool {
    let datagram = || UnixDatagram::unbound().is_ok_and(|from| from.connect(socket).is_ok());
    UnixStream::connect(socket).is_ok() || datagram()
}

/// Lines on their way to the disk.
struct Lines {
    kept: Mutex<Kept>,
    board: Board,
}

impl Lines {
    fn accept(self: &Arc<Self>, door: &UnixListener) {
        let senders = Arc::new(AtomicUsize::new(0));
        for sender in door.incoming().flatten() {
            if senders.fetch_add(1, Ordering::Relaxed) >= SENDERS {
                senders.fetch_sub(1, Ordering::Relaxed);
                self.board.say(&format!("more than {SENDERS} send EVE at once: one was sent away"));
                continue;
            }
            let (lines, here) = (self.clone(), senders.clone());
            let reads = std::thread::Builder::new().name("eve".into()).spawn(move || {
                lines.read(&sender);
                here.fetch_sub(1, Ordering::Relaxed);
            });
            if reads.is_err() {
                senders.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes the lines of one sender, until it ends.
    fn read(&self, sender: &UnixStream) {
        let mut from = BufReader::with_capacity(1 << 16, sender);
        let mut line = Vec::new();
        let why = loop {
            line.clear();
            line.shrink_to(KEPT);
            match (&mut from).take(LONGEST as u64).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) if line.ends_with(b"\n") => self.keep(&line),
                // The rest of a line that is too long is none.
                Ok(LONGEST) => {
                    self.lose("a line of EVE is longer than 8 MiB");
                    if let Err(e) = from.skip_until(b'\n') {
                        break e;
                    }
                }
                Ok(_) => {
                    self.lose("the last line of EVE was cut off");
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break e,
            }
        };
        self.board.say(&format!("a sender of EVE is gone: {why}"));
    }

    fn receive(&self, door: &UnixDatagram) {
        let mut held = vec![0; LONGEST];
        loop {
            match door.recv(&mut held) {
                Ok(len) if len == held.len() => self.lose("a line of EVE is longer than 8 MiB"),
                Ok(len) => held[..len].split(|b| *b == b'\n').for_each(|line| self.keep(line)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.board.say(&format!("EVE is taken no more: {e}"));
                    return;
                }
            }
        }
    }

    fn keep(&self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.fails;
        let said = match kept.write(line) {
            Ok(()) => {
                kept.fails = 0;
                (before > 0).then(|| format!("EVE is kept again; {before} lines were not"))
            }
            Err(e) => {
                kept.fails += 1;
                kept.lost.fetch_add(1, Ordering::Relaxed);
                let why = format!("EVE cannot be kept in {}: {e}; it is tried again", kept.folder.display());
                (before == 0).then_some(why)
            }
        };
        drop(kept);
        if let Some(what) = said {
            self.board.say(&what);
        }
    }

    fn lose(&self, why: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).lost.fetch_add(1, Ordering::Relaxed);
        self.board.say(why);
    }
}

/// The log that is written to, and those before it.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    most: u64,
    file: File,
    len: u64,
    /// Bytes of the row that it begins with.
    begun: u64,
    /// Something stands behind that, which is no line.
    is_torn: bool,
    /// Lines that could not be written one after the other, until now.
    fails: u64,
    lost: Arc<AtomicU64>,
}

impl Kept {
    fn open(folder: &Path, most: ByteSize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (file, len) = opened(folder)?;
        let (folder, most) = (folder.to_owned(), most.0);
        let mut kept =
            Self { folder, most, file, len, begun: 0, is_torn: false, fails: 0, lost: Arc::default() };
        if kept.len == 0 {
            // Where the disk is full that is tried again with the first line.
            let _ = kept.begin();
        }
        Ok(kept)
    }

    /// Writes a line whole, or not at all.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.is_torn) {
            self.mend()?;
        }
        let more = line.len() as u64 + 1;
        if self.len > self.begun && self.len + more > self.most / FILES {
            self.put_aside()?;
        }
        if self.len == 0 {
            self.begin()?;
        }
        self.append(line)
    }

    /// A log begins with a row that says so, by which it is known for one before anything comes.
    fn begin(&mut self) -> io::Result<()> {
        let row = serde_json::json!({ "timestamp": capture::now().to_string(), "event_type": OWN_EVENT });
        self.append(row.to_string().as_bytes())?;
        self.begun = self.len;
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(e) = self.file.write_all(&[line, b"\n"].concat()) {
            self.mend()?;
            return Err(e);
        }
        self.len += line.len() as u64 + 1;
        Ok(())
    }

    /// Takes away what was written of a line that was not written to its end.
    fn mend(&mut self) -> io::Result<()> {
        self.is_torn = true;
        self.file.set_len(self.len)?;
        self.is_torn = false;
        Ok(())
    }

    /// Puts the log aside by the time, and begins another one. Before, what is too much goes, the oldest first, whether it was read or not.
    fn put_aside(&mut self) -> io::Result<()> {
        let mut aside: Vec<(PathBuf, u64)> = Vec::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if let Ok(lies) = entry.metadata()
                && lies.is_file()
                && is_put_aside(&entry.file_name().to_string_lossy())
            {
                aside.push((entry.path(), lies.len()));
            }
        }
        // Their names are in the order of time.
        aside.sort();
        let mut held: u64 = self.len + aside.iter().map(|(_, len)| len).sum::<u64>();
        for (path, len) in aside {
            if held + self.most / FILES <= self.most {
                break;
            }
            // One that cannot be removed is tried again, and takes no line with it.
            if std::fs::remove_file(&path).is_ok() {
                held -= len;
            }
        }
        let at = capture::now().to_string().replace(':', "-");
        match std::fs::rename(log_in(&self.folder), self.folder.join(format!("{LOG}.{at}"))) {
            // Somebody has taken it away.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        (self.file, self.len) = opened(&self.folder)?;
        self.begun = 0;
        Ok(())
    }
}

/// Whether a file is called as a log of this program that was put aside: `hydrophone-eve.json.2026-11-30T09-14-51Z`.
fn is_put_aside(name: &str) -> bool {
    let at = name.strip_prefix(LOG).and_then(|rest| rest.strip_prefix('.'));
    at.is_some_and(|at| {
        at.ends_with('Z')
            && at.contains('T')
            && at.bytes().all(|b| b.is_ascii_digit() || b"-T.Z".contains(&b))
    })
}

/// Opens the log, behind its last whole line.
fn opened(folder: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).read(true).append(true).open(log_in(folder))?;
    let len = file.seek(SeekFrom::End(0))?;
    // No line is longer.
    let from = len.saturating_sub(LONGEST as u64 + 1);
    file.seek(SeekFrom::Start(from))?;
    let mut held = Vec::new();
    file.read_to_end(&mut held)?;
    let whole = held.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole == 0 && from > 0 {
        let what = format!("{} is no log of lines", log_in(folder).display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let end = from + whole as u64;
    file.set_len(end)?;
    Ok((file, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_lines_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        for others in ["eve.json.1.gz", "hydrophone-eve.json.old"] {
            std::fs::write(dir.path().join(others), [0; 1000]).unwrap();
        }
        let mut kept = Kept::open(dir.path(), ByteSize(1600)).unwrap();
        let line = |n: usize| format!("{{\"line\":{n:040}}}").into_bytes();
        for n in 0..80 {
            kept.write(&line(n)).unwrap();
        }
        let mut logs: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        let len = logs.len();
        logs.retain(|p| !p.ends_with("eve.json.1.gz") && !p.ends_with("hydrophone-eve.json.old"));
        assert_eq!(logs.len() + 2, len, "what others keep there stays");
        logs.sort();
        assert!(logs.len() <= 1 + FILES as usize, "{logs:?}");
        let held: u64 = logs.iter().map(|p| p.metadata().unwrap().len()).sum();
        assert!(held <= 1600, "{held}");
        let text: String = logs[1..].iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
        let last = std::fs::read_to_string(log_in(dir.path())).unwrap();
        assert!((text + &last).contains(&format!("{:040}", 79)));
        // Somebody takes the log away: it goes on in another one.
        std::fs::remove_file(log_in(dir.path())).unwrap();
        for n in 0..10 {
            kept.write(&line(n)).unwrap();
        }
        assert!(log_in(dir.path()).exists());
        // A torn line is taken away, by whoever goes on.
        drop(kept);
        let log = log_in(dir.path());
        std::fs::write(&log, b"{\"a\":1}\n{\"b\":").unwrap();
        let mut kept = Kept::open(dir.path(), ByteSize(800)).unwrap();
        kept.write(b"{\"c\":3}").unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "{\"a\":1}\n{\"c\":3}\n");
        // What has no lines is somebody else's.
        drop(kept);
        std::fs::write(&log, vec![b'x'; LONGEST + 2]).unwrap();
        assert!(Kept::open(dir.path(), ByteSize(800)).is_err());
        assert_eq!(std::fs::metadata(&log).unwrap().len(), LONGEST as u64 + 2);
        assert!(allowed(ByteSize(1 << 20)).is_err());
    }
}
