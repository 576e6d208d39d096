//! The inactivity deadline.

use std::time::{Duration, Instant};

/// The longest timeout that Node's timers can hold: 2^31 - 1 milliseconds, almost 25 days.
const MAX_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// When a socket counts as idle. Fires once for each idle period: what re-arms it is activity.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    /// What of the request in progress was unwritten when it was last looked at.
    last_in_progress: usize,
}

impl Idle {
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether [`handle_activity`](Self::handle_activity) would do anything; it needs the time, which is not free.
    pub(crate) fn is_set(&self) -> bool {
        self.timeout.is_some_and(|timeout| !timeout.is_zero())
    }

    /// Starts a period of `timeout`; zero switches the timer off.
    pub(crate) fn set(&mut self, timeout: Duration, now: Instant) {
        self.timeout = Some(timeout.min(MAX_TIMEOUT));
        self.deadline = None;
        self.handle_activity(now);
    }

    pub(crate) fn handle_activity(&mut self, now: Instant) {
        if let Some(timeout) = self.timeout.filter(|timeout| !timeout.is_zero()) {
            self.deadline = Some(now + timeout);
        }
    }

    /// A write of this size was handed on. The first look at the queue then counts as progress unless nothing at all
    /// was taken of it: Node compares with the size of the whole request.
    pub(crate) fn handle_request(&mut self, size: usize) {
        self.last_in_progress = size;
    }

    /// Whether the socket has been idle until `now`. A queue that moved since the last look starts a new period.
    pub(crate) fn handle_timeout(&mut self, now: Instant, in_progress: usize) -> bool {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        if self.last_in_progress > 0 && self.last_in_progress != in_progress {
            self.last_in_progress = in_progress;
            self.handle_activity(now);
            return false;
        }
        self.deadline = None;
        true
    }

    pub(crate) fn clear(&mut self) {
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn fires_once_for_each_idle_period() {
        let start = Instant::now();
        let mut idle = Idle::default();
        assert!(!idle.handle_timeout(start + ms(1000), 0));
        idle.set(ms(100), start);
        idle.handle_activity(start + ms(60));
        assert!(!idle.handle_timeout(start + ms(100), 0));
        assert!(!idle.handle_timeout(start + ms(159), 0));
        assert!(idle.handle_timeout(start + ms(160), 0));
        assert!(!idle.handle_timeout(start + ms(1000), 0));
        idle.handle_activity(start + ms(2000));
        assert!(idle.handle_timeout(start + ms(2100), 0));
    }

    #[test]
    fn zero_switches_it_off_and_is_remembered() {
        let start = Instant::now();
        let mut idle = Idle::default();
        assert_eq!(idle.timeout(), None);
        idle.set(ms(100), start);
        idle.set(Duration::ZERO, start);
        assert_eq!((idle.timeout(), idle.deadline()), (Some(Duration::ZERO), None));
        idle.handle_activity(start);
        assert!(!idle.is_set() && !idle.handle_timeout(start + ms(1000), 0));
    }

    #[test]
    fn a_timeout_is_cut_to_what_nodes_timers_hold() {
        let start = Instant::now();
        let mut idle = Idle::default();
        idle.set(Duration::MAX, start);
        assert_eq!(idle.timeout(), Some(ms(2_147_483_647)));
    }

    #[test]
    fn a_queue_that_moves_is_not_idle_and_one_that_stalls_is_after_two_periods() {
        let start = Instant::now();
        let mut idle = Idle::default();
        idle.set(ms(100), start);
        idle.handle_request(1000);
        assert!(!idle.handle_timeout(start + ms(100), 700));
        assert!(!idle.handle_timeout(start + ms(200), 300));
        assert!(idle.handle_timeout(start + ms(300), 300));
    }
}
