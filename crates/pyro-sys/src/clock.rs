//! The processor's own counter of time.

use std::time::{Duration, Instant};

/// How long is counted: the counter and the clock are read within a microsecond of each other, so 20 ms make the error at most 50 in a million.
const COUNT_FOR: Duration = Duration::from_millis(20);

/// How many thousand times a second the processor's time stamp counter counts, by the system's clock; `None` where there is none.
#[must_use]
pub fn counter_khz() -> Option<u64> {
    let begun = (Instant::now(), counter()?);
    while begun.0.elapsed() < COUNT_FOR {
        std::hint::spin_loop();
    }
    let (counted, elapsed) = (counter()?.checked_sub(begun.1)?, begun.0.elapsed());
    u64::try_from(u128::from(counted) * 1_000_000 / elapsed.as_nanos()).ok()
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: every processor of this architecture has the instruction, and it only reads.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_counter_counts_as_fast_each_time() {
        let (one, other) = (super::counter_khz().expect("a counter"), super::counter_khz().expect("a counter"));
        assert!((100_000..10_000_000).contains(&one), "{one} kHz");
        assert!(one.abs_diff(other) < one / 500, "{one} and {other} kHz");
    }
}
