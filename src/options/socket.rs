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
}

impl SocketOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self { allow_half_open: false, high_water_mark: DEFAULT_HIGH_WATER_MARK }
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
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::new()
    }
}
