//! From one socket into another.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::socket::handle::SocketHandle;
use crate::socket::wait::{Wait, poll_wait};
use crate::socket::{ReadTo, Socket, Step};
use crate::transport::scratch;

/// Passes on what a socket receives: the future that [`Socket::pipe`] returns.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Pipe<'a> {
    source: &'a mut Socket,
    destination: &'a SocketHandle,
    passed: u64,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Flowing,
    /// The destination has had enough until so many of its bytes are with the kernel.
    Full(u64),
    /// The source has ended, and the destination's FIN is on its way.
    Ending,
}

impl Socket {
    /// Joins two connections, as a proxy does: each is [piped](Self::pipe) into the other, until both have ended. Takes
    /// the place of tokio's `copy_bidirectional`.
    ///
    /// The future returns how many bytes went from this socket to the other, and back. Each direction ends on its own,
    /// whatever [`allow_half_open`](crate::SocketOptions::allow_half_open) says. The other socket may still be
    /// connecting; then what this one receives is held back up to its high-water mark.
    ///
    /// # Errors
    ///
    /// Those of [`pipe`](Self::pipe), as soon as one direction fails. Both sockets are then destroyed, with a reset where
    /// they have one, so that neither peer takes what it got for all there was; an idle timeout on either socket counts
    /// as a failure, too. [`bytes_read`](SocketHandle::bytes_read) of each socket still tells how far it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing, and leaves the sockets as they are. It can be called again; if a peer has ended
    /// by then, the other direction stays open only between sockets that allow half-open.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use sockeye::{Server, Socket};
    ///
    /// # let target = Server::new().on_connection(|mut socket| async move {
    /// #     let echo = socket.handle();
    /// #     socket.pipe(&echo).await.map(drop)
    /// # });
    /// # target.listen("127.0.0.1:0").await?;
    /// # let target = target.address().unwrap();
    /// let proxy = Server::new().on_connection(move |mut client: Socket| {
    ///     let target = target.clone();
    ///     async move {
    ///         let mut upstream = sockeye::connect(target).await?;
    ///         let (sent, received) = client.pipe_bidirectional(&mut upstream).await?;
    ///         println!("{sent} bytes there, {received} bytes back");
    ///         Ok(())
    ///     }
    /// });
    /// # proxy.listen("127.0.0.1:0").await?;
    /// # let mut client = sockeye::connect(proxy.address().unwrap()).await?;
    /// # client.end_with("there and back");
    /// # let mut text = String::new();
    /// # tokio::io::AsyncReadExt::read_to_string(&mut client, &mut text).await?;
    /// # assert_eq!(text, "there and back");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pipe_bidirectional(&mut self, other: &mut Socket) -> Result<(u64, u64)> {
        let (here, there) = (self.handle(), other.handle());
        let mut onward = Pipe::new(self, &there);
        let mut back = Pipe::new(other, &here);
        let (mut sent, mut received) = (None, None);
        let result = poll_fn(|cx| {
            poll_once_more(&mut onward, &mut sent, cx)?;
            poll_once_more(&mut back, &mut received, cx)?;
            sent.zip(received).map_or(Poll::Pending, |counts| Poll::Ready(Ok(counts)))
        })
        .await;
        if result.is_err() {
            for socket in [&here, &there] {
                // A reset would wait for a connection that is still being made.
                if socket.connecting() || socket.reset_and_destroy().is_err() {
                    socket.destroy();
                }
            }
        }
        result
    }
}

fn poll_once_more(pipe: &mut Pipe<'_>, passed: &mut Option<u64>, cx: &mut Context<'_>) -> Result<()> {
    if passed.is_none() {
        if let Poll::Ready(result) = Pin::new(pipe).poll(cx) {
            *passed = Some(result?);
        }
    }
    Ok(())
}

impl<'a> Pipe<'a> {
    pub(crate) fn new(source: &'a mut Socket, destination: &'a SocketHandle) -> Self {
        Self { source, destination, passed: 0, state: State::Flowing }
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<Result<u64>> {
        loop {
            let may_read = match self.state {
                State::Ending => {
                    ready!(poll_wait(&self.destination.shared, Wait::Finished, cx))?;
                    return Poll::Ready(Ok(self.passed));
                }
                State::Full(position) => match poll_wait(&self.destination.shared, Wait::Flushed(position), cx) {
                    Poll::Ready(result) => {
                        result?;
                        self.state = State::Flowing;
                        true
                    }
                    Poll::Pending => false,
                },
                State::Flowing => true,
            };
            let read_to = if may_read { ReadTo::Spare(buffer) } else { ReadTo::Nowhere };
            match ready!(self.source.poll_step(cx, read_to)) {
                Step::Data(_) => {
                    self.pass(buffer)?;
                    buffer.clear();
                }
                Step::Event(Event::End) => {
                    self.destination.end();
                    self.state = State::Ending;
                }
                Step::Event(Event::Error(error)) => return Poll::Ready(Err(error)),
                Step::Event(Event::Timeout) => return Poll::Ready(Err(Error::timed_out())),
                Step::Event(Event::Close { .. }) | Step::Over => {
                    let has_ended = self.source.lock().core.has_read_end();
                    return Poll::Ready(if has_ended { Ok(self.passed) } else { Err(Error::premature_close()) });
                }
                Step::Event(_) => {}
            }
        }
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<()> {
        self.passed += bytes.len() as u64;
        if !self.destination.try_write(bytes)? {
            self.state = State::Full(self.destination.lock().core.bytes_accepted());
        }
        Ok(())
    }
}

impl Future for Pipe<'_> {
    type Output = Result<u64>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        let this = self.get_mut();
        scratch::with(|buffer| this.poll_with(cx, buffer))
    }
}
