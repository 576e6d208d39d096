//! What to do when a name has several addresses.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};

/// What connecting does when a name has several addresses: Node's `autoSelectFamily`.
///
/// Addresses are tried with the families in turn, beginning with that of the first one found, each once. It does not
/// apply when a family or a local address is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoSelectFamily {
    /// When an attempt has neither succeeded nor failed for the attempt timeout, the next one starts beside it, and the
    /// first to connect wins (RFC 8305). The default, and a departure from Node: there, an address that is merely slow
    /// is given up, and connections fail that would have succeeded.
    #[default]
    Race,
    /// An attempt that takes longer than the attempt timeout is given up before the next one starts; the last one has
    /// all the time it needs. Node's `true`.
    Serial,
    /// Only the first address is tried. Node's `false`.
    Off,
}

/// Node's default since v20.
const ATTEMPT_TIMEOUT: u64 = 250;
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(10);

static DEFAULT: AtomicU8 = AtomicU8::new(AutoSelectFamily::Race as u8);
static DEFAULT_ATTEMPT_TIMEOUT: AtomicU64 = AtomicU64::new(ATTEMPT_TIMEOUT);

/// What [`ConnectOptions`](crate::ConnectOptions) that say nothing about it do with several addresses: Node's
/// `net.getDefaultAutoSelectFamily`.
pub fn default_auto_select_family() -> AutoSelectFamily {
    const ALL: [AutoSelectFamily; 3] = [AutoSelectFamily::Race, AutoSelectFamily::Serial, AutoSelectFamily::Off];
    ALL.into_iter().find(|value| *value as u8 == DEFAULT.load(Ordering::Relaxed)).unwrap_or_default()
}

/// Sets that default for the whole process: Node's `net.setDefaultAutoSelectFamily`.
///
/// ```
/// use sockeye::AutoSelectFamily;
///
/// assert_eq!(sockeye::default_auto_select_family(), AutoSelectFamily::Race);
/// sockeye::set_default_auto_select_family(AutoSelectFamily::Serial);
/// assert_eq!(sockeye::default_auto_select_family(), AutoSelectFamily::Serial);
/// ```
pub fn set_default_auto_select_family(value: AutoSelectFamily) {
    DEFAULT.store(value as u8, Ordering::Relaxed);
}

/// How long an attempt has before the next one starts, unless the options say otherwise: Node's
/// `net.getDefaultAutoSelectFamilyAttemptTimeout`. 250 ms at first.
pub fn default_auto_select_family_attempt_timeout() -> Duration {
    Duration::from_millis(DEFAULT_ATTEMPT_TIMEOUT.load(Ordering::Relaxed))
}

/// Sets that time for the whole process: Node's `net.setDefaultAutoSelectFamilyAttemptTimeout`. It counts in whole
/// milliseconds; below 10 ms it becomes 10 ms.
///
/// # Errors
///
/// `ERR_OUT_OF_RANGE` for zero, or for more milliseconds than 2^31 - 1.
///
/// ```
/// use std::time::Duration;
///
/// sockeye::set_default_auto_select_family_attempt_timeout(Duration::from_millis(3))?;
/// assert_eq!(sockeye::default_auto_select_family_attempt_timeout(), Duration::from_millis(10));
/// # Ok::<(), sockeye::Error>(())
/// ```
pub fn set_default_auto_select_family_attempt_timeout(timeout: Duration) -> Result<()> {
    let timeout = check_attempt_timeout(timeout)?;
    DEFAULT_ATTEMPT_TIMEOUT.store(timeout.as_millis() as u64, Ordering::Relaxed);
    Ok(())
}

/// The timeout that Node would use for this one.
pub(crate) fn check_attempt_timeout(timeout: Duration) -> Result<Duration> {
    let range = 1..=i32::MAX as u128;
    if !range.contains(&timeout.as_millis()) {
        return Err(Error::attempt_timeout_out_of_range(timeout));
    }
    Ok(timeout.max(MIN_ATTEMPT_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_timeouts() {
        let ms = Duration::from_millis;
        for (given, used) in [(1, 10), (9, 10), (10, 10), (250, 250), (i32::MAX as u64, i32::MAX as u64)] {
            assert_eq!(check_attempt_timeout(ms(given)).unwrap(), ms(used));
        }
        for given in [Duration::ZERO, Duration::from_micros(999), ms(1 << 31), Duration::MAX] {
            assert_eq!(check_attempt_timeout(given).unwrap_err().code(), "ERR_OUT_OF_RANGE");
        }
    }
}
