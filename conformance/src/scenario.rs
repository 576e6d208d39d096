//! A scenario: what the subject is, what it does and what its peer does. README.md describes the text form.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The comment lines at the top.
    pub title: Vec<String>,
    pub is_server: bool,
    pub is_unix: bool,
    /// `name` or `name=value`.
    pub options: Vec<String>,
    /// What the subject does inside an event, the first time it comes.
    pub reactions: Vec<Reaction>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    pub event: String,
    pub calls: Vec<Call>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Calls of the subject, one directly after the other.
    Subject(Vec<Call>),
    Peer {
        index: usize,
        action: PeerAction,
    },
    /// Both sides wait for so many milliseconds.
    Elapse(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub target: Target,
    pub name: String,
    pub argument: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The socket with this number, in the order in which they came.
    Socket(usize),
    /// The socket that the event is about; outside of a reaction, the first one.
    This,
    Server,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAction {
    Accept,
    Connect,
    Send(usize),
    SendHex(Vec<u8>),
    Read(usize),
    ReadAll,
    StopReading,
    Fin,
    Rst,
    Close,
    ExpectEof,
}

enum ArgumentKind {
    None,
    Number,
    OptionalNumber,
    Word,
    OptionalWord,
}

const SOCKET_CALLS: &[(&str, ArgumentKind)] = &[
    ("connect", ArgumentKind::OptionalWord),
    ("write", ArgumentKind::Number),
    ("write_told", ArgumentKind::Number),
    ("end", ArgumentKind::OptionalNumber),
    ("destroy", ArgumentKind::None),
    ("destroy_error", ArgumentKind::None),
    ("destroy_soon", ArgumentKind::None),
    ("reset", ArgumentKind::None),
    ("pause", ArgumentKind::None),
    ("resume", ArgumentKind::None),
    ("cork", ArgumentKind::None),
    ("uncork", ArgumentKind::None),
    ("set_timeout", ArgumentKind::Number),
    ("set_encoding", ArgumentKind::Word),
    ("set_no_delay", ArgumentKind::Word),
    ("set_keep_alive", ArgumentKind::Number),
    ("address", ArgumentKind::None),
    ("abort", ArgumentKind::None),
    ("unref", ArgumentKind::None),
    ("ref", ArgumentKind::None),
];

const SERVER_CALLS: &[(&str, ArgumentKind)] = &[
    ("listen", ArgumentKind::OptionalWord),
    ("close", ArgumentKind::None),
    ("max_connections", ArgumentKind::Number),
    ("connections", ArgumentKind::None),
    ("abort", ArgumentKind::None),
    ("unref", ArgumentKind::None),
    ("ref", ArgumentKind::None),
];

const EVENTS: &[&str] = &[
    "connect",
    "ready",
    "data",
    "end",
    "drain",
    "finish",
    "timeout",
    "error",
    "close",
    "connection",
    "listening",
    "server_error",
    "server_close",
    "drop",
];

const OPTIONS: &[&str] = &[
    "allow_half_open",
    "pause_on_connect",
    "no_delay",
    "keep_alive",
    "high_water_mark",
    "keep_alive_initial_delay",
    "signal",
    "onread",
    "in_order",
];

impl Scenario {
    /// Reads the text form. An error names its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scenario = Self {
            title: Vec::new(),
            is_server: false,
            is_unix: false,
            options: Vec::new(),
            reactions: Vec::new(),
            steps: Vec::new(),
        };
        let mut has_subject = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let at = |message: String| format!("line {}: {message}", index + 1);
            if let Some(comment) = line.strip_prefix('#') {
                if !has_subject {
                    scenario.title.push(comment.trim().to_owned());
                }
            } else if line.is_empty() {
                continue;
            } else if !has_subject {
                scenario.parse_subject(line).map_err(at)?;
                has_subject = true;
            } else {
                scenario.parse_line(line).map_err(at)?;
            }
        }
        if has_subject { Ok(scenario) } else { Err("it has no subject: `socket tcp`, `server unix`, ...".into()) }
    }

    /// In milliseconds, of those that the subject sets at any time.
    pub fn shortest_timeout(&self) -> Option<u64> {
        let in_steps = self.steps.iter().filter_map(|step| match step {
            Step::Subject(calls) => Some(calls),
            Step::Peer { .. } | Step::Elapse(_) => None,
        });
        let calls = in_steps.chain(self.reactions.iter().map(|reaction| &reaction.calls)).flatten();
        let timeouts = calls.filter(|call| call.name == "set_timeout");
        timeouts.filter_map(|call| call.argument.as_ref()?.parse().ok()).filter(|timeout| *timeout > 0).min()
    }

    fn parse_subject(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, transport) = match words[..] {
            [kind, transport] => (kind, transport),
            _ => return Err(format!("`{line}` is no subject; it is `socket` or `server`, then `tcp` or `unix`")),
        };
        self.is_server = match kind {
            "socket" => false,
            "server" => true,
            _ => return Err(format!("`{kind}` is neither `socket` nor `server`")),
        };
        self.is_unix = match transport {
            "tcp" => false,
            "unix" => true,
            _ => return Err(format!("`{transport}` is neither `tcp` nor `unix`")),
        };
        Ok(())
    }

    fn parse_line(&mut self, line: &str) -> Result<(), String> {
        if let Some(options) = line.strip_prefix("options ") {
            for option in options.split_whitespace() {
                let (name, value) = option.split_once('=').unwrap_or((option, "0"));
                if !OPTIONS.contains(&name) {
                    return Err(format!("`{name}` is no option"));
                }
                value.parse::<u32>().map_err(|_| format!("`{option}`: `{value}` is no number"))?;
                self.options.push(option.to_owned());
            }
            return Ok(());
        }
        if let Some(reaction) = line.strip_prefix("on ") {
            let (event, calls) = reaction.split_once(':').ok_or("a reaction is `on EVENT: CALLS`")?;
            if !EVENTS.contains(&event) {
                return Err(format!("`{event}` is no event"));
            }
            self.reactions.push(Reaction { event: event.to_owned(), calls: parse_calls(calls)? });
            return Ok(());
        }
        self.steps.push(parse_step(line)?);
        Ok(())
    }
}

fn parse_step(line: &str) -> Result<Step, String> {
    if let Some(ms) = line.strip_prefix("elapse ") {
        return Ok(Step::Elapse(parse_number(ms)? as u64));
    }
    if line == "peer" || line.starts_with("peer ") {
        return parse_peer_step(&line[4..]);
    }
    Ok(Step::Subject(parse_calls(line)?))
}

fn parse_peer_step(text: &str) -> Result<Step, String> {
    let mut words = text.split_whitespace().peekable();
    let index = match words.peek().and_then(|word| word.parse().ok()) {
        Some(index) => {
            words.next();
            index
        }
        None => 0,
    };
    let action = match words.collect::<Vec<_>>()[..] {
        ["accept"] => PeerAction::Accept,
        ["connect"] => PeerAction::Connect,
        ["send", count] => PeerAction::Send(parse_number(count)?),
        ["send", "hex", hex] => PeerAction::SendHex(parse_hex(hex)?),
        ["read", "all"] => PeerAction::ReadAll,
        ["read", count] => PeerAction::Read(parse_number(count)?),
        ["stop_reading"] => PeerAction::StopReading,
        ["fin"] => PeerAction::Fin,
        ["rst"] => PeerAction::Rst,
        ["close"] => PeerAction::Close,
        ["expect_eof"] => PeerAction::ExpectEof,
        _ => return Err(format!("`peer{text}` is nothing that a peer does")),
    };
    Ok(Step::Peer { index, action })
}

fn parse_calls(text: &str) -> Result<Vec<Call>, String> {
    text.split(';').map(|call| parse_call(call.trim())).collect()
}

fn parse_call(text: &str) -> Result<Call, String> {
    let mut words = text.split_whitespace();
    let first = words.next().ok_or("a call is missing")?;
    let (target, name) = match first.split_once('.') {
        None => (Target::This, first),
        Some(("server", name)) => (Target::Server, name),
        Some((socket, name)) => match socket.strip_prefix('s').and_then(|index| index.parse().ok()) {
            Some(index) => (Target::Socket(index), name),
            None => return Err(format!("`{socket}` is neither `server` nor a socket such as `s1`")),
        },
    };
    let calls = if target == Target::Server { SERVER_CALLS } else { SOCKET_CALLS };
    let Some((_, kind)) = calls.iter().find(|(known, _)| *known == name) else {
        return Err(format!("`{first}` is no call"));
    };
    let argument = words.next().map(str::to_owned);
    match (kind, &argument) {
        (ArgumentKind::None, Some(_)) => return Err(format!("`{first}` takes no argument")),
        (ArgumentKind::Number | ArgumentKind::Word, None) => return Err(format!("`{first}` needs an argument")),
        (ArgumentKind::Number | ArgumentKind::OptionalNumber, Some(text)) => {
            parse_number(text)?;
        }
        _ => {}
    }
    match words.next() {
        Some(_) => Err(format!("`{text}` has more than one argument")),
        None => Ok(Call { target, name: name.to_owned(), argument }),
    }
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no number"))
}

fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let pair = |index| text.get(index..index + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map(|index| pair(index).ok_or(format!("`{text}` is not hexadecimal"))).collect()
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.title {
            writeln!(f, "# {line}")?;
        }
        let kind = if self.is_server { "server" } else { "socket" };
        writeln!(f, "{kind} {}", if self.is_unix { "unix" } else { "tcp" })?;
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        for reaction in &self.reactions {
            writeln!(f, "on {}: {}", reaction.event, join(&reaction.calls))?;
        }
        writeln!(f)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(calls) => f.write_str(&join(calls)),
            Self::Peer { index: 0, action } => write!(f, "peer {action}"),
            Self::Peer { index, action } => write!(f, "peer {index} {action}"),
            Self::Elapse(ms) => write!(f, "elapse {ms}"),
        }
    }
}

fn join(calls: &[Call]) -> String {
    calls.iter().map(Call::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            Target::This => {}
            Target::Server => f.write_str("server.")?,
            Target::Socket(index) => write!(f, "s{index}.")?,
        }
        f.write_str(&self.name)?;
        self.argument.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

impl fmt::Display for PeerAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Connect => f.write_str("connect"),
            Self::Send(count) => write!(f, "send {count}"),
            Self::SendHex(bytes) => {
                f.write_str("send hex ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Read(count) => write!(f, "read {count}"),
            Self::ReadAll => f.write_str("read all"),
            Self::StopReading => f.write_str("stop_reading"),
            Self::Fin => f.write_str("fin"),
            Self::Rst => f.write_str("rst"),
            Self::Close => f.write_str("close"),
            Self::ExpectEof => f.write_str("expect_eof"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        let text = "# Title.\nserver unix\noptions allow_half_open high_water_mark=5\non end: write 3; s1.end\n\n\
                    server.listen\npeer 1 connect\npeer send hex e282ac\ncork; write 5; end 3\nelapse 20\n";
        assert_eq!(Scenario::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn what_is_malformed_is_an_error_that_names_its_line() {
        for (text, error) in [
            ("", "it has no subject: `socket tcp`, `server unix`, ..."),
            ("socket udp", "line 1: `udp` is neither `tcp` nor `unix`"),
            ("socket tcp\n\nfly", "line 3: `fly` is no call"),
            ("socket tcp\nwrite", "line 2: `write` needs an argument"),
            ("socket tcp\nwrite x", "line 2: `x` is no number"),
            ("socket tcp\nend 3 4", "line 2: `end 3 4` has more than one argument"),
            ("socket tcp\npeer send hex 1é", "line 2: `1é` is not hexadecimal"),
            ("socket tcp\noptions colour", "line 2: `colour` is no option"),
            ("socket tcp\non rain: end", "line 2: `rain` is no event"),
            ("socket tcp\npeer", "line 2: `peer` is nothing that a peer does"),
        ] {
            assert_eq!(Scenario::parse(text).unwrap_err(), error);
        }
    }
}
