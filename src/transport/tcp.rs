//! TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::error::{Error, Result, Target};
use crate::options::ListenOptions;

/// With these, a dead peer is noticed ten seconds after the first probe: libuv's choice.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_RETRIES: u32 = 10;

/// A socket that connects to `remote`, bound to `local` if there is one.
pub(crate) fn socket(remote: SocketAddr, local: Option<SocketAddr>) -> Result<TcpSocket> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| Error::connect("connect", error, Target::Ip(remote)))?;
    if let Some(local) = local {
        let bound = if local.is_ipv4() == remote.is_ipv4() {
            socket.bind(local)
        } else {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        };
        bound.map_err(|error| Error::connect("bind", error, Target::Ip(local)))?;
    }
    Ok(socket)
}

pub(crate) fn listen(address: SocketAddr, backlog: i32, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(options.ipv6_only)?;
    }
    if options.reuse_port {
        set_reuse_port(&socket)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Some systems have an option of this name that gives all connections to one of the sockets.
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    if cfg!(any(target_os = "linux", target_os = "android", target_os = "dragonfly")) {
        return socket.set_reuse_port(true);
    }
    Err(io::Error::from_raw_os_error(libc::ENOTSUP))
}

/// A delay below one second leaves the system's idle time, interval and count as they are; so does switching off.
pub(crate) fn set_keep_alive(stream: &TcpStream, enable: bool, initial_delay: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let seconds = Duration::from_secs(initial_delay.as_secs());
    if !enable || seconds.is_zero() {
        return socket.set_keepalive(enable);
    }
    let keep_alive =
        TcpKeepalive::new().with_time(seconds).with_interval(KEEP_ALIVE_INTERVAL).with_retries(KEEP_ALIVE_RETRIES);
    socket.set_tcp_keepalive(&keep_alive)
}
