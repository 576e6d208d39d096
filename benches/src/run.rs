//! The command that measures: each workload on each peer, in turn.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;
use crate::chart;
use crate::flags::Flags;
use crate::load::Sample;
use crate::peers::{Peer, Places};
use crate::process::{self, Placement, Server};
use crate::report::{LeftOut, Report, Results};
use crate::sys;
use crate::table;
use crate::workloads::{self, Kind, Workload};

const OPTIONS: &[&str] = &[
    "only",
    "peers",
    "quick",
    "rounds",
    "out",
    "node",
    "peer-path",
    "chart",
    "table",
    "list",
    "measure-ms",
    "repeats",
    "warm-up-ms",
];

/// Descriptors that 100,000 connections need, with what a process has besides.
const DESCRIPTORS: u64 = 101_000;

/// How much of the server's cores others may take before a run is repeated. Interrupts and kernel threads take some.
const TOLERATED_PERCENT: f64 = 8.0;

/// Some need minutes for a million rules.
const MICRO_LIMIT: Duration = Duration::from_secs(40);

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    /// How often a run is repeated that was disturbed.
    pub(crate) repeats: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
}

impl Settings {
    fn new(flags: &Flags) -> Result<Self, Failure> {
        let (rounds, repeats, warm_up, measure) =
            if flags.is_on("quick") { (3, 0, 100, 300) } else { (5, 2, 300, 1_000) };
        Ok(Self {
            rounds: flags.number("rounds")?.unwrap_or(rounds).max(1),
            repeats: flags.number("repeats")?.unwrap_or(repeats),
            warm_up: Duration::from_millis(flags.number("warm-up-ms")?.unwrap_or(warm_up)),
            measure: Duration::from_millis(flags.number("measure-ms")?.unwrap_or(measure).max(1)),
        })
    }
}

pub(crate) fn main(flags: &Flags) -> Result<(), Failure> {
    flags.expect_only(OPTIONS)?;
    if let Some(file) = flags.text("chart") {
        let drawn = Path::new(file).with_extension("svg");
        fs::write(&drawn, chart::draw(&serde_json::from_str(&fs::read_to_string(file)?)?))?;
        println!("{}", drawn.display());
        return Ok(());
    }
    if let Some(file) = flags.text("table") {
        print!("{}", table::print(&serde_json::from_str(&fs::read_to_string(file)?)?));
        return Ok(());
    }
    if flags.is_on("list") {
        for workload in workloads::all() {
            println!("{:14}{}\n{:14}{}", workload.name, workload.title, "", workload.peers.join(" "));
        }
        return Ok(());
    }
    measure(flags)
}

fn measure(flags: &Flags) -> Result<(), Failure> {
    let out = flags.text("out").map_or_else(default_directory, |path| Ok(PathBuf::from(path)))?;
    fs::create_dir_all(&out)?;
    let mut bench = Bench {
        settings: Settings::new(flags)?,
        places: Places::new(flags, out.clone())?,
        named: flags.list("peers"),
        cores: sys::cores()?,
        descriptors: sys::raise_descriptor_limit(DESCRIPTORS)?,
        known: BTreeMap::new(),
        left_out: Vec::new(),
        is_watched: io::stderr().is_terminal(),
    };
    let mut report = Report::new(&bench.settings, &bench.cores)?;
    let (file, drawing) = (out.join("bench.json"), out.join("bench.svg"));
    for workload in chosen(flags)? {
        let results = bench.run(workload);
        report.add(workload, &results);
        print!("{}", table::print_workload(report.last()));
        io::stdout().flush()?;
        // After each workload, so that nothing is lost if somebody stops the run.
        report.finish(&bench.left_out, bench.known.values().flatten());
        let json = report.to_json();
        replace(&file, &(serde_json::to_string_pretty(&json)? + "\n"))?;
        replace(&drawing, &chart::draw(&json))?;
    }
    print!("{}", table::print_left_out(&report.to_json()));
    println!("written: {} and {}", file.display(), drawing.display());
    Ok(())
}

/// Writes a file such that the old one stays if there is no room for the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

/// `bench` in the target directory that this binary lies in.
fn default_directory() -> Result<PathBuf, Failure> {
    let own = env::current_exe()?;
    let target = own.ancestors().nth(2).ok_or("the binary lies in no target directory; name one with --out")?;
    Ok(target.join("bench"))
}

fn chosen(flags: &Flags) -> Result<Vec<&'static Workload>, Failure> {
    let Some(names) = flags.list("only") else { return Ok(workloads::all().collect()) };
    let is_meant =
        |workload: &Workload, name: &str| workload.name == name || workload.name.starts_with(&format!("{name}-"));
    for name in &names {
        if !workloads::all().any(|workload| is_meant(workload, name)) {
            let known: Vec<_> = workloads::all().map(|workload| workload.name).collect();
            return Err(format!("no workload {name:?}; there are {}", known.join(", ")).into());
        }
    }
    Ok(workloads::all().filter(|workload| names.iter().any(|name| is_meant(workload, name))).collect())
}

struct Bench {
    settings: Settings,
    places: Places,
    named: Option<Vec<String>>,
    cores: Vec<usize>,
    descriptors: u64,
    /// The peers that were looked for; `None` if one is not here.
    known: BTreeMap<String, Option<Peer>>,
    left_out: Vec<LeftOut>,
    is_watched: bool,
}

impl Bench {
    fn run(&mut self, workload: &Workload) -> Results {
        let mut results = Results::new();
        if let Kind::Load { connections, .. } = workload.kind {
            if connections as u64 + 100 > self.descriptors {
                let reason = format!("only {} descriptors may be open (ulimit -n)", self.descriptors);
                self.leave_out("everybody", Some(workload), reason);
                return results;
            }
        }
        let mut peers = self.peers(workload);
        for round in 0..self.settings.rounds.min(workload.most_rounds) {
            let mut failed = Vec::new();
            for peer in &peers {
                self.progress(&format!("{} round {} {}", workload.name, round + 1, peer.name));
                match self.run_undisturbed(workload, peer) {
                    Ok(sample) => results.add(&peer.name, round, sample),
                    Err(error) => failed.push((peer.name.clone(), error.to_string())),
                }
            }
            for (name, reason) in failed {
                peers.retain(|peer| peer.name != name);
                results.remove(&name);
                self.leave_out(&name, Some(workload), reason);
            }
        }
        self.progress("");
        results
    }

    fn progress(&self, line: &str) {
        if self.is_watched {
            eprint!("\r\x1b[K{line}");
        }
    }

    fn peers(&mut self, workload: &Workload) -> Vec<Peer> {
        let standard = || workload.peers.iter().map(|&name| name.to_owned());
        let names: Vec<String> = match (&self.named, workload.kind) {
            (None, _) => standard().collect(),
            (Some(named), Kind::Load { .. }) => named.clone(),
            (Some(named), Kind::Micro { .. }) => {
                let is_named = |name: &String| named.iter().any(|it| it == name || it.starts_with(&format!("{name}-")));
                standard().filter(is_named).collect()
            }
        };
        names.into_iter().filter_map(|name| self.peer(name)).collect()
    }

    fn peer(&mut self, name: String) -> Option<Peer> {
        if let Some(known) = self.known.get(&name) {
            return known.clone();
        }
        let found = Peer::find(&name, &self.places);
        if let Err(reason) = &found {
            self.leave_out(&name, None, reason.to_string());
        }
        self.known.insert(name.clone(), found.ok());
        self.known[&name].clone()
    }

    fn leave_out(&mut self, peer: &str, workload: Option<&Workload>, reason: String) {
        let workload = workload.map(|workload| workload.name);
        self.left_out.push(LeftOut { peer: peer.to_owned(), workload, reason });
    }

    /// Runs a peer again if others have taken too much of its cores; of the attempts, the least disturbed one counts.
    fn run_undisturbed(&self, workload: &Workload, peer: &Peer) -> Result<Sample, Failure> {
        let mut best = self.run_once(workload, peer)?;
        let disturbance = |sample: &Sample| sample.get("others_percent").copied().unwrap_or(0.0);
        for _ in 0..self.settings.repeats {
            if disturbance(&best) <= TOLERATED_PERCENT {
                break;
            }
            let again = self.run_once(workload, peer)?;
            if disturbance(&again) < disturbance(&best) {
                best = again;
            }
        }
        Ok(best)
    }

    fn run_once(&self, workload: &Workload, peer: &Peer) -> Result<Sample, Failure> {
        let placement = Placement::new(&self.cores, peer.threads);
        let Kind::Load { mode, shape, connections, size, answer, in_flight } = workload.kind else {
            return self.run_micro(workload, peer, &placement);
        };
        let own = env::current_exe()?.display().to_string();
        let backend = match mode {
            "proxy" => {
                let command = [&own, "server", "epoll", "--mode", "echo", "--awake"].map(str::to_owned);
                Some(Server::start(&command, &placement.backend, None)?)
            }
            _ => None,
        };
        let (command, port) = peer.server(&self.places, mode, backend.as_ref().map(|backend| backend.port))?;
        let server = Server::start(&command, &placement.server, port)?;
        let joined = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut load = vec![own, "load".to_owned(), shape.to_owned()];
        for (name, value) in [
            ("port", server.port.to_string()),
            ("pid", server.pid().to_string()),
            ("connections", connections.to_string()),
            ("size", size.to_string()),
            ("answer", answer.to_string()),
            ("in-flight", in_flight.to_string()),
            ("cores", joined(&placement.load)),
            ("server-cores", joined(&placement.server)),
            ("warm-up-ms", self.settings.warm_up.as_millis().to_string()),
            ("measure-ms", self.settings.measure.as_millis().to_string()),
        ] {
            load.extend([format!("--{name}"), value]);
        }
        let limit = self.settings.warm_up + self.settings.measure + Duration::from_secs(120);
        let printed = process::output(&load, &placement.load, limit)?;
        Ok(serde_json::from_str(&printed)?)
    }

    fn run_micro(&self, workload: &Workload, peer: &Peer, placement: &Placement) -> Result<Sample, Failure> {
        let Kind::Micro { what, size } = workload.kind else { return Err("it needs a server".into()) };
        let command = peer.micro(&self.places, what, size);
        Ok(serde_json::from_str(&process::output(&command, &placement.server, MICRO_LIMIT)?)?)
    }
}
