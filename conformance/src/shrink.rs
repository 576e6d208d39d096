//! Makes a scenario that diverges as short as it can be.

use crate::compare::{Departures, difference};
use crate::run::run;
use crate::scenario::{Scenario, Step};
use crate::side::Side;

/// The first difference between both sides, if there is one.
pub fn diverges(scenario: &Scenario, node: &mut Side, sockeye: &mut Side) -> Result<Option<String>, String> {
    let expected = run(scenario, node)?;
    let actual = run(scenario, sockeye)?;
    Ok(difference("", &expected, &actual, &mut Departures::none()))
}

/// Leaves out what can be left out while both sides still differ.
pub fn shrink(mut scenario: Scenario, node: &mut Side, sockeye: &mut Side) -> Result<Scenario, String> {
    loop {
        let mut is_smaller = false;
        for candidate in candidates(&scenario) {
            if diverges(&candidate, node, sockeye)?.is_some() {
                scenario = candidate;
                is_smaller = true;
                break;
            }
        }
        if !is_smaller {
            return Ok(scenario);
        }
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
