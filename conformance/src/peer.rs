//! The neutral peer: plain sockets that do what a scenario says and nothing by themselves.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::scenario::PeerAction;

/// What a peer takes at once, at most.
const SCRATCH: usize = 256 * 1024;

/// Together with what the sender's kernel holds, far below what scenarios call a large write.
const RECEIVE_BUFFER: usize = 256 * 1024;

pub struct Peer {
    listener: Socket,
    /// Bound and not listening: nobody can connect there.
    refusing: Option<Socket>,
    is_unix: bool,
    connections: Vec<Option<Connection>>,
    scratch: Vec<u8>,
}

struct Connection {
    socket: Socket,
    /// Bytes that are to be sent, from the front.
    outgoing: Vec<u8>,
    sent: usize,
    received: usize,
    /// What of it has been told.
    told: usize,
    /// How many more bytes are to be read.
    wanted: usize,
    fin_when_sent: bool,
    end: Option<&'static str>,
    corrupt_at: Option<usize>,
}

impl Peer {
    pub fn new(is_unix: bool, directory: &Path) -> io::Result<Self> {
        let (listener, refusing) = if is_unix {
            let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            listener.bind(&SockAddr::unix(directory.join("peer.sock"))?)?;
            (listener, None)
        } else {
            let local = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            listener.bind(&local)?;
            let refusing = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            refusing.bind(&local)?;
            (listener, Some(refusing))
        };
        // A buffer of a given size does not grow: what the kernel takes hangs on nothing that was before.
        listener.set_recv_buffer_size(RECEIVE_BUFFER)?;
        listener.listen(64)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, refusing, is_unix, connections: Vec::new(), scratch: vec![0; SCRATCH] })
    }

    pub fn port(&self) -> Option<u16> {
        port(&self.listener)
    }

    pub fn refusing_port(&self) -> Option<u16> {
        self.refusing.as_ref().and_then(port)
    }

    /// Begins an action. `server` is where the subject listens. What it has to say, if that is not a matter of time.
    pub fn act(&mut self, index: usize, action: &PeerAction, server: Option<&SockAddr>) -> Option<String> {
        let connection = match action {
            PeerAction::Accept => return self.add(index, self.listener.accept().map(|(socket, _)| socket)),
            PeerAction::Connect => return self.add(index, self.connect(server)),
            _ => match self.connections.get_mut(index) {
                Some(Some(connection)) => connection,
                _ => return Some("is not connected".into()),
            },
        };
        match action {
            PeerAction::Send(count) => {
                let start = connection.sent + connection.outgoing.len();
                connection.outgoing.extend((start..start + count).map(|position| (position % 251) as u8));
            }
            PeerAction::SendHex(bytes) => connection.outgoing.extend_from_slice(bytes),
            PeerAction::Read(count) => connection.wanted = *count,
            PeerAction::ReadAll | PeerAction::ExpectEof => connection.wanted = usize::MAX,
            PeerAction::StopReading => connection.wanted = 0,
            PeerAction::Fin => connection.fin_when_sent = true,
            PeerAction::Rst if self.is_unix => return Some("cannot reset over unix".into()),
            PeerAction::Rst => {
                let _ = connection.socket.set_linger(Some(Duration::ZERO));
                self.connections[index] = None;
            }
            PeerAction::Close => self.connections[index] = None,
            PeerAction::Accept | PeerAction::Connect => {}
        }
        None
    }

    /// Sends and reads what can be. Whether anything could.
    pub fn pump(&mut self) -> bool {
        let mut progress = false;
        for connection in self.connections.iter_mut().flatten() {
            if !self.is_unix {
                connection.acknowledge();
            }
            progress |= connection.send() | connection.read(&mut self.scratch);
        }
        progress
    }

    /// Everybody reads until the end.
    pub fn read_everything(&mut self) {
        for connection in self.connections.iter_mut().flatten() {
            connection.wanted = usize::MAX;
        }
    }

    /// What was seen since the last time. `expected` is how much all subjects have written: an amount other than that
    /// may hang on the size of the kernel's buffers.
    pub fn take_lines(&mut self, expected: &[u64]) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, connection) in self.connections.iter_mut().enumerate() {
            let Some(connection) = connection else { continue };
            if connection.received > connection.told {
                let is_certain = connection.received <= 16 * 1024
                    || connection.wanted == 0
                    || expected.contains(&(connection.received as u64));
                let amount = if is_certain { connection.received.to_string() } else { "some".into() };
                lines.push(format!("peer {index} has received {amount}"));
                connection.told = connection.received;
            }
            if let Some(position) = connection.corrupt_at.take() {
                lines.push(format!("peer {index} reads wrong bytes at {position}"));
            }
            if let Some(end) = connection.end.filter(|end| !end.is_empty()) {
                lines.push(format!("peer {index} sees {end}"));
                connection.end = Some("");
            }
        }
        lines
    }

    fn connect(&self, server: Option<&SockAddr>) -> io::Result<Socket> {
        let server = server.ok_or(ErrorKind::NotFound)?;
        let socket = Socket::new(server.domain(), Type::STREAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.connect(server)?;
        Ok(socket)
    }

    fn add(&mut self, index: usize, socket: io::Result<Socket>) -> Option<String> {
        let made = socket.and_then(|socket| {
            socket.set_nonblocking(true)?;
            if !self.is_unix {
                // Nothing is to wait for an acknowledgement.
                socket.set_tcp_nodelay(true)?;
            }
            Ok(socket)
        });
        let socket = match made {
            Ok(socket) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some("has nobody to accept".into()),
            Err(_) => return Some("is refused".into()),
        };
        while self.connections.len() <= index {
            self.connections.push(None);
        }
        self.connections[index] = Some(Connection {
            socket,
            outgoing: Vec::new(),
            sent: 0,
            received: 0,
            told: 0,
            wanted: 0,
            fin_when_sent: false,
            end: None,
            corrupt_at: None,
        });
        None
    }
}

impl Connection {
    /// What the subject holds back until its last segment is acknowledged would otherwise come when it likes.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.socket.set_tcp_quickack(true);
    }

    fn send(&mut self) -> bool {
        let mut progress = false;
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                    self.sent += count;
                    progress = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return progress,
                // Reading tells what became of the connection.
                Err(_) => self.outgoing.clear(),
            }
        }
        if std::mem::take(&mut self.fin_when_sent) {
            progress |= self.socket.shutdown(Shutdown::Write).is_ok();
        }
        progress
    }

    fn read(&mut self, scratch: &mut [u8]) -> bool {
        let mut progress = false;
        while self.wanted > 0 && self.end.is_none() {
            let room = self.wanted.min(scratch.len());
            match self.socket.read(&mut scratch[..room]) {
                Ok(0) => self.end = Some("eof"),
                Ok(count) => {
                    let belongs = |(offset, byte): (usize, &u8)| *byte == ((self.received + offset) % 251) as u8;
                    if !scratch[..count].iter().enumerate().all(belongs) {
                        self.corrupt_at.get_or_insert(self.received);
                    }
                    self.received += count;
                    if self.wanted != usize::MAX {
                        self.wanted -= count;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return progress,
                Err(_) => self.end = Some("reset"),
            }
            progress = true;
        }
        progress
    }
}

fn port(socket: &Socket) -> Option<u16> {
    Some(socket.local_addr().ok()?.as_socket()?.port())
}
