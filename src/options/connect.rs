use std::time::Duration;

use super::SocketOptions;
use crate::endpoint::IntoEndpoint;
use crate::error::Error;
use crate::socket::Socket;
use crate::socket::shared::Unconnected;
use crate::transport::Transport;

/// How to connect: the options of Node's `net.createConnection(options)`.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// use std::time::Duration;
/// use sockeye::ConnectOptions;
///
/// let socket = ConnectOptions::new()
///     .no_delay(true)
///     .timeout(Duration::from_secs(10))
///     .connect("localhost:8124")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    socket: SocketOptions,
    no_delay: bool,
    keep_alive: bool,
    keep_alive_initial_delay: Duration,
    timeout: Option<Duration>,
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`SocketOptions::allow_half_open`].
    pub fn allow_half_open(mut self, allow: bool) -> Self {
        self.socket = self.socket.allow_half_open(allow);
        self
    }

    /// See [`SocketOptions::high_water_mark`].
    pub fn high_water_mark(mut self, bytes: usize) -> Self {
        self.socket = self.socket.high_water_mark(bytes);
        self
    }

    /// Whether to switch Nagle's algorithm off as soon as the connection is there, so that small writes leave at once.
    /// Off by default. TCP only. Node's `noDelay`.
    pub fn no_delay(mut self, no_delay: bool) -> Self {
        self.no_delay = no_delay;
        self
    }

    /// Whether to switch TCP keep-alive on as soon as the connection is there. Off by default. See
    /// [`SocketHandle::set_keep_alive`](crate::SocketHandle::set_keep_alive). Node's `keepAlive`.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// How long the connection has to be idle before the first keep-alive probe. Zero by default, which leaves the
    /// system's value. Counts in whole seconds. Node's `keepAliveInitialDelay`.
    pub fn keep_alive_initial_delay(mut self, delay: Duration) -> Self {
        self.keep_alive_initial_delay = delay;
        self
    }

    /// The idle timeout, from before the connection is begun. None by default. See
    /// [`SocketHandle::set_timeout`](crate::SocketHandle::set_timeout). Node's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Connects with these options; otherwise as [`connect`](crate::connect()).
    pub fn connect(self, endpoint: impl IntoEndpoint) -> Socket {
        let socket = Socket::with_options(self.socket);
        if self.no_delay {
            socket.set_no_delay(true);
        }
        if self.keep_alive {
            socket.set_keep_alive(true, self.keep_alive_initial_delay);
        }
        if let Some(timeout) = self.timeout {
            socket.set_timeout(timeout);
        }
        if let Err(error) = socket.connect(endpoint) {
            socket.destroy_with(error);
        }
        socket
    }
}

impl Unconnected {
    /// Applies what was asked for before there was a connection.
    pub(crate) fn apply(&self, transport: &Transport) {
        let settings = [
            self.no_delay.map(|no_delay| transport.set_no_delay(no_delay)),
            self.keep_alive.map(|(enable, delay)| transport.set_keep_alive(enable, delay)),
        ];
        for error in settings.into_iter().flatten().filter_map(Result::err).map(Error::from) {
            tracing::debug!(%error, "cannot set a socket option");
        }
    }
}
