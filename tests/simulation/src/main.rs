//! Runs many seeds, or one again.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of the tests: its output is its result"
)]

use std::process::ExitCode;

use clap::Parser;
use hallmark_simulation::{Setup, run, run_steps, schedule};

/// Runs simulated schedules of servers, agents and operators, and holds the laws of the journal against them.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run, from `--first` on, with one server and with three each.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// How many servers; one and three when it is left out.
    #[arg(long)]
    servers: Option<usize>,
    /// How many steps a schedule has.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Run only these steps of the schedule.
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let servers = arguments.servers.map_or_else(|| vec![1, 3], |count| vec![count]);
    let seeds = arguments
        .seed
        .map_or(arguments.first..arguments.first + arguments.seeds, |seed| {
            seed..seed + 1
        });
    let count = seeds.end - seeds.start;
    for seed in seeds {
        for servers in &servers {
            let setup = Setup {
                servers: *servers,
                steps: arguments.steps,
                broken: None,
            };
            let ended = if arguments.only.is_empty() {
                run(setup, seed).map_err(|failure| failure.to_string())
            } else {
                let mut steps = schedule(seed, setup.steps);
                steps.retain(|step| arguments.only.contains(&step.at));
                run_steps(setup, seed, &steps).map_err(|violation| violation.to_string())
            };
            if let Err(text) = ended {
                eprintln!("{text}");
                return ExitCode::FAILURE;
            }
        }
        if (seed + 1) % 10_000 == 0 {
            println!("simulate: up to seed {seed}: every law held");
        }
    }
    println!("simulate: {count} seeds, with {servers:?} servers: every law held");
    ExitCode::SUCCESS
}
