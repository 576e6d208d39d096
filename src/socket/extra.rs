//! What only some sockets need.

use std::net::SocketAddr;

use tokio::task::AbortHandle;

use super::party::Party;
use super::wait::Waiter;

/// The part of a socket's state that an accepted connection which only reads and writes never needs, kept apart so that
/// it costs such a connection nothing.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The background task that writes what is queued, while it waits for room.
    pub(crate) flusher: Party,
    pub(crate) waiters: Vec<Waiter>,
    /// The task that makes the connection.
    pub(crate) connect_task: Option<AbortHandle>,
    /// The address of this end, after the transport was released and before that is told.
    pub(crate) local: Option<SocketAddr>,
    /// The addresses that were tried, the last one with success if there is a connection.
    pub(crate) attempted: Vec<SocketAddr>,
}

impl Extra {
    /// The address that won the race stands last among those that were tried.
    pub(crate) fn put_winner_last(&mut self, winner: SocketAddr) {
        if let Some(index) = self.attempted.iter().position(|address| *address == winner) {
            self.attempted[index..].rotate_left(1);
        }
    }
}
