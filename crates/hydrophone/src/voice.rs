//! What is said on standard error while it is listened: on a thread of its own, so that nobody waits for who reads it.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that wait for who reads them.
const WAITING: usize = 256;

/// Whom to hand lines, while somebody has begun to.
static HAND: Mutex<Option<SyncSender<String>>> = Mutex::new(None);
/// Lines that found no room.
static UNSAID: AtomicU64 = AtomicU64::new(0);

/// Says something: at once, or where a [`Voice`] lives as soon as it is read.
pub fn say(what: &str) {
    let line = format!("hydrophone: {what}");
    let hand = HAND.lock().unwrap_or_else(PoisonError::into_inner);
    match &*hand {
        None => print(&line),
        Some(hand) => {
            if hand.try_send(line).is_err() {
                UNSAID.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn print(line: &str) {
    // Who closed standard error wants to hear nothing.
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// As long as it lives, nobody waits for standard error.
pub struct Voice(Option<JoinHandle<()>>);

impl Voice {
    /// Begins.
    pub fn begin() -> Self {
        let (hand, lines) = sync_channel::<String>(WAITING);
        *HAND.lock().unwrap_or_else(PoisonError::into_inner) = Some(hand);
        Self(Some(std::thread::spawn(move || {
            for line in lines {
                let unsaid = UNSAID.swap(0, Ordering::Relaxed);
                if unsaid > 0 {
                    print(&format!(
                        "hydrophone: {unsaid} lines found no room here, because they were not read"
                    ));
                }
                print(&line);
            }
        })))
    }
}

impl Drop for Voice {
    /// Waits until all of it is said, not for ever.
    fn drop(&mut self) {
        const LOOKS: u32 = 20;
        *HAND.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Some(thread) = self.0.take() else { return };
        for _ in 0..LOOKS {
            if thread.is_finished() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
