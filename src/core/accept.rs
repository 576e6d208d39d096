//! A server's life: how many connections it has, whether it takes another, when it is closed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The first pause after the system had no room for another connection; it doubles up to [`MAX_BACK_OFF`].
const MIN_BACK_OFF: Duration = Duration::from_millis(5);
const MAX_BACK_OFF: Duration = Duration::from_secs(1);

/// The state of a server.
///
/// ```text
///         listen()              handle_listening()
///  Closed ─────────► Starting ──────────────────────► Listening
///    ▲ ▲                │ handle_listen_error()           │ close()
///    │ └────────────────┘                                 ▼
///    └──────────────── the last connection ended ───── Closing ── listen() ──► Starting
/// ```
#[derive(Debug, Default)]
pub(crate) struct Accept {
    state: State,
    connections: usize,
    max_connections: Option<usize>,
    /// `close` was called and its event is still owed: it waits for the last connection.
    close_owed: bool,
    back_off: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Starting,
    Listening,
}

/// What to do with a connection that came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    /// There are as many as there may be.
    Drop,
    /// It comes from this address, which shall not be talked to.
    Block(SocketAddr),
}

/// What to do after a failed accept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// This one connection was gone before it was taken; the next may be well.
    Retry,
    /// The system has no room: report it if `report` says so, and wait.
    BackOff { pause: Duration, report: bool },
}

impl Accept {
    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.state == State::Listening
    }

    /// Whether it waits for its last connections.
    pub(crate) fn is_closing(&self) -> bool {
        self.close_owed && !self.is_open()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    pub(crate) fn max_connections(&self) -> Option<usize> {
        self.max_connections
    }

    pub(crate) fn set_max_connections(&mut self, limit: Option<usize>) {
        self.max_connections = limit;
    }

    /// Whether listening may begin; false when it already has.
    pub(crate) fn start(&mut self) -> bool {
        let may = self.state == State::Closed;
        if may {
            self.state = State::Starting;
        }
        may
    }

    pub(crate) fn handle_listening(&mut self) {
        self.state = State::Listening;
        self.back_off = None;
    }

    pub(crate) fn handle_listen_error(&mut self) {
        self.state = State::Closed;
    }

    /// Stops listening. Whether it was open: an unopened server's `close` reports an error, but closes all the same.
    pub(crate) fn close(&mut self) -> bool {
        let was_open = self.is_open();
        self.state = State::Closed;
        self.close_owed = true;
        was_open
    }

    /// Whether everything is over: closed, and no connection left. True once for each `close`.
    pub(crate) fn take_closed(&mut self) -> bool {
        let closed = self.is_closing() && self.connections == 0;
        self.close_owed &= !closed;
        closed
    }

    /// As in Node, the limit is looked at first: what comes in above it is dropped, wherever it comes from.
    pub(crate) fn handle_connection(&mut self, blocked: impl FnOnce() -> Option<SocketAddr>) -> Verdict {
        self.back_off = None;
        if self.max_connections.is_some_and(|limit| self.connections >= limit) {
            return Verdict::Drop;
        }
        if let Some(peer) = blocked() {
            return Verdict::Block(peer);
        }
        self.connections += 1;
        Verdict::Accept
    }

    pub(crate) fn handle_disconnection(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    pub(crate) fn handle_accept_error(&mut self, error: &io::Error) -> AcceptFailure {
        if is_about_one_connection(error) {
            return AcceptFailure::Retry;
        }
        let pause = self.back_off.map_or(MIN_BACK_OFF, |last| (last * 2).min(MAX_BACK_OFF));
        let report = self.back_off.is_none();
        self.back_off = Some(pause);
        AcceptFailure::BackOff { pause, report }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_waits_for_the_last_connection() {
        let mut accept = Accept::default();
        assert!(accept.start());
        assert!(!accept.start(), "already listening");
        accept.handle_listening();
        assert_eq!(accept.handle_connection(|| None), Verdict::Accept);
        assert!(accept.close());
        assert!(!accept.take_closed());
        accept.handle_disconnection();
        assert!(accept.take_closed());
        assert!(!accept.take_closed(), "once");
        assert!(!accept.close(), "it was not open");
        assert!(accept.take_closed(), "and still closes");
    }

    #[test]
    fn listening_again_while_old_connections_last() {
        let mut accept = Accept::default();
        accept.start();
        accept.handle_listening();
        accept.handle_connection(|| None);
        accept.close();
        assert!(accept.start(), "straight after close");
        accept.handle_listening();
        accept.handle_disconnection();
        assert!(!accept.take_closed(), "open again");
        accept.close();
        assert!(accept.take_closed());
    }

    #[test]
    fn a_failed_listen_can_be_repeated() {
        let mut accept = Accept::default();
        accept.start();
        accept.handle_listen_error();
        assert!(!accept.is_open() && accept.start());
    }

    #[test]
    fn the_limit_drops_and_a_closed_connection_frees_its_place() {
        let mut accept = Accept::default();
        accept.set_max_connections(Some(1));
        assert_eq!(accept.handle_connection(|| None), Verdict::Accept);
        assert_eq!(accept.handle_connection(|| None), Verdict::Drop);
        accept.handle_disconnection();
        assert_eq!(accept.handle_connection(|| None), Verdict::Accept);
        accept.set_max_connections(Some(0));
        accept.handle_disconnection();
        assert_eq!(accept.handle_connection(|| None), Verdict::Drop, "zero takes nobody");
    }

    #[test]
    fn a_blocked_connection_takes_no_place_and_the_limit_goes_before() {
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let mut accept = Accept::default();
        accept.set_max_connections(Some(1));
        assert_eq!(accept.handle_connection(|| Some(peer)), Verdict::Block(peer));
        assert_eq!(accept.connections(), 0);
        assert_eq!(accept.handle_connection(|| None), Verdict::Accept);
        assert_eq!(accept.handle_connection(|| Some(peer)), Verdict::Drop);
    }

    #[test]
    fn a_full_system_is_reported_once_and_waited_for() {
        let full = io::Error::from_raw_os_error(libc::EMFILE);
        let gone = io::Error::from_raw_os_error(libc::ECONNABORTED);
        let ms = Duration::from_millis;
        let back_off = |pause, report| AcceptFailure::BackOff { pause, report };
        let mut accept = Accept::default();
        assert_eq!(accept.handle_accept_error(&gone), AcceptFailure::Retry);
        assert_eq!(accept.handle_accept_error(&full), back_off(ms(5), true));
        assert_eq!(accept.handle_accept_error(&full), back_off(ms(10), false));
        for _ in 0..10 {
            accept.handle_accept_error(&full);
        }
        assert_eq!(accept.handle_accept_error(&full), back_off(ms(1000), false));
        accept.handle_connection(|| None);
        assert_eq!(accept.handle_accept_error(&full), back_off(ms(5), true));
    }
}
