//! What a service says to who manages it (`sd_notify(3)`). The libraries for it open a socket for every word; this one is opened before rights are given up, and
//! written to, which needs no right.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// How often the manager is told how it goes.
const STATUS: Duration = Duration::from_secs(30);

/// The way to a service's manager, where there is one.
#[derive(Default)]
pub struct Manager {
    way: Option<File>,
    /// How often it wants to hear that the service lives: three times as often as it would lose patience.
    alive: Option<Duration>,
    told_alive: Option<Instant>,
    told_status: Option<Instant>,
}

impl Manager {
    /// Opens the way that the environment names.
    pub fn of_environment() -> Self {
        let way = env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name).ok());
        let patience = env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let alive = patience.map(|micros| Duration::from_micros(micros) / 3);
        Self { way, alive, ..Self::default() }
    }

    /// The service is there.
    pub fn is_ready(&mut self) {
        self.say("READY=1");
    }

    /// The service ends.
    pub fn ends(&mut self) {
        self.say("STOPPING=1");
    }

    /// The service lives, and this is how it goes; called often.
    #[allow(clippy::disallowed_methods)] // The manager's patience is measured by the machine's clock.
    pub fn lives(&mut self, status: impl FnOnce() -> String) {
        if self.way.is_none() {
            return;
        }
        let now = Instant::now();
        let due = |told: Option<Instant>, every| told.is_none_or(|at| now.duration_since(at) >= every);
        if self.alive.is_some_and(|every| due(self.told_alive, every)) {
            self.told_alive = Some(now);
            self.say("WATCHDOG=1");
        }
        if due(self.told_status, STATUS) {
            self.told_status = Some(now);
            self.say(&format!("STATUS={}", status()));
        }
    }

    fn say(&mut self, word: &str) {
        if let Some(way) = &mut self.way {
            // Whoever does not listen misses nothing that we owe.
            let _ = way.write(word.as_bytes());
        }
    }
}

#[cfg(target_os = "linux")]
fn connect(name: &OsStr) -> std::io::Result<File> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes() {
        [b'@', name @ ..] => {
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        }
        _ => socket.connect(name)?,
    }
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

#[cfg(not(target_os = "linux"))]
fn connect(_: &OsStr) -> std::io::Result<File> {
    Err(std::io::ErrorKind::Unsupported.into())
}
