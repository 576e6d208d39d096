//! Connections that do nothing, and what they cost the server in memory.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::pattern::Pattern;
use super::{Plan, Sample, figures, source};
use crate::Failure;
use crate::accounting::{CpuTime, resident};
use crate::sys;

/// How many connections are opened, or asked, before the server is waited for.
const GROUP: usize = 100;

pub(super) fn run(plan: &Plan) -> Result<Sample, Failure> {
    if let Some(&core) = plan.cores.first() {
        sys::pin(&[core])?;
    }
    let pattern = Pattern::varied();
    let message = pattern.at(0, plan.size);
    // What the server allocates once is not the connections' cost.
    for connection in 0..GROUP as u64 {
        ask(&[sys::connect(source(connection), plan.port)?], message)?;
    }
    let before = settled(plan.pid)?;
    let (cpu, start) = (CpuTime::of(plan.pid)?, Instant::now());
    let mut connections = Vec::with_capacity(plan.connections);
    while connections.len() < plan.connections {
        for _ in 0..GROUP.min(plan.connections - connections.len()) {
            connections.push(sys::connect(source(connections.len() as u64), plan.port)?);
        }
        // Its answer says that the whole group was accepted.
        ask(&connections[connections.len() - 1..], message)?;
    }
    let (cpu, seconds) = (CpuTime::of(plan.pid)?.since(cpu), start.elapsed().as_secs_f64());
    let idle = settled(plan.pid)?;
    for group in connections.chunks(GROUP) {
        ask(group, message)?;
    }
    let used = settled(plan.pid)?;
    let count = plan.connections as f64;
    let each = |after: u64| (after as f64 - before as f64) / count;
    Ok(figures([
        ("idle_bytes", each(idle)),
        ("used_bytes", each(used)),
        ("connections_per_s", count / seconds),
        ("cpu_us", cpu.total * 1e6 / count),
        ("user_us", cpu.user * 1e6 / count),
        ("system_us", cpu.system * 1e6 / count),
        ("rss_mib", resident(plan.pid)?.0 as f64 / f64::from(1 << 20)),
    ]))
}

/// Asks on each connection, and waits for each answer.
fn ask(connections: &[OwnedFd], message: &[u8]) -> io::Result<()> {
    for fd in connections {
        if sys::send(fd.as_raw_fd(), message)? != Some(message.len()) {
            return Err(io::Error::other("there was no room for the message"));
        }
    }
    connections.iter().try_for_each(|fd| expect(fd, message))
}

/// Waits for exactly these bytes, at most ten seconds.
pub(super) fn expect(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::from(fd.try_clone()?);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut received = vec![0; bytes.len()];
    stream.read_exact(&mut received)?;
    if received == bytes { Ok(()) } else { Err(io::Error::other("the server has answered something else")) }
}

/// The server's memory that belongs to no file, when it has stopped changing or two seconds have passed.
fn settled(pid: u32) -> io::Result<u64> {
    let mut last = resident(pid)?.1;
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(200));
        let now = resident(pid)?.1;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
