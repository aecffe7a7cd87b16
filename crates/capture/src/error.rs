use std::io;

/// Why an input gave no more packets. Offsets count bytes of the file, or of the decompressed data where it was compressed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The input's fault: it cannot be opened.
    #[error("{path}: cannot be opened: {source}")]
    Open {
        /// The input.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The input's fault, or the medium's: reading stopped.
    #[error("{path}: reading stopped at offset {offset}: {source}")]
    Read {
        /// The input.
        path: String,
        /// Where.
        offset: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// The input's fault: it ends within a record. Everything before was read.
    #[error(
        "{path}: ends at offset {end} inside {what} that began at offset {offset} ({missing} bytes are missing); everything before it was read"
    )]
    Truncated {
        /// The input.
        path: String,
        /// Where the unfinished record begins.
        offset: u64,
        /// Where the input ends.
        end: u64,
        /// What is unfinished.
        what: &'static str,
        /// How many bytes it lacks.
        missing: u64,
    },
    /// The input's fault: a record contradicts itself. Everything before was read.
    #[error(
        "{path}: broken at offset {offset}: {what}; everything before it was read (try `editcap` or `pcapfix` to save what follows)"
    )]
    Broken {
        /// The input.
        path: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Not a kind of input that can be read.
    #[error("{path}: {what}")]
    Unsupported {
        /// The input.
        path: String,
        /// What it seems to be, and what to do.
        what: String,
    },
    /// A limit: the compressed input unpacks to absurdly much.
    #[error(
        "{path}: stopped at offset {offset}: unpacks to more than {ratio} times its size, which looks like a decompression bomb; unpack it by hand if it is not"
    )]
    Bomb {
        /// The input.
        path: String,
        /// Bytes unpacked so far.
        offset: u64,
        /// The limit that was passed.
        ratio: u64,
    },
}

impl CaptureError {
    /// The input that the error is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Open { path, .. }
            | Self::Read { path, .. }
            | Self::Truncated { path, .. }
            | Self::Broken { path, .. }
            | Self::Unsupported { path, .. }
            | Self::Bomb { path, .. } => path,
        }
    }
}
