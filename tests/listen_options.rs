//! The options of `listen`.

mod common;
mod listening;

use std::future::IntoFuture;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use common::{bounded, settle, socket_path};
#[cfg(target_os = "linux")]
use listening::abstract_name;
use listening::{bound, exchange, has_ipv6, text};
use sockeye::{Endpoint, ListenOptions, Server, ServerEvent, Socket, connect};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_ipv6_only_server_leaves_the_port_to_ipv4() {
    if !has_ipv6() {
        return println!("there is no IPv6: left out");
    }
    bounded(async {
        // Bound in both families, it keeps the system from giving the port to another test meanwhile.
        let reservation = bound("[::]:0");
        let port = reservation.local_addr().unwrap().as_socket().unwrap().port();
        let only = ListenOptions::new().ipv6_only(true);
        let mut server = Server::new();
        server.listen_with(port, only.clone()).await.unwrap();
        assert_eq!(server.address(), Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()));
        exchange(&mut server, ("::1", port)).await;
        assert_eq!(connect(("127.0.0.1", port)).await.unwrap_err().code(), "ECONNREFUSED");

        let mut other = Server::new();
        other.listen((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
        exchange(&mut other, ("127.0.0.1", port)).await;
        exchange(&mut server, ("::1", port)).await;
        server.close();
        other.close();

        server.listen_with((Ipv6Addr::UNSPECIFIED, port), only).await.unwrap();
        assert_eq!(connect(("127.0.0.1", port)).await.unwrap_err().code(), "ECONNREFUSED");
    })
    .await;
}

#[tokio::test]
async fn without_ipv6_only_the_port_is_taken_in_both_families() {
    if !has_ipv6() {
        return println!("there is no IPv6: left out");
    }
    bounded(async {
        for endpoint in [Endpoint::Port(0), (Ipv6Addr::UNSPECIFIED, 0).into(), "[::]:0".parse().unwrap()] {
            let mut server = Server::new();
            server.listen(endpoint).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            exchange(&mut server, ("127.0.0.1", port)).await;
            let other = Server::new();
            let error = other.listen((Ipv4Addr::UNSPECIFIED, port)).await.unwrap_err();
            assert_eq!(error.message(), format!("listen EADDRINUSE: address already in use 0.0.0.0:{port}"));
        }
    })
    .await;
}

#[tokio::test]
async fn ipv6_only_changes_nothing_for_ipv4() {
    bounded(async {
        let mut server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().ipv6_only(true)).await.unwrap();
        let address = server.address().unwrap();
        exchange(&mut server, address).await;
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn readable_all_and_writable_all_change_nothing_for_an_abstract_name() {
    bounded(async {
        let name = abstract_name();
        let mut server = Server::new();
        server.listen_with(&name, ListenOptions::new().readable_all(true).writable_all(true)).await.unwrap();
        exchange(&mut server, &name).await;
    })
    .await;
}

#[tokio::test]
async fn a_signal_that_was_given_before_closes_at_once() {
    bounded(async {
        let token = CancellationToken::new();
        token.cancel();
        let path = socket_path();
        for endpoint in [path.as_str(), "127.0.0.1:0", "localhost:0"] {
            let mut server = Server::new();
            let listen = server.listen_with(endpoint, ListenOptions::new().signal(token.clone()));
            assert_eq!((server.listening(), server.address()), (false, None));
            assert_eq!(listen.await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
            assert_eq!(all_events(&mut server).await, ["close"]);
            server.listen("127.0.0.1:0").await.unwrap();
            settle().await;
            assert!(server.listening());
        }
        assert!(!Path::new(&path).exists());
    })
    .await;
}

#[tokio::test]
async fn a_signal_while_a_name_is_looked_up_closes() {
    bounded(async {
        let token = CancellationToken::new();
        let mut server = Server::new();
        let listen = server.listen_with("localhost:0", ListenOptions::new().signal(token.clone()));
        token.cancel();
        assert_eq!(listen.await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
        assert_eq!(all_events(&mut server).await, ["close"]);
        assert_eq!(server.address(), None);
    })
    .await;
}

#[tokio::test]
async fn a_signal_while_listening_closes_and_leaves_connections() {
    bounded(async {
        let path = socket_path();
        let mut server = Server::new();
        for form in 0..4 {
            let token = CancellationToken::new();
            let options = ListenOptions::new().signal(token.clone());
            match form {
                0 => server.listen_with(&path, options),
                1 => server.listen_with("127.0.0.1:0", options),
                2 => server.listen_with("localhost:0", options),
                _ => server.listen_on_with(bound("127.0.0.1:0"), options),
            }
            .await
            .unwrap();
            let (mut client, socket) = connected(&mut server).await;
            let closed = server.closed();
            token.cancel();
            settle().await;
            assert_eq!((server.listening(), server.connections()), (false, 1));
            socket.end_with("still here");
            drop(socket);
            closed.await.unwrap();
            assert_eq!(text(&mut client).await, "still here");
            assert_eq!(all_events(&mut server).await, ["close"]);
        }
        assert!(!Path::new(&path).exists());
    })
    .await;
}

#[tokio::test]
async fn a_signal_is_over_when_the_server_has_closed() {
    bounded(async {
        let token = CancellationToken::new();
        let mut server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().signal(token.clone())).await.unwrap();
        server.close().await.unwrap();
        server.listen("127.0.0.1:0").await.unwrap();
        settle().await;
        token.cancel();
        settle().await;
        let address = server.address().unwrap();
        exchange(&mut server, address).await;
    })
    .await;
}

#[tokio::test]
async fn a_signal_is_over_at_once_when_the_server_closes() {
    bounded(async {
        let token = CancellationToken::new();
        let mut server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().signal(token.clone())).await.unwrap();
        server.close();
        let listen = server.listen("127.0.0.1:0");
        token.cancel();
        settle().await;
        listen.await.unwrap();
        let address = server.address().unwrap();
        exchange(&mut server, address).await;
    })
    .await;
}

#[tokio::test]
async fn a_signal_is_over_when_listening_has_failed() {
    bounded(async {
        let holder = Server::new();
        holder.listen("127.0.0.1:0").await.unwrap();
        let token = CancellationToken::new();
        let options = ListenOptions::new().signal(token.clone());
        let mut server = Server::new();
        for _ in 0..2 {
            let error = server.listen_with(holder.address().unwrap(), options.clone()).await.unwrap_err();
            assert_eq!(error.code(), "EADDRINUSE");
            assert_eq!(server.listen_with(("a name", 0), options.clone()).await.unwrap_err().code(), "ENOTFOUND");
        }
        settle().await;
        server.listen("127.0.0.1:0").await.unwrap();
        token.cancel();
        settle().await;
        let address = server.address().unwrap();
        exchange(&mut server, address).await;
    })
    .await;
}

#[tokio::test]
async fn each_listen_has_its_own_signal() {
    bounded(async {
        let [first, second] = [CancellationToken::new(), CancellationToken::new()];
        let server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().signal(first.clone())).await.unwrap();
        server.close().await.unwrap();
        server.listen_with("127.0.0.1:0", ListenOptions::new().signal(second.clone())).await.unwrap();
        settle().await;
        first.cancel();
        settle().await;
        assert!(server.listening());
        second.cancel();
        server.closed().await.unwrap();
        assert!(!server.listening());
    })
    .await;
}

#[tokio::test]
async fn one_signal_closes_several_servers() {
    bounded(async {
        let token = CancellationToken::new();
        let servers = [Server::new(), Server::new(), Server::new()];
        for server in &servers {
            server.listen_with("127.0.0.1:0", ListenOptions::new().signal(token.clone())).await.unwrap();
        }
        token.cancel();
        for server in &servers {
            server.closed().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_signal_does_not_keep_a_dropped_server() {
    bounded(async {
        let token = CancellationToken::new();
        let server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().signal(token.clone())).await.unwrap();
        let address = server.address().unwrap();
        drop(server);
        assert_eq!(connect(address).await.unwrap_err().code(), "ECONNREFUSED");
        token.cancel();
    })
    .await;
}

async fn connected(server: &mut Server) -> (Socket, Socket) {
    let address = server.address().unwrap();
    let (client, socket) = tokio::join!(connect(address).into_future(), server.accept());
    (client.unwrap(), socket.unwrap())
}

async fn all_events(server: &mut Server) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = server.next().await {
        events.push(match event {
            ServerEvent::Listening => "listening".to_owned(),
            ServerEvent::Close => "close".to_owned(),
            other => format!("{other:?}"),
        });
    }
    events
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_where_that_is_asked_for() {
    bounded(async {
        let path = socket_path();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let mut server = Server::new();
        assert_eq!(server.listen(&path).await.unwrap_err().code(), "EADDRINUSE");
        for _ in 0..2 {
            server.listen_with(&path, ListenOptions::new().replace_stale(true)).await.unwrap();
            exchange(&mut server, &path).await;
            server.close().await.unwrap();
            assert!(!Path::new(&path).exists(), "it is the server's own by now");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_stale_socket_file_is_not_replaced() {
    bounded(async {
        let options = || ListenOptions::new().replace_stale(true);
        let [path, file, directory, link, datagram] = std::array::from_fn(|_| socket_path());
        let mut server = Server::new();
        server.listen(&path).await.unwrap();
        std::fs::write(&file, "no socket").unwrap();
        std::fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let _bound = std::os::unix::net::UnixDatagram::bind(&datagram).unwrap();
        let other = Server::new();
        for path in [&path, &file, &directory, &link, &datagram] {
            assert_eq!(other.listen_with(path, options()).await.unwrap_err().code(), "EADDRINUSE", "{path}");
            assert!(std::fs::symlink_metadata(path).is_ok());
        }
        // The server has seen that somebody asked, and goes on.
        let mut asked = server.accept().await.unwrap();
        while asked.next().await.is_some() {}
        exchange(&mut server, &path).await;
        assert_eq!(std::fs::read(&file).unwrap(), b"no socket");

        other.listen_with("127.0.0.1:0", options()).await.unwrap();
        #[cfg(target_os = "linux")]
        {
            let name = abstract_name();
            let [owner, other] = [Server::new(), Server::new()];
            owner.listen_with(&name, options()).await.unwrap();
            assert_eq!(other.listen_with(&name, options()).await.unwrap_err().code(), "EADDRINUSE");
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn servers_that_reuse_a_port_share_its_connections() {
    bounded(async {
        let options = ListenOptions::new().reuse_port(true);
        let (mut first, mut second) = (Server::new(), Server::new());
        let address = first.listen_with("127.0.0.1:0", options.clone()).await.unwrap();
        assert_eq!(second.listen_with(&address, options).await.unwrap(), address);
        let refused = Server::new().listen(&address).await.unwrap_err();
        assert_eq!(refused.code(), "EADDRINUSE");

        let mut shares = [0, 0];
        while shares.contains(&0) {
            let mut client = connect(&address).await.unwrap();
            let accepted = tokio::select! {
                socket = first.accept() => (0, socket),
                socket = second.accept() => (1, socket),
            };
            let (share, Some(socket)) = accepted else { panic!("a server is closed") };
            shares[share] += 1;
            assert!(shares.iter().sum::<usize>() < 1000, "{shares:?}");
            socket.end_with("served");
            assert_eq!(text(&mut client).await, "served");
        }
    })
    .await;
}
