//! A parent that has its work done by child processes, over a Unix domain socket that only its owner can open: requests
//! and answers are lines of JSON, many at a time, matched by their id.
//!
//!     cargo run --release --example ipc
//!
//! Then type numbers. A child squares them, which takes it as many milliseconds. When a child dies (`kill -9` it), its
//! requests fail at once, and the others go on. Ctrl-D, Ctrl-C and SIGTERM stop it: what is in progress has five seconds.

use std::collections::{HashMap, VecDeque};
use std::{env, num::ParseIntError, path::Path, process::Stdio, time::Duration};

use futures_util::{Stream, StreamExt, TryStreamExt, future::ready};
use serde_json::{Value, json};
use sockeye::{Error, ListenOptions, Result, Server, Socket};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec};

const CHILDREN: usize = 2;
const MAX_REQUESTS: usize = 100; // at a time; further lines wait in the terminal's pipe
const MAX_LINE: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    match env::args().nth(1) {
        Some(path) => work(&path).await?,
        None => have_work_done().await?,
    }
    std::process::exit(0) // does not wait for another line, as the runtime would
}

async fn have_work_done() -> Result<()> {
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("ipc.sock");
    let mut server = Server::new();
    server.listen_with(&path, ListenOptions::new().mode(0o600)).await?;

    let (mut children, mut exchanges, mut answers) = (VecDeque::new(), JoinSet::new(), JoinSet::new());
    for _ in 0..CHILDREN {
        children.push_back(start(&mut server, &path, &mut exchanges).await?);
    }
    let mut lines = FramedRead::new(tokio::io::stdin(), LinesCodec::new_with_max_length(MAX_LINE));
    loop {
        let line = tokio::select! {
            line = lines.next(), if answers.len() < MAX_REQUESTS => line,
            _ = interrupted.recv() => None,
            _ = terminated.recv() => None,
            Some(_) = answers.join_next() => continue,
        };
        let Some(Ok(line)) = line else { break };
        children.retain(|child| !child.is_closed());
        let child = children.pop_front();
        children.extend(child.clone()); // behind the others until its next turn
        answers.spawn(async move {
            match request(child, &line).await {
                Ok(result) => println!("{line}: {result}"),
                Err(error) => println!("{line} failed: {error}"),
            }
        });
    }
    let _took_too_long = timeout(PATIENCE, answers.join_all()).await;
    drop(children); // with those who could ask them, they end
    exchanges.join_all().await;
    Ok(())
}

type Request = (String, oneshot::Sender<Value>);

/// Starts a child. A task sends it its requests, and sees it end.
async fn start(server: &mut Server, path: &Path, exchanges: &mut JoinSet<()>) -> Result<mpsc::Sender<Request>> {
    let mut command = Command::new(env::current_exe()?);
    // A group of its own: Ctrl-C is for the parent, which then ends its children.
    let mut child = command.arg(path).stdin(Stdio::null()).process_group(0).kill_on_drop(true).spawn()?;
    let name = format!("child {}", child.id().unwrap_or_default());
    let Ok(Some(socket)) = timeout(PATIENCE, server.accept()).await else {
        return Err(Error::other(format!("{name} does not connect")));
    };
    println!("{name} has started");
    let (requests, to_send) = mpsc::channel(1);
    exchanges.spawn(async move {
        if let Err(error) = exchange(socket, to_send).await {
            eprintln!("{name}: {error}");
        }
        match timeout(PATIENCE, child.wait()).await {
            Ok(Ok(status)) => println!("{name} has ended: {status}"),
            _ => eprintln!("{name} does not end, and is killed"), // when it is dropped
        }
    });
    Ok(requests)
}

async fn request(child: Option<mpsc::Sender<Request>>, number: &str) -> Result<Value> {
    let child = child.ok_or_else(|| Error::new("ERR_NO_CHILD", "no child is left"))?;
    let (sender, answer) = oneshot::channel();
    let _is_gone = child.send((number.into(), sender)).await; // the sender, too: nobody waits for an answer
    let mut answer = answer.await.map_err(|_| Error::new("ERR_CHILD_GONE", "the child is gone"))?;
    match answer["error"].as_str() {
        Some(error) => Err(Error::new("ERR_REQUEST", error)),
        None => Ok(answer["result"].take()),
    }
}

/// Runs until the child ends, or nobody is left who could ask it. With it go the senders of all open requests, and that
/// is how those fail.
async fn exchange(socket: Socket, mut requests: mpsc::Receiver<Request>) -> Result<()> {
    let handle = socket.handle();
    let mut answers = lines_of_json(socket);
    let mut open: HashMap<u64, oneshot::Sender<Value>> = HashMap::new();
    let mut last_id = 0;
    loop {
        tokio::select! {
            answer = answers.try_next() => {
                let Some(answer) = answer? else { return Ok(()) };
                if let Some(sender) = answer["id"].as_u64().and_then(|id| open.remove(&id)) {
                    let _ = sender.send(answer); // or nobody waits any more
                }
            }
            request = requests.recv() => {
                let Some((number, sender)) = request else { return Ok(()) };
                last_id += 1;
                open.insert(last_id, sender);
                handle.write(format!("{}\n", json!({ "id": last_id, "square": number })));
            }
        }
    }
}

/// The child: works until the parent ends the connection, or dies.
async fn work(path: &str) -> Result<()> {
    let socket = sockeye::connect(path).await?;
    let handle = socket.handle();
    let mut requests = lines_of_json(socket);
    while let Some(request) = requests.try_next().await? {
        let handle = handle.clone();
        tokio::spawn(async move {
            let answer = match square(request["square"].as_str().unwrap_or_default()).await {
                Ok(result) => json!({ "id": request["id"], "result": result }),
                Err(error) => json!({ "id": request["id"], "error": error.to_string() }),
            };
            handle.write(format!("{answer}\n"));
        });
    }
    Ok(())
}

async fn square(number: &str) -> Result<u64, ParseIntError> {
    let number: u32 = number.parse()?;
    tokio::time::sleep(Duration::from_millis(number.into())).await;
    Ok(u64::from(number).pow(2))
}

fn lines_of_json(socket: Socket) -> impl Stream<Item = Result<Value>> + Unpin {
    let lines = FramedRead::new(socket, LinesCodec::new_with_max_length(MAX_LINE)).map_err(Error::other);
    lines.and_then(|line| ready(serde_json::from_str(&line).map_err(Error::other)))
}
