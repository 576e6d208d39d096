//! Collects syslog over TCP and a Unix domain socket (RFC 6587: a length before each message, or a line end behind it)
//! into a file, one message a line. A full file is put aside, ten are kept; rates go to standard error.
//!
//!     cargo run --release --example log_collector -- 127.0.0.1:5514 /tmp/log.sock /tmp/collected.log
//!     logger --server 127.0.0.1 --port 5514 --tcp --octet-count "over TCP"
//!     logger --socket /tmp/log.sock "over the socket file"
//!
//! A fourth argument says how many bytes fill a file. Ctrl-C and SIGTERM stop it: what was sent by then is in the file,
//! and the file is on the disk.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use futures_util::{StreamExt, future::try_join_all};
use sockeye::{Error, ListenOptions, Result, Server, ServerOptions, Socket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::{codec::Decoder, codec::FramedRead, sync::CancellationToken};

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
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;

    // Bounded: while the disk is slow nobody reads, and the kernel holds the senders up.
    let (messages, to_write) = channel(1024);
    let writer = tokio::task::spawn_blocking(move || write_log(&path, max_file, to_write));
    let stop = CancellationToken::new();
    let mut servers = Vec::new();
    for endpoint in endpoints {
        let options = ServerOptions::new().keep_alive(true).keep_alive_initial_delay(KEEP_ALIVE);
        let (to_log, stop) = (messages.clone(), stop.clone());
        let server =
            Server::with_options(options).on_connection(move |socket| serve(socket, to_log.clone(), stop.clone()));
        server.set_max_connections(Some(MAX_CONNECTIONS));
        let options = ListenOptions::new().replace_stale(true).writable_all(true);
        println!("listening on {}", server.listen_with(&endpoint, options).await?);
        servers.push(server);
    }
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = messages.closed() => {} // the log cannot be written
    }
    // Whoever has connected is still taken: closing the server resets those who wait for that.
    tokio::time::sleep(STOP_QUIET).await;
    stop.cancel();
    try_join_all(servers.iter().map(|server| server.close())).await?;
    drop((servers, messages));
    Ok(writer.await.map_err(Error::other)??)
}

async fn serve(socket: Socket, to_log: Sender<BytesMut>, stop: CancellationToken) -> Result<()> {
    let handle = socket.handle();
    let peer = socket.peer_addr().map_or_else(|| "a local program".into(), |peer| peer.to_string());
    socket.set_timeout(IDLE_TIMEOUT);
    let stopped = async {
        stop.cancelled().await;
        handle.end();
        handle.set_timeout(STOP_QUIET);
        tokio::time::sleep(STOP_TIMEOUT).await;
        Ok(())
    };
    let result = tokio::select! {
        result = collect(socket, to_log) => result,
        result = stopped => result,
    };
    result.inspect_err(|error| {
        if !stop.is_cancelled() {
            eprintln!("{peer}: {error}")
        }
    })
}

async fn collect(socket: Socket, to_log: Sender<BytesMut>) -> Result<()> {
    let mut frames = FramedRead::new(socket, Syslog);
    while let Some(message) = frames.next().await {
        to_log.send(message?).await.map_err(Error::other)?;
    }
    Ok(())
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
            Some(_) => return bad_frame("it begins neither with '<' nor with a length"),
        };
        let (skip, length) = match bytes.iter().take(limit + 1).position(|&byte| byte == separator) {
            None if bytes.len() > limit => return bad_frame("its end, or the end of its length, does not come"),
            None => return Ok(None),
            Some(end) if separator == b'\n' => (0, end),
            Some(end) => match std::str::from_utf8(&bytes[..end]).map(str::parse) {
                Ok(Ok(length)) if length <= MAX_MESSAGE => (end + 1, length),
                _ => return bad_frame("its length is no number, or too large"),
            },
        };
        if bytes.len() < skip + length {
            return Ok(None);
        }
        bytes.advance(skip);
        let message = bytes.split_to(length);
        bytes.advance(usize::from(separator == b'\n'));
        Ok(Some(message))
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>> {
        match self.decode(bytes)? {
            None if !bytes.is_empty() => bad_frame("the connection ended inside it"),
            message => Ok(message),
        }
    }
}

fn bad_frame<T>(reason: &str) -> Result<T> {
    Err(Error::new("ERR_BAD_FRAME", format!("bad frame: {reason}")))
}

fn write_log(path: &str, max_file: u64, mut messages: Receiver<BytesMut>) -> io::Result<()> {
    let open = || OpenOptions::new().create(true).append(true).open(path).map(BufWriter::new);
    let mut log = open()?;
    let mut size = log.get_ref().metadata()?.len();
    let (mut batch, mut count, mut since) = (Vec::new(), 0, Instant::now());
    while messages.blocking_recv_many(&mut batch, 1024) > 0 {
        count += batch.len();
        for mut message in batch.drain(..) {
            if size > 0 && size + message.len() as u64 >= max_file {
                sync(&mut log)?;
                put_aside(path)?;
                (log, size) = (open()?, 0);
            }
            message.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            message.extend_from_slice(b"\n");
            log.write_all(&message)?;
            size += message.len() as u64;
        }
        log.flush()?;
        if since.elapsed() >= Duration::from_secs(1) {
            eprintln!("{:.0} messages a second", count as f64 / since.elapsed().as_secs_f64());
            (count, since) = (0, Instant::now());
        }
    }
    sync(&mut log)
}

fn sync(log: &mut BufWriter<File>) -> io::Result<()> {
    log.flush()?;
    log.get_ref().sync_all()
}

/// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the oldest is overwritten.
fn put_aside(path: &str) -> io::Result<()> {
    for age in (1..9).rev() {
        let old = format!("{path}.{age}");
        if Path::new(&old).exists() {
            rename(old, format!("{path}.{}", age + 1))?;
        }
    }
    rename(path, format!("{path}.1"))
}
