use tokio_util::sync::CancellationToken;

use super::DEFAULT_HIGH_WATER_MARK;

/// How a socket behaves: the options of Node's `new net.Socket(options)`.
///
/// ```
/// let socket = sockeye::Socket::with_options(sockeye::SocketOptions::new().allow_half_open(true));
/// # drop(socket);
/// ```
#[derive(Clone, Debug)]
pub struct SocketOptions {
    pub(crate) allow_half_open: bool,
    pub(crate) high_water_mark: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) signal: Option<CancellationToken>,
}

impl SocketOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            allow_half_open: false,
            high_water_mark: DEFAULT_HIGH_WATER_MARK,
            readable: true,
            writable: true,
            signal: None,
        }
    }

    /// Whether this side stays open when the peer has ended, until [`end`](crate::SocketHandle::end) is called. Off by
    /// default: then the socket ends by itself, after the one who got [`Event::End`](crate::Event::End) had the chance
    /// to write a last word. Node's `allowHalfOpen`.
    pub fn allow_half_open(mut self, allow: bool) -> Self {
        self.allow_half_open = allow;
        self
    }

    /// From how many queued bytes on [`write`](crate::SocketHandle::write) returns `false`. 64 KiB by default. A larger
    /// mark lets a fast writer run further ahead, and a slow reader cost more memory. Node's `highWaterMark`.
    pub fn high_water_mark(mut self, bytes: usize) -> Self {
        self.high_water_mark = bytes;
        self
    }

    /// Whether a socket that is made [from a descriptor](crate::Socket::from_fd) is read. On by default; ignored
    /// otherwise. Node's `readable`, which is off by default.
    pub fn readable(mut self, readable: bool) -> Self {
        self.readable = readable;
        self
    }

    /// Whether a socket that is made [from a descriptor](crate::Socket::from_fd) is written. On by default; ignored
    /// otherwise. Node's `writable`, which is off by default.
    pub fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }

    /// A token whose cancellation destroys the socket, with an error whose code is `ABORT_ERR`. None by default. It
    /// needs a tokio runtime, and costs a task for as long as the socket is open. Node's `signal`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use sockeye::{Event, Socket, SocketOptions};
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let mut socket = Socket::with_options(SocketOptions::new().signal(token.clone()));
    /// token.cancel();
    /// assert!(matches!(socket.next().await, Some(Event::Error(error)) if error.code() == "ABORT_ERR"));
    /// # }
    /// ```
    pub fn signal(mut self, signal: CancellationToken) -> Self {
        self.signal = Some(signal);
        self
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::new()
    }
}
