//! The report as text.

use std::fmt::Write;

use serde_json::Value;

/// All of a report.
pub(crate) fn print(report: &Value) -> String {
    let workloads = report["workloads"].as_array().into_iter().flatten();
    workloads.map(print_workload).collect::<String>() + &print_left_out(report)
}

/// One workload; nothing if nobody took part.
pub(crate) fn print_workload(workload: &Value) -> String {
    if workload["peers"].as_array().is_none_or(Vec::is_empty) {
        return String::new();
    }
    let columns: Vec<_> = workload["columns"].as_array().into_iter().flatten().collect();
    let mut rows = vec![vec!["peer".to_owned()]];
    rows[0].extend(columns.iter().map(|column| text(&column["head"]).to_owned()));
    rows[0].push("ratio (least-greatest)".to_owned());
    for peer in workload["peers"].as_array().into_iter().flatten() {
        let mut row = vec![text(&peer["name"]).to_owned()];
        for column in &columns {
            let decimals = column["decimals"].as_u64().unwrap_or(0) as usize;
            row.push(match peer["median"][text(&column["figure"])].as_f64() {
                Some(value) => format!("{value:.decimals$}"),
                None => "-".to_owned(),
            });
        }
        let ratio = &peer["ratio"];
        row.push(match (ratio["median"].as_f64(), ratio["least"].as_f64(), ratio["greatest"].as_f64()) {
            (Some(median), Some(least), Some(greatest)) => format!("{median:.2} ({least:.2}-{greatest:.2})"),
            _ => "-".to_owned(),
        });
        rows.push(row);
    }
    let mut printed = format!("\n{}: {}\n", text(&workload["name"]), text(&workload["title"]));
    printed += &format!("ratio: {} to that of {}\n", text(&workload["ratio_head"]), text(&workload["baseline"]));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            // Writing to a string does not fail.
            let _ = if column == 0 { write!(printed, "{cell:width$}") } else { write!(printed, "  {cell:>width$}") };
        }
        printed.push('\n');
    }
    printed
}

pub(crate) fn print_left_out(report: &Value) -> String {
    let mut printed = String::from("\n");
    for left_out in report["left_out"].as_array().into_iter().flatten() {
        let workload = left_out["workload"].as_str().map(|name| format!(" of {name}")).unwrap_or_default();
        printed += &format!("left out{workload}: {}: {}\n", text(&left_out["peer"]), text(&left_out["reason"]));
    }
    printed
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_stand_below_their_heads() {
        let workload = json!({"name": "echo", "title": "an echo", "baseline": "epoll", "ratio_head": "CPU",
            "columns": [{"head": "CPU", "figure": "cpu_us", "decimals": 2}, {"head": "absent", "figure": "x", "decimals": 0}],
            "peers": [{"name": "long-name", "median": {"cpu_us": 1.234}, "ratio": {"median": 1.5, "least": 1.0, "greatest": 2.0}}]});
        let printed = print_workload(&workload);
        let lines: Vec<_> = printed.lines().skip(3).collect();
        assert_eq!(lines[0], "peer        CPU  absent  ratio (least-greatest)");
        assert_eq!(lines[1], "long-name  1.23       -        1.50 (1.00-2.00)");
        assert_eq!(print_workload(&json!({"peers": []})), "");
    }
}
