//! NTLMSSP (MS-NLMP): who logs on, which its third message says in clear.

use crate::cutter::{le16, le32, upto};
use crate::outbox::text;

const SIGNATURE: &[u8] = b"NTLMSSP\0";
/// `NTLMSSP_NEGOTIATE_UNICODE` (§2.2.2.5).
const UNICODE: u32 = 1;
/// Bytes of a name that are read; Windows has names of at most 104 characters (an account) and 255 (a domain).
const MAX_NAME: usize = 512;

/// What an AUTHENTICATE_MESSAGE says (§2.2.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub domain: String,
    pub user: String,
    pub workstation: String,
}

impl Login {
    /// `DOMAIN\user`; the user alone where no domain is named, nothing for nobody.
    pub fn account(&self) -> String {
        if self.domain.is_empty() || self.user.is_empty() {
            return self.user.clone();
        }
        format!("{}\\{}", self.domain, self.user)
    }
}

/// UTF-16LE as it comes from the wire, up to its first NUL.
pub fn utf16(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).take_while(|u| *u != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Finds the message in a token, whatever wraps it (SPNEGO, or nothing).
pub fn login(token: &[u8]) -> Option<Login> {
    let at = token.windows(SIGNATURE.len()).position(|w| w == SIGNATURE)?;
    let message = token.get(at..)?;
    if le32(message, 8)? != 3 {
        return None;
    }
    let unicode = le32(message, 60).is_none_or(|flags| flags & UNICODE != 0);
    let field = |at: usize| {
        let (length, offset) = (le16(message, at)?, le32(message, at.checked_add(4)?)?);
        let bytes = upto(message, usize::try_from(offset).ok()?, usize::from(length).min(MAX_NAME));
        Some(if unicode { utf16(bytes) } else { text(bytes, MAX_NAME) })
    };
    Some(Login { domain: field(28)?, user: field(36)?, workstation: field(44)? })
}
