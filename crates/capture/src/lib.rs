//! Where do packets come from?
//!
//! Captures are read as pcap or pcapng, plain or compressed, from files, directories and standard input, and come
//! out as batches in the order of packet time. Everything is read in blocks that fit the cache and are used again. Nothing
//! is copied per packet: a [`Batch`] holds shared blocks and where each packet lies in them.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod error;
mod format;
mod merge;
mod source;
mod write;

pub use error::CaptureError;
pub use merge::{Batch, CaptureSet, InputFile, Notice, PacketMeta, Source};
pub use source::Block;
pub use write::{LINKTYPE_ETHERNET, PcapngWriter};

/// Runs the readers over arbitrary bytes and checks their promises: every packet lies within the input, and an end
/// is reached. A fuzz function; the target is a shim.
pub fn fuzz_read(data: &[u8]) {
    let mut reader = format::Reader::new(source::Window::memory(data.to_vec()), "fuzz".into());
    let mut packets = 0usize;
    while let Ok(Some(raw)) = reader.next_packet() {
        let block = reader.block();
        assert!(raw.offset + raw.captured as usize <= block.len());
        packets += 1;
        assert!(packets <= data.len(), "every packet takes at least one byte of the input");
    }
}
