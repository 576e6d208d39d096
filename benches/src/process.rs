//! Child processes: servers and loads, each on cores of its own.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::sys;

const PATIENCE: Duration = Duration::from_secs(20);

/// Who runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) server: Vec<usize>,
    pub(crate) load: Vec<usize>,
    pub(crate) backend: Vec<usize>,
}

impl Placement {
    /// The server at the front, the load at the back, where it gets two cores if there are four. What a proxy passes on
    /// to runs between them if there is room. On a single core they all share it.
    pub(crate) fn new(cores: &[usize], threads: usize) -> Self {
        let load = if cores.len() >= 4 { 2 } else { 1 };
        let split = (cores.len() - load).max(1);
        let (front, back) = (&cores[..split], &cores[split.min(cores.len() - 1)..]);
        let server = &front[..threads.min(front.len())];
        let backend = front.get(server.len()).or(back.last()).copied();
        Self { server: server.to_vec(), load: back[back.len() - load..].to_vec(), backend: Vec::from_iter(backend) }
    }
}

/// A server that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a server, and waits until it listens. It prints its port, unless `port` says where it will be.
    pub(crate) fn start(command: &[String], cores: &[usize], port: Option<u16>) -> Result<Self, Failure> {
        let mut child =
            prepare(command, cores)?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, complaints) = (child.stdout.take(), read_all(child.stderr.take()));
        let mut server = Self { child, port: port.unwrap_or(0) };
        let listens = match (port, stdout) {
            (Some(port), _) => wait_for(port),
            (None, Some(stdout)) => printed_port(stdout).map(|port| server.port = port),
            (None, None) => Err("the server has no output".into()),
        };
        match listens {
            Ok(()) => Ok(server),
            Err(error) => {
                drop(server);
                let complaints = complaints.join().unwrap_or_default();
                Err(last_line(&complaints).map_or(error, |line| line.to_owned().into()))
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and returns what it printed. It is killed after `limit`.
pub(crate) fn output(command: &[String], cores: &[usize], limit: Duration) -> Result<String, Failure> {
    let mut child =
        prepare(command, cores)?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                return Err(format!("not done after {} s", limit.as_secs()).into());
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if status.success() {
        return Ok(stdout);
    }
    let reason = last_line(&stderr).unwrap_or("no reason given");
    Err(format!("{status}: {reason}").into())
}

/// Reads in the background, so that nobody is held up by a full pipe.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure counts.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn last_line(text: &str) -> Option<&str> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim_start_matches("sockeye-bench: "))
}

/// A port on loopback that nobody listens on, for servers that cannot choose one themselves.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn prepare(command: &[String], cores: &[usize]) -> Result<Command, Failure> {
    let [program, arguments @ ..] = command else { return Err("nothing to run".into()) };
    let cores = cores.to_vec();
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: both are single system calls on memory that exists before the fork.
    unsafe {
        command.pre_exec(move || {
            sys::die_with_parent()?;
            sys::pin(&cores)
        });
    }
    Ok(command)
}

fn printed_port(stdout: ChildStdout) -> Result<u16, Failure> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        // Nobody waits any more if this fails.
        let _ = sender.send(read.map(|_| line));
        // What else it prints must not hold it up.
        let _ = io::copy(&mut stdout, &mut io::sink());
    });
    let line = receiver.recv_timeout(PATIENCE).map_err(|_| "the server has printed no port")??;
    if line.is_empty() {
        return Err("the server has ended at once".into());
    }
    line.trim().parse().map_err(|_| format!("the server has printed {line:?} and not its port").into())
}

fn wait_for(port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            return Err(format!("nobody listens on port {port}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shared_out() {
        let place = |cores: &[usize], threads| {
            let it = Placement::new(cores, threads);
            (it.server, it.backend, it.load)
        };
        assert_eq!(place(&[5], 2), (vec![5], vec![5], vec![5]));
        assert_eq!(place(&[0, 1], 2), (vec![0], vec![1], vec![1]));
        assert_eq!(place(&[0, 1, 2], 1), (vec![0], vec![1], vec![2]));
        assert_eq!(place(&[0, 1, 2, 3], 1), (vec![0], vec![1], vec![2, 3]));
        assert_eq!(place(&[0, 1, 2, 3], 2), (vec![0, 1], vec![3], vec![2, 3]));
    }
}
