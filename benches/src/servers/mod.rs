//! The servers that are written in Rust, each run as a process of its own. All print their port, then serve until they
//! are killed.

mod epoll;
mod sockeye;
mod splice;
mod tokio;

use std::io::{self, Write};
use std::net::TcpListener;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ::tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::flags::Flags;
use crate::sys;

/// Bytes of a request, where answers depend on whole requests.
pub(crate) const REQUEST: usize = 64;
/// What chatty servers write, one call for each piece.
pub(crate) const CHATTY_PIECE: &[u8; 16] = b"sixteen bytes.\r\n";
/// How often they write it for each request.
pub(crate) const CHATTY_PIECES: usize = 32;
/// What broadcasting servers greet with.
pub(crate) const HELLO: &[u8] = b"+";
/// Threads of the servers that have several.
pub(crate) const WORKERS: usize = 2;

const SMALL_BUFFER: usize = 16 << 10;
const LARGE_BUFFER: usize = 64 << 10;

/// What a server does with what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it back.
    Echo,
    /// Echo on connections that do not stay: as `Echo`, without `TCP_NODELAY`, which would be a call for each.
    Churn,
    /// Answer each request with many small writes.
    Chatty,
    /// Write it to all connections.
    Broadcast,
    /// Pass it on to this port, and what comes back, too.
    Proxy(u16),
}

impl Mode {
    fn sets_no_delay(self) -> bool {
        self != Self::Churn
    }
}

/// Requests that have come in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    bytes: usize,
}

impl Requests {
    /// How many requests are complete with these further bytes.
    fn add(&mut self, bytes: usize) -> usize {
        let bytes = self.bytes + bytes;
        self.bytes = bytes % REQUEST;
        bytes / REQUEST
    }
}

/// How many tasks a worker runs before it asks for events again, if it has so many. By default it asks so often that new
/// tasks keep coming before the old ones, most of which wait in the queue that all workers share.
const FAIR_EVENT_INTERVAL: u32 = 1024;
const FAIR_GLOBAL_QUEUE_INTERVAL: u32 = 4;

/// How a tokio server is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavor {
    CurrentThread,
    /// One runtime with `WORKERS` threads.
    MultiThread,
    /// The same, with [`FAIR_EVENT_INTERVAL`] and [`FAIR_GLOBAL_QUEUE_INTERVAL`].
    Fair,
    /// `WORKERS` threads, each with a runtime and a listener of its own.
    PerCore,
}

/// `server NAME --mode MODE`.
pub(crate) fn main(name: &str, flags: &Flags) -> Result<(), Failure> {
    let backend = flags.number::<u16>("backend")?;
    let mode = match flags.text("mode") {
        Some("echo") => Mode::Echo,
        Some("churn") => Mode::Churn,
        Some("chatty") => Mode::Chatty,
        Some("broadcast") => Mode::Broadcast,
        Some("proxy") => Mode::Proxy(backend.ok_or("--backend is missing")?),
        other => return Err(format!("no mode {other:?}").into()),
    };
    match name {
        "epoll" => return epoll::serve(listen()?, mode, LARGE_BUFFER, flags.is_on("awake")),
        "epoll-16k" => return epoll::serve(listen()?, mode, SMALL_BUFFER, false),
        "epoll-splice" => match mode {
            Mode::Proxy(port) => return splice::serve(&listen()?, port),
            _ => return Err("it only passes on".into()),
        },
        _ => {}
    }
    let (program, flavor) = match name.rsplit_once('-') {
        Some((program, "mt")) => (program, Flavor::MultiThread),
        Some((program, "fair")) => (program, Flavor::Fair),
        Some((program, "cores")) => (program, Flavor::PerCore),
        _ => (name, Flavor::CurrentThread),
    };
    let style = sockeye::Style::from_str(program);
    match (program, style) {
        ("tokio", _) => run(flavor, move |listener| tokio::serve(listener, mode, SMALL_BUFFER, false)),
        ("tokio-64k", _) => run(flavor, move |listener| tokio::serve(listener, mode, LARGE_BUFFER, false)),
        ("tokio-bufwriter", _) => run(flavor, move |listener| tokio::serve(listener, mode, SMALL_BUFFER, true)),
        (_, Ok(style)) if !style.can(mode) => Err(format!("{name} does not fit this workload").into()),
        (_, Ok(style)) => run(flavor, move |listener| sockeye::serve(listener, mode, style)),
        _ => Err(format!("no server {name:?}").into()),
    }
}

/// Listens, and says where.
fn listen() -> io::Result<TcpListener> {
    let listener = sys::listen(0)?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    Ok(listener)
}

fn run<T>(flavor: Flavor, serve: impl Fn(TcpListener) -> T + Clone + Send + 'static) -> Result<(), Failure>
where
    T: Future<Output = Result<(), Failure>>,
{
    let current_thread = || Builder::new_current_thread().enable_all().build();
    match flavor {
        Flavor::CurrentThread => block_on(&current_thread()?, serve(listen()?)),
        Flavor::MultiThread | Flavor::Fair => {
            let (cores, started) = (sys::cores()?, AtomicUsize::new(0));
            // Left to itself, the scheduler now and then keeps both on one core for seconds, beside an idle or a foreign one.
            let pin_next = move || {
                let index = started.fetch_add(1, Ordering::Relaxed);
                // Where it cannot be pinned it runs anywhere.
                let _ = sys::pin(&[cores[index % cores.len()]]);
            };
            let mut builder = Builder::new_multi_thread();
            if flavor == Flavor::Fair {
                builder.event_interval(FAIR_EVENT_INTERVAL).global_queue_interval(FAIR_GLOBAL_QUEUE_INTERVAL);
            }
            let runtime = builder.worker_threads(WORKERS).on_thread_start(pin_next).enable_all().build()?;
            block_on(&runtime, serve(listen()?))
        }
        Flavor::PerCore => {
            let cores = sys::cores()?;
            // All listen before the first connection comes, so that they get equal shares.
            let first = sys::listen(0)?;
            let port = first.local_addr()?.port();
            let others: Vec<_> = (1..WORKERS).map(|_| sys::listen(port)).collect::<io::Result<_>>()?;
            for (index, listener) in others.into_iter().enumerate() {
                let (serve, core) = (serve.clone(), cores[(index + 1) % cores.len()]);
                thread::spawn(move || -> Result<(), Failure> {
                    sys::pin(&[core])?;
                    block_on(&Builder::new_current_thread().enable_all().build()?, serve(listener))
                });
            }
            sys::pin(&cores[..1])?;
            println!("{port}");
            io::stdout().flush()?;
            block_on(&current_thread()?, serve(first))
        }
    }
}

fn block_on(runtime: &Runtime, serve: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    runtime.block_on(serve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_when_complete() {
        let mut requests = Requests::default();
        assert_eq!([10, 53, 1, 200].map(|bytes| requests.add(bytes)), [0, 0, 1, 3]);
    }
}
