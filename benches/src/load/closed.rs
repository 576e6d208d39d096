//! Requests on connections that stay, each sent when an answer has come.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::pattern::Pattern;
use super::{Plan, Recorder, Sample, measure};
use crate::Failure;
use crate::servers::CHATTY_PIECE;
use crate::sys::{self, Epoll};

pub(super) fn run(plan: &Plan) -> Result<Sample, Failure> {
    let threads = plan.cores.len().clamp(1, plan.connections);
    let sent = Pattern::varied();
    let answered = if plan.answer == plan.size { Pattern::varied() } else { Pattern::repeated(CHATTY_PIECE) };
    measure(plan, threads, |index, recorder| {
        let share = plan.connections / threads + usize::from(index < plan.connections % threads);
        Load::connect(plan, share, &sent, &answered)?.run(recorder)
    })
}

struct Load<'a> {
    plan: &'a Plan,
    sent: &'a Pattern,
    answered: &'a Pattern,
    epoll: Epoll,
    connections: Vec<Connection>,
}

struct Connection {
    fd: OwnedFd,
    sent: u64,
    received: u64,
    /// Bytes that are to be sent now.
    owed: usize,
    started: VecDeque<Instant>,
    waits_for_room: bool,
}

impl<'a> Load<'a> {
    fn connect(plan: &'a Plan, share: usize, sent: &'a Pattern, answered: &'a Pattern) -> io::Result<Self> {
        let epoll = Epoll::new(256)?;
        let mut connections = Vec::with_capacity(share);
        for token in 0..share {
            let fd = sys::connect(Ipv4Addr::LOCALHOST, plan.port)?;
            epoll.add(fd.as_raw_fd(), token, sys::IN)?;
            connections.push(Connection {
                fd,
                sent: 0,
                received: 0,
                owed: 0,
                started: VecDeque::with_capacity(plan.in_flight),
                waits_for_room: false,
            });
        }
        Ok(Self { plan, sent, answered, epoll, connections })
    }

    fn run(mut self, recorder: &mut Recorder<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        for token in 0..self.connections.len() {
            for _ in 0..self.plan.in_flight {
                self.connections[token].ask(self.plan);
            }
            self.send(token)?;
        }
        recorder.ready();
        while recorder.goes_on() {
            for index in 0..self.epoll.wait_awake(50)? {
                let (token, what) = self.epoll.event(index);
                if what & (sys::IN | sys::FAILED) != 0 {
                    self.receive(token, &mut buffer, recorder)?;
                }
                self.send(token)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, token: usize, buffer: &mut [u8], recorder: &mut Recorder<'_>) -> io::Result<()> {
        let connection = &mut self.connections[token];
        let count = match sys::recv(connection.fd.as_raw_fd(), buffer)? {
            None => return Ok(()),
            Some(0) => return Err(io::Error::other("the server has closed a connection")),
            Some(count) => count,
        };
        if !self.answered.matches(connection.received, &buffer[..count]) {
            return Err(io::Error::other("the server has answered something else"));
        }
        let answer = self.plan.answer as u64;
        let complete = (connection.received % answer + count as u64) / answer;
        connection.received += count as u64;
        for _ in 0..complete {
            let started = connection.started.pop_front();
            let started = started.ok_or_else(|| io::Error::other("the server has answered too much"))?;
            recorder.record(1, started.elapsed());
            connection.ask(self.plan);
        }
        Ok(())
    }

    fn send(&mut self, token: usize) -> io::Result<()> {
        let connection = &mut self.connections[token];
        let fd = connection.fd.as_raw_fd();
        while connection.owed > 0 {
            let Some(count) = sys::send(fd, self.sent.at(connection.sent, connection.owed))? else { break };
            connection.sent += count as u64;
            connection.owed -= count;
        }
        if connection.waits_for_room != (connection.owed > 0) {
            connection.waits_for_room = !connection.waits_for_room;
            let room = if connection.waits_for_room { sys::OUT } else { 0 };
            self.epoll.modify(fd, token, sys::IN | room)?;
        }
        Ok(())
    }
}

impl Connection {
    fn ask(&mut self, plan: &Plan) {
        self.owed += plan.size;
        self.started.push_back(Instant::now());
    }
}
