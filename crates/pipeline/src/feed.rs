//! Where batches come from: captures that are read, or interfaces and pipes that are listened to.

use capture::{Batch, CaptureSet, InputFile, Live, Notice};
use record::Health;

/// Where batches come from.
pub enum Feed {
    /// Captures.
    Files(Box<CaptureSet>),
    /// Interfaces.
    Live(Box<Live>),
}

impl Feed {
    /// Whether to be stopped is its regular end.
    pub fn is_endless(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// Fills a batch; `false` at the end.
    pub fn next_batch(&mut self, batch: &mut Batch) -> bool {
        match self {
            Self::Files(set) => set.next_batch(batch),
            Self::Live(live) => live.next_batch(batch),
        }
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        match self {
            Self::Files(set) => set.packets(),
            Self::Live(live) => live.packets(),
        }
    }

    /// Bytes of input so far; of interfaces, what was captured.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Files(set) => set.offset(),
            Self::Live(live) => live.captured(),
        }
    }

    /// Packets that interfaces are known to have lost so far.
    pub fn dropped(&self) -> u64 {
        match self {
            Self::Files(_) => 0,
            Self::Live(live) => live.dropped(),
        }
    }

    /// How full the kernel's ring is, from 0 to 1; captures wait.
    pub fn fullness(&self) -> f64 {
        match self {
            Self::Files(_) => 0.0,
            Self::Live(live) => live.fullness(),
        }
    }

    /// Says what happened to interfaces.
    pub fn say(&mut self, what: &str) {
        if let Self::Live(live) = self {
            live.say(what);
        }
    }

    /// What was counted so far.
    pub fn health(&self) -> Health {
        match self {
            Self::Files(set) => set.health(),
            Self::Live(live) => live.health(),
        }
    }

    /// The inputs, in the order of their packets' names.
    pub fn files(&self) -> &[InputFile] {
        match self {
            Self::Files(set) => set.files(),
            Self::Live(live) => live.files(),
        }
    }

    /// Numbers of inputs at which exporters are heard, and nobody else.
    pub fn inlets(&self) -> Vec<u32> {
        match self {
            Self::Files(_) => Vec::new(),
            Self::Live(live) => live.inlets(),
        }
    }

    /// What must be told of the inputs, and which of them failed or ended early.
    pub fn told(&self) -> (Vec<String>, Vec<String>) {
        let set = match self {
            Self::Files(set) => set,
            Self::Live(live) => return (live.notices(), live.failures().to_vec()),
        };
        let (mut notices, mut failures) = (Vec::new(), Vec::new());
        for notice in set.notices() {
            match notice {
                Notice::Failed(e) => failures.push(e.to_string()),
                Notice::PassedOver(e) => notices.push(format!("passed over: {e}")),
                Notice::Overlap { earlier, later, at } => {
                    let (earlier, later) = (earlier.display(), later.display());
                    notices.push(format!(
                        "{later} begins at {at}, while {earlier} still goes on: merged by packet time"
                    ));
                }
            }
        }
        if set.passed_over() > 0 {
            notices.push(format!(
                "{} packets of other times were passed over, as --since and --until say",
                set.passed_over()
            ));
        }
        (notices, failures)
    }
}
