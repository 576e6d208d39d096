//! What the tests share: connected pairs over each transport, and events as text.

#![allow(dead_code, unreachable_pub, unused_macros)]

pub mod connecting;
pub mod serving;

use std::future::Future;
use std::time::Duration;

use sockeye::{ConnectOptions, Event, Server, ServerOptions, Socket, SocketOptions};

/// What a test runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
    Memory,
}

/// The options of a pair's first socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub allow_half_open: bool,
    /// `None` is the default.
    pub high_water_mark: Option<usize>,
}

impl Transport {
    /// Two connected sockets. The first is the accepted one and has the default options; the second keeps its side open
    /// when the first ends.
    pub async fn pair(self) -> (Socket, Socket) {
        self.pair_with(Options::default()).await
    }

    /// Like [`pair`](Self::pair), with half-open allowed on the first socket too.
    pub async fn half_open_pair(self) -> (Socket, Socket) {
        self.pair_with(Options { allow_half_open: true, ..Options::default() }).await
    }

    pub async fn pair_with(self, options: Options) -> (Socket, Socket) {
        let endpoint = match self {
            Self::Memory => return memory_pair(options),
            Self::Tcp => "127.0.0.1:0".to_owned(),
            Self::Unix => socket_path(),
        };
        let mut server_options = ServerOptions::new().allow_half_open(options.allow_half_open);
        if let Some(mark) = options.high_water_mark {
            server_options = server_options.high_water_mark(mark);
        }
        let mut server = Server::with_options(server_options);
        server.listen(&endpoint).await.unwrap();
        let connect = ConnectOptions::new().allow_half_open(true).connect(server.address().unwrap());
        let (peer, socket) = tokio::join!(connect, server.accept());
        (socket.unwrap(), peer.unwrap())
    }
}

/// The room between two memory sockets: like the kernel's, it is more than a small write and less than a large one.
pub const MEMORY_CAPACITY: usize = 64 * 1024;

fn memory_pair(options: Options) -> (Socket, Socket) {
    let mut left = SocketOptions::new().allow_half_open(options.allow_half_open);
    if let Some(mark) = options.high_water_mark {
        left = left.high_water_mark(mark);
    }
    Socket::pair_with_options(MEMORY_CAPACITY, left, SocketOptions::new().allow_half_open(true))
}

/// A path for a socket file in a directory of its own. The directory is removed with the test.
pub fn socket_path() -> String {
    temporary_directory().join("s").to_str().unwrap().to_owned()
}

/// A fresh directory that lasts as long as the test.
pub fn temporary_directory() -> std::path::PathBuf {
    // Each test has a thread of its own, at whose end this is removed.
    thread_local! {
        static ROOT: (tempfile::TempDir, std::cell::Cell<usize>) = (tempfile::tempdir().unwrap(), Default::default());
    }
    ROOT.with(|(root, count)| {
        count.set(count.get() + 1);
        let directory = root.path().join(count.get().to_string());
        std::fs::create_dir(&directory).unwrap();
        directory
    })
}

/// Runs a test, and makes it fail instead of hang.
pub async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
}

/// An event as text: `connect`, `data 3`, `close false`.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Lookup(lookup) => match &lookup.result {
            Ok(address) => format!("lookup {} {address}", lookup.host),
            Err(error) => format!("lookup {} {}", lookup.host, error.code()),
        },
        Event::ConnectionAttempt { address } => format!("connectionAttempt {address}"),
        Event::ConnectionAttemptFailed { address, error } => {
            format!("connectionAttemptFailed {address} {}", error.code())
        }
        Event::ConnectionAttemptTimeout { address } => format!("connectionAttemptTimeout {address}"),
        Event::Text(text) => format!("text {text:?}"),
        Event::Connect => "connect".into(),
        Event::Ready => "ready".into(),
        Event::Data(chunk) => format!("data {}", chunk.len()),
        Event::End => "end".into(),
        Event::Drain => "drain".into(),
        Event::Finish => "finish".into(),
        Event::Timeout => "timeout".into(),
        Event::Error(error) => format!("error {}", error.message()),
        Event::Close { had_error } => format!("close {had_error}"),
        other => format!("{other:?}"),
    }
}

/// All events that are still to come, as text, with adjacent data merged.
pub async fn rest(socket: &mut Socket) -> Vec<String> {
    let mut events = Vec::new();
    let mut data = 0;
    while let Some(event) = socket.next().await {
        if let Event::Data(chunk) = &event {
            data += chunk.len();
            continue;
        }
        flush_data(&mut events, &mut data);
        events.push(describe(&event));
    }
    flush_data(&mut events, &mut data);
    events
}

/// The next event, as text.
pub async fn next(socket: &mut Socket) -> String {
    socket.next().await.as_ref().map_or_else(|| "nothing".into(), describe)
}

/// Whether there is no event without anything further happening.
pub async fn is_quiet(socket: &mut Socket) -> bool {
    settle().await;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut next = std::pin::pin!(socket.next());
    next.as_mut().poll(&mut context).is_pending()
}

/// Lets every task that can run do so, and the driver report what the kernel has.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Bytes that are the same on every run and repeat at no power of two.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 ^ (index / 251 % 253) as u8).collect()
}

fn flush_data(events: &mut Vec<String>, data: &mut usize) {
    if *data > 0 {
        events.push(format!("data {data}"));
        *data = 0;
    }
}

/// Runs each test over TCP, a Unix domain socket and memory.
macro_rules! on_every_transport {
    ($($(#[$meta:meta])* async fn $name:ident($transport:ident: Transport) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn run($transport: Transport) $body

            $(#[$meta])*
            #[tokio::test]
            async fn tcp() {
                common::bounded(run(Transport::Tcp)).await;
            }

            $(#[$meta])*
            #[tokio::test]
            async fn unix() {
                common::bounded(run(Transport::Unix)).await;
            }

            $(#[$meta])*
            #[tokio::test]
            async fn memory() {
                common::bounded(run(Transport::Memory)).await;
            }
        }
    )*};
}
#[allow(unused_imports)]
pub(crate) use on_every_transport;
