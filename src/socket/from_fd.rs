//! Sockets from connections that somebody else made.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, SockRef, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;

use super::Socket;
use super::abort;
use super::shared::Shared;
use crate::core::stream::Stream as Core;
use crate::error::{Error, Result};
use crate::options::SocketOptions;
use crate::transport::Transport;

impl Socket {
    /// Takes over the connected socket behind a descriptor: the `fd` option of Node's `new net.Socket(options)`. The
    /// kind is found out; `std::net::TcpStream` and `std::os::unix::net::UnixStream` can be given as they are.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no stream socket of a kind known here, `ENOTCONN` if it is not connected, `ERR_NO_RUNTIME`
    /// outside of a tokio runtime. The descriptor is closed then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use sockeye::{Event, Socket, SocketOptions};
    ///
    /// let (left, right) = std::os::unix::net::UnixStream::pair()?;
    /// let mut left = Socket::from_fd(left, SocketOptions::new())?;
    /// let right = Socket::from_fd(right, SocketOptions::new())?;
    /// right.write("hello");
    /// assert!(matches!(left.next().await, Some(Event::Data(chunk)) if chunk == "hello"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_fd(fd: impl Into<OwnedFd>, options: SocketOptions) -> Result<Self> {
        let _runtime = Handle::try_current().map_err(|_| Error::no_runtime())?;
        let fd = fd.into();
        let system = |error| Error::system("open", error);
        let invalid = || system(io::Error::from_raw_os_error(libc::EINVAL));
        let socket = SockRef::from(&fd);
        let (domain, kind) = (socket.domain().map_err(|_| invalid())?, socket.r#type().map_err(|_| invalid())?);
        if kind != Type::STREAM || !matches!(domain, Domain::IPV4 | Domain::IPV6 | Domain::UNIX) {
            return Err(invalid());
        }
        let remote = socket.peer_addr().map_err(system)?.as_socket();
        socket.set_nonblocking(true).map_err(system)?;
        let transport = match domain {
            Domain::UNIX => UnixStream::from_std(fd.into()).map(Transport::Unix),
            _ => TcpStream::from_std(fd.into()).map(Transport::Tcp),
        };
        Ok(Self::from_transport(transport.map_err(system)?, remote, options))
    }

    fn from_transport(transport: Transport, remote: Option<SocketAddr>, options: SocketOptions) -> Self {
        let core = Core::open(options.allow_half_open, options.high_water_mark);
        let shared = Shared::new(core.open_partly(options.readable, options.writable));
        let mut state = shared.lock();
        state.transport = Some(transport);
        state.remote = remote;
        drop(state);
        if let Some(signal) = options.signal {
            abort::watch(&shared, signal);
        }
        Self::from_shared(shared)
    }
}

/// With the default options; [`Socket::from_fd`] takes others.
impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        let remote = stream.peer_addr().ok();
        Self::from_transport(Transport::Tcp(stream), remote, SocketOptions::new())
    }
}

/// With the default options; [`Socket::from_fd`] takes others.
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::from_transport(Transport::Unix(stream), None, SocketOptions::new())
    }
}
