//! The socket as tokio's `AsyncRead` and `AsyncWrite`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;
use tokio::time::Sleep;

use super::shared::{State, now};
use super::wait::{Wait, poll_wait};
use super::{Read, Socket, poll_timer};
use crate::core::stream::Admission;
use crate::error::Error;
use crate::transport::Transport;

/// Reads bytes straight into the caller's buffer. The end of the peer is the end of file, and whatever
/// `allow_half_open` says, this side stays open until it is shut down or dropped, as everywhere in tokio. While the
/// socket is paused or connecting, it waits. Events that are due stay for whoever asks for events, but for the idle
/// timeout, which nobody else would see: a read that waits for so long fails, and the socket stays open.
///
/// # Errors
///
/// `ETIMEDOUT` after the [idle timeout](crate::SocketHandle::set_timeout), the error that destroyed the socket, or
/// `ERR_STREAM_DESTROYED`; all keep their [`code`](Error::code) inside the
/// [`io::Error`].
impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Self { handle, timer, .. } = self.get_mut();
        let mut state = match handle.shared.lock_if_quiet() {
            Err(state) => state,
            Ok(quiet) => match quiet.poll_read(cx, timer, |cx, transport| poll_read(transport, cx, buffer)) {
                Ok(read) => return read.map(|_| Ok(())),
                Err(state) => state,
            },
        };
        state.begin_turn();
        state.drive();
        if state.core.has_read_end() {
            state.core.take_end();
            return Poll::Ready(Ok(()));
        }
        if let (true, Some(transport)) = (state.core.wants_read(), &mut state.transport) {
            match poll_read(transport, cx, buffer) {
                Poll::Ready(Ok(Read { count: 0, .. })) => {
                    state.core.handle_eof();
                    state.core.take_end();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(Read { count, .. })) => {
                    state.core.handle_read(count);
                    state.touch();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => state.core.handle_read_error(Error::system("read", error)),
                Poll::Pending => state.core.handle_read_blocked(),
            }
            state.drive();
        }
        if state.core.is_destroyed() {
            return Poll::Ready(Err(state.core.failure_of("read").into()));
        }
        look_at_idle(&mut state, timer, cx)?;
        state.consumer.park(cx);
        Poll::Pending
    }
}

/// Writes under the same rule as [`write`](crate::SocketHandle::write): while the queue is at its high-water mark,
/// `poll_write` waits. With an empty queue, the bytes go to the kernel or wait with the caller; nothing is copied.
/// `flush` waits until everything written is with the kernel. `shutdown` ends the socket and waits until the FIN is
/// sent. Each of them fails if it waits until the idle timeout; the socket stays open.
///
/// # Errors
///
/// `ETIMEDOUT` after the [idle timeout](crate::SocketHandle::set_timeout), and those of [`try_write`](crate::SocketHandle::try_write), with their code inside the [`io::Error`].
impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { handle, write_timer, .. } = self.get_mut();
        let proceed = ready!(poll_proceed(cx));
        let mut state = match handle.shared.lock_if_quiet() {
            Err(state) => state,
            Ok(quiet) => match quiet.write_vectored(slices) {
                Ok(count) => {
                    proceed.made_progress();
                    return Poll::Ready(Ok(count));
                }
                Err(state) => state,
            },
        };
        let admission = state.core.admit()?;
        if admission == Admission::Queue {
            let queued = state.poll_queue(cx, slices).map(Ok);
            match queued {
                Poll::Ready(_) => proceed.made_progress(),
                Poll::Pending => look_at_idle(&mut state, write_timer, cx)?,
            }
            return queued;
        }
        let Some(transport) = &mut state.transport else { return Poll::Ready(Err(Error::socket_closed().into())) };
        // tokio does its own accounting.
        drop(proceed);
        match transport.poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(count)) => {
                state.core.handle_direct_write(count);
                state.touch();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => {
                state.handle_write_error(error);
                Poll::Ready(Err(state.core.failure().into()))
            }
            Poll::Pending => {
                // Should another task write meanwhile, the flusher takes this task's place as the one that the kernel
                // wakes, and has to wake it in turn.
                state.wait(Wait::Flushable, cx);
                look_at_idle(&mut state, write_timer, cx)?;
                Poll::Pending
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let position = self.handle.lock().core.bytes_accepted();
        self.get_mut().poll_wait_or_idle(Wait::Flushed(position), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.end();
        self.get_mut().poll_wait_or_idle(Wait::Finished, cx)
    }
}

impl Socket {
    fn poll_wait_or_idle(&mut self, wait: Wait, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(result) = poll_wait(&self.handle.shared, wait, cx) else {
            look_at_idle(&mut self.handle.shared.lock(), &mut self.write_timer, cx)?;
            return Poll::Pending;
        };
        Poll::Ready(result.map_err(io::Error::from))
    }
}

/// Fails when the socket has been idle for too long, and otherwise has `cx` woken when it is.
fn look_at_idle(state: &mut State, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> io::Result<()> {
    while let Some(deadline) = state.core.poll_timeout() {
        if poll_timer(timer, deadline.into(), cx).is_pending() {
            break;
        }
        state.core.handle_timeout(now());
    }
    if state.core.take_timeout() { Err(Error::timed_out().into()) } else { Ok(()) }
}

fn poll_read(transport: &mut Transport, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<Read>> {
    let (room, before) = (buffer.remaining(), buffer.filled().len());
    ready!(transport.poll_read(cx, buffer))?;
    Poll::Ready(Ok(Read::new(buffer.filled().len() - before, room)))
}

impl State {
    /// Adds to the queue what keeps it within the high-water mark.
    fn poll_queue(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<usize> {
        let room = self.core.high_water_mark().saturating_sub(self.core.writable_length());
        let slice = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        if slice.is_empty() {
            return Poll::Ready(0);
        }
        if room == 0 {
            self.wait(Wait::Flushed(self.core.bytes_accepted()), cx);
            return Poll::Pending;
        }
        let count = slice.len().min(room);
        self.write_admitted(Admission::Queue, &slice[..count]);
        Poll::Ready(count)
    }
}
