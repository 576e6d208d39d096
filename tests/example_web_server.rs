//! The web server of the examples, as it is run from a shell, in plain and with TLS.

mod common;
mod process;
mod tools;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use common::{bounded, pattern};
use nix::sys::signal::Signal;
use process::Process;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// More than the buffers between a sender and a receiver hold.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(32 * 1024 * 1024));

struct Web {
    process: Process,
    address: SocketAddr,
    /// What it serves is in `site` here.
    directory: TempDir,
    connector: Option<TlsConnector>,
}

impl Web {
    async fn start(has_tls: bool) -> Self {
        Self::start_with(has_tls, &[]).await
    }

    async fn start_with(has_tls: bool, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(path("site")).unwrap();
        std::fs::write(path("site/index.html"), "<h1>welcome</h1>\n").unwrap();
        std::fs::write(path("site/a name.txt"), "text").unwrap();
        std::fs::write(path("site/large"), &*LARGE).unwrap();
        std::fs::write(path("secret"), "secret").unwrap();
        let mut arguments = vec![path("site"), "127.0.0.1:0".to_owned()];
        let mut connector = None;
        if has_tls {
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            std::fs::write(path("certificate.pem"), cert.pem()).unwrap();
            std::fs::write(path("key.pem"), signing_key.serialize_pem()).unwrap();
            arguments.extend([path("certificate.pem"), path("key.pem")]);
            let mut roots = RootCertStore::empty();
            roots.add(cert.der().clone()).unwrap();
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            connector = Some(Arc::new(config).into());
        }
        let mut process = Process::example_with("web_server", &arguments, environment);
        let line = process.line_with("listening on").await;
        let address = line.rsplit(' ').next().unwrap().parse().unwrap();
        Self { process, address, directory, connector }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.connector.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream: Pin<Box<dyn Duplex>> = match &self.connector {
            None => Box::pin(stream),
            Some(tls) => Box::pin(tls.connect(self.address.ip().into(), stream).await.unwrap()),
        };
        Client(BufReader::new(stream))
    }

    async fn serves_others(&self) {
        let mut client = self.connect().await;
        client.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        assert_eq!(client.answer().await, ("HTTP/1.1 200 OK".to_owned(), b"<h1>welcome</h1>\n".to_vec()));
    }

    async fn stops(mut self, signal: Signal) {
        self.process.signal(signal);
        self.process.line_with("stopping").await;
        assert!(self.process.line_with("stopped").await.ends_with("INFO stopped"));
        let status = self.process.exit().await;
        assert_eq!((status.code(), &*self.process.errors().await), (Some(0), ""), "{status}");
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// An HTTP client that can stop anywhere.
struct Client(BufReader<Pin<Box<dyn Duplex>>>);

impl Client {
    async fn ask(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn get(&mut self, path: &str) -> (String, Vec<u8>) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        self.answer().await
    }

    /// The status line and the length of the body, of an answer whose body is still to come.
    async fn head(&mut self) -> (String, usize) {
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the end, after {status:?}");
            let line = line.trim_end();
            match line.split_once(": ") {
                None if line.is_empty() => return (status, length),
                None => status = line.to_owned(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
                Some(_) => {}
            }
        }
    }

    async fn answer(&mut self) -> (String, Vec<u8>) {
        let (status, length) = self.head().await;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (status, body)
    }

    /// Waits for the end of the connection, however it comes.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

#[tokio::test]
async fn files_are_served_over_one_connection() {
    bounded(async {
        for has_tls in [false, true] {
            let web = Web::start(has_tls).await;
            let mut client = web.connect().await;
            for (path, body) in
                [("/", &b"<h1>welcome</h1>\n"[..]), ("/a%20name.txt", b"text"), ("/index.html", b"<h1>")]
            {
                let (status, received) = client.get(path).await;
                assert_eq!(status, "HTTP/1.1 200 OK", "{path}");
                assert!(received.starts_with(body), "{path}");
            }
            let (status, received) = client.get("/large").await;
            assert!(status == "HTTP/1.1 200 OK" && received == *LARGE);
            assert_eq!(client.get("/missing").await.0, "HTTP/1.1 404 Not Found");
            client.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
            assert_eq!(client.answer().await.0, "HTTP/1.1 405 Method Not Allowed");
            web.stops(Signal::SIGTERM).await;
        }
    })
    .await;
}

#[tokio::test]
async fn curl_fetches_files_over_one_connection() {
    bounded(async {
        if !tools::has_curl().await {
            return;
        }
        for has_tls in [false, true] {
            let web = Web::start(has_tls).await;
            let (url, large, certificate) = (web.url("/"), web.url("/large"), web.path("certificate.pem"));
            let (first, second) = (web.path("first"), web.path("second"));
            let mut arguments = vec!["-o", &first, &url, "-o", &second, &large];
            arguments.extend(["-w", "%{http_code} %{http_version} %{num_connects}\n"]);
            if has_tls {
                arguments.extend(["--cacert", &certificate]);
            }
            assert_eq!(tools::curl(&arguments).await, "200 1.1 1\n200 1.1 0\n");
            assert_eq!(std::fs::read_to_string(first).unwrap(), "<h1>welcome</h1>\n");
            assert!(std::fs::read(second).unwrap() == *LARGE);
            web.stops(Signal::SIGINT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_of_load_is_served_without_an_error() {
    bounded(async {
        if !tools::has_wrk().await {
            return;
        }
        for has_tls in [false, true] {
            let web = Web::start(has_tls).await;
            tools::wrk(&web.url("/")).await;
            web.stops(Signal::SIGINT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_outside_of_the_directory_is_served() {
    bounded(async {
        let web = Web::start(false).await;
        let absolute = web.path("secret");
        for path in [
            "/../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/..\\secret",
            "/..%5csecret",
            "/./.././secret",
            "/index.html/../../secret",
            "/%00/../../secret",
            &absolute,
            &format!("/{absolute}"),
            &absolute.replacen('/', "/%2f", 1),
        ] {
            // Each on a connection of its own, since some are no HTTP at all.
            let (status, body) = web.connect().await.get(path).await;
            assert!(status.starts_with("HTTP/1.1 4"), "{path}: {status}");
            assert!(!String::from_utf8_lossy(&body).contains("secret"), "{path}");
        }
        web.stops(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_killed_half_way_costs_only_its_connection() {
    bounded(async {
        for has_tls in [false, true] {
            let mut web = Web::start_with(has_tls, &[("LOG", "debug")]).await;
            let mut asking = web.connect().await;
            asking.ask("GET / HTTP/1.1\r\nHo").await;
            drop(asking);
            web.process.line_with("a connection ended with an error").await;

            let mut reading = web.connect().await;
            reading.ask("GET /large HTTP/1.1\r\nHost: test\r\n\r\n").await;
            let (status, _) = reading.head().await;
            assert_eq!(status, "HTTP/1.1 200 OK");
            reading.0.read_exact(&mut [0; 1000]).await.unwrap();
            drop(reading);
            web.process.line_with("a connection ended with an error").await;

            web.serves_others().await;
            web.stops(Signal::SIGINT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn garbage_costs_only_its_connection() {
    bounded(async {
        for has_tls in [false, true] {
            let mut web = Web::start_with(has_tls, &[("LOG", "debug")]).await;
            let mut garbage = TcpStream::connect(web.address).await.unwrap();
            garbage.write_all(&pattern(2000)).await.unwrap();
            let mut answer = Vec::new();
            let _ = garbage.read_to_end(&mut answer).await;
            assert!(has_tls || answer.starts_with(b"HTTP/1.1 400 Bad Request"), "{answer:?}");
            web.process.line_with("a connection ended with an error").await;

            // A head without an end.
            let mut endless = web.connect().await;
            endless.ask("GET / HTTP/1.1\r\n").await;
            while endless.0.write_all(b"X-Padding: more and more and more\r\n").await.is_ok() {}
            web.process.line_with("a connection ended with an error").await;

            web.serves_others().await;
            web.stops(Signal::SIGINT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn too_many_connections_are_dropped_and_reported() {
    bounded(async {
        let mut web = Web::start_with(false, &[("MAX_CONNECTIONS", "2")]).await;
        let (mut first, mut second) = (web.connect().await, web.connect().await);
        for client in [&mut first, &mut second] {
            assert_eq!(client.get("/").await.0, "HTTP/1.1 200 OK");
        }
        let mut third = web.connect().await;
        web.process.line_with("too many connections").await;
        third.is_closed().await;
        assert_eq!(first.get("/").await.0, "HTTP/1.1 200 OK");
        web.stops(Signal::SIGINT).await;
    })
    .await;
}

#[tokio::test]
async fn who_is_idle_for_too_long_is_closed() {
    bounded(async {
        tokio::join!(closes_who_is_idle(false), closes_who_is_idle(true));
    })
    .await;
}

async fn closes_who_is_idle(has_tls: bool) {
    let mut web = Web::start_with(has_tls, &[("IDLE_SECONDS", "1"), ("LOG", "debug")]).await;
    let (mut silent, mut kept_alive) = (web.connect().await, web.connect().await);
    assert_eq!(kept_alive.get("/").await.0, "HTTP/1.1 200 OK");
    let mut half_a_head = web.connect().await;
    half_a_head.ask("GET / HTTP/1.1\r\nHo").await;
    silent.is_closed().await;
    kept_alive.is_closed().await;
    half_a_head.is_closed().await;
    web.process.line_with("idle for too long").await;

    // Takes nothing of the answer, and the second request keeps the server from reading.
    let mut reads_nothing = web.connect().await;
    reads_nothing.ask(&"GET /large HTTP/1.1\r\nHost: test\r\n\r\n".repeat(2)).await;
    web.process.line_with("idle for too long").await;
    web.stops(Signal::SIGINT).await;
}

#[tokio::test]
async fn a_signal_lets_requests_come_to_their_end() {
    bounded(async {
        for (has_tls, signal) in [(false, Signal::SIGINT), (false, Signal::SIGTERM), (true, Signal::SIGINT)] {
            let mut web = Web::start(has_tls).await;
            let (mut idle, mut silent) = (web.connect().await, web.connect().await);
            assert_eq!(idle.get("/").await.0, "HTTP/1.1 200 OK");
            let mut busy = web.connect().await;
            busy.ask("GET /large HTTP/1.1\r\nHost: test\r\n\r\n").await;
            let (_, length) = busy.head().await;

            web.process.signal(signal);
            web.process.line_with("stopping").await;
            idle.is_closed().await;
            silent.is_closed().await;
            assert!(TcpStream::connect(web.address).await.is_err(), "it takes connections still");
            let mut body = vec![0; length];
            busy.0.read_exact(&mut body).await.unwrap();
            assert!(body == *LARGE);
            busy.is_closed().await;
            assert!(web.process.line().await.ends_with("INFO stopped"));
            assert_eq!(web.process.exit().await.code(), Some(0));
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    bounded(async {
        let mut web = Web::start(false).await;
        let mut busy = web.connect().await;
        busy.ask("GET /large HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let _ = busy.head().await;
        web.process.signal(Signal::SIGINT);
        web.process.line_with("stopping").await;
        web.process.signal(Signal::SIGINT);
        assert_eq!(web.process.rest().await, [""; 0]);
        assert_eq!(web.process.exit().await.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_its_arguments_is_said() {
    bounded(async {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().to_str().unwrap();
        let missing = format!("{site}/missing");
        std::fs::write(directory.path().join("empty.pem"), "").unwrap();
        let empty = format!("{site}/empty.pem");
        for (arguments, message) in [
            (&[site][..], "usage: web_server directory host:port [certificate key]".to_owned()),
            (&[&missing, "127.0.0.1:0"], format!("{missing}: No such file or directory")),
            (&[site, "8080"], "The endpoint \"8080\" is invalid: write host:port".to_owned()),
            (&[site, "127.0.0.1:0", &missing, &empty], format!("{missing}: ")),
            (&[site, "127.0.0.1:0", &empty, &empty], format!("{empty}: ")),
            (&[site, "192.0.2.1:80"], "listen EADDRNOTAVAIL: address not available 192.0.2.1:80".to_owned()),
        ] {
            let mut process = Process::example("web_server", arguments);
            assert_eq!(process.exit().await.code(), Some(1), "{arguments:?}");
            let errors = process.errors().await;
            assert!(errors.contains(&message) && !errors.contains("panicked"), "{errors} instead of {message}");
        }
    })
    .await;
}
