//! The same scenario on real Node and on sockeye, traces compared. README.md says how to use it.

mod chance;
mod compare;
mod files;
mod generate;
mod normalise;
mod peer;
mod run;
mod scenario;
mod shrink;
mod side;
mod subject;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::compare::{Departures, Verdict};
use crate::files::{find_scenarios, read_recording, write_recording};
use crate::generate::Generator;
use crate::run::run;
use crate::side::Side;

const USAGE: &str = "\
usage: sockeye-conformance check [NAME ...]               sockeye against the recorded traces of Node
       sockeye-conformance record [NAME ...]              record Node's traces anew
       sockeye-conformance live [NAME ...]                sockeye and Node side by side
       sockeye-conformance show NAME                      the traces of both
       sockeye-conformance random --count N [--seed S] [--steps K] [--out DIR]
options: --node PATH   the Node to use (default: the one on the path)";

#[derive(Debug)]
struct Arguments {
    command: String,
    names: Vec<String>,
    node: PathBuf,
    seed: u64,
    count: usize,
    steps: usize,
    out: PathBuf,
}

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| arguments.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let command = words.next().ok_or(USAGE)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut arguments = Self {
            command,
            names: Vec::new(),
            node: "node".into(),
            seed: now.as_secs(),
            count: 200,
            steps: 12,
            out: std::env::temp_dir().join("sockeye-divergences"),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
            match word.as_str() {
                "--node" => arguments.node = value()?.into(),
                "--out" => arguments.out = value()?.into(),
                "--seed" => arguments.seed = number(value()?)?,
                "--count" => arguments.count = number(value()?)? as usize,
                "--steps" => arguments.steps = number(value()?)? as usize,
                _ if word.starts_with('-') => return Err(format!("{word}?\n{USAGE}")),
                _ => arguments.names.push(word),
            }
        }
        Ok(arguments)
    }

    /// Whether all is well.
    fn run(&self) -> Result<bool, String> {
        match self.command.as_str() {
            "check" => self.compare_all(None),
            "live" => self.compare_all(Some(Side::node(&self.node)?)),
            "record" => self.record(),
            "show" => self.show(),
            "random" => self.random(),
            "subject" => subject::serve().map(|()| true),
            _ => Err(USAGE.into()),
        }
    }

    /// Against `node`, or against what was recorded.
    fn compare_all(&self, mut node: Option<Side>) -> Result<bool, String> {
        let mut sockeye = Side::sockeye()?;
        let departures = Departures::read()?;
        let scenarios = find_scenarios(&self.names)?;
        let mut divergences = 0;
        let mut used = BTreeSet::new();
        for (name, scenario) in &scenarios {
            let verdict = match &mut node {
                Some(node) => departures.judge(scenario, node, &mut sockeye),
                None => run(scenario, &mut sockeye, &BTreeSet::new())
                    .and_then(|actual| Ok(read_recording(name)?.compare(&actual.trace))),
            };
            match verdict.map_err(in_scenario(name))? {
                Verdict::Same => {}
                Verdict::Departs(names) => used.extend(names),
                Verdict::Diverges(difference) => {
                    println!("{name} diverges:\n{difference}");
                    divergences += 1;
                }
            }
        }
        println!("{} scenarios, {divergences} divergences", scenarios.len());
        let mut is_well = divergences == 0;
        for unknown in used.difference(departures.names()) {
            println!("the departure `{unknown}` is recorded and not listed");
            is_well = false;
        }
        for unused in departures.names().difference(&used).filter(|_| self.names.is_empty()) {
            println!("no scenario shows the departure `{unused}`");
            is_well = false;
        }
        Ok(is_well)
    }

    fn record(&self) -> Result<bool, String> {
        let mut node = Side::node(&self.node)?;
        let departures = Departures::read()?;
        let scenarios = find_scenarios(&self.names)?;
        for (name, scenario) in &scenarios {
            let expected = departures.expect(scenario, &mut node).map_err(in_scenario(name))?;
            if run(scenario, &mut node, &BTreeSet::new()).map_err(in_scenario(name))?.trace != expected.plain {
                return Err(format!("{name} does not come out the same twice"));
            }
            write_recording(name, &node.name, &expected)?;
        }
        println!("{} scenarios recorded from {}", scenarios.len(), node.name);
        Ok(true)
    }

    fn show(&self) -> Result<bool, String> {
        let (mut node, mut sockeye) = (Side::node(&self.node)?, Side::sockeye()?);
        let departures = Departures::read()?;
        for (name, scenario) in find_scenarios(&self.names)? {
            let expected = departures.expect(&scenario, &mut node).map_err(in_scenario(&name))?;
            println!("{name} on {}:\n{}\n", node.name, expected.plain.join("\n"));
            if let Some((names, trace)) = expected.departed {
                println!("with {}:\n{}\n", join(&names), trace.join("\n"));
            }
            let actual = run(&scenario, &mut sockeye, &BTreeSet::new()).map_err(in_scenario(&name))?.trace;
            println!("{name} on {}:\n{}\n", sockeye.name, actual.join("\n"));
        }
        Ok(true)
    }

    fn random(&self) -> Result<bool, String> {
        let (mut node, mut sockeye) = (Side::node(&self.node)?, Side::sockeye()?);
        let departures = Departures::read()?;
        println!("seed {}, against {}", self.seed, node.name);
        let mut generator = Generator::new(self.seed);
        let mut divergences = 0;
        let mut departed = BTreeMap::<String, usize>::new();
        for index in 0..self.count {
            let scenario = generator.scenario(self.steps);
            let name = format!("seed-{}-{index}", self.seed);
            let verdict = departures.judge(&scenario, &mut node, &mut sockeye);
            match verdict.map_err(|error| format!("{name}: {error} in\n{scenario}"))? {
                Verdict::Same => {}
                Verdict::Departs(names) => {
                    for name in names {
                        *departed.entry(name).or_default() += 1;
                    }
                }
                Verdict::Diverges(difference) => {
                    divergences += 1;
                    let smallest = shrink::shrink(scenario.clone(), &departures, &mut node, &mut sockeye);
                    let smallest = smallest.map_err(in_scenario(&name))?;
                    let path = files::write_divergence(&self.out, &name, &smallest)?;
                    println!("{}:\n{smallest}", path.display());
                    match departures.judge(&smallest, &mut node, &mut sockeye)? {
                        Verdict::Diverges(difference) => println!("{difference}"),
                        _ => println!("it does not diverge any more; at first it was\n{scenario}{difference}"),
                    }
                }
            }
        }
        for (name, count) in &departed {
            println!("{count} depart by {name}");
        }
        println!("{} scenarios, {divergences} divergences", self.count);
        Ok(divergences == 0)
    }
}

fn in_scenario(name: &str) -> impl Fn(String) -> String {
    move |error| format!("{name}: {error}")
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
