//! The TPM commands that each flow of an agent costs, counted between the agent and its TPM: the test that holds
//! them in their budget and the bench that prints them share this.
//!
//! A real agent runs against a real server; what it sends is written down in order and cut into flows. A handshake
//! is one Sign. The key for the next renewal is made ahead, while nobody waits for it, and counts to that renewal.

use crate::boot::RecordedBoot;
use crate::{Fault, Lab, LabOptions, TctiProxy};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CREATE_PRIMARY: u32 = 0x131;
const QUOTE: u32 = 0x158;
const SIGN: u32 = 0x15d;
const FLUSH_CONTEXT: u32 = 0x165;
/// Where the TPMs' maker puts the endorsement keys.
const ENDORSEMENT_KEYS: [&str; 2] = ["0x81010001", "0x81010016"];
/// The SVIDs' lifetime, so that a renewal and an expiry happen while one waits.
const LIFETIME: Duration = Duration::from_secs(30);
/// An agent that has sent nothing for so long has done what it had to.
const QUIET: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(90);

/// One flow with its cost.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its name, as in the bench's results after `tpm_commands.`.
    pub name: &'static str,
    /// How many commands it took (of what is left behind: how many handles).
    pub count: usize,
    /// How many it may take; none for what is told besides.
    pub budget: Option<usize>,
    /// The commands, in order, for people.
    pub commands: String,
}

impl Flow {
    fn of(name: &'static str, budget: impl Into<Option<usize>>, commands: &[u32]) -> Self {
        let names: Vec<String> = commands.iter().map(|code| name_of(*code)).collect();
        Self {
            name,
            count: commands.len(),
            budget: budget.into(),
            commands: names.join(" "),
        }
    }

    /// Whether it keeps to its budget.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.budget.is_none_or(|budget| self.count <= budget)
    }
}

/// Runs every flow on machines of a lab in `folder` and counts. Takes a good minute, most of it waiting for SVIDs to
/// grow old.
///
/// # Errors
/// When a part of the lab does not come up, or the agent does not do what a flow consists of.
pub fn count_tpm_commands(folder: &Path) -> Result<Vec<Flow>> {
    let mut lab = Lab::lay_out(LabOptions {
        folder: folder.to_owned(),
        trust_domain: "budget.test".into(),
        nodes: 0,
    })?;
    let ttl = format!("{}s", LIFETIME.as_secs());
    lab.server().set("authority", "agent_ttl", ttl.into());
    let whole = Machine::build(&mut lab, 0)?;
    let bare = Machine::build(&mut lab, 1)?;
    for handle in ENDORSEMENT_KEYS {
        bare.tool(
            &lab.node(1)?.tpm().tcti(),
            "tpm2_evictcontrol",
            &["-C", "o", "-c", handle],
        )?;
    }
    lab.start_server()?;

    let mut flows = first_and_renewal(&mut lab, &whole)?;
    let mut left = whole.stop(&mut lab)?;
    flows.extend(restarts(&mut lab, &whole)?);
    left += whole.stop(&mut lab)?;

    lab.node(bare.index)?.start()?;
    let commands = bare.trace.settled(|seen| seen.contains(&QUOTE))?;
    let (first, _) = split_after_quote(&commands)?;
    flows.push(Flow::of("first_no_persistent_ek", 14, first));
    left += bare.stop(&mut lab)?;
    flows.push(Flow {
        name: "left_behind",
        count: left,
        budget: Some(0),
        commands: "transient objects and sessions, after three runs".into(),
    });
    Ok(flows)
}

fn first_and_renewal(lab: &mut Lab, machine: &Machine) -> Result<Vec<Flow>> {
    lab.node(machine.index)?.start()?;
    let quotes = |seen: &[u32]| seen.iter().filter(|code| **code == QUOTE).count();
    let commands = machine.trace.settled(|seen| quotes(seen) == 1)?;
    let (first, after) = split_after_quote(&commands)?;
    let handshake = after.iter().take_while(|code| **code == SIGN).count();
    let signs = after.get(..handshake).unwrap_or_default();
    let mut flows = vec![Flow::of("first", 12, first), Flow::of("handshake", 1, signs)];

    // A renewal: from the making of its key, right after the handshake before it, to the handshake with the new key.
    let ahead = first.len() + handshake;
    let commands = machine.trace.settled(|seen| quotes(seen) >= 2)?;
    let renewal = commands.get(ahead..).unwrap_or_default();
    let (evidence, after) = split_after_quote(renewal)?;
    let to_next = after.iter().take_while(|code| **code != CREATE_PRIMARY).copied();
    let cycle: Vec<u32> = evidence.iter().copied().chain(to_next).collect();
    let only = |wanted: fn(u32) -> bool| cycle.iter().copied().filter(|code| wanted(*code)).collect::<Vec<_>>();
    let proof = only(|code| code != SIGN && code != FLUSH_CONTEXT);
    flows.push(Flow::of("renewal", 3, &proof));
    // The certificate request's signature and the handshake's; then the old key gives its slot back.
    flows.push(Flow::of("renewal.signs", None, &only(|code| code == SIGN)));
    flows.push(Flow::of("renewal.flushes", None, &only(|code| code == FLUSH_CONTEXT)));
    Ok(flows)
}

/// Restarts with a known AK: with an SVID that has expired, which is the dearer one, and with one that has not.
fn restarts(lab: &mut Lab, machine: &Machine) -> Result<Vec<Flow>> {
    machine.trace.clear();
    lab.node(machine.index)?.start()?;
    let valid = machine.trace.settled(|seen| seen.contains(&SIGN))?;
    let to_handshake = |seen: &[u32]| seen.iter().position(|code| *code == SIGN).unwrap_or(seen.len());
    let taken_up = valid.get(..to_handshake(&valid)).unwrap_or_default();
    ensure!(
        !taken_up.contains(&QUOTE),
        "the agent attested although its SVID was valid: {valid:x?}"
    );

    lab.node(machine.index)?.stop();
    // Real time: the SVID has to expire by the clocks of agent, server and TPM alike.
    std::thread::sleep(LIFETIME + Duration::from_secs(2));
    machine.trace.clear();
    lab.node(machine.index)?.start()?;
    let expired = machine.trace.settled(|seen| seen.contains(&QUOTE))?;
    let (again, _) = split_after_quote(&expired)?;
    Ok(vec![
        Flow::of("restart", 4, again),
        Flow::of("restart.svid_valid", 4, taken_up),
    ])
}

/// What comes up to the first Quote, and what follows until the next Sign, is one attestation; the rest is not.
fn split_after_quote(commands: &[u32]) -> Result<(&[u32], &[u32])> {
    let quote = commands
        .iter()
        .position(|code| *code == QUOTE)
        .context("the agent quoted nothing")?;
    let rest = commands.iter().skip(quote).position(|code| *code == SIGN);
    let end = rest.map_or(commands.len(), |rest| quote + rest);
    commands.split_at_checked(end).context("within the commands")
}

/// A node of the lab with a listener between its agent and its TPM.
struct Machine {
    index: usize,
    // Held for its ports.
    _proxy: TctiProxy,
    trace: Trace,
}

impl Machine {
    fn build(lab: &mut Lab, index: usize) -> Result<Self> {
        let node = lab.build_node()?;
        // As real machines it has boot logs, which say what its registers hold.
        node.boot(&RecordedBoot::vector("base"))?;
        let proxy = TctiProxy::start(node.tpm().port())?;
        node.set("tpm", "tcti", proxy.tcti().into());
        let trace = Trace::default();
        let record = trace.clone();
        proxy.set_rule(move |code, _| {
            record.push(code);
            Fault::None
        });
        Ok(Self {
            index,
            _proxy: proxy,
            trace,
        })
    }

    /// Stops the agent, orderly, and says how many objects and sessions are still in its TPM.
    fn stop(&self, lab: &mut Lab) -> Result<usize> {
        let node = lab.node(self.index)?;
        node.stop();
        let tcti = node.tpm().tcti();
        let mut left = 0;
        for kind in ["handles-transient", "handles-loaded-session"] {
            let listed = self.tool(&tcti, "tpm2_getcap", &[kind])?;
            left += listed.lines().filter(|line| line.contains("0x")).count();
        }
        Ok(left)
    }

    fn tool(&self, tcti: &str, program: &str, args: &[&str]) -> Result<String> {
        let out = Command::new(program)
            .args(args)
            .env("TPM2TOOLS_TCTI", tcti)
            .env("TSS2_LOG", "all+none")
            .output()
            .with_context(|| program.to_owned())?;
        let (told, index) = (String::from_utf8_lossy(&out.stderr), self.index);
        ensure!(out.status.success(), "{program} {args:?} on node {index}: {told}");
        Ok(String::from_utf8(out.stdout)?)
    }
}

/// Command codes in the order in which they passed.
#[derive(Debug, Clone, Default)]
struct Trace(Arc<Mutex<(Vec<u32>, Option<Instant>)>>);

impl Trace {
    fn push(&self, code: u32) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.push(code);
        seen.1 = Some(Instant::now());
    }

    fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Vec::new(), None);
    }

    /// What has passed once `enough` has, and then nothing for a while.
    fn settled(&self, enough: impl Fn(&[u32]) -> bool) -> Result<Vec<u32>> {
        let start = Instant::now();
        loop {
            let (seen, last) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if enough(&seen) && last.is_some_and(|last| last.elapsed() > QUIET) {
                return Ok(seen);
            }
            ensure!(start.elapsed() < PATIENCE, "the agent did not come so far: {seen:x?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The name of a command (TPM 2.0 part 2, table of TPM_CC), of those that agents send.
fn name_of(code: u32) -> String {
    let name = match code {
        CREATE_PRIMARY => "CreatePrimary",
        0x147 => "ActivateCredential",
        0x148 => "Certify",
        0x14e => "NV_Read",
        0x151 => "PolicySecret",
        0x157 => "Load",
        QUOTE => "Quote",
        SIGN => "Sign",
        0x161 => "ContextLoad",
        0x162 => "ContextSave",
        FLUSH_CONTEXT => "FlushContext",
        0x169 => "NV_ReadPublic",
        0x173 => "ReadPublic",
        0x176 => "StartAuthSession",
        0x17a => "GetCapability",
        0x17b => "GetRandom",
        0x17e => "PCR_Read",
        other => return format!("{other:#x}"),
    };
    name.to_owned()
}
