//! sockeye beside a raw epoll loop, tokio, Node and others: what a message, a connection and an idle connection cost.
//! README.md says how to run it and how to read what it prints.

#![cfg(target_os = "linux")]

mod accounting;
mod chart;
mod flags;
mod histogram;
mod load;
mod micro;
mod peers;
mod process;
mod report;
mod run;
mod servers;
mod sys;
mod table;
mod workloads;

use std::env;
use std::process::ExitCode;

use crate::flags::Flags;

/// Why something did not work, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the program does.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match command(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sockeye-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [command, name, rest @ ..] if command == "server" => servers::main(name, &Flags::parse(rest)?),
        [command, shape, rest @ ..] if command == "load" => load::main(shape, &Flags::parse(rest)?),
        [command, what, rest @ ..] if command == "micro" => micro::main(what, &Flags::parse(rest)?),
        _ => run::main(&Flags::parse(arguments)?),
    }
}
