//! A proxy over epoll that does not see the bytes: the kernel moves them from socket to socket through a pipe, one for
//! each direction.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use super::LARGE_BUFFER;
use crate::Failure;
use crate::sys::{self, Epoll};

const LISTENER: usize = usize::MAX;

pub(super) fn serve(listener: &TcpListener, port: u16) -> Result<(), Failure> {
    let epoll = Epoll::new(1024)?;
    epoll.add(listener.as_raw_fd(), LISTENER, sys::IN)?;
    let mut proxy = Proxy { port, epoll, connections: Vec::new(), free: Vec::new() };
    loop {
        for index in 0..proxy.epoll.wait(-1)? {
            match proxy.epoll.event(index) {
                (LISTENER, _) => proxy.accept(listener)?,
                (token, what) => {
                    if what & sys::OUT != 0 {
                        proxy.flush(token)?;
                    }
                    if what & (sys::IN | sys::FAILED) != 0 {
                        proxy.read(token)?;
                    }
                }
            }
        }
    }
}

struct Proxy {
    port: u16,
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
}

struct Connection {
    fd: OwnedFd,
    /// What was read here waits in it for room in `to`.
    pipe: (OwnedFd, OwnedFd),
    /// Bytes in the pipe. Nothing is read while there are some.
    held: usize,
    to: usize,
    interest: u32,
}

impl Proxy {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Some(front) = sys::accept(listener.as_raw_fd())? {
            sys::set_no_delay(front.as_raw_fd())?;
            let front = self.add(front)?;
            let back = self.add(sys::connect(Ipv4Addr::LOCALHOST, self.port)?)?;
            for (from, to) in [(front, back), (back, front)] {
                if let Some(connection) = &mut self.connections[from] {
                    connection.to = to;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, fd: OwnedFd) -> io::Result<usize> {
        let token = self.free.pop().unwrap_or(self.connections.len());
        self.epoll.add(fd.as_raw_fd(), token, sys::IN)?;
        let connection = Connection { fd, pipe: sys::pipe()?, held: 0, to: token, interest: sys::IN };
        if token == self.connections.len() {
            self.connections.push(Some(connection));
        } else {
            self.connections[token] = Some(connection);
        }
        Ok(token)
    }

    fn read(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        if connection.held > 0 {
            return Ok(());
        }
        match sys::splice(connection.fd.as_raw_fd(), connection.pipe.1.as_raw_fd(), LARGE_BUFFER) {
            Ok(None) => Ok(()),
            Ok(Some(0)) | Err(_) => {
                let to = connection.to;
                self.close(token);
                self.close(to);
                Ok(())
            }
            Ok(Some(count)) => {
                connection.held = count;
                self.pass_on(token)
            }
        }
    }

    /// Writes what was read from the other one of the pair.
    fn flush(&mut self, token: usize) -> io::Result<()> {
        match &self.connections[token] {
            Some(connection) => self.pass_on(connection.to),
            None => Ok(()),
        }
    }

    fn pass_on(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = &self.connections[token] else { return Ok(()) };
        let (to, mut held) = (connection.to, connection.held);
        let Some(destination) = &self.connections[to] else { return Ok(()) };
        while held > 0 {
            match sys::splice(connection.pipe.0.as_raw_fd(), destination.fd.as_raw_fd(), held) {
                Ok(Some(count)) => held -= count,
                // Of a failure, the next read finds out.
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(connection) = &mut self.connections[token] {
            connection.held = held;
        }
        self.update(token)?;
        self.update(to)
    }

    fn update(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = &self.connections[token] else { return Ok(()) };
        let is_awaited = self.connections[connection.to].as_ref().is_some_and(|source| source.held > 0);
        let reads = if connection.held > 0 { 0 } else { sys::IN };
        let interest = reads | if is_awaited { sys::OUT } else { 0 };
        if connection.interest == interest {
            return Ok(());
        }
        self.epoll.modify(connection.fd.as_raw_fd(), token, interest)?;
        if let Some(connection) = &mut self.connections[token] {
            connection.interest = interest;
        }
        Ok(())
    }

    fn close(&mut self, token: usize) {
        if self.connections[token].take().is_some() {
            self.free.push(token);
        }
    }
}
