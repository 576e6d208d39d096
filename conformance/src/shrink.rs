//! Makes a scenario that diverges as short as it can be.

use crate::compare::{Departures, Verdict};
use crate::scenario::{Scenario, Step};
use crate::side::Side;

/// Leaves out what can be left out while both sides still diverge.
pub fn shrink(
    mut scenario: Scenario,
    departures: &Departures,
    node: &mut Side,
    sockeye: &mut Side,
) -> Result<Scenario, String> {
    'smaller: loop {
        for candidate in candidates(&scenario) {
            if let Verdict::Diverges(_) = departures.judge(&candidate, node, sockeye)? {
                scenario = candidate;
                continue 'smaller;
            }
        }
        return Ok(scenario);
    }
}

/// The scenario without one of its parts, for each part; the last steps first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut list = Vec::new();
    let mut add = |edit: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        edit(&mut candidate);
        list.push(candidate);
    };
    for index in (0..scenario.steps.len()).rev() {
        add(&|candidate| drop(candidate.steps.remove(index)));
    }
    for index in 0..scenario.reactions.len() {
        add(&|candidate| drop(candidate.reactions.remove(index)));
    }
    for index in 0..scenario.options.len() {
        add(&|candidate| drop(candidate.options.remove(index)));
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        let Step::Subject(calls) = step else { continue };
        for call in 0..calls.len() {
            if calls.len() > 1 {
                add(&|candidate| {
                    if let Step::Subject(calls) = &mut candidate.steps[index] {
                        calls.remove(call);
                    }
                });
            }
        }
    }
    list
}
