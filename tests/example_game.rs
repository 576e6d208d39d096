//! The game example, as it is run from a shell, and what it meets in the field.

mod common;
mod plain;
mod process;

use std::collections::BTreeMap;

use common::bounded;
use common::serving::endpoints;
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use plain::{Duplex, connect, connect_narrowly, connect_to_reset};
use process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

/// How many ticks the game has in a second here.
const RATE: &str = "1000";
const SIZE: u8 = 64;
/// The length of a state beside what it says of each player.
const STATE: usize = 6 + 64 * 64;
/// How many states are likely to be more than the kernel holds.
const MANY: u32 = 3 * 1024 * 1024 / STATE as u32;

/// The game server, and where it listens.
struct Game {
    process: Process,
    address: String,
}

struct Player {
    stream: BufReader<Box<dyn Duplex>>,
    number: u8,
}

#[derive(Clone, Debug)]
struct State {
    tick: u32,
    places: BTreeMap<u8, (u8, u8)>,
    field: Vec<u8>,
}

impl Game {
    async fn start(endpoint: &str) -> Self {
        let mut process = Process::example("game", [endpoint, RATE]);
        let line = process.line().await;
        let address = line.strip_prefix("game on ").expect(&line).to_owned();
        Self { process, address }
    }

    async fn player(&mut self) -> Player {
        let stream = connect(&self.address).await;
        self.join(stream).await
    }

    async fn join(&mut self, stream: Box<dyn Duplex>) -> Player {
        let mut player = Player { stream: BufReader::new(stream), number: 0 };
        let welcome = player.message().await.unwrap();
        let [b'W', number, SIZE] = welcome[..] else { panic!("no welcome: {welcome:?}") };
        player.number = number;
        assert_eq!(self.process.line().await, format!("player {number} has joined"));
        player
    }

    /// The reason for which a player has left.
    async fn leaving(&mut self, number: u8) -> String {
        let line = self.process.line().await;
        line.strip_prefix(&format!("player {number} has left: ")).expect(&line).to_owned()
    }

    /// Tells the server to stop, and checks that it tells everybody.
    async fn stops(mut self, players: Vec<Player>) {
        self.process.signal(Signal::SIGINT);
        join_all(players.into_iter().map(Player::hears_goodbye)).await;
        self.ends_with(0).await;
    }

    async fn ends_with(&mut self, cut_off: usize) {
        let lines = self.process.rest().await;
        assert!(lines.contains(&format!("stopped; {cut_off} had to be cut off")), "{lines:?}");
        assert_eq!(self.process.exit().await.code(), Some(0));
        assert_eq!(self.process.errors().await, "");
    }
}

impl Player {
    async fn send(&mut self, message: &[u8]) {
        self.stream.write_all(&framed(message)).await.unwrap();
    }

    /// The next message; `None` at the end.
    async fn message(&mut self) -> Option<Vec<u8>> {
        let length = self.stream.read_u32().await.ok()?;
        let mut message = vec![0; length as usize];
        self.stream.read_exact(&mut message).await.unwrap();
        Some(message)
    }

    async fn state(&mut self) -> State {
        State::parse(&self.message().await.expect("a state"))
    }

    /// Reads states until one is as it should be.
    async fn state_where(&mut self, is_so: impl Fn(&State) -> bool) -> State {
        loop {
            let state = self.state().await;
            if is_so(&state) {
                return state;
            }
        }
    }

    async fn place(&mut self) -> (u8, u8) {
        let number = self.number;
        self.state_where(|state| state.places.contains_key(&number)).await.places[&number]
    }

    /// Takes a step and sees it taken.
    async fn walks(&mut self, step: &[u8], to: (u8, u8)) -> State {
        let number = self.number;
        let from = self.place().await;
        self.send(step).await;
        let state = self.state_where(|state| state.places[&number] != from).await;
        assert_eq!(state.places[&number], to);
        assert_eq!((state.colour(from), state.colour(to)), (number, number));
        state
    }

    async fn hears_goodbye(mut self) {
        let mut last = None;
        while let Some(message) = self.message().await {
            last = Some(message);
        }
        assert_eq!(last.as_deref(), Some(&b"G"[..]));
    }
}

impl State {
    fn parse(message: &[u8]) -> Self {
        let (&[b'S', t0, t1, t2, t3, count], rest) = message.split_first_chunk().unwrap() else {
            panic!("no state: {message:?}")
        };
        let (places, field) = rest.split_at(usize::from(count) * 3);
        assert_eq!(message.len(), STATE + places.len());
        let places = places.chunks(3).map(|place| (place[0], (place[1], place[2]))).collect();
        Self { tick: u32::from_be_bytes([t0, t1, t2, t3]), places, field: field.to_vec() }
    }

    fn colour(&self, (x, y): (u8, u8)) -> u8 {
        self.field[usize::from(y) * usize::from(SIZE) + usize::from(x)]
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn a_player_walks_and_paints_and_stops_at_the_border() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            let (x, y) = player.place().await;
            player.walks(b"s", (x, y + 1)).await;
            player.walks(b"e", (x + 1, y + 1)).await;
            player.walks(b"n", (x + 1, y)).await;
            for x in (0..=x).rev() {
                player.walks(b"w", (x, y)).await;
            }
            // Further west is nothing, so the next step is the only one.
            player.send(b"w").await;
            let state = player.walks(b"s", (0, y + 1)).await;
            let painted = state.field.iter().filter(|colour| **colour == player.number).count();
            assert_eq!(painted, usize::from(x) + 1 + 4);
            game.stops(vec![player]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_comes_late_has_the_whole_state_at_once() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut first = game.player().await;
            let (x, y) = first.place().await;
            first.walks(b"e", (x + 1, y)).await;
            let mut late = game.player().await;
            assert_ne!(late.number, first.number);
            let state = late.state().await;
            assert!(!state.places.contains_key(&late.number), "it came before the next tick");
            assert_eq!(state.places[&first.number], (x + 1, y));
            assert_eq!([(x, y), (x + 1, y)].map(|place| state.colour(place)), [first.number; 2]);
            // From then on they see each other.
            let (x, y) = late.place().await;
            late.walks(b"s", (x, y + 1)).await;
            let number = late.number;
            first.state_where(|state| state.places.get(&number) == Some(&(x, y + 1))).await;
            game.stops(vec![first, late]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_takes_more_than_one_step_in_a_tick() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            let state = player.state_where(|state| state.places.contains_key(&1)).await;
            let (mut tick, (mut x, y)) = (state.tick, state.places[&1]);
            let many = framed(b"e").repeat(1000);
            let (reader, mut writer) = tokio::io::split(player.stream);
            let hurry = tokio::spawn(async move { while writer.write_all(&many).await.is_ok() {} });
            player.stream = BufReader::new(Box::new(tokio::io::join(reader, tokio::io::sink())));
            while x < SIZE - 1 {
                let state = player.state().await;
                let place = state.places[&player.number];
                assert!(u32::from(place.0 - x) <= state.tick - tick && place.1 == y, "{place:?} after {x}");
                (tick, x) = (state.tick, place.0);
            }
            drop(player);
            hurry.abort();
            game.leaving(1).await;
            game.stops(Vec::new()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_may_come_in_pieces() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            let (x, y) = player.place().await;
            for byte in framed(b"s") {
                assert_eq!(player.place().await, (x, y), "the message is not complete");
                player.stream.write_all(&[byte]).await.unwrap();
            }
            player.state_where(|state| state.places[&1] == (x, y + 1)).await;
            game.stops(vec![player]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_sends_garbage_is_out_and_the_others_play_on() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            let pattern = common::pattern(100_000);
            let garbage: [(&[u8], &str); 6] = [
                (&framed(b"x"), "no such message"),
                (&framed(b""), "no such message"),
                (&framed(b"north"), "no such message"),
                (&framed(&[b'n'; 17]), "frame size too big"),
                // 4 GiB are announced.
                (&[0xff, 0xff, 0xff, 0xff, b'n'], "frame size too big"),
                (&pattern, "frame size too big"),
            ];
            for (bytes, reason) in garbage {
                let mut other = game.player().await;
                let _reset = other.stream.write_all(bytes).await;
                assert_eq!(game.leaving(other.number).await, reason);
                while other.stream.read_u8().await.is_ok() {}
                let (x, y) = player.place().await;
                player.walks(b"e", (x + 1, y)).await;
            }
            if let Some(peak) = game.process.peak_memory() {
                assert!(peak < 256 * 1024, "{peak} KiB for what was only announced");
            }
            game.stops(vec![player]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_killed_in_the_middle_of_a_message_leaves_its_number_to_the_next() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            for is_reset in [true, false] {
                let address = &game.address;
                let stream = if is_reset { connect_to_reset(address).await } else { connect(address).await };
                let mut other = game.join(stream).await;
                assert_eq!(other.number, 2);
                other.stream.write_all(&framed(b"n")[..3]).await.unwrap();
                drop(other);
                let reason = game.leaving(2).await;
                assert_ne!(reason, "goodbye", "half a message is no goodbye");
                player.state_where(|state| !state.places.contains_key(&2)).await;
            }
            // A player that leaves in good order.
            let mut other = game.player().await;
            other.stream.shutdown().await.unwrap();
            assert_eq!(game.leaving(2).await, "goodbye");
            game.stops(vec![player]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_does_not_read_misses_states_and_catches_up() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            let narrow = connect_narrowly(&game.address).await;
            let mut behind = game.join(narrow).await;
            let mut seen = behind.state().await.tick;
            let (mut missing, mut passing) = (0, MANY);
            while missing == 0 {
                // This goes by for those who read, until it is more than the kernel holds for those who do not.
                player.state_where(|state| state.tick > seen + passing).await;
                passing *= 2;
                let (x, y) = player.place().await;
                let moved = player.walks(b"e", (x + 1, y)).await;

                // The oldest are still there, then some are missing, and then it is up to date.
                while seen < moved.tick {
                    let state = behind.state().await;
                    assert!(state.tick > seen, "states do not come twice or in disorder");
                    missing += state.tick - seen - 1;
                    seen = state.tick;
                    if seen >= moved.tick {
                        assert_eq!(state.places[&player.number], (x + 1, y));
                        assert_eq!(state.colour((x + 1, y)), player.number);
                    }
                }
            }
            let (x, y) = behind.place().await;
            behind.walks(b"s", (x, y + 1)).await;
            game.stops(vec![player, behind]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_takes_nothing_does_not_keep_the_server() {
    bounded(async {
        // Both take as long as the server waits.
        join_all(endpoints().map(async |endpoint| {
            let mut game = Game::start(&endpoint).await;
            let mut player = game.player().await;
            let narrow = connect_narrowly(&game.address).await;
            let behind = game.join(narrow).await;
            let until = player.state().await.tick + MANY;
            player.state_where(|state| state.tick > until).await;
            game.process.signal(Signal::SIGTERM);
            player.hears_goodbye().await;
            game.ends_with(1).await;
            drop(behind);
        }))
        .await;
    })
    .await;
}

#[tokio::test]
async fn one_more_than_there_is_room_for_is_turned_away() {
    bounded(async {
        for endpoint in endpoints() {
            let mut game = Game::start(&endpoint).await;
            let mut players = Vec::new();
            for number in 1..=100 {
                players.push(game.player().await);
                assert_eq!(players.last().unwrap().number, number);
            }
            let mut other = BufReader::new(connect(&game.address).await);
            assert!(other.read_u8().await.is_err());
            drop(players.remove(41));
            let reason = game.process.line().await;
            assert!(reason.starts_with("player 42 has left: "), "{reason}");
            let player = game.player().await;
            assert_eq!(player.number, 42);
            players.push(player);
            game.stops(players).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_it_cannot_use_is_an_error() {
    bounded(async {
        for (arguments, message) in [
            (["game.sock", "20"], "ERR_INVALID_ARG_VALUE"),
            (["localhost:65536", "20"], "ERR_SOCKET_BAD_PORT"),
            (["localhost:0", "0"], "ParseIntError"),
            (["localhost:0", "often"], "ParseIntError"),
        ] {
            let errors = Process::example("game", arguments).fails().await;
            assert!(errors.contains(message), "{arguments:?}: {errors}");
        }
        let game = Game::start("127.0.0.1:0").await;
        let errors = Process::example("game", [&game.address]).fails().await;
        assert!(errors.contains("EADDRINUSE"), "{errors}");
        game.stops(Vec::new()).await;
    })
    .await;
}
