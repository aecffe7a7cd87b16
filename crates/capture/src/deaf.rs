//! Interfaces cannot be listened to here: pipes can, which tcpdump writes to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::filter::Filter;
use crate::listening::{Frame, Setup};

/// A ring that nobody can open.
pub enum Ring {}

impl Ring {
    /// Says that there is none.
    ///
    /// # Errors
    /// Always: unsupported.
    pub fn open(_: &str, _: &Setup, _: &Filter) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn bind(&mut self, _: u32) -> io::Result<()> {
        match *self {}
    }

    pub fn index_of(&self, _: &str) -> io::Result<u32> {
        match *self {}
    }

    pub fn socket(&self) -> Arc<OwnedFd> {
        match *self {}
    }

    pub fn index(&self) -> u32 {
        match *self {}
    }

    pub fn trouble(&self) -> Option<io::Error> {
        match *self {}
    }

    pub fn kind(&self) -> io::Result<u16> {
        match *self {}
    }

    pub fn is_up(&self, _: &str) -> io::Result<bool> {
        match *self {}
    }

    pub fn close(&self) -> io::Result<()> {
        match *self {}
    }

    pub fn statistics(&self) -> io::Result<(u64, u64)> {
        match *self {}
    }

    pub fn fullness(&self) -> f64 {
        match *self {}
    }

    pub fn take(&mut self, _: impl FnMut(Frame<'_>)) -> bool {
        match *self {}
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

/// Nobody says how many datagrams found no room at a socket.
///
/// # Errors
/// Always: unsupported.
pub fn drops_of(_: &OwnedFd) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}
