//! Programs that nobody here wrote, to talk to the examples. Each says what is left out where it is missing.

#![allow(dead_code, unreachable_pub)]

use tokio::process::Command;

pub async fn has_openbsd_netcat() -> bool {
    has("nc", &["-h"], "OpenBSD").await
}

pub async fn has_curl() -> bool {
    has("curl", &["--version"], "https").await
}

pub async fn has_wrk() -> bool {
    has("wrk", &["--version"], "wrk").await
}

/// What curl prints, which must not fail.
pub async fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "--fail", "--noproxy", "*"]).args(arguments).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {}, {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Loads a web server for a second, and fails if a request does.
pub async fn wrk(url: &str) {
    let output = Command::new("wrk").args(["-t1", "-c20", "-d1s", url]).output().await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}, {report}", output.status);
    assert!(report.contains("requests in") && !report.contains(" 0 requests in"), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
}

async fn has(program: &str, arguments: &[&str], text: &str) -> bool {
    let has = match Command::new(program).args(arguments).output().await {
        Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).contains(text),
        Err(_) => false,
    };
    if !has {
        println!("left out: there is no {program} ({text}) here");
    }
    has
}
