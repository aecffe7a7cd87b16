//! A timer wheel on packet time. Entries are hints: whoever they wake looks at its own deadline and may go back to sleep.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use record::Timestamp;

/// One tick is 2³⁰ ns, a little over a second.
const TICK_BITS: u32 = 30;
/// More ticks than the longest timeout has (30 minutes); later deadlines wait in the last slot and go back to sleep.
const SLOTS: usize = 2048;
/// Entries of a slot whose memory is kept for the next time.
const KEPT: usize = 256;

#[derive(Debug)]
pub struct Wheel {
    /// Entries of later ticks, in no order.
    slots: Vec<Vec<(u32, Wake)>>,
    /// Entries of the current tick, by their exact times: each is looked at once, however often the clock moves within it.
    soon: BinaryHeap<Reverse<(Timestamp, u32, Wake)>>,
    /// The current tick; `None` before the first packet.
    tick: Option<i64>,
    made: u32,
}

/// The name of an entry: whoever made a later one knows an earlier one by it and lets it pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake(u32);

const fn tick_of(at: Timestamp) -> i64 {
    at.0 >> TICK_BITS
}

impl Wheel {
    pub fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], soon: BinaryHeap::new(), tick: None, made: 0 }
    }

    /// Tells what time it is before the first deadline is set.
    #[inline]
    pub fn begin(&mut self, clock: Timestamp) {
        self.tick.get_or_insert(tick_of(clock));
    }

    /// Wakes `who` when the clock has reached `at`, or earlier.
    pub fn schedule(&mut self, who: u32, at: Timestamp) -> Wake {
        self.made = self.made.wrapping_add(1);
        let wake = Wake(self.made);
        let tick = self.tick.unwrap_or(tick_of(at));
        let wanted = tick_of(at).min(tick.saturating_add(SLOTS as i64 - 1));
        if wanted <= tick {
            self.soon.push(Reverse((at, who, wake)));
        } else {
            self.slots[wanted.rem_euclid(SLOTS as i64) as usize].push((who, wake));
        }
        wake
    }

    /// Takes out everything that may be due at `clock`.
    pub fn due(&mut self, clock: Timestamp, woken: &mut Vec<(u32, Wake)>) {
        let now = tick_of(clock);
        let from = self.tick.unwrap_or(now);
        let steps = now.saturating_sub(from).clamp(0, SLOTS as i64 - 1);
        for step in 1..=steps {
            let slot = &mut self.slots[from.saturating_add(step).rem_euclid(SLOTS as i64) as usize];
            woken.append(slot);
            // A flood leaves a slot far larger than it will be needed again.
            slot.shrink_to(KEPT);
        }
        self.tick = Some(now.max(from));
        while let Some(&Reverse((at, who, wake))) = self.soon.peek() {
            if at > clock {
                break;
            }
            woken.push((who, wake));
            self.soon.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_woken_late() {
        let mut wheel = Wheel::new();
        let mut woken = Vec::new();
        wheel.due(Timestamp::from_secs(1000), &mut woken);
        for (who, secs) in [(1, 1001), (2, 1500), (3, 9000), (4, 500)] {
            wheel.schedule(who, Timestamp::from_secs(secs));
        }
        let mut deadlines = vec![(1, 1001), (2, 1500), (3, 9000), (4, 500)];
        for now in (1000..12_000).step_by(7) {
            woken.clear();
            wheel.due(Timestamp::from_secs(now), &mut woken);
            for (who, _) in woken.clone() {
                let at = deadlines.iter().position(|d| d.0 == who).unwrap();
                if deadlines[at].1 <= now {
                    deadlines.remove(at);
                } else {
                    wheel.schedule(who, Timestamp::from_secs(deadlines[at].1));
                }
            }
            assert!(deadlines.iter().all(|d| d.1 > now), "{now}: {deadlines:?}");
        }
        assert!(deadlines.is_empty());
    }

    #[test]
    fn what_was_scheduled_before_the_first_look_is_woken() {
        let mut wheel = Wheel::new();
        wheel.begin(Timestamp::from_secs(1000));
        wheel.schedule(1, Timestamp::from_secs(1005));
        let mut woken = Vec::new();
        wheel.due(Timestamp::from_secs(1500), &mut woken);
        assert_eq!(woken.iter().map(|w| w.0).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_jump_over_the_whole_wheel_wakes_everybody() {
        let mut wheel = Wheel::new();
        let mut woken = Vec::new();
        wheel.due(Timestamp(0), &mut woken);
        for who in 0..100 {
            wheel.schedule(who, Timestamp::from_secs(i64::from(who) * 20));
        }
        wheel.due(Timestamp::from_secs(1_000_000_000), &mut woken);
        assert_eq!(woken.len(), 100);
    }
}
