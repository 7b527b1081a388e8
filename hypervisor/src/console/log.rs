// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log: each line goes to the serial port and into a ring in memory, where it outlives a port that nobody reads.

use core::fmt;
use core::fmt::Write;

/// Bytes of log that are kept.
pub const RING: usize = 16 << 10;

/// The last bytes written, in a ring.
#[derive(Debug)]
pub struct Ring {
    bytes: [u8; RING],
    written: usize,
}

impl Ring {
    /// A ring that is empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; RING], written: 0 }
    }

    /// What is kept, in two parts, older one first.
    #[must_use]
    pub fn parts(&self) -> (&[u8], &[u8]) {
        let at = self.written % RING;
        if self.written < RING { (&self.bytes[..at], &[]) } else { (&self.bytes[at..], &self.bytes[..at]) }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.bytes[self.written % RING] = byte;
            self.written += 1;
        }
        Ok(())
    }
}

#[cfg(target_os = "none")]
pub use logger::start;

#[cfg(target_os = "none")]
mod logger {
    use super::Ring;
    use crate::console;
    use crate::cpu::hardware::tsc;
    use crate::cpu::timeline::Timeline;
    use alloc::string::String;
    use core::fmt::Write;
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering;
    use log::LevelFilter;
    use log::Log;
    use log::Metadata;
    use log::Record;
    use spin::Mutex;

    static LOGGER: Logger = Logger {
        ring: Mutex::new(Ring::new()),
        timeline: Mutex::new(Timeline::AT_START),
        started: AtomicU64::new(0),
        tsc_khz: AtomicU64::new(0),
    };

    struct Logger {
        ring: Mutex<Ring>,
        timeline: Mutex<Timeline>,
        /// The machine's time at the start.
        started: AtomicU64,
        /// Thousands of its ticks in a second. Zero until the clock is known; lines are stamped with zero till then.
        tsc_khz: AtomicU64,
    }

    /// Begins to log what is at `level` or graver.
    pub fn start(level: LevelFilter) {
        LOGGER.started.store(tsc(), Ordering::Relaxed);
        log::set_max_level(level);
        // Only a second call fails, and then the first logger stays.
        let _ = log::set_logger(&LOGGER);
    }

    /// Stamps lines with the time from here on.
    pub fn set_clock(tsc_hz: u64) {
        LOGGER.tsc_khz.store(tsc_hz / 1000, Ordering::Relaxed);
    }

    /// Time goes on like this, since the TSC has been exchanged for another.
    pub fn follow(timeline: Timeline) {
        *LOGGER.timeline.lock() = timeline;
    }

    /// Microseconds since the start; zero until the clock is known.
    #[must_use]
    pub fn micros() -> u64 {
        LOGGER.micros()
    }

    /// The last lines.
    #[must_use]
    pub fn kept() -> String {
        let ring = LOGGER.ring.lock();
        let (older, newer) = ring.parts();
        // The first one may be cut, within a character too.
        String::from_utf8_lossy(&[older, newer].concat()).into_owned()
    }

    impl Logger {
        fn micros(&self) -> u64 {
            let now = self.timeline.lock().now();
            let ticks = now.saturating_sub(self.started.load(Ordering::Relaxed));
            let tsc_khz = self.tsc_khz.load(Ordering::Relaxed);
            (u128::from(ticks) * 1000).checked_div(u128::from(tsc_khz)).unwrap_or(0) as u64
        }
    }

    impl Log for Logger {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            // Libraries speak of what is in a bundle, line by line, which nobody bounds.
            metadata.level() <= log::max_level() && metadata.target().starts_with("hypervisor")
        }

        fn log(&self, record: &Record<'_>) {
            if !self.enabled(record.metadata()) {
                return;
            }
            let micros = self.micros();
            let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
            let (level, text) = (record.level(), record.args());
            console::write_line(format_args!("[{seconds:5}.{micros:06}] {level:5} {text}"));
            // The ring takes everything.
            let _ = writeln!(self.ring.lock(), "[{seconds:5}.{micros:06}] {level:5} {text}");
        }

        fn flush(&self) {}
    }
}

#[cfg(target_os = "none")]
pub use logger::follow;
#[cfg(target_os = "none")]
pub use logger::kept;
#[cfg(target_os = "none")]
pub use logger::micros;
#[cfg(target_os = "none")]
pub use logger::set_clock;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_bytes_in_order() {
        let mut ring = Ring::new();
        for number in 0..10_000 {
            writeln!(ring, "{number}").unwrap();
        }
        let (older, newer) = ring.parts();
        let text = String::from_utf8([older, newer].concat()).unwrap();
        assert_eq!(text.len(), RING);
        assert!(text.ends_with("9998\n9999\n"));
    }
}
