//! Random scenarios: text lines, chosen with weights, that make sense most of the time.

use crate::scenario::Scenario;

/// Far below what the kernel holds for a connection.
const SMALL: &[usize] = &[0, 1, 5, 100, 1000, 5000, 16 * 1024];
/// Far above it.
const LARGE: &[usize] = &[12_000_000, 16_000_000];

pub struct Generator {
    state: u64,
}

/// What is known of the connection while it is made up.
#[derive(Default)]
struct Sketch {
    peer_done: bool,
    has_large: bool,
    is_paused: bool,
    has_timeout: bool,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn scenario(&mut self, steps: usize) -> Scenario {
        let (is_server, is_unix) = (self.chance(30), self.chance(25));
        let kind = if is_server { "server" } else { "socket" };
        let mut text = format!("{kind} {}\n", if is_unix { "unix" } else { "tcp" });
        if self.chance(40) {
            text += "options allow_half_open\n";
        }
        if self.chance(30) {
            let mark = self.pick(&[1, 1000, 16384]);
            text += &format!("options high_water_mark={mark}\n");
        }
        let mut sketch = Sketch::default();
        if self.chance(40) {
            let event = self.pick(&["end", "finish", "drain", "error", "close", "timeout", "connect", "ready", "data"]);
            let reaction = self.reaction();
            text += &format!("on {event}: {reaction}\n");
        }
        self.opening(&mut text, is_server, is_unix, &mut sketch);
        for _ in 0..1 + self.below(steps) {
            let line = self.step(&mut sketch, is_unix);
            text += &line;
            text += "\n";
        }
        Scenario::parse(&text).unwrap_or_else(|error| unreachable!("{error} in {text}"))
    }

    fn opening(&mut self, text: &mut String, is_server: bool, is_unix: bool, sketch: &mut Sketch) {
        if is_server {
            *text += "server.listen\npeer connect\n";
            return;
        }
        if self.chance(8) {
            let first = self.call("", sketch);
            // Node forgets on connecting that it has ended, and sends the FIN all the same: an intended departure.
            if !(first.starts_with("end") || first == "destroy_soon") {
                *text += &format!("{first}\n");
            }
        }
        if self.chance(4) {
            return;
        }
        *text += "connect";
        for _ in 0..2 {
            if self.chance(15) {
                let call = self.call("", sketch);
                // Over Unix, Node is connected within the call: an intended departure.
                if !(is_unix && call.starts_with("destroy")) {
                    *text += &format!("; {call}");
                }
            }
        }
        *text += "\npeer accept\n";
    }

    fn step(&mut self, sketch: &mut Sketch, is_unix: bool) -> String {
        match self.below(100) {
            0..=49 => {
                let mut line = self.call("", sketch);
                while self.chance(20) {
                    line += "; ";
                    let call = self.call(&line, sketch);
                    line += &call;
                }
                line
            }
            // A paused Node reads ahead and sockeye does not, on purpose: nothing arrives while it is paused.
            50..=80 if sketch.is_paused => {
                sketch.is_paused = false;
                "resume".into()
            }
            50..=67 if !sketch.peer_done => format!("peer send {}", self.pick(&[1, 10, 500, 5000])),
            68..=75 if !sketch.peer_done => {
                sketch.peer_done = true;
                "peer fin".into()
            }
            76..=78 if !sketch.peer_done && !is_unix => {
                sketch.peer_done = true;
                "peer rst".into()
            }
            79..=80 if !sketch.peer_done => {
                sketch.peer_done = true;
                "peer close".into()
            }
            81..=82 if sketch.has_timeout && !sketch.has_large => "elapse 130".into(),
            _ => "peer read all".into(),
        }
    }

    fn call(&mut self, line: &str, sketch: &mut Sketch) -> String {
        match self.below(100) {
            0..=24 => format!("write {}", self.size(sketch)),
            // Node tells a write that is cut off by a destroy that all is well: an intended departure.
            25..=31 => format!("write_told {}", self.pick(SMALL)),
            32..=41 => "end".into(),
            42..=46 => format!("end {}", self.size(sketch)),
            47..=51 => "destroy".into(),
            52..=54 => "destroy_error".into(),
            55..=58 => "destroy_soon".into(),
            // Node fails to reset in the turn in which it ended: an intended departure.
            59..=62 if !line.contains("end") && !line.contains("destroy_soon") => "reset".into(),
            63..=68 => {
                sketch.is_paused = true;
                "pause".into()
            }
            69..=77 => {
                sketch.is_paused = false;
                "resume".into()
            }
            78..=82 => "cork".into(),
            83..=88 => "uncork".into(),
            89..=90 => {
                sketch.has_timeout = true;
                "set_timeout 50".into()
            }
            91 => "set_timeout 0".into(),
            92..=94 => format!("set_encoding {}", self.pick(&["utf8", "hex", "base64", "latin1", "ascii", "utf16le"])),
            95 => format!("set_no_delay {}", self.pick(&["true", "false"])),
            96 => format!("set_keep_alive {}", self.pick(&[0, 1000, 5000])),
            97 => "address".into(),
            98 => "unref".into(),
            _ => "ref".into(),
        }
    }

    fn reaction(&mut self) -> String {
        let calls =
            ["write 3", "end", "end 5", "destroy", "destroy_error", "destroy_soon", "write 3; end", "resume", "cork"];
        self.pick(&calls).into()
    }

    fn size(&mut self, sketch: &mut Sketch) -> usize {
        if self.chance(12) && !sketch.has_timeout {
            sketch.has_large = true;
            return self.pick(LARGE);
        }
        self.pick(SMALL)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}
