//! Everything together, a step at a time.

mod choose;

use std::time::Duration;

use hallmark_state::{Action, Approvers, Decision, Event, Expect, Outcome, decide::ApprovalRules};

use crate::{
    Broken, Kind, Law, Setup, Step, Violation,
    invariants::{Checker, Draft, broken},
    machine::{MACHINES, Machine},
    random::Random,
    server::{Saved, Server},
    store::{Answer, Id, Store},
    task::{Attest, Context, Next, NodeAct, Phase, TRIES, Task, Then, Work},
};

/// When a run begins, in Unix seconds.
const BEGIN: i64 = 1_800_000_000;
/// How many rounds it may take until nobody waits any more, once nothing new comes and nothing fails.
const ROUNDS: usize = 400;
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
    approval: ApprovalRules,
    coverage: Coverage,
}

impl World {
    pub(crate) fn new(setup: Setup, seed: u64) -> Result<Self, Violation> {
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
            approval: ApprovalRules {
                approvers,
                lifetime: Duration::from_secs(3600),
            },
            coverage: Coverage::default(),
        };
        let mut first: Vec<Box<dyn Work>> = Vec::new();
        for kind in [Kind::Rotate, Kind::Inventory, Kind::Entries, Kind::Entries] {
            let random = &mut Random::new(seed ^ first.len() as u64);
            first.extend(world.choose(kind, 0, random));
        }
        // Half of the machines are in when it begins.
        for machine in 0..MACHINES / 2 {
            first.push(Box::new(NodeAct::Operate {
                machine,
                action: Action::Approve,
                operator: 1,
            }));
            first.push(Box::new(Attest::of(machine)));
        }
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
            ..self.coverage
        }
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
                self.catch_up(server, until, random)?;
            }
            Kind::Crash => self.crash(random),
            Kind::Restart => self.restart(random)?,
            Kind::Snapshot => self.saved = Some(self.snapshot()),
            Kind::StoreCrash => {
                self.coverage.store_crashes += 1;
                self.store.crash();
                self.checker.all_is_there(&self.store)?;
            }
            Kind::Wait => self.now += [1, 5, 60, 600, 3600][random.below(5)],
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
        self.store.flush();
        self.checker.follow(&self.store)
    }

    fn catch_up(&mut self, server: usize, revision: u64, random: &mut Random) -> Result<(), Violation> {
        let server = &mut self.servers[server];
        server.follow(&self.store, revision, random);
        self.checker.server(server, &self.store)
    }

    fn snapshot(&self) -> Saved {
        Saved::of(self.checker.truth(), self.checker.chain(), self.setup.broken)
    }

    fn crash(&mut self, random: &mut Random) {
        let number = random.below(self.servers.len());
        let run = self.servers[number].run;
        self.coverage.crashes += 1;
        self.servers[number].stop();
        let (gone, left) = self
            .tasks
            .drain(..)
            .partition(|task| task.server == number && task.run == run);
        self.tasks = left;
        let gone: Vec<Task> = gone;
        let sent: Vec<Id> = gone.iter().filter_map(|task| task.phase.waits_for()).collect();
        self.store.drop_requests(|id| sent.contains(id) && random.one_in(2));
    }

    fn restart(&mut self, random: &mut Random) -> Result<(), Violation> {
        let down: Vec<usize> = self
            .servers
            .iter()
            .filter(|it| it.state.is_none())
            .map(|it| it.number)
            .collect();
        let Some(number) = random.pick(&down).copied() else {
            return Ok(());
        };
        let old = self.saved.clone().filter(|_| random.one_in(3));
        let saved = old.unwrap_or_else(|| self.snapshot());
        self.servers[number].start(&saved);
        self.checker.server(&self.servers[number], &self.store)
    }

    fn time_out(&mut self, place: usize) {
        let Some(task) = self.tasks.get_mut(place) else { return };
        let Phase::Waiting(id, drafts) = &task.phase else {
            return;
        };
        let (id, drafts) = (*id, drafts.clone());
        match self.setup.broken {
            Some(Broken::NeverAsks) => {}
            Some(Broken::RepeatsAfterLostAnswer) => task.phase = Phase::Ready,
            _ => {
                self.coverage.asked += 1;
                self.store.ask(id);
                task.phase = Phase::Asking(id, drafts);
            }
        }
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
            Phase::Waiting(id, drafts) => match self.store.answer(&id) {
                Some(answer) => self.answered(&mut task, id, answer, drafts, random)?,
                None => {
                    task.phase = Phase::Waiting(id, drafts);
                    Then::GoOn
                }
            },
            Phase::Asking(id, drafts) => match self.store.answer(&id) {
                Some(answer) => self.answered(&mut task, id, answer, drafts, random)?,
                None => {
                    // What was asked may be lost as well.
                    if calm || random.one_in(8) {
                        self.store.ask(id);
                    }
                    task.phase = Phase::Asking(id, drafts);
                    Then::GoOn
                }
            },
            Phase::Signing(drafts, intents) => self.sign(&mut task, drafts, intents, random, calm)?,
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
        self.checker.sent(id, (task.number, task.stage));
        self.store.send(decision.into_transaction(id, actor, at));
        if self.setup.broken == Some(Broken::SignsBeforeCommit) {
            drafts.iter().try_for_each(|draft| self.checker.sign(draft))?;
        }
        task.phase = Phase::Waiting(id, drafts);
        Ok(Then::GoOn)
    }

    fn answered(
        &mut self,
        task: &mut Task,
        id: Id,
        answer: Answer,
        drafts: Vec<Draft>,
        random: &mut Random,
    ) -> Result<Then, Violation> {
        match answer {
            Answer::Failed => Ok(Then::End),
            Answer::Never => Ok(Then::GoOn),
            Answer::Conflict { head } => {
                self.coverage.conflicts += 1;
                if self.setup.broken != Some(Broken::NeverCatchesUp) {
                    self.catch_up(task.server, head, random)?;
                }
                Ok(Then::GoOn)
            }
            Answer::Committed(committed) => {
                self.checker.acknowledge(committed.revision, id);
                self.catch_up(task.server, committed.revision, random)?;
                (task.stage, task.tries) = (task.stage + 1, 0);
                let Some(events) = committed.events.filter(|_| !drafts.is_empty()) else {
                    return Ok(task.work.committed());
                };
                let count = drafts.len() as u64;
                let intents = hallmark_state::EventRange {
                    first: events.last + 1 - count,
                    ..events
                };
                task.phase = Phase::Signing(drafts, intents);
                Ok(Then::GoOn)
            }
        }
    }

    /// The token signs, is slow, or fails; what became of the intents is sent, and not waited for.
    fn sign(
        &mut self,
        task: &mut Task,
        drafts: Vec<Draft>,
        intents: hallmark_state::EventRange,
        random: &mut Random,
        calm: bool,
    ) -> Result<Then, Violation> {
        if !calm && random.one_in(3) {
            task.phase = Phase::Signing(drafts, intents);
            return Ok(Then::GoOn);
        }
        let is_signed = calm || !random.one_in(10);
        if is_signed {
            drafts.iter().try_for_each(|draft| self.checker.sign(draft))?;
        } else {
            self.coverage.token_failures += 1;
        }
        let outcome = if is_signed { Outcome::Issued } else { Outcome::Failed };
        let decision = Decision {
            expect: Expect::default(),
            changes: Vec::new(),
            events: vec![Event::svid_outcome(intents, outcome, None)],
        };
        let id = random.wide().to_be_bytes();
        self.store.send(decision.into_transaction(id, "server", self.now));
        Ok(task.work.signed(is_signed))
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
            self.catch_up(server, head, random)?;
        }
        self.checker.all_is_there(&self.store)
    }
}
