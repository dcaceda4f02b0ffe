//! Runs of schedules, and the shortest one that still fails.

use std::fmt;

use crate::{Broken, Coverage, Step, Violation, schedule, world::World};

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// How many servers.
    pub servers: usize,
    /// How many steps a schedule has.
    pub steps: usize,
    /// What is wrong on purpose.
    pub broken: Option<Broken>,
}

/// A seed that fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What was run.
    pub setup: Setup,
    /// The seed.
    pub seed: u64,
    /// What does not hold, in the shortest schedule.
    pub violation: Violation,
    /// The steps of the shortest schedule.
    pub steps: Vec<Step>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (setup, seed) = (&self.setup, self.seed);
        writeln!(f, "seed {seed}, {} servers: {}", setup.servers, self.violation)?;
        writeln!(f, "its shortest schedule:")?;
        for step in &self.steps {
            writeln!(f, "  {:>4}  {:?}", step.at, step.kind)?;
        }
        let only: Vec<String> = self.steps.iter().map(|step| step.at.to_string()).collect();
        write!(
            f,
            "again: cargo run -p hallmark-simulation -- --seed {seed} --servers {} --steps {} --only {}",
            setup.servers,
            setup.steps,
            only.join(",")
        )
    }
}

/// Runs the schedule of a seed.
///
/// # Errors
/// What does not hold, with the shortest schedule in which it does not.
pub fn run(setup: Setup, seed: u64) -> Result<Coverage, Box<Failure>> {
    let steps = schedule(seed, setup.steps);
    run_steps(setup, seed, &steps).map_err(|violation| Box::new(shortest(setup, seed, steps, violation)))
}

/// Runs these steps of a seed's schedule.
///
/// # Errors
/// What does not hold.
pub fn run_steps(setup: Setup, seed: u64, steps: &[Step]) -> Result<Coverage, Violation> {
    let mut world = World::new(setup, seed)?;
    steps.iter().try_for_each(|step| world.step(step))?;
    world.settle()?;
    Ok(world.coverage())
}

/// Cuts steps as long as the same law is broken: ever smaller parts, until no single step can go.
#[must_use]
pub fn shortest(setup: Setup, seed: u64, mut steps: Vec<Step>, mut violation: Violation) -> Failure {
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut is_shorter = false;
        while at < steps.len() {
            let end = (at + part).min(steps.len());
            let without = [&steps[..at], &steps[end..]].concat();
            match run_steps(setup, seed, &without) {
                Err(found) if found.law == violation.law => {
                    (steps, violation, is_shorter) = (without, found, true);
                }
                _ => at = end,
            }
        }
        if !(is_shorter && part == 1) {
            part /= 2;
        }
    }
    Failure {
        setup,
        seed,
        violation,
        steps,
    }
}
