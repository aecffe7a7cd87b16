//! What a sensor needs no more once it listens: it becomes an unprivileged user, and can open no file but those it declared, no socket, and run no program.

use std::path::PathBuf;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod system;

pub use system::{give_up, is_root, is_user, step_down};

/// What is still needed when the rest is given up.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Folders that are written in.
    pub writes: Vec<PathBuf>,
    /// Files and folders that are read.
    pub reads: Vec<PathBuf>,
    /// Whether something is asked of a network.
    pub asks: bool,
    /// Whether somebody who asks is answered, at doors that are open.
    pub answers: bool,
    /// Sockets at which it is listened, by number: what is written to them would be sent.
    pub mute: Vec<i32>,
}
