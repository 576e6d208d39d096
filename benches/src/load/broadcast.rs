//! One message that the server writes to everybody.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::pattern::Pattern;
use super::{Plan, Recorder, Sample, measure};
use crate::Failure;
use crate::servers::HELLO;
use crate::sys::{self, Epoll};

/// One thread, since each message waits for all connections. A message counts once for each connection that gets it;
/// its latency is that of the last one.
pub(super) fn run(plan: &Plan) -> Result<Sample, Failure> {
    // What goes in is a thousandth of what comes out, and does not count as bytes.
    let counted = Plan { size: 0, ..plan.clone() };
    measure(&counted, 1, |_, recorder| work(plan, recorder))
}

fn work(plan: &Plan, recorder: &mut Recorder<'_>) -> io::Result<()> {
    let pattern = Pattern::varied();
    let mut epoll = Epoll::new(256)?;
    let connections = connect_all(plan, &epoll)?;
    let mut received = vec![0_u64; connections.len()];
    let mut buffer = vec![0; 1 << 16];
    recorder.ready();
    let mut sent = 0_u64;
    while recorder.goes_on() {
        let started = Instant::now();
        let message = pattern.at(sent, plan.size);
        if sys::send(connections[0].as_raw_fd(), message)? != Some(plan.size) {
            return Err(io::Error::other("there was no room for the message"));
        }
        sent += plan.size as u64;
        let mut missing = connections.len();
        while missing > 0 {
            let ready = epoll.wait_awake(50)?;
            if ready == 0 && !recorder.goes_on() {
                return Ok(());
            }
            for index in 0..ready {
                let (token, _) = epoll.event(index);
                let Some(count) = sys::recv(connections[token].as_raw_fd(), &mut buffer)? else { continue };
                if count == 0 || !pattern.matches(received[token], &buffer[..count]) {
                    return Err(io::Error::other("the server has sent something else"));
                }
                received[token] += count as u64;
                missing -= usize::from(received[token] == sent);
            }
        }
        recorder.record(connections.len() as u64, started.elapsed());
    }
    Ok(())
}

/// The server greets each connection when it has taken it among those that messages are written to.
fn connect_all(plan: &Plan, epoll: &Epoll) -> io::Result<Vec<OwnedFd>> {
    let mut connections = Vec::with_capacity(plan.connections);
    for token in 0..plan.connections {
        let fd = sys::connect(Ipv4Addr::LOCALHOST, plan.port)?;
        super::idle::expect(&fd, HELLO)?;
        epoll.add(fd.as_raw_fd(), token, sys::IN)?;
        connections.push(fd);
    }
    Ok(connections)
}
