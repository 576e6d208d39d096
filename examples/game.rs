//! A game: players walk on a field and paint it. The server alone decides, twenty times a second, and tells everybody
//! the whole state. Who reads too slowly misses states: it has what the kernel holds for it already, then the newest.
//!
//!     cargo run --release --example game -- localhost:8124
//!
//! and in another terminal, to go south and see what comes back
//!
//!     (printf '\0\0\0\1s'; sleep 1) | nc localhost 8124 | xxd | less
//!
//! Each message follows its length in four bytes. A player sends `n`, `e`, `s` or `w`, a step that the next tick takes.
//! The server sends `W`, the player's number and the size of the field; then states: `S`, the tick (four bytes), how
//! many players there are, number, x and y of each, and the number of who painted each cell last; `G` when it stops.
//! The arguments are a port or path to listen on, and the number of ticks in a second.

use std::collections::BTreeMap;
use std::error::Error;
use std::mem;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sockeye::{Server, ServerOptions, Socket, SocketHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

const SIZE: u8 = 64;
const MAX_PLAYERS: u8 = 100;
const MAX_MESSAGE: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "localhost:8124".into());
    let rate: NonZeroU16 = arguments.next().as_deref().unwrap_or("20").parse()?;
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let field = vec![0; usize::from(SIZE).pow(2)];
    let world = Arc::new(Mutex::new(World { tick: 0, players: BTreeMap::new(), field }));
    let joined = world.clone();
    let server = Server::with_options(ServerOptions::new().no_delay(true).keep_alive(true))
        .on_connection(move |socket| play(joined.clone(), socket));
    server.set_max_connections(Some(MAX_PLAYERS.into()));
    println!("game on {}", server.listen(endpoint).await?);

    let mut ticks = interval(Duration::from_secs(1) / rate.get().into());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => lock(&world).tick(),
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        }
    }
    for socket in server.sockets() {
        let _has_ended = socket.try_end_with(message(b"G"));
    }
    println!("stopped; {} had to be cut off", server.close_within(Duration::from_secs(2)).await);
    Ok(())
}

async fn play(world: Arc<Mutex<World>>, socket: Socket) {
    let Some(number) = lock(&world).join(socket.handle()) else { return };
    println!("player {number} has joined");
    let failure = obey(&world, number, socket).await.err();
    lock(&world).players.remove(&number);
    println!("player {number} has left: {}", failure.unwrap_or_else(|| "goodbye".into()));
}

/// Takes a player's messages until it ends.
async fn obey(world: &Mutex<World>, number: u8, socket: Socket) -> Result<(), Box<dyn Error + Send + Sync>> {
    socket.set_timeout(Duration::from_secs(10)); // who takes no state for so long, since each one that leaves counts
    let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE).new_codec();
    let mut messages = FramedRead::new(socket, codec);
    while let Some(message) = messages.try_next().await? {
        let step = match &message[..] {
            b"n" => (0, -1),
            b"e" => (1, 0),
            b"s" => (0, 1),
            b"w" => (-1, 0),
            _ => return Err("no such message".into()),
        };
        lock(world).players.entry(number).and_modify(|player| player.step = step);
    }
    Ok(())
}

struct World {
    tick: u32,
    players: BTreeMap<u8, Player>,
    field: Vec<u8>,
}

struct Player {
    socket: SocketHandle,
    place: (u8, u8),
    step: (i8, i8),
}

impl World {
    fn join(&mut self, socket: SocketHandle) -> Option<u8> {
        let number = (1..=MAX_PLAYERS).find(|number| !self.players.contains_key(number))?;
        let _has_ended = socket.try_write(message(&[b'W', number, SIZE]));
        let _has_ended = socket.try_write(self.state());
        let place = (number.wrapping_mul(37) % SIZE, number.wrapping_mul(23) % SIZE);
        self.players.insert(number, Player { socket, place, step: (0, 0) });
        Some(number)
    }

    fn tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        for (number, player) in &mut self.players {
            let ((x, y), (right, down)) = (player.place, mem::take(&mut player.step));
            let (x, y) = (x.saturating_add_signed(right).min(SIZE - 1), y.saturating_add_signed(down).min(SIZE - 1));
            player.place = (x, y);
            self.field[usize::from(y) * usize::from(SIZE) + usize::from(x)] = *number;
        }
        let state = self.state();
        let is_up_to_date = |player: &&Player| player.socket.writable_length() == 0;
        for Player { socket, .. } in self.players.values().filter(is_up_to_date) {
            let _has_ended = socket.try_write(&state);
        }
    }

    fn state(&self) -> Bytes {
        let mut state = vec![b'S'];
        state.extend(self.tick.to_be_bytes());
        state.push(self.players.len() as u8);
        state.extend(self.players.iter().flat_map(|(number, Player { place: (x, y), .. })| [*number, *x, *y]));
        state.extend(&self.field);
        message(&state)
    }
}

fn message(bytes: &[u8]) -> Bytes {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat().into()
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
