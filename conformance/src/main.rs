//! The same scenario on real Node and on sockeye, traces compared. README.md says how to use it.

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

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::compare::{Departures, difference};
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
        let mut departures = Departures::read()?;
        let scenarios = find_scenarios(&self.names)?;
        let mut divergences = 0;
        for (name, scenario) in &scenarios {
            let expected = match &mut node {
                Some(node) => run(scenario, node)?,
                None => read_recording(name)?,
            };
            let actual = run(scenario, &mut sockeye)?;
            if let Some(difference) = difference(name, &expected, &actual, &mut departures) {
                println!("{name} diverges:\n{difference}");
                divergences += 1;
            }
        }
        println!("{} scenarios, {divergences} divergences", scenarios.len());
        let unused = if self.names.is_empty() { departures.unused() } else { Vec::new() };
        for departure in &unused {
            println!("the departure `{departure}` does not happen any more");
        }
        Ok(divergences == 0 && unused.is_empty())
    }

    fn record(&self) -> Result<bool, String> {
        let mut node = Side::node(&self.node)?;
        let scenarios = find_scenarios(&self.names)?;
        for (name, scenario) in &scenarios {
            let trace = run(scenario, &mut node)?;
            if run(scenario, &mut node)? != trace {
                return Err(format!("{name} does not come out the same twice"));
            }
            write_recording(name, &node.name, &trace)?;
        }
        println!("{} scenarios recorded from {}", scenarios.len(), node.name);
        Ok(true)
    }

    fn show(&self) -> Result<bool, String> {
        let (mut node, mut sockeye) = (Side::node(&self.node)?, Side::sockeye()?);
        for (name, scenario) in find_scenarios(&self.names)? {
            for side in [&mut node, &mut sockeye] {
                let trace = run(&scenario, side)?;
                println!("{name} on {}:\n{}\n", side.name, trace.join("\n"));
            }
        }
        Ok(true)
    }

    fn random(&self) -> Result<bool, String> {
        let (mut node, mut sockeye) = (Side::node(&self.node)?, Side::sockeye()?);
        println!("seed {}, against {}", self.seed, node.name);
        let mut generator = Generator::new(self.seed);
        let mut divergences = 0;
        for index in 0..self.count {
            let scenario = generator.scenario(self.steps);
            if shrink::diverges(&scenario, &mut node, &mut sockeye)?.is_none() {
                continue;
            }
            // What does not happen again was chance, and is counted all the same.
            let scenario = shrink::shrink(scenario, &mut node, &mut sockeye)?;
            let difference = shrink::diverges(&scenario, &mut node, &mut sockeye)?;
            let name = format!("seed-{}-{index}", self.seed);
            let path = files::write_divergence(&self.out, &name, &scenario)?;
            let difference = difference.unwrap_or_else(|| "it did not diverge a second time\n".into());
            println!("{}:\n{scenario}{difference}", path.display());
            divergences += 1;
        }
        println!("{} scenarios, {divergences} divergences", self.count);
        Ok(divergences == 0)
    }
}
