//! What is told of a file that passed from one machine to another.

use serde::{Deserialize, Serialize};

use crate::{Direction, Head, Magic, PacketId, Service, hex};

/// A file in transfer: what programs, archives, documents and whatever is not text, markup, a picture or sound came or went as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// `ts` is when its first bytes came; `known` when it ended.
    pub head: Head,
    /// Who sent it.
    pub from: Direction,
    /// What carried it: HTTP, or nothing (`Unknown`): the bytes alone, as FTP's data connections have them.
    pub carrier: Service,
    /// What it is called: the last part of the request's path, or the name that the server gave it (at most 255 bytes).
    pub name: Option<String>,
    /// The type that it is said to have, lower case, without parameters.
    pub declared: Option<String>,
    /// What its first bytes are.
    pub magic: Magic,
    /// Bytes seen, and bytes that must have been there where some are missing.
    pub len: u64,
    /// Whether all of it was seen.
    pub whole: bool,
    /// SHA-256, where all of it was seen as it is, and hashes were wanted.
    pub sha256: Option<[u8; 32]>,
    /// First packets of it, and the last.
    pub packets: Vec<PacketId>,
}

impl FileInfo {
    /// Whether a declared type is that of what pages are made of, or of certificates' business: scripts, styles, fonts, OCSP.
    pub fn is_part_of_page(declared: &str) -> bool {
        const WORDS: [&str; 9] =
            ["javascript", "ecmascript", "css", "font", "opentype", "woff", "ocsp", "pkix", "image/"];
        WORDS.iter().any(|word| declared.contains(word))
    }

    /// The same, or a page's own: text, markup, data of scripts.
    pub fn is_of_page(declared: &str) -> bool {
        let own = ["json", "xml"].iter().any(|word| declared.contains(word));
        own || declared.starts_with("text/") || Self::is_part_of_page(declared)
    }

    /// SHA-256 in hex.
    pub fn sha256(&self) -> Option<String> {
        self.sha256.map(|sum| hex(&sum))
    }
}
