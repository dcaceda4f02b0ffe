//! What happens to the parts meanwhile.

use anyhow::{Context as _, Result};
use hallmark_kit::Lab;
use std::fmt;
use std::time::Duration;

/// One thing that happens, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disturbance {
    /// Nothing.
    Nothing(Duration),
    /// The server is killed, and started again after a while.
    Killed(Duration),
    /// The token is away for a while.
    TokenAway(Duration),
    /// An agent is killed and starts again at once; which one.
    AgentKilled(usize),
}

impl Disturbance {
    /// It happens; returns when it is over.
    pub(crate) fn happens_to(self, lab: &mut Lab) -> Result<()> {
        match self {
            Self::Nothing(time) => wait(time),
            Self::Killed(time) => {
                lab.server().process().context("the server does not run")?.kill();
                wait(time);
                lab.server().start()?;
            }
            Self::TokenAway(time) => {
                let tokens = lab.server().token().tokens();
                let away = tokens.with_extension("away");
                std::fs::rename(&tokens, &away)?;
                std::fs::create_dir(&tokens)?;
                wait(time);
                std::fs::remove_dir_all(&tokens)?;
                std::fs::rename(&away, &tokens)?;
            }
            Self::AgentKilled(number) => {
                let node = lab.node(number)?;
                node.process().context("the agent does not run")?.kill();
                node.start()?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(time) => write!(f, "nothing happens for {} s", time.as_secs_f32()),
            Self::Killed(time) => write!(
                f,
                "the server is killed, and starts again after {} s",
                time.as_secs_f32()
            ),
            Self::TokenAway(time) => write!(f, "the token is away for {} s", time.as_secs_f32()),
            Self::AgentKilled(number) => write!(f, "the agent of machine {} is killed and starts again", number + 1),
        }
    }
}

fn wait(time: Duration) {
    // Real time: what lasts for a while is what is looked at.
    std::thread::sleep(time);
}

/// What happens, drawn from a seed: the same seed draws the same again. Behind each part that failed there is a quiet time, or they would
/// together be away for longer than SVIDs that live half a minute last.
#[derive(Debug)]
pub(crate) struct Draw {
    state: u64,
    is_quiet_next: bool,
}

impl Draw {
    /// A draw from this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            is_quiet_next: false,
        }
    }

    /// The next number below `end` (Marsaglia's xorshift).
    const fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }

    /// What happens next.
    pub(crate) const fn disturbance(&mut self) -> Disturbance {
        self.is_quiet_next = !self.is_quiet_next;
        if !self.is_quiet_next {
            return Disturbance::Nothing(Duration::from_millis(2500 + self.below(4000)));
        }
        match self.below(4) {
            0 => Disturbance::Killed(Duration::from_millis(self.below(3000))),
            1 => Disturbance::TokenAway(Duration::from_millis(500 + self.below(3000))),
            2 => Disturbance::AgentKilled(if self.below(2) == 0 { 0 } else { 1 }),
            _ => Disturbance::Nothing(Duration::from_millis(self.below(2000))),
        }
    }
}
