//! Listening.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use common::{bounded, settle, socket_path};
use futures_util::FutureExt;
use sockeye::{Address, Family, IntoEndpoint, Server, ServerEvent};

use common::serving::*;

mod listening {
    use super::*;

    #[tokio::test]
    async fn on_port_zero_takes_a_free_port_of_every_address() {
        bounded(async {
            let server = Server::new();
            assert_eq!((server.address(), server.listening()), (None, false));
            server.listen(0).await.unwrap();
            assert!(server.listening());
            let address = server.address().unwrap().ip().unwrap();
            assert!(address.ip().is_unspecified() && address.port() != 0);
        })
        .await;
    }

    #[tokio::test]
    async fn on_an_address_takes_that_address() {
        bounded(async {
            let server = Server::new();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = server.address().unwrap();
            assert_eq!(address.ip().unwrap().ip(), Ipv4Addr::LOCALHOST);
            assert_eq!(address.to_string(), format!("127.0.0.1:{}", address.port().unwrap()));
            assert_eq!(address.path(), None);
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_name_takes_an_address_of_it() {
        bounded(async {
            let server = Server::new();
            let listen = server.listen(("localhost", 0));
            assert!(!server.listening(), "the name is still being resolved");
            listen.await.unwrap();
            assert!(server.listening());
            assert!(server.address().unwrap().ip().unwrap().ip().is_loopback());
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_path_makes_a_socket_file() {
        bounded(async {
            let path = socket_path();
            let server = Server::new();
            server.listen(&path).await.unwrap();
            assert_eq!(server.address(), Some(Address::Path(path.clone().into())));
            assert!(Path::new(&path).exists());
            server.close().await.unwrap();
            assert!(!Path::new(&path).exists());
        })
        .await;
    }

    #[tokio::test]
    async fn on_every_address_takes_both_families() {
        bounded(async {
            let mut server = Server::new();
            server.listen(0).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            let client = sockeye::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            let socket = server.accept().await.unwrap();
            assert_eq!(socket.remote_port(), client.local_port());
            if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                let client = sockeye::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
                let socket = server.accept().await.unwrap();
                assert_eq!(socket.peer_addr(), client.address());
                assert_eq!(socket.remote_family(), Some(Family::Ipv6));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn on_an_ipv6_address_takes_that_address() {
        bounded(async {
            if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
                return;
            }
            for endpoint in [("::1", 0).into_endpoint(), "[::1]:0".into_endpoint()] {
                let mut server = Server::new();
                server.listen(endpoint.unwrap()).await.unwrap();
                let address = server.address().unwrap();
                assert_eq!(address.to_string(), format!("[::1]:{}", address.port().unwrap()));
                let (client, socket) = connection(&mut server).await;
                assert_eq!((client.remote_family(), socket.local_family()), (Some(Family::Ipv6), Some(Family::Ipv6)));
                assert_eq!((client.peer_addr(), client.address()), (socket.address(), socket.peer_addr()));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn is_an_event_when_the_future_is_not_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                drop(server.listen(&endpoint));
                assert_eq!(event(&mut server).await, "listening");
                assert!(has_no_event(&mut server).await);
            }
            let mut server = Server::new();
            drop(server.listen("localhost:0"));
            assert_eq!(event(&mut server).await, "listening");
        })
        .await;
    }

    #[tokio::test]
    async fn is_no_event_when_the_future_is_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                assert!(has_no_event(&mut server).await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn wakes_who_has_been_waiting_for_events() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                let handle = server.handle();
                let waiting = tokio::spawn(async move {
                    let first = event(&mut server).await;
                    (first, event(&mut server).await)
                });
                settle().await;
                drop(handle.listen(&endpoint));
                let _client = connect(&handle.address().unwrap()).await;
                assert_eq!(waiting.await.unwrap(), ("listening".into(), "connection".into()));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn wakes_who_has_been_waiting_for_a_connection() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                let handle = server.handle();
                let waiting = tokio::spawn(async move { server.accept().await.is_some() });
                settle().await;
                handle.listen(&endpoint).await.unwrap();
                let _client = connect(&handle.address().unwrap()).await;
                assert!(waiting.await.unwrap());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_an_event_when_the_future_is_not_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                drop(server.listen(taken.clone()));
                assert_eq!(
                    event(&mut server).await,
                    format!("error listen EADDRINUSE: address already in use {taken}")
                );
                assert!(has_no_event(&mut server).await, "no close follows");
                assert!(!server.listening());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_no_event_when_the_future_is_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                assert_eq!(server.listen(taken).await.unwrap_err().code(), "EADDRINUSE");
                assert!(has_no_event(&mut server).await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_tried_again_after_an_error() {
        bounded(async {
            for endpoint in endpoints() {
                let (other, taken) = listening_on(&endpoint).await;
                let mut server = echoing();
                drop(server.listen(taken.clone()));
                assert!(matches!(server.next().await, Some(ServerEvent::Error(_))));
                other.close().await.unwrap();
                drop(server.listen(taken.clone()));
                assert_eq!(event(&mut server).await, "listening");
                assert_echoes(&taken).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_told_although_the_next_one_has_begun() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                drop(server.listen(taken.clone()));
                drop(server.listen("127.0.0.1:0"));
                let message = format!("error listen EADDRINUSE: address already in use {taken}");
                assert_eq!(event(&mut server).await, message);
                assert_eq!(event(&mut server).await, "listening");

                let server = Server::new();
                let (first, second) = tokio::join!(server.listen(taken), server.listen("127.0.0.1:0"));
                assert_eq!(first.unwrap_err().code(), "EADDRINUSE");
                second.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_told_although_the_server_is_closed_after_it() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                drop(server.listen(taken.clone()));
                assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
                let message = format!("error listen EADDRINUSE: address already in use {taken}");
                assert_eq!(events(&mut server).await, [message.as_str(), "close"]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn twice_is_an_error_and_the_first_goes_on() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = echoing();
                let first = server.listen(&endpoint);
                let error = server.listen(&endpoint).await.unwrap_err();
                assert_eq!(error.code(), "ERR_SERVER_ALREADY_LISTEN");
                first.await.unwrap();
                let error = server.listen(0).await.unwrap_err();
                assert_eq!(error.message(), "Listen method has been called more than once without closing.");
                assert!(has_no_event(&mut server).await);
                assert_echoes(&server.address().unwrap()).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn twice_is_an_error_while_a_name_is_being_resolved() {
        bounded(async {
            let server = Server::new();
            let first = server.listen("localhost:0");
            assert_eq!(server.listen(0).await.unwrap_err().code(), "ERR_SERVER_ALREADY_LISTEN");
            first.await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn is_possible_again_straight_after_close() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                let (client, socket) = connection(&mut server).await;
                drop(server.close());
                server.listen(address.clone()).await.unwrap();
                assert_eq!(server.address(), Some(address));

                let (_other_client, _other_socket) = connection(&mut server).await;
                assert_eq!(server.connections(), 2);
                socket.end_with("old");
                assert_eq!(text_of(client).await, "old");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn again_is_told_after_the_close() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, _) = listening_on(&endpoint).await;
                drop(server.close());
                drop(server.listen(&endpoint));
                assert_eq!(event(&mut server).await, "close");
                assert_eq!(event(&mut server).await, "listening");
                assert!(has_no_event(&mut server).await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn again_and_again_always_finds_somebody_who_accepts() {
        bounded(async {
            for endpoint in endpoints() {
                let server = echoing();
                for _ in 0..50 {
                    server.listen(&endpoint).await.unwrap();
                    assert_echoes(&server.address().unwrap()).await;
                    drop(server.close());
                }
                server.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_is_closed_at_once_is_never_told() {
        bounded(async {
            for endpoint in endpoints().into_iter().chain(["localhost:0".into()]) {
                let mut server = Server::new();
                let listen = server.listen(&endpoint);
                server.close().await.unwrap();
                assert_eq!(listen.await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
                assert_eq!(events(&mut server).await, ["close"]);
                assert_eq!((server.address(), server.listening()), (None, false));
            }
        })
        .await;
    }

    #[test]
    fn needs_a_runtime() {
        let server = echoing();
        let listen = server.listen((Ipv4Addr::LOCALHOST, 0));
        let error = listen.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.code(), "ERR_NO_RUNTIME");
        assert!(!server.listening());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(bounded(async move {
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert_echoes(&server.address().unwrap()).await;
        }));
    }
}
