//! Everything together, a step at a time.

mod choose;
mod failures;

use std::time::Duration;

use hallmark_reason::Coded as _;
use hallmark_state::{Action, Approvers, Intents, LinkError, Recorded, decide::ApprovalRules};

use crate::{
    Broken, Kind, Law, Setup, Step, Violation,
    invariants::{Checker, Draft, broken},
    machine::{MACHINES, Machine},
    random::Random,
    real::Real,
    server::{Saved, Server},
    store::{Answer, Id, Store},
    task::{Attest, By, Context, Doubt, Next, NodeAct, Phase, TRIES, Task, Then, Trust, Work},
};

/// When a run begins, in Unix seconds.
const BEGIN: i64 = 1_800_000_000;
/// How many rounds it may take until nobody waits any more, once nothing new comes and nothing fails.
const ROUNDS: usize = 400;
/// How far a server's clock goes ahead, in seconds.
const AHEAD: i64 = 1800;
/// The most tasks that are on their way at a time.
const MOST_TASKS: usize = 12;

/// How often what happened in runs: a harness in which nothing happens finds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Records.
    pub records: usize,
    /// SVIDs that were signed.
    pub signed: usize,
    /// Transactions that conflicted.
    pub conflicts: usize,
    /// Answers that were lost and asked for.
    pub asked: usize,
    /// Crashes of servers.
    pub crashes: usize,
    /// Crashes of the store.
    pub store_crashes: usize,
    /// Signatures that the token did not make.
    pub token_failures: usize,
    /// What administrators over TLS did.
    pub over_tls: usize,
    /// What two of them gave back together.
    pub by_two: usize,
    /// Intents by verdicts that have an end.
    pub with_an_end: usize,
    /// Fail-overs that lost records.
    pub fail_overs: usize,
    /// Servers that stopped because a fail-over lost what they knew.
    pub astray: usize,
    /// Quotes that were seen while a server's clock was ahead, and whose time was taken from them.
    pub doubted: usize,
    /// Authorities that another one followed.
    pub rotations: usize,
    /// Authorities whose end had come.
    pub authorities_ended: usize,
}

/// The world of one schedule.
pub(crate) struct World {
    setup: Setup,
    now: i64,
    store: Store,
    servers: Vec<Server>,
    machines: Vec<Machine>,
    tasks: Vec<Task>,
    next_task: u64,
    /// How often it came to rest.
    settled: u64,
    checker: Checker,
    saved: Option<Saved>,
    /// How many records no fail-over loses: those from before the last minutes.
    replicated: usize,
    /// A real store beside the simulated one.
    real: Option<Real>,
    approval: ApprovalRules,
    coverage: Coverage,
}

impl World {
    pub(crate) fn new(setup: Setup, seed: u64, real: Option<Real>) -> Result<Self, Violation> {
        let approvers = if seed.is_multiple_of(3) {
            Approvers::One
        } else {
            Approvers::None
        };
        let mut world = Self {
            setup,
            now: BEGIN,
            store: Store::new(setup.broken),
            servers: (0..setup.servers)
                .map(|number| Server::new(number, setup.broken))
                .collect(),
            machines: (0..MACHINES).map(Machine::new).collect(),
            tasks: Vec::new(),
            next_task: 0,
            settled: 0,
            checker: Checker::new(setup.servers),
            saved: None,
            replicated: 0,
            real,
            approval: ApprovalRules {
                approvers,
                lifetime: Duration::from_secs(3600),
            },
            coverage: Coverage::default(),
        };
        if world.real.is_some() {
            world.store.keep_taken();
        }
        let mut first: Vec<Box<dyn Work>> = Vec::new();
        for kind in [Kind::Authority, Kind::Inventory, Kind::Entries, Kind::Entries] {
            let random = &mut Random::new(seed ^ first.len() as u64);
            first.extend(world.choose(kind, 0, random));
        }
        // Half of the machines are in when it begins.
        for machine in 0..MACHINES / 2 {
            first.push(Box::new(NodeAct::Operate {
                machine,
                action: Action::Approve,
                by: By::User(1),
            }));
            first.push(Box::new(Attest::of(machine)));
        }
        first.push(Box::new(world.admin_entries()));
        for work in first {
            world.push(work, 0);
            world.settle()?;
        }
        Ok(world)
    }

    pub(crate) fn coverage(&self) -> Coverage {
        Coverage {
            records: self.store.durable().len(),
            signed: self.checker.signed(),
            ..self.checker.counted(self.coverage)
        }
    }

    /// The records so far.
    pub(crate) fn records(&self) -> &[hallmark_state::Record] {
        self.store.durable()
    }

    /// Makes one step, and holds the laws against what it did.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Violation> {
        let random = &mut Random::new(step.pick);
        let queued = self.store.queued();
        match step.kind {
            Kind::Reboot => {
                let machine = random.below(MACHINES);
                self.machines[machine].reboot(random.below(2));
            }
            Kind::Advance => {
                let place = random.below(self.tasks.len());
                self.advance(place, random, false)?;
            }
            // Mostly the oldest: a request that is overtaken by all others does not go on.
            Kind::Commit => {
                let place = if random.one_in(3) { random.below(queued) } else { 0 };
                let refused = self.store.take(place);
                self.refuse(refused)?;
            }
            Kind::Flush => self.flush()?,
            Kind::Fail => {
                let refused = self.store.fail(random.below(queued));
                self.refuse(refused)?;
            }
            Kind::Lose => {
                if let Some(id) = random.pick(&self.store.answered()) {
                    self.store.lose(id);
                }
            }
            Kind::TimeOut => {
                let place = random.below(self.tasks.len());
                self.time_out(place);
            }
            Kind::Follow => {
                let server = random.below(self.servers.len());
                let until = self.servers[server].revision() + 1 + random.below(4) as u64;
                let _ = self.catch_up(server, until, random)?;
            }
            Kind::Crash => self.crash(random),
            Kind::Restart => self.restart(random)?,
            Kind::Snapshot => self.saved = Some(self.snapshot()),
            Kind::StoreCrash => {
                self.coverage.store_crashes += 1;
                self.store.crash();
                self.checker.all_is_there(&self.store)?;
            }
            Kind::FailOver => self.fail_over(1 + random.below(6)),
            Kind::Clock => {
                let server = random.below(self.servers.len());
                let ahead = if random.one_in(2) { AHEAD } else { 0 };
                self.servers[server].set_clock(ahead);
            }
            Kind::Wait => self.wait([1, 5, 60, 600, 3600][random.below(5)], random)?,
            kind => {
                let server = random.below(self.servers.len());
                if self.servers[server].state.is_some() && self.tasks.len() < MOST_TASKS {
                    self.begin(kind, server, random);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind, server: usize, random: &mut Random) {
        if let Some(work) = self.choose(kind, server, random) {
            self.push(work, server);
        }
    }

    fn push(&mut self, work: Box<dyn Work>, server: usize) {
        let run = self.servers[server].run;
        self.tasks.push(Task {
            number: self.next_task,
            server,
            run,
            work,
            phase: Phase::Ready,
            stage: 0,
            tries: 0,
        });
        self.next_task += 1;
    }

    fn refuse(&mut self, refused: Option<Id>) -> Result<(), Violation> {
        refused.map_or(Ok(()), |id| self.checker.refuse(id, &self.store))
    }

    fn flush(&mut self) -> Result<(), Violation> {
        let taken = self.store.taken();
        if let Some(real) = &mut self.real {
            real.commit(taken)?;
        }
        self.store.flush();
        self.checker.follow(&self.store)
    }

    /// Gives whether the server still follows this journal; it stops where that is another one than it knows.
    fn catch_up(&mut self, number: usize, revision: u64, random: &mut Random) -> Result<bool, Violation> {
        let server = &mut self.servers[number];
        if server.state.is_some() && !self.store.leads_here(server.known()) {
            self.leave(number, random);
            return Ok(false);
        }
        server.follow(&self.store, revision, random);
        self.checker.server(server, &self.store)?;
        Ok(true)
    }

    /// A task goes on. When it is `calm`, nothing fails and nothing is slow.
    fn advance(&mut self, place: usize, random: &mut Random, calm: bool) -> Result<(), Violation> {
        if place >= self.tasks.len() {
            return Ok(());
        }
        let mut task = self.tasks.remove(place);
        let phase = std::mem::replace(&mut task.phase, Phase::Ready);
        let then = match phase {
            Phase::Ready => self.decide(&mut task, random)?,
            Phase::Waiting(id, intents) => match self.store.answer(&id) {
                Some(answer) => self.answered(&mut task, id, answer, intents, random)?,
                None => {
                    task.phase = Phase::Waiting(id, intents);
                    Then::GoOn
                }
            },
            Phase::Asking(id, intents) => match self.store.answer(&id) {
                Some(answer) => self.answered(&mut task, id, answer, intents, random)?,
                None => {
                    // What was asked may be lost as well.
                    if calm || random.one_in(8) {
                        self.store.ask(id);
                    }
                    task.phase = Phase::Asking(id, intents);
                    Then::GoOn
                }
            },
            Phase::Signing(recorded) => self.sign(&mut task, recorded, random, calm)?,
        };
        if task.tries > TRIES {
            return broken(
                Law::NobodyWaitsForEver,
                format!("task {} was decided {} times", task.number, task.tries),
            );
        }
        if then == Then::GoOn {
            self.tasks.insert(place, task);
        }
        Ok(())
    }

    fn decide(&mut self, task: &mut Task, random: &mut Random) -> Result<Then, Violation> {
        let mut context = Context {
            server: &mut self.servers[task.server],
            store: &self.store,
            machines: &mut self.machines,
            approval: &self.approval,
            now: self.now,
            random,
            broken: self.setup.broken,
        };
        let at = context.server_now();
        let (actor, decision, drafts) = match task.work.next(&mut context) {
            Next::End => return Ok(Then::End),
            Next::Later => return Ok(Then::GoOn),
            Next::Commit {
                actor,
                decision,
                drafts,
            } => (actor, decision, drafts),
        };
        if decision.is_empty() {
            return Ok(task.work.committed());
        }
        task.tries += 1;
        let id = random.wide().to_be_bytes();
        let known = self.servers[task.server].known();
        self.checker.sent(id, (task.number, task.stage), known);
        self.store.send(decision.into_transaction(id, actor, at), known);
        if self.setup.broken == Some(Broken::SignsBeforeCommit) {
            drafts.iter().try_for_each(|draft| self.checker.sign(draft))?;
        }
        task.phase = Phase::Waiting(id, Intents::new(drafts));
        Ok(Then::GoOn)
    }

    fn answered(
        &mut self,
        task: &mut Task,
        id: Id,
        answer: Answer,
        intents: Intents<Draft>,
        random: &mut Random,
    ) -> Result<Then, Violation> {
        match answer {
            Answer::Failed => Ok(Then::End),
            Answer::Never => Ok(Then::GoOn),
            Answer::Conflict { head } => {
                self.coverage.conflicts += 1;
                let catches_up = self.setup.broken != Some(Broken::NeverCatchesUp);
                let goes_on = !catches_up || self.catch_up(task.server, head, random)?;
                Ok(if goes_on { Then::GoOn } else { Then::End })
            }
            Answer::Astray => {
                self.leave(task.server, random);
                Ok(Then::End)
            }
            Answer::Committed(committed) => {
                self.checker.acknowledge(committed.revision, id);
                if !self.catch_up(task.server, committed.revision, random)? {
                    return Ok(Then::End);
                }
                (task.stage, task.tries) = (task.stage + 1, 0);
                let Some(recorded) = intents.recorded(&committed) else {
                    return Ok(task.work.committed());
                };
                task.phase = Phase::Signing(recorded);
                Ok(Then::GoOn)
            }
        }
    }

    /// The token signs, is slow, or fails; what became of the intents is sent, and not waited for.
    fn sign(
        &mut self,
        task: &mut Task,
        recorded: Recorded<Draft>,
        random: &mut Random,
        calm: bool,
    ) -> Result<Then, Violation> {
        if !calm && random.one_in(3) {
            task.phase = Phase::Signing(recorded);
            return Ok(Then::GoOn);
        }
        let is_signed = calm || !random.one_in(10);
        if is_signed {
            for draft in recorded.drafts() {
                if let Some(real) = &mut self.real {
                    real.signs(draft.serial);
                }
                self.checker.sign(draft)?;
            }
        } else {
            self.coverage.token_failures += 1;
        }
        // Any code will do.
        let code = LinkError::TooManyNames { ek: [0; 32] }.code();
        let ((), decision) = recorded.settle(|_| ((), (!is_signed).then_some(code)));
        let id = random.wide().to_be_bytes();
        let known = self.servers[task.server].known();
        self.store
            .send(decision.into_transaction(id, "server", self.now), known);
        Ok(task.work.signed(is_signed))
    }

    /// It comes to rest with every clock right, and the servers have seen to what that asks for.
    pub(crate) fn end(&mut self) -> Result<(), Violation> {
        self.settle()?;
        for number in 0..self.servers.len() {
            self.servers[number].set_clock(0);
            self.push(Box::new(Doubt), number);
            self.push(Box::new(Trust { listed: None }), number);
        }
        self.settle()?;
        self.real_holds()?;
        self.checker.at_rest(&self.machines, self.now)
    }

    /// Nothing new comes and nothing fails any more: everybody is answered, and every server knows all.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        // Each time other numbers: ids and serial numbers come from them.
        self.settled += 1;
        let random = &mut Random::new(self.settled);
        for _ in 0..self.servers.len() {
            self.restart(random)?;
        }
        for _ in 0..ROUNDS {
            for place in (0..self.tasks.len()).rev() {
                let is_queued = self.store.queued() > 0;
                self.advance(place, random, true)?;
                if !is_queued && let Some(Phase::Waiting(id, _)) = self.tasks.get(place).map(|task| &task.phase) {
                    // Nothing is on its way for it: its answer was lost.
                    if !self.store.knows_of(id) {
                        self.time_out(place);
                    }
                }
            }
            while self.store.queued() > 0 {
                let refused = self.store.take(0);
                self.refuse(refused)?;
            }
            self.flush()?;
            if self.tasks.is_empty() {
                return self.all_know_all(random);
            }
        }
        let waiting = self.tasks.len();
        broken(Law::NobodyWaitsForEver, format!("{waiting} wait though nothing fails"))
    }

    fn all_know_all(&mut self, random: &mut Random) -> Result<(), Violation> {
        let head = self.store.durable().len() as u64;
        for server in 0..self.servers.len() {
            // What a fail-over lost is seen now at the latest, and an operator starts the server anew.
            if !self.catch_up(server, head, random)? {
                self.start(server, &self.snapshot())?;
            }
        }
        self.checker.all_is_there(&self.store)
    }
}
