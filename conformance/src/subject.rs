//! The subject on sockeye: the counterpart of `subjects/node.js`, which says the same in the same order.
//!
//! Commands are read synchronously, so the runtime runs only while the driver asks to settle or to wait.

mod records;
mod sockets;
mod world;

use std::io::{self, BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{LocalSet, yield_now};

use self::world::World;

const QUIET_TURNS: u32 = 6;
const MAX_BUSY: Duration = Duration::from_secs(2);

pub fn serve() -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    let mut world = None;
    let mut tasks = LocalSet::new();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line.map_err(text)?).map_err(|error| error.to_string())?;
        let _entered = runtime.enter();
        let answer = match command["cmd"].as_str().unwrap_or_default() {
            "version" => json!({ "version": env!("CARGO_PKG_VERSION") }),
            "begin" => {
                tasks = LocalSet::new();
                let _local = tasks.enter();
                world = Some(World::begin(&command));
                json!({})
            }
            "elapse" => {
                let wait = Duration::from_millis(command["ms"].as_u64().unwrap_or(0));
                tasks.block_on(&runtime, tokio::time::sleep(wait));
                json!({})
            }
            name => {
                let Some(here) = &world else { return Err(format!("`{name}` before `begin`")) };
                let _local = tasks.enter();
                match name {
                    "do" => {
                        for call in command["calls"].as_array().into_iter().flatten() {
                            here.perform(call);
                        }
                        json!({})
                    }
                    "settle" => json!({ "progress": tasks.block_on(&runtime, settle(here)) }),
                    "take" => here.take(),
                    "where" => here.place(),
                    "finish" => {
                        here.finish();
                        tasks.block_on(&runtime, settle(here));
                        json!({})
                    }
                    other => return Err(format!("`{other}` is no command")),
                }
            }
        };
        writeln!(output, "{answer}").and_then(|()| output.flush()).map_err(text)?;
    }
    Ok(())
}

/// Lets everything run until nothing has happened for a while. Whether anything has.
async fn settle(world: &Rc<World>) -> bool {
    let before = world.activity();
    let start = Instant::now();
    let (mut seen, mut quiet) = (before, 0);
    while quiet < QUIET_TURNS {
        yield_now().await;
        let is_busy = world.is_busy() && start.elapsed() < MAX_BUSY;
        quiet = if is_busy || world.activity() != seen { 0 } else { quiet + 1 };
        seen = world.activity();
    }
    seen != before
}
