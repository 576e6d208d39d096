//! Random scenarios: text lines, chosen with weights, that make sense most of the time.

use crate::chance::Chance;
use crate::scenario::Scenario;

/// Far below what the kernel holds for a connection.
const SMALL: &[usize] = &[0, 1, 5, 100, 1000, 5000, 16 * 1024];
/// Far above it.
const LARGE: &[usize] = &[12_000_000, 16_000_000];

/// A timeout is far longer than a step, and the wait for it far longer than twice the timeout.
const SET_TIMEOUT: &str = "set_timeout 200";
const ELAPSE: &str = "elapse 600";

/// Pieces of text in several encodings, cut where it hurts.
const PIECES: &[&str] = &["e282ac", "c3", "a9f09f", "9880e2", "41", "ff", "d83d", "00dc", "f0"];

const SOCKET_EVENTS: &[&str] = &["end", "finish", "drain", "error", "close", "timeout", "connect", "ready", "data"];
const SERVER_EVENTS: &[&str] = &["connection", "listening", "server_error", "server_close", "drop"];

const REACTIONS: &[&str] = &[
    "write 3",
    "write_told 3",
    "end",
    "end 5",
    "destroy",
    "destroy_error",
    "destroy_soon",
    "reset",
    "write 3; end",
    "end; destroy",
    "pause",
    "resume",
    "cork",
    "connect",
    "address",
];
const SERVER_REACTIONS: &[&str] =
    &["server.close", "server.listen", "server.max_connections 1", "server.close; server.listen"];

pub struct Generator {
    chance: Chance,
}

/// What is known of a scenario while it is made up.
#[derive(Default)]
struct Sketch {
    is_server: bool,
    is_unix: bool,
    /// Each connection the peer has, and whether it has done with it.
    peers: Vec<bool>,
    has_timeout: bool,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed) }
    }

    pub fn scenario(&mut self, steps: usize) -> Scenario {
        let (is_server, is_unix) = (self.chance.percent(30), self.chance.percent(25));
        let mut sketch = Sketch { is_server, is_unix, ..Sketch::default() };
        let mut lines = self.head(&sketch);
        if is_server {
            self.open_server(&mut sketch, &mut lines);
        } else {
            self.open_socket(&mut sketch, &mut lines);
        }
        for _ in 0..1 + self.chance.below(steps) {
            self.step(&mut sketch, &mut lines);
        }
        let text = lines.join("\n");
        Scenario::parse(&text).unwrap_or_else(|error| unreachable!("{error} in {text}"))
    }

    /// The subject, its options and what it does inside events.
    fn head(&mut self, sketch: &Sketch) -> Vec<String> {
        let kind = if sketch.is_server { "server" } else { "socket" };
        let mut lines = vec![format!("{kind} {}", if sketch.is_unix { "unix" } else { "tcp" })];
        if self.chance.percent(40) {
            lines.push("options allow_half_open".into());
        }
        if self.chance.percent(30) {
            lines.push(format!("options high_water_mark={}", self.chance.pick(&[0, 1, 1000, 16384])));
        }
        if sketch.is_server && self.chance.percent(10) {
            lines
                .push(self.chance.pick(&["options pause_on_connect", "options no_delay", "options keep_alive"]).into());
        }
        for percent in [40, 15] {
            if self.chance.percent(percent) {
                lines.push(self.reaction(sketch));
            }
        }
        lines
    }

    fn reaction(&mut self, sketch: &Sketch) -> String {
        let is_of_server = sketch.is_server && self.chance.percent(30);
        let event = self.chance.pick(if is_of_server { SERVER_EVENTS } else { SOCKET_EVENTS });
        // Only a connection gives its reaction a socket.
        let is_about_server = is_of_server && (event != "connection" || self.chance.percent(30));
        let mut calls = self.chance.pick(if is_about_server { SERVER_REACTIONS } else { REACTIONS });
        // Node runs what the last life left listening to 'close' after that, in the new life: see README.md.
        if event == "close" && calls == "connect" {
            calls = "address";
        }
        format!("on {event}: {calls}")
    }

    fn open_socket(&mut self, sketch: &mut Sketch, lines: &mut Vec<String>) {
        if self.chance.percent(10) {
            lines.push(self.calls(sketch));
        }
        if self.chance.percent(95) {
            self.connect(sketch, lines);
        }
    }

    fn connect(&mut self, sketch: &mut Sketch, lines: &mut Vec<String>) {
        let place = if self.chance.percent(90) {
            "connect"
        } else if sketch.is_unix {
            self.chance.pick(&["connect missing", "connect file"])
        } else {
            self.chance.pick(&["connect nobody", "connect nobody", "connect bad_port", "connect negative_port"])
        };
        let mut line = place.to_owned();
        for percent in [25, 40, 40] {
            if !self.chance.percent(percent) {
                break;
            }
            line += "; ";
            line += &self.call(sketch);
        }
        lines.push(line);
        if place == "connect" {
            self.add_peer(sketch, lines, "accept");
        }
    }

    fn open_server(&mut self, sketch: &mut Sketch, lines: &mut Vec<String>) {
        if self.chance.percent(10) {
            lines.push(self.server_call(sketch));
        }
        lines.push(self.listen(sketch));
        if self.chance.percent(20) {
            lines.push(format!("server.max_connections {}", self.chance.pick(&[0, 1, 1, 2])));
        }
        for percent in [100, 30, 30] {
            if !self.chance.percent(percent) {
                break;
            }
            self.add_peer(sketch, lines, "connect");
        }
    }

    fn listen(&mut self, sketch: &Sketch) -> String {
        let place = if self.chance.percent(85) {
            "server.listen"
        } else if sketch.is_unix {
            self.chance.pick(&["server.listen taken", "server.listen missing_directory"])
        } else {
            self.chance.pick(&["server.listen taken", "server.listen foreign", "server.listen bad_port"])
        };
        let behind = [(80, ""), (5, "; server.listen"), (5, "; server.close"), (5, "; server.close; server.listen")];
        place.to_owned() + self.chance.weighted(&behind)
    }

    fn add_peer(&mut self, sketch: &mut Sketch, lines: &mut Vec<String>, action: &str) {
        lines.push(peer(sketch.peers.len(), action));
        sketch.peers.push(false);
    }

    fn step(&mut self, sketch: &mut Sketch, lines: &mut Vec<String>) {
        let line = match self.chance.below(100) {
            0..=49 => self.calls(sketch),
            50..=51 if sketch.is_server && sketch.peers.len() < 4 => return self.add_peer(sketch, lines, "connect"),
            50..=54 if sketch.is_server => self.server_call(sketch),
            50..=54 if !sketch.is_server && sketch.peers.len() < 4 => {
                if self.chance.percent(50) {
                    lines.push(self.chance.pick(&["destroy", "destroy_error", "destroy_soon", "end"]).into());
                }
                return self.connect(sketch, lines);
            }
            55..=57 if sketch.has_timeout => ELAPSE.into(),
            _ => self.peer_step(sketch),
        };
        lines.push(line);
    }

    fn peer_step(&mut self, sketch: &mut Sketch) -> String {
        let index = self.chance.below(sketch.peers.len());
        let Some(is_done) = sketch.peers.get_mut(index) else { return self.calls(sketch) };
        let (reads, sends, ends) = (30, if *is_done { 0 } else { 45 }, if *is_done { 0 } else { 25 });
        let kind = self.chance.weighted(&[(reads, 0), (sends, 1), (ends, 2)]);
        match kind {
            0 => peer(index, self.chance.weighted(&[(10, "read all"), (1, "read 7"), (1, "stop_reading")])),
            1 if self.chance.percent(20) => peer(index, &format!("send hex {}", self.chance.pick(PIECES))),
            1 => peer(index, &format!("send {}", self.chance.pick(&[1, 10, 500, 5000]))),
            _ => {
                *is_done = true;
                let rst = if sketch.is_unix { 0 } else { 3 };
                peer(index, self.chance.weighted(&[(8, "fin"), (rst, "rst"), (3, "close")]))
            }
        }
    }

    fn server_call(&mut self, sketch: &mut Sketch) -> String {
        match self.chance.weighted(&[(5, 0), (3, 1), (2, 2), (1, 3)]) {
            0 => "server.close".into(),
            1 => self.listen(sketch),
            2 => format!("server.max_connections {}", self.chance.pick(&[0, 1, 2])),
            _ => self.chance.pick(&["server.unref", "server.ref"]).into(),
        }
    }

    /// Calls in one turn, of one socket.
    fn calls(&mut self, sketch: &mut Sketch) -> String {
        let socket = match self.chance.below(sketch.peers.len()) {
            index if sketch.is_server && index > 0 => format!("s{index}."),
            _ => String::new(),
        };
        let mut line = socket.clone() + &self.call(sketch);
        while self.chance.percent(25) {
            line = line + "; " + &socket + &self.call(sketch);
        }
        line
    }

    fn call(&mut self, sketch: &mut Sketch) -> String {
        match self.chance.below(100) {
            0..=24 => format!("write {}", self.size()),
            25..=31 => format!("write_told {}", self.size()),
            32..=41 => "end".into(),
            42..=46 => format!("end {}", self.size()),
            47..=51 => "destroy".into(),
            52..=54 => "destroy_error".into(),
            55..=58 => "destroy_soon".into(),
            59..=62 => "reset".into(),
            63..=68 => "pause".into(),
            69..=77 => "resume".into(),
            78..=82 => "cork".into(),
            83..=88 => "uncork".into(),
            89..=90 => {
                sketch.has_timeout = true;
                SET_TIMEOUT.into()
            }
            91 => "set_timeout 0".into(),
            92..=94 => {
                let encodings = ["utf8", "hex", "base64", "base64url", "latin1", "ascii", "utf16le"];
                format!("set_encoding {}", self.chance.pick(&encodings))
            }
            95 => format!("set_no_delay {}", self.chance.pick(&["true", "false"])),
            96 => format!("set_keep_alive {}", self.chance.pick(&[0, 1000, 5000])),
            97 => "address".into(),
            98 => "unref".into(),
            _ => "ref".into(),
        }
    }

    fn size(&mut self) -> usize {
        if self.chance.percent(10) {
            return self.chance.pick(LARGE);
        }
        self.chance.pick(SMALL)
    }
}

fn peer(index: usize, action: &str) -> String {
    if index == 0 { format!("peer {action}") } else { format!("peer {index} {action}") }
}
