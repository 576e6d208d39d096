use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::SocketOptions;
use crate::auto_select_family::{
    AutoSelectFamily, check_attempt_timeout, default_auto_select_family, default_auto_select_family_attempt_timeout,
};
use crate::block_list::BlockList;
use crate::endpoint::IntoEndpoint;
use crate::error::{Error, Result};
use crate::family::Family;
use crate::into_ip::IntoIp;
use crate::resolve::{AnyResolver, Hints, LookupOptions, Resolver};
use crate::socket::Socket;
use crate::socket::handle::SocketHandle;

/// How to connect: the options of Node's `net.createConnection(options)` and `socket.connect(options)`, but for where
/// to, which is the [endpoint](crate::Endpoint).
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
    /// `Err` for what was no address.
    local_address: Option<Result<IpAddr>>,
    local_port: u16,
    lookup: LookupOptions,
    resolver: AnyResolver,
    no_delay: Option<bool>,
    keep_alive: Option<bool>,
    keep_alive_initial_delay: Duration,
    auto_select_family: Option<AutoSelectFamily>,
    attempt_timeout: Option<Duration>,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    block_list: Option<Arc<BlockList>>,
}

/// The options as the connecting task needs them.
#[derive(Debug)]
pub(crate) struct ConnectPlan {
    pub(crate) local_address: Option<IpAddr>,
    local_port: u16,
    pub(crate) lookup: LookupOptions,
    pub(crate) resolver: AnyResolver,
    pub(crate) auto_select_family: AutoSelectFamily,
    pub(crate) attempt_timeout: Duration,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) block_list: Option<Arc<BlockList>>,
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The local IP address to connect from: the system's choice by default. What is no address is
    /// `ERR_INVALID_IP_ADDRESS` when connecting. Switches [`auto_select_family`](Self::auto_select_family) off. TCP
    /// only. Node's `localAddress`.
    pub fn local_address(mut self, address: impl IntoIp + std::fmt::Debug) -> Self {
        let text = format!("{address:?}");
        self.local_address = Some(address.into_ip().ok_or_else(|| Error::invalid_ip_address(text.trim_matches('"'))));
        self
    }

    /// The local port to connect from: the system's choice by default. TCP only. Node's `localPort`.
    pub fn local_port(mut self, port: u16) -> Self {
        self.local_port = port;
        self
    }

    /// The only family whose addresses are tried. Both by default. Node's `family`: 4, 6 or 0.
    pub fn family(mut self, family: impl Into<Option<Family>>) -> Self {
        self.lookup.family = family.into();
        self
    }

    /// Flags for the lookup of a host name. None by default. Node's `hints`.
    pub fn hints(mut self, hints: Hints) -> Self {
        self.lookup.hints = hints;
        self
    }

    /// What finds the addresses of a host name. The system's `getaddrinfo` by default, on a thread for blocking calls.
    /// Node's `lookup`.
    pub fn lookup(mut self, resolver: impl Resolver) -> Self {
        self.resolver = AnyResolver(Some(Arc::new(resolver)));
        self
    }

    /// Whether to switch Nagle's algorithm off as soon as the connection is there, so that small writes leave at once.
    /// Off by default. TCP only. Node's `noDelay`.
    pub fn no_delay(mut self, no_delay: bool) -> Self {
        self.no_delay = Some(no_delay);
        self
    }

    /// Whether to switch TCP keep-alive on as soon as the connection is there. Off by default. See
    /// [`SocketHandle::set_keep_alive`]. Node's `keepAlive`.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = Some(keep_alive);
        self
    }

    /// How long the connection has to be idle before the first keep-alive probe. Zero by default, which leaves the
    /// system's value. Counts in whole seconds. Node's `keepAliveInitialDelay`.
    pub fn keep_alive_initial_delay(mut self, delay: Duration) -> Self {
        self.keep_alive_initial_delay = delay;
        self
    }

    /// What to do when a name has several addresses: [`AutoSelectFamily::Race`] by default, or what
    /// [`set_default_auto_select_family`](crate::set_default_auto_select_family) says. Node's `autoSelectFamily`.
    pub fn auto_select_family(mut self, auto_select_family: AutoSelectFamily) -> Self {
        self.auto_select_family = Some(auto_select_family);
        self
    }

    /// How long an attempt has before the next address is tried. 250 ms by default, or what
    /// [`set_default_auto_select_family_attempt_timeout`](crate::set_default_auto_select_family_attempt_timeout) says;
    /// below 10 ms it is 10 ms, and zero is `ERR_OUT_OF_RANGE` when connecting. A longer one puts less load on the
    /// network, a shorter one finds its way around a dead address sooner. Node's `autoSelectFamilyAttemptTimeout`.
    pub fn auto_select_family_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// The idle timeout, from before the connection is begun. None by default. It stays on when the connection is there;
    /// to limit connecting alone, use [`connect_timeout`](Self::connect_timeout). See [`SocketHandle::set_timeout`].
    /// Node's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long connecting may take in all: the lookup, and the attempts to all addresses. After that it is given up, and
    /// the socket fails with `ETIMEDOUT` (`connect ETIMEDOUT localhost:8124`), whether or not anybody polls it. None by
    /// default, and for zero: then the system decides, which takes minutes. Node has no such option.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use std::time::Duration;
    /// use sockeye::ConnectOptions;
    ///
    /// let options = ConnectOptions::new().connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(300));
    /// let socket = options.connect("localhost:8124").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Addresses that are not connected to. None by default. If only some addresses of a name are blocked, the others
    /// are tried; otherwise connecting fails with `ERR_IP_BLOCKED`. Looking at the addresses that a name was found to
    /// have, it also keeps a program that connects to where it is told from being sent to [private
    /// addresses](BlockList::PRIVATE_RANGES). Unix domain sockets have no address and are never blocked. Options can
    /// share a list in an [`Arc`]. Node's `blockList`, as of v26.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use sockeye::{BlockList, ConnectOptions};
    ///
    /// let mut block_list = BlockList::new();
    /// block_list.add_subnet("127.0.0.0", 8)?;
    /// let error = ConnectOptions::new().block_list(block_list).connect("127.0.0.1:8124").await.unwrap_err();
    /// assert_eq!(error.code(), "ERR_IP_BLOCKED");
    /// # Ok(())
    /// # }
    /// ```
    pub fn block_list(mut self, block_list: impl Into<Arc<BlockList>>) -> Self {
        self.block_list = Some(block_list.into());
        self
    }

    /// See [`SocketOptions::signal`].
    pub fn signal(mut self, signal: CancellationToken) -> Self {
        self.socket = self.socket.signal(signal);
        self
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

    /// Connects with these options; otherwise as [`connect`](crate::connect()).
    pub fn connect(self, endpoint: impl IntoEndpoint) -> Socket {
        let socket = Socket::with_options(self.socket.clone());
        if let Err(error) = socket.connect_with(endpoint, self) {
            socket.destroy_with(error);
        }
        socket
    }

    /// Checks the options, and returns those that the connecting task needs.
    pub(crate) fn plan(&self) -> Result<ConnectPlan> {
        let attempt_timeout = match self.attempt_timeout {
            Some(timeout) => check_attempt_timeout(timeout)?,
            None => default_auto_select_family_attempt_timeout(),
        };
        Ok(ConnectPlan {
            local_address: self.local_address.clone().transpose()?,
            local_port: self.local_port,
            lookup: self.lookup,
            resolver: self.resolver.clone(),
            auto_select_family: self.auto_select_family.unwrap_or_else(default_auto_select_family),
            attempt_timeout,
            connect_timeout: self.connect_timeout.filter(|timeout| !timeout.is_zero()),
            block_list: self.block_list.clone(),
        })
    }

    /// Gives those to the socket that concern it.
    pub(crate) fn apply(&self, socket: &SocketHandle) {
        if let Some(no_delay) = self.no_delay {
            socket.set_no_delay(no_delay);
        }
        if let Some(keep_alive) = self.keep_alive {
            socket.set_keep_alive(keep_alive, self.keep_alive_initial_delay);
        }
        if let Some(timeout) = self.timeout {
            socket.set_timeout(timeout);
        }
    }
}

impl ConnectPlan {
    pub(crate) fn blocks(&self, remote: SocketAddr) -> bool {
        self.block_list.as_ref().is_some_and(|list| list.check(remote))
    }

    /// Where to connect to this address from, if that was said.
    pub(crate) fn local(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let unspecified = match Family::from(remote) {
            Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let is_said = self.local_address.is_some() || self.local_port != 0;
        is_said.then(|| SocketAddr::new(self.local_address.unwrap_or(unspecified), self.local_port))
    }
}
