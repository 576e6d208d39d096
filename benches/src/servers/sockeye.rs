//! sockeye in each of its styles.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use sockeye::{Event, ListenOptions, Listeners, Result, Server, ServerOptions, Socket, SocketHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CHATTY_PIECE, CHATTY_PIECES, HELLO, Mode, Requests, SMALL_BUFFER};
use crate::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `socket.next().await` and `socket.write`.
    Events,
    /// `socket.pipe(..)`.
    Pipe,
    /// tokio's traits, with a buffer for each connection.
    Async,
    /// A closure for each event.
    Listeners,
    /// As `Events`, with small writes between `cork` and `uncork`.
    Cork,
}

impl Style {
    pub(super) fn can(self, mode: Mode) -> bool {
        match self {
            Self::Events => !matches!(mode, Mode::Proxy(_)),
            Self::Pipe => matches!(mode, Mode::Echo | Mode::Churn | Mode::Proxy(_)),
            Self::Async => mode != Mode::Broadcast,
            Self::Listeners => !matches!(mode, Mode::Proxy(_)),
            Self::Cork => mode == Mode::Chatty,
        }
    }
}

impl FromStr for Style {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "sockeye-events" => Ok(Self::Events),
            "sockeye-pipe" => Ok(Self::Pipe),
            "sockeye-async" => Ok(Self::Async),
            "sockeye-listeners" => Ok(Self::Listeners),
            "sockeye-cork" => Ok(Self::Cork),
            _ => Err(()),
        }
    }
}

pub(super) async fn serve(listener: std::net::TcpListener, mode: Mode, style: Style) -> Result<(), Failure> {
    let options = ServerOptions::new().no_delay(mode.sets_no_delay());
    let room = Room::default();
    if style == Style::Listeners {
        let mut server = Server::with_options(options);
        server.listen_on_with(listener, ListenOptions::new().backlog(4096)).await?;
        while let Some(socket) = server.accept().await {
            attach(socket, mode, room.clone())?;
        }
        return Ok(());
    }
    let server = Server::with_options(options);
    // One listener for each, so that a connection's task has the size of what it does and not of the largest of them.
    let server = match (mode, style) {
        (Mode::Echo | Mode::Churn, Style::Pipe) => server.on_connection(pipe),
        (Mode::Echo | Mode::Churn, Style::Async) => server.on_connection(read_and_write),
        (Mode::Echo | Mode::Churn, _) => server.on_connection(echo),
        (Mode::Chatty, Style::Async) => server.on_connection(read_and_chat),
        (Mode::Chatty, style) => server.on_connection(move |socket| chat(socket, style == Style::Cork)),
        (Mode::Broadcast, _) => server.on_connection(move |socket| room.clone().join(socket)),
        (Mode::Proxy(port), Style::Async) => server.on_connection(move |socket| copy(socket, port)),
        (Mode::Proxy(port), _) => server.on_connection(move |socket| proxy(socket, port)),
    };
    server.listen_on_with(listener, ListenOptions::new().backlog(4096)).await?;
    server.closed().await?;
    Ok(())
}

async fn echo(mut socket: Socket) -> Result<()> {
    while let Some(event) = socket.next().await {
        match event {
            Event::Data(chunk) => {
                let has_room = socket.write(chunk);
                if !has_room {
                    socket.drained().await?;
                }
            }
            Event::Error(error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn pipe(mut socket: Socket) -> Result<()> {
    let echo = socket.handle();
    socket.pipe(&echo).await.map(drop)
}

async fn read_and_write(mut socket: Socket) -> Result<()> {
    let mut buffer = vec![0; SMALL_BUFFER];
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            count => socket.write_all(&buffer[..count]).await?,
        }
    }
}

async fn chat(mut socket: Socket, is_corked: bool) -> Result<()> {
    let mut requests = Requests::default();
    while let Some(event) = socket.next().await {
        match event {
            Event::Data(chunk) => {
                for _ in 0..requests.add(chunk.len()) {
                    if is_corked {
                        socket.cork();
                    }
                    write_pieces(&socket);
                    if is_corked {
                        socket.uncork();
                    }
                }
            }
            Event::Error(error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn read_and_chat(mut socket: Socket) -> Result<()> {
    let mut requests = Requests::default();
    let mut buffer = vec![0; SMALL_BUFFER];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..requests.add(count) * CHATTY_PIECES {
            socket.write_all(CHATTY_PIECE).await?;
        }
    }
}

fn write_pieces(socket: &SocketHandle) {
    for _ in 0..CHATTY_PIECES {
        socket.write(CHATTY_PIECE);
    }
}

async fn proxy(mut front: Socket, port: u16) -> Result<()> {
    let mut back = sockeye::connect(("127.0.0.1", port)).await?;
    back.set_no_delay(true);
    let (to_front, to_back) = (front.handle(), back.handle());
    tokio::try_join!(front.pipe(&to_back), back.pipe(&to_front)).map(drop)
}

async fn copy(mut front: Socket, port: u16) -> Result<()> {
    let mut back = sockeye::connect(("127.0.0.1", port)).await?;
    back.set_no_delay(true);
    tokio::io::copy_bidirectional_with_sizes(&mut front, &mut back, SMALL_BUFFER, SMALL_BUFFER).await?;
    Ok(())
}

fn attach(socket: Socket, mode: Mode, room: Room) -> Result<()> {
    let mut requests = Requests::default();
    if mode == Mode::Broadcast {
        room.enter(&socket);
    }
    let listeners = Listeners::new().on_data(move |socket, chunk| match mode {
        Mode::Chatty => (0..requests.add(chunk.len())).for_each(|_| write_pieces(socket)),
        Mode::Broadcast => room.tell(&chunk),
        _ => {
            if !socket.write(chunk) {
                socket.pause();
            }
        }
    });
    socket.attach(listeners.on_drain(|socket| socket.resume())).map(drop)
}

/// The handles of all connections.
#[derive(Clone, Default)]
struct Room {
    members: Arc<Mutex<Vec<SocketHandle>>>,
}

impl Room {
    async fn join(self, mut socket: Socket) -> Result<()> {
        self.enter(&socket);
        while let Some(event) = socket.next().await {
            match event {
                Event::Data(chunk) => self.tell(&chunk),
                Event::Error(error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn enter(&self, socket: &Socket) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(socket.handle());
        socket.write(HELLO);
    }

    fn tell(&self, message: &bytes::Bytes) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.try_write(message.clone()).is_ok());
    }
}
