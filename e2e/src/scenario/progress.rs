//! Progress: one line whenever something new is built, awaited or reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Two lines about the same wait are at least this far apart.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct ProgressLog {
    out: Arc<dyn Fn(&str) + Send + Sync>,
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

impl ProgressLog {
    /// Lines go to this function.
    pub fn to(out: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { out: Arc::new(out), last: Arc::default() }
    }

    pub fn line(&self, text: &str) {
        (self.out)(text);
        *self.lock() = Some((Instant::now(), text.to_owned()));
    }

    /// Says it unless it was just said, or something else less than a second ago.
    pub fn now_and_then(&self, text: &str) {
        let skip = self.lock().as_ref().is_some_and(|(at, last)| last == text || at.elapsed() < EVERY);
        if !skip {
            self.line(text);
        }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Option<(Instant, String)>> {
        self.last.lock()
    }
}
