//! A server knows its open connections.

mod common;
mod process;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::serving::*;
use common::{bounded, next, rest, settle};
use futures_util::FutureExt;
use process::becomes;
use sockeye::{ConnectOptions, Server, Socket};
use tokio::io::AsyncReadExt;

/// Writes to each open connection its place in the list.
fn number(server: &Server) {
    for (index, socket) in server.sockets().iter().enumerate() {
        socket.write([b'0' + u8::try_from(index).unwrap()]);
    }
}

async fn read_number(client: &mut Socket) -> u8 {
    client.read_u8().await.unwrap() - b'0'
}

#[tokio::test]
async fn stand_in_the_order_in_which_they_were_accepted() {
    bounded(async {
        for endpoint in endpoints() {
            let mut server = listening_on(&endpoint).await.0;
            assert_eq!(server.sockets().len(), 0);
            let mut connections = Vec::new();
            for _ in 0..4 {
                connections.push(connection(&mut server).await);
            }
            // Those that come in the place of others stand last all the same.
            for index in [2, 0] {
                let (mut client, socket) = connections.remove(index);
                socket.destroy();
                rest(&mut client).await;
            }
            for _ in 0..3 {
                connections.push(connection(&mut server).await);
            }
            assert_eq!((server.sockets().len(), server.connections()), (5, 5));
            number(&server);
            for (place, (client, _)) in connections.iter_mut().enumerate() {
                assert_eq!(usize::from(read_number(client).await), place);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn are_those_that_a_listener_has_too() {
    bounded(async {
        for endpoint in endpoints() {
            let server = echoing();
            server.listen(&endpoint).await.unwrap();
            let address = server.address().unwrap();
            let mut clients = [connect(&address).await, connect(&address).await];
            becomes("connections", 2, || server.sockets().len()).await;
            // From a thread that has no runtime.
            let handle = server.handle();
            std::thread::spawn(move || handle.sockets().iter().for_each(|socket| drop(socket.try_write("to all"))))
                .join()
                .unwrap();
            for client in &mut clients {
                assert_eq!(next(client).await, "data 6");
            }
            drop(clients);
            becomes("connections", 0, || server.sockets().len()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn are_only_those_of_this_server() {
    bounded(async {
        let (mut server, address) = listening_on("127.0.0.1:0").await;
        let mut other = Server::new();
        other.listen_on(&server).await.unwrap();
        server.set_max_connections(Some(1));
        let (_client, _socket) = connection(&mut server).await;
        let mut at_other = connect(&address).await;
        let _taken = other.accept().await.unwrap();
        assert_eq!((server.sockets().len(), other.sockets().len()), (1, 1));
        other.sockets()[0].end_with("from the other");
        assert_eq!(next(&mut at_other).await, "data 14");

        // One that is dropped for the limit never was one of them.
        let _dropped = connect(&address).await;
        assert_eq!(event(&mut server).await, "drop");
        assert_eq!(server.sockets().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn are_those_that_connections_counts() {
    bounded(async {
        for endpoint in endpoints() {
            let mut server = listening_on(&endpoint).await.0;
            let (mut client, socket) = connection(&mut server).await;
            // A dropped socket is there until what it has written is out ...
            socket.write(vec![1; 8 * 1024 * 1024]);
            drop(socket);
            settle().await;
            assert_eq!((server.sockets().len(), server.connections()), (1, 1));
            // ... and its handle can still cut it off.
            server.sockets()[0].destroy();
            assert_eq!((server.sockets().len(), server.connections()), (0, 0));
            let mut received = Vec::new();
            assert!(client.read_to_end(&mut received).await.is_err() || received.len() < 8 * 1024 * 1024);
        }
    })
    .await;
}

#[tokio::test]
async fn do_not_keep_a_connection_or_the_server_open() {
    bounded(async {
        for endpoint in endpoints() {
            let mut server = listening_on(&endpoint).await.0;
            let (mut client, socket) = connection(&mut server).await;
            let handles = server.sockets();
            drop(socket);
            rest(&mut client).await;
            server.close().await.unwrap();
            assert!(handles[0].destroyed());
            assert_eq!(server.sockets().len(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn are_without_one_that_was_connected_elsewhere() {
    bounded(async {
        for endpoint in endpoints() {
            let mut server = listening_on(&endpoint).await.0;
            let other = echoing();
            other.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let (_client, mut socket) = connection(&mut server).await;
            socket.destroy();
            rest(&mut socket).await;
            socket.connect(other.address().unwrap()).unwrap();
            let mut socket = socket.await.unwrap();
            socket.write("away");
            assert_eq!(next(&mut socket).await, "data 4");
            assert_eq!((server.sockets().len(), other.sockets().len()), (0, 1));
        }
    })
    .await;
}

mod closed_within_a_time {
    use super::*;

    #[tokio::test]
    async fn end_and_those_that_take_longer_are_destroyed() {
        bounded(async {
            for endpoint in endpoints() {
                let server = sockeye::create_server(async |mut socket| while socket.next().await.is_some() {});
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                let polite = connect(&address).await;
                let stubborn = ConnectOptions::new().allow_half_open(true).connect(address).await.unwrap();
                becomes("connections", 2, || server.connections()).await;

                say_goodbye(&server);
                let mut closed = Box::pin(server.close_within(Duration::from_secs(3600)));
                assert!(!server.listening());
                assert_eq!(text_of(polite).await, "goodbye");
                becomes("connections", 1, || server.connections()).await;
                assert!((&mut closed).now_or_never().is_none(), "one keeps its side open");
                drop(closed);
                settle().await;
                assert_eq!(server.connections(), 1);

                assert_eq!(server.close_within(Duration::ZERO).await, 1);
                server.closed().await.unwrap();
                assert_eq!(server.connections(), 0);
                assert_eq!(text_of(stubborn).await, "goodbye");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn lose_nothing_that_was_written_before_they_were_dropped() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (mut client, socket) = connection(&mut server).await;
                let sent = common::pattern(8 * 1024 * 1024);
                socket.write(&sent);
                drop(socket);
                say_goodbye(&server);
                let closed = server.close_within(Duration::from_secs(3600));
                let mut received = Vec::new();
                client.read_to_end(&mut received).await.unwrap();
                assert!(received == sent);
                assert_eq!(closed.await, 0);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn are_none_on_a_server_that_has_none() {
        bounded(async {
            let mut server = Server::new();
            assert_eq!(server.close_within(Duration::from_secs(3600)).await, 0);
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert_eq!(server.close_within(Duration::from_secs(3600)).await, 0);
            assert_eq!(events(&mut server).await, ["close", "close"]);
        })
        .await;
    }

    fn say_goodbye(server: &Server) {
        for socket in server.sockets() {
            let _has_ended = socket.try_end_with("goodbye");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn can_be_asked_for_while_others_come_and_go_on_several_threads() {
    bounded(async {
        for endpoint in endpoints() {
            let server = echoing();
            server.listen(&endpoint).await.unwrap();
            let address = server.address().unwrap();
            let clients = (0..4).map(|_| {
                let address = address.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        assert_echoes(&address).await;
                    }
                })
            });
            let clients = clients.collect::<Vec<_>>();
            let handle = server.handle();
            let asking = tokio::spawn(async move {
                while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
                    for socket in handle.sockets() {
                        let _too_late = socket.try_write("");
                    }
                    tokio::task::yield_now().await;
                }
                futures_util::future::try_join_all(clients).await.unwrap();
            });
            asking.await.unwrap();
            server.close().await.unwrap();
            assert_eq!(server.sockets().len(), 0);
        }
    })
    .await;
}
