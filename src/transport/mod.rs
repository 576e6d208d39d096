//! What does I/O: one file for each kind of connection, and one type that is any of them.

pub(crate) mod kernel;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod scratch;
pub(crate) mod tcp;
#[cfg(unix)]
pub(crate) mod unix;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(unix)]
use tokio::net::unix::UCred;
use tokio_util::io::poll_read_buf;

use self::memory::MemoryStream;

/// A connection. Windows named pipes will be the fourth kind.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Memory(MemoryStream),
}

/// Evaluates an expression for whichever kind it is.
macro_rules! any {
    ($transport:expr, $stream:ident => $value:expr) => {
        match $transport {
            Transport::Tcp($stream) => $value,
            #[cfg(unix)]
            Transport::Unix($stream) => $value,
            Transport::Memory($stream) => $value,
        }
    };
}

impl Transport {
    /// Reads into the spare room of `buffer`; 0 is the end.
    pub(crate) fn poll_read_buf(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        any!(self, stream => poll_read_buf(Pin::new(stream), cx, buffer))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        any!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }

    /// Waits until there may be something to read. Cheaper than a read that finds nothing.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            #[cfg(unix)]
            Self::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            // Reading finds out at no cost.
            Self::Memory(_) => Poll::Ready(()),
        }
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        any!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    /// Writes what the kernel takes at once. This goes around tokio's readiness, which knows nothing of a connection
    /// that the driver has not reported on yet: the first write of an accepted socket would always have to wait.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => kernel::send(stream, bytes),
            #[cfg(unix)]
            Self::Unix(stream) => kernel::send(stream, bytes),
            Self::Memory(stream) => stream.try_write(&[IoSlice::new(bytes)]),
        }
    }

    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => kernel::send_vectored(stream, slices),
            #[cfg(unix)]
            Self::Unix(stream) => kernel::send_vectored(stream, slices),
            Self::Memory(stream) => stream.try_write(slices),
        }
    }

    /// Sends the FIN.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => kernel::shutdown(stream),
            #[cfg(unix)]
            Self::Unix(stream) => kernel::shutdown(stream),
            Self::Memory(stream) => {
                stream.shutdown();
                Ok(())
            }
        }
    }

    /// Throws away what the peer has sent and nobody read: closing with it unread would reset the connection, and the
    /// peer could lose what it was sent last.
    pub(crate) fn discard_unread(&mut self) {
        match self {
            Self::Tcp(stream) => kernel::discard(stream),
            #[cfg(unix)]
            Self::Unix(stream) => kernel::discard(stream),
            Self::Memory(stream) => stream.discard(),
        }
    }

    /// Makes the release of this transport a reset.
    pub(crate) fn prepare_reset(&mut self) {
        match self {
            Self::Tcp(stream) => kernel::prepare_reset(stream),
            // Neither has a reset of its own; both behave like one when they are released.
            #[cfg(unix)]
            Self::Unix(_) => {}
            Self::Memory(stream) => stream.prepare_reset(),
        }
    }

    pub(crate) fn can_reset(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Memory(_) => true,
            #[cfg(unix)]
            Self::Unix(_) => false,
        }
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            _ => None,
        }
    }

    #[cfg(unix)]
    pub(crate) fn peer_cred(&self) -> Option<UCred> {
        match self {
            Self::Unix(stream) => stream.peer_cred().ok(),
            _ => None,
        }
    }

    /// Nagle's algorithm and keep-alive are TCP's; elsewhere these settings mean nothing and do nothing, as in Node.
    pub(crate) fn set_no_delay(&self, no_delay: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(no_delay),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_keep_alive(&self, enable: bool, initial_delay: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => tcp::set_keep_alive(stream, enable, initial_delay),
            _ => Ok(()),
        }
    }
}
