//! A timer wheel on packet time. Entries are hints: whoever they wake looks at its own deadline and may go back to sleep.

use record::Timestamp;

/// One tick is 2³⁰ ns, a little over a second.
const TICK_BITS: u32 = 30;
/// More ticks than the longest timeout has (30 minutes); later deadlines wait in the last slot and go back to sleep.
const SLOTS: usize = 2048;
/// Entries of a slot whose memory is kept for the next time.
const KEPT: usize = 256;

#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<u32>>,
    /// The tick up to which everything was woken; `None` before the first packet.
    tick: Option<i64>,
}

/// The tick under which an entry stands: whoever made a later entry knows an earlier one by it and lets it pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(u32);

const fn tick_of(at: Timestamp) -> i64 {
    at.0 >> TICK_BITS
}

impl Wheel {
    pub fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], tick: None }
    }

    /// Tells what time it is before the first deadline is set.
    #[inline]
    pub fn begin(&mut self, clock: Timestamp) {
        self.tick.get_or_insert(tick_of(clock));
    }

    /// Wakes `who` when the clock has passed `at`, or earlier.
    pub fn schedule(&mut self, who: u32, at: Timestamp) -> Tick {
        let tick = self.tick.unwrap_or(tick_of(at));
        let wanted = tick_of(at).clamp(tick, tick.saturating_add(SLOTS as i64 - 1));
        self.slots[wanted.rem_euclid(SLOTS as i64) as usize].push(who);
        Tick(wanted as u32)
    }

    /// Takes out everything that may be due at `clock`, with the ticks under which it stood.
    pub fn due(&mut self, clock: Timestamp, woken: &mut Vec<(u32, Tick)>) {
        let now = tick_of(clock);
        let from = self.tick.unwrap_or(now);
        let steps = now.saturating_sub(from).clamp(0, SLOTS as i64 - 1);
        for step in 0..=steps {
            let tick = from.saturating_add(step);
            let slot = &mut self.slots[tick.rem_euclid(SLOTS as i64) as usize];
            woken.extend(slot.drain(..).map(|who| (who, Tick(tick as u32))));
            // A flood leaves a slot far larger than it will be needed again.
            slot.shrink_to(KEPT);
        }
        self.tick = Some(now.max(from));
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
