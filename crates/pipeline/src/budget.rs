use std::fmt;
use std::str::FromStr;

use flow::Limits;
use verdict::AnalystLimits;

/// A size in bytes, written like `64MiB`, `1GiB`, `500MB` or plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let n: u64 = digits
            .parse()
            .map_err(|_| format!("{text:?} is not a size: write 64MiB, 1GiB or a number of bytes"))?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            other => return Err(format!("{other:?} is not a unit of size: KiB, MiB, GiB, kB, MB or GB")),
        };
        n.checked_mul(factor).map(Self).ok_or_else(|| format!("{text:?} is too large"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >= 1 << shift && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// What names, partners and remotes cost, by local hosts (*assumed*).
const NAMES_COST: u64 = 2 << 10;
/// Buffers of streams, batches in flight, the program itself: not divided.
const FIXED: u64 = 24 << 20;
/// The smallest budget that makes sense.
pub const SMALLEST: ByteSize = ByteSize(48 << 20);

/// How one budget is divided among the tables.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// For each shard's flow table.
    pub flows: Limits,
    /// For unfinished IP datagrams.
    pub fragments: usize,
    /// For the analyst.
    pub analyst: AnalystLimits,
}

impl Budget {
    /// Divides `total` bytes: three fifths for flows and their streams, a tenth for fragments (16 MiB at most), the rest for hosts: two thirds for their files, one for names and remotes.
    ///
    /// Where no capture is read, there are neither flows nor fragments: files of hosts have two fifths, and what is left is for rows that wait to be read,
    /// put in order and stored, and for the stories that are told of them.
    pub fn divide(total: ByteSize, shards: u32, captures: bool) -> Self {
        let room = total.0.max(SMALLEST.0) - FIXED;
        let flows = if captures { room / 5 * 3 } else { room / 50 } / u64::from(shards.max(1));
        let fragments = (room / if captures { 10 } else { 100 }).min(16 << 20);
        let bytes = room / 10 * if captures { 2 } else { 4 };
        let hosts = room / 10 / NAMES_COST;
        Self {
            flows: Limits::of_budget(flows as usize),
            fragments: fragments as usize,
            analyst: AnalystLimits { bytes: bytes as usize, hosts: (hosts as usize).max(256) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("500MB", 500_000_000), ("123", 123), ("2g", 2 << 30)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes);
        }
        assert_eq!(ByteSize(1 << 30).to_string(), "1GiB");
        for bad in ["", "x", "12parsecs", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_parts_stay_within_the_whole() {
        for (total, captures) in [64u64 << 20, 1 << 30].into_iter().flat_map(|t| [(t, true), (t, false)]) {
            let b = Budget::divide(ByteSize(total), 16, captures);
            // Rows of logs, rows of exporters and a store's segment take an eighth each.
            let total = if captures { total } else { total / 8 * 5 + FIXED };
            let flows = 16 * (b.flows.flow_bytes + b.flows.waiting_bytes) as u64;
            let sum = flows
                + b.fragments as u64
                + b.analyst.bytes as u64
                + b.analyst.hosts as u64 * NAMES_COST
                + FIXED;
            assert!(sum <= total, "{sum} of {total}");
        }
    }
}
