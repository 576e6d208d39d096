//! What connections come from.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::Transport;
use super::tcp;
#[cfg(unix)]
use super::unix;
use crate::address::Address;

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
    pub(crate) fn tcp(address: SocketAddr, backlog: i32) -> io::Result<Self> {
        tcp::listen(address, backlog, false).map(Self::Tcp)
    }

    #[cfg(unix)]
    pub(crate) fn unix(path: &Path, backlog: i32) -> io::Result<Self> {
        let (listener, file) = unix::listen(path, backlog)?;
        Ok(Self::Unix { listener, path: path.to_owned(), _file: file })
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
