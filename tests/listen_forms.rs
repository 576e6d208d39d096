//! Every form of `listen`, its options, and sockets that are bound or listen already.

mod child;
mod common;

use std::future::IntoFuture;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use child::in_processes_of_their_own;
use common::{bounded, settle, socket_path, temporary_directory};
use sockeye::{
    Address, Endpoint, IntoEndpoint, IntoListenHandle, Listen, ListenOptions, Server, ServerEvent, ServerHandle,
    Socket, connect,
};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

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
                let _ = server.close();
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
                let _ = server.close();
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
            let _ = holder.close();
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
            let _ = server.close();
            server.listen(format!("{family}:{port}")).await.unwrap();
            assert_eq!(server.address().unwrap().port(), Some(port));
            exchange(&mut server, (host, port)).await;
            let _ = server.close();
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
    let _ = server.close();
    assert!(matches!(server.next().await, Some(ServerEvent::Close)));
}

in_processes_of_their_own! {
    async fn a_relative_path_is_the_one_of_when_it_was_bound() {
        let [first, second] = [temporary_directory(), temporary_directory()];
        std::env::set_current_dir(&first).unwrap();
        let mut server = Server::new();
        server.listen("./s").await.unwrap();
        assert_eq!(server.address(), Some(Address::Path("./s".into())));
        exchange(&mut server, "./s").await;

        std::env::set_current_dir(&second).unwrap();
        std::fs::write("./s", "somebody else's").unwrap();
        exchange(&mut server, first.join("s")).await;
        let _ = server.close();
        assert!(!first.join("s").exists());
        assert!(second.join("s").exists());
        assert_eq!(server.listen("./s").await.unwrap_err().code(), "EADDRINUSE");
    }

    async fn a_working_directory_that_is_gone_leaves_other_paths_alone() {
        let directory = temporary_directory();
        let gone = directory.join("gone");
        std::fs::create_dir(&gone).unwrap();
        std::env::set_current_dir(&gone).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        let mut server = Server::new();
        assert_eq!(server.listen("./s").await.unwrap_err().code(), "EACCES");
        server.listen(directory.join("s")).await.unwrap();
        exchange(&mut server, directory.join("s")).await;
        let _ = server.close();
        assert!(!directory.join("s").exists());
    }
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
        let _ = server.close();
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

const NO_SS: &str = "ss is not on the path: the backlog is not looked at";

#[tokio::test]
async fn the_backlog_is_511_or_what_the_options_say() {
    bounded(async {
        let limit: u32 = match std::fs::read_to_string("/proc/sys/net/core/somaxconn") {
            Ok(limit) => limit.trim().parse().unwrap(),
            Err(_) => return println!("the system's limit is unknown: the backlog is not looked at"),
        };
        let with = |backlog| ListenOptions::new().backlog(backlog);
        for (options, backlog) in [
            (ListenOptions::new(), 511),
            (with(1), 1),
            (with(7), 7),
            (with(100_000), 100_000),
            (with(u32::MAX), u32::MAX),
        ] {
            let server = Server::new();
            let listen = |form: u8| match form {
                0 => server.listen_with("127.0.0.1:0", options.clone()),
                1 => server.listen_with("localhost:0", options.clone()),
                2 => server.listen_on_with(bound("127.0.0.1:0"), options.clone()),
                _ => server.listen_on_with(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), options.clone()),
            };
            for form in 0..4 {
                listen(form).await.unwrap();
                match backlog_of(server.address().unwrap().port().unwrap()).await {
                    Some(seen) => assert_eq!(seen, backlog.min(limit), "form {form}"),
                    None => return println!("{NO_SS}"),
                }
                let _ = server.close();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_backlog_of_zero_is_the_default_as_in_node() {
    bounded(async {
        let server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().backlog(0)).await.unwrap();
        match backlog_of(server.address().unwrap().port().unwrap()).await {
            Some(seen) => assert_eq!(seen, 511),
            None => println!("{NO_SS}"),
        }
    })
    .await;
}

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
        let _ = (server.close(), other.close());

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

const MODES: &str = "the_socket_file_has_the_mode_of_the_mask_and_the_options";

#[tokio::test]
async fn the_socket_file_has_the_mode_of_the_mask_and_the_options() {
    if child::is_for(MODES) {
        return say_modes().await;
    }
    bounded(async {
        for (umask, modes) in [
            ("022", ["755", "755", "777", "777"]),
            ("000", ["777", "777", "777", "777"]),
            ("077", ["700", "744", "722", "766"]),
            ("777", ["0", "444", "222", "666"]),
        ] {
            let child = child::command_with_umask(MODES, umask).stdout(Stdio::piped()).spawn().unwrap();
            assert_eq!(child::said(child).await, modes, "{umask}");
        }
    })
    .await;
}

/// The modes without options, readable by all, writable by all, and both.
async fn say_modes() {
    let path = PathBuf::from(std::env::var("SOCKEYE_TEST_SOCKET").unwrap_or_else(|_| socket_path()));
    for (readable, writable) in [(false, false), (true, false), (false, true), (true, true)] {
        let server = Server::new();
        let options = ListenOptions::new().readable_all(readable).writable_all(writable);
        server.listen_with(&path, options).await.unwrap();
        child::say(format_args!("{:o}", path.metadata().unwrap().permissions().mode() & 0o777));
    }
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
        let _ = server.close();
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
        let _ = other.close();
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

const INHERITED: &str = "a_listener_passed_to_another_process_is_listened_on_there";

#[tokio::test]
async fn a_listener_passed_to_another_process_is_listened_on_there() {
    if child::is_for(INHERITED) {
        return serve_inherited().await;
    }
    bounded(async {
        let path = socket_path();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let passed = Server::new();
        passed.listen("127.0.0.1:0").await.unwrap();
        let cases: [(Endpoint, OwnedFd); 3] = [
            (tcp.local_addr().unwrap().into(), tcp.into()),
            (PathBuf::from(&path).into(), unix.into()),
            (passed.address().unwrap().into(), passed.into_listen_handle().unwrap()),
        ];
        drop(passed);
        for (endpoint, handle) in cases {
            let mut server = Server::new();
            server.listen_on(handle.try_clone().unwrap()).await.unwrap();
            exchange(&mut server, &endpoint).await;
            server.close().await.unwrap();

            let child = child::command(INHERITED).stdin(Stdio::from(handle)).stdout(Stdio::piped()).spawn().unwrap();
            for _ in 0..3 {
                let mut client = connect(&endpoint).await.unwrap();
                client.end_with("over there");
                assert_eq!(text(&mut client).await, "over there");
            }
            assert_eq!(child::said(child).await, [endpoint.to_string()]);
            assert_eq!(connect(&endpoint).await.unwrap_err().code(), "ECONNREFUSED");
        }
    })
    .await;
}

async fn serve_inherited() {
    let mut server = Server::new();
    server.listen_on(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).await.unwrap();
    child::say(server.address().unwrap());
    for _ in 0..3 {
        let mut socket = server.accept().await.unwrap();
        let echo = socket.handle();
        socket.pipe(&echo).await.unwrap();
    }
    std::io::stdout().flush().unwrap();
}

/// Connects, and sees the server write to that connection.
async fn exchange(server: &mut Server, endpoint: impl IntoEndpoint) {
    let (client, socket) = tokio::join!(connect(endpoint).into_future(), server.accept());
    let socket = socket.unwrap();
    socket.end_with("hello");
    assert_eq!(text(&mut client.unwrap()).await, "hello");
}

async fn connected(server: &mut Server) -> (Socket, Socket) {
    let address = server.address().unwrap();
    let (client, socket) = tokio::join!(connect(address).into_future(), server.accept());
    (client.unwrap(), socket.unwrap())
}

async fn text(socket: &mut Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
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

fn bound(address: &str) -> socket2::Socket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

fn bound_path(path: &Path) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(path).unwrap()).unwrap();
    socket
}

fn has_ipv6() -> bool {
    let has = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("there is no IPv6: left out");
    }
    has
}

#[cfg(target_os = "linux")]
fn abstract_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("\0sockeye-test-{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// How many connections may wait at a port, as `ss` tells; `None` without it.
async fn backlog_of(port: u16) -> Option<u32> {
    let filter = format!("sport = :{port}");
    let output = tokio::process::Command::new("ss").args(["-ltnH", &filter]).kill_on_drop(true).output().await.ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut fields = text.split_whitespace();
    Some(fields.nth(2)?.parse().unwrap())
}
