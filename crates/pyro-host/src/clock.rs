//! Instants as they are stored and shown. For display only: deadlines use the monotonic clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub i64);

impl Instant {
    /// How long it has been since, milliseconds; none when it is still to come.
    #[must_use]
    pub fn age_ms(self) -> u64 {
        u64::try_from(Self::now().0.saturating_sub(self.0)).unwrap_or(0)
    }

    /// Now, by the wall clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// So many seconds later.
    #[must_use]
    pub fn later(self, seconds: u64) -> Self {
        Self(
            i64::try_from(seconds)
                .ok()
                .and_then(|seconds| seconds.checked_mul(1000))
                .map_or(i64::MAX, |ms| self.0.saturating_add(ms)),
        )
    }

    /// How long until then; nothing when it is past.
    #[must_use]
    pub fn left(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0.saturating_sub(Self::now().0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC, to the millisecond.
    #[must_use]
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => format!("{at:.3}"),
            Err(_) => String::new(),
        }
    }
}
