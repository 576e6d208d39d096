//! What only some sockets need.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::party::Party;
use super::wait::Waiter;
use crate::transport::Transport;

/// The part of a socket's state that an accepted connection which only reads and writes never needs, kept apart so that
/// it costs such a connection nothing.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The background task that writes what is queued, while it waits for room.
    pub(crate) flusher: Party,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) settings: Settings,
    /// The task that makes the connection.
    pub(crate) connect_task: Option<AbortHandle>,
    /// The address of this end, after the transport was released and before that is told.
    pub(crate) local: Option<SocketAddr>,
    /// The addresses that were tried, the last one with success if there is a connection.
    pub(crate) attempted: Vec<SocketAddr>,
}

/// Socket options that are applied to each connection this socket makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) no_delay: bool,
    /// The initial delay, if it is on.
    pub(crate) keep_alive: Option<Duration>,
}

impl Extra {
    /// The address that won the race stands last among those that were tried.
    pub(crate) fn put_winner_last(&mut self, winner: SocketAddr) {
        if let Some(index) = self.attempted.iter().position(|address| *address == winner) {
            self.attempted[index..].rotate_left(1);
        }
    }
}

impl Settings {
    /// Applies what differs from a fresh connection. What the system refuses, it refuses because the peer is gone
    /// already; reading will tell.
    pub(crate) fn apply(&self, transport: &Transport) {
        if self.no_delay {
            report(transport.set_no_delay(true));
        }
        if let Some(delay) = self.keep_alive {
            report(transport.set_keep_alive(true, delay));
        }
    }
}

/// A setting that the system refuses does no harm, and Node does not report it either.
pub(crate) fn report(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "cannot set a socket option");
    }
}
