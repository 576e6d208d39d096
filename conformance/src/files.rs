//! Where scenarios and recordings lie.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::compare::Expected;
use crate::run::Trace;
use crate::scenario::Scenario;

/// The recording of Node as it is, and of Node with departures.
const PLAIN: &str = "trace";
const DEPARTED: &str = "departed";

/// All scenarios, or those that are named: by file name, or by the path of a file.
pub fn find_scenarios(names: &[String]) -> Result<Vec<(String, Scenario)>, String> {
    let mut paths: Vec<PathBuf> = names.iter().map(|name| path_of(name)).collect();
    if names.is_empty() {
        let directory = here("scenarios");
        let entries = fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        paths = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        paths.sort();
    }
    paths.into_iter().map(|path| Ok((stem(&path), read_scenario(&path)?))).collect()
}

/// What Node was recorded to do.
pub fn read_recording(name: &str) -> Result<Expected, String> {
    let (_, plain) = read_trace(&recording(name, PLAIN))?;
    let path = recording(name, DEPARTED);
    let departed = if path.exists() {
        let (title, trace) = read_trace(&path)?;
        let (_, names) = title.split_once(" with ").ok_or_else(|| format!("{}: it has no title", path.display()))?;
        Some((names.split(", ").map(str::to_owned).collect(), trace))
    } else {
        None
    };
    Ok(Expected { plain, departed })
}

pub fn write_recording(name: &str, node: &str, expected: &Expected) -> Result<(), String> {
    let title = format!("recorded from {node}");
    write(&recording(name, PLAIN), format!("{title}\n{}\n", expected.plain.join("\n")))?;
    let path = recording(name, DEPARTED);
    match &expected.departed {
        Some((names, trace)) => {
            let names = Vec::from_iter(names.iter().map(String::as_str)).join(", ");
            write(&path, format!("{title} with {names}\n{}\n", trace.join("\n")))
        }
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
            _ => Ok(()),
        },
    }
}

pub fn write_divergence(directory: &Path, name: &str, scenario: &Scenario) -> Result<PathBuf, String> {
    let path = directory.join(name).with_extension("txt");
    write(&path, scenario.to_string())?;
    Ok(path)
}

/// A file of this package.
pub fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read_scenario(path: &Path) -> Result<Scenario, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    Scenario::parse(&text).map_err(named)
}

fn path_of(name: &str) -> PathBuf {
    let path = PathBuf::from(name);
    if path.is_file() { path } else { here("scenarios").join(name).with_extension("txt") }
}

/// A trace below its title.
fn read_trace(path: &Path) -> Result<(String, Trace), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines = text.lines().map(str::to_owned);
    Ok((lines.next().unwrap_or_default(), lines.collect()))
}

fn recording(name: &str, kind: &str) -> PathBuf {
    here("recordings").join(name).with_extension(kind)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn write(path: &Path, text: String) -> Result<(), String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(named)?;
    }
    fs::write(path, text).map_err(named)
}
