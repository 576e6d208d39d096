//! Who takes part, how each is started, and why somebody does not.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::flags::Flags;
use crate::process;

/// A peer that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    program: Program,
    /// How many cores it can use.
    pub(crate) threads: usize,
}

#[derive(Clone, Debug)]
enum Program {
    /// A server of this binary.
    Own,
    /// A JavaScript runtime and the arguments before the script.
    Script(PathBuf, &'static [&'static str]),
    /// Compiled on demand.
    Compiled(PathBuf),
    Haproxy(PathBuf),
}

/// Where to find things.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// This binary.
    own: PathBuf,
    /// The foreign programs' sources.
    sources: PathBuf,
    /// Where compiled ones go.
    pub(crate) build: PathBuf,
    /// Programs that were named on the command line or in the environment.
    named: Vec<(String, PathBuf)>,
}

impl Places {
    pub(crate) fn new(flags: &Flags, build: PathBuf) -> Result<Self, Failure> {
        let mut named = Vec::new();
        for (name, variable) in
            [("node26", "SOCKEYE_BENCH_NODE26"), ("bun", "SOCKEYE_BENCH_BUN"), ("deno", "SOCKEYE_BENCH_DENO")]
        {
            if let Some(path) = env::var_os(variable) {
                named.push((name.to_owned(), path.into()));
            }
        }
        if let Some(path) = flags.text("node") {
            named.push(("node".to_owned(), path.into()));
        }
        for text in flags.all("peer-path") {
            let (name, path) =
                text.split_once('=').ok_or_else(|| format!("--peer-path wants NAME=PATH, not {text:?}"))?;
            named.push((name.to_owned(), path.into()));
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        Ok(Self { own: env::current_exe()?, sources, build, named })
    }

    fn find(&self, peer: &str, program: &str) -> Result<PathBuf, Failure> {
        if let Some((_, path)) = self.named.iter().rev().find(|(name, _)| name == peer) {
            return if path.is_file() {
                Ok(path.clone())
            } else {
                Err(format!("{} is no file", path.display()).into())
            };
        }
        if peer == "node26" {
            return Err("not named: SOCKEYE_BENCH_NODE26=PATH or --peer-path node26=PATH".into());
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file());
        found.ok_or_else(|| format!("there is no {program} on PATH").into())
    }
}

impl Peer {
    /// Finds a peer; the error says why it cannot take part.
    pub(crate) fn find(name: &str, places: &Places) -> Result<Self, Failure> {
        let base = ["-mt", "-fair", "-cores"].iter().find_map(|flavor| name.strip_suffix(flavor)).unwrap_or(name);
        let threads = if base == name { 1 } else { crate::servers::WORKERS };
        let peer = |program, version| Self { name: name.to_owned(), version, program, threads };
        let script = |arguments| {
            let path = places.find(name, if name == "node26" { "node" } else { name })?;
            let version = version(&path, &["--version"])?;
            Ok::<_, Failure>(peer(Program::Script(path, arguments), Some(version)))
        };
        match base {
            "node" | "node26" | "bun" => script(&[]),
            "deno" => script(&["run", "--quiet", "--allow-all"]),
            "haproxy" => {
                let path = places.find(name, base)?;
                let version = version(&path, &["-v"])?;
                Ok(peer(Program::Haproxy(path), Some(version)))
            }
            "go" => {
                let go = places.find(base, "go")?;
                let built = places.build.join("net-go");
                compile(&go, &["build".as_ref(), "-o".as_ref(), &built, &places.sources.join("net.go")])?;
                Ok(peer(Program::Compiled(built), Some(version(&go, &["version"])?)))
            }
            "libuv" => {
                let compiler = places.find(name, "cc")?;
                let built = places.build.join("net-libuv");
                let source = places.sources.join("net_libuv.c");
                compile(&compiler, &["-O2".as_ref(), "-o".as_ref(), &built, &source, "-luv".as_ref()])?;
                Ok(peer(Program::Compiled(built), None))
            }
            _ => Ok(peer(Program::Own, None)),
        }
    }

    /// The command that serves, and the port where it will be if it is not going to print it.
    pub(crate) fn server(
        &self,
        places: &Places,
        mode: &str,
        backend: Option<u16>,
    ) -> Result<(Vec<String>, Option<u16>), Failure> {
        let text = |path: &Path| path.display().to_string();
        let backend = backend.map(|port| port.to_string());
        let mut command = match &self.program {
            Program::Own => {
                let mut command: Vec<String> =
                    [&text(&places.own), "server", &self.name, "--mode", mode].map(str::to_owned).into();
                if let Some(backend) = backend {
                    command.extend(["--backend".to_owned(), backend]);
                }
                return Ok((command, None));
            }
            Program::Script(path, arguments) => {
                let mut command = vec![text(path)];
                command.extend(arguments.iter().map(|&it| it.to_owned()));
                command.push(text(&places.sources.join("net.mjs")));
                command
            }
            Program::Compiled(path) => vec![text(path)],
            Program::Haproxy(path) => {
                let port = process::free_port()?;
                let backend = backend.ok_or("haproxy only passes on")?;
                let template = std::fs::read_to_string(places.sources.join("haproxy.cfg"))?;
                let config = template.replace("@PORT@", &port.to_string()).replace("@BACKEND@", &backend);
                let file = places.build.join("haproxy.cfg");
                std::fs::write(&file, config)?;
                return Ok((
                    vec![text(path), "-q".to_owned(), "-db".to_owned(), "-f".to_owned(), text(&file)],
                    Some(port),
                ));
            }
        };
        command.push(mode.to_owned());
        command.extend(backend);
        Ok((command, None))
    }

    /// The command that measures itself.
    pub(crate) fn micro(&self, places: &Places, what: &str, size: usize) -> Vec<String> {
        let mut command = match &self.program {
            Program::Script(path, arguments) => {
                let mut command = vec![path.display().to_string()];
                command.extend(arguments.iter().map(|&it| it.to_owned()));
                command.push(places.sources.join("micro.mjs").display().to_string());
                command
            }
            _ => vec![places.own.display().to_string(), "micro".to_owned()],
        };
        command.push(what.to_owned());
        command.extend(["--size".to_owned(), size.to_string()]);
        command
    }
}

/// The first line that the program prints about itself.
fn version(program: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => Err(format!("{} does not say its version", program.display()).into()),
    }
}

fn compile(compiler: &Path, arguments: &[&Path]) -> Result<(), Failure> {
    let output = Command::new(compiler).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().find(|line| line.contains("error")).or(text.lines().next()).unwrap_or("no reason given");
    Err(format!("it does not compile here: {reason}").into())
}
