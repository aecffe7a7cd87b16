//! Rights are given up on Linux alone.

use std::path::PathBuf;

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
    /// Sockets at which it is listened.
    pub mute: Vec<i32>,
}

/// Whether it is root.
pub fn is_root() -> bool {
    false
}

/// Nobody becomes somebody else.
///
/// # Errors
/// Never.
pub fn step_down(_: Option<&str>) -> anyhow::Result<Vec<String>> {
    Ok(Vec::new())
}

/// Nothing is given up.
///
/// # Errors
/// Never.
pub fn give_up(_: &Needs) -> anyhow::Result<Vec<String>> {
    Ok(vec!["rights are not given up on this system".to_owned()])
}
