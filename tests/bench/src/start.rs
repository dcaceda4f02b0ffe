//! `agent_start`: from the start of the agent's program until a workload has its SVID, on a machine that has booted anew: the
//! SVID key is made in the TPM, the machine attests, and the workload's SVID is issued.
//!
//! The control is the second that the agent may take of a machine's way from power-on to its SVIDs. The TPM is swtpm, which
//! takes part on the same processors; a TPM of silicon takes its own time for the same commands (`tpm_commands`).

use crate::cpu;
use crate::domain::Domain;
use crate::fetch;
use crate::row::{Row, Table};
use anyhow::Result;
use std::time::{Duration, Instant};

/// The machine that starts; the other one holds many SVIDs by then.
const MACHINE: usize = 0;
const STARTS: u32 = 5;
const BUDGET_MS: f64 = 1000.0;
/// How often the workload asks until the agent's socket is there.
const PACE: Duration = Duration::from_millis(2);

pub(crate) fn measure(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let parent = domain.agent_id(MACHINE)?;
    domain.register(&parent, "start", 1)?;
    let (mut longest, mut sum, mut cpu_ms) = (Duration::ZERO, Duration::ZERO, 0.0);
    for _ in 0..STARTS {
        let node = domain.lab.node(MACHINE)?;
        node.reboot()?;
        let started = Instant::now();
        node.launch()?;
        let (socket, agent) = domain.agent(MACHINE)?;
        domain.runtime.block_on(fetch::wait_for(&socket, 1, PACE))?;
        let took = started.elapsed();
        cpu_ms += cpu::of_process(agent)? / 1000.0 / f64::from(STARTS);
        longest = longest.max(took);
        sum += took;
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    table.push(Row::new("agent_start", ms(sum / STARTS), "ms").against(BUDGET_MS))?;
    table.push(Row::new("agent_start.longest", ms(longest), "ms").against(BUDGET_MS))?;
    table.push(Row::new("agent_start.agent_cpu_ms", cpu_ms, "ms each"))?;
    Table::say("    server, agent, TPM and workload on the same processors")
}
