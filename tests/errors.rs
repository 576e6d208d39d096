//! What goes wrong: its code, its message, and that nothing else goes wrong with it.

mod common;

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use common::{Transport, bounded, next, on_every_transport, pattern, rest, socket_path};
use sockeye::{Address, Endpoint, Error, IntoEndpoint, Server, Socket};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// Longer than a label of a host name may be, so nobody is asked about it.
const UNKNOWN_HOST: &str = "seventy-letters-are-seven-more-than-a-label-of-a-host-name-can-ever-be";

fn long_path() -> String {
    format!("/{}", "long".repeat(50))
}

/// Everything by which an error can be told from others.
#[derive(Debug, PartialEq)]
struct Facts {
    code: String,
    message: String,
    syscall: Option<String>,
    address: Option<String>,
    port: Option<u16>,
    hostname: Option<String>,
}

impl Facts {
    fn of(error: &Error) -> Self {
        assert_eq!(error.to_string(), error.message());
        let through = Error::from(io::Error::from(error.clone()));
        assert_eq!((through.code(), through.kind()), (error.code(), error.kind()));
        if let Some(errno) = error.errno() {
            assert_eq!(io::Error::from_raw_os_error(errno).kind(), error.kind());
        }
        Self {
            code: error.code().into(),
            message: error.message().into(),
            syscall: error.syscall().map(Into::into),
            address: error.address().map(Into::into),
            port: error.port(),
            hostname: error.hostname().map(Into::into),
        }
    }

    fn at(syscall: &str, message: String, address: &Address) -> Self {
        let code = message.split([' ', ':']).nth(1).unwrap().to_owned();
        let (host, port) = match address {
            Address::Ip(ip) => (ip.ip().to_string(), Some(ip.port()).filter(|port| *port != 0)),
            Address::Path(path) => (path.to_str().unwrap().to_owned(), None),
        };
        Self { code, message, syscall: Some(syscall.into()), address: Some(host), port, hostname: None }
    }

    fn unknown_host() -> Self {
        Self {
            code: "ENOTFOUND".into(),
            message: format!("getaddrinfo ENOTFOUND {UNKNOWN_HOST}"),
            syscall: Some("getaddrinfo".into()),
            address: None,
            port: None,
            hostname: Some(UNKNOWN_HOST.into()),
        }
    }
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

fn path(path: &str) -> Address {
    Address::Path(path.into())
}

async fn text_of(mut socket: Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

/// A server that takes a connection and is told something works.
async fn assert_works(server: &mut Server) {
    let client = sockeye::connect(server.address().unwrap()).await.unwrap();
    client.end_with("works");
    assert_eq!(text_of(server.accept().await.unwrap()).await, "works");
}

mod a_bad_endpoint {
    use super::*;

    #[tokio::test]
    async fn is_the_same_error_wherever_it_is_given() {
        for (text, code, reason) in [
            ("", "ERR_INVALID_ARG_VALUE", "it is empty"),
            ("8124", "ERR_INVALID_ARG_VALUE", "host:port"),
            ("localhost", "ERR_INVALID_ARG_VALUE", "host:port"),
            ("echo.sock", "ERR_INVALID_ARG_VALUE", "./"),
            ("dir/echo.sock", "ERR_INVALID_ARG_VALUE", "./"),
            (":8124", "ERR_INVALID_ARG_VALUE", "host:port"),
            ("::1", "ERR_INVALID_ARG_VALUE", "[address]:port"),
            ("::1:8124", "ERR_INVALID_ARG_VALUE", "[address]:port"),
            ("[localhost]:8124", "ERR_INVALID_ARG_VALUE", "IPv6 address"),
            ("localhost:", "ERR_INVALID_ARG_VALUE", "number"),
            ("localhost:http", "ERR_INVALID_ARG_VALUE", "number"),
            ("localhost:1.5", "ERR_INVALID_ARG_VALUE", "number"),
            ("localhost:65536", "ERR_SOCKET_BAD_PORT", ">= 0 and < 65536. Received 65536"),
            ("localhost:-1", "ERR_SOCKET_BAD_PORT", ">= 0 and < 65536. Received -1"),
            ("[::1]:99999999999", "ERR_SOCKET_BAD_PORT", ">= 0 and < 65536. Received 99999999999"),
        ] {
            let server = Server::new();
            let facts = Facts::of(&text.parse::<Endpoint>().unwrap_err());
            assert_eq!(facts, Facts::of(&text.into_endpoint().unwrap_err()));
            assert_eq!(facts, Facts::of(&Socket::new().connect(text).unwrap_err()));
            assert_eq!(facts, Facts::of(&sockeye::connect(text).await.unwrap_err()));
            assert_eq!(facts, Facts::of(&server.listen(text).await.unwrap_err()));
            assert_eq!((facts.code.as_str(), facts.syscall), (code, None), "{text:?}");
            assert!(facts.message.contains(reason), "{text:?}: {}", facts.message);
            assert!(!server.listening());
        }
    }

    #[tokio::test]
    async fn does_not_disturb_a_server_that_listens() {
        bounded(async {
            let mut server = Server::new();
            server.listen("127.0.0.1:0").await.unwrap();
            assert_eq!(server.listen("echo.sock").await.unwrap_err().code(), "ERR_INVALID_ARG_VALUE");
            assert_works(&mut server).await;
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_an_empty_path() {
        bounded(async {
            let error = Server::new().listen(Path::new("")).await.unwrap_err();
            assert_eq!(error.code(), "ERR_INVALID_ARG_VALUE", "{error}");
            let error = sockeye::connect(Path::new("")).await.unwrap_err();
            assert_eq!(error.code(), "ERR_INVALID_ARG_VALUE", "{error}");
        })
        .await;
    }
}

mod listening {
    use super::*;

    /// Fails to listen in the expected way, and then listens all the same.
    async fn assert_fails(endpoint: Endpoint, expected: Facts) {
        let mut server = Server::new();
        let error = server.listen(&endpoint).await.unwrap_err();
        assert_eq!(Facts::of(&error), expected);
        assert_eq!((server.address(), server.listening()), (None, false));
        server.listen("127.0.0.1:0").await.unwrap();
        assert_works(&mut server).await;
    }

    /// Fails to listen where a server listens already, which goes on.
    async fn assert_in_use(endpoint: impl IntoEndpoint) {
        let mut server = Server::new();
        server.listen(endpoint).await.unwrap();
        let address = server.address().unwrap();
        // Node writes no brackets around an IPv6 address.
        let shown = address.to_string().replace(['[', ']'], "");
        let message = format!("listen EADDRINUSE: address already in use {shown}");
        assert_fails(address.clone().into(), Facts::at("listen", message, &address)).await;
        assert_works(&mut server).await;
    }

    #[tokio::test]
    async fn where_somebody_listens_already() {
        bounded(async {
            assert_in_use("127.0.0.1:0").await;
            assert_in_use(0).await;
            assert_in_use(socket_path()).await;
            #[cfg(target_os = "linux")]
            {
                let name = format!("\0{}", socket_path());
                let mut server = Server::new();
                server.listen(&name).await.unwrap();
                let shown = path(&name.replace('\0', "@"));
                let message = format!("listen EADDRINUSE: address already in use {shown}");
                assert_fails(name.into_endpoint().unwrap(), Facts::at("listen", message, &shown)).await;
                assert_works(&mut server).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_port_in_use_names_every_address() {
        bounded(async {
            let server = Server::new();
            server.listen(0).await.unwrap();
            let address = server.address().unwrap();
            let port = address.port().unwrap();
            let shown = if address.ip().unwrap().is_ipv6() { "::" } else { "0.0.0.0" };
            let message = format!("listen EADDRINUSE: address already in use {shown}:{port}");
            assert_fails(port.into(), Facts::at("listen", message, &address)).await;
        })
        .await;
    }

    #[tokio::test]
    async fn on_an_address_of_somebody_else() {
        bounded(async {
            for (address, shown) in [("192.0.2.1:8124", "192.0.2.1:8124"), ("192.0.2.1:0", "192.0.2.1")] {
                let message = format!("listen EADDRNOTAVAIL: address not available {shown}");
                assert_fails(ip(address).into(), Facts::at("listen", message, &ip(address))).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_file_that_is_no_socket_leaves_the_file() {
        bounded(async {
            let file = socket_path();
            std::fs::write(&file, "precious").unwrap();
            let message = format!("listen EADDRINUSE: address already in use {file}");
            assert_fails(path(&file).into(), Facts::at("listen", message, &path(&file))).await;
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        })
        .await;
    }

    #[tokio::test]
    async fn in_a_directory_that_is_missing() {
        bounded(async {
            let missing = format!("{}/missing/s", common::temporary_directory().display());
            let message = format!("listen EACCES: permission denied {missing}");
            assert_fails(path(&missing).into(), Facts::at("listen", message, &path(&missing))).await;
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_path_that_is_too_long() {
        bounded(async {
            let long = long_path();
            let message = format!("listen EINVAL: invalid argument {long}");
            assert_fails(path(&long).into(), Facts::at("listen", message, &path(&long))).await;
        })
        .await;
    }

    #[tokio::test]
    async fn on_an_unknown_host() {
        bounded(async {
            assert_fails((UNKNOWN_HOST, 0).into(), Facts::unknown_host()).await;
        })
        .await;
    }
}

mod connecting {
    use super::*;

    async fn assert_fails(endpoint: Endpoint, expected: Facts) {
        let error = sockeye::connect(&endpoint).await.unwrap_err();
        assert_eq!(Facts::of(&error), expected);

        let mut socket = Socket::new();
        socket.connect(endpoint).unwrap();
        let events = rest(&mut socket).await;
        assert_eq!(events[events.len() - 2..], [format!("error {}", expected.message), "close true".into()]);
    }

    #[tokio::test]
    async fn to_where_nobody_listens() {
        bounded(async {
            // Taken, so that nobody else gets it, and nobody listens.
            let bound = TcpSocket::new_v4().unwrap();
            bound.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = Address::Ip(bound.local_addr().unwrap());
            let message = format!("connect ECONNREFUSED {address}");
            assert_fails(address.clone().into(), Facts::at("connect", message, &address)).await;

            let zero = ip("127.0.0.1:0");
            assert_fails(zero.clone().into(), Facts::at("connect", "connect ECONNREFUSED 127.0.0.1".into(), &zero))
                .await;
        })
        .await;
    }

    #[tokio::test]
    async fn to_a_path_that_has_no_listener() {
        bounded(async {
            let missing = socket_path();
            let message = format!("connect ENOENT {missing}");
            assert_fails(path(&missing).into(), Facts::at("connect", message, &path(&missing))).await;

            let stale = socket_path();
            drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
            let message = format!("connect ECONNREFUSED {stale}");
            assert_fails(path(&stale).into(), Facts::at("connect", message, &path(&stale))).await;

            let long = long_path();
            let message = format!("connect EINVAL {long}");
            assert_fails(path(&long).into(), Facts::at("connect", message, &path(&long))).await;
        })
        .await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn to_a_path_whose_listener_has_a_full_queue() {
        bounded(async {
            let full = socket_path();
            let listener = tokio::net::UnixSocket::new_stream().unwrap();
            listener.bind(&full).unwrap();
            let listener = listener.listen(0).unwrap();
            let _first = sockeye::connect(&full).await.unwrap();
            let message = format!("connect EAGAIN {full}");
            assert_fails(path(&full).into(), Facts::at("connect", message, &path(&full))).await;
            drop(listener);
        })
        .await;
    }

    #[tokio::test]
    async fn to_an_unknown_host() {
        bounded(async {
            assert_fails((UNKNOWN_HOST, 80).into(), Facts::unknown_host()).await;
            let error = sockeye::connect(("nul\0byte", 80)).await.unwrap_err();
            assert_eq!((error.code(), error.hostname()), ("ENOTFOUND", Some("nul\0byte")));
        })
        .await;
    }
}

mod a_socket_that_was_never_connected {
    use super::*;

    #[tokio::test]
    async fn is_destroyed_by_a_write() {
        let mut socket = Socket::new();
        assert!(!socket.write("nobody"));
        assert!(!socket.destroyed(), "the program has its say first");
        assert_eq!(rest(&mut socket).await, ["error Socket is closed", "close true"]);
        assert!(socket.destroyed());
        let written = Socket::new().write_with("nobody");
        assert_eq!(written.await.unwrap_err().code(), "ERR_SOCKET_CLOSED");
    }

    #[tokio::test]
    async fn is_left_as_it_is_by_try_write() {
        bounded(async {
            let mut server = Server::new();
            server.listen("127.0.0.1:0").await.unwrap();
            let socket = Socket::new();
            assert_eq!(socket.try_write("nobody").unwrap_err().code(), "ERR_SOCKET_CLOSED");
            assert!(!socket.destroyed());
            socket.connect(server.address().unwrap()).unwrap();
            socket.end_with("somebody");
            assert_eq!(text_of(server.accept().await.unwrap()).await, "somebody");
        })
        .await;
    }

    #[tokio::test]
    async fn cannot_be_reset() {
        let mut socket = Socket::new();
        socket.reset_and_destroy().unwrap();
        assert_eq!(rest(&mut socket).await, ["error Socket is closed", "close true"]);
    }

    #[tokio::test]
    async fn closes_when_it_is_destroyed() {
        let mut socket = Socket::new();
        socket.destroy();
        assert_eq!(rest(&mut socket).await, ["close false"]);
        socket.closed().await;
    }
}

on_every_transport! {
    async fn a_write_after_end_destroys_the_socket_and_what_was_sent_arrives(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.end_with("last word");
        assert!(!socket.write("late"));
        assert!(socket.destroyed());
        assert_eq!(rest(&mut socket).await, ["error write after end", "close true"]);
        assert_eq!(text_of(peer).await, "last word");
    }

    async fn a_try_write_after_end_is_an_error_and_what_is_queued_arrives(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        let sent = pattern(8 * 1024 * 1024);
        socket.end_with(&sent);
        assert!(socket.writable_length() > 0);
        let error = socket.try_write("late").unwrap_err();
        assert_eq!((error.code(), error.message()), ("ERR_STREAM_WRITE_AFTER_END", "write after end"));
        assert!(!socket.destroyed());

        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        peer.end_with("got it");
        drop(peer);
        let mut events = rest(&mut socket).await;
        events.sort();
        assert_eq!(events, ["close false", "data 6", "end", "finish"]);
    }

    async fn a_late_write_with_fails_with_the_misuse(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.end();
        assert_eq!(socket.write_with("late").await.unwrap_err().code(), "ERR_STREAM_WRITE_AFTER_END");
        assert_eq!(rest(&mut socket).await, ["error write after end", "close true"]);
    }

    async fn a_write_after_destroy_is_only_told_to_who_asks(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.destroy();
        assert!(!socket.write("late"));
        let error = socket.try_write("late").unwrap_err();
        assert_eq!(error.code(), "ERR_STREAM_DESTROYED");
        assert_eq!(error.message(), "Cannot call write after a stream was destroyed");
        assert_eq!(socket.write_with("late").await.unwrap_err().code(), "ERR_STREAM_DESTROYED");
        assert_eq!(rest(&mut socket).await, ["close false"]);
        assert_eq!(socket.try_write("later").unwrap_err().code(), "ERR_STREAM_DESTROYED");
    }

    async fn a_second_end_or_destroy_does_nothing(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.end_with("once");
        socket.end();
        assert_eq!(next(&mut peer).await, "data 4");
        assert_eq!(next(&mut peer).await, "end");
        socket.destroy();
        socket.destroy();
        socket.destroy_with(Error::new("E_LATE", "too late"));
        socket.reset_and_destroy().ok();
        assert_eq!(rest(&mut socket).await, ["close false"]);
    }

    async fn an_error_of_ones_own_keeps_its_code_and_reaches_every_waiting_write(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        let waiting = [socket.write_with(pattern(8 * 1024 * 1024)), socket.write_with("behind it")];
        socket.destroy_with(Error::new("E_MINE", "my reason"));
        for written in waiting {
            assert_eq!(written.await.unwrap_err().code(), "E_MINE");
        }
        assert_eq!(rest(&mut socket).await, ["error my reason", "close true"]);
    }

    async fn an_error_of_the_standard_library_keeps_its_kind(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.destroy_with(io::Error::new(io::ErrorKind::InvalidData, "bad packet"));
        let Some(sockeye::Event::Error(error)) = socket.next().await else { panic!("no error") };
        assert_eq!((error.kind(), error.message(), error.code()), (io::ErrorKind::InvalidData, "bad packet", ""));
        assert_eq!(rest(&mut socket).await, ["close true"]);
    }

    async fn a_reader_gets_the_code_inside_of_an_io_error(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.destroy();
        let error = Error::from(socket.read(&mut [0; 8]).await.unwrap_err());
        assert_eq!(error.code(), "ERR_STREAM_DESTROYED");
        assert_eq!(error.message(), "Cannot call read after a stream was destroyed");
    }

    async fn a_write_that_does_not_get_there_is_not_taken_for_sent(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        if peer.reset_and_destroy().is_err() {
            peer.destroy();
        }
        loop {
            let before = socket.bytes_written();
            match socket.write_with("x").await {
                Ok(()) => assert_eq!(socket.bytes_written(), before + 1),
                Err(error) => break assert!(["EPIPE", "ECONNRESET"].contains(&error.code()), "{error}"),
            }
        }
        let error = socket.try_write("x").unwrap_err();
        assert!(["EPIPE", "ECONNRESET"].contains(&error.code()), "{error}");
    }

    async fn what_a_destroy_drops_is_not_taken_for_sent(transport: Transport) {
        let (socket, _peer) = transport.pair().await;
        socket.write(pattern(8 * 1024 * 1024));
        socket.write("never begun");
        socket.destroy();
        assert_eq!(socket.drained().await.unwrap_err().code(), "ERR_STREAM_DESTROYED");
    }

    async fn a_reset_is_an_error_where_there_are_resets(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        match peer.reset_and_destroy() {
            Ok(()) => {
                assert_eq!(rest(&mut peer).await, ["close false"]);
                assert_eq!(rest(&mut socket).await, ["error read ECONNRESET", "close true"]);
            }
            Err(error) => {
                assert_eq!((error.code(), transport), ("ERR_INVALID_HANDLE_TYPE", Transport::Unix));
                peer.end_with("nothing happened");
                assert_eq!(text_of(socket).await, "nothing happened");
            }
        }
    }

    async fn one_broken_connection_leaves_the_others_alone(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        let (other, other_peer) = transport.pair().await;
        other.write("before ");
        socket.end();
        socket.write("misuse");
        peer.destroy();
        assert_eq!(rest(&mut socket).await, ["error write after end", "close true"]);
        other.end_with("and after");
        assert_eq!(text_of(other_peer).await, "before and after");
    }
}
