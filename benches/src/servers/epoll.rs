//! The floor: a loop over epoll with one buffer. A message costs one read, one write and its share of an `epoll_wait`.
//! It is level-triggered, which was not dearer than edge-triggered in any comparison made here.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use super::{CHATTY_PIECE, CHATTY_PIECES, HELLO, Mode, Requests};
use crate::Failure;
use crate::sys::{self, Epoll};

const LISTENER: usize = usize::MAX;

/// `stays_awake` is for what proxies pass on to, which is no peer but part of the load.
pub(super) fn serve(listener: TcpListener, mode: Mode, buffer: usize, stays_awake: bool) -> Result<(), Failure> {
    let epoll = Epoll::new(1024)?;
    epoll.add(listener.as_raw_fd(), LISTENER, sys::IN)?;
    let mut server = Server { mode, epoll, connections: Vec::new(), free: Vec::new() };
    let mut buffer = vec![0; buffer];
    loop {
        let ready = if stays_awake { server.epoll.wait_awake(-1)? } else { server.epoll.wait(-1)? };
        for index in 0..ready {
            match server.epoll.event(index) {
                (LISTENER, _) => server.accept(&listener)?,
                (token, what) => {
                    if what & sys::OUT != 0 {
                        server.flush(token)?;
                    }
                    if what & (sys::IN | sys::FAILED) != 0 {
                        server.read(token, &mut buffer)?;
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
    /// Nothing is read here until `to` has written what is queued.
    is_held: bool,
    interest: u32,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Some(fd) = sys::accept(listener.as_raw_fd())? {
            if self.mode.sets_no_delay() {
                sys::set_no_delay(fd.as_raw_fd())?;
            }
            let token = self.add(fd)?;
            match self.mode {
                Mode::Broadcast => self.write(token, HELLO)?,
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
        self.epoll.add(fd.as_raw_fd(), token, sys::IN)?;
        let connection = Connection {
            fd,
            requests: Requests::default(),
            queued: Vec::new(),
            to: token,
            is_held: false,
            interest: sys::IN,
        };
        if token == self.connections.len() {
            self.connections.push(Some(connection));
        } else {
            self.connections[token] = Some(connection);
        }
        Ok(token)
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = &self.connections[token] else { return Ok(()) };
        let to = connection.to;
        match sys::recv(connection.fd.as_raw_fd(), buffer) {
            Ok(None) => Ok(()),
            Ok(Some(0)) | Err(_) => {
                self.close(token);
                self.close(to);
                Ok(())
            }
            Ok(Some(count)) => {
                self.answer(token, to, &buffer[..count])?;
                let is_full = self.connections[to].as_ref().is_some_and(|to| !to.queued.is_empty());
                if is_full { self.hold(token, true) } else { Ok(()) }
            }
        }
    }

    fn answer(&mut self, token: usize, to: usize, bytes: &[u8]) -> io::Result<()> {
        match self.mode {
            Mode::Echo | Mode::Churn | Mode::Proxy(_) => self.write(to, bytes),
            Mode::Chatty => {
                let requests = self.connections[token].as_mut().map_or(0, |it| it.requests.add(bytes.len()));
                (0..requests * CHATTY_PIECES).try_for_each(|_| self.write(token, CHATTY_PIECE))
            }
            Mode::Broadcast => (0..self.connections.len()).try_for_each(|everybody| self.write(everybody, bytes)),
        }
    }

    fn write(&mut self, token: usize, mut bytes: &[u8]) -> io::Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        if connection.queued.is_empty() {
            match sys::send(connection.fd.as_raw_fd(), bytes) {
                Ok(count) => bytes = &bytes[count.unwrap_or(0)..],
                // The next read finds out.
                Err(_) => return Ok(()),
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        connection.queued.extend_from_slice(bytes);
        self.update(token)
    }

    /// Writes what is queued; when it is out, whoever reads for this connection goes on.
    fn flush(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        let queued = std::mem::take(&mut connection.queued);
        self.write(token, &queued)?;
        self.update(token)?;
        match &self.connections[token] {
            Some(connection) if connection.queued.is_empty() => self.hold(connection.to, false),
            _ => Ok(()),
        }
    }

    fn hold(&mut self, token: usize, is_held: bool) -> io::Result<()> {
        if let Some(connection) = &mut self.connections[token] {
            connection.is_held = is_held;
        }
        self.update(token)
    }

    fn update(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        let reads = if connection.is_held { 0 } else { sys::IN };
        let writes = if connection.queued.is_empty() { 0 } else { sys::OUT };
        if connection.interest == reads | writes {
            return Ok(());
        }
        connection.interest = reads | writes;
        self.epoll.modify(connection.fd.as_raw_fd(), token, connection.interest)
    }

    fn close(&mut self, token: usize) {
        if self.connections[token].take().is_some() {
            self.free.push(token);
        }
    }
}
