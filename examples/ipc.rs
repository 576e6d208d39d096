//! A parent that has its work done by child processes, over a Unix domain socket that only its owner can open: requests
//! and answers are lines of JSON, many at a time, matched by their id.
//!
//!     cargo run --release --example ipc
//!
//! Then type requests; each goes to the next child, and answers come when they are ready:
//!
//!     sum 1 2 3
//!     sleep 5
//!
//! When a child dies (`kill -9` its number), its requests fail at once, the others go on, and another one is started.
//! Ctrl-D, Ctrl-C and SIGTERM stop it: what is in progress is given five seconds.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use sockeye::{Error, ListenOptions, Result, Server, Socket};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};

const CHILDREN: usize = 2;
const MAX_REQUESTS: usize = 100; // at a time; further lines wait in the terminal's pipe
const MAX_LINE: usize = 1024 * 1024;
const START_TIMEOUT: Duration = Duration::from_secs(5);
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1) {
        Some(path) => work(&path).await,
        None => have_work_done().await,
    }
}

async fn have_work_done() -> Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let directory = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
    let path = directory.path().join("ipc.sock");
    let mut server = Server::new();
    server.listen_with(&path, ListenOptions::new().mode(0o600)).await?;

    let (mut workers, mut children, mut answers) = (Vec::new(), JoinSet::new(), JoinSet::new());
    for _ in 0..CHILDREN {
        workers.push(Worker::start(&mut server, &path, &mut children).await?);
    }
    let mut lines = lines_of_stdin();
    loop {
        let line = tokio::select! {
            line = lines.recv(), if answers.len() < MAX_REQUESTS => line,
            _ = interrupted.recv() => None,
            _ = terminated.recv() => None,
            Some(_) = answers.join_next() => continue,
            Some(_) = children.join_next() => {
                workers.push(Worker::start(&mut server, &path, &mut children).await?);
                continue;
            }
        };
        let Some(line) = line else { break };
        workers.retain(|worker| !worker.requests.is_closed());
        let worker = workers.pop();
        workers.splice(..0, worker.clone()); // behind the others until its next turn
        answers.spawn(async move {
            match request(worker, &line).await {
                Ok(answer) => println!("{line} = {}, by {}", answer["result"], answer["by"]),
                Err(error) => println!("{line} failed: {error:?}"),
            }
        });
    }
    let _ = timeout(STOP_TIMEOUT, async { while answers.join_next().await.is_some() {} }).await;
    drop((workers, answers)); // with those who could ask, the children end
    while children.join_next().await.is_some() {}
    Ok(())
}

type Request = (Value, oneshot::Sender<Value>);

/// One child, as those see it who ask it.
#[derive(Clone)]
struct Worker {
    pid: u32,
    requests: mpsc::Sender<Request>,
}

impl Worker {
    async fn start(server: &mut Server, path: &Path, children: &mut JoinSet<()>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own: Ctrl-C is for the parent, which then ends its children.
        let mut child = command.arg(path).stdin(Stdio::null()).process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().unwrap_or_default();
        let socket = tokio::select! {
            Some(socket) = accept_from(server, pid) => socket,
            _ = child.wait() => return Err(gone(pid)),
            () = sleep(START_TIMEOUT) => return Err(Error::new("ETIMEDOUT", "the child does not connect")),
        };
        println!("child {pid} has started");
        let (requests, to_send) = mpsc::channel(1);
        children.spawn(async move {
            if let Err(error) = exchange(socket, to_send).await {
                eprintln!("child {pid}: {error}");
            }
            match timeout(STOP_TIMEOUT, child.wait()).await {
                Ok(Ok(status)) => println!("child {pid} has ended: {status}"),
                _ => eprintln!("child {pid} does not end, and is killed"), // when it is dropped
            }
            sleep(RESTART_PAUSE).await;
        });
        Ok(Self { pid, requests })
    }
}

async fn request(worker: Option<Worker>, line: &str) -> Result<Value> {
    let Worker { pid, requests } = worker.ok_or_else(|| Error::new("ERR_NO_CHILD", "there is none at the moment"))?;
    let mut words = line.split_whitespace();
    let body = json!({ "method": words.next(), "params": words.collect::<Vec<_>>() });
    let (sender, answer) = oneshot::channel();
    let exchanged = async {
        requests.send((body, sender)).await.ok()?;
        answer.await.ok()
    };
    let answer = timeout(REQUEST_TIMEOUT, exchanged).await.map_err(|_| Error::new("ETIMEDOUT", "no answer"))?;
    let answer = answer.ok_or_else(|| gone(pid))?;
    match answer["error"].as_str() {
        Some(error) => Err(Error::new("ERR_REQUEST", error)),
        None => Ok(answer),
    }
}

/// The system knows who has connected. Others of this user could; they are turned away.
async fn accept_from(server: &mut Server, pid: u32) -> Option<Socket> {
    loop {
        let socket = server.accept().await?;
        if socket.peer_cred().and_then(|peer| peer.pid()).is_some_and(|peer| u32::try_from(peer) == Ok(pid)) {
            return Some(socket);
        }
    }
}

/// Runs until the child ends, or nobody is left who could ask it. With it go the senders of all open requests, and that
/// is how those fail.
async fn exchange(socket: Socket, mut requests: mpsc::Receiver<Request>) -> Result<()> {
    let handle = socket.handle();
    let mut lines = FramedRead::new(socket, LinesCodec::new_with_max_length(MAX_LINE));
    let mut open: HashMap<u64, oneshot::Sender<Value>> = HashMap::new();
    let mut last_id = 0;
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(line) = line else { return Ok(()) };
                let answer: Value = serde_json::from_str(&line.map_err(Error::other)?).map_err(Error::other)?;
                if let Some(sender) = answer["id"].as_u64().and_then(|id| open.remove(&id)) {
                    let _ = sender.send(answer); // or nobody waits any more
                }
            }
            request = requests.recv() => {
                let Some((mut body, answer)) = request else { return Ok(()) };
                open.retain(|_, answer| !answer.is_closed());
                last_id += 1;
                body["id"] = last_id.into();
                open.insert(last_id, answer);
                handle.write(format!("{body}\n"));
            }
        }
    }
}

/// The child: works until the parent ends the connection, or dies.
async fn work(path: &str) -> Result<()> {
    let socket = sockeye::connect(path).await?;
    let handle = socket.handle();
    let mut lines = FramedRead::new(socket, LinesCodec::new_with_max_length(MAX_LINE));
    let mut tasks = JoinSet::new();
    while let Some(line) = lines.next().await {
        let request: Value = serde_json::from_str(&line.map_err(Error::other)?).map_err(Error::other)?;
        let handle = handle.clone();
        tasks.spawn(async move {
            let answer = match call(&request).await {
                Some(result) => json!({ "id": request["id"], "result": result, "by": std::process::id() }),
                None => json!({ "id": request["id"], "error": "there is no such method, or not with these numbers" }),
            };
            handle.write(format!("{answer}\n"));
        });
        while tasks.try_join_next().is_some() {}
    }
    Ok(())
}

async fn call(request: &Value) -> Option<Value> {
    let words = request["params"].as_array()?.iter();
    let numbers: Vec<u32> = words.map(|word| word.as_str()?.parse().ok()).collect::<Option<_>>()?;
    match (request["method"].as_str()?, &numbers[..]) {
        ("sum", numbers) => Some(numbers.iter().map(|&number| u64::from(number)).sum::<u64>().into()),
        ("sleep", &[seconds]) => {
            sleep(Duration::from_secs(seconds.into())).await;
            Some(Value::Null)
        }
        _ => None,
    }
}

fn gone(pid: u32) -> Error {
    Error::new("ERR_CHILD_GONE", format!("child {pid} is gone"))
}

/// On a thread of its own: tokio's standard input would hold up the end of the program until another line comes.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        io::stdin().lines().map_while(io::Result::ok).all(|line| sender.blocking_send(line).is_ok())
    });
    receiver
}
