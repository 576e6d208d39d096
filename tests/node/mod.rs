//! Asks the Node that is installed.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// What a script prints that reads `input` to its end before it prints; `None` without Node on the path.
pub(crate) fn run(script: &str, input: &str) -> io::Result<Option<String>> {
    let mut node = match Command::new("node").args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        node => node?,
    };
    if let Some(mut stdin) = node.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = node.wait_with_output()?;
    assert!(output.status.success(), "node failed");
    String::from_utf8(output.stdout).map(Some).map_err(io::Error::other)
}
