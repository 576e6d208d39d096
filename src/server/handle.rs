//! What can be done with a server from anywhere.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::timeout;

use super::shared::ServerShared;
use crate::address::Address;
use crate::block_list::BlockList;
use crate::error::{Error, Result};
use crate::socket::handle::SocketHandle;

/// A second hand on a [`Server`](crate::Server): listens, closes and asks, from any task or thread.
///
/// [`Server::handle`](crate::Server::handle) makes one, and a `Server` dereferences to its own. A handle does not keep
/// the server listening: that ends when the `Server` is dropped.
#[derive(Clone)]
pub struct ServerHandle {
    pub(crate) shared: Arc<ServerShared>,
}

impl ServerHandle {
    /// Stops listening: Node's `server.close`. Connections that are there stay, and a socket file is removed. To end them
    /// too, use [`close_within`](Self::close_within).
    ///
    /// It happens in the call. The future it returns is ready when the last connection has ended, with the task that
    /// [`on_connection`](crate::Server::on_connection) has for it; it need not be polled. Listening again is possible
    /// straight away.
    ///
    /// # Errors
    ///
    /// The future gives `ERR_SERVER_NOT_RUNNING` if the server was not open.
    pub fn close(&self) -> Closed {
        let refused = if self.shared.close() { None } else { Some(Error::not_running()) };
        Closed { close: self.shared.close_to_come(), shared: self.shared.clone(), refused }
    }

    /// [Closes](Self::close) the server, [ends](SocketHandle::end) all its connections, and
    /// [destroys](SocketHandle::destroy) those that are still there after `grace`: how a program stops. Returns how many
    /// it had to destroy. Node has the pieces for HTTP servers only (`closeAllConnections`).
    ///
    /// Closing and ending happen in the call. What was written before goes out before the ends; for a last word that
    /// nothing follows, use [`try_end_with`](SocketHandle::try_end_with). The server need not be open. The future does
    /// not wait for those that it destroys, nor for tasks of [`on_connection`](crate::Server::on_connection) that go on
    /// after `grace`: await [`closed`](Self::closed) for them.
    ///
    /// # Panics
    ///
    /// The future panics outside of a tokio runtime with a time driver.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, or nobody polls it, nobody is destroyed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use std::time::Duration;
    ///
    /// let server = sockeye::create_server(async |mut socket| while socket.next().await.is_some() {});
    /// server.listen("127.0.0.1:0").await?;
    /// # let mut client = sockeye::connect(server.address().unwrap()).await?;
    /// # while server.connections() == 0 { tokio::task::yield_now().await }
    /// # let reader = tokio::spawn(async move {
    /// #     let mut text = String::new();
    /// #     tokio::io::AsyncReadExt::read_to_string(&mut client, &mut text).await.map(|_| text)
    /// # });
    ///
    /// // When the program is to stop:
    /// for socket in server.sockets() {
    ///     let _has_ended = socket.try_end_with("goodbye\n");
    /// }
    /// assert_eq!(server.close_within(Duration::from_secs(10)).await, 0);
    /// # assert_eq!(reader.await.unwrap()?, "goodbye\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_within(&self, grace: Duration) -> impl Future<Output = usize> + Send + use<> {
        self.shared.close();
        for socket in self.sockets() {
            socket.end();
        }
        let (server, closed) = (self.clone(), self.closed());
        async move {
            if timeout(grace, closed).await.is_ok() {
                return 0;
            }
            let mut late = server.sockets();
            late.retain(|socket| !socket.destroyed());
            for socket in &late {
                socket.destroy();
            }
            late.len()
        }
    }

    /// Waits until the server has been closed and the last connection has ended; returns at once if that is so. It does
    /// not close the server itself.
    ///
    /// # Errors
    ///
    /// None so far; the result is there so that a program can end with it.
    pub fn closed(&self) -> Closed {
        Closed { close: self.shared.close_to_come(), shared: self.shared.clone(), refused: None }
    }

    /// Where the server listens, with the port that the system chose: Node's `server.address()`. `None` before
    /// listening, and from `close` on.
    pub fn address(&self) -> Option<Address> {
        self.shared.lock().listener.as_ref()?.address()
    }

    /// Whether the server listens: Node's `server.listening`.
    pub fn listening(&self) -> bool {
        self.shared.lock().core.is_listening()
    }

    /// How many connections there are: Node's `server.getConnections`. One for which
    /// [`on_connection`](crate::Server::on_connection) has a task counts until that has ended, too.
    /// [`sockets`](Self::sockets) are they themselves.
    pub fn connections(&self) -> usize {
        self.shared.lock().core.connections()
    }

    /// Handles of all open connections, in the order in which they were accepted. Node keeps such a list for HTTP only,
    /// as `server.closeAllConnections`.
    ///
    /// There are as many as [`connections`](Self::connections) counts: also those that somebody has dropped or ended and
    /// that are still being written out, and those that are closed while their task is still at work. It is a copy; who
    /// connects later is not in it.
    ///
    /// To write to all, use [`try_write`](SocketHandle::try_write): a [`write`](SocketHandle::write) or
    /// [`end_with`](SocketHandle::end_with) destroys those that were ended, and what they have queued is lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use sockeye::{Event, Server};
    ///
    /// let mut server = Server::new();
    /// server.listen("127.0.0.1:0").await?;
    /// let mut client = sockeye::connect(server.address().unwrap()).await?;
    /// let _socket = server.accept().await;
    ///
    /// for socket in server.sockets() {
    ///     let _has_ended = socket.try_write("to everybody");
    /// }
    /// assert!(matches!(client.next().await, Some(Event::Data(chunk)) if chunk == "to everybody"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sockets(&self) -> Vec<SocketHandle> {
        self.shared.sockets().into_iter().map(|shared| SocketHandle { shared }).collect()
    }

    /// How many connections there may be: Node's `server.maxConnections`. `None`, the default, sets no limit.
    pub fn max_connections(&self) -> Option<usize> {
        self.shared.lock().core.max_connections()
    }

    /// Limits the number of connections. What comes in above it is closed at once and reported as
    /// [`ServerEvent::Drop`](crate::ServerEvent::Drop). Those that are there stay. Zero takes none (Node before v21 took
    /// it for "no limit").
    pub fn set_max_connections(&self, limit: Option<usize>) {
        self.shared.lock().core.set_max_connections(limit);
    }

    /// Whose connections are refused: Node's `blockList` option, as of v26. `None` if nobody's are.
    pub fn block_list(&self) -> Option<Arc<BlockList>> {
        self.shared.lock().block_list.clone()
    }

    /// Refuses the connections of these addresses from now on, in place of those of
    /// [`ServerOptions::block_list`](crate::ServerOptions::block_list), which says how. Connections that are there
    /// stay. (In Node, add rules to the list.)
    pub fn set_block_list(&self, block_list: Option<Arc<BlockList>>) {
        let mut state = self.shared.lock();
        let former = std::mem::replace(&mut state.block_list, block_list);
        drop(state);
        // A long list takes its time to be dropped, which is not to happen under the lock.
        drop(former);
    }

    /// Whether [`unreferenced`](crate::unreferenced) waits for this server while it listens: Node's `server.ref`
    /// (`true`, the default) and `server.unref` (`false`).
    pub fn set_referenced(&self, referenced: bool) {
        self.shared.set_referenced(referenced);
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("address", &self.address())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Becomes ready when a server is closed and its last connection has ended.
///
/// It only waits, so it may be dropped. It is made by [`close`](ServerHandle::close) and
/// [`closed`](ServerHandle::closed).
pub struct Closed {
    shared: Arc<ServerShared>,
    close: u64,
    refused: Option<Error>,
}

impl Future for Closed {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(error) = &self.refused {
            return Poll::Ready(Err(error.clone()));
        }
        ready!(self.shared.poll_closed(self.close, cx));
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("refused", &self.refused).finish_non_exhaustive()
    }
}
