//! Closures for events, as in Node.

use std::fmt;

use bytes::Bytes;

use crate::address::Address;
use crate::error::Error;
use crate::event::{Event, Lookup};
use crate::socket::Socket;
use crate::socket::handle::SocketHandle;
use crate::socket::next_into::NextInto;

/// Closures, one for each event of a socket: Node's `socket.on(...)`.
///
/// This is a loop over [`Socket::next`], for those who prefer closures to a `match`. Each closure is called in the task
/// that runs the loop, one at a time, and gets a handle to answer with; it must not block. An event without a closure
/// is dropped, as in Node; an error, too, so set [`on_error`](Self::on_error) or look at `had_error` in
/// [`on_close`](Self::on_close).
///
/// [`Socket::attach`] runs the loop in a task of its own, [`run`](Self::run) where you are.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// use sockeye::Listeners;
///
/// let client = sockeye::connect(8124).attach(
///     Listeners::new()
///         .on_connect(|socket| {
///             println!("connected to server!");
///             socket.write("world!\r\n");
///         })
///         .on_data(|socket, data| {
///             println!("{}", data.escape_ascii());
///             socket.end();
///         })
///         .on_end(|_| println!("disconnected from server")),
/// )?;
/// client.closed().await;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Listeners {
    lookup: Option<Listener<Lookup>>,
    connection_attempt: Option<Listener<Address>>,
    connection_attempt_failed: Option<Listener<(Address, Error)>>,
    connection_attempt_timeout: Option<Listener<Address>>,
    connect: Option<Listener<()>>,
    ready: Option<Listener<()>>,
    data: Option<Listener<Bytes>>,
    text: Option<Listener<String>>,
    read: Option<(Vec<u8>, ReadListener)>,
    end: Option<Listener<()>>,
    drain: Option<Listener<()>>,
    finish: Option<Listener<()>>,
    timeout: Option<Listener<()>>,
    error: Option<Listener<Error>>,
    close: Option<Listener<bool>>,
}

type ReadListener = Box<dyn FnMut(&SocketHandle, &[u8]) -> bool + Send>;
type Listener<T> = Box<dyn FnMut(&SocketHandle, T) + Send>;

impl Listeners {
    /// No closures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `listener` for [`Event::Lookup`].
    pub fn on_lookup(mut self, listener: impl FnMut(&SocketHandle, Lookup) + Send + 'static) -> Self {
        self.lookup = Some(Box::new(listener));
        self
    }

    /// Calls `listener` for [`Event::ConnectionAttempt`].
    pub fn on_connection_attempt(mut self, listener: impl FnMut(&SocketHandle, Address) + Send + 'static) -> Self {
        self.connection_attempt = Some(Box::new(listener));
        self
    }

    /// Calls `listener` for [`Event::ConnectionAttemptFailed`].
    pub fn on_connection_attempt_failed(
        mut self,
        mut listener: impl FnMut(&SocketHandle, Address, Error) + Send + 'static,
    ) -> Self {
        self.connection_attempt_failed =
            Some(Box::new(move |socket, (address, error)| listener(socket, address, error)));
        self
    }

    /// Calls `listener` for [`Event::ConnectionAttemptTimeout`].
    pub fn on_connection_attempt_timeout(
        mut self,
        listener: impl FnMut(&SocketHandle, Address) + Send + 'static,
    ) -> Self {
        self.connection_attempt_timeout = Some(Box::new(listener));
        self
    }

    /// Calls `listener` for [`Event::Connect`].
    pub fn on_connect(mut self, listener: impl FnMut(&SocketHandle) + Send + 'static) -> Self {
        self.connect = Some(without_argument(listener));
        self
    }

    /// Calls `listener` for [`Event::Ready`].
    pub fn on_ready(mut self, listener: impl FnMut(&SocketHandle) + Send + 'static) -> Self {
        self.ready = Some(without_argument(listener));
        self
    }

    /// Calls `listener` for [`Event::Data`].
    pub fn on_data(mut self, listener: impl FnMut(&SocketHandle, Bytes) + Send + 'static) -> Self {
        self.data = Some(Box::new(listener));
        self
    }

    /// Calls `listener` for [`Event::Text`].
    pub fn on_text(mut self, listener: impl FnMut(&SocketHandle, String) + Send + 'static) -> Self {
        self.text = Some(Box::new(listener));
        self
    }

    /// Reads into `buffer`, the same one each time, and calls `listener` with what was read, in place of
    /// [`on_data`](Self::on_data) and [`on_text`](Self::on_text): Node's `onread` option. If the listener returns
    /// `false`, the socket is [paused](SocketHandle::pause). An empty buffer reads nothing.
    pub fn on_read(
        mut self,
        buffer: Vec<u8>,
        listener: impl FnMut(&SocketHandle, &[u8]) -> bool + Send + 'static,
    ) -> Self {
        self.read = Some((buffer, Box::new(listener)));
        self
    }

    /// Calls `listener` for [`Event::End`].
    pub fn on_end(mut self, listener: impl FnMut(&SocketHandle) + Send + 'static) -> Self {
        self.end = Some(without_argument(listener));
        self
    }

    /// Calls `listener` for [`Event::Drain`].
    pub fn on_drain(mut self, listener: impl FnMut(&SocketHandle) + Send + 'static) -> Self {
        self.drain = Some(without_argument(listener));
        self
    }

    /// Calls `listener` for [`Event::Finish`].
    pub fn on_finish(mut self, listener: impl FnMut(&SocketHandle) + Send + 'static) -> Self {
        self.finish = Some(without_argument(listener));
        self
    }

    /// Calls `listener` for [`Event::Timeout`].
    pub fn on_timeout(mut self, listener: impl FnMut(&SocketHandle) + Send + 'static) -> Self {
        self.timeout = Some(without_argument(listener));
        self
    }

    /// Calls `listener` for [`Event::Error`].
    pub fn on_error(mut self, listener: impl FnMut(&SocketHandle, Error) + Send + 'static) -> Self {
        self.error = Some(Box::new(listener));
        self
    }

    /// Calls `listener` for [`Event::Close`], with `had_error`.
    pub fn on_close(mut self, listener: impl FnMut(&SocketHandle, bool) + Send + 'static) -> Self {
        self.close = Some(Box::new(listener));
        self
    }

    /// Calls the closures for the events of `socket` until it is closed.
    ///
    /// Dropping the future drops the socket, which closes the connection behind what was written.
    pub async fn run(mut self, mut socket: Socket) {
        let handle = socket.handle();
        loop {
            let event = match &mut self.read {
                None => socket.next().await,
                Some((buffer, listener)) => match socket.next_into(buffer).await {
                    Some(NextInto::Data(length)) => {
                        if !listener(&handle, &buffer[..length]) {
                            handle.pause();
                        }
                        continue;
                    }
                    Some(NextInto::Event(event)) => Some(event),
                    None => None,
                },
            };
            match event {
                Some(event) => self.call(&handle, event),
                None => return,
            }
        }
    }

    fn call(&mut self, socket: &SocketHandle, event: Event) {
        match event {
            Event::Lookup(lookup) => call(&mut self.lookup, socket, *lookup),
            Event::ConnectionAttempt { address } => call(&mut self.connection_attempt, socket, address),
            Event::ConnectionAttemptFailed { address, error } => {
                call(&mut self.connection_attempt_failed, socket, (address, error));
            }
            Event::ConnectionAttemptTimeout { address } => {
                call(&mut self.connection_attempt_timeout, socket, address);
            }
            Event::Connect => call(&mut self.connect, socket, ()),
            Event::Ready => call(&mut self.ready, socket, ()),
            Event::Data(chunk) => call(&mut self.data, socket, chunk),
            Event::Text(text) => call(&mut self.text, socket, text),
            Event::End => call(&mut self.end, socket, ()),
            Event::Drain => call(&mut self.drain, socket, ()),
            Event::Finish => call(&mut self.finish, socket, ()),
            Event::Timeout => call(&mut self.timeout, socket, ()),
            Event::Error(error) => call(&mut self.error, socket, error),
            Event::Close { had_error } => call(&mut self.close, socket, had_error),
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

fn call<T>(listener: &mut Option<Listener<T>>, socket: &SocketHandle, argument: T) {
    if let Some(listener) = listener {
        listener(socket, argument);
    }
}

fn without_argument(mut listener: impl FnMut(&SocketHandle) + Send + 'static) -> Listener<()> {
    Box::new(move |socket, ()| listener(socket))
}
