//! What was measured, as JSON; the table and the chart are drawn from it.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::load::Sample;
use crate::peers::Peer;
use crate::run::Settings;
use crate::workloads::Workload;

/// The samples of each peer by round, the peers in the order in which they ran.
#[derive(Debug, Default)]
pub(crate) struct Results {
    peers: Vec<(String, BTreeMap<usize, Sample>)>,
}

/// A peer that did not take part, in one workload or at all.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    pub(crate) peer: String,
    pub(crate) workload: Option<&'static str>,
    pub(crate) reason: String,
}

impl Results {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, peer: &str, round: usize, sample: Sample) {
        match self.peers.iter_mut().find(|(name, _)| name == peer) {
            Some((_, rounds)) => drop(rounds.insert(round, sample)),
            None => self.peers.push((peer.to_owned(), BTreeMap::from([(round, sample)]))),
        }
    }

    pub(crate) fn remove(&mut self, peer: &str) {
        self.peers.retain(|(name, _)| name != peer);
    }

    fn rounds(&self, peer: &str) -> Option<&BTreeMap<usize, Sample>> {
        self.peers.iter().find(|(name, _)| name == peer).map(|(_, rounds)| rounds)
    }

    /// A figure of a peer divided by the baseline's of the same round, for each round that both have, sorted.
    fn ratios(&self, peer: &str, baseline: &str, figure: &str) -> Vec<f64> {
        let (Some(own), Some(other)) = (self.rounds(peer), self.rounds(baseline)) else { return Vec::new() };
        let ratio = |(round, sample): (&usize, &Sample)| Some(sample.get(figure)? / other.get(round)?.get(figure)?);
        sorted(own.iter().filter_map(ratio))
    }
}

#[derive(Debug)]
pub(crate) struct Report {
    head: Map<String, Value>,
    workloads: Vec<Value>,
}

impl Report {
    pub(crate) fn new(settings: &Settings, cores: &[usize]) -> Result<Self, Failure> {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let head = json!({
            "unix_time": seconds,
            "machine": {
                "processor": processor(),
                "cores": cores.len(),
                "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
            },
            "settings": {
                "rounds": settings.rounds,
                "warm_up_ms": settings.warm_up.as_millis() as u64,
                "measure_ms": settings.measure.as_millis() as u64,
            },
        });
        let Value::Object(head) = head else { unreachable!("an object was written") };
        Ok(Self { head, workloads: Vec::new() })
    }

    pub(crate) fn add(&mut self, workload: &Workload, results: &Results) {
        let columns: Vec<_> =
            workload.columns.iter().map(|it| json!({"head": it.0, "figure": it.1, "decimals": it.2})).collect();
        let peers: Vec<_> = results.peers.iter().map(|(name, rounds)| peer(workload, results, name, rounds)).collect();
        let ratio_head = workload.columns.iter().find(|it| it.1 == workload.ratio_of).map(|it| it.0);
        self.workloads.push(json!({
            "name": workload.name,
            "title": workload.title,
            "baseline": workload.baseline,
            "ratio_of": workload.ratio_of,
            "ratio_head": ratio_head,
            "columns": columns,
            "peers": peers,
        }));
    }

    pub(crate) fn last(&self) -> &Value {
        self.workloads.last().unwrap_or(&Value::Null)
    }

    pub(crate) fn finish<'a>(&mut self, left_out: &[LeftOut], peers: impl Iterator<Item = &'a Peer>) {
        let versions: Map<_, _> = peers.filter_map(|it| Some((it.name.clone(), it.version.clone()?.into()))).collect();
        let left_out = left_out
            .iter()
            .map(|it| json!({"peer": it.peer, "workload": it.workload, "reason": it.reason}))
            .collect::<Vec<_>>();
        self.head.insert("versions".to_owned(), versions.into());
        self.head.insert("left_out".to_owned(), left_out.into());
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.head.clone();
        json.insert("workloads".to_owned(), self.workloads.clone().into());
        json.into()
    }
}

fn peer(workload: &Workload, results: &Results, name: &str, rounds: &BTreeMap<usize, Sample>) -> Value {
    let figures: Vec<_> = rounds.values().next().map(|sample| sample.keys().cloned().collect()).unwrap_or_default();
    let medians: Sample = figures
        .into_iter()
        .map(|figure: String| {
            let median = median(&sorted(rounds.values().filter_map(|sample| sample.get(&figure).copied())));
            (figure, median)
        })
        .collect();
    let ratios = results.ratios(name, workload.baseline, workload.ratio_of);
    let ratio = (!ratios.is_empty())
        .then(|| json!({"median": median(&ratios), "least": ratios.first(), "greatest": ratios.last()}));
    json!({"name": name, "median": medians, "ratio": ratio, "rounds": rounds.values().collect::<Vec<_>>()})
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; the mean of the middle two if their number is even.
fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample::from([("cpu_us".to_owned(), value)])
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut results = Results::new();
        for (round, (floor, other)) in [(1.0, 2.0), (10.0, 10.0), (2.0, 6.0)].into_iter().enumerate() {
            results.add("epoll", round, sample(floor));
            results.add("other", round, sample(other));
        }
        results.add("other", 3, sample(100.0));
        assert_eq!(results.ratios("other", "epoll", "cpu_us"), [1.0, 2.0, 3.0]);
        assert!(results.ratios("other", "absent", "cpu_us").is_empty());
    }

    #[test]
    fn medians() {
        assert_eq!([median(&[]), median(&[3.0]), median(&[1.0, 2.0]), median(&[1.0, 2.0, 9.0])], [0.0, 3.0, 1.5, 2.0]);
    }
}
