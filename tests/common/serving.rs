//! What the tests of servers share.

use super::{settle, socket_path};
use futures_util::FutureExt;
use sockeye::{Address, Server, ServerEvent, Socket};
use tokio::io::AsyncReadExt;

/// One endpoint of each kind to listen on.
pub fn endpoints() -> [String; 2] {
    ["127.0.0.1:0".to_owned(), socket_path()]
}

pub async fn listening_on(endpoint: &str) -> (Server, Address) {
    let server = Server::new();
    server.listen(endpoint).await.unwrap();
    let address = server.address().unwrap();
    (server, address)
}

pub fn echoing() -> Server {
    Server::new().on_connection(|mut socket| async move {
        let echo = socket.handle();
        socket.pipe(&echo).await.map(drop)
    })
}

pub async fn connect(address: &Address) -> Socket {
    sockeye::connect(address.clone()).await.unwrap()
}

/// A client and the socket that the server has for it.
pub async fn connection(server: &mut Server) -> (Socket, Socket) {
    let client = connect(&server.address().unwrap()).await;
    (client, server.accept().await.unwrap())
}

/// Sends a question to an echoing server and checks the answer.
pub async fn assert_echoes(address: &Address) {
    let client = connect(address).await;
    client.end_with("ping");
    assert_eq!(text_of(client).await, "ping");
}

pub async fn text_of(mut socket: Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

pub fn describe(event: Option<&ServerEvent>) -> String {
    match event {
        Some(ServerEvent::Listening) => "listening".into(),
        Some(ServerEvent::Connection(_)) => "connection".into(),
        Some(ServerEvent::Drop(_)) => "drop".into(),
        Some(ServerEvent::Blocked(_)) => "blocked".into(),
        Some(ServerEvent::Error(error)) => format!("error {}", error.message()),
        Some(ServerEvent::Close) => "close".into(),
        Some(other) => format!("{other:?}"),
        None => "nothing".into(),
    }
}

pub async fn event(server: &mut Server) -> String {
    describe(server.next().await.as_ref())
}

/// All events that are still to come; the server must be closed.
pub async fn events(server: &mut Server) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = server.next().await {
        events.push(describe(Some(&event)));
    }
    events
}

pub async fn has_no_event(server: &mut Server) -> bool {
    settle().await;
    server.next().now_or_never().is_none()
}
