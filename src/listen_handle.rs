//! Listeners that exist already.

use std::io;
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::server::Server;
use crate::server::handle::ServerHandle;

/// Something that can be listened on as it is: any descriptor of a bound or listening stream socket, such as a
/// `std::net::TcpListener`, a `std::os::unix::net::UnixListener` or an `OwnedFd` that was inherited; a tokio listener;
/// or another server, whose connections are then shared.
pub trait IntoListenHandle {
    /// The descriptor, owned.
    fn into_listen_handle(self) -> Result<OwnedFd>;
}

macro_rules! owned {
    ($($type:ty),+) => {$(
        impl IntoListenHandle for $type {
            fn into_listen_handle(self) -> Result<OwnedFd> {
                Ok(self.into())
            }
        }
    )+};
}

owned!(OwnedFd, std::net::TcpListener, std::os::unix::net::UnixListener, socket2::Socket);

impl IntoListenHandle for tokio::net::TcpListener {
    fn into_listen_handle(self) -> Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

impl IntoListenHandle for tokio::net::UnixListener {
    fn into_listen_handle(self) -> Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

/// `EINVAL` if the server does not listen.
impl IntoListenHandle for &ServerHandle {
    fn into_listen_handle(self) -> Result<OwnedFd> {
        match &self.shared.lock().listener {
            Some(listener) => Ok(listener.as_fd().try_clone_to_owned()?),
            None => Err(Error::listen_on(io::Error::from_raw_os_error(libc::EINVAL))),
        }
    }
}

/// `EINVAL` if the server does not listen.
impl IntoListenHandle for &Server {
    fn into_listen_handle(self) -> Result<OwnedFd> {
        (**self).into_listen_handle()
    }
}
