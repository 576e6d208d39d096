//! Many connections on several threads, with handles used from everywhere.

mod child;
mod common;
mod random;

use std::future::{Future, IntoFuture};
use std::sync::{Arc, LazyLock};

use child::in_processes_of_their_own;
use common::bounded;
use random::Random;
use sockeye::{
    Address, BlockList, Closed, ConnectOptions, Connecting, Event, Listen, ListenOptions, Listeners, LookupOptions,
    Server, ServerEvent, ServerHandle, ServerOptions, Socket, SocketHandle, SocketOptions, StringDecoder, Written,
    connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 200;
const MESSAGES: usize = 50;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| common::pattern(100_000));

/// One test at a time has all the descriptors and processors.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_is_echoed_by_events() {
    echo(|mut socket: Socket| async move {
        let mut events = Vec::new();
        while let Some(event) = socket.next().await {
            match event {
                Event::Data(chunk) => {
                    socket.write(chunk);
                }
                event => events.push(common::describe(&event)),
            }
        }
        assert!(socket.next().await.is_none());
        events.retain(|event| event != "drain");
        assert_eq!(events, ["end", "finish", "close false"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_is_echoed_by_a_pipe() {
    echo(|mut socket: Socket| async move {
        let handle = socket.handle();
        assert_eq!(socket.pipe(&handle).await.unwrap(), total());
        assert_eq!(common::rest(&mut socket).await.last().map(String::as_str), Some("close false"));
        assert!(socket.next().await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_is_echoed_by_async_read_and_write() {
    echo(|socket: Socket| async move {
        let (mut reader, mut writer) = tokio::io::split(socket);
        assert_eq!(tokio::io::copy(&mut reader, &mut writer).await.unwrap(), total());
        writer.shutdown().await.unwrap();
        let mut socket = reader.unsplit(writer);
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        assert_eq!((socket.bytes_read(), socket.bytes_written()), (total(), total()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_is_echoed_by_listeners() {
    echo(|socket: Socket| async move {
        let (sender, mut closes) = mpsc::unbounded_channel();
        let listeners = Listeners::new()
            .on_data(|socket, chunk| {
                socket.write(chunk);
            })
            .on_close(move |_, had_error| sender.send(had_error).unwrap());
        let handle = socket.attach(listeners).unwrap();
        assert_eq!((closes.recv().await, closes.recv().await), (Some(false), None));
        handle.closed().await;
        assert_eq!((handle.bytes_read(), handle.bytes_written()), (total(), total()));
    })
    .await;
}

/// Has each of many connections echo many messages, and sees each of them end as it should.
async fn echo<F, T>(serve: F)
where
    F: Fn(Socket) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let _turn = TURN.lock().await;
    bounded(async {
        let (sender, mut served) = mpsc::unbounded_channel();
        let server = Server::new().on_connection(move |socket| {
            let (sender, serving) = (sender.clone(), serve(socket));
            async move {
                serving.await;
                sender.send(()).unwrap();
            }
        });
        server.listen("127.0.0.1:0").await.unwrap();
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(client(server.address().unwrap()));
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        server.close().await.unwrap();
        for _ in 0..CONNECTIONS {
            served.recv().await.unwrap();
        }
    })
    .await;
}

async fn client(address: Address) {
    let mut socket = connect(address).await.unwrap();
    let mut received = Vec::new();
    for number in 0..MESSAGES {
        let message = &BYTES[..length(number)];
        socket.write(message);
        received.clear();
        while received.len() < message.len() {
            match socket.next().await {
                Some(Event::Data(chunk)) => received.extend_from_slice(&chunk),
                Some(Event::Drain) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(received == message);
    }
    socket.end();
    let mut events = common::rest(&mut socket).await;
    events.sort();
    assert_eq!(events, ["close false", "end", "finish"]);
    assert!(socket.next().await.is_none());
}

fn length(number: usize) -> usize {
    1 + number * 37
}

fn total() -> u64 {
    (0..MESSAGES).map(|number| length(number) as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handles_write_from_many_tasks_and_records_arrive_whole() {
    const WRITERS: u8 = 4;
    const RECORDS: usize = 200;
    const LENGTH: usize = 100;
    let _turn = TURN.lock().await;
    bounded(async {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let mut pairs = JoinSet::new();
        for _ in 0..CONNECTIONS / 4 {
            let client = connect(server.address().unwrap()).await.unwrap();
            let mut socket = server.accept().await.unwrap();
            pairs.spawn(async move {
                let mut writers = JoinSet::new();
                for writer in 0..WRITERS {
                    let handle = client.handle();
                    writers.spawn(async move {
                        for _ in 0..RECORDS {
                            if !handle.write([writer; LENGTH]) {
                                handle.drained().await.unwrap();
                            }
                        }
                    });
                }
                let reader = tokio::spawn(async move {
                    let mut received = Vec::new();
                    socket.read_to_end(&mut received).await.unwrap();
                    received
                });
                while let Some(writer) = writers.join_next().await {
                    writer.unwrap();
                }
                client.end();
                let received = reader.await.unwrap();
                let mut counts = [0; WRITERS as usize];
                for record in received.chunks(LENGTH) {
                    assert_eq!(record, [record[0]; LENGTH]);
                    counts[usize::from(record[0])] += 1;
                }
                assert_eq!(counts, [RECORDS; WRITERS as usize]);
            });
        }
        while let Some(pair) = pairs.join_next().await {
            pair.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_socket_destroyed_from_anywhere_closes_once_and_says_nothing_after() {
    let _turn = TURN.lock().await;
    bounded(async {
        for seed in 0..4 {
            let server = Server::new().on_connection(|socket| async move { see_it_close(socket).await });
            server.listen("127.0.0.1:0").await.unwrap();
            let mut clients = JoinSet::new();
            for index in 0..CONNECTIONS {
                let socket = connect(server.address().unwrap());
                meddle(&socket, Random((seed * CONNECTIONS + index) as u64));
                clients.spawn(see_it_close(socket));
            }
            while let Some(client) = clients.join_next().await {
                client.unwrap().unwrap();
            }
            server.close().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_pair_destroyed_from_anywhere_closes_once_and_says_nothing_after() {
    let _turn = TURN.lock().await;
    bounded(async {
        let mut sockets = JoinSet::new();
        for index in 0..CONNECTIONS * 2 {
            let (left, right) = Socket::pair(1000);
            meddle(&left, Random(index as u64));
            sockets.spawn(see_it_close(left));
            sockets.spawn(see_it_close(right));
        }
        while let Some(socket) = sockets.join_next().await {
            socket.unwrap().unwrap();
        }
    })
    .await;
}

/// Uses a socket from several tasks, one of which puts an end to it.
fn meddle(socket: &Socket, mut random: Random) {
    for _ in 0..3 {
        let handle = socket.handle();
        let mut random = Random(random.next());
        tokio::spawn(async move {
            for _ in 0..random.below(50) {
                match random.below(8) {
                    0 => handle.pause(),
                    1 | 2 => handle.resume(),
                    3 => handle.cork(),
                    4 => handle.uncork(),
                    5 => drop(handle.write_with(&BYTES[..random.below(BYTES.len())]).await),
                    6 => drop(handle.drained().await),
                    _ => drop(handle.try_write("some bytes")),
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let handle = socket.handle();
    tokio::spawn(async move {
        for _ in 0..random.below(100) {
            tokio::task::yield_now().await;
        }
        match random.below(4) {
            0 => handle.destroy(),
            1 => handle.destroy_with(sockeye::Error::new("ETEST", "on purpose")),
            2 => drop(handle.reset_and_destroy()),
            _ => {
                handle.resume();
                handle.end();
                handle.destroy_soon();
                tokio::task::yield_now().await;
                handle.destroy();
            }
        }
        handle.closed().await;
        assert!(!handle.write("too late"));
    });
}

/// Takes all events of a socket: the last is its only `Close`, and at most one `Error` stands before it.
async fn see_it_close(mut socket: Socket) -> sockeye::Result<()> {
    let mut events = Vec::new();
    while let Some(event) = socket.next().await {
        if !matches!(event, Event::Data(_) | Event::Drain) {
            events.push(event);
        }
    }
    assert!(socket.next().await.is_none());
    let had_error = match events.pop() {
        Some(Event::Close { had_error }) => had_error,
        other => panic!("{other:?} after {events:?}"),
    };
    assert!(!events.iter().any(|event| matches!(event, Event::Close { .. })), "{events:?}");
    let errors = events.iter().filter(|event| matches!(event, Event::Error(_))).count();
    assert_eq!(errors, usize::from(had_error), "{events:?}");
    assert_eq!(had_error, matches!(events.last(), Some(Event::Error(_))), "{events:?}");
    socket.closed().await;
    assert!(socket.destroyed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_closed_and_opened_from_anywhere_serves_in_the_end() {
    let _turn = TURN.lock().await;
    bounded(async {
        let server = Server::new().on_connection(|mut socket| async move {
            let echo = socket.handle();
            socket.pipe(&echo).await.map(drop)
        });
        let mut tasks = JoinSet::new();
        for seed in 0..4 {
            let server = server.handle();
            let mut random = Random(seed);
            tasks.spawn(async move {
                for _ in 0..100 {
                    match random.below(4) {
                        0 => drop(server.close()),
                        1 => drop(server.listen("127.0.0.1:0")),
                        2 => match server.listen("127.0.0.1:0").await {
                            Ok(_) => {}
                            Err(error) => assert!(
                                ["ERR_SERVER_ALREADY_LISTEN", "ERR_SERVER_NOT_RUNNING"].contains(&error.code()),
                                "{error}"
                            ),
                        },
                        _ => {
                            if let Some(address) = server.address() {
                                drop(connect(address).await);
                            }
                        }
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        server.close();
        server.listen("127.0.0.1:0").await.unwrap();
        let mut client = connect(server.address().unwrap()).await.unwrap();
        client.end_with("echo");
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "echo");
        drop(client);
        server.close().await.unwrap();
        assert_eq!(server.connections(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_on_several_threads_share_a_listener_without_losing_a_connection() {
    let _turn = TURN.lock().await;
    bounded(async {
        let first = Server::new();
        first.listen("127.0.0.1:0").await.unwrap();
        let address = first.address().unwrap();
        let mut tasks = JoinSet::new();
        let (sender, mut accepted) = mpsc::unbounded_channel();
        for _ in 0..4 {
            let mut server = Server::new();
            server.listen_on(&first).await.unwrap();
            let sender = sender.clone();
            tasks.spawn(async move {
                while let Some(socket) = server.accept().await {
                    sender.send(socket.peer_addr()).unwrap();
                }
            });
        }
        drop(first);
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(connect(address.clone()).into_future());
        }
        for _ in 0..CONNECTIONS {
            clients.join_next().await.unwrap().unwrap().unwrap();
            accepted.recv().await.unwrap();
        }
        tasks.abort_all();
    })
    .await;
}

in_processes_of_their_own! {
    async fn a_server_may_outlive_its_runtime() {
        let server = std::thread::spawn(|| {
            let server = Server::new().on_connection(|_| async {});
            for build in [tokio::runtime::Builder::new_current_thread, tokio::runtime::Builder::new_multi_thread] {
                let runtime = build().enable_all().build().unwrap();
                runtime.block_on(async { server.listen("127.0.0.1:0").await }).unwrap();
                drop(runtime);
                assert!(server.listening());
                server.close();
            }
            server
        });
        let server = server.join().unwrap();
        server.listen("127.0.0.1:0").await.unwrap();
        connect(server.address().unwrap()).await.unwrap();
    }

    async fn a_server_may_stand_in_a_task_that_ends_with_its_runtime() {
        std::thread::spawn(|| {
            for build in [tokio::runtime::Builder::new_current_thread, tokio::runtime::Builder::new_multi_thread] {
                let runtime = build().enable_all().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..10 {
                        tokio::spawn(async {
                            let server = Server::new().on_connection(|mut socket| async move {
                                let echo = socket.handle();
                                socket.pipe(&echo).await.map(drop)
                            });
                            server.listen("127.0.0.1:0").await.unwrap();
                            let client = connect(server.address().unwrap()).await.unwrap();
                            client.write(vec![1; 10_000_000]);
                            server.closed().await.unwrap();
                        });
                    }
                    common::settle().await;
                });
            }
        })
        .join()
        .unwrap();
    }

    async fn a_connection_begun_while_its_runtime_ends_does_not_hold_it_up() {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let (dropped_with_the_runtime, ended) = std::sync::mpsc::channel::<()>();
            let (begin, begun) = std::sync::mpsc::channel();
            let ended = Arc::new(std::sync::Mutex::new(ended));
            runtime.spawn(async move {
                let _until_the_end = dropped_with_the_runtime;
                std::future::pending::<()>().await;
            });
            let lookup = move |_: String, _: LookupOptions| {
                let (begin, ended) = (begin.clone(), ended.clone());
                async move {
                    begin.send(()).unwrap();
                    ended.lock().unwrap().recv().unwrap_err();
                    Ok(vec![([127, 0, 0, 1], 0).into()])
                }
            };
            let socket = runtime.block_on(async { ConnectOptions::new().lookup(lookup).connect("name.invalid:1") });
            begun.recv().unwrap();
            drop(runtime);
            drop(socket);
        })
        .join()
        .unwrap();
    }

    async fn a_socket_may_outlive_its_runtime() {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (socket, peer) = Socket::pair(10);
            let connecting = runtime.block_on(async {
                socket.write(common::pattern(1000));
                connect("localhost:1")
            });
            drop(runtime);
            socket.write("more");
            peer.destroy();
            connecting.destroy();
            drop((socket, peer, connecting));
        })
        .join()
        .unwrap();
    }
}

#[test]
fn types_cross_threads() {
    fn send<T: Send>() {}
    fn send_and_sync<T: Send + Sync>() {}
    fn unpin<T: Unpin>() {}

    send::<Listeners>();
    send_and_sync::<Socket>();
    send_and_sync::<SocketHandle>();
    send_and_sync::<Server>();
    send_and_sync::<ServerHandle>();
    send_and_sync::<ConnectOptions>();
    send_and_sync::<ListenOptions>();
    send_and_sync::<ServerOptions>();
    send_and_sync::<SocketOptions>();
    send_and_sync::<sockeye::Endpoint>();
    send_and_sync::<sockeye::Error>();
    send_and_sync::<Event>();
    send_and_sync::<ServerEvent>();
    send_and_sync::<BlockList>();
    send_and_sync::<StringDecoder>();
    send::<Connecting>();
    send::<Listen>();
    send::<Closed>();
    send::<Written>();
    unpin::<Socket>();
    unpin::<SocketHandle>();
    unpin::<Server>();
    unpin::<ServerHandle>();
    unpin::<Connecting>();
    unpin::<Listen>();
    unpin::<Closed>();
    unpin::<Written>();
}

#[tokio::test]
async fn futures_cross_threads() {
    fn send<T: Send + 'static>(value: T) -> T {
        value
    }
    fn send_borrowed<T: Send>(value: T) -> T {
        value
    }

    let (mut socket, _peer) = Socket::pair(1000);
    let handle = socket.handle();
    let mut server = Server::new();
    drop(send_borrowed(socket.next()));
    drop(send_borrowed(socket.next_into(&mut [0; 10])));
    drop(send_borrowed(socket.pipe(&handle)));
    drop(send_borrowed(futures_util::StreamExt::next(&mut socket)));
    drop(send_borrowed(socket.read(&mut [0; 10])));
    drop(send_borrowed(socket.flush()));
    drop(send_borrowed(handle.drained()));
    drop(send_borrowed(handle.closed()));
    drop(send(handle.write_with("x")));
    drop(send(connect("localhost:1").into_future()));
    drop(send(Listeners::new().run(socket)));
    drop(send_borrowed(server.next()));
    drop(send_borrowed(server.accept()));
    drop(send(server.listen("127.0.0.1:0")));
    drop(send(server.close()));
    drop(send(server.closed()));
    drop(send(sockeye::unreferenced()));
}
