//! Much data, and many connections.

mod common;
mod process;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::{FutureExt, StreamExt, stream};
use process::{Process, becomes, open_files, say, tasks};
use sockeye::{Server, ServerEvent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Mutex;

const MIB: u64 = 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a plain tokio socket connects to.
#[derive(Clone, Debug)]
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    async fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        }
    }

    /// Connects with small buffers, so that what is on its way is with the server.
    async fn connect_with_small_buffers(&self) -> Box<dyn Stream> {
        let Self::Tcp(address) = self else { return self.connect().await };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(256 * 1024).unwrap();
        socket.set_recv_buffer_size(256 * 1024).unwrap();
        Box::new(socket.connect(*address).await.unwrap())
    }
}

mod flood {
    use super::*;

    /// An unoptimized build sends less, to be as quick as the other tests.
    const DIVISOR: u64 = if cfg!(debug_assertions) { 4 } else { 1 };

    const BLOCK: usize = 256 * 1024;

    /// What the server may have in memory, of which the data is to be a small part.
    const MEMORY_LIMIT: u64 = 64 * 1024;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_gibibyte_comes_back_over_tcp_in_little_memory() {
        common::bounded(async {
            let mut echo = Process::example("echo", ["0"]);
            let address = echo.line().await;
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            comes_back(echo, Target::Tcp((Ipv4Addr::LOCALHOST, port).into()), 1024 * MIB / DIVISOR).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quarter_of_a_gibibyte_comes_back_over_a_unix_socket_in_little_memory() {
        common::bounded(async {
            let path = common::socket_path();
            let mut echo = Process::example("echo", ["0", &path]);
            echo.line().await;
            echo.line().await;
            comes_back(echo, Target::Unix(path.into()), 256 * MIB / DIVISOR).await;
        })
        .await;
    }

    /// Sends `size` bytes and reads them back: one half as fast as it goes, the other half only after the writer has
    /// come to a halt.
    async fn comes_back(echo: Process, target: Target, size: u64) {
        let mut probe = target.connect().await;
        let (mut reader, mut writer) = tokio::io::split(target.connect_with_small_buffers().await);
        for stream in [&mut probe as &mut (dyn AsyncRead + Send + Unpin), &mut reader] {
            let mut greeting = [0; 7];
            stream.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"hello\r\n");
        }

        let sent = Arc::new(AtomicU64::new(0));
        let progress = sent.clone();
        let writing = tokio::spawn(async move {
            let mut noise = Noise::new();
            let mut block = vec![0; BLOCK];
            for _ in 0..size / BLOCK as u64 {
                noise.fill(&mut block);
                let mut rest = &block[..];
                while !rest.is_empty() {
                    let count = writer.write(rest).await.unwrap();
                    progress.fetch_add(count as u64, Ordering::SeqCst);
                    rest = &rest[count..];
                }
            }
            writer.shutdown().await.unwrap();
        });

        let mut noise = Noise::new();
        let (mut expected, mut block) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut received = 0;
        while received < size {
            if received == size / 2 {
                until_stalled(&sent, &mut probe).await;
                let ahead = sent.load(Ordering::SeqCst) - received;
                println!("the writer is held up when it is {} KiB ahead", ahead / 1024);
                assert!(received + ahead < size, "the writer is not held up");
            }
            reader.read_exact(&mut block).await.unwrap();
            noise.fill(&mut expected);
            assert!(block == expected, "bytes {received} to {} are not those that were sent", received + BLOCK as u64);
            received += BLOCK as u64;
        }
        assert_eq!(reader.read(&mut block).await.unwrap(), 0);
        writing.await.unwrap();

        match echo.peak_memory() {
            Some(peak) => {
                println!("{} MiB came back over {target:?}; the server had {peak} KiB at most", size / MIB);
                assert!(peak < MEMORY_LIMIT, "the server had {peak} KiB in memory");
            }
            None => println!("{} MiB came back over {target:?}; memory is not looked at here", size / MIB),
        }
    }

    /// Waits until the writer gets nothing off any more while the server goes on answering others.
    async fn until_stalled(sent: &AtomicU64, probe: &mut Box<dyn Stream>) {
        let mut last = sent.load(Ordering::SeqCst);
        let mut answers_without_progress = 0;
        while answers_without_progress < 200 {
            let mut answer = [0];
            probe.write_all(b"?").await.unwrap();
            probe.read_exact(&mut answer).await.unwrap();
            let now = sent.load(Ordering::SeqCst);
            answers_without_progress = if now == last { answers_without_progress + 1 } else { 0 };
            last = now;
        }
    }

    /// Pseudo-random bytes, the same on every run.
    struct Noise(u64);

    impl Noise {
        fn new() -> Self {
            Self(0x9e37_79b9_7f4a_7c15)
        }

        fn fill(&mut self, block: &mut [u8]) {
            for word in block.chunks_exact_mut(8) {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                word.copy_from_slice(&self.0.to_ne_bytes());
            }
        }
    }
}

mod crowd {
    use super::*;

    /// What a process needs besides its connections.
    const OTHER_FILES: u64 = 500;

    /// How many are connecting at any time: fewer than the server's backlog.
    const CONNECTING: usize = 200;

    #[tokio::test]
    async fn ten_thousand_connections_at_once_over_tcp_leave_nothing_behind() {
        common::bounded(async {
            let mut server = Process::again("crowd::the_server_when_asked_to_be_one", "0.0.0.0:0");
            let address = server.line().await;
            let port = address.strip_prefix("listening 0.0.0.0:").expect(&address).parse().unwrap();
            // One address has 28,000 ports for its clients, and each stays taken for a minute after the connection.
            let run = std::process::id().to_be_bytes();
            let hosts = (1..=8).map(|host| match cfg!(target_os = "linux") {
                true => Ipv4Addr::new(127, run[2], run[3], host),
                false => Ipv4Addr::LOCALHOST,
            });
            come_and_go(server, hosts.map(|host| Target::Tcp((host, port).into())).collect(), 10_000).await;
        })
        .await;
    }

    #[tokio::test]
    async fn two_thousand_connections_at_once_over_a_unix_socket_leave_nothing_behind() {
        common::bounded(async {
            let path = common::socket_path();
            let mut server = Process::again("crowd::the_server_when_asked_to_be_one", &path);
            assert_eq!(server.line().await, format!("listening {path}"));
            come_and_go(server, vec![Target::Unix(path.clone().into())], 2_000).await;
            assert!(!std::fs::exists(path).unwrap());
        })
        .await;
    }

    async fn come_and_go(mut server: Process, targets: Vec<Target>, wanted: usize) {
        // The tests share the limit of this process.
        static TURN: Mutex<()> = Mutex::const_new(());
        let _turn = TURN.lock().await;
        let allowed = process::raise_file_limit().saturating_sub(OTHER_FILES);
        let count = wanted.min(allowed.try_into().unwrap());
        if count < wanted {
            println!("{count} connections instead of {wanted}: the system's limit");
        }
        let start = std::time::Instant::now();
        let connect = |index: usize| {
            let target = targets[index % targets.len()].clone();
            async move { echoed(index, target.connect().await).await }
        };
        let clients: Vec<_> = stream::iter(0..count).map(connect).buffer_unordered(CONNECTING).collect().await;
        assert_eq!(server.ask("count").await, format!("{count} connections, 0 errors"));
        println!("{count} connections are open after {:?}", start.elapsed());

        let clients: Vec<_> = stream::iter(clients)
            .enumerate()
            .map(|(index, client)| echoed(count + index, client))
            .buffer_unordered(CONNECTING)
            .collect()
            .await;
        drop(clients);
        assert_eq!(server.ask("wait").await, "as before");
        assert_eq!(server.ask("count").await, "0 connections, 0 errors");
        assert_eq!(server.ask("close").await, "closed");
        println!("{count} connections have come and gone after {:?}", start.elapsed());
    }

    /// Sends 64 bytes that no other connection sends, and reads them back.
    async fn echoed(index: usize, mut client: Box<dyn Stream>) -> Box<dyn Stream> {
        let sent = format!("{index:064}");
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut received = [0; 64];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent.as_bytes());
        client
    }

    /// Not a test by itself: the other process of the tests above.
    #[test]
    fn the_server_when_asked_to_be_one() {
        let Some(endpoint) = process::part() else { return };
        process::raise_file_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(serve(endpoint));
    }

    async fn serve(endpoint: String) {
        let mut told = process::told();
        let errors = Arc::new(AtomicUsize::new(0));
        let failed = errors.clone();
        let before_listening = (open_files(), tasks());
        let mut server = Server::new().on_connection(move |mut socket| {
            let failed = failed.clone();
            async move {
                let echo = socket.handle();
                let result = socket.pipe(&echo).await;
                failed.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
                result.map(drop)
            }
        });
        server.listen(endpoint).await.unwrap();
        let before_connections = (open_files(), tasks());
        say(format!("listening {}", server.address().unwrap()));

        while let Some(command) = told.recv().await {
            while let Some(Some(event)) = server.next().now_or_never() {
                let is_error = matches!(event, ServerEvent::Error(_) | ServerEvent::Drop(_));
                errors.fetch_add(usize::from(is_error), Ordering::SeqCst);
            }
            match command.as_str() {
                "count" => {
                    say(format!("{} connections, {} errors", server.connections(), errors.load(Ordering::SeqCst)));
                }
                "wait" => {
                    becomes("files and tasks", before_connections, || (open_files(), tasks())).await;
                    say("as before");
                }
                _ => {
                    server.close().await.unwrap();
                    becomes("files and tasks", before_listening, || (open_files(), tasks())).await;
                    say("closed");
                }
            }
        }
    }
}
