//! A chat server: rooms, nicknames, and a policy for members who read too slowly, fall silent, or write no lines.
//!
//!     cargo run --release --example chat -- localhost:8124
//!
//! and in as many other terminals as you like
//!
//!     nc localhost 8124
//!
//! The first line says who you are and in which room; the others are said to the room. With `./chat.sock` in place of
//! the port, `nc -U ./chat.sock` talks to it. A second argument says after how many seconds without a word to or from
//! a member it is warned, and disconnected after as many again (300). Ctrl-C tells everybody and stops.
//!
//! One task reads each member; all write through handles, and nobody waits: who lets too much pile up is out. (How much
//! one may say is not limited.)

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sockeye::{Encoding, Error, Event, Server, ServerOptions, Socket, SocketHandle};
use tokio::signal::unix::{SignalKind, signal};

const MAX_MEMBERS: usize = 1000;
const MAX_LINE: usize = 1024;
const MAX_QUEUED: usize = 64 * 1024;

/// The room and the socket of each nickname.
type Seats = BTreeMap<String, (String, SocketHandle)>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "localhost:8124".into());
    let idle = Duration::try_from_secs_f64(arguments.next().map_or(Ok(300.0), |seconds| seconds.parse())?)?;
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let chat = Arc::new(Mutex::new(Seats::new()));
    let server = Server::with_options(ServerOptions::new().no_delay(true).keep_alive(true))
        .on_connection(move |socket| serve(chat.clone(), socket, idle));
    server.set_max_connections(Some(MAX_MEMBERS));
    println!("chat on {}", server.listen(endpoint).await?);

    tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
    for socket in server.sockets() {
        let _has_ended = socket.try_end_with("* the server stops\n");
    }
    println!("stopped; {} had to be cut off", server.close_within(Duration::from_secs(2)).await);
    Ok(())
}

/// Takes a member in and sees it out again.
async fn serve(chat: Arc<Mutex<Seats>>, mut socket: Socket, idle: Duration) {
    let mut nick = String::new();
    let reason = converse(&chat, &mut nick, &mut socket, idle).await;
    tell(&socket, format!("* goodbye: {reason}\n"));
    let mut seats = lock(&chat);
    if let Some((room, _)) = seats.remove(&nick) {
        say(&seats, &room, &nick, format!("* {nick} has left: {reason}\n"));
    }
}

/// Reads lines until there is a reason not to.
async fn converse(chat: &Mutex<Seats>, nick: &mut String, socket: &mut Socket, idle: Duration) -> String {
    socket.set_encoding(Encoding::Utf8); // what is none arrives as U+FFFD
    socket.set_timeout(idle);
    tell(socket, "* who are you, and in which room? NAME ROOM\n");
    let (mut line, mut is_warned) = (String::new(), false);
    while let Some(event) = socket.next().await {
        match event {
            Event::Text(text) => {
                is_warned = false;
                for piece in text.split_inclusive('\n') {
                    line.extend(piece.chars().filter(|letter| !letter.is_control())); // terminals would obey
                    if line.len() > MAX_LINE {
                        return "that line is too long".into();
                    }
                    if piece.ends_with('\n') {
                        hear(chat, nick, socket, &std::mem::take(&mut line));
                    }
                }
            }
            Event::Timeout if is_warned => return "idle for too long".into(),
            Event::Timeout => {
                is_warned = true;
                tell(socket, "* are you still there?\n");
            }
            Event::Error(error) => return error.message().into(),
            _ => {}
        }
    }
    "hung up".into()
}

fn hear(chat: &Mutex<Seats>, nick: &mut String, socket: &SocketHandle, line: &str) {
    let mut seats = lock(chat);
    if let Some((room, _)) = seats.get(nick) {
        return say(&seats, room, nick, format!("{nick}: {line}\n"));
    }
    let (name, room) = line.trim().split_once(' ').unwrap_or((line.trim(), "lobby"));
    if name.is_empty() || seats.contains_key(name) {
        return tell(socket, "* that name is taken\n");
    }
    tell(socket, format!("* welcome to {room}\n"));
    say(&seats, room, name, format!("* {name} is here\n"));
    seats.insert(name.into(), (room.into(), socket.clone()));
    *nick = name.into();
}

/// Tells everybody in a room but one.
fn say(seats: &Seats, room: &str, except: &str, text: String) {
    let text = Bytes::from(text);
    for (_, (_, socket)) in seats.iter().filter(|(nick, (at, _))| at == room && *nick != except) {
        tell(socket, text.clone());
    }
}

/// Writes without waiting for a slow reader: it is out, and what it has not read is dropped.
fn tell(socket: &SocketHandle, text: impl Into<Bytes>) {
    let _has_ended = socket.try_write(text.into());
    if socket.writable_length() > MAX_QUEUED {
        socket.destroy_with(Error::new("CHAT_SLOW", "reads too slowly"));
    }
}

fn lock(chat: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}
