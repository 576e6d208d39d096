//! Servers and sockets that outlive their runtime.

mod common;

use std::net::Ipv4Addr;

use common::{bounded, rest};
use sockeye::{Server, Socket};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};

fn runtimes() -> [Runtime; 2] {
    [Builder::new_current_thread(), Builder::new_multi_thread()]
        .map(|mut builder| builder.enable_all().build().unwrap())
}

fn greeting() -> Server {
    Server::new().on_connection(|socket| async move {
        socket.end_with("hello");
    })
}

async fn assert_greets(server: &Server) {
    let mut client = sockeye::connect(server.address().unwrap()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn a_server_that_outlives_its_runtime_can_listen_in_another() {
    for runtime in runtimes() {
        let server = greeting();
        runtime.block_on(bounded(async {
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert_greets(&server).await;
        }));
        drop(runtime);
        drop(server.close());
        for runtime in runtimes() {
            runtime.block_on(bounded(async {
                server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                assert_greets(&server).await;
                server.close().await.unwrap();
            }));
        }
    }
}

#[test]
fn a_server_in_a_task_ends_with_the_runtime() {
    for runtime in runtimes() {
        let handle = runtime.block_on(async {
            let server = greeting();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert_greets(&server).await;
            let handle = server.handle();
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(server);
            });
            tokio::task::yield_now().await;
            handle
        });
        drop(runtime);
        assert!(!handle.listening());
    }
}

#[test]
fn a_socket_that_outlives_its_runtime_can_be_dropped() {
    for runtime in runtimes() {
        let (socket, peer) = runtime.block_on(async {
            let mut server = Server::new();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let client = sockeye::connect(server.address().unwrap()).await.unwrap();
            (client, server.accept().await.unwrap())
        });
        socket.write(common::pattern(16 * 1024 * 1024));
        assert!(socket.writable_length() > 0);
        drop(runtime);
        peer.end();
        drop((socket, peer));
    }
}

#[test]
fn a_socket_whose_runtime_ended_before_it_was_connected_can_be_destroyed() {
    let [ended, runtime] = runtimes();
    let mut socket: Socket = ended.block_on(async { sockeye::connect((Ipv4Addr::LOCALHOST, 9)) });
    drop(ended);
    socket.destroy();
    assert_eq!(runtime.block_on(rest(&mut socket)), ["close false"]);
}

#[test]
fn a_socket_that_outlives_its_runtime_fails_in_another() {
    for ended in runtimes() {
        let (mut socket, _peer) = ended.block_on(async {
            let mut server = Server::new();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let client = sockeye::connect(server.address().unwrap()).await.unwrap();
            (client, server.accept().await.unwrap())
        });
        let written = socket.write_with(common::pattern(16 * 1024 * 1024));
        drop(ended);
        let [runtime, _] = runtimes();
        runtime.block_on(bounded(async {
            assert_eq!(rest(&mut socket).await.last().unwrap(), "close true");
            written.await.unwrap_err();
        }));
    }
}
