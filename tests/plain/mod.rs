//! Clients that know nothing of sockeye.

#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to where a program says that it listens.
pub async fn connect(address: &str) -> Box<dyn Duplex> {
    match address.parse::<SocketAddr>() {
        Ok(address) => Box::new(TcpStream::connect(address).await.unwrap()),
        Err(_) => Box::new(UnixStream::connect(address).await.unwrap()),
    }
}

/// A connection for which the kernel holds little that has not been read.
pub async fn connect_narrowly(address: &str) -> Box<dyn Duplex> {
    let Ok(ip) = address.parse::<SocketAddr>() else { return connect(address).await };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    Box::new(socket.connect(ip).await.unwrap())
}

/// A connection that is reset when it is dropped, if its kind can be.
pub async fn connect_to_reset(address: &str) -> Box<dyn Duplex> {
    let Ok(ip) = address.parse::<SocketAddr>() else { return connect(address).await };
    let stream = TcpStream::connect(ip).await.unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    Box::new(stream)
}
