//! The proxy of the examples, as it is run from a shell.
#![cfg(target_os = "linux")]

mod common;
mod process;
mod tools;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use common::{bounded, pattern, socket_path};
use nix::sys::signal::Signal;
use process::Process;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::process::Command;

/// More than the buffers between a sender and a receiver hold.
const TOO_MUCH: usize = 32 * 1024 * 1024;

struct Proxy {
    process: Process,
    endpoint: String,
}

impl Proxy {
    async fn start(listen: &str, target: &str) -> Self {
        Self::start_with(&[listen, target], &[]).await
    }

    async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = Process::example_with("proxy", arguments, environment);
        let line = process.line_with("listening on").await;
        let endpoint = line.rsplit(' ').next().unwrap().to_owned();
        Self { process, endpoint }
    }

    async fn connect(&self) -> Stream {
        connect(&self.endpoint).await
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.parse().unwrap()
    }

    /// What the log says when a connection is over.
    async fn closed(&mut self) -> String {
        self.process.line_with(" sent=").await
    }

    async fn stops(mut self, signal: Signal) {
        self.process.signal(signal);
        self.process.line_with("stopping").await;
        assert!(self.process.line().await.ends_with("INFO stopped"));
        self.ends().await;
    }

    async fn ends(mut self) {
        let status = self.process.exit().await;
        assert_eq!((status.code(), &*self.process.errors().await), (Some(0), ""), "{status}");
        assert!(!PathBuf::from(&self.endpoint).exists(), "the socket file is left behind");
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}
type Stream = Pin<Box<dyn Duplex>>;

async fn connect(endpoint: &str) -> Stream {
    match endpoint.parse::<SocketAddr>() {
        Ok(address) => Box::pin(TcpStream::connect(address).await.unwrap()),
        Err(_) => Box::pin(UnixStream::connect(endpoint).await.unwrap()),
    }
}

async fn connect_from(ip: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

/// What the proxy connects to.
enum Target {
    Tcp(TcpListener),
    Unix(UnixListener, String),
}

impl Target {
    async fn tcp() -> Self {
        Self::Tcp(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    async fn each() -> [Self; 2] {
        let path = socket_path();
        [Self::tcp().await, Self::Unix(UnixListener::bind(&path).unwrap(), path)]
    }

    fn endpoint(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().unwrap().to_string(),
            Self::Unix(_, path) => path.clone(),
        }
    }

    async fn accept(&self) -> Stream {
        match self {
            Self::Tcp(listener) => Box::pin(listener.accept().await.unwrap().0),
            Self::Unix(listener, _) => Box::pin(listener.accept().await.unwrap().0),
        }
    }

    async fn accept_tcp(&self) -> TcpStream {
        let Self::Tcp(listener) = self else { panic!("not TCP") };
        listener.accept().await.unwrap().0
    }
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn is_reset(stream: &mut (impl AsyncRead + Unpin)) {
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[tokio::test]
async fn passes_everything_on_in_both_directions_and_counts_it() {
    bounded(async {
        for target in Target::each().await {
            for listen in ["127.0.0.1:0".to_owned(), socket_path()] {
                let mut proxy = Proxy::start(&listen, &target.endpoint()).await;
                let mut client = proxy.connect().await;
                let mut server = target.accept().await;
                client.write_all(b"question").await.unwrap();
                client.shutdown().await.unwrap();
                assert_eq!(rest(&mut server).await, b"question", "the end is passed on");

                let answer = pattern(TOO_MUCH);
                let (received, ()) = tokio::join!(rest(&mut client), async {
                    server.write_all(&answer).await.unwrap();
                    server.shutdown().await.unwrap();
                });
                assert!(received == answer);
                let line = proxy.closed().await;
                assert!(line.contains(&format!("sent=8 received={TOO_MUCH}")), "{line}");
                assert!(line.contains("closed"), "{line}");
                proxy.stops(Signal::SIGTERM).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn curl_fetches_files_through_it_over_one_connection() {
    bounded(async {
        if !tools::has_curl().await {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = pattern(3_000_000);
        std::fs::write(directory.path().join("file"), &file).unwrap();
        let mut web = Process::example("web_server", [directory.path().to_str().unwrap(), "127.0.0.1:0"]);
        let line = web.line_with("listening on").await;
        let mut proxy = Proxy::start("127.0.0.1:0", line.rsplit(' ').next().unwrap()).await;

        let url = format!("http://{}/file", proxy.endpoint);
        let output = directory.path().join("output");
        let output = output.to_str().unwrap();
        let counts = tools::curl(&["-o", output, &url, "-o", output, &url, "-w", "%{num_connects} "]).await;
        assert_eq!(counts, "1 0 ", "one connection for both");
        assert!(std::fs::read(output).unwrap() == file);
        assert!(proxy.closed().await.contains("closed"));
        proxy.stops(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn netcat_talks_through_it_over_tcp_and_unix_domain_sockets() {
    bounded(async {
        if !tools::has_openbsd_netcat().await {
            return;
        }
        let echo_path = socket_path();
        let mut echo = Process::example("echo", ["0", &echo_path]);
        let line = echo.line().await;
        let echo_tcp = format!("127.0.0.1:{}", line.rsplit(':').next().unwrap());
        for target in [&echo_tcp, &echo_path] {
            for listen in ["127.0.0.1:0".to_owned(), socket_path()] {
                let mut proxy = Proxy::start(&listen, target).await;
                let mut arguments = vec!["-N"];
                match proxy.endpoint.split_once(':') {
                    Some((host, port)) => arguments.extend([host, port]),
                    None => arguments.extend(["-U", &proxy.endpoint]),
                }
                let mut nc = Process::spawn(Command::new("nc").args(arguments));
                assert_eq!(nc.line().await, "hello");
                assert_eq!(nc.ask("anyone there?").await, "anyone there?");
                nc.close_stdin();
                assert_eq!(nc.rest().await, [""; 0]);
                assert!(nc.exit().await.success());
                let line = proxy.closed().await;
                assert!(line.contains("sent=14 received=21"), "{line}");
                proxy.stops(Signal::SIGINT).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_by_name_is_found_among_its_addresses() {
    bounded(async {
        let target = Target::tcp().await;
        let port = target.endpoint().rsplit(':').next().unwrap().to_owned();
        let proxy = Proxy::start("localhost:0", &format!("localhost:{port}")).await;
        let mut client = proxy.connect().await;
        let mut server = target.accept().await;
        server.write_all(b"welcome").await.unwrap();
        drop(server);
        assert_eq!(rest(&mut client).await, b"welcome");
    })
    .await;
}

#[tokio::test]
async fn a_dead_target_costs_only_the_connections_to_it() {
    bounded(async {
        // Bound, so that nobody else gets the port, but not listening yet.
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let target = reserved.local_addr().unwrap().to_string();
        let mut proxy = Proxy::start("127.0.0.1:0", &target).await;
        // The reset may be there before the client has seen that it is connected.
        match TcpStream::connect(proxy.address()).await {
            Ok(mut client) => is_reset(&mut client).await,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        let line = proxy.closed().await;
        assert!(line.contains("failed") && line.contains(&format!("connect ECONNREFUSED {target}")), "{line}");

        let target = Target::Tcp(reserved.listen(10).unwrap());
        let mut client = proxy.connect().await;
        target.accept().await.write_all(b"welcome").await.unwrap();
        assert_eq!(rest(&mut client).await, b"welcome");
        drop(client);
        assert!(proxy.closed().await.contains("closed"));
        proxy.stops(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_killed_resets_the_target_and_the_other_way_round() {
    bounded(async {
        for client_fails in [true, false] {
            let target = Target::tcp().await;
            let mut proxy = Proxy::start("127.0.0.1:0", &target.endpoint()).await;
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            let mut server = target.accept_tcp().await;
            // Both are in the middle of something.
            client.write_all(b"half a question").await.unwrap();
            server.read_exact(&mut [0; 15]).await.unwrap();
            server.write_all(b"half an answer").await.unwrap();
            client.read_exact(&mut [0; 14]).await.unwrap();
            let (failing, mut other) = if client_fails { (client, server) } else { (server, client) };
            failing.set_zero_linger().unwrap();
            drop(failing);
            is_reset(&mut other).await;
            let line = proxy.closed().await;
            assert!(line.contains("failed") && line.contains("sent=15 received=14"), "{line}");
            proxy.stops(Signal::SIGINT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_no_more_is_given_up() {
    bounded(async {
        let target = Target::tcp().await;
        let mut proxy = Proxy::start_with(&["127.0.0.1:0", &target.endpoint()], &[("IDLE_SECONDS", "1")]).await;
        let _client = proxy.connect().await;
        let mut server = target.accept().await;
        let error = server.write_all(&pattern(TOO_MUCH)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let line = proxy.closed().await;
        assert!(line.contains("failed") && line.contains("idle for too long"), "{line}");
        proxy.stops(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn too_many_connections_are_dropped_and_reported() {
    bounded(async {
        let target = Target::tcp().await;
        let limit = [("MAX_CONNECTIONS", "1")];
        let mut proxy = Proxy::start_with(&["127.0.0.1:0", &target.endpoint()], &limit).await;
        let mut first = proxy.connect().await;
        let mut server = target.accept().await;
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        let line = proxy.process.line_with("too many connections").await;
        assert!(line.contains(&second.local_addr().unwrap().to_string()), "{line}");
        assert_eq!(rest(&mut second).await, b"");

        server.write_all(b"still here").await.unwrap();
        drop(server);
        assert_eq!(rest(&mut first).await, b"still here");
        drop(first);
        proxy.closed().await;
        proxy.stops(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn peers_on_the_list_are_refused_and_a_hangup_reads_it_again() {
    bounded(async {
        let target = Target::tcp().await;
        let directory = tempfile::tempdir().unwrap();
        let rules = directory.path().join("rules");
        std::fs::write(&rules, "# who misbehaves\n\nAddress: IPv4 127.0.0.2 # since Monday\n").unwrap();
        let arguments = ["127.0.0.1:0", &target.endpoint(), rules.to_str().unwrap()];
        let mut proxy = Proxy::start_with(&arguments, &[]).await;
        refuses(&mut proxy, &target, "127.0.0.2", "127.0.0.3").await;

        std::fs::write(&rules, "10.0.0.0/8\n\n127.0.0.300\n").unwrap();
        proxy.process.signal(Signal::SIGHUP);
        let line = proxy.process.line_with("the old rules stay").await;
        let reason = format!("{}:3: The argument 'rule' names an invalid IP address.", rules.display());
        assert!(line.contains(&reason), "{line}");
        refuses(&mut proxy, &target, "127.0.0.2", "127.0.0.3").await;

        std::fs::write(&rules, "10.0.0.0/8\n127.0.0.3-127.0.0.9\n").unwrap();
        proxy.process.signal(Signal::SIGHUP);
        assert!(proxy.process.line_with("read the rules again").await.contains("rules=2"));
        refuses(&mut proxy, &target, "127.0.0.3", "127.0.0.2").await;
        proxy.stops(Signal::SIGINT).await;
    })
    .await;
}

async fn refuses(proxy: &mut Proxy, target: &Target, refused: &str, taken: &str) {
    let mut client = connect_from(refused, proxy.address()).await;
    let line = proxy.process.line_with("blocked").await;
    assert!(line.contains(&client.local_addr().unwrap().to_string()), "{line}");
    assert_eq!(rest(&mut client).await, b"");

    let mut client = connect_from(taken, proxy.address()).await;
    target.accept().await.write_all(b"welcome").await.unwrap();
    assert_eq!(rest(&mut client).await, b"welcome");
    drop(client);
    proxy.closed().await;
}

#[tokio::test]
async fn a_signal_lets_the_connections_come_to_their_end() {
    bounded(async {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            for listen in ["127.0.0.1:0".to_owned(), socket_path()] {
                let target = Target::tcp().await;
                let mut proxy = Proxy::start(&listen, &target.endpoint()).await;
                let mut client = proxy.connect().await;
                let mut server = target.accept().await;
                client.write_all(b"question").await.unwrap();
                server.read_exact(&mut [0; 8]).await.unwrap();

                proxy.process.signal(signal);
                assert!(proxy.process.line_with("stopping").await.contains("connections=1"));
                let refused = match proxy.endpoint.parse::<SocketAddr>() {
                    Ok(address) => TcpStream::connect(address).await.err(),
                    Err(_) => UnixStream::connect(&proxy.endpoint).await.err(),
                };
                assert!(refused.is_some(), "it takes connections still");

                let answer = pattern(TOO_MUCH);
                let (received, ()) = tokio::join!(rest(&mut client), async {
                    server.write_all(&answer).await.unwrap();
                    drop(server);
                });
                assert!(received == answer);
                drop(client);
                assert!(proxy.closed().await.contains("closed"));
                assert!(proxy.process.line().await.ends_with("INFO stopped"));
                proxy.ends().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    bounded(async {
        let target = Target::tcp().await;
        let mut proxy = Proxy::start("127.0.0.1:0", &target.endpoint()).await;
        let mut client = proxy.connect().await;
        let mut server = target.accept().await;
        server.write_all(b"half an answer").await.unwrap();
        client.read_exact(&mut [0; 14]).await.unwrap();
        proxy.process.signal(Signal::SIGINT);
        proxy.process.line_with("stopping").await;
        proxy.process.signal(Signal::SIGINT);
        is_reset(&mut client).await;
        assert_eq!(rest(&mut server).await, b"");
        assert!(proxy.process.line_with("cutting off").await.contains("connections=1"));
        let line = proxy.closed().await;
        assert!(line.contains("sent=0 received=14") && line.contains("aborted"), "{line}");
        assert!(proxy.process.line().await.ends_with("INFO stopped"));
        proxy.ends().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_its_arguments_is_said() {
    bounded(async {
        let directory = tempfile::tempdir().unwrap();
        let rules = directory.path().join("rules");
        std::fs::write(&rules, "10.0.0.0/8\nSubnet: IPv4 10.0.0.0/33\n").unwrap();
        let rules = rules.to_str().unwrap();
        let invalid = format!("{rules}:2: The value of \"prefix\" is out of range.");
        let missing = format!("{rules}.txt: No such file");
        for (arguments, message) in [
            (&["127.0.0.1:0"][..], "usage: proxy endpoint target [file of rules]"),
            (&["127.0.0.1:0", "8080"], "The endpoint \"8080\" is invalid: write host:port"),
            (&["127.0.0.1:0", "127.0.0.1:1", rules], &invalid),
            (&["127.0.0.1:0", "127.0.0.1:1", &format!("{rules}.txt")], &missing),
            (&["192.0.2.1:80", "127.0.0.1:1"], "listen EADDRNOTAVAIL: address not available 192.0.2.1:80"),
        ] {
            let mut process = Process::example("proxy", arguments);
            assert_eq!(process.exit().await.code(), Some(1));
            let errors = process.errors().await;
            assert!(errors.contains(message), "{errors} instead of {message}");
        }
        let mut process = Process::example_with("proxy", ["127.0.0.1:0", "127.0.0.1:1"], &[("IDLE_SECONDS", "soon")]);
        assert_eq!(process.exit().await.code(), Some(1));
        assert!(process.errors().await.contains("IDLE_SECONDS: \"soon\" makes no sense here"));
    })
    .await;
}
