//! Closing a server, and programs with several.

mod common;

use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use common::{bounded, next, rest, settle, socket_path};
use futures_util::FutureExt;
use futures_util::future::join_all;
use sockeye::{Server, ServerHandle};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};

use common::serving::*;

mod closing {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_connections_and_leaves_them_working() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                let (client, mut socket) = connection(&mut server).await;
                let mut closed = Box::pin(server.close());
                assert_eq!((server.address(), server.listening(), server.connections()), (None, false, 1));
                assert!(has_no_event(&mut server).await);
                assert!((&mut closed).now_or_never().is_none());

                let error = sockeye::connect(address).await.unwrap_err();
                assert!(["ECONNREFUSED", "ENOENT"].contains(&error.code()), "{error}");

                client.end_with("still here");
                assert_eq!(rest(&mut socket).await, ["data 10", "end", "finish", "close false"]);
                closed.await.unwrap();
                assert_eq!(events(&mut server).await, ["close"]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn waits_for_the_task_of_a_connection_too() {
        bounded(async {
            for endpoint in endpoints() {
                let last_word = Arc::new(Notify::new());
                let (said, mut heard) = mpsc::unbounded_channel();
                let waited_for = last_word.clone();
                let server = Server::new().on_connection(move |mut socket| {
                    let (last_word, said) = (waited_for.clone(), said.clone());
                    async move {
                        while socket.next().await.is_some() {}
                        last_word.notified().await;
                        said.send("last word").unwrap();
                        Ok(())
                    }
                });
                server.listen(&endpoint).await.unwrap();
                let mut client = connect(&server.address().unwrap()).await;
                client.end();
                assert_eq!(rest(&mut client).await, ["finish", "end", "close false"]);
                assert_eq!(server.connections(), 1);
                let mut closed = Box::pin(server.close());
                settle().await;
                assert!((&mut closed).now_or_never().is_none());
                last_word.notify_one();
                closed.await.unwrap();
                assert_eq!((heard.try_recv(), server.connections()), (Ok("last word"), 0));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn does_not_wait_for_a_listener_or_a_task_that_has_panicked() {
        bounded(async {
            let listener = |_socket| -> std::future::Ready<()> { panic!("as this test wants it") };
            let task = async |_socket| -> () { panic!("as this test wants it") };
            for server in [Server::new().on_connection(listener), Server::new().on_connection(task)] {
                server.listen("127.0.0.1:0").await.unwrap();
                let client = connect(&server.address().unwrap()).await;
                assert_eq!(text_of(client).await, "");
                server.close().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn waits_for_what_a_dropped_connection_still_sends() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (mut client, socket) = connection(&mut server).await;
                let sent = common::pattern(8 * 1024 * 1024);
                socket.write(&sent);
                drop(socket);
                let mut closed = Box::pin(server.close());
                settle().await;
                assert!((&mut closed).now_or_never().is_none());
                assert_eq!(server.connections(), 1);
                let mut received = Vec::new();
                client.read_to_end(&mut received).await.unwrap();
                assert!(received == sent);
                closed.await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_waited_for_before_listening() {
        bounded(async {
            let server = Server::new();
            let mut closed = Box::pin(server.closed());
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert!((&mut closed).now_or_never().is_none());
            server.close().await.unwrap();
            closed.await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn ends_accept() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, _) = listening_on(&endpoint).await;
                let handle = server.handle();
                let acceptor = tokio::spawn(async move { server.accept().await.is_none() });
                settle().await;
                handle.close().await.unwrap();
                assert!(acceptor.await.unwrap());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn closes_the_connections_that_nobody_took() {
        bounded(async {
            for endpoint in endpoints() {
                let (server, address) = listening_on(&endpoint).await;
                let mut client = connect(&address).await;
                server.close().await.unwrap();
                assert!(rest(&mut client).await.last().unwrap().starts_with("close"));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_listening_is_an_error_and_a_close() {
        bounded(async {
            let mut server = Server::new();
            let error = server.close().await.unwrap_err();
            assert_eq!((error.code(), error.message()), ("ERR_SERVER_NOT_RUNNING", "Server is not running."));
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn twice_is_an_error_and_two_closes() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, _) = listening_on(&endpoint).await;
                server.close().await.unwrap();
                assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
                assert_eq!(events(&mut server).await, ["close", "close"]);
                server.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn twice_while_connections_last_is_an_error_and_one_close() {
        bounded(async {
            let mut server = listening_on("127.0.0.1:0").await.0;
            let (_client, socket) = connection(&mut server).await;
            let first = server.close();
            assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
            assert!(has_no_event(&mut server).await);
            socket.destroy();
            first.await.unwrap();
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn after_a_failed_listen_is_an_error_and_a_close() {
        bounded(async {
            let (_other, taken) = listening_on("127.0.0.1:0").await;
            let mut server = Server::new();
            server.listen(taken).await.unwrap_err();
            assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_waited_for_from_other_tasks() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (_client, socket) = connection(&mut server).await;
                let waiters: Vec<_> = (0..3)
                    .map(|_| {
                        let handle = server.handle();
                        tokio::spawn(async move { handle.closed().await })
                    })
                    .collect();
                settle().await;
                drop(server.close());
                settle().await;
                assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
                drop(socket);
                for waiter in waiters {
                    waiter.await.unwrap().unwrap();
                }
                server.handle().closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn by_dropping_the_server_leaves_the_connections() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (address, handle) = (server.address().unwrap(), server.handle());
                let (client, socket) = connection(&mut server).await;
                drop(server);
                assert!(address.path().is_none_or(|path| !path.exists()));
                assert_eq!((handle.listening(), handle.address(), handle.connections()), (false, None, 1));
                sockeye::connect(address).await.unwrap_err();

                client.end_with("still here");
                assert_eq!(text_of(socket).await, "still here");
                handle.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn by_dropping_a_server_with_a_listener_leaves_the_connections() {
        bounded(async {
            for endpoint in endpoints() {
                let server = echoing();
                server.listen(&endpoint).await.unwrap();
                let (address, handle) = (server.address().unwrap(), server.handle());
                let mut client = connect(&address).await;
                client.write("a");
                assert_eq!(next(&mut client).await, "data 1");
                drop(server);
                sockeye::connect(address).await.unwrap_err();
                client.end_with("b");
                assert_eq!(text_of(client).await, "b");
                handle.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn leaves_a_file_that_somebody_else_has_put_in_place_of_the_socket() {
        bounded(async {
            let path = socket_path();
            let (server, _) = listening_on(&path).await;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "precious").unwrap();
            server.close().await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        })
        .await;
    }

    #[tokio::test]
    async fn leaves_the_socket_of_a_server_that_has_taken_the_path_over() {
        bounded(async {
            let path = socket_path();
            let (old, _) = listening_on(&path).await;
            std::fs::remove_file(&path).unwrap();
            let new = echoing();
            new.listen(&path).await.unwrap();
            old.close().await.unwrap();
            assert_echoes(&new.address().unwrap()).await;
        })
        .await;
    }

    #[tokio::test]
    async fn does_not_mind_a_socket_file_that_is_gone() {
        bounded(async {
            let path = socket_path();
            let (server, _) = listening_on(&path).await;
            std::fs::remove_file(&path).unwrap();
            server.close().await.unwrap();
        })
        .await;
    }
}

mod programs {
    use super::*;

    async fn with_several_servers() {
        let servers: Vec<_> = (0..4).map(|_| echoing()).collect();
        for (server, endpoint) in servers.iter().zip(endpoints().into_iter().chain(endpoints())) {
            server.listen(&endpoint).await.unwrap();
        }
        let clients = (0..80).map(|index| {
            let address = servers[index % servers.len()].address().unwrap();
            tokio::spawn(async move { assert_echoes(&address).await })
        });
        for client in join_all(clients).await {
            client.unwrap();
        }
        for server in &servers {
            server.close().await.unwrap();
            assert_eq!(server.connections(), 0);
        }
    }

    #[tokio::test]
    async fn with_several_servers_on_one_thread() {
        bounded(with_several_servers()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn with_several_servers_on_several_threads() {
        bounded(with_several_servers()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn that_close_and_listen_on_several_threads_always_find_somebody_who_accepts() {
        bounded(async {
            let server = echoing();
            for _ in 0..100 {
                server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                assert_echoes(&server.address().unwrap()).await;
                drop(server.close());
            }
            server.closed().await.unwrap();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn that_close_the_server_from_within_a_connection() {
        bounded(async {
            let own_handle = Arc::new(OnceLock::<ServerHandle>::new());
            let handle = own_handle.clone();
            let server = Server::new().on_connection(move |socket| {
                drop(handle.get().unwrap().close());
                async move {
                    socket.end_with("closing time");
                }
            });
            own_handle.set(server.handle()).unwrap();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let client = connect(&server.address().unwrap()).await;
            assert_eq!(text_of(client).await, "closing time");
            server.closed().await.unwrap();
        })
        .await;
    }
}
