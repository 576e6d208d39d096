//! The functions of the module: `isIP` and its like, the defaults of `autoSelectFamily`, `connect` in each of its forms.

mod child;
mod common;

use std::future::IntoFuture;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use child::in_processes_of_their_own;
use common::{bounded, next, socket_path};
use sockeye::{
    Address, AutoSelectFamily, ConnectOptions, Endpoint, Event, LookupOptions, Server, Socket, connect,
    default_auto_select_family, default_auto_select_family_attempt_timeout, is_ip, is_ipv4, is_ipv6,
    set_default_auto_select_family, set_default_auto_select_family_attempt_timeout,
};

#[test]
fn is_ip_answers_the_examples_of_the_documentation() {
    for (input, answer) in [("::1", 6), ("127.0.0.1", 4), ("127.000.000.001", 0), ("127.0.0.1/24", 0), ("fhqwhgads", 0)]
    {
        assert_eq!(is_ip(input), answer, "{input}");
    }
}

#[test]
fn is_ipv4_answers_the_examples_of_the_documentation() {
    for (input, answer) in
        [("127.0.0.1", true), ("127.000.000.001", false), ("127.0.0.1/24", false), ("fhqwhgads", false)]
    {
        assert_eq!(is_ipv4(input), answer, "{input}");
    }
}

#[test]
fn is_ipv6_answers_the_examples_of_the_documentation() {
    for (input, answer) in [("::1", true), ("fhqwhgads", false)] {
        assert_eq!(is_ipv6(input), answer, "{input}");
    }
}

in_processes_of_their_own! {
    async fn the_defaults_are_a_race_and_250_milliseconds() {
        assert_eq!(default_auto_select_family(), AutoSelectFamily::Race);
        assert_eq!(default_auto_select_family(), AutoSelectFamily::default());
        assert_eq!(default_auto_select_family_attempt_timeout(), Duration::from_millis(250));
    }

    async fn the_default_way_of_connecting_can_be_set() {
        for value in [AutoSelectFamily::Off, AutoSelectFamily::Serial, AutoSelectFamily::Race] {
            set_default_auto_select_family(value);
            assert_eq!(default_auto_select_family(), value);
            assert_eq!(std::thread::spawn(default_auto_select_family).join().unwrap(), value);
        }
    }

    async fn the_default_attempt_timeout_can_be_set_within_its_range() {
        for (given, used) in [(1, 10), (9, 10), (10, 10), (11, 11), (5000, 5000), (i32::MAX as u64, i32::MAX as u64)] {
            set_default_auto_select_family_attempt_timeout(Duration::from_millis(given)).unwrap();
            assert_eq!(default_auto_select_family_attempt_timeout(), Duration::from_millis(used));
        }
        for given in [Duration::ZERO, Duration::from_millis(1 << 31), Duration::MAX] {
            let error = set_default_auto_select_family_attempt_timeout(given).unwrap_err();
            assert_eq!(error.code(), "ERR_OUT_OF_RANGE");
            assert_eq!(default_auto_select_family_attempt_timeout(), Duration::from_millis(i32::MAX as u64));
        }
    }

    #[cfg(target_os = "linux")]
    async fn the_default_way_of_connecting_is_that_of_options_that_say_nothing() {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let port = server.address().unwrap().port().unwrap();
        set_default_auto_select_family(AutoSelectFamily::Off);
        let mut socket = ConnectOptions::new().lookup(two_addresses).connect(("two", port));
        assert_eq!(next(&mut socket).await, "lookup two 127.0.0.2");
        assert_eq!(next(&mut socket).await, format!("connectionAttempt 127.0.0.2:{port}"));
        assert_eq!(next(&mut socket).await, format!("connectionAttemptFailed 127.0.0.2:{port} ECONNREFUSED"));
        assert_eq!(next(&mut socket).await, format!("error connect ECONNREFUSED 127.0.0.2:{port}"));
        assert!(socket.auto_select_family_attempted_addresses().is_empty());

        for said in [None, Some(AutoSelectFamily::Serial), Some(AutoSelectFamily::Race)] {
            let mut options = ConnectOptions::new().lookup(two_addresses);
            match said {
                None => set_default_auto_select_family(AutoSelectFamily::Serial),
                Some(said) => {
                    set_default_auto_select_family(AutoSelectFamily::Off);
                    options = options.auto_select_family(said);
                }
            }
            let (socket, accepted) = tokio::join!(options.connect(("two", port)).into_future(), server.accept());
            assert_eq!(accepted.unwrap().remote_port(), socket.as_ref().unwrap().local_port());
            let attempted = socket.unwrap().auto_select_family_attempted_addresses();
            assert_eq!(attempted, [SocketAddr::from(([127, 0, 0, 2], port)), SocketAddr::from(([127, 0, 0, 1], port))]);
        }
    }
}

/// The first of them refuses.
#[cfg(target_os = "linux")]
async fn two_addresses(_: String, _: LookupOptions) -> sockeye::Result<Vec<SocketAddr>> {
    Ok(vec![([127, 0, 0, 2], 0).into(), ([127, 0, 0, 1], 0).into()])
}

#[tokio::test]
async fn connect_takes_a_port_and_whatever_names_a_host() {
    bounded(async {
        let server = greeting();
        server.listen("127.0.0.1:0").await.unwrap();
        let address = server.address().unwrap();
        let (ip, port) = (address.ip().unwrap(), address.port().unwrap());
        let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let text = format!("127.0.0.1:{port}");
        let endpoint = Endpoint::from(ip);
        for (form, socket) in [
            ("port", connect(port)),
            ("host and port", connect(("127.0.0.1", port))),
            ("name and port", connect(("localhost", port))),
            ("owned host and port", connect(("localhost".to_owned(), port))),
            ("IpAddr and port", connect((IpAddr::from(Ipv4Addr::LOCALHOST), port))),
            ("Ipv4Addr and port", connect((Ipv4Addr::LOCALHOST, port))),
            ("SocketAddr", connect(ip)),
            ("SocketAddrV4", connect(v4)),
            ("text", connect(text.as_str())),
            ("borrowed owned text", connect(&text)),
            ("owned text", connect(format!("localhost:{port}"))),
            ("Address", connect(address.clone())),
            ("Endpoint", connect(Endpoint::Port(port))),
            ("borrowed Endpoint", connect(&endpoint)),
            ("options", ConnectOptions::new().connect(port)),
            ("options with a host", ConnectOptions::new().no_delay(true).connect(("localhost", port))),
        ] {
            meet(form, socket).await;
        }
        let socket = Socket::new();
        socket.connect(port).unwrap();
        meet("new and connect", socket).await;
        let socket = Socket::new();
        socket.connect_with(("localhost", port), ConnectOptions::new()).unwrap();
        meet("new and connect with options", socket).await;
    })
    .await;
}

#[tokio::test]
async fn connect_takes_a_path() {
    bounded(async {
        let path = socket_path();
        let server = greeting();
        server.listen(&path).await.unwrap();
        let owned = PathBuf::from(&path);
        for (form, socket) in [
            ("text", connect(path.as_str())),
            ("by the other name", sockeye::create_connection(path.as_str())),
            ("borrowed owned text", connect(&path)),
            ("owned text", connect(path.clone())),
            ("Path", connect(Path::new(&path))),
            ("PathBuf", connect(PathBuf::from(&path))),
            ("borrowed PathBuf", connect(&owned)),
            ("Address", connect(Address::Path(PathBuf::from(&path)))),
            ("Endpoint", connect(Endpoint::Path(PathBuf::from(&path)))),
            ("options", ConnectOptions::new().connect(&path)),
        ] {
            meet(form, socket).await;
        }
        let socket = Socket::new();
        socket.connect(&path).unwrap();
        meet("new and connect", socket).await;
    })
    .await;
}

#[tokio::test]
async fn connect_returns_before_anything_has_happened_and_tells_the_rest_by_events() {
    bounded(async {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let port = server.address().unwrap().port().unwrap();
        let mut socket = connect(("127.0.0.1", port));
        socket.write("early");
        assert_eq!((socket.connecting(), socket.pending(), socket.peer_addr()), (true, true, None));
        assert_eq!(next(&mut socket).await, format!("connectionAttempt 127.0.0.1:{port}"));
        assert_eq!(next(&mut socket).await, "connect");
        assert_eq!(next(&mut socket).await, "ready");
        assert_eq!(next(&mut server.accept().await.unwrap()).await, "data 5");
    })
    .await;
}

#[tokio::test]
async fn connect_to_what_cannot_be_read_fails_later_and_a_sockets_connect_at_the_call() {
    bounded(async {
        for (endpoint, code) in [
            ("8124", "ERR_INVALID_ARG_VALUE"),
            ("", "ERR_INVALID_ARG_VALUE"),
            ("echo.sock", "ERR_INVALID_ARG_VALUE"),
            ("localhost:65536", "ERR_SOCKET_BAD_PORT"),
        ] {
            assert_eq!(connect(endpoint).await.unwrap_err().code(), code, "{endpoint:?}");
            let mut socket = connect(endpoint);
            assert!(matches!(socket.next().await, Some(Event::Error(error)) if error.code() == code), "{endpoint:?}");
            assert!(matches!(socket.next().await, Some(Event::Close { had_error: true })));
            let socket = Socket::new();
            assert_eq!(socket.connect(endpoint).unwrap_err().code(), code, "{endpoint:?}");
            assert!(!socket.connecting() && !socket.destroyed());
        }
    })
    .await;
}

fn greeting() -> Server {
    sockeye::create_server(|socket| async move {
        socket.end_with("met");
    })
}

async fn meet(form: &str, socket: Socket) {
    let mut client = socket.await.unwrap_or_else(|error| panic!("{form}: {error}"));
    assert_eq!(next(&mut client).await, "data 3", "{form}");
}
