//! Compares two traces, and knows the departures that are intended.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::files::here;
use crate::run::Trace;

/// How many lines before the first difference are shown.
const CONTEXT: usize = 4;

/// `departures.json`: the lines at which one scenario differs, with the reason.
pub struct Departures {
    list: Vec<Departure>,
}

struct Departure {
    name: String,
    scenario: String,
    /// Runs of lines that stand in the place of each other.
    node: Vec<String>,
    sockeye: Vec<String>,
    is_used: bool,
}

impl Departures {
    pub fn none() -> Self {
        Self { list: Vec::new() }
    }

    pub fn read() -> Result<Self, String> {
        let text = fs::read_to_string(here("departures.json")).map_err(|error| format!("departures.json: {error}"))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("departures.json: {error}"))?;
        let entries = value.as_array().ok_or("departures.json is no list")?;
        let list = entries.iter().map(Departure::read).collect::<Option<_>>();
        Ok(Self { list: list.ok_or("departures.json: each entry has a name, a reason, a scenario, node and sockeye")? })
    }

    pub fn unused(&self) -> Vec<&str> {
        self.list.iter().filter(|departure| !departure.is_used).map(|departure| departure.name.as_str()).collect()
    }

    /// Puts Node's lines in the place of sockeye's where that is intended.
    fn apply(&mut self, scenario: &str, actual: &mut Trace, expected: &Trace) {
        for departure in self.list.iter_mut().filter(|departure| departure.scenario == scenario) {
            let length = departure.sockeye.len();
            let found = (0..actual.len()).find(|&at| {
                actual[at..].starts_with(&departure.sockeye)
                    && expected.get(at..).is_some_and(|rest| rest.starts_with(&departure.node))
            });
            if let Some(at) = found {
                actual.splice(at..at + length, departure.node.iter().cloned());
                departure.is_used = true;
            }
        }
    }
}

impl Departure {
    fn read(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let lines = |name: &str| {
            entry[name].as_array()?.iter().map(|line| line.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        text("reason")?;
        let (name, scenario) = (text("name")?, text("scenario")?);
        Some(Self { name, scenario, node: lines("node")?, sockeye: lines("sockeye")?, is_used: false })
    }
}

/// Where two traces differ first, for people to read.
pub fn difference(name: &str, expected: &Trace, actual: &Trace, departures: &mut Departures) -> Option<String> {
    let mut actual = actual.clone();
    departures.apply(name, &mut actual, expected);
    if *expected == actual {
        return None;
    }
    let same = expected.iter().zip(&actual).take_while(|(left, right)| left == right).count();
    let mut text = String::new();
    let start = same.saturating_sub(CONTEXT);
    let end_of_step = |trace: &Trace| {
        let next = trace[same..].iter().skip(1).position(|line| line.starts_with('>'));
        next.map_or(trace.len(), |next| same + 1 + next)
    };
    for line in &expected[start..same] {
        let _ = writeln!(text, "           {line}");
    }
    for (who, trace) in [("node", expected), ("sockeye", &actual)] {
        for line in &trace[same..end_of_step(trace)] {
            let _ = writeln!(text, "  {who:>7}: {line}");
        }
    }
    Some(text)
}
