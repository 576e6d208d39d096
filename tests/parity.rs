//! docs/parity.md tells the truth: every member of Node's documentation has a row, and every test that is named exists.

use std::collections::BTreeSet;
use std::path::Path;

/// One row of a table: Node's name, ours, the tests.
struct Row {
    node: String,
    sockeye: String,
    tests: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    let text = read("docs/parity.md");
    let cells = |line: &str| {
        line.trim_start_matches('|')
            .trim_end()
            .trim_end_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells = cells(line);
            assert_eq!(cells.len(), 4, "a row has four cells: {line}");
            Row { node: cells[0].clone(), sockeye: cells[1].clone(), tests: in_backticks(&cells[2]) }
        })
        .collect()
}

fn in_backticks(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_member_of_the_documentation_has_a_row() {
    let rows: BTreeSet<String> = rows().into_iter().flat_map(|row| in_backticks(&row.node)).collect();
    for member in read("tests/data/node-v20-members.txt").lines() {
        assert!(rows.contains(member), "docs/parity.md has no row for `{member}`");
    }
}

#[test]
fn the_rows_stand_in_the_order_of_the_documentation() {
    let names: Vec<String> = rows().iter().flat_map(|row| in_backticks(&row.node)).collect();
    let places: Vec<usize> = read("tests/data/node-v20-members.txt")
        .lines()
        .filter_map(|member| names.iter().position(|name| name == member))
        .collect();
    assert!(places.is_sorted(), "a row is out of place");
}

#[test]
fn every_row_names_a_counterpart_and_tests_that_exist() {
    for row in rows() {
        assert!(!row.sockeye.is_empty(), "{}: no counterpart, and no word that there is none", row.node);
        let is_absent = row.sockeye.starts_with("none");
        assert!(is_absent || !row.tests.is_empty(), "{}: nothing shows it", row.node);
        for test in &row.tests {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{test} is no file::function"));
            let source = read(file);
            let exists = source.contains(&format!("fn {function}("));
            let is_test =
                source.contains("#[test]") || source.contains("#[tokio::test") || source.contains("on_every_");
            assert!(exists && is_test, "{}: there is no test {test}", row.node);
        }
    }
}

/// The list of members is this repository's own; where the documentation is at hand, it is compared with that.
#[test]
fn the_list_of_members_is_that_of_the_documentation() {
    let Ok(documentation) = std::fs::read_to_string(root().join("../shared/reference/node-v20-net.md")) else {
        println!("left out: Node's documentation is not beside the checkout");
        return;
    };
    let mut class = "";
    let mut members = Vec::new();
    for line in documentation.lines().filter(|line| line.starts_with('#')) {
        let Some((_, heading)) = line.split_once("/> ") else { continue };
        let name = heading.replace('`', "");
        class = match &*name {
            "net.Server" => "Server",
            "net.Socket" => "Socket",
            _ => class,
        };
        members.push(match name.strip_prefix('\'') {
            Some(event) => format!("{class} event {}", event.trim_end_matches('\'')),
            None => name,
        });
    }
    assert_eq!(read("tests/data/node-v20-members.txt").lines().collect::<Vec<_>>(), members);
}
