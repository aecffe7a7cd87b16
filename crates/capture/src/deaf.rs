//! Interfaces cannot be listened to here.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use record::{Health, Timestamp};

use crate::listening::Listening;
use crate::merge::InputFile;
use crate::{Batch, CaptureError};

/// Interfaces that cannot be listened to.
pub enum Live {}

impl Live {
    /// Says what to do instead.
    ///
    /// # Errors
    /// Always.
    pub fn open(listening: &Listening, _: Arc<AtomicBool>) -> Result<Self, CaptureError> {
        let names: Vec<&str> = listening.interfaces.iter().map(|(name, _)| name.as_str()).collect();
        let path = names.join(", ");
        let what = "interfaces are listened to on Linux alone: tcpdump -i INTERFACE -w - | hydrophone read -";
        Err(CaptureError::Unsupported { path, what: what.to_owned() })
    }

    /// The sockets.
    pub fn sockets(&self) -> Vec<Arc<OwnedFd>> {
        match *self {}
    }

    /// Where it is put down what happens to interfaces.
    pub fn news(&self) -> Arc<Mutex<Vec<String>>> {
        match *self {}
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

    /// Those of them at which exporters are heard.
    pub fn inlets(&self) -> Vec<u32> {
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

    /// How full the fullest ring is.
    pub fn fullness(&self) -> f64 {
        match *self {}
    }

    /// Says something at once.
    pub fn say(&mut self, _: &str) {
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
