//! The ratios as an SVG picture: for each workload, a bar for each peer from 1 to its median ratio on a logarithmic
//! scale, and a thin line from its least to its greatest. It has no background, and its colours can be read on white
//! and on black; where the viewer says which it is, the text gets darker or lighter.

use std::fmt::Write;

use serde_json::Value;

const COLUMNS: usize = 2;
const COLUMN_WIDTH: f64 = 560.0;
const GAP: f64 = 40.0;
const NAMES: f64 = 140.0;
const FIGURES: f64 = 70.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 44.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#78828c}.title{font-weight:600}.end{text-anchor:end}\
    .one{stroke:#78828c;stroke-dasharray:3 3}.span{stroke:#78828c;stroke-width:2}\
    .sockeye{fill:#e8604c}.tokio{fill:#3f8fd2}.floor{fill:#78828c}.other{fill:#9a8fbf}\
    @media(prefers-color-scheme:light){text{fill:#24292f}}@media(prefers-color-scheme:dark){text{fill:#d8dee4}}";

struct Bar<'a> {
    name: &'a str,
    median: f64,
    least: f64,
    greatest: f64,
}

pub(crate) fn draw(report: &Value) -> String {
    let mut heights = [0.0_f64; COLUMNS];
    let mut panels = String::new();
    for workload in report["workloads"].as_array().into_iter().flatten() {
        let bars = bars(workload);
        if bars.len() < 2 {
            continue;
        }
        let column = (0..COLUMNS).min_by(|&a, &b| heights[a].total_cmp(&heights[b])).unwrap_or(0);
        let left = column as f64 * (COLUMN_WIDTH + GAP);
        panels += &panel(workload, &bars, left, heights[column]);
        heights[column] += HEAD + bars.len() as f64 * ROW + GAP;
    }
    let width = COLUMNS as f64 * COLUMN_WIDTH + (COLUMNS - 1) as f64 * GAP;
    let height = heights.into_iter().fold(0.0, f64::max);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-10 -10 {} {}\">\n<style>{STYLE}</style>\n{panels}</svg>\n",
        width + 20.0,
        height + 20.0
    )
}

fn bars(workload: &Value) -> Vec<Bar<'_>> {
    workload["peers"].as_array().into_iter().flatten().filter_map(bar).collect()
}

/// `None` if there is no ratio, or none that a logarithmic scale has.
fn bar(peer: &Value) -> Option<Bar<'_>> {
    let figure = |name: &str| peer["ratio"][name].as_f64().filter(|value| *value > 0.0 && value.is_finite());
    let (median, least, greatest) = (figure("median")?, figure("least")?, figure("greatest")?);
    Some(Bar { name: peer["name"].as_str()?, median, least, greatest })
}

fn panel(workload: &Value, bars: &[Bar<'_>], left: f64, top: f64) -> String {
    let text = |name: &str| escape(workload[name].as_str().unwrap_or_default());
    let lowest = bars.iter().map(|bar| bar.least).fold(1.0 / 1.5, f64::min);
    let highest = bars.iter().map(|bar| bar.greatest).fold(1.5, f64::max);
    let room = COLUMN_WIDTH - NAMES - FIGURES;
    let x = |ratio: f64| left + NAMES + room * (ratio / lowest).ln() / (highest / lowest).ln();
    let mut drawn = format!(
        "<text class=\"title\" x=\"{left:.0}\" y=\"{:.0}\">{}</text>\n<text x=\"{left:.0}\" y=\"{:.0}\">{}, divided by that of {}</text>\n",
        top + 12.0,
        text("title"),
        top + 28.0,
        text("ratio_head"),
        text("baseline")
    );
    let bottom = top + HEAD + bars.len() as f64 * ROW;
    let _ = writeln!(
        drawn,
        "<line class=\"one\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{bottom:.1}\"/>",
        x(1.0),
        top + HEAD - 6.0
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = top + HEAD + index as f64 * ROW;
        let middle = y + (ROW - 4.0) / 2.0;
        let (from, to) = (x(bar.median.min(1.0)), x(bar.median.max(1.0)));
        // Writing to a string does not fail.
        let _ = write!(
            drawn,
            "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            left + NAMES - 8.0,
            y + 11.0,
            escape(bar.name),
            family(bar.name),
            (to - from).max(1.0),
            ROW - 4.0,
        );
        let _ = writeln!(
            drawn,
            "<line class=\"span\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(bar.least),
            x(bar.greatest),
            left + COLUMN_WIDTH - FIGURES + 8.0,
            y + 11.0,
            figure(bar.median)
        );
    }
    drawn
}

fn figure(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

fn family(peer: &str) -> &'static str {
    match peer.split('-').next() {
        Some("sockeye") => "sockeye",
        Some("tokio") => "tokio",
        Some("epoll") => "floor",
        _ => "other",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bar_goes_from_one_to_the_median() {
        let peer = |name: &str, median: f64| json!({"name": name, "ratio": {"median": median, "least": median, "greatest": median}});
        let workload = json!({"title": "a < b", "ratio_head": "CPU", "baseline": "epoll",
            "peers": [peer("epoll", 1.0), peer("sockeye-pipe", 4.0), peer("bun", 0.25), json!({"name": "none", "ratio": null})]});
        let drawn = draw(&json!({"workloads": [workload]}));
        assert!(drawn.contains("a &lt; b") && !drawn.contains("none"));
        // One lies in the middle between a quarter and four, each side half of the room.
        let half = (COLUMN_WIDTH - NAMES - FIGURES) / 2.0;
        let one = NAMES + half;
        assert!(drawn.contains(&format!("class=\"sockeye\" x=\"{one:.1}\"")), "{drawn}");
        assert!(drawn.contains(&format!("class=\"other\" x=\"{NAMES:.1}\"")), "{drawn}");
        assert_eq!(drawn.matches(&format!("width=\"{half:.1}\"")).count(), 2);
    }
}
