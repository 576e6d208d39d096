//! Listening on sockets that are bound, or listen, already.

mod common;
mod listening;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use common::{bounded, socket_path};
use listening::{bound_path, exchange, text};
use sockeye::{Address, Server, ServerEvent, connect};

#[tokio::test]
async fn the_socket_file_of_a_handle_stays_when_the_server_closes() {
    bounded(async {
        let paths: [PathBuf; 3] = std::array::from_fn(|_| socket_path().into());
        let server = Server::new();
        for (form, path) in paths.iter().enumerate() {
            match form {
                0 => server.listen_on(std::os::unix::net::UnixListener::bind(path).unwrap()),
                1 => server.listen_on(tokio::net::UnixListener::bind(path).unwrap()),
                _ => server.listen_on(bound_path(path)),
            }
            .await
            .unwrap();
            assert_eq!(server.address(), Some(Address::Path(path.clone())));
            server.close().await.unwrap();
            assert!(path.exists());
            assert_eq!(connect(path).await.unwrap_err().code(), "ECONNREFUSED");
            assert_eq!(server.listen(path).await.unwrap_err().code(), "EADDRINUSE");
        }
    })
    .await;
}

#[tokio::test]
async fn servers_that_share_a_listener_share_its_connections() {
    bounded(async {
        let path = socket_path();
        for endpoint in ["127.0.0.1:0", path.as_str()] {
            let [mut first, mut second] = [Server::new(), Server::new()];
            first.listen(endpoint).await.unwrap();
            second.listen_on(&first).await.unwrap();
            let address = first.address().unwrap();
            assert_eq!(second.address().as_ref(), Some(&address));
            exchange(&mut first, address.clone()).await;
            exchange(&mut second, address.clone()).await;

            // Both wait, and each connection goes to just one of them.
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(connect(address.clone()).await.unwrap());
            }
            let mut sockets = Vec::new();
            while sockets.len() < clients.len() {
                tokio::select! {
                    socket = first.accept() => sockets.push(socket.unwrap()),
                    socket = second.accept() => sockets.push(socket.unwrap()),
                }
            }
            assert_eq!(first.connections() + second.connections(), clients.len());
            drop((clients, sockets));
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_goes_on_when_one_that_shares_its_listener_closes() {
    bounded(async {
        for first_closes in [true, false] {
            let [mut first, mut second] = [Server::new(), Server::new()];
            first.listen("127.0.0.1:0").await.unwrap();
            second.listen_on(&first).await.unwrap();
            let address = first.address().unwrap();
            let (closing, staying) = if first_closes { (&mut first, &mut second) } else { (&mut second, &mut first) };
            closing.close().await.unwrap();
            for _ in 0..3 {
                exchange(staying, address.clone()).await;
            }
            closing.listen_on(&*staying).await.unwrap();
            staying.close().await.unwrap();
            exchange(closing, address.clone()).await;
            closing.close().await.unwrap();
            assert_eq!(connect(address).await.unwrap_err().code(), "ECONNREFUSED");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_takes_connections_in_the_background_shares_them_too() {
    bounded(async {
        let echo = || {
            Server::new().on_connection(|mut socket| async move {
                let handle = socket.handle();
                socket.pipe(&handle).await.map(drop)
            })
        };
        let servers = [echo(), echo(), echo()];
        servers[0].listen("127.0.0.1:0").await.unwrap();
        let address = servers[0].address().unwrap();
        servers[1].listen_on(&servers[0]).await.unwrap();
        servers[2].listen_on(&servers[1].handle()).await.unwrap();
        for server in &servers {
            for _ in 0..5 {
                let mut client = connect(address.clone()).await.unwrap();
                client.end_with("echo");
                assert_eq!(text(&mut client).await, "echo");
            }
            server.close().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn only_the_server_that_made_the_socket_file_removes_it() {
    bounded(async {
        let path = socket_path();
        let [first, mut second] = [Server::new(), Server::new()];
        first.listen(&path).await.unwrap();
        second.listen_on(&first).await.unwrap();
        second.close().await.unwrap();
        assert!(Path::new(&path).exists());
        second.listen_on(&first).await.unwrap();
        exchange(&mut second, &path).await;
        first.close().await.unwrap();
        assert!(!Path::new(&path).exists());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_no_handle() {
    bounded(async {
        let [server, other] = [Server::new(), Server::new()];
        assert_eq!(server.listen_on(&other).await.unwrap_err().code(), "EINVAL");
        assert_eq!(server.listen_on(&other.handle()).await.unwrap_err().code(), "EINVAL");
        other.listen("127.0.0.1:0").await.unwrap();
        other.close();
        assert_eq!(server.listen_on(&other).await.unwrap_err().code(), "EINVAL");
        assert_eq!(server.listen_on(&server).await.unwrap_err().code(), "EINVAL");
        server.listen("127.0.0.1:0").await.unwrap();
        assert_eq!(server.listen_on(&server).await.unwrap_err().code(), "ERR_SERVER_ALREADY_LISTEN");
        assert!(server.listening());
    })
    .await;
}

#[tokio::test]
async fn a_handle_that_cannot_listen_is_refused_in_nodes_words() {
    bounded(async {
        let mut server = Server::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
        let handles: [(&str, OwnedFd); 8] = [
            ("UDP socket", std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()),
            ("Unix datagram socket", std::os::unix::net::UnixDatagram::unbound().unwrap().into()),
            ("file", std::fs::File::open(std::env::current_exe().unwrap()).unwrap().into()),
            ("pipe", std::io::pipe().unwrap().0.into()),
            ("connected socket", connected.into()),
            ("accepted socket", accepted.into()),
            ("connected Unix socket", left.into()),
            (
                "unbound Unix socket",
                socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap().into(),
            ),
        ];
        for (name, handle) in handles {
            let again = handle.try_clone().unwrap();
            let error = server.listen_on(handle).await.unwrap_err();
            assert_eq!((error.code(), error.syscall()), ("EINVAL", Some("listen")), "{name}");
            assert_eq!(error.message(), "listen EINVAL: invalid argument", "{name}");
            drop(server.listen_on(again));
            assert!(
                matches!(server.next().await, Some(ServerEvent::Error(error)) if error.code() == "EINVAL"),
                "{name}"
            );
        }
        server.listen_on(listener).await.unwrap();
        let address = server.address().unwrap();
        exchange(&mut server, address).await;
    })
    .await;
}
