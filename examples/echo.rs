//! The echo server of Node's documentation, on TCP and, if a path is given, on a Unix domain socket.
//!
//!     cargo run --release --example echo -- 8124 /tmp/echo.sock
//!
//! and in other terminals
//!
//!     nc localhost 8124
//!     nc -U /tmp/echo.sock
//!
//! Ctrl-C and SIGTERM stop it: no more connections are taken, the open ones are closed behind what was written, and the
//! socket file is removed.

use std::path::PathBuf;

use sockeye::{Error, IntoEndpoint, Server, Socket};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> sockeye::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().unwrap_or_else(|| "8124".into());
    let port = port.parse::<u16>().map_err(|_| Error::new("ERR_SOCKET_BAD_PORT", bad_port(&port)))?;
    let path = arguments.next().map(PathBuf::from);

    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;

    let mut servers = vec![serve(port).await?];
    if let Some(path) = path {
        servers.push(serve(path).await?);
    }

    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

fn bad_port(received: &str) -> String {
    format!("Port should be >= 0 and < 65536. Received {received}.")
}

async fn serve(endpoint: impl IntoEndpoint) -> sockeye::Result<Server> {
    let server = Server::new().on_connection(echo);
    println!("server bound to {}", server.listen(endpoint).await?);
    Ok(server)
}

async fn echo(mut socket: Socket) -> sockeye::Result<()> {
    println!("client connected");
    socket.write("hello\r\n");
    let echo = socket.handle();
    let result = socket.pipe(&echo).await;
    println!("client disconnected");
    result.map(drop)
}
