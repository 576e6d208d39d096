//! Runs one scenario on one subject and takes down what happens.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use socket2::SockAddr;

use crate::normalise::Names;
use crate::peer::Peer;
use crate::scenario::{Call, Scenario, Step, Target};
use crate::side::Side;

/// How often both sides must have had nothing to do.
const QUIET_ROUNDS: u32 = 2;

const MAX_SLOW_RUNS: u32 = 10;

/// Lines, of which those that begin with `>` name the steps.
pub type Trace = Vec<String>;

/// What a run came to.
pub struct Outcome {
    pub trace: Trace,
    /// Which of the departures that were allowed have happened.
    pub departures: BTreeSet<String>,
}

/// Runs a scenario on one side, which departs from Node in these ways. On a machine that is so busy that timers may have
/// run out within a step, it runs again, a few times.
pub fn run(scenario: &Scenario, side: &mut Side, departures: &BTreeSet<String>) -> Result<Outcome, String> {
    let mut slow_runs = 0;
    loop {
        let (outcome, was_slow) = run_once(scenario, side, departures)?;
        slow_runs += u32::from(was_slow);
        if !was_slow || slow_runs == MAX_SLOW_RUNS {
            return Ok(outcome);
        }
    }
}

/// What happened, and whether a step has taken so long that timeouts are a matter of chance.
fn run_once(scenario: &Scenario, side: &mut Side, departures: &BTreeSet<String>) -> Result<(Outcome, bool), String> {
    let directory = tempfile::Builder::new().prefix("conformance").tempdir().map_err(text)?;
    let directory = directory.path();
    let peer = Peer::new(scenario.is_unix, directory).map_err(text)?;
    let names = Names::new(directory, peer.port(), peer.refusing_port());
    side.ask(&json!({
        "cmd": "begin",
        "isServer": scenario.is_server,
        "options": scenario.options,
        "reactions": scenario.reactions.iter().map(|reaction| {
            json!({ "event": reaction.event, "calls": calls(&reaction.calls) })
        }).collect::<Vec<_>>(),
        "places": places(scenario.is_unix, &peer, directory),
        "departures": departures,
    }))?;
    let mut run = Run { side, peer, names, trace: Vec::new(), states: Map::new(), written: Vec::new() };
    let longest = scenario.shortest_timeout().map(|timeout| Duration::from_millis(timeout / 2));
    let mut was_slow = false;
    for step in &scenario.steps {
        let start = Instant::now();
        run.step(step).map_err(|error| format!("`{step}`: {error}"))?;
        let waited = if let Step::Elapse(ms) = step { Duration::from_millis(*ms) } else { Duration::ZERO };
        was_slow |= longest.is_some_and(|longest| start.elapsed() > longest + waited);
    }
    run.trace.push("> everybody reads to the end".into());
    run.peer.read_everything();
    run.settle()?;
    run.take()?;
    let answer = run.side.ask(&json!({ "cmd": "finish" }))?;
    let departed = answer["departed"].as_array().into_iter().flatten();
    let departures = departed.filter_map(Value::as_str).map(str::to_owned).collect();
    Ok((Outcome { trace: run.trace, departures }, was_slow))
}

struct Run<'a> {
    side: &'a mut Side,
    peer: Peer,
    names: Names,
    trace: Trace,
    /// The last snapshot of each socket and of the server.
    states: Map<String, Value>,
    /// How much each socket has written.
    written: Vec<u64>,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.trace.push(format!("> {step}"));
        match step {
            Step::Subject(list) => {
                self.side.ask(&json!({ "cmd": "do", "calls": calls(list) }))?;
            }
            Step::Peer { index, action } => {
                let place = self.side.ask(&json!({ "cmd": "where" }))?;
                if let Some(line) = self.peer.act(*index, action, address(&place).as_ref()) {
                    self.trace.push(format!("peer {index} {line}"));
                }
            }
            Step::Elapse(ms) => {
                self.side.ask(&json!({ "cmd": "elapse", "ms": ms }))?;
            }
        }
        self.settle()?;
        self.take()
    }

    fn settle(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS {
            // What a call of sockeye's does at once, Node may do in its next turn: the peer looks after that.
            let answer = self.side.ask(&json!({ "cmd": "settle" }))?;
            let progress = self.peer.pump() || answer["progress"] == true;
            quiet = if progress { 0 } else { quiet + 1 };
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), String> {
        let answer = self.side.ask(&json!({ "cmd": "take" }))?;
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        // A program has the events of the server and of its sockets from different places: their order is its affair.
        let is_about_connection = |record: &Value| record["ev"] == "connection" || record["ev"] == "drop";
        let is_of_server = |record: &Value| record["who"] == "server" && !is_about_connection(record);
        let (of_server, others): (Vec<_>, Vec<_>) = list("records").into_iter().partition(is_of_server);
        for record in list("answers").into_iter().chain(others).chain(of_server) {
            self.trace.push(self.names.line(&record));
        }
        // Writes that succeed do so in their order. One that fails at once is told before one that fails in its time.
        let (mut failed, told): (Vec<_>, Vec<_>) = list("told").into_iter().partition(|told| told["error"].is_object());
        let key = |told: &Value| (told["who"].to_string(), told["number"].as_u64());
        failed.sort_by_key(key);
        let (of_server, of_sockets): (Vec<_>, Vec<_>) =
            told.into_iter().chain(failed).partition(|told| told["who"] == "server");
        for record in of_sockets.into_iter().chain(of_server) {
            let line = self.names.line(&record);
            self.trace.push(format!("{line} (callback)"));
        }
        self.written = list("state").iter().filter_map(|state| state["bytesWritten"].as_u64()).collect();
        self.trace.extend(self.peer.take_lines(&self.written));
        for state in list("state") {
            let who = state["who"].as_str().unwrap_or_default().to_owned();
            let before = self.states.insert(who.clone(), state.clone());
            let line = self.names.changes(&state, before.as_ref());
            if !line.is_empty() {
                self.trace.push(format!("{who} is {line}"));
            }
        }
        Ok(())
    }
}

fn calls(calls: &[Call]) -> Vec<Value> {
    let target = |target| match target {
        Target::Socket(index) => json!(index),
        Target::This => json!("this"),
        Target::Server => json!("server"),
    };
    let call = |call: &Call| json!({ "target": target(call.target), "name": call.name, "argument": call.argument });
    calls.iter().map(call).collect()
}

/// Where to connect to and listen on, by the names that scenarios use.
fn places(is_unix: bool, peer: &Peer, directory: &Path) -> Value {
    let path = |name: &str| json!({ "path": directory.join(name) });
    if is_unix {
        // Something that is there and is no socket.
        let _ = std::fs::write(directory.join("file"), "");
        return json!({
            "peer": path("peer.sock"), "free": path("server.sock"), "taken": path("peer.sock"),
            "missing": path("missing.sock"), "file": path("file"), "missing_directory": path("missing/server.sock"),
        });
    }
    let at = |port: Option<u16>| json!({ "host": "127.0.0.1", "port": port });
    json!({
        "peer": at(peer.port()), "free": at(Some(0)), "taken": at(peer.port()), "nobody": at(peer.refusing_port()),
        "zero": at(Some(0)), "bad_port": { "port": 65536 }, "negative_port": { "port": -1 },
        "foreign": { "host": "192.0.2.1", "port": 0 },
        "localhost": { "host": "localhost", "port": peer.port(), "family": 4 },
        "name": { "host": "name.test", "port": peer.port(), "addresses": ["127.0.0.1"] },
        "names": { "host": "names.test", "port": peer.port(), "addresses": ["127.0.0.2", "127.0.0.1"] },
        "first_name": { "host": "names.test", "port": peer.port(), "addresses": ["127.0.0.1", "127.0.0.2"] },
        "dead_names": { "host": "names.test", "port": peer.port(), "addresses": ["127.0.0.2", "127.0.0.3"] },
        "no_name": { "host": "name.test", "port": peer.port(), "addresses": [] },
    })
}

fn address(place: &Value) -> Option<SockAddr> {
    if let Some(path) = place["path"].as_str() {
        return SockAddr::unix(path).ok();
    }
    let port = u16::try_from(place["port"].as_u64()?).ok()?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
}

fn text(error: io::Error) -> String {
    error.to_string()
}
