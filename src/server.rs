//! Taking connections.

pub(crate) mod connection_output;
pub(crate) mod handle;
mod roll;
pub(crate) mod shared;

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;

use self::connection_output::{ConnectionOutput, sealed::IntoFailure};
use self::handle::ServerHandle;
use self::shared::ServerShared;
use crate::options::ServerOptions;
use crate::server_event::ServerEvent;
use crate::socket::Socket;
use crate::socket::handle::SocketHandle;

/// Takes connections over TCP or a Unix domain socket: Node's `net.Server`.
///
/// [`listen`](ServerHandle::listen) says where. Connections are then either handed to an
/// [`on_connection`](Self::on_connection) listener, each in a task of its own, or asked for one by one, with
/// [`accept`](Self::accept) or as [`ServerEvent`]s with [`next`](Self::next). The server dereferences to its
/// [`ServerHandle`], which has the rest.
///
/// A connection that fails while it is accepted, or a system that has no room for another (`EMFILE`), does not end the
/// server: it goes on as soon as it can.
///
/// # When nobody polls
///
/// With an `on_connection` listener, connections are taken in the background; events that nobody asks for are kept, up
/// to 128 of them. Without one, connections wait in the kernel's queue (511 of them) until somebody asks.
///
/// # Drop
///
/// Dropping the server stops listening and removes the socket file. Connections that are there stay.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// let mut server = sockeye::Server::new();
/// server.listen(("127.0.0.1", 0)).await?;
/// let client = sockeye::connect(server.address().unwrap());
///
/// let socket = server.accept().await.unwrap();
/// assert_eq!(server.connections(), 1);
/// drop(socket);
/// server.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    handle: ServerHandle,
}

/// Makes a server that calls `listener` with each connection: Node's `net.createServer(connectionListener)`, and another
/// way to write [`Server::new`] and [`on_connection`](Server::on_connection). With options, begin with
/// [`Server::with_options`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// let server = sockeye::create_server(|socket| async move {
///     socket.end_with("goodbye\n");
/// });
/// server.listen("127.0.0.1:0").await?;
/// # Ok(())
/// # }
/// ```
pub fn create_server<F, T>(listener: F) -> Server
where
    F: Fn(Socket) -> T + Send + Sync + 'static,
    T: Future<Output: ConnectionOutput> + Send + 'static,
{
    Server::new().on_connection(listener)
}

impl Server {
    /// A server that does not listen yet: Node's `net.createServer()`.
    pub fn new() -> Self {
        Self::with_options(ServerOptions::new())
    }

    /// A server with options: Node's `net.createServer(options)`.
    pub fn with_options(options: ServerOptions) -> Self {
        Self { handle: ServerHandle { shared: ServerShared::new(options) } }
    }

    /// Calls `listener` with each connection, and runs what it returns in a task of its own: Node's
    /// `net.createServer(connectionListener)`.
    ///
    /// The socket is dropped with the task, which closes the connection behind what was written. The connection counts
    /// until both have ended, socket and task, so [`close`](ServerHandle::close) waits for what the task does last; a
    /// task that awaited it would wait for itself. The task ends with nothing or with a result ([`ConnectionOutput`]). An
    /// error concerns this connection only; it is logged (`tracing`, level debug).
    pub fn on_connection<F, T>(self, listener: F) -> Self
    where
        F: Fn(Socket) -> T + Send + Sync + 'static,
        T: Future<Output: ConnectionOutput> + Send + 'static,
    {
        let on_connection = move |socket: Socket| {
            tokio::spawn(Serving::new(&listener, socket));
        };
        self.handle.shared.lock().on_connection = Some(Arc::new(on_connection));
        self.handle.shared.ensure_acceptor();
        self
    }

    /// A handle to this server, for other tasks.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// The next event; `None` when the server was closed and [`ServerEvent::Close`] was delivered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> impl Future<Output = Option<ServerEvent>> + Send + '_ {
        poll_fn(|cx| self.handle.shared.poll_event(cx))
    }

    /// The next connection; `None` when the server was closed. Other events are taken and dropped, errors with a line
    /// in the log (`tracing`, level warn).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&mut self) -> Option<Socket> {
        loop {
            match self.next().await? {
                ServerEvent::Connection(socket) => return Some(socket),
                ServerEvent::Error(error) => tracing::warn!(%error, "cannot accept"),
                _ => {}
            }
        }
    }
}

pin_project! {
    /// The task of a connection. An `async` block would keep room for what it awaits twice.
    struct Serving<T> {
        #[pin]
        task: T,
        served: Served,
    }
}

/// Makes a connection count for as long as it lives.
struct Served(SocketHandle);

impl<T> Serving<T> {
    fn new(listener: &impl Fn(Socket) -> T, socket: Socket) -> Self {
        let served = Served::new(socket.handle());
        Self { task: listener(socket), served }
    }
}

impl<T: Future<Output: ConnectionOutput>> Future for Serving<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Some(error) = ready!(this.task.poll(cx)).into_failure() {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::debug!(error, peer = ?this.served.0.peer_addr(), "a connection ended with an error");
        }
        Poll::Ready(())
    }
}

impl Served {
    fn new(handle: SocketHandle) -> Self {
        handle.lock().is_served = true;
        Self(handle)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.lock().is_served = false;
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Server {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.handle
    }
}

impl Stream for Server {
    type Item = ServerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        self.handle.shared.poll_event(cx)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shared.abandon();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.handle).finish()
    }
}
