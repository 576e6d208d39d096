//! The program that is usually written with tokio: a task for each connection, with a buffer.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{self, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{CHATTY_PIECE, CHATTY_PIECES, HELLO, Mode, Requests};
use crate::Failure;

pub(super) async fn serve(
    listener: std::net::TcpListener,
    mode: Mode,
    buffer: usize,
    is_buffered: bool,
) -> Result<(), Failure> {
    let listener = TcpListener::from_std(listener)?;
    let room = Room::default();
    loop {
        let (stream, _) = listener.accept().await?;
        if mode.sets_no_delay() {
            stream.set_nodelay(true)?;
        }
        // The connection is over, however its task ends.
        match mode {
            Mode::Echo | Mode::Churn => drop(tokio::spawn(echo(stream, buffer))),
            Mode::Chatty => drop(tokio::spawn(chat(stream, buffer, is_buffered))),
            Mode::Broadcast => drop(tokio::spawn(room.clone().join(stream, buffer))),
            Mode::Proxy(port) => drop(tokio::spawn(proxy(stream, port, buffer))),
        }
    }
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

async fn chat(mut stream: TcpStream, buffer: usize, is_buffered: bool) -> io::Result<()> {
    let mut requests = Requests::default();
    let mut buffer = vec![0; buffer];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..requests.add(count) {
            if is_buffered {
                let mut writer = BufWriter::new(&mut stream);
                write_pieces(&mut writer).await?;
                writer.flush().await?;
            } else {
                write_pieces(&mut stream).await?;
            }
        }
    }
}

async fn write_pieces(writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    for _ in 0..CHATTY_PIECES {
        writer.write_all(CHATTY_PIECE).await?;
    }
    Ok(())
}

async fn proxy(mut stream: TcpStream, port: u16, buffer: usize) -> io::Result<()> {
    let mut backend = TcpStream::connect(("127.0.0.1", port)).await?;
    backend.set_nodelay(true)?;
    io::copy_bidirectional_with_sizes(&mut stream, &mut backend, buffer, buffer).await.map(drop)
}

/// As in tokio's chat example: a channel for each connection, whose task writes what comes in.
#[derive(Clone, Default)]
struct Room {
    members: Arc<Mutex<Vec<UnboundedSender<Bytes>>>>,
}

impl Room {
    async fn join(self, mut stream: TcpStream, buffer: usize) -> io::Result<()> {
        let mut messages = self.enter();
        let mut buffer = vec![0; buffer];
        stream.write_all(HELLO).await?;
        loop {
            tokio::select! {
                Some(message) = messages.recv() => stream.write_all(&message).await?,
                count = stream.read(&mut buffer) => match count? {
                    0 => return Ok(()),
                    count => self.tell(&Bytes::copy_from_slice(&buffer[..count])),
                },
            }
        }
    }

    fn enter(&self) -> UnboundedReceiver<Bytes> {
        let (sender, receiver) = unbounded_channel();
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    fn tell(&self, message: &Bytes) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.send(message.clone()).is_ok());
    }
}
