//! What connections come from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockRef, Type};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::Transport;
use super::tcp;
#[cfg(unix)]
use super::unix;
use crate::address::Address;
use crate::options::{DEFAULT_BACKLOG, ListenOptions};

/// A listening socket. Dropping it stops listening and removes the socket file.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        path: PathBuf,
        _file: Option<unix::SocketFile>,
    },
}

impl Listener {
    pub(crate) fn tcp(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        tcp::listen(address, backlog(options), options).map(Self::Tcp)
    }

    #[cfg(unix)]
    pub(crate) fn unix(path: &Path, options: &ListenOptions) -> io::Result<Self> {
        let ListenOptions { replace_stale, mode: base, readable_all, writable_all, .. } = *options;
        let mode = unix::Mode { base, readable_all, writable_all };
        let (listener, file) = unix::listen(path, backlog(options), replace_stale, mode)?;
        Ok(Self::Unix { listener, path: path.to_owned(), _file: file })
    }

    /// Takes over a socket that is bound, or listens, already.
    pub(crate) fn handle(handle: OwnedFd, options: &ListenOptions) -> io::Result<Self> {
        let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
        let socket = SockRef::from(&handle);
        let domain = socket.domain().map_err(invalid)?;
        if socket.r#type().map_err(invalid)? != Type::STREAM {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        socket.listen(backlog(options))?;
        socket.set_nonblocking(true)?;
        match domain {
            Domain::IPV4 | Domain::IPV6 => TcpListener::from_std(handle.into()).map(Self::Tcp),
            #[cfg(unix)]
            Domain::UNIX => {
                let path = unix::path_of(&socket.local_addr()?);
                let listener = UnixListener::from_std(handle.into())?;
                Ok(Self::Unix { listener, path, _file: None })
            }
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            #[cfg(unix)]
            Self::Unix { listener, .. } => listener.as_fd(),
        }
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Transport, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok((Transport::Tcp(stream), Some(remote))))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok((Transport::Unix(stream), None)))
            }
        }
    }

    /// Where this listens: with the port that the system chose, and the path as it was given.
    pub(crate) fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Address::Ip),
            #[cfg(unix)]
            Self::Unix { path, .. } => Some(Address::Path(path.clone())),
        }
    }
}

/// As in Node, zero is the default.
fn backlog(options: &ListenOptions) -> i32 {
    let backlog = if options.backlog == 0 { DEFAULT_BACKLOG } else { options.backlog };
    backlog.try_into().unwrap_or(i32::MAX)
}
