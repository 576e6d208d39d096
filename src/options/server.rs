use std::sync::Arc;
use std::time::Duration;

use super::DEFAULT_HIGH_WATER_MARK;
use crate::block_list::BlockList;
use crate::socket::settings::Settings;

/// How a server treats its connections: the options of Node's `net.createServer(options)`.
///
/// ```
/// let server = sockeye::Server::with_options(sockeye::ServerOptions::new().allow_half_open(true).no_delay(true));
/// # drop(server);
/// ```
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub(crate) allow_half_open: bool,
    pub(crate) high_water_mark: usize,
    pub(crate) pause_on_connect: bool,
    pub(crate) no_delay: bool,
    pub(crate) keep_alive: bool,
    pub(crate) keep_alive_initial_delay: Duration,
    pub(crate) block_list: Option<Arc<BlockList>>,
}

impl ServerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            allow_half_open: false,
            high_water_mark: DEFAULT_HIGH_WATER_MARK,
            pause_on_connect: false,
            no_delay: false,
            keep_alive: false,
            keep_alive_initial_delay: Duration::ZERO,
            block_list: None,
        }
    }

    /// See [`SocketOptions::allow_half_open`](crate::SocketOptions::allow_half_open).
    pub fn allow_half_open(mut self, allow: bool) -> Self {
        self.allow_half_open = allow;
        self
    }

    /// See [`SocketOptions::high_water_mark`](crate::SocketOptions::high_water_mark).
    pub fn high_water_mark(mut self, bytes: usize) -> Self {
        self.high_water_mark = bytes;
        self
    }

    /// Whether each connection starts [paused](crate::SocketHandle::pause), with nothing read from it. Off by default.
    /// Node's `pauseOnConnect`.
    pub fn pause_on_connect(mut self, pause: bool) -> Self {
        self.pause_on_connect = pause;
        self
    }

    /// Whether to switch Nagle's algorithm off on each connection, so that small writes leave at once. Off by default.
    /// TCP only. Node's `noDelay`.
    pub fn no_delay(mut self, no_delay: bool) -> Self {
        self.no_delay = no_delay;
        self
    }

    /// Whether to switch TCP keep-alive on for each connection. Off by default. See
    /// [`SocketHandle::set_keep_alive`](crate::SocketHandle::set_keep_alive). Node's `keepAlive`.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// How long a connection has to be idle before the first keep-alive probe. Zero by default, which leaves the
    /// system's value. Counts in whole seconds. Node's `keepAliveInitialDelay`.
    pub fn keep_alive_initial_delay(mut self, delay: Duration) -> Self {
        self.keep_alive_initial_delay = delay;
        self
    }

    /// Whose connections are refused: they are closed as soon as they come in, count for nothing, and are reported as
    /// [`ServerEvent::Blocked`](crate::ServerEvent::Blocked). None by default. The IPv4-mapped form of an IPv4 address
    /// is that address; connections over a Unix domain socket have none and are never refused. Servers can share a list
    /// in an [`Arc`]; [`set_block_list`](crate::ServerHandle::set_block_list) puts another one in its place. Node's
    /// `blockList`, as of v26.
    ///
    /// ```
    /// use sockeye::{BlockList, Server, ServerOptions};
    ///
    /// let mut block_list = BlockList::new();
    /// block_list.add_subnet("192.0.2.0", 24)?;
    /// let server = Server::with_options(ServerOptions::new().block_list(block_list));
    /// # drop(server);
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn block_list(mut self, block_list: impl Into<Arc<BlockList>>) -> Self {
        self.block_list = Some(block_list.into());
        self
    }
}

impl ServerOptions {
    pub(crate) fn settings(&self) -> Settings {
        Settings::new(self.no_delay, self.keep_alive, self.keep_alive_initial_delay)
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}
