//! One subject: a process that answers lines of JSON with lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

pub struct Side {
    /// `node 20.20.2` or `sockeye 0.1.0`.
    pub name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Side {
    pub fn node(node: &Path) -> Result<Self, String> {
        let mut command = Command::new(node);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("subjects/node.js"));
        Self::start(command, "node")
    }

    /// This very program, in the other role.
    pub fn sockeye() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("subject");
        Self::start(command, "sockeye")
    }

    pub fn ask(&mut self, command: &Value) -> Result<Value, String> {
        let failed = |what: &str| format!("{}: {what} after {command}", self.name);
        let mut line = command.to_string();
        line.push('\n');
        self.input.write_all(line.as_bytes()).map_err(|error| failed(&error.to_string()))?;
        let mut answer = String::new();
        match self.output.read_line(&mut answer) {
            Ok(0) => Err(failed("it ended")),
            Ok(_) => serde_json::from_str(&answer).map_err(|error| failed(&format!("{error} in {answer:?}"))),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    fn start(mut command: Command, name: &str) -> Result<Self, String> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name} has no pipes"));
        };
        let mut side = Self { name: name.to_owned(), child, input, output: BufReader::new(output) };
        let version = side.ask(&json!({ "cmd": "version" }))?;
        side.name = format!("{name} {}", version["version"].as_str().unwrap_or("of no version"));
        Ok(side)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
