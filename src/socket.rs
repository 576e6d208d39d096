//! A connection, from the side of the one who reads it.

mod abort;
pub(crate) mod byte_stream;
pub(crate) mod connecting;
pub(crate) mod extra;
pub(crate) mod flush;
mod from_fd;
pub(crate) mod handle;
pub(crate) mod next_into;
pub(crate) mod party;
mod quiet;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod wait;
pub(crate) mod written;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use self::handle::SocketHandle;
use self::next_into::NextInto;
use self::shared::{Shared, now};
use crate::core::stream::Stream as Core;
use crate::data::Data;
use crate::encoding::{Encoding, StringDecoder};
use crate::error::Error;
use crate::event::Event;
use crate::listeners::Listeners;
use crate::options::SocketOptions;
use crate::pipe::Pipe;
use crate::transport::{Transport, memory, scratch};

/// A connection over TCP or a Unix domain socket: Node's `net.Socket`.
///
/// [`connect`](crate::connect) makes one, a [`Server`](crate::Server) hands them out. It is the one place where the
/// connection's [events](Event) arrive; it dereferences to its [`SocketHandle`], which has all the rest: writing,
/// ending, settings, state.
///
/// There are four ways to read it; use one at a time:
/// - [`next`](Self::next), or the socket as a [`Stream`] of events;
/// - [`pipe`](Self::pipe) into another socket;
/// - as a tokio [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite), for everything that is
///   made for those;
/// - [`attach`](Self::attach) closures, one for each event, as in Node.
///
/// # When nobody polls
///
/// Nothing is read: what the peer sends stays with the kernel until it is full, which holds the peer up. Writing goes
/// on, since [`write`](SocketHandle::write) does not depend on anybody polling. The end of the peer is not noticed, nor
/// is a timeout.
///
/// # Drop
///
/// Dropping a socket ends and closes the connection. What was written goes out first, in the background if need be (as
/// long as the runtime runs, and unless the peer takes nothing for 30 seconds). Call
/// [`destroy`](SocketHandle::destroy) to drop that too. While connecting, with nothing written, the attempt is given up.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// use sockeye::{Event, Server};
///
/// let server = Server::new().on_connection(|socket| async move {
///     socket.end_with("goodbye\n");
/// });
/// server.listen(("127.0.0.1", 0)).await?;
///
/// let mut client = sockeye::connect(server.address().unwrap()).await?;
/// while let Some(event) = client.next().await {
///     match event {
///         Event::Data(chunk) => assert_eq!(chunk, "goodbye\n"),
///         Event::Close { had_error } => assert!(!had_error),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Socket {
    handle: SocketHandle,
    timer: Option<Pin<Box<Sleep>>>,
    /// For a writer of bytes that waits, who may be another task than the reader.
    write_timer: Option<Pin<Box<Sleep>>>,
    decoder: Option<StringDecoder>,
    /// An event that the decoder's last text goes before.
    held: Option<Box<Event>>,
}

/// Where a look at the socket may read to.
pub(crate) enum ReadTo<'a> {
    Nowhere,
    /// The thread's scratch buffer, out of which the bytes then move into this.
    Chunk(&'a mut Bytes),
    /// The spare room of this.
    Spare(&'a mut BytesMut),
    /// The whole of this.
    Slice(&'a mut [u8]),
}

/// What was read, and whether that is all there was.
pub(crate) struct Read {
    count: usize,
    is_all: bool,
}

/// What a look at the socket brought.
pub(crate) enum Step {
    /// So many bytes were read.
    Data(usize),
    Event(Event),
    /// There will be nothing more.
    Over,
}

impl Socket {
    /// A socket that is not connected: Node's `new net.Socket()`. [`connect`](SocketHandle::connect) connects it.
    pub fn new() -> Self {
        Self::with_options(SocketOptions::new())
    }

    /// A socket with options that is not connected: Node's `new net.Socket(options)`.
    pub fn with_options(options: SocketOptions) -> Self {
        let shared = Shared::new(Core::unconnected(options.allow_half_open, options.high_water_mark));
        if let Some(signal) = options.signal {
            abort::watch(&shared, signal);
        }
        Self::from_shared(shared)
    }

    /// Two sockets in memory that are connected with each other, for tests. They behave like two ends of a TCP
    /// connection without addresses; `capacity` bytes fit in between, in each direction, before a write has to be
    /// queued.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// let (mut socket, peer) = sockeye::Socket::pair(1024);
    /// peer.end_with("hello");
    /// let mut text = String::new();
    /// tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut text).await?;
    /// assert_eq!(text, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn pair(capacity: usize) -> (Self, Self) {
        Self::pair_with_options(capacity, SocketOptions::new(), SocketOptions::new())
    }

    /// Like [`pair`](Self::pair), with options for each end.
    pub fn pair_with_options(capacity: usize, left: SocketOptions, right: SocketOptions) -> (Self, Self) {
        let (left_stream, right_stream) = memory::pair(capacity);
        let socket = |stream, options: SocketOptions| {
            let shared = Shared::new(Core::open(options.allow_half_open, options.high_water_mark));
            shared.lock().transport = Some(Transport::Memory(stream));
            Self::from_shared(shared)
        };
        (socket(left_stream, left), socket(right_stream, right))
    }

    /// A handle to this socket, for other tasks.
    pub fn handle(&self) -> SocketHandle {
        self.handle.clone()
    }

    /// The next event; `None` after [`Event::Close`].
    ///
    /// This is what reads: see [there](Self#when-nobody-polls). The chunks of [`Event::Data`] come as the kernel has
    /// them, at most 64 KiB each.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing, so it can be one branch of a `select!`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> impl Future<Output = Option<Event>> + Send + '_ {
        poll_fn(|cx| self.poll_event(cx))
    }

    /// Writes to the connection: [`SocketHandle::write`]. It is here too so that tokio's `AsyncWriteExt::write`, where
    /// imported, does not come before it.
    pub fn write(&self, data: impl Data) -> bool {
        self.handle.write(data)
    }

    /// Waits for the next event, and reads into `buffer` instead of giving out [`Event::Data`]: Node's `onread` option.
    /// `None` after [`Event::Close`]. With an empty buffer, nothing is read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use sockeye::{NextInto, Socket};
    ///
    /// let (mut socket, peer) = Socket::pair(1024);
    /// peer.end_with("hello");
    /// let mut buffer = [0; 4096];
    /// while let Some(next) = socket.next_into(&mut buffer).await {
    ///     match next {
    ///         NextInto::Data(length) => assert_eq!(&buffer[..length], b"hello"),
    ///         NextInto::Event(event) => println!("{event:?}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn next_into(&mut self, buffer: &mut [u8]) -> impl Future<Output = Option<NextInto>> + Send {
        poll_fn(move |cx| {
            let read_to = if buffer.is_empty() { ReadTo::Nowhere } else { ReadTo::Slice(buffer) };
            Poll::Ready(match ready!(self.poll_step(cx, read_to)) {
                Step::Data(length) => Some(NextInto::Data(length)),
                Step::Event(event) => Some(NextInto::Event(event)),
                Step::Over => None,
            })
        })
    }

    /// Makes data arrive as text: Node's `socket.setEncoding`. From now on [`next`](Self::next) gives [`Event::Text`] in
    /// place of [`Event::Data`]. A character that is split over chunks arrives whole; what is left incomplete at the end
    /// arrives before [`Event::End`]. It concerns events only, and stays when the socket is connected again.
    ///
    /// To write text in an encoding, write what [`Encoding::encode`] gives.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use sockeye::{Encoding, Event, Socket};
    ///
    /// let (mut socket, peer) = Socket::pair(1024);
    /// socket.set_encoding(Encoding::Hex);
    /// peer.write(Encoding::Base64.encode("yv66vg=="));
    /// assert!(matches!(socket.next().await, Some(Event::Text(text)) if text == "cafebabe"));
    /// # }
    /// ```
    pub fn set_encoding(&mut self, encoding: Encoding) {
        self.decoder = Some(StringDecoder::new(encoding));
    }

    /// Writes everything that arrives to `destination`, and ends it when the peer ends: Node's `socket.pipe`.
    ///
    /// The future is ready when the end has been passed on, and returns the number of bytes. Reading stops while the
    /// destination's queue is above its high-water mark. To echo, pass the socket's own handle.
    ///
    /// Events other than data and the end are taken and dropped, except that a [`Timeout`](Event::Timeout) makes the
    /// future fail, since nobody else could see it. The sockets are left as they are, so it can be called again.
    ///
    /// # Errors
    ///
    /// The error of either socket, `ERR_STREAM_PREMATURE_CLOSE` if this socket was closed before its peer had ended, or
    /// `ETIMEDOUT` after a timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: what was read is written.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// let (mut socket, mut peer) = sockeye::Socket::pair(1024);
    /// peer.end_with("back and forth");
    /// let echo = socket.handle();
    /// assert_eq!(socket.pipe(&echo).await?, 14);
    /// let mut text = String::new();
    /// tokio::io::AsyncReadExt::read_to_string(&mut peer, &mut text).await?;
    /// assert_eq!(text, "back and forth");
    /// # Ok(())
    /// # }
    /// ```
    pub fn pipe<'a>(&'a mut self, destination: &'a SocketHandle) -> Pipe<'a> {
        Pipe::new(self, destination)
    }

    /// Hands the socket to a task of its own that calls `listeners` for each event: Node's `socket.on`.
    ///
    /// # Errors
    ///
    /// `ERR_NO_RUNTIME` outside of a tokio runtime; the socket is closed then.
    pub fn attach(self, listeners: Listeners) -> Result<SocketHandle, Error> {
        let handle = self.handle();
        let shared = handle.shared.clone();
        match shared.spawn(listeners.run(self)) {
            Some(_) => Ok(handle),
            None => Err(Error::no_runtime()),
        }
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self { handle: SocketHandle { shared }, timer: None, write_timer: None, decoder: None, held: None }
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let mut chunk = Bytes::new();
            let step = ready!(self.poll_step(cx, ReadTo::Chunk(&mut chunk)));
            let event = match (step, &mut self.decoder) {
                (Step::Over, _) => return Poll::Ready(None),
                (Step::Data(_), None) => Event::Data(chunk),
                (Step::Data(_), Some(decoder)) => match decoder.push(&chunk) {
                    text if text.is_empty() => continue,
                    text => Event::Text(text),
                },
                (Step::Event(Event::End), Some(decoder)) => match decoder.finish() {
                    text if text.is_empty() => Event::End,
                    text => {
                        self.held = Some(Box::new(Event::End));
                        Event::Text(text)
                    }
                },
                (Step::Event(event), _) => event,
            };
            return Poll::Ready(Some(event));
        }
    }

    /// Looks for the next event, or reads.
    pub(crate) fn poll_step(&mut self, cx: &mut Context<'_>, mut read_to: ReadTo<'_>) -> Poll<Step> {
        if let Some(event) = self.held.take() {
            return Poll::Ready(Step::Event(*event));
        }
        let read = match self.handle.shared.lock_if_quiet() {
            Ok(quiet) => quiet.poll_read(cx, &mut self.timer, |cx, transport| read_to.poll_read(transport, cx)),
            Err(state) => Err(state),
        };
        let mut state = match read {
            Ok(read) => return read.map(Step::Data),
            Err(state) => state,
        };
        state.begin_turn();
        state.core.handle_consumer();
        state.drive();
        loop {
            if let Some(event) = state.core.poll_event() {
                state.drive();
                return Poll::Ready(Step::Event(event));
            }
            if state.core.is_closed() {
                return Poll::Ready(Step::Over);
            }
            let wants_read = state.core.wants_read() && !matches!(read_to, ReadTo::Nowhere);
            if let (true, Some(transport)) = (wants_read, &mut state.transport) {
                match read_to.poll_read(transport, cx) {
                    Poll::Ready(Ok(Read { count: 0, .. })) => state.core.handle_eof(),
                    Poll::Ready(Ok(Read { count, .. })) => {
                        state.core.handle_read(count);
                        state.touch();
                        return Poll::Ready(Step::Data(count));
                    }
                    Poll::Ready(Err(error)) => state.core.handle_read_error(Error::system("read", error)),
                    Poll::Pending => state.core.handle_read_blocked(),
                }
                state.drive();
                if state.core.has_event() {
                    continue;
                }
            }
            if let Some(deadline) = state.core.poll_timeout() {
                if poll_timer(&mut self.timer, deadline.into(), cx).is_ready() {
                    state.core.handle_timeout(now());
                    continue;
                }
            }
            state.consumer.park(cx);
            return Poll::Pending;
        }
    }
}

impl Read {
    /// A read for which there was so much room. One that leaves some has emptied the socket.
    fn new(count: usize, room: usize) -> Self {
        Self { count, is_all: count < room }
    }
}

impl ReadTo<'_> {
    fn poll_read(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        match self {
            Self::Nowhere => Poll::Pending,
            Self::Chunk(chunk) => scratch::with(|buffer| {
                let room = buffer.capacity();
                let count = ready!(transport.poll_read_buf(cx, buffer))?;
                **chunk = scratch::take_chunk(buffer);
                Poll::Ready(Ok(Read::new(count, room)))
            }),
            Self::Spare(buffer) => {
                let room = buffer.capacity() - buffer.len();
                transport.poll_read_buf(cx, buffer).map_ok(|count| Read::new(count, room))
            }
            Self::Slice(slice) => {
                let mut buffer = ReadBuf::new(slice);
                ready!(transport.poll_read(cx, &mut buffer))?;
                let count = buffer.filled().len();
                Poll::Ready(Ok(Read::new(count, slice.len())))
            }
        }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Socket {
    type Target = SocketHandle;

    fn deref(&self) -> &SocketHandle {
        &self.handle
    }
}

impl Stream for Socket {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_event(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.handle.lock();
        state.abandon();
        let is_connecting = state.core.is_connecting();
        drop(state);
        if is_connecting {
            abort::limit_connecting(&self.handle.shared);
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.handle).finish()
    }
}

/// Whether the deadline has passed, if there is one; otherwise the timer wakes `cx` when it has.
pub(crate) fn has_passed(
    timer: &mut Option<Pin<Box<Sleep>>>,
    deadline: Option<std::time::Instant>,
    cx: &mut Context<'_>,
) -> bool {
    deadline.is_some_and(|deadline| poll_timer(timer, deadline.into(), cx).is_ready())
}

/// Waits for `deadline` with a timer that is moved only when it fires, or would fire too late.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}
