//! What can be done with a socket from anywhere.

use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

#[cfg(unix)]
use tokio::net::unix::UCred;

use super::settings::report;
use super::shared::{Locked, Shared, now};
use super::wait::{Wait, poll_wait};
use super::written::Written;
use crate::data::Data;
use crate::error::{Error, Result};
use crate::family::Family;
use crate::ready_state::ReadyState;

/// A second hand on a [`Socket`](crate::Socket): writes, ends, pauses, destroys and asks, from any task or thread.
///
/// [`Socket::handle`](crate::Socket::handle) makes one, and a `Socket` dereferences to its own. Only the socket itself
/// receives events. A handle does not keep the connection open: when the socket is dropped, what was written still goes
/// out, the connection is closed, and from then on a handle's writes fail like those on a destroyed socket.
///
/// All methods return at once. None of them needs a runtime to be entered, except that a socket which was made outside
/// of one cannot write in the background; see [`write`](Self::write).
#[derive(Clone)]
pub struct SocketHandle {
    pub(crate) shared: Arc<Shared>,
}

/// Writing and ending.
impl SocketHandle {
    /// Writes to the connection: Node's `socket.write`.
    ///
    /// The bytes go to the kernel within this call. What the kernel does not take is queued, and written in the
    /// background whether or not anybody polls the socket. Before the connection is there, everything is queued.
    ///
    /// When the task that reads the socket writes several small pieces before it looks for the next event, or lets other
    /// tasks run, the first goes at once and the rest together after it, with one system call. They count as written, and
    /// whatever else is done with the socket comes behind them; but a task that goes on to block its thread, or exits the
    /// process, holds them up.
    ///
    /// Returns whether to go on: `false` says that the queue has reached the high-water mark (64 KiB unless the options
    /// say otherwise) and that [`Event::Drain`](crate::Event::Drain) will come when it is empty. The bytes are accepted
    /// all the same; who ignores `false` lets the queue grow.
    ///
    /// # Errors
    ///
    /// As in Node, a write that comes too late returns `false`, and after [`end`](Self::end) it destroys the socket,
    /// which shows as [`Event::Error`](crate::Event::Error) with `ERR_STREAM_WRITE_AFTER_END` (`EPIPE` if the socket
    /// was ended because its peer had ended; `ERR_SOCKET_CLOSED` if it was never connected). After a destroy nothing
    /// else happens. Use [`try_write`](Self::try_write) to be told instead.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use sockeye::{Event, Socket};
    ///
    /// let (socket, mut peer) = Socket::pair(1024);
    /// assert!(socket.write("hello"));
    /// assert!(matches!(peer.next().await, Some(Event::Data(chunk)) if chunk == "hello"));
    /// # }
    /// ```
    pub fn write(&self, data: impl Data) -> bool {
        self.shared.write(data)
    }

    /// Writes like [`write`](Self::write), but returns misuse as an error and leaves the socket as it is.
    ///
    /// # Errors
    ///
    /// `ERR_STREAM_WRITE_AFTER_END`, `EPIPE` (ended because the peer had ended), `ERR_STREAM_DESTROYED`,
    /// `ERR_SOCKET_CLOSED` (never connected), or the error that made an earlier write fail. A failure that this write
    /// itself runs into is an event.
    pub fn try_write(&self, data: impl Data) -> Result<bool> {
        self.shared.try_write(data)
    }

    /// Writes like [`write`](Self::write) and returns a future of when these bytes have reached the kernel: Node's
    /// callback.
    ///
    /// The write happens in the call; the future need not be polled, and dropping it takes nothing back. Such futures
    /// become ready in the order of the writes.
    ///
    /// # Errors
    ///
    /// The future fails if the bytes will not get there: with the error that the socket was destroyed with,
    /// `ERR_STREAM_DESTROYED`, `ERR_SOCKET_CLOSED_BEFORE_CONNECTION`, or the misuse that `write` describes.
    pub fn write_with(&self, data: impl Data) -> Written {
        let mut state = self.lock();
        let mut refused = state.core.admit().err();
        let is_held = data.as_bytes().is_empty() && state.core.is_queueing();
        state.write(data);
        if refused.is_none() && state.core.has_failed() {
            refused = Some(state.core.failure());
        }
        let (life, position) = (state.life, state.core.bytes_accepted());
        drop(state);
        let wait = if is_held { Wait::Uncorked(position) } else { Wait::Flushed(position) };
        Written::new(self.shared.clone(), life, wait, refused)
    }

    /// Holds back what is written from now on, until [`uncork`](Self::uncork) has been called as often as this, so that
    /// it leaves in one piece: Node's `writable.cork`.
    pub fn cork(&self) {
        self.lock().core.cork();
    }

    /// Undoes one [`cork`](Self::cork): Node's `writable.uncork`.
    pub fn uncork(&self) {
        let mut state = self.lock();
        state.core.uncork();
        state.drive();
        state.touch();
    }

    /// Ends this side of the connection behind everything that was written: Node's `socket.end`. The peer sees the end,
    /// and can still send.
    ///
    /// [`Event::Finish`](crate::Event::Finish) says when it is done. It happens in the background if the queue is not
    /// empty. A second call does nothing.
    pub fn end(&self) {
        let mut state = self.lock();
        state.core.end();
        state.drive();
    }

    /// [Writes](Self::write) a last piece and [ends](Self::end).
    pub fn end_with(&self, data: impl Data) {
        let mut state = self.lock();
        // Node takes no note of an end that comes with data for a socket that is destroyed.
        let is_destroyed = state.core.is_destroyed();
        state.write_last(data);
        if !is_destroyed {
            state.core.end();
        }
        state.drive();
    }

    /// Writes and ends like [`end_with`](Self::end_with), but returns misuse as an error and leaves the socket as it is:
    /// one that has ended keeps what it still has to write. Nothing comes between the last piece and the end.
    ///
    /// # Errors
    ///
    /// `ERR_STREAM_WRITE_AFTER_END`, `ERR_STREAM_DESTROYED`, `ERR_SOCKET_CLOSED` (never connected), or the error that
    /// made an earlier write fail.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// let (socket, mut peer) = sockeye::Socket::pair(1024);
    /// socket.try_end_with("goodbye")?;
    /// assert_eq!(socket.try_end_with("again").unwrap_err().code(), "ERR_STREAM_WRITE_AFTER_END");
    /// assert!(!socket.destroyed());
    /// let mut text = String::new();
    /// tokio::io::AsyncReadExt::read_to_string(&mut peer, &mut text).await?;
    /// assert_eq!(text, "goodbye");
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_end_with(&self, data: impl Data) -> Result<()> {
        let mut state = self.lock();
        let admission = state.core.admit_last()?;
        state.write_admitted(admission, data);
        state.core.end();
        state.drive();
        Ok(())
    }

    /// Closes the connection at once and drops what is queued: Node's `socket.destroy`. The next and last event is
    /// [`Event::Close`](crate::Event::Close). A second call does nothing.
    pub fn destroy(&self) {
        self.destroy_because(None);
    }

    /// Destroys the socket for a reason, which is delivered as [`Event::Error`](crate::Event::Error) before `Close`.
    pub fn destroy_with(&self, error: impl Into<Error>) {
        self.destroy_because(Some(error.into()));
    }

    /// Ends the socket, and destroys it as soon as everything is written: Node's `socket.destroySoon`. Unlike after
    /// [`end`](Self::end), the peer's end is not waited for.
    pub fn destroy_soon(&self) {
        let mut state = self.lock();
        state.core.destroy_soon();
        state.drive();
    }

    /// Closes the connection with a reset (RST): Node's `socket.resetAndDestroy`. The peer sees `ECONNRESET`. While
    /// connecting, it happens as soon as there is a connection.
    ///
    /// # Errors
    ///
    /// `ERR_INVALID_HANDLE_TYPE` on a Unix domain socket, which cannot be reset; nothing happens then. On a socket that
    /// never was connected, [`Event::Error`](crate::Event::Error) with `ERR_SOCKET_CLOSED` follows instead.
    pub fn reset_and_destroy(&self) -> Result<()> {
        let mut state = self.lock();
        let can_reset = match &state.transport {
            Some(transport) => transport.can_reset(),
            None => state.can_reset || state.core.is_destroyed(),
        };
        if !can_reset {
            return Err(Error::invalid_handle_type());
        }
        state.core.reset_and_destroy();
        state.drive();
        Ok(())
    }
}

/// Reading and settings.
impl SocketHandle {
    /// Stops reading: Node's `socket.pause`. No [`Event::Data`](crate::Event::Data) and no `End` comes until
    /// [`resume`](Self::resume), and what the peer sends stays with the kernel, which slows the peer down.
    pub fn pause(&self) {
        self.lock().core.pause();
    }

    /// Reads again: Node's `socket.resume`.
    pub fn resume(&self) {
        let mut state = self.lock();
        state.core.resume();
        state.wake_consumer();
    }

    /// Whether reading is [paused](Self::pause): Node's `readable.isPaused`.
    pub fn is_paused(&self) -> bool {
        self.lock().core.is_paused()
    }

    /// Makes the socket emit [`Event::Timeout`](crate::Event::Timeout) after this time without a read or a write:
    /// Node's `socket.setTimeout`. Zero switches it off. Nothing is closed by it; connecting counts as inactivity.
    ///
    /// It comes once for each idle period. While queued bytes are on their way the socket is not idle; if they stall,
    /// it comes after about two periods. Times above 2^31 - 1 ms are cut to that. It needs somebody to ask for events,
    /// and a runtime with its time driver enabled. Those who wait without seeing events (`pipe`, reading or writing
    /// bytes, awaiting the connection) get an error with the code `ETIMEDOUT`.
    pub fn set_timeout(&self, timeout: Duration) {
        let mut state = self.lock();
        state.core.set_timeout(timeout, now());
        state.wake_consumer();
    }

    /// What [`set_timeout`](Self::set_timeout) was last given: Node's `socket.timeout`.
    pub fn timeout(&self) -> Option<Duration> {
        self.lock().core.timeout()
    }

    /// Switches Nagle's algorithm off (`true`) or on: Node's `socket.setNoDelay`. Before the connection is there it is
    /// remembered. Does nothing on other sockets than TCP's, and after close.
    pub fn set_no_delay(&self, no_delay: bool) {
        let mut state = self.lock();
        state.settings.no_delay = no_delay;
        if let Some(transport) = &state.transport {
            report(transport.set_no_delay(no_delay));
        }
    }

    /// Switches TCP keep-alive on or off: Node's `socket.setKeepAlive`. The delay before the first probe counts in
    /// whole seconds; with one or more, probes follow each second, and ten without an answer end the connection. Below
    /// one second the system's values stay. Before the connection is there it is remembered. Does nothing on other
    /// sockets than TCP's, and after close.
    pub fn set_keep_alive(&self, enable: bool, initial_delay: Duration) {
        let mut state = self.lock();
        state.settings.set_keep_alive(enable, initial_delay);
        if let Some(transport) = &state.transport {
            report(transport.set_keep_alive(enable, initial_delay));
        }
    }

    /// Whether [`unreferenced`](crate::unreferenced) waits for this socket: Node's `socket.ref` (`true`, the default)
    /// and `socket.unref` (`false`).
    pub fn set_referenced(&self, referenced: bool) {
        self.lock().is_referenced = referenced;
    }
}

/// State.
impl SocketHandle {
    /// Whether the socket is being connected: Node's `socket.connecting`.
    pub fn connecting(&self) -> bool {
        self.lock().core.is_connecting()
    }

    /// Whether there is no connection: not yet, or not any more. Node's `socket.pending`.
    pub fn pending(&self) -> bool {
        self.lock().core.is_pending()
    }

    /// Which sides of the connection are open: Node's `socket.readyState`.
    pub fn ready_state(&self) -> ReadyState {
        self.lock().core.ready_state()
    }

    /// Whether the socket is destroyed: Node's `socket.destroyed`.
    pub fn destroyed(&self) -> bool {
        self.lock().core.is_destroyed()
    }

    /// How many bytes were received: Node's `socket.bytesRead`.
    pub fn bytes_read(&self) -> u64 {
        self.lock().core.bytes_read()
    }

    /// How many bytes were written, queued ones included: Node's `socket.bytesWritten`.
    pub fn bytes_written(&self) -> u64 {
        self.lock().core.bytes_written()
    }

    /// How many bytes are in the write queue: Node's `socket.writableLength`. As in Node, a write that is partly out
    /// counts as a whole until all of it is.
    pub fn writable_length(&self) -> usize {
        self.lock().core.writable_length()
    }

    /// From which queue length on [`write`](Self::write) returns `false`: Node's `socket.writableHighWaterMark`.
    pub fn high_water_mark(&self) -> usize {
        self.lock().core.high_water_mark()
    }

    /// The address of this end: Node's `socket.address()`. `None` without a connection, after close, and on other
    /// sockets than TCP's.
    pub fn address(&self) -> Option<SocketAddr> {
        let state = self.lock();
        match &state.transport {
            Some(transport) => transport.local_address(),
            None => state.extra.as_ref()?.local.filter(|_| !state.core.is_destroyed()),
        }
    }

    /// The IP address of this end: Node's `socket.localAddress`.
    pub fn local_address(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// The port of this end: Node's `socket.localPort`.
    pub fn local_port(&self) -> Option<u16> {
        self.address().map(|address| address.port())
    }

    /// The family of this end's address: Node's `socket.localFamily`.
    pub fn local_family(&self) -> Option<Family> {
        self.local_address().map(Family::from)
    }

    /// The address of the peer, as in tokio. `None` before the connection is there and on other sockets than TCP's; it
    /// stays known after close.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.lock().remote
    }

    /// The IP address of the peer: Node's `socket.remoteAddress`.
    pub fn remote_address(&self) -> Option<IpAddr> {
        self.peer_addr().map(|address| address.ip())
    }

    /// The port of the peer: Node's `socket.remotePort`.
    pub fn remote_port(&self) -> Option<u16> {
        self.peer_addr().map(|address| address.port())
    }

    /// The family of the peer's address: Node's `socket.remoteFamily`.
    pub fn remote_family(&self) -> Option<Family> {
        self.remote_address().map(Family::from)
    }

    /// Which user, group and process made the other end of a Unix domain socket: who connected, or who listened. The
    /// system vouches for it. As in tokio; not in Node. `None` on other sockets, before the connection is there, and
    /// after close. The process may be unknown, or gone by now.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("control.sock");
    /// let mut server = sockeye::Server::new();
    /// server.listen(&path).await?;
    /// let client = sockeye::connect(&path);
    ///
    /// let socket = server.accept().await.unwrap();
    /// let peer = socket.peer_cred().unwrap();
    /// assert_eq!(peer.pid(), Some(std::process::id() as i32));
    /// println!("user {}, group {}", peer.uid(), peer.gid());
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub fn peer_cred(&self) -> Option<UCred> {
        self.lock().transport.as_ref()?.peer_cred()
    }

    /// The addresses that connecting has tried: Node's `socket.autoSelectFamilyAttemptedAddresses`. If there is a
    /// connection, the last one is its peer. Empty with [`AutoSelectFamily::Off`](crate::AutoSelectFamily::Off), with a
    /// single address, and on accepted sockets.
    pub fn auto_select_family_attempted_addresses(&self) -> Vec<SocketAddr> {
        self.lock().extra.as_ref().map_or_else(Vec::new, |extra| extra.attempted.clone())
    }

    /// Waits until everything that was written so far has reached the kernel; returns at once if it has.
    ///
    /// # Errors
    ///
    /// Those of [`write_with`](Self::write_with).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub fn drained(&self) -> Written {
        let state = self.lock();
        let wait = Wait::Flushed(state.core.bytes_accepted());
        Written::new(self.shared.clone(), state.life, wait, None)
    }

    /// Waits until the connection is closed, for whatever reason. It never is while somebody holds the
    /// [`Socket`](crate::Socket) without asking for events.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn closed(&self) {
        let life = self.lock().life;
        poll_fn(|cx| {
            let is_again = self.lock().life != life;
            // The wait for the end of everything cannot fail.
            if is_again { Poll::Ready(()) } else { poll_wait(&self.shared, Wait::Closed, cx).map(drop) }
        })
        .await;
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        self.shared.lock()
    }

    fn destroy_because(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.core.destroy(error);
        state.drive();
    }
}

impl fmt::Debug for SocketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketHandle")
            .field("ready_state", &self.ready_state())
            .field("peer_addr", &self.peer_addr())
            .finish_non_exhaustive()
    }
}
