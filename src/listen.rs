//! Beginning to listen.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use crate::address::display_path;
use crate::endpoint::{Endpoint, IntoEndpoint};
use crate::error::{Error, Result, Target};
use crate::resolve;
use crate::server::handle::ServerHandle;
use crate::server::shared::ServerShared;
use crate::transport::listener::Listener;

/// Node's default, and not 512.
const BACKLOG: i32 = 511;

impl ServerHandle {
    /// Begins to listen on an endpoint: Node's `server.listen`.
    ///
    /// It begins in the call, and the future need not be polled: if it is not, [`ServerEvent::Listening`] or
    /// [`ServerEvent::Error`] tells how it went, otherwise the future does.
    ///
    /// A port alone means every local address, IPv6 and IPv4 (`::`, or `0.0.0.0` where there is no IPv6); port 0 is a
    /// free one, which [`address`](Self::address) tells. A host name is resolved, and its first address taken. A path
    /// must not exist yet; its socket file is removed when the server closes.
    ///
    /// [`ServerEvent::Listening`]: crate::ServerEvent::Listening
    /// [`ServerEvent::Error`]: crate::ServerEvent::Error
    ///
    /// # Errors
    ///
    /// At the call, and only in the future: those of a bad [endpoint](Endpoint), `ERR_SERVER_ALREADY_LISTEN` if it
    /// listens already, `ERR_NO_RUNTIME` outside of a tokio runtime. Otherwise those of the system, such as
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` (also where the directory of a path is missing), `EINVAL` (path too
    /// long), `ENOTFOUND`. After an error it can be called again. `ERR_SERVER_NOT_RUNNING` if the server is closed
    /// while a name is being resolved.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// let server = sockeye::Server::new();
    /// server.listen("localhost:0").await?;
    /// println!("opened server on {}", server.address().unwrap());
    ///
    /// let other = sockeye::Server::new();
    /// let error = other.listen(server.address().unwrap()).await.unwrap_err();
    /// assert_eq!(error.code(), "EADDRINUSE");
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(&self, endpoint: impl IntoEndpoint) -> Listen {
        let started = endpoint.into_endpoint().and_then(|endpoint| start(&self.shared, endpoint));
        Listen { shared: self.shared.clone(), started }
    }
}

/// Becomes ready when a server listens, or cannot: what [`ServerHandle::listen`] returns.
///
/// Dropping it changes nothing.
#[must_use = "an error at the call is told by nobody else"]
pub struct Listen {
    shared: Arc<ServerShared>,
    started: Result<u64>,
}

impl Future for Listen {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.started {
            Ok(generation) => self.shared.poll_outcome(*generation, cx),
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listen").field("started", &self.started).finish_non_exhaustive()
    }
}

fn start(shared: &Arc<ServerShared>, endpoint: Endpoint) -> Result<u64> {
    let runtime = Handle::try_current().map_err(|_| Error::no_runtime())?;
    let generation = shared.start()?;
    let bound = match endpoint {
        Endpoint::Port(port) => bind_any(port),
        Endpoint::Ip(address) => bind(address),
        Endpoint::Path(path) => bind_path(&path),
        Endpoint::Host { host, port } => match resolve::literal(&host, port) {
            Some(address) => bind(address),
            None => {
                let shared = shared.clone();
                runtime.spawn(async move {
                    let bound = bind_host(&host, port).await;
                    shared.settle(generation, bound);
                });
                return Ok(generation);
            }
        },
    };
    shared.settle(generation, bound);
    Ok(generation)
}

async fn bind_host(host: &str, port: u16) -> Result<Listener> {
    let addresses = resolve::lookup(host).await?;
    let first = addresses.iter().find(|address| !is_link_local(address)).or(addresses.first());
    let mut address = *first.ok_or_else(|| Error::lookup("ENOTFOUND", host))?;
    address.set_port(port);
    bind(address)
}

/// A link-local address works only together with an interface, which a name does not tell.
fn is_link_local(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local())
}

/// Every local address: of both families, or of IPv4 alone on a system without IPv6.
fn bind_any(port: u16) -> Result<Listener> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match Listener::tcp(v6, BACKLOG) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind((Ipv4Addr::UNSPECIFIED, port).into()),
        result => result.map_err(|error| Error::listen(error, Target::Ip(v6))),
    }
}

fn bind(address: SocketAddr) -> Result<Listener> {
    Listener::tcp(address, BACKLOG).map_err(|error| Error::listen(error, Target::Ip(address)))
}

#[cfg(unix)]
fn bind_path(path: &Path) -> Result<Listener> {
    Listener::unix(path, BACKLOG).map_err(|error| Error::listen(error, Target::Path(&display_path(path))))
}
