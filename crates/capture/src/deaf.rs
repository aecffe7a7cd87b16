//! Interfaces cannot be listened to here.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use record::{Health, Timestamp};

use crate::filter::Filter;
use crate::merge::InputFile;
use crate::{Batch, CaptureError};

/// What is listened to, and how.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The interfaces, by name.
    pub interfaces: Vec<String>,
    /// Bytes of the rings of all interfaces together.
    pub ring: usize,
    /// Whether frames for others are wanted.
    pub promiscuous: bool,
    /// What the kernel leaves out.
    pub filter: Filter,
}

/// Interfaces that cannot be listened to.
pub enum Live {}

impl Live {
    /// Says what to do instead.
    ///
    /// # Errors
    /// Always.
    pub fn open(listening: &Listening, _: Arc<AtomicBool>) -> Result<Self, CaptureError> {
        let path = listening.interfaces.join(", ");
        let what = "interfaces are listened to on Linux alone: tcpdump -i INTERFACE -w - | hydrophone read -";
        Err(CaptureError::Unsupported { path, what: what.to_owned() })
    }

    /// Packets of the first interface are called by this number.
    pub fn number_from(&mut self, _: u32) {
        match *self {}
    }

    /// Earlier runs heard the last packet then.
    pub fn go_on_from(&mut self, _: Timestamp) {
        match *self {}
    }

    /// The interfaces.
    pub fn files(&self) -> &[InputFile] {
        match *self {}
    }

    /// What a reader must be told.
    pub fn notices(&self) -> Vec<String> {
        match *self {}
    }

    /// Packets handed on so far.
    pub fn packets(&self) -> u64 {
        match *self {}
    }

    /// Bytes captured so far.
    pub fn captured(&self) -> u64 {
        match *self {}
    }

    /// Packets that found no room so far.
    pub fn dropped(&self) -> u64 {
        match *self {}
    }

    /// What was counted so far.
    pub fn health(&self) -> Health {
        match *self {}
    }

    /// Fills `batch` with what came.
    pub fn next_batch(&mut self, _: &mut Batch) -> bool {
        match *self {}
    }
}
