//! What happens to a socket.

use std::net::IpAddr;

use bytes::Bytes;

use crate::address::Address;
use crate::error::Error;

/// What happens to a [`Socket`](crate::Socket), in Node's names and in Node's order.
///
/// ```text
/// connecting   Lookup, ConnectionAttempt, ConnectionAttemptFailed, ..., Connect, Ready
/// connected    Data, Drain and Timeout in any number; End at most once, Finish at most once
/// the end      Error at most once; then Close, always, exactly once
/// ```
///
/// An accepted socket starts connected: it has no events of the first line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A host name was resolved, or could not be: Node's `'lookup'`. Once for each address that was found. Never for
    /// literal addresses and paths.
    Lookup(Box<Lookup>),
    /// A connection to this address is being tried: Node's `'connectionAttempt'`.
    ConnectionAttempt {
        /// The address, or the path.
        address: Address,
    },
    /// The attempt failed; if there are more addresses, the next one is tried. Node's `'connectionAttemptFailed'`.
    ConnectionAttemptFailed {
        /// The address, or the path.
        address: Address,
        /// Why.
        error: Error,
    },
    /// The attempt took too long and was given up for the next address: Node's `'connectionAttemptTimeout'`. Only with
    /// [`AutoSelectFamily::Serial`](crate::AutoSelectFamily::Serial); a race lets a slow attempt go on.
    ConnectionAttemptTimeout {
        /// The address.
        address: Address,
    },
    /// The connection is there: Node's `'connect'`.
    Connect,
    /// Follows [`Connect`](Event::Connect) directly: Node's `'ready'`.
    Ready,
    /// Bytes from the peer, never empty: Node's `'data'`.
    Data(Bytes),
    /// Text from the peer, never empty, in place of [`Data`](Event::Data) after
    /// [`set_encoding`](crate::Socket::set_encoding): Node's `'data'` with a string.
    Text(String),
    /// The peer has ended its side: Node's `'end'`. Without `allow_half_open` this side is ended too, when the next
    /// event is asked for; a write before that still goes out.
    End,
    /// The write queue is empty again after a write had returned false: Node's `'drain'`.
    Drain,
    /// This side has ended: everything written is with the kernel and the FIN is sent. Node's `'finish'`.
    Finish,
    /// Nothing was read or written for as long as `set_timeout` said: Node's `'timeout'`. Nothing is closed by it.
    Timeout,
    /// The socket failed and is destroyed; [`Close`](Event::Close) follows directly. Node's `'error'`.
    Error(Error),
    /// The socket is closed, and this is its last event: Node's `'close'`.
    Close {
        /// Whether an [`Error`](Event::Error) was the reason.
        had_error: bool,
    },
}

/// How the lookup of a host name went: the arguments of Node's `'lookup'` event.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The host name.
    pub host: String,
    /// One of the addresses found, or the error.
    pub result: Result<IpAddr, Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_small() {
        assert!(size_of::<Event>() <= 48, "{} bytes", size_of::<Event>());
    }
}
