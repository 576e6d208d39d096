//! From one socket into another.

use std::future::Future;
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
        let mut state = self.destination.lock();
        let admission = state.core.admit()?;
        if !state.write_admitted(admission, bytes) {
            self.state = State::Full(state.core.bytes_accepted());
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
