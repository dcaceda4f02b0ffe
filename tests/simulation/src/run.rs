//! Runs of schedules, and the shortest one that still fails.

use std::{fmt, io::Write, path::Path};

use crate::{
    Broken, Coverage, Kind, Step, Violation,
    real::{self, Found, Real},
    schedule,
    world::World,
};

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
    let world = World::new(setup, seed, None)?;
    Ok(to_the_end(world, steps)?.coverage())
}

fn to_the_end(mut world: World, steps: &[Step]) -> Result<World, Violation> {
    steps.iter().try_for_each(|step| world.step(step))?;
    world.end()?;
    Ok(world)
}

/// The schedule of a seed as a real store can have it, which has no fail-over, and stops with its process.
fn on_one_store(setup: Setup, seed: u64) -> Vec<Step> {
    let mut steps = schedule(seed, setup.steps);
    steps.retain(|step| !matches!(step.kind, Kind::FailOver | Kind::StoreCrash));
    steps
}

/// Runs the schedule of a seed with SQLite in this folder beside the simulated store, and tells `told`, a line each, what was
/// acknowledged and what is about to be signed.
///
/// # Errors
/// What does not hold.
pub fn run_on_sqlite(setup: Setup, seed: u64, folder: &Path, told: Box<dyn Write>) -> Result<Coverage, Violation> {
    let world = World::new(setup, seed, Some(Real::create(folder, told)))?;
    Ok(to_the_end(world, &on_one_store(setup, seed))?.coverage())
}

/// Holds the store that [`run_on_sqlite`] wrote in another process, which was killed, against what it must have written.
///
/// # Errors
/// What does not hold.
pub fn check_killed(setup: Setup, seed: u64, folder: &Path) -> Result<Found, Violation> {
    let world = to_the_end(World::new(setup, seed, None)?, &on_one_store(setup, seed))?;
    real::hold(folder, world.records())
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
