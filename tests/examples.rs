//! The examples, as they are run from a shell.

mod common;
mod process;
mod tools;

use std::net::Ipv4Addr;
use std::path::Path;

use nix::sys::signal::Signal;
use process::Process;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::process::Command;

/// The echo server on a free port and a path, and what it prints first.
struct Echo {
    process: Process,
    host: String,
    port: u16,
    path: String,
}

impl Echo {
    async fn start() -> Self {
        let path = common::socket_path();
        let mut process = Process::example("echo", ["0", &path]);
        let tcp = process.line().await;
        let (host, port) =
            tcp.strip_prefix("server bound to ").and_then(|address| address.rsplit_once(':')).expect(&tcp);
        let (host, port) = (host.to_owned(), port.parse().unwrap());
        assert_eq!(process.line().await, format!("server bound to {path}"));
        Self { process, host, port, path }
    }

    async fn tcp(&mut self) -> TcpStream {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        assert_eq!(self.process.line().await, "client connected");
        client
    }

    async fn unix(&mut self) -> UnixStream {
        let client = UnixStream::connect(&self.path).await.unwrap();
        assert_eq!(self.process.line().await, "client connected");
        client
    }

    /// Ends the server with a signal and checks what it leaves.
    async fn ends_cleanly(mut self, signal: Signal) {
        self.process.signal(signal);
        let status = self.process.exit().await;
        assert_eq!((status.code(), self.process.errors().await.as_str()), (Some(0), ""), "{status}");
        assert!(!Path::new(&self.path).exists(), "the socket file is left behind");
    }
}

#[tokio::test]
async fn the_echo_server_prints_each_endpoint_with_the_real_port() {
    common::bounded(async {
        let echo = Echo::start().await;
        assert_ne!(echo.port, 0);
        echo.ends_cleanly(Signal::SIGINT).await;

        let mut tcp_only = Process::example("echo", ["0"]);
        let line = tcp_only.line().await;
        assert!(line.starts_with("server bound to ") && !line.ends_with(":0"), "{line}");
        tcp_only.signal(Signal::SIGINT);
        assert_eq!(tcp_only.rest().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn the_echo_server_greets_and_echoes_and_tells_who_comes_and_goes() {
    common::bounded(async {
        let mut echo = Echo::start().await;
        let client = echo.tcp().await;
        greets_and_echoes(client).await;
        assert_eq!(echo.process.line().await, "client disconnected");
        let client = echo.unix().await;
        greets_and_echoes(client).await;
        assert_eq!(echo.process.line().await, "client disconnected");
        echo.ends_cleanly(Signal::SIGTERM).await;
    })
    .await;
}

async fn greets_and_echoes(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let mut greeting = [0; 7];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello\r\n");
    client.write_all(b"and back\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "and back\n");
}

#[tokio::test]
async fn sigint_and_sigterm_end_the_echo_server_while_clients_are_connected() {
    common::bounded(async {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut echo = Echo::start().await;
            let mut tcp = echo.tcp().await;
            let mut unix = echo.unix().await;
            echo.ends_cleanly(signal).await;
            // What was written is not lost, and then there is an orderly end.
            for client in [&mut tcp as &mut (dyn AsyncRead + Unpin), &mut unix] {
                let mut text = String::new();
                client.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "hello\r\n");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn sigint_and_sigterm_end_the_echo_server_while_clients_take_nothing() {
    common::bounded(async {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut echo = Echo::start().await;
            let tcp = echo.tcp().await;
            let unix = echo.unix().await;
            // Enough to have something in the server's queue: the kernel's buffers are full in both directions.
            tcp.writable().await.unwrap();
            unix.writable().await.unwrap();
            let block = vec![7; 1024 * 1024];
            let mut quiet = 0;
            while quiet < 20 {
                let mut probe = echo.tcp().await;
                probe.read_exact(&mut [0; 7]).await.unwrap();
                drop(probe);
                assert_eq!(echo.process.line().await, "client disconnected");
                let took_some = tcp.try_write(&block).is_ok() | unix.try_write(&block).is_ok();
                quiet = if took_some { 0 } else { quiet + 1 };
            }
            echo.ends_cleanly(signal).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_none_is_an_error() {
    common::bounded(async {
        fails("echo", &["65536"], "ERR_SOCKET_BAD_PORT", "should be >= 0 and < 65536. Received 65536.").await;
        fails("echo", &["-1"], "ERR_SOCKET_BAD_PORT", "should be >= 0 and < 65536. Received -1.").await;
        fails("client", &["localhost:65536"], "ERR_SOCKET_BAD_PORT", "should be >= 0 and < 65536.").await;
    })
    .await;
}

#[tokio::test]
async fn a_path_in_a_missing_directory_is_an_error() {
    common::bounded(async {
        let path = common::temporary_directory().join("missing/echo.sock");
        let path = path.to_str().unwrap();
        fails("echo", &["0", path], "EACCES", &format!("listen EACCES: permission denied {path}")).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_is_in_use_is_an_error_and_stays_with_its_owner() {
    common::bounded(async {
        let mut owner = Echo::start().await;
        let host = owner.host.trim_matches(['[', ']']);
        let port = owner.port.to_string();
        let message = format!("listen EADDRINUSE: address already in use {host}:{port}");
        fails("echo", &[&port], "EADDRINUSE", &message).await;
        let path = &owner.path;
        fails("echo", &["0", path], "EADDRINUSE", &format!("listen EADDRINUSE: address already in use {path}")).await;

        let client = owner.tcp().await;
        greets_and_echoes(client).await;
        assert_eq!(owner.process.line().await, "client disconnected");
        let client = owner.unix().await;
        greets_and_echoes(client).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_an_error() {
    common::bounded(async {
        fails("client", &["./missing.sock"], "ENOENT", "connect ENOENT ./missing.sock").await;
        // Bound, so that nobody else gets the port, but not listening.
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = reserved.local_addr().unwrap().to_string();
        fails("client", &[&address], "ECONNREFUSED", &format!("connect ECONNREFUSED {address}")).await;
    })
    .await;
}

/// Runs an example that is to end with an error.
async fn fails(example: &str, arguments: &[&str], code: &str, message: &str) {
    let errors = Process::example(example, arguments).fails().await;
    assert!(errors.contains(code) && errors.contains(message), "{arguments:?}: {errors:?} instead of {message:?}");
}

#[tokio::test]
async fn the_client_prints_what_the_documentation_shows() {
    common::bounded(async {
        let mut echo = Echo::start().await;
        let endpoints = [format!("127.0.0.1:{}", echo.port), format!("localhost:{}", echo.port), echo.path.clone()];
        for endpoint in endpoints {
            let mut client = Process::example("client", [&endpoint]);
            let lines = ["connected to server!", "hello", "world!", "disconnected from server"];
            assert_eq!(client.rest().await, lines, "{endpoint}");
            assert!(client.exit().await.success(), "{endpoint}: {}", client.errors().await);
            assert_eq!(echo.process.line().await, "client connected");
            assert_eq!(echo.process.line().await, "client disconnected");
        }
        echo.ends_cleanly(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn netcat_talks_to_the_echo_server() {
    common::bounded(async {
        if !tools::has_openbsd_netcat().await {
            return;
        }
        let mut echo = Echo::start().await;
        let port = echo.port.to_string();
        let path = echo.path.clone();
        for arguments in [vec!["-N", "localhost", &port], vec!["-N", "127.0.0.1", &port], vec!["-N", "-U", &path]] {
            let mut nc = Process::spawn(Command::new("nc").args(&arguments));
            assert_eq!(nc.line().await, "hello");
            assert_eq!(nc.ask("anyone there?").await, "anyone there?");
            nc.tell("a last word").await;
            nc.close_stdin();
            assert_eq!(nc.rest().await, ["a last word"]);
            assert!(nc.exit().await.success(), "{arguments:?}: {}", nc.errors().await);
            assert_eq!(echo.process.line().await, "client connected");
            assert_eq!(echo.process.line().await, "client disconnected");
        }
        echo.ends_cleanly(Signal::SIGTERM).await;
    })
    .await;
}
