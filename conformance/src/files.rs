//! Where scenarios and recordings lie.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Trace;
use crate::scenario::Scenario;

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

/// What was recorded, without the line that names the Node.
pub fn read_recording(name: &str) -> Result<Trace, String> {
    let path = recording(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().skip(1).map(str::to_owned).collect())
}

pub fn write_recording(name: &str, node: &str, trace: &Trace) -> Result<(), String> {
    write(&recording(name), format!("recorded from {node}\n{}\n", trace.join("\n")))
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

fn recording(name: &str) -> PathBuf {
    here("recordings").join(name).with_extension("trace")
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
