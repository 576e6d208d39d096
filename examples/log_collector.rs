//! Collects syslog over TCP and a Unix domain socket (RFC 6587: a length before each message, or a line end behind it)
//! into a file, one message a line. A full file is put aside as `.1`, in place of the last one.
//!
//!     cargo run --release --example log_collector -- 127.0.0.1:5514 /tmp/log.sock /tmp/collected.log
//!     logger --server 127.0.0.1 --port 5514 --tcp --octet-count "over TCP"
//!     logger --socket /tmp/log.sock "over the socket file"
//!
//! A fourth argument says how many bytes fill a file; rates go to standard error. Ctrl-C and SIGTERM stop it: what was
//! sent by then is in the file, and the file is on the disk.

use std::fs::{OpenOptions, rename};
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use futures_util::{TryFutureExt, TryStreamExt, future::join_all};
use sockeye::{Error, ListenOptions, Result, Server, Socket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::codec::{Decoder, FramedRead};

const MAX_CONNECTIONS: usize = 1000;
const MAX_MESSAGE: usize = 8 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// After the stop: who is silent for so long has sent everything, and who is not for so long is cut off.
const STOP_QUIET: Duration = Duration::from_millis(200);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.into());
    let endpoints = [argument("127.0.0.1:5514"), argument("/tmp/log.sock")];
    let path = argument("/tmp/collected.log");
    let max_file = argument("67108864").parse().map_err(Error::other)?;
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    // Bounded: while the disk is slow nobody reads, and the kernel holds the senders up.
    let (messages, to_write) = channel(1024);
    let writer = tokio::task::spawn_blocking(move || write_log(&path, max_file, to_write));
    let mut servers = Vec::new();
    for endpoint in endpoints {
        servers.push(listen(&endpoint, messages.clone()).await?);
    }
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = messages.closed() => {} // the log cannot be written
    }
    // Whoever has connected is still taken: closing the server resets those who wait for that.
    tokio::time::sleep(STOP_QUIET).await;
    let closing: Vec<_> = servers.iter().map(|server| server.close_within(STOP_TIMEOUT)).collect();
    for socket in servers.iter().flat_map(|server| server.sockets()) {
        socket.set_timeout(STOP_QUIET);
    }
    let cut_off: usize = join_all(closing).await.iter().sum();
    println!("stopped; {cut_off} had to be cut off");
    drop((servers, messages)); // with the last sender of messages, the writer ends
    Ok(writer.await.map_err(Error::other)??)
}

async fn listen(endpoint: &str, messages: Sender<BytesMut>) -> Result<Server> {
    let server = Server::new().on_connection(move |socket| collect(socket, messages.clone()));
    server.set_max_connections(Some(MAX_CONNECTIONS));
    let options = ListenOptions::new().replace_stale(true).mode(0o666);
    println!("listening on {}", server.listen_with(endpoint, options).await?);
    Ok(server)
}

async fn collect(socket: Socket, messages: Sender<BytesMut>) {
    let peer = socket.peer_addr().map_or_else(|| "a local program".into(), |peer| peer.to_string());
    socket.set_keep_alive(true, KEEP_ALIVE);
    socket.set_timeout(IDLE_TIMEOUT);
    let frames = FramedRead::new(socket, Syslog);
    match frames.try_for_each(|message| messages.send(message).map_err(Error::other)).await {
        Ok(()) => {}
        // It has fallen silent, or does not when this stops.
        Err(error) if matches!(error.code(), "ETIMEDOUT" | "ERR_STREAM_DESTROYED") => {}
        Err(error) => eprintln!("{peer}: {error}"),
    }
}

struct Syslog;

impl Decoder for Syslog {
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>> {
        let (separator, limit) = match bytes.first() {
            None => return Ok(None),
            Some(b'<') => (b'\n', MAX_MESSAGE),
            Some(b'1'..=b'9') => (b' ', MAX_MESSAGE.to_string().len()),
            Some(_) => return Err(bad_frame("it begins neither with '<' nor with a length")),
        };
        let Some(end) = bytes.iter().take(limit + 1).position(|&byte| byte == separator) else {
            return if bytes.len() > limit { Err(bad_frame("it, or its length, is too long")) } else { Ok(None) };
        };
        if separator == b'\n' {
            let message = bytes.split_to(end);
            bytes.advance(1);
            return Ok(Some(message));
        }
        let length = std::str::from_utf8(&bytes[..end]).ok().and_then(|digits| digits.parse().ok());
        let Some(length @ ..=MAX_MESSAGE) = length else {
            return Err(bad_frame("its length is no number, or too large"));
        };
        if bytes.len() <= end + length {
            return Ok(None);
        }
        bytes.advance(end + 1);
        Ok(Some(bytes.split_to(length)))
    }
}

fn bad_frame(reason: &str) -> Error {
    Error::new("ERR_BAD_FRAME", format!("bad frame: {reason}"))
}

fn write_log(path: &str, max_file: usize, mut messages: Receiver<BytesMut>) -> io::Result<()> {
    let open = || OpenOptions::new().create(true).append(true).open(path).map(BufWriter::new);
    let mut log = open()?;
    let mut size = log.get_ref().metadata()?.len() as usize;
    let (mut count, mut since) = (0, Instant::now());
    while let Some(mut message) = messages.blocking_recv() {
        message.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        message.extend_from_slice(b"\n");
        if size > 0 && size + message.len() > max_file {
            log.into_inner()?.sync_all()?;
            rename(path, format!("{path}.1"))?;
            (log, size) = (open()?, 0);
        }
        log.write_all(&message)?;
        (size, count) = (size + message.len(), count + 1);
        if messages.is_empty() {
            log.flush()?;
        }
        if since.elapsed() >= Duration::from_secs(1) {
            eprintln!("{:.0} messages a second", f64::from(count) / since.elapsed().as_secs_f64());
            (count, since) = (0, Instant::now());
        }
    }
    log.into_inner()?.sync_all()
}
