//! Waiting for a connection.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{ReadTo, Socket, Step};
use crate::error::{Error, Result};
use crate::event::Event;

/// Waits until a socket is connected and returns it: what `.await` on a [`Socket`] is.
///
/// Dropping it drops the socket, which gives the attempt up unless something was written.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Connecting {
    socket: Option<Socket>,
}

impl IntoFuture for Socket {
    type Output = Result<Socket>;
    type IntoFuture = Connecting;

    /// Waits for the connection. The events up to [`Event::Ready`] are taken; the next one is what follows. On a socket
    /// that is connected already, it returns at once.
    ///
    /// # Errors
    ///
    /// The error of [`Event::Error`] (`ECONNREFUSED`, `ENOTFOUND`, ...), or of a bad endpoint. `ERR_SOCKET_CLOSED` if
    /// `connect` was never called, `ERR_SOCKET_CLOSED_BEFORE_CONNECTION` if the socket was destroyed meanwhile, and
    /// `ETIMEDOUT` if a [timeout](crate::SocketHandle::set_timeout) ran out.
    fn into_future(self) -> Connecting {
        Connecting { socket: Some(self) }
    }
}

impl Future for Connecting {
    type Output = Result<Socket>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Socket>> {
        let this = &mut *self;
        loop {
            let Some(socket) = &mut this.socket else { return Poll::Ready(Err(Error::socket_closed())) };
            let (is_settling, is_destroyed, is_pending) = {
                let state = socket.lock();
                (state.core.is_settling(), state.core.is_destroyed(), state.core.is_pending())
            };
            if !is_settling && !is_destroyed {
                let result = this.socket.take().filter(|_| !is_pending);
                return Poll::Ready(result.ok_or_else(Error::socket_closed));
            }
            match ready!(socket.poll_step(cx, ReadTo::Nowhere)) {
                Step::Event(Event::Error(error)) => return Poll::Ready(Err(error)),
                Step::Event(Event::Timeout) => return Poll::Ready(Err(Error::timed_out())),
                Step::Event(Event::Close { .. }) | Step::Over => {
                    return Poll::Ready(Err(Error::closed_before_connection()));
                }
                Step::Event(_) | Step::Data(_) => {}
            }
        }
    }
}
