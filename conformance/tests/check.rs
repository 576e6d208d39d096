//! Every scenario on sockeye, against the recorded traces of Node. Needs no Node.

use std::process::Command;

#[test]
fn sockeye_does_what_node_was_recorded_to_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_sockeye-conformance")).arg("check").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (count, _) = text.split_once(" scenarios").unwrap();
    assert!(count.lines().last().unwrap().parse::<usize>().unwrap() >= 120, "{text}");
}

#[test]
fn a_malformed_scenario_is_an_error_that_says_where() {
    let path = std::env::temp_dir().join(format!("malformed-{}.txt", std::process::id()));
    std::fs::write(&path, "socket tcp\nfly\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sockeye-conformance")).arg("check").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2: `fly` is no call"), "{output:?}");
}
