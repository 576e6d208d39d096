//! The floor: a loop over epoll, edge-triggered, with one buffer. A read that does not fill the buffer has emptied the
//! socket, so a message costs one read, one write and its share of an `epoll_wait`.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use super::{CHATTY_PIECE, CHATTY_PIECES, HELLO, Mode, Requests};
use crate::Failure;
use crate::sys::{self, Epoll};

const LISTENER: usize = usize::MAX;

pub(super) fn serve(listener: TcpListener, mode: Mode, buffer: usize) -> Result<(), Failure> {
    let epoll = Epoll::new(1024)?;
    epoll.add(listener.as_raw_fd(), LISTENER, sys::IN)?;
    let mut server = Server { mode, epoll, connections: Vec::new(), free: Vec::new() };
    let mut buffer = vec![0; buffer];
    loop {
        for index in 0..server.epoll.wait(-1)? {
            match server.epoll.event(index) {
                (LISTENER, _) => server.accept(&listener)?,
                (token, what) => {
                    if what & sys::OUT != 0 {
                        server.flush(token, &mut buffer);
                    }
                    if what & (sys::IN | sys::FAILED) != 0 {
                        server.read(token, &mut buffer);
                    }
                }
            }
        }
    }
}

struct Server {
    mode: Mode,
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
}

struct Connection {
    fd: OwnedFd,
    requests: Requests,
    /// What the kernel had no room for.
    queued: Vec<u8>,
    /// Where to write what is read here: this connection, or the other one of a proxied pair.
    to: usize,
    /// There may be more to read, once `to` has room.
    is_held: bool,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Some(fd) = sys::accept(listener.as_raw_fd())? {
            if self.mode.sets_no_delay() {
                sys::set_no_delay(fd.as_raw_fd())?;
            }
            let token = self.add(fd)?;
            match self.mode {
                Mode::Broadcast => self.write(token, HELLO),
                Mode::Proxy(port) => {
                    let backend = self.add(sys::connect(Ipv4Addr::LOCALHOST, port)?)?;
                    for (from, to) in [(token, backend), (backend, token)] {
                        if let Some(connection) = &mut self.connections[from] {
                            connection.to = to;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, fd: OwnedFd) -> io::Result<usize> {
        let token = self.free.pop().unwrap_or(self.connections.len());
        self.epoll.add(fd.as_raw_fd(), token, sys::IN | sys::OUT | sys::EDGE)?;
        let connection =
            Connection { fd, requests: Requests::default(), queued: Vec::new(), to: token, is_held: false };
        if token == self.connections.len() {
            self.connections.push(Some(connection));
        } else {
            self.connections[token] = Some(connection);
        }
        Ok(token)
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) {
        loop {
            let Some(connection) = &self.connections[token] else { return };
            let (fd, to) = (connection.fd.as_raw_fd(), connection.to);
            let is_held = self.connections[to].as_ref().is_some_and(|to| !to.queued.is_empty());
            if let Some(connection) = &mut self.connections[token] {
                connection.is_held = is_held;
            }
            if is_held {
                return;
            }
            match sys::recv(fd, buffer) {
                Ok(None) => return,
                Ok(Some(0)) | Err(_) => {
                    self.close(token);
                    if to != token {
                        self.close(to);
                    }
                    return;
                }
                Ok(Some(count)) => {
                    self.answer(token, to, &buffer[..count]);
                    if count < buffer.len() {
                        return;
                    }
                }
            }
        }
    }

    fn answer(&mut self, token: usize, to: usize, bytes: &[u8]) {
        match self.mode {
            Mode::Echo | Mode::Churn | Mode::Proxy(_) => self.write(to, bytes),
            Mode::Chatty => {
                let requests = self.connections[token].as_mut().map_or(0, |it| it.requests.add(bytes.len()));
                for _ in 0..requests * CHATTY_PIECES {
                    self.write(token, CHATTY_PIECE);
                }
            }
            Mode::Broadcast => (0..self.connections.len()).for_each(|everybody| self.write(everybody, bytes)),
        }
    }

    fn write(&mut self, token: usize, mut bytes: &[u8]) {
        let Some(connection) = &mut self.connections[token] else { return };
        if connection.queued.is_empty() {
            match sys::send(connection.fd.as_raw_fd(), bytes) {
                Ok(count) => bytes = &bytes[count.unwrap_or(0)..],
                // The read that follows finds out.
                Err(_) => return,
            }
        }
        connection.queued.extend_from_slice(bytes);
    }

    /// Writes what is queued; when it is out, reads go on that were held.
    fn flush(&mut self, token: usize, buffer: &mut [u8]) {
        let Some(connection) = &mut self.connections[token] else { return };
        if connection.queued.is_empty() {
            return;
        }
        let queued = std::mem::take(&mut connection.queued);
        self.write(token, &queued);
        // Whoever reads for this connection: itself, or the other one of its pair.
        let Some(from) = self.connections[token].as_ref().filter(|it| it.queued.is_empty()).map(|it| it.to) else {
            return;
        };
        if self.connections[from].as_ref().is_some_and(|it| it.is_held) {
            self.read(from, buffer);
        }
    }

    fn close(&mut self, token: usize) {
        if self.connections[token].take().is_some() {
            self.free.push(token);
        }
    }
}
