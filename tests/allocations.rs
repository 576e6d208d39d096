//! How often a message makes the library allocate, and what a connection keeps. Only the thread that serves is counted: the
//! peer is a blocking one on another.
#![cfg(unix)]

mod common;

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use common::{settle, socket_path};
use sockeye::{Address, Event, Listeners, NextInto, Server, ServerOptions, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

const MESSAGE: usize = 64;
const MESSAGES: u64 = 100;
/// The first messages may make what stays, like the thread's read buffer.
const WARM_UP: u64 = 10;

/// What a connection may keep once it had to queue something: less than the smallest buffer there is.
const BOOKKEEPING: i64 = 256;

#[test]
fn an_event_costs_one_allocation() {
    for connection in Connection::of_each_kind() {
        let counted = connection.serve(echo_events).exchange_messages();
        // That of its chunk. Not less either: the others rely on being counted.
        assert_eq!(counted.count_total, MESSAGES, "{counted:?}");
        assert_eq!(counted.bytes_current, 0, "{counted:?}");
    }
}

#[test]
fn a_listener_costs_one_allocation() {
    for connection in Connection::of_each_kind() {
        let attach = |socket: Socket| {
            let listeners = Listeners::new().on_data(|socket, chunk| {
                socket.write(chunk);
            });
            socket.attach(listeners).unwrap();
            async {}
        };
        let counted = connection.serve(attach).exchange_messages();
        assert!(counted.count_total <= MESSAGES, "{counted:?}");
        assert_eq!(counted.bytes_current, 0, "{counted:?}");
    }
}

#[test]
fn a_pipe_allocates_nothing() {
    for connection in Connection::of_each_kind() {
        let pipe = |mut socket: Socket| async move {
            let echo = socket.handle();
            socket.pipe(&echo).await.unwrap();
        };
        assert_nothing(connection.serve(pipe).exchange_messages());
    }
}

#[test]
fn reading_and_writing_bytes_allocates_nothing() {
    for connection in Connection::of_each_kind() {
        let copy = |mut socket: Socket| async move {
            let mut buffer = [0; 2 * MESSAGE];
            loop {
                match socket.read(&mut buffer).await.unwrap() {
                    0 => break,
                    length => socket.write_all(&buffer[..length]).await.unwrap(),
                }
            }
        };
        assert_nothing(connection.serve(copy).exchange_messages());
    }
}

#[test]
fn reading_into_a_buffer_allocates_nothing() {
    for connection in Connection::of_each_kind() {
        let echo = |mut socket: Socket| async move {
            let mut buffer = [0; 2 * MESSAGE];
            while let Some(next) = socket.next_into(&mut buffer).await {
                if let NextInto::Data(length) = next {
                    socket.write(&buffer[..length]);
                }
            }
        };
        assert_nothing(connection.serve(echo).exchange_messages());
    }
}

#[test]
fn the_small_writes_of_a_turn_share_their_allocations() {
    const WRITES: usize = 32;
    for connection in Connection::of_each_kind() {
        let chat = |mut socket: Socket| async move {
            let mut buffer = [0; 2 * MESSAGE];
            while let Some(next) = socket.next_into(&mut buffer).await {
                if let NextInto::Data(_) = next {
                    for _ in 0..WRITES {
                        socket.write(b"sixteen bytes.\r\n");
                    }
                }
            }
        };
        let counted = connection.serve(chat).exchange_with_answers_of(WRITES * 16);
        // The queue, its buffer, and the task that writes it.
        assert!(counted.count_total <= 3 * MESSAGES, "{counted:?}");
        assert_eq!(counted.bytes_current, 0, "{counted:?}");
    }
}

#[test]
fn a_connection_keeps_no_buffer_when_it_has_passed_on_much() {
    for connection in Connection::of_each_kind() {
        let mut served = connection.serve(echo_events);
        served.exchange_messages();
        let counted = served.exchange(|peer| {
            for length in [1_000, 10_000, 100_000] {
                ask(peer, length, length);
            }
        });
        // The thread's read buffer is shared with the chunks that were split off, which costs a counter.
        assert!(counted.bytes_current.abs() <= BOOKKEEPING, "{counted:?}");
    }
}

#[test]
fn a_connection_keeps_no_buffer_when_its_queue_is_out() {
    // More than the kernel has room for, with a peer that does not read.
    const BURST: usize = 32 << 20;
    for connection in Connection::of_each_kind() {
        let is_queued = Arc::new(Barrier::new(2));
        let peer_may_read = is_queued.clone();
        let bytes = vec![b'x'; BURST];
        let burst = |mut socket: Socket| async move {
            let mut buffer = [0; 2 * MESSAGE];
            while let Some(next) = socket.next_into(&mut buffer).await {
                if let NextInto::Data(_) = next {
                    socket.write(&bytes);
                    is_queued.wait();
                }
            }
        };
        let mut served = connection.serve(burst);
        let mut exchange = || {
            served.exchange(|peer| {
                peer.write_all(&[b'x'; MESSAGE]).unwrap();
                peer_may_read.wait();
                expect(peer, BURST);
            })
        };
        let first = exchange();
        assert!(first.bytes_max > 1 << 20, "nothing was queued: {first:?}");
        assert!(first.bytes_current <= BOOKKEEPING, "{first:?}");
        let second = exchange();
        assert_eq!(second.bytes_current, 0, "{second:?}");
    }
}

async fn echo_events(mut socket: Socket) {
    while let Some(event) = socket.next().await {
        if let Event::Data(chunk) = event {
            if !socket.write(chunk) {
                socket.drained().await.unwrap();
            }
        }
    }
}

fn assert_nothing(counted: AllocationInfo) {
    assert_eq!((counted.count_total, counted.bytes_current), (0, 0), "{counted:?}");
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection to a peer that is not the library's.
struct Connection {
    runtime: Runtime,
    socket: Socket,
    peer: Box<dyn Stream>,
}

impl Connection {
    fn of_each_kind() -> impl Iterator<Item = Self> {
        ["127.0.0.1:0".to_owned(), socket_path()].into_iter().map(|endpoint| Self::on(&endpoint))
    }

    fn on(endpoint: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (socket, peer) = runtime.block_on(async {
            // Otherwise TCP holds back what is written behind a small write.
            let mut server = Server::with_options(ServerOptions::new().no_delay(true));
            server.listen(endpoint).await.unwrap();
            let peer = connect(&server.address().unwrap());
            let socket = server.accept().await.unwrap();
            drop(server);
            // What the runtime had for it is gone then, too.
            settle().await;
            (socket, peer)
        });
        Self { runtime, socket, peer }
    }

    fn serve<T: Future<Output = ()> + Send + 'static>(self, serve: impl FnOnce(Socket) -> T) -> Served {
        let Self { runtime, socket, peer } = self;
        runtime.spawn(serve(socket));
        Served { runtime, peer }
    }
}

fn connect(address: &Address) -> Box<dyn Stream> {
    // Who waits for an answer that does not come should fail.
    let patience = Some(Duration::from_secs(60));
    match address {
        Address::Ip(address) => {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(patience).unwrap();
            Box::new(stream)
        }
        Address::Path(path) => {
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(patience).unwrap();
            Box::new(stream)
        }
    }
}

struct Served {
    runtime: Runtime,
    peer: Box<dyn Stream>,
}

impl Served {
    fn exchange_messages(&mut self) -> AllocationInfo {
        self.exchange_with_answers_of(MESSAGE)
    }

    /// Counts while messages go to and fro, after some that are not counted.
    fn exchange_with_answers_of(&mut self, answer: usize) -> AllocationInfo {
        self.exchange(|peer| (0..WARM_UP).for_each(|_| ask(peer, MESSAGE, answer)));
        self.exchange(|peer| (0..MESSAGES).for_each(|_| ask(peer, MESSAGE, answer)))
    }

    /// Counts what this thread allocates while the peer does this. All tasks have come to rest then.
    fn exchange(&mut self, exchange: impl FnOnce(&mut dyn Stream) + Send) -> AllocationInfo {
        let Self { runtime, peer } = self;
        let (start, over) = (Barrier::new(2), Notify::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                let _over = NotifyOnDrop(&over);
                start.wait();
                exchange(peer);
            });
            measure(|| {
                start.wait();
                runtime.block_on(async {
                    over.notified().await;
                    let_others_run().await;
                });
            })
        })
    }
}

/// What the others have left to do when the peer has its answer. tokio's `yield_now` would allocate.
async fn let_others_run() {
    let mut turns = 20;
    poll_fn(|cx| {
        turns -= 1;
        cx.waker().wake_by_ref();
        if turns == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Also when the peer panics.
struct NotifyOnDrop<'a>(&'a Notify);

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn ask(peer: &mut dyn Stream, length: usize, answer: usize) {
    peer.write_all(&vec![b'x'; length]).unwrap();
    expect(peer, answer);
}

fn expect(peer: &mut dyn Stream, length: usize) {
    peer.read_exact(&mut vec![0; length]).unwrap();
}
