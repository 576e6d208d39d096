//! What the tests of listening share.

#![allow(dead_code)]

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::Path;

use sockeye::{IntoEndpoint, Server, Socket, connect};
use tokio::io::AsyncReadExt;

/// Connects, and sees the server write to that connection.
pub(crate) async fn exchange(server: &mut Server, endpoint: impl IntoEndpoint) {
    let (client, socket) = tokio::join!(connect(endpoint).into_future(), server.accept());
    let socket = socket.unwrap();
    socket.end_with("hello");
    assert_eq!(text(&mut client.unwrap()).await, "hello");
}

pub(crate) async fn text(socket: &mut Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) fn bound(address: &str) -> socket2::Socket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

pub(crate) fn bound_path(path: &Path) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(path).unwrap()).unwrap();
    socket
}

pub(crate) fn has_ipv6() -> bool {
    let has = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("there is no IPv6: left out");
    }
    has
}

#[cfg(target_os = "linux")]
pub(crate) fn abstract_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("\0sockeye-test-{:016x}", RandomState::new().hash_one(std::process::id()))
}
