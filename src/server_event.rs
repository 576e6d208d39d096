//! What happens to a server.

use std::net::SocketAddr;

use crate::error::Error;
use crate::socket::Socket;

/// What happens to a [`Server`](crate::Server), in Node's names.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The server is bound and takes connections: Node's `'listening'`.
    Listening,
    /// A connection came in: Node's `'connection'`. Dropping the socket closes it.
    Connection(Socket),
    /// A connection came in and was closed at once, because there are
    /// [`max_connections`](crate::ServerHandle::set_max_connections): Node's `'drop'`. Its addresses, of a TCP
    /// connection.
    Drop(Option<Dropped>),
    /// A connection came in from this address and was closed at once, because the
    /// [block list](crate::ServerOptions::block_list) has it. Node tells nobody.
    Blocked(SocketAddr),
    /// Listening failed, or the system had no room for a connection that came in (syscall `accept`). The latter does
    /// not end the server: it goes on as soon as there is room. Node's `'error'`.
    Error(Error),
    /// The server was closed and its last connection has ended: Node's `'close'`.
    Close,
}

/// The two ends of a connection that was dropped: the argument of Node's `'drop'` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// This end (Node's `localAddress`, `localPort`, `localFamily`).
    pub local: SocketAddr,
    /// The peer (Node's `remoteAddress`, `remotePort`, `remoteFamily`).
    pub remote: SocketAddr,
}
