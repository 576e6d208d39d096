//! What the tests of connecting share.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use super::{next, socket_path};
use sockeye::{Server, Socket};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// Longer than a label of a host name may be, so nobody is asked about it.
pub const UNKNOWN_HOST: &str = "seventy-letters-are-seven-more-than-a-label-of-a-host-name-can-ever-be";

pub async fn tcp_server() -> (Server, SocketAddr) {
    let server = Server::new();
    server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = server.address().unwrap().ip().unwrap();
    (server, address)
}

pub async fn unix_server() -> (Server, String) {
    let path = socket_path();
    let server = Server::new();
    server.listen(&path).await.unwrap();
    (server, path)
}

/// An address that refuses connections: it is taken, so that nobody else gets it, and nobody listens.
pub fn refusing() -> SocketAddr {
    static BOUND: LazyLock<TcpSocket> = LazyLock::new(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket
    });
    BOUND.local_addr().unwrap()
}

/// An address that does not answer, for as long as the rest is kept: there is a listener, but its queue is full.
#[cfg(target_os = "linux")]
pub async fn unanswering() -> (SocketAddr, impl Sized) {
    let listener = TcpSocket::new_v4().unwrap();
    listener.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::net::TcpStream::connect(address).await.unwrap();
    (address, (listener, client))
}

/// The events up to and with `last`.
pub async fn until(socket: &mut Socket, last: &str) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    while events.last().is_none_or(|event| event != last) {
        events.push(next(socket).await);
        assert_ne!(events.last().unwrap(), "nothing", "no {last:?} in {events:?}");
    }
    events
}

pub async fn text_of(mut socket: Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}
