//! A pair of connected ends in memory, which behaves like TCP as far as a program can see.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a pair.
#[derive(Debug)]
pub(crate) struct MemoryStream {
    pair: Arc<Mutex<[Direction; 2]>>,
    /// Which direction this end writes; it reads the other.
    writes: usize,
}

#[derive(Debug)]
struct Direction {
    bytes: BytesMut,
    capacity: usize,
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// Two connected ends, each of which takes `capacity` bytes before a write has to wait.
pub(crate) fn pair(capacity: usize) -> (MemoryStream, MemoryStream) {
    let direction = || Direction {
        bytes: BytesMut::new(),
        capacity: capacity.max(1),
        end: None,
        reader_gone: false,
        reader: None,
        writer: None,
    };
    let pair = Arc::new(Mutex::new([direction(), direction()]));
    (MemoryStream { pair: pair.clone(), writes: 0 }, MemoryStream { pair, writes: 1 })
}

impl MemoryStream {
    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut directions = self.lock();
        let direction = &mut directions[self.writes];
        if direction.reader_gone {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let mut count = 0;
        for slice in slices {
            let room = direction.capacity - direction.bytes.len();
            let taken = slice.len().min(room);
            direction.bytes.extend_from_slice(&slice[..taken]);
            count += taken;
        }
        if count == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let reader = direction.reader.take();
        drop(directions);
        wake(reader);
        Ok(count)
    }

    pub(crate) fn shutdown(&mut self) {
        self.end(End::Fin);
    }

    pub(crate) fn prepare_reset(&mut self) {
        self.end(End::Reset);
    }

    pub(crate) fn discard(&mut self) {
        let mut directions = self.lock();
        let direction = &mut directions[1 - self.writes];
        direction.bytes.clear();
        let writer = direction.writer.take();
        drop(directions);
        wake(writer);
    }

    fn end(&self, end: End) {
        let mut directions = self.lock();
        let direction = &mut directions[self.writes];
        if direction.end.is_none() || end == End::Reset {
            direction.end = Some(end);
        }
        let reader = direction.reader.take();
        drop(directions);
        wake(reader);
    }

    fn lock(&self) -> MutexGuard<'_, [Direction; 2]> {
        self.pair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut directions = self.lock();
        let direction = &mut directions[1 - self.writes];
        if direction.bytes.is_empty() {
            return match direction.end {
                Some(End::Fin) => Poll::Ready(Ok(())),
                Some(End::Reset) => Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECONNRESET))),
                None => {
                    direction.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let count = buffer.remaining().min(direction.bytes.len());
        buffer.put_slice(&direction.bytes[..count]);
        direction.bytes.advance(count);
        let writer = direction.writer.take();
        drop(directions);
        wake(writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.try_write(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        self.lock()[self.writes].writer = Some(cx.waker().clone());
        // The reader may have made room between the two locks.
        match self.try_write(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}

/// Like a closed TCP socket: a FIN, or a reset if there was something left to read.
impl Drop for MemoryStream {
    fn drop(&mut self) {
        let mut directions = self.lock();
        let unread = !directions[1 - self.writes].bytes.is_empty();
        let incoming = &mut directions[1 - self.writes];
        incoming.reader_gone = true;
        incoming.bytes.clear();
        let writer = incoming.writer.take();
        drop(directions);
        wake(writer);
        self.end(if unread { End::Reset } else { End::Fin });
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
