//! Which address to connect to next, and when.
//!
//! A name can have several addresses, and any of them may be dead. Trying them one after another makes the user wait for
//! each dead one until the system gives up, which takes minutes. RFC 8305 ("Happy Eyeballs") therefore starts the next
//! attempt when the last one has neither succeeded nor failed for a moment, and lets all of them run: the first to
//! connect wins. Node instead closes the attempt that was too slow before it starts the next, which fails where every
//! address is merely slow. Both are here; they differ in what a passed deadline means.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The attempts to connect to one of several addresses.
///
/// ```text
/// Waiting ── the deadline passes, or an attempt fails ──► start the next address
///    │ an attempt connects                                  │ no address left and none running
///    ▼                                                      ▼
/// the others are closed                                   failed
/// ```
#[derive(Debug)]
pub(crate) struct Eyeballs {
    waiting: VecDeque<SocketAddr>,
    running: Vec<SocketAddr>,
    pace: Pace,
    /// When to give the attempt that is running some company, or to give it up.
    deadline: Option<Instant>,
}

/// What happens when an attempt is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The next one starts beside it after this delay.
    Race(Duration),
    /// It is given up after this time and the next one starts, unless it is the last.
    Serial(Duration),
    /// It has all the time it needs.
    Patient,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin to connect to this address.
    Start(SocketAddr),
    /// Close the attempt to this address; it was too slow.
    GiveUp(SocketAddr),
    /// Wait for an attempt to end, or until then.
    Wait(Option<Instant>),
    /// Nothing is left to try.
    Failed,
}

impl Eyeballs {
    /// The addresses are tried in the order in which [`interleave`] puts them.
    pub(crate) fn new(addresses: impl IntoIterator<Item = SocketAddr>, pace: Pace) -> Self {
        Self { waiting: interleave(addresses), running: Vec::new(), pace, deadline: None }
    }

    pub(crate) fn next_step(&mut self, now: Instant) -> Step {
        if self.running.is_empty() {
            return match self.waiting.pop_front() {
                Some(address) => self.start(address, now),
                None => Step::Failed,
            };
        }
        let is_due = self.deadline.is_some_and(|deadline| deadline <= now);
        match self.pace {
            Pace::Race(_) if is_due => match self.waiting.pop_front() {
                Some(address) => self.start(address, now),
                None => Step::Wait(None),
            },
            Pace::Serial(_) if is_due => {
                self.deadline = None;
                // Node runs one attempt at a time.
                Step::GiveUp(self.running.remove(0))
            }
            _ => Step::Wait(self.deadline),
        }
    }

    /// The attempt to this address failed. The next one need not wait any longer.
    pub(crate) fn handle_failed(&mut self, address: SocketAddr, now: Instant) {
        self.running.retain(|running| *running != address);
        if let (Pace::Race(_), Some(deadline)) = (self.pace, &mut self.deadline) {
            *deadline = now;
        }
    }

    fn start(&mut self, address: SocketAddr, now: Instant) -> Step {
        self.running.push(address);
        self.deadline = match self.pace {
            Pace::Race(delay) | Pace::Serial(delay) if !self.waiting.is_empty() => Some(now + delay),
            _ => None,
        };
        Step::Start(address)
    }
}

/// Puts addresses into the order in which they are tried: the families in turn, beginning with that of the first, each
/// family in its own order, and every address once.
fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut first = VecDeque::<SocketAddr>::new();
    let mut second = VecDeque::<SocketAddr>::new();
    for address in addresses {
        let is_first = first.front().is_none_or(|front| front.is_ipv4() == address.is_ipv4());
        let family = if is_first { &mut first } else { &mut second };
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    let mut order = VecDeque::with_capacity(first.len() + second.len());
    while !first.is_empty() || !second.is_empty() {
        order.extend(first.pop_front());
        order.extend(second.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an attempt comes to, and after how many milliseconds.
    #[derive(Clone, Copy, Debug)]
    enum Outcome {
        Connects(u64),
        Fails(u64),
        Hangs,
    }

    use Outcome::*;

    const RACE: Pace = Pace::Race(Duration::from_millis(250));
    const SERIAL: Pace = Pace::Serial(Duration::from_millis(250));

    struct Case {
        what: &'static str,
        pace: Pace,
        addresses: &'static [(&'static str, Outcome)],
        /// When each attempt starts (`+`), is given up (`-`), fails (`!`) or connects (`=`).
        trace: &'static str,
    }

    const fn case(
        what: &'static str,
        pace: Pace,
        addresses: &'static [(&'static str, Outcome)],
        trace: &'static str,
    ) -> Case {
        Case { what, pace, addresses, trace }
    }

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        case("no address", RACE, &[], "failed 0"),
        case("one address has all the time it needs", RACE, &[("::1", Connects(90_000))], "+::1 0, =::1 90000"),
        case("one address, serial", SERIAL, &[("::1", Connects(90_000))], "+::1 0, =::1 90000"),
        case("one address fails", RACE, &[("::1", Fails(7))], "+::1 0, !::1 7, failed 7"),
        case("a working first address is the only one tried", RACE,
            &[("::1", Connects(249)), ("1.1.1.1", Connects(1))],
            "+::1 0, =::1 249"),
        case("a black hole costs one delay", RACE,
            &[("::1", Hangs), ("1.1.1.1", Connects(10))],
            "+::1 0, +1.1.1.1 250, =1.1.1.1 260"),
        case("a black hole costs one delay, serial", SERIAL,
            &[("::1", Hangs), ("1.1.1.1", Connects(10))],
            "+::1 0, -::1 250, +1.1.1.1 250, =1.1.1.1 260"),
        case("a slow first address still wins the race", RACE,
            &[("::1", Connects(300)), ("1.1.1.1", Connects(200))],
            "+::1 0, +1.1.1.1 250, =::1 300"),
        case("a slow first address is given up by the serial way, where the second one fails", SERIAL,
            &[("::1", Connects(300)), ("1.1.1.1", Fails(10))],
            "+::1 0, -::1 250, +1.1.1.1 250, !1.1.1.1 260, failed 260"),
        case("a slow first address wins the race, where the second one fails", RACE,
            &[("::1", Connects(300)), ("1.1.1.1", Fails(10))],
            "+::1 0, +1.1.1.1 250, !1.1.1.1 260, =::1 300"),
        case("a failure starts the next one at once", RACE,
            &[("::1", Fails(3)), ("1.1.1.1", Fails(4)), ("::2", Connects(5))],
            "+::1 0, !::1 3, +1.1.1.1 3, !1.1.1.1 7, +::2 7, =::2 12"),
        case("a failure starts the next one at once, serial", SERIAL,
            &[("::1", Fails(3)), ("1.1.1.1", Connects(4))],
            "+::1 0, !::1 3, +1.1.1.1 3, =1.1.1.1 7"),
        case("a failure starts the next one at once though another runs, and the delay begins anew", RACE,
            &[("::1", Hangs), ("1.1.1.1", Fails(10)), ("::2", Hangs), ("2.2.2.2", Connects(10))],
            "+::1 0, +1.1.1.1 250, !1.1.1.1 260, +::2 260, +2.2.2.2 510, =2.2.2.2 520"),
        case("the last address has all the time it needs", RACE,
            &[("::1", Fails(0)), ("1.1.1.1", Connects(60_000))],
            "+::1 0, !::1 0, +1.1.1.1 0, =1.1.1.1 60000"),
        case("the last address has all the time it needs, serial", SERIAL,
            &[("::1", Hangs), ("1.1.1.1", Connects(60_000))],
            "+::1 0, -::1 250, +1.1.1.1 250, =1.1.1.1 60250"),
        case("all fail", RACE,
            &[("::1", Fails(400)), ("1.1.1.1", Fails(50))],
            "+::1 0, +1.1.1.1 250, !1.1.1.1 300, !::1 400, failed 400"),
        case("families take turns, beginning with that of the first", RACE,
            &[("1.1.1.1", Hangs), ("1.1.1.2", Hangs), ("::1", Hangs), ("::2", Connects(1))],
            "+1.1.1.1 0, +::1 250, +1.1.1.2 500, +::2 750, =::2 751"),
        case("without auto-selection nothing is hurried", Pace::Patient,
            &[("::1", Fails(60_000)), ("1.1.1.1", Connects(10))],
            "+::1 0, !::1 60000, +1.1.1.1 60000, =1.1.1.1 60010"),
    ];

    #[test]
    fn attempts_by_address_delay_and_outcome() {
        for Case { what, pace, addresses, trace } in CASES {
            assert_eq!(run(*pace, addresses), *trace, "{what}");
        }
    }

    #[test]
    fn every_address_once_and_families_in_turn() {
        for (given, order) in [
            (&["::1", "::2", "1.1.1.1", "1.1.1.2"][..], &["::1", "1.1.1.1", "::2", "1.1.1.2"][..]),
            (&["1.1.1.1", "::1", "::2", "::3"], &["1.1.1.1", "::1", "::2", "::3"]),
            (&["1.1.1.1", "1.1.1.1", "::1", "1.1.1.1"], &["1.1.1.1", "::1"]),
            (&[], &[]),
        ] {
            let found = interleave(given.iter().map(|ip| address(ip)));
            assert_eq!(found, order.iter().map(|ip| address(ip)).collect::<Vec<_>>());
        }
    }

    /// Plays the attempts on a clock that jumps from one thing to the next.
    fn run(pace: Pace, addresses: &[(&str, Outcome)]) -> String {
        let start = Instant::now();
        let mut now = start;
        let mut eyeballs = Eyeballs::new(addresses.iter().map(|(ip, _)| address(ip)), pace);
        let mut running: Vec<(SocketAddr, Outcome, Instant)> = Vec::new();
        let mut trace = Vec::new();
        loop {
            let time = now.duration_since(start).as_millis();
            match eyeballs.next_step(now) {
                Step::Start(started) => {
                    let (_, outcome) = addresses.iter().find(|(ip, _)| address(ip) == started).unwrap();
                    let delay = match outcome {
                        Connects(ms) | Fails(ms) => Duration::from_millis(*ms),
                        Hangs => Duration::from_secs(86_400),
                    };
                    running.push((started, *outcome, now + delay));
                    trace.push(format!("+{} {time}", started.ip()));
                }
                Step::GiveUp(slow) => {
                    running.retain(|(address, ..)| *address != slow);
                    trace.push(format!("-{} {time}", slow.ip()));
                }
                Step::Failed => {
                    trace.push(format!("failed {time}"));
                    return trace.join(", ");
                }
                Step::Wait(deadline) => {
                    running.sort_by_key(|(_, _, end)| *end);
                    let (address, outcome, end) = running[0];
                    if deadline.is_some_and(|deadline| deadline < end) {
                        now = deadline.unwrap();
                        continue;
                    }
                    now = end;
                    running.remove(0);
                    let time = now.duration_since(start).as_millis();
                    if let Connects(_) = outcome {
                        trace.push(format!("={} {time}", address.ip()));
                        return trace.join(", ");
                    }
                    trace.push(format!("!{} {time}", address.ip()));
                    eyeballs.handle_failed(address, now);
                }
            }
        }
    }

    fn address(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 80)
    }
}
