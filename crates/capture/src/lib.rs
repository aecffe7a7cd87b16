//! Where do packets come from?
//!
//! Captures are read as pcap or pcapng, plain or compressed, from files, directories and standard input, and come
//! out as batches in the order of packet time. Everything is read in blocks that fit the cache and are used again. Nothing
//! of a file is copied per packet: a [`Batch`] holds shared blocks and where each packet lies in them. Interfaces that are listened to fill the same batches from
//! the kernel's ring, and pipes that others write captures to.
#![deny(missing_docs)]
#![deny(unsafe_code)]

mod archive;
mod error;
mod filter;
mod format;
mod inlet;
mod listening;
mod live;
mod merge;
mod pipe;
#[cfg_attr(not(target_os = "linux"), path = "deaf.rs")]
mod ring;
mod source;
mod unpack;
mod write;

pub use archive::file_of;
pub use error::CaptureError;
pub use filter::{Filter, Instruction};
pub use listening::Listening;
pub use live::{Live, Standing};
pub use merge::{
    Batch, CaptureSet, InputFile, Notice, PacketMeta, Source, files_in, is_called_capture, is_packed,
    members_of, now,
};
pub use source::{Block, Captures, Opening, Seal, Window, open};
pub use write::{LINKTYPE_ETHERNET, PcapngWriter};

/// Unpacks arbitrary bytes as each of the compressions and reads what comes out. A fuzz function; the target is a shim.
///
/// The first byte chooses the compression, so that its magic need not be found by chance.
pub fn fuzz_unpack(data: &[u8]) {
    const MAGICS: [&[u8]; 6] = [
        &[0x1f, 0x8b, 8, 0],
        &[0x28, 0xb5, 0x2f, 0xfd],
        &[4, 0x22, 0x4d, 0x18],
        &[],
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        b"BZh9",
    ];
    /// As far as is read: bombs are stopped by `source`, whose own test takes its time.
    const ENOUGH: u64 = 4 << 20;
    let [choice, rest @ ..] = data else { return };
    let bytes = [MAGICS[usize::from(*choice) % MAGICS.len()], rest].concat();
    let Ok(window) = source::stream(Box::new(std::io::Cursor::new(bytes))) else { return };
    let mut reader = format::Reader::new(window, "fuzz".into());
    while let Ok(Some(raw)) = reader.next_packet() {
        assert!(raw.offset + raw.captured as usize <= reader.block().len());
        if reader.offset() > ENOUGH {
            return;
        }
    }
}

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
