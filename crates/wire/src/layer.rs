//! The bytes of one layer: the one place where bounds are proved.

/// A header's bytes and everything behind it.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// What was captured.
    pub bytes: &'a [u8],
    /// How many bytes it had on the wire; never fewer than captured.
    pub wire: usize,
    /// Where `bytes` begins in the frame.
    pub base: usize,
}

impl<'a> Layer<'a> {
    /// The first `N` bytes as an array, if they were captured.
    #[inline]
    pub fn head<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes.first_chunk::<N>()
    }

    /// Everything behind the first `n` bytes; nothing captured remains if they were cut.
    #[inline]
    pub fn skip(self, n: usize) -> Self {
        Self {
            bytes: self.bytes.get(n..).unwrap_or_default(),
            wire: self.wire.saturating_sub(n),
            base: self.base.saturating_add(n.min(self.bytes.len())),
        }
    }

    /// At most the first `n` bytes: what follows is padding or trailer.
    #[inline]
    pub fn limit(self, n: usize) -> Self {
        Self {
            bytes: self.bytes.get(..n).unwrap_or(self.bytes),
            wire: self.wire.min(n).max(self.bytes.len().min(n)),
            base: self.base,
        }
    }
}
