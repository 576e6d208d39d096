//! Every form of `listen`.

mod common;
mod listening;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use common::{bounded, socket_path, temporary_directory};
#[cfg(target_os = "linux")]
use listening::abstract_name;
use listening::{bound, bound_path, exchange, has_ipv6};
use sockeye::{Address, Endpoint, IntoEndpoint, Listen, Server, ServerEvent, ServerHandle, connect};

/// A way to call `listen`, which works any number of times.
struct Form {
    name: &'static str,
    listen: Box<dyn Fn(&ServerHandle) -> Listen>,
}

impl Form {
    fn new(name: &'static str, listen: impl Fn(&ServerHandle) -> Listen + 'static) -> Self {
        Self { name, listen: Box::new(listen) }
    }

    fn endpoint(name: &'static str, endpoint: impl IntoEndpoint) -> Self {
        let endpoint = endpoint.into_endpoint().unwrap();
        Self::new(name, move |server| server.listen(&endpoint))
    }
}

fn forms() -> Vec<Form> {
    let directory = temporary_directory();
    let other = directory.join("other");
    let mut forms = vec![
        Form::endpoint("port", 0),
        Form::endpoint("host and port", ("127.0.0.1", 0)),
        Form::endpoint("owned host and port", ("127.0.0.1".to_owned(), 0)),
        Form::endpoint("name and port", ("localhost", 0)),
        Form::endpoint("name:port", "localhost:0"),
        Form::endpoint("address:port", "127.0.0.1:0".to_owned()),
        Form::endpoint("Ipv4Addr and port", (Ipv4Addr::LOCALHOST, 0)),
        Form::endpoint("SocketAddr", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        Form::endpoint("path as text", other.to_str().unwrap()),
        Form::endpoint("Path", &*other),
        Form::endpoint("PathBuf", directory.join("another")),
        Form::endpoint("Address", Address::Path(directory.join("third"))),
        Form::endpoint("../path", relative_to_parent(&directory.join("fourth"))),
        Form::new("std TcpListener", |server| server.listen_on(std::net::TcpListener::bind("127.0.0.1:0").unwrap())),
        Form::new("std UnixListener", |server| {
            server.listen_on(std::os::unix::net::UnixListener::bind(socket_path()).unwrap())
        }),
        Form::new("tokio UnixListener", |server| {
            server.listen_on(tokio::net::UnixListener::bind(socket_path()).unwrap())
        }),
        Form::new("tokio TcpListener", |server| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            server.listen_on(tokio::net::TcpListener::from_std(listener).unwrap())
        }),
        Form::new("bound TCP socket", |server| server.listen_on(bound("127.0.0.1:0"))),
        Form::new("bound Unix socket", |server| server.listen_on(bound_path(Path::new(&socket_path())))),
        Form::new("OwnedFd", |server| server.listen_on(OwnedFd::from(bound("127.0.0.1:0")))),
    ];
    #[cfg(target_os = "linux")]
    forms.push(Form::endpoint("abstract name", abstract_name()));
    if has_ipv6() {
        forms.push(Form::endpoint("[address]:port", "[::1]:0"));
        forms.push(Form::endpoint("IPv6 host and port", ("::1", 0)));
        forms.push(Form::endpoint("Ipv6Addr and port", (Ipv6Addr::LOCALHOST, 0)));
    }
    forms
}

#[tokio::test]
async fn every_form_listens_and_says_where() {
    bounded(async {
        for Form { name, listen } in forms() {
            let mut server = Server::new();
            listen(&server).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(server.listening(), "{name}");
            let address = server.address().unwrap_or_else(|| panic!("{name}"));
            assert_ne!(address.port(), Some(0), "{name}");
            exchange(&mut server, reachable(&address)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_form_can_be_used_again_straight_after_close() {
    bounded(async {
        for Form { name, listen } in forms() {
            let mut server = Server::new();
            for _ in 0..3 {
                listen(&server).await.unwrap_or_else(|error| panic!("{name}: {error}"));
                let address = server.address().unwrap();
                exchange(&mut server, reachable(&address)).await;
                server.close();
                assert_eq!((server.listening(), server.address()), (false, None), "{name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_form_can_follow_an_error() {
    bounded(async {
        let holder = Server::new();
        holder.listen("127.0.0.1:0").await.unwrap();
        for Form { name, listen } in forms() {
            let mut server = Server::new();
            let error = server.listen(holder.address().unwrap()).await.unwrap_err();
            assert_eq!((error.code(), server.listening()), ("EADDRINUSE", false), "{name}");
            listen(&server).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let address = server.address().unwrap();
            exchange(&mut server, reachable(&address)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_form_tells_by_an_event_if_its_future_is_dropped() {
    bounded(async {
        for Form { name, listen } in forms() {
            let mut server = Server::new();
            for _ in 0..2 {
                drop(listen(&server));
                let event = server.next().await;
                assert!(matches!(event, Some(ServerEvent::Listening)), "{name}: {event:?}");
                let address = server.address().unwrap();
                exchange(&mut server, reachable(&address)).await;
                server.close();
                let event = server.next().await;
                assert!(matches!(event, Some(ServerEvent::Close)), "{name}: {event:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_listen_is_refused_at_the_call_whatever_its_form() {
    bounded(async {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let address = server.address();
        for Form { name, listen } in forms() {
            assert_eq!(listen(&server).await.unwrap_err().code(), "ERR_SERVER_ALREADY_LISTEN", "{name}");
            assert_eq!(server.address(), address, "{name}");
        }
        exchange(&mut server, address.unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn an_error_whose_future_is_dropped_is_an_event_and_listening_can_follow() {
    bounded(async {
        let directory = temporary_directory();
        let mut endpoints: Vec<Endpoint> =
            vec!["127.0.0.1:0".parse().unwrap(), "localhost:0".parse().unwrap(), directory.join("s").into()];
        #[cfg(target_os = "linux")]
        endpoints.push(abstract_name().parse().unwrap());
        for endpoint in endpoints {
            let holder = Server::new();
            holder.listen(&endpoint).await.unwrap();
            let taken = match (endpoint, holder.address().unwrap()) {
                (Endpoint::Host { host, .. }, address) => Endpoint::Host { host, port: address.port().unwrap() },
                (endpoint, _) => endpoint,
            };

            let mut server = Server::new();
            drop(server.listen(&taken));
            match server.next().await {
                Some(ServerEvent::Error(error)) => {
                    let shown = holder.address().unwrap().to_string();
                    let message = format!("listen EADDRINUSE: address already in use {shown}");
                    assert_eq!((error.code(), error.syscall()), ("EADDRINUSE", Some("listen")));
                    assert_eq!(error.message(), message);
                }
                other => panic!("{taken}: {other:?}"),
            }
            holder.close();
            drop(server.listen(&taken));
            assert!(matches!(server.next().await, Some(ServerEvent::Listening)), "{taken}");
            let address = server.address().unwrap();
            exchange(&mut server, address).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_alone_takes_every_local_address() {
    bounded(async {
        let mut server = Server::new();
        server.listen(0).await.unwrap();
        let address = server.address().unwrap().ip().unwrap();
        assert!(address.ip().is_unspecified());
        exchange(&mut server, ("127.0.0.1", address.port())).await;
        if has_ipv6() {
            assert!(address.is_ipv6());
            exchange(&mut server, ("::1", address.port())).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_named_is_the_one_that_is_taken() {
    bounded(async {
        let mut server = Server::new();
        for (host, family) in [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")] {
            server.listen((host, 0)).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            server.close();
            server.listen(format!("{family}:{port}")).await.unwrap();
            assert_eq!(server.address().unwrap().port(), Some(port));
            exchange(&mut server, (host, port)).await;
            server.close();
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_nobody_has_is_an_error_and_listening_can_follow() {
    bounded(async {
        let mut server = Server::new();
        let error = server.listen(("a name", 0)).await.unwrap_err();
        assert_eq!(error.message(), "getaddrinfo ENOTFOUND a name");
        assert!(!server.listening());
        drop(server.listen(("a name", 0)));
        assert!(matches!(server.next().await, Some(ServerEvent::Error(error)) if error.code() == "ENOTFOUND"));
        server.listen("localhost:0").await.unwrap();
        let address = server.address().unwrap();
        exchange(&mut server, address).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_read_is_an_error_at_the_call_only() {
    let mut server = Server::new();
    for (endpoint, code) in [
        ("8124", "ERR_INVALID_ARG_VALUE"),
        ("echo.sock", "ERR_INVALID_ARG_VALUE"),
        ("127.0.0.1:65536", "ERR_SOCKET_BAD_PORT"),
    ] {
        assert_eq!(server.listen(endpoint).await.unwrap_err().code(), code);
        drop(server.listen(endpoint));
    }
    server.listen("127.0.0.1:0").await.unwrap();
    let address = server.address().unwrap();
    exchange(&mut server, address).await;
    server.close();
    assert!(matches!(server.next().await, Some(ServerEvent::Close)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_name_has_no_file_and_is_free_when_the_server_closes() {
    bounded(async {
        let name = abstract_name();
        let mut server = Server::new();
        server.listen(&name).await.unwrap();
        let address = server.address().unwrap();
        assert_eq!(address, Address::Path(PathBuf::from(&name)));
        assert_eq!(address.to_string(), name.replace('\0', "@"));
        exchange(&mut server, &name).await;
        exchange(&mut server, address.clone()).await;
        assert!(!Path::new(&name[1..]).exists() && !Path::new(&address.to_string()).exists());

        let other = Server::new();
        let error = other.listen(&name).await.unwrap_err();
        assert_eq!(error.message(), format!("listen EADDRINUSE: address already in use {address}"));
        server.close();
        assert!(connect(&name).await.is_err());
        other.listen(&name).await.unwrap();
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_listener_with_an_abstract_name_says_it() {
    use std::os::linux::net::SocketAddrExt;
    bounded(async {
        let name = abstract_name();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let mut server = Server::new();
        server.listen_on(std::os::unix::net::UnixListener::bind_addr(&address).unwrap()).await.unwrap();
        assert_eq!(server.address(), Some(Address::Path(name.clone().into())));
        exchange(&mut server, &name).await;
    })
    .await;
}

/// Where to connect to for a server that may listen on every local address.
fn reachable(address: &Address) -> Endpoint {
    match address.ip() {
        Some(ip) if ip.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, ip.port()).into(),
        _ => address.clone().into(),
    }
}

/// A way to the same file that leads through the parent of its directory.
fn relative_to_parent(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap();
    directory.join("..").join(directory.file_name().unwrap()).join(path.file_name().unwrap())
}
