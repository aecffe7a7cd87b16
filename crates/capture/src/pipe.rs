//! A pipe that another program writes a capture to (`tcpdump -U -w -`, here or at another machine): a thread of its own reads it, as far as there is room,
//! and who writes to it waits.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::format::Reader;
use crate::listening::Frame;
use crate::source::{BLOCK, LOOK_UP, Patient, read_error, stream};
use crate::{CaptureError, Listening};

/// How long what is under way is still waited for once it is to end (*assumed*: a Ctrl-C ends the writer, too, which writes down what it has).
const GRACE: Duration = Duration::from_secs(2);

/// A pipe.
pub struct Pipe {
    shared: Arc<Shared>,
    /// What can be read of it says that there are packets.
    woken: PipeReader,
    /// Kept, so that it never reads as one that nobody writes to.
    _wake: PipeWriter,
    /// What the thread begins with, until it has begun.
    begins: Option<Reading>,
    /// Packets that are handed on.
    taken: Vec<Place>,
    bytes: Vec<u8>,
}

/// Where a packet lies, and what is known of it.
#[derive(Clone, Copy)]
struct Place {
    ns: i64,
    link: u32,
    original: u32,
    captured: usize,
}

/// What the thread and its reader share.
struct Shared {
    waiting: Mutex<Waiting>,
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    packets: Vec<Place>,
    bytes: Vec<u8>,
    /// Packets that its writers say they lost.
    dropped: u64,
    told: Vec<Told>,
    ended: bool,
    /// Nobody takes anything any more.
    abandoned: bool,
}

impl Waiting {
    /// Whether there is room for no more.
    fn is_full(&self) -> bool {
        self.bytes.len() + self.packets.len() * size_of::<Place>() >= BLOCK
    }
}

/// Says that a thread has ended, also one that panicked.
struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
    }
}

/// What happened to a pipe.
pub enum Told {
    /// It could not be read, or not to its end.
    Failed(String),
    /// Something that is no fault.
    News(String),
    /// Nobody writes to it, or somebody does.
    Waits(bool),
    /// What comes is not read, until its writer is gone.
    Drains,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread reads from.
struct Reading {
    name: String,
    file: Arc<File>,
    /// Whether other writers may come.
    again: bool,
    stop: Arc<AtomicBool>,
    wake: PipeWriter,
}

impl Pipe {
    /// Opens a named pipe or, for `-`, standard input; ends when `stop` is set.
    ///
    /// # Errors
    /// There is none, or it is something else.
    pub fn open(path: &Path, stop: Arc<AtomicBool>) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        let fail = |source| CaptureError::Open { path: name.clone(), source };
        let again = !Listening::is_standard_input(path);
        let file = if again {
            // Nobody may write to it yet.
            let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
            let file = opened.map_err(fail)?;
            if !file.metadata().map_err(fail)?.file_type().is_fifo() {
                let what = "is no pipe (mkfifo makes one): `hydrophone read` reads captures that are files";
                return Err(CaptureError::Unsupported { path: name, what: what.to_owned() });
            }
            file
        } else {
            if io::stdin().is_terminal() {
                let what = "is a terminal, where a capture is expected: tcpdump -i INTERFACE -U -w - | hydrophone listen --pipe -";
                return Err(CaptureError::Unsupported { path: "standard input".into(), what: what.into() });
            }
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(fail)?)
        };
        let (woken, wake) = io::pipe().map_err(fail)?;
        for end in [woken.as_fd(), wake.as_fd()] {
            rustix::io::ioctl_fionbio(end, true).map_err(|e| fail(e.into()))?;
        }
        let kept = wake.try_clone().map_err(fail)?;
        let shared = Arc::new(Shared { waiting: Mutex::default(), room: Condvar::new() });
        let begins = Some(Reading { name, file: Arc::new(file), again, stop, wake });
        Ok(Self { shared, woken, _wake: kept, begins, taken: Vec::new(), bytes: Vec::new() })
    }

    /// Gives the packets that have come; `false` when there are none. Its thread begins with the first call.
    pub fn take(&mut self, mut each: impl FnMut(Frame<'_>)) -> bool {
        if let Some(reading) = self.begins.take() {
            let shared = self.shared.clone();
            std::thread::spawn(move || reading.run(&shared));
        }
        self.taken.clear();
        self.bytes.clear();
        let mut waiting = self.shared.lock();
        std::mem::swap(&mut self.taken, &mut waiting.packets);
        std::mem::swap(&mut self.bytes, &mut waiting.bytes);
        // What woke us is over, under the lock under which it is said.
        let _ = self.woken.read(&mut [0; 8]);
        drop(waiting);
        self.shared.room.notify_one();
        let mut rest = &self.bytes[..];
        for place in &self.taken {
            let (bytes, behind) = rest.split_at(place.captured);
            rest = behind;
            each(Frame {
                ns: place.ns,
                original: place.original,
                vlan: None,
                outgoing: false,
                link: Some(place.link),
                bytes,
            });
        }
        !self.taken.is_empty()
    }

    /// What happened to it, once.
    pub fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.shared.lock().told)
    }

    /// Packets that its writers say they lost so far.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Nothing more comes, and everything was taken.
    pub fn is_over(&self) -> bool {
        let waiting = self.shared.lock();
        waiting.ended && waiting.packets.is_empty()
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.room.notify_one();
    }
}

impl Reading {
    fn patient(&self) -> Patient<Arc<File>> {
        Patient::new(self.file.clone(), self.stop.clone(), GRACE)
    }

    fn run(self, shared: &Shared) {
        // However it ends, nobody waits for it.
        let ends = Ends(shared);
        loop {
            if self.again {
                self.tell(shared, Told::Waits(true));
                if !self.is_written_to() {
                    break;
                }
                self.tell(shared, Told::Waits(false));
            }
            let ended = match stream(Box::new(self.patient())) {
                Ok(window) => self.one_capture(Reader::new(window, self.name.clone()), shared),
                Err(e) => Err(read_error(&self.name, 0, e)),
            };
            match ended {
                Ok(false) => break,
                // Where it is cut because it was to end, it goes on for others.
                _ if self.stop.load(Ordering::Relaxed) => break,
                Ok(true) if self.again => {
                    self.tell(
                        shared,
                        Told::News(format!("who wrote to {} is gone: the next is waited for", self.name)),
                    );
                }
                Ok(true) => break,
                Err(e) => {
                    self.tell(shared, Told::Failed(e.to_string()));
                    if !self.again {
                        break;
                    }
                    self.drain(shared);
                }
            }
        }
        drop(ends);
        self.wake();
    }

    fn tell(&self, shared: &Shared, told: Told) {
        shared.lock().told.push(told);
        self.wake();
    }

    /// What a writer sends behind what cannot be read would be taken for the next one's beginning.
    fn drain(&self, shared: &Shared) {
        self.tell(shared, Told::Drains);
        if let Ok(bytes @ 1..) = io::copy(&mut self.patient(), &mut io::sink()) {
            let name = &self.name;
            self.tell(
                shared,
                Told::Failed(format!("{name}: {bytes} bytes that came behind that were not read")),
            );
        }
    }

    /// Whether anybody has written anything; waits for it.
    fn is_written_to(&self) -> bool {
        while !self.stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(&*self.file, PollFlags::IN)];
            let polled = rustix::event::poll(&mut ready, Some(&LOOK_UP));
            if ready[0].revents().contains(PollFlags::IN) {
                return true;
            }
            // Whose last writer is gone says so at once, for ever.
            if polled != Ok(0) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        false
    }

    /// Hands on the packets of a capture; `false` if nobody takes them.
    fn one_capture(&self, mut reader: Reader, shared: &Shared) -> Result<bool, Box<CaptureError>> {
        let mut lost = 0;
        loop {
            let next = reader.next_packet();
            let dropped = reader.dropped();
            let mut waiting = shared.lock();
            // A later statistic may say less than one before.
            waiting.dropped += dropped.saturating_sub(lost);
            lost = lost.max(dropped);
            let Some(raw) = next? else { return Ok(true) };
            while waiting.is_full() && !waiting.abandoned {
                waiting = shared.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.abandoned {
                return Ok(false);
            }
            let captured = raw.captured as usize;
            waiting.bytes.extend_from_slice(&reader.block()[raw.offset..raw.offset + captured]);
            let is_first = waiting.packets.is_empty();
            waiting.packets.push(Place { ns: raw.ts.0, link: raw.link, original: raw.original, captured });
            if is_first {
                self.wake();
            }
        }
    }

    fn wake(&self) {
        // A pipe that is full says it already.
        let _ = (&self.wake).write(&[1]);
    }
}
