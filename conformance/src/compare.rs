//! Compares what Node and sockeye did, and knows the departures that are intended.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::files::here;
use crate::run::{Trace, run};
use crate::scenario::Scenario;
use crate::side::Side;

/// How many lines before the first difference are shown.
const CONTEXT: usize = 4;

/// What a comparison came to.
pub enum Verdict {
    Same,
    /// Sockeye does what Node does with these departures.
    Departs(BTreeSet<String>),
    /// The first difference, for people to read.
    Diverges(String),
}

/// The names in `departures.json`. `subjects/departures.js` has what each of them does to Node.
pub struct Departures(BTreeSet<String>);

/// What Node does, by itself and, where that makes a difference, with the intended departures.
pub struct Expected {
    pub plain: Trace,
    pub departed: Option<(BTreeSet<String>, Trace)>,
}

impl Departures {
    pub fn read() -> Result<Self, String> {
        let text = fs::read_to_string(here("departures.json")).map_err(|error| format!("departures.json: {error}"))?;
        let entries: Vec<Value> = serde_json::from_str(&text).map_err(|error| format!("departures.json: {error}"))?;
        let name = |entry: &Value| entry["reason"].as_str().and(entry["name"].as_str()).map(str::to_owned);
        let names = entries.iter().map(name).collect::<Option<_>>();
        names.map(Self).ok_or_else(|| "departures.json: each entry has a name and a reason".into())
    }

    pub fn names(&self) -> &BTreeSet<String> {
        &self.0
    }

    /// What Node does, with and without departures.
    pub fn expect(&self, scenario: &Scenario, node: &mut Side) -> Result<Expected, String> {
        let plain = run(scenario, node, &BTreeSet::new())?.trace;
        let departed = run(scenario, node, &self.0)?;
        if departed.trace == plain {
            return Ok(Expected { plain, departed: None });
        }
        let names = self.needed(scenario, node, departed.departures, &departed.trace)?;
        Ok(Expected { plain, departed: Some((names, departed.trace)) })
    }

    /// Both sides, side by side.
    pub fn judge(&self, scenario: &Scenario, node: &mut Side, sockeye: &mut Side) -> Result<Verdict, String> {
        let none = BTreeSet::new();
        let (plain, actual) = std::thread::scope(|scope| {
            let plain = scope.spawn(|| run(scenario, node, &none));
            let actual = run(scenario, sockeye, &none);
            (plain.join(), actual)
        });
        let plain = plain.map_err(|_| "the driver has panicked")??;
        let actual = actual?.trace;
        if plain.trace == actual {
            return Ok(Verdict::Same);
        }
        let departed = run(scenario, node, &self.0)?;
        if departed.trace == actual {
            let names = self.needed(scenario, node, departed.departures, &actual)?;
            return Ok(Verdict::Departs(names));
        }
        Ok(Verdict::Diverges(difference(&departed.trace, &actual)))
    }

    /// Those of the departures that happened without which the trace would be another one.
    fn needed(
        &self,
        scenario: &Scenario,
        node: &mut Side,
        mut names: BTreeSet<String>,
        trace: &Trace,
    ) -> Result<BTreeSet<String>, String> {
        for name in names.clone() {
            let others: BTreeSet<String> = names.iter().filter(|other| **other != name).cloned().collect();
            if run(scenario, node, &others)?.trace == *trace {
                names = others;
            }
        }
        Ok(names)
    }
}

impl Expected {
    /// Where sockeye departs on purpose, it has to do so.
    pub fn compare(&self, actual: &Trace) -> Verdict {
        match &self.departed {
            Some((names, trace)) if trace == actual => Verdict::Departs(names.clone()),
            Some((_, trace)) => Verdict::Diverges(difference(trace, actual)),
            None if self.plain == *actual => Verdict::Same,
            None => Verdict::Diverges(difference(&self.plain, actual)),
        }
    }
}

/// Where two traces differ first.
fn difference(expected: &Trace, actual: &Trace) -> String {
    let same = expected.iter().zip(actual).take_while(|(left, right)| left == right).count();
    let mut text = String::new();
    let start = same.saturating_sub(CONTEXT);
    let end_of_step = |trace: &Trace| {
        let next = trace[same..].iter().skip(1).position(|line| line.starts_with('>'));
        next.map_or(trace.len(), |next| same + 1 + next)
    };
    for line in &expected[start..same] {
        let _ = writeln!(text, "           {line}");
    }
    for (who, trace) in [("node", expected), ("sockeye", actual)] {
        for line in &trace[same..end_of_step(trace)] {
            let _ = writeln!(text, "  {who:>7}: {line}");
        }
    }
    text
}
