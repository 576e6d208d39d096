//! Beginning to listen.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use crate::address::{Address, display_path};
use crate::before::is_before;
use crate::endpoint::{Endpoint, IntoEndpoint};
use crate::error::{Error, Result, Target};
use crate::listen_handle::IntoListenHandle;
use crate::options::ListenOptions;
use crate::resolve::{self, AnyResolver, LookupOptions};
use crate::server::handle::ServerHandle;
use crate::server::shared::{Outcome, ServerShared};
use crate::transport::listener::Listener;

impl ServerHandle {
    /// Begins to listen on an endpoint: Node's `server.listen`.
    ///
    /// It begins in the call, and the future need not be polled: if it is not, [`ServerEvent::Listening`] or
    /// [`ServerEvent::Error`] tells how it went, otherwise the future does.
    ///
    /// A port alone means every local address, IPv6 and IPv4 (`::`, or `0.0.0.0` where there is no IPv6); port 0 is a
    /// free one. The future gives the [`address`](Self::address) with the port that it is. A host name is resolved, and
    /// its first address taken. A path must not exist yet; its socket file is removed when the server closes.
    ///
    /// [`ServerEvent::Listening`]: crate::ServerEvent::Listening
    /// [`ServerEvent::Error`]: crate::ServerEvent::Error
    ///
    /// # Errors
    ///
    /// At the call, and only in the future: those of a bad [endpoint](Endpoint), `ERR_SERVER_ALREADY_LISTEN` if it
    /// listens already, `ERR_NO_RUNTIME` outside of a tokio runtime. Otherwise those of the system, such as
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` (also where the directory of a path is missing), `EINVAL` (path too
    /// long), `ENOTFOUND`. After an error it can be called again. `ERR_SERVER_NOT_RUNNING` if the server was
    /// closed or dropped by the time it is asked.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// let server = sockeye::Server::new();
    /// let address = server.listen("localhost:0").await?;
    /// println!("opened server on {address}");
    ///
    /// let other = sockeye::Server::new();
    /// let error = other.listen(address).await.unwrap_err();
    /// assert_eq!(error.code(), "EADDRINUSE");
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(&self, endpoint: impl IntoEndpoint) -> Listen {
        self.listen_with(endpoint, ListenOptions::new())
    }

    /// Begins to listen with options: Node's `server.listen(options)`. Otherwise as [`listen`](Self::listen).
    pub fn listen_with(&self, endpoint: impl IntoEndpoint, options: ListenOptions) -> Listen {
        let started = endpoint.into_endpoint().and_then(|endpoint| self.start(&options, Where::Endpoint(endpoint)));
        Listen { shared: self.shared.clone(), started }
    }

    /// Begins to listen on a socket that is bound, or listens, already: Node's `server.listen(handle)`.
    ///
    /// A socket file that belongs to it is not removed when the server closes: whoever made it does that. If several
    /// servers share a listener, in this process or others, each connection goes to one of them.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the handle is no stream socket, or a server that does not listen; otherwise those of
    /// [`listen`](Self::listen).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = sockeye::Server::new();
    /// server.listen_on(listener).await?;
    ///
    /// let other = sockeye::Server::new();
    /// other.listen_on(&server).await?;
    /// assert_eq!(other.address(), server.address());
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen_on(&self, handle: impl IntoListenHandle) -> Listen {
        self.listen_on_with(handle, ListenOptions::new())
    }

    /// Begins to listen on an existing socket with options, of which only the backlog and the signal apply. Otherwise
    /// as [`listen_on`](Self::listen_on).
    pub fn listen_on_with(&self, handle: impl IntoListenHandle, options: ListenOptions) -> Listen {
        let started = handle.into_listen_handle().and_then(|handle| self.start(&options, Where::Handle(handle)));
        Listen { shared: self.shared.clone(), started }
    }

    fn start(&self, options: &ListenOptions, place: Where) -> Result<Arc<Outcome>> {
        let runtime = Handle::try_current().map_err(|_| Error::no_runtime())?;
        let shared = &self.shared;
        let outcome = shared.start()?;
        let bound = match place {
            Where::Handle(handle) => bind_handle(handle, options),
            Where::Endpoint(Endpoint::Port(port)) => bind_any(port, options),
            Where::Endpoint(Endpoint::Ip(address)) => bind(address, options),
            Where::Endpoint(Endpoint::Path(path)) => bind_path(&path, options),
            Where::Endpoint(Endpoint::Host { host, port }) => match resolve::literal(&host, port) {
                Some(address) => bind(address, options),
                None => {
                    runtime.spawn(bind_host(shared.clone(), outcome.clone(), host, port, options.clone()));
                    watch(shared, &outcome, options, &runtime);
                    return Ok(outcome);
                }
            },
        };
        shared.settle(&outcome, bound);
        watch(shared, &outcome, options, &runtime);
        Ok(outcome)
    }
}

enum Where {
    Endpoint(Endpoint),
    Handle(OwnedFd),
}

/// Becomes ready when a server listens, with the address, or cannot: what [`ServerHandle::listen`] returns.
///
/// Dropping it changes nothing.
#[must_use = "an error at the call is told by nobody else"]
pub struct Listen {
    shared: Arc<ServerShared>,
    started: Result<Arc<Outcome>>,
}

impl Future for Listen {
    type Output = Result<Address>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Address>> {
        match &self.started {
            Ok(outcome) => self.shared.poll_outcome(outcome, cx),
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listen").field("started", &self.started).finish_non_exhaustive()
    }
}

/// Closes the server when the token is cancelled, unless it is closed by then.
fn watch(shared: &Arc<ServerShared>, outcome: &Arc<Outcome>, options: &ListenOptions, runtime: &Handle) {
    let Some(token) = options.signal.clone() else { return };
    let (shared, outcome) = (shared.clone(), outcome.clone());
    if token.is_cancelled() {
        shared.close();
        return;
    }
    runtime.spawn(async move {
        if is_before(token.cancelled(), |cx| shared.poll_over(&outcome, cx)).await {
            shared.close_outcome(&outcome);
        }
    });
}

async fn bind_host(shared: Arc<ServerShared>, outcome: Arc<Outcome>, host: String, port: u16, options: ListenOptions) {
    let bound = match AnyResolver::default().lookup(&host, LookupOptions::default()).await {
        Ok(addresses) => {
            let first = addresses.iter().find(|address| !is_link_local(address)).unwrap_or(&addresses[0]);
            bind(SocketAddr::new(first.ip(), port), &options)
        }
        Err(error) => Err(error),
    };
    shared.settle(&outcome, bound);
}

/// A link-local address works only together with an interface, which a name does not tell.
fn is_link_local(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local())
}

/// Every local address: of both families, or of IPv4 alone on a system without IPv6.
fn bind_any(port: u16, options: &ListenOptions) -> Result<Listener> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match Listener::tcp(v6, options) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse && !options.ipv6_only => {
            bind((Ipv4Addr::UNSPECIFIED, port).into(), options)
        }
        result => result.map_err(|error| Error::listen(error, Target::Ip(v6))),
    }
}

fn bind(address: SocketAddr, options: &ListenOptions) -> Result<Listener> {
    Listener::tcp(address, options).map_err(|error| Error::listen(error, Target::Ip(address)))
}

#[cfg(unix)]
fn bind_path(path: &Path, options: &ListenOptions) -> Result<Listener> {
    Listener::unix(path, options).map_err(|error| Error::listen(error, Target::Path(&display_path(path))))
}

fn bind_handle(handle: OwnedFd, options: &ListenOptions) -> Result<Listener> {
    Listener::handle(handle, options).map_err(Error::listen_on)
}
