//! Making connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::address::{Address, display_path};
use crate::auto_select_family::AutoSelectFamily;
use crate::core::eyeballs::{Eyeballs, Pace, Step};
use crate::endpoint::{Endpoint, IntoEndpoint};
use crate::error::{Error, Result, Target};
use crate::event::Lookup;
use crate::options::{ConnectOptions, ConnectPlan};
use crate::resolve;
use crate::socket::Socket;
use crate::socket::handle::SocketHandle;
use crate::socket::shared::{Shared, now};
use crate::transport::{Transport, tcp, unix};

/// Connects to an endpoint: Node's `net.connect` and `net.createConnection`.
///
/// It returns at once, and the connection is made in the background. Either `.await` the socket to have it connected
/// (or the error), or ask for its [events](crate::Event), which tell each step. What is written before the connection
/// is there is queued, and goes out first.
///
/// A port alone means `localhost`. A host name is resolved by the system; if it has several addresses, they
/// [race](AutoSelectFamily::Race). [`ConnectOptions`] can change that and more.
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

/// Another name of [`connect`]: Node's `net.createConnection`.
pub fn create_connection(endpoint: impl IntoEndpoint) -> Socket {
    connect(endpoint)
}

impl SocketHandle {
    /// Connects this socket: Node's `socket.connect`. Works like [`connect`](crate::connect()).
    ///
    /// After [`Event::Close`](crate::Event::Close) it can be called again, any number of times: the counters start anew,
    /// the settings stay.
    ///
    /// # Errors
    ///
    /// At the call: those of a bad [endpoint](Endpoint), `EISCONN` if it is connected or connecting,
    /// `ERR_STREAM_DESTROYED` between a destroy and `Close`, `ERR_NO_RUNTIME` outside of a tokio runtime. The socket
    /// stays as it is.
    pub fn connect(&self, endpoint: impl IntoEndpoint) -> Result<()> {
        self.connect_with(endpoint, ConnectOptions::new())
    }

    /// Connects this socket with options: Node's `socket.connect(options)`. Those that describe the socket rather than
    /// the connection (half-open, high-water mark, signal) are ignored; they were settled when it was made.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), and `ERR_INVALID_IP_ADDRESS` or `ERR_OUT_OF_RANGE` for an option.
    pub fn connect_with(&self, endpoint: impl IntoEndpoint, options: ConnectOptions) -> Result<()> {
        let endpoint = endpoint.into_endpoint()?;
        let plan = options.plan()?;
        let shared = &self.shared;
        let runtime = shared.runtime_for_connecting().ok_or_else(Error::no_runtime)?;
        let mut state = shared.lock();
        let is_again = state.core.is_closed();
        state.core.connect()?;
        state.life = state.life.wrapping_add(u32::from(is_again));
        state.remote = None;
        if let Some(extra) = &mut state.extra {
            extra.attempted.clear();
            extra.local = None;
        }
        state.can_reset = !matches!(endpoint, Endpoint::Path(_));
        if let Endpoint::Path(path) = &endpoint {
            state.core.handle_attempt(Address::Path(path.clone()));
        }
        state.touch();
        drop(state);
        options.apply(self);
        let task = runtime.spawn(run(shared.clone(), Destination::begin(endpoint), plan)).abort_handle();
        let mut state = shared.lock();
        if state.core.is_connecting() {
            state.extra().connect_task = Some(task);
        } else if state.core.is_destroyed() {
            task.abort();
        }
        Ok(())
    }
}

/// Where a socket is being connected to.
enum Destination {
    Host(String, u16),
    Ip(SocketAddr),
    /// This takes no time, so it is done in the call, as in Node: the peer sees it whatever follows.
    Path(PathBuf, io::Result<StdUnixStream>),
}

impl Destination {
    fn begin(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Port(port) => Self::Host("localhost".into(), port),
            Endpoint::Host { host, port } => Self::Host(host, port),
            Endpoint::Ip(address) => Self::Ip(address),
            Endpoint::Path(path) => {
                let stream = unix::connect(&path);
                Self::Path(path, stream)
            }
        }
    }
}

/// The background task of a connecting socket.
async fn run(shared: Arc<Shared>, destination: Destination, plan: ConnectPlan) {
    let result = match plan.connect_timeout {
        None => establish(&shared, destination, &plan).await,
        Some(limit) => {
            let timed_out = timed_out(&destination);
            let establishing = establish(&shared, destination, &plan);
            tokio::time::timeout(limit, establishing).await.unwrap_or(Err(timed_out))
        }
    };
    let mut state = shared.lock();
    if !state.core.is_connecting() {
        return;
    }
    match result {
        Ok(transport) => {
            state.settings.apply(&transport);
            if let Transport::Tcp(stream) = &transport {
                state.remote = stream.peer_addr().ok();
            }
            if let Some(extra) = &mut state.extra {
                extra.connect_task = None;
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

async fn establish(shared: &Arc<Shared>, destination: Destination, plan: &ConnectPlan) -> Result<Transport> {
    match destination {
        Destination::Host(host, port) => connect_host(shared, plan, &host, port).await,
        Destination::Ip(address) => connect_ips(shared, plan, Pace::Patient, vec![address]).await,
        Destination::Path(path, stream) => finish_path(shared, &path, stream),
    }
}

async fn connect_host(shared: &Arc<Shared>, plan: &ConnectPlan, host: &str, port: u16) -> Result<Transport> {
    if let Some(address) = resolve::literal(host, port) {
        return connect_ips(shared, plan, Pace::Patient, vec![address]).await;
    }
    let mut addresses = match plan.resolver.lookup(host, plan.lookup).await {
        Ok(addresses) => addresses,
        Err(error) => {
            tell_lookup(shared, host, Err(error.clone()));
            return Err(error);
        }
    };
    let applies = plan.lookup.family.is_none() && plan.local_address.is_none();
    let pace = match plan.auto_select_family {
        AutoSelectFamily::Race if applies => Pace::Race(plan.attempt_timeout),
        AutoSelectFamily::Serial if applies => Pace::Serial(plan.attempt_timeout),
        _ => {
            addresses.truncate(1);
            Pace::Patient
        }
    };
    for address in &mut addresses {
        tell_lookup(shared, host, Ok(address.ip()));
        address.set_port(port);
    }
    connect_ips(shared, plan, pace, addresses).await
}

/// Does what the schedule says. Attempts that lose are dropped with the set, which closes them.
async fn connect_ips(
    shared: &Arc<Shared>,
    plan: &ConnectPlan,
    pace: Pace,
    addresses: Vec<SocketAddr>,
) -> Result<Transport> {
    let lists_attempts = addresses.len() > 1;
    let mut eyeballs = Eyeballs::new(addresses, pace);
    let mut attempts = JoinSet::new();
    let mut errors = Vec::new();
    loop {
        match eyeballs.next_step(now()) {
            Step::Start(address) if plan.blocks(address) => {
                let error = Error::ip_blocked(address);
                let mut state = shared.lock();
                // As in Node: one of several is told to have failed, a single one to have been attempted.
                if lists_attempts {
                    state.core.handle_attempt_failed(Address::Ip(address), error.clone());
                } else {
                    state.core.handle_attempt(Address::Ip(address));
                }
                drop(state);
                errors.push(error);
                eyeballs.handle_failed(address, now());
            }
            Step::Start(address) => {
                let local = plan.local(address);
                let socket = match tcp::socket(address, local) {
                    Ok(socket) => socket,
                    // Without a socket there is no attempt to tell of.
                    Err(error) => {
                        errors.push(error);
                        eyeballs.handle_failed(address, now());
                        continue;
                    }
                };
                let mut state = shared.lock();
                state.core.handle_attempt(Address::Ip(address));
                if lists_attempts {
                    state.extra().attempted.push(address);
                }
                drop(state);
                attempts.spawn(async move {
                    let result = socket.connect(address).await;
                    (address, result.map_err(|error| Error::connect_from(error, address, local)))
                });
            }
            Step::GiveUp(address) => {
                // It was the only one that ran. The new set takes no late word from it.
                attempts = JoinSet::new();
                errors.push(Error::connect_timed_out(address));
                shared.lock().core.handle_attempt_timeout(Address::Ip(address));
            }
            Step::Wait(deadline) => match next_end(&mut attempts, deadline.map(Into::into)).await {
                Some((address, Ok(stream))) => {
                    shared.lock().extra().put_winner_last(address);
                    return Ok(Transport::Tcp(stream));
                }
                Some((address, Err(error))) => {
                    shared.lock().core.handle_attempt_failed(Address::Ip(address), error.clone());
                    errors.push(error);
                    eyeballs.handle_failed(address, now());
                }
                // The attempts were cancelled with their runtime; nobody is left to wait for.
                None if attempts.is_empty() => return Err(Error::socket_closed()),
                None => {}
            },
            Step::Failed => return Err(Error::aggregate(errors).unwrap_or_else(Error::socket_closed)),
        }
    }
}

type Attempt = (SocketAddr, Result<TcpStream>);

/// The next attempt to end, or `None` when the deadline has passed.
async fn next_end(attempts: &mut JoinSet<Attempt>, deadline: Option<tokio::time::Instant>) -> Option<Attempt> {
    let joined = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, attempts.join_next()).await.ok()?,
        None => attempts.join_next().await,
    };
    joined?.ok()
}

fn finish_path(shared: &Arc<Shared>, path: &Path, stream: io::Result<StdUnixStream>) -> Result<Transport> {
    let stream = stream.and_then(UnixStream::from_std);
    stream.map(Transport::Unix).map_err(|error| {
        let error = Error::connect("connect", error, Target::Path(&display_path(path)));
        shared.lock().core.handle_attempt_failed(Address::Path(path.to_owned()), error.clone());
        error
    })
}

/// Connecting to a path takes no time.
fn timed_out(destination: &Destination) -> Error {
    let error = io::Error::from_raw_os_error(libc::ETIMEDOUT);
    match destination {
        Destination::Ip(address) => Error::connect("connect", error, Target::Ip(*address)),
        Destination::Host(host, port) => Error::connect("connect", error, Target::Host(host, *port)),
        Destination::Path(path, _) => Error::connect("connect", error, Target::Path(&display_path(path))),
    }
}

fn tell_lookup(shared: &Arc<Shared>, host: &str, result: Result<IpAddr>) {
    shared.lock().core.handle_lookup(Lookup { host: host.to_owned(), result });
}
