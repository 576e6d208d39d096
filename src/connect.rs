//! Making connections.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::address::{Address, display_path};
use crate::endpoint::{Endpoint, IntoEndpoint};
use crate::error::{Error, Result, Target};
use crate::event::Lookup;
use crate::options::ConnectOptions;
use crate::resolve;
use crate::socket::Socket;
use crate::socket::shared::Shared;
use crate::transport::Transport;
use crate::transport::tcp;
#[cfg(unix)]
use crate::transport::unix;

/// Connects to an endpoint: Node's `net.connect` and `net.createConnection`.
///
/// It returns at once, and the connection is made in the background. Either `.await` the socket to have it connected
/// (or the error), or ask for its [events](crate::Event), which tell each step. What is written before the connection
/// is there is queued, and goes out first.
///
/// A port alone means `localhost`. A host name is resolved by the system; if it has several addresses, they are tried
/// in turn until one answers.
///
/// [`ConnectOptions`] has the options.
///
/// # Errors
///
/// All errors, that of a bad [endpoint](Endpoint) too, arrive as the result of `.await` or as
/// [`Event::Error`](crate::Event::Error). If all of several addresses failed, [`Error::errors`] has the reasons.
/// `ERR_NO_RUNTIME` outside of a tokio runtime.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// let tcp = sockeye::connect("localhost:8124").await?;
/// let unix = sockeye::connect("/tmp/echo.sock").await?;
/// # Ok(())
/// # }
/// ```
pub fn connect(endpoint: impl IntoEndpoint) -> Socket {
    ConnectOptions::new().connect(endpoint)
}

impl Socket {
    /// Connects this socket: Node's `socket.connect`. Works like [`connect`](crate::connect()), and only once.
    ///
    /// # Errors
    ///
    /// At the call: those of a bad [endpoint](Endpoint), `EISCONN` if it is connected or connecting,
    /// `ERR_STREAM_DESTROYED` after a destroy, `ERR_NO_RUNTIME` outside of a tokio runtime. The socket stays as it is.
    pub fn connect(&self, endpoint: impl IntoEndpoint) -> Result<()> {
        let endpoint = endpoint.into_endpoint()?;
        let shared = &self.shared;
        shared.lock().core.connect()?;
        let Some(task) = shared.spawn(run(shared.clone(), endpoint)) else {
            let mut state = shared.lock();
            state.core.destroy(Some(Error::no_runtime()));
            return Err(Error::no_runtime());
        };
        let mut state = shared.lock();
        if state.core.is_connecting() {
            state.edit_unconnected(|unconnected| unconnected.task = Some(task));
        } else if state.core.is_destroyed() {
            task.abort();
        }
        Ok(())
    }
}

/// The background task of a connecting socket.
async fn run(shared: Arc<Shared>, endpoint: Endpoint) {
    let result = establish(&shared, &endpoint).await;
    let mut state = shared.lock();
    if !state.core.is_connecting() {
        return;
    }
    match result {
        Ok(transport) => {
            if let Some(settings) = state.unconnected.take() {
                settings.apply(&transport);
            }
            if let Transport::Tcp(stream) = &transport {
                state.remote = stream.peer_addr().ok();
            }
            state.transport = Some(transport);
            state.core.handle_connected();
            state.touch();
            state.drive();
            state.core.handle_connected_reset();
        }
        Err(error) => state.core.handle_connect_error(error),
    }
    state.drive();
}

async fn establish(shared: &Arc<Shared>, endpoint: &Endpoint) -> Result<Transport> {
    match endpoint {
        Endpoint::Path(path) => connect_path(shared, path).await,
        Endpoint::Ip(address) => attempt(shared, *address).await,
        Endpoint::Port(port) => connect_host(shared, "localhost", *port).await,
        Endpoint::Host { host, port } => connect_host(shared, host, *port).await,
    }
}

async fn connect_host(shared: &Arc<Shared>, host: &str, port: u16) -> Result<Transport> {
    if let Some(address) = resolve::literal(host, port) {
        return attempt(shared, address).await;
    }
    let addresses = match resolve::lookup(host).await {
        Ok(addresses) => addresses,
        Err(error) => {
            tell_lookup(shared, host, Err(error.clone()));
            return Err(error);
        }
    };
    for address in &addresses {
        tell_lookup(shared, host, Ok(address.ip()));
    }
    let mut errors = Vec::new();
    for mut address in addresses {
        address.set_port(port);
        match attempt(shared, address).await {
            Ok(transport) => return Ok(transport),
            Err(error) => errors.push(error),
        }
    }
    Err(Error::aggregate(errors).unwrap_or_else(|| Error::lookup("ENOTFOUND", host)))
}

async fn attempt(shared: &Arc<Shared>, address: SocketAddr) -> Result<Transport> {
    shared.lock().core.handle_attempt(Address::Ip(address));
    tcp::connect(address).await.map(Transport::Tcp).map_err(|error| {
        let error = Error::connect("connect", error, Target::Ip(address));
        shared.lock().core.handle_attempt_failed(Address::Ip(address), error.clone());
        error
    })
}

#[cfg(unix)]
async fn connect_path(shared: &Arc<Shared>, path: &Path) -> Result<Transport> {
    unix::connect(path).await.map(Transport::Unix).map_err(|error| {
        let error = Error::connect("connect", error, Target::Path(&display_path(path)));
        shared.lock().core.handle_attempt_failed(Address::Path(path.to_owned()), error.clone());
        error
    })
}

fn tell_lookup(shared: &Arc<Shared>, host: &str, result: Result<IpAddr>) {
    shared.lock().core.handle_lookup(Lookup { host: host.to_owned(), result });
}
