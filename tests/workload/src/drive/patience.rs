// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long something may take, on the machine's own clock, and who says so when it takes longer: a device that does not
//! answer stops whoever waits for it, so it is another thread.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// How long each step may take. The peer may still be starting.
const LIMIT: Duration = Duration::from_secs(300);

/// How often somebody looks.
const TICK: Duration = Duration::from_secs(1);

/// The step that is under way.
struct Step {
    what: String,
    since: Instant,
}

/// The limit of one step after the other.
#[derive(Clone)]
pub struct Patience(Arc<Mutex<Step>>);

impl Patience {
    /// From now on.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn begin() -> io::Result<Self> {
        let patience =
            Self(Arc::new(Mutex::new(Step { what: "the first step".into(), since: Instant::now() })));
        let watched = patience.clone();
        thread::Builder::new().spawn(move || {
            loop {
                thread::sleep(TICK);
                watched.end_if_lost();
            }
        })?;
        Ok(patience)
    }

    /// The next step: something that is waited for.
    pub fn wait_for(&self, what: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Step { what: what.into(), since: Instant::now() };
    }

    fn end_if_lost(&self) {
        let step = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if step.since.elapsed() > LIMIT {
            println!("workload: failed: waited {} s for {}", LIMIT.as_secs(), step.what);
            process::exit(1);
        }
    }
}
