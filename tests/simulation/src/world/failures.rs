//! What goes wrong: servers and stores stop, answers are lost, a fail-over loses records.

use super::World;
use crate::{
    Broken, Violation,
    random::Random,
    server::Saved,
    store::Id,
    task::{Doubt, Phase, Task, Trust},
};

impl World {
    pub(super) fn snapshot(&self) -> Saved {
        Saved::of(self.checker.truth(), self.checker.chain(), self.setup.broken)
    }

    pub(super) fn crash(&mut self, random: &mut Random) {
        self.coverage.crashes += 1;
        self.stop(random.below(self.servers.len()), random);
    }

    /// The server stops, since what it knows is not of this journal.
    pub(super) fn leave(&mut self, number: usize, random: &mut Random) {
        self.coverage.astray += 1;
        self.stop(number, random);
    }

    fn stop(&mut self, number: usize, random: &mut Random) {
        let run = self.servers[number].run;
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

    pub(super) fn restart(&mut self, random: &mut Random) -> Result<(), Violation> {
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
        self.start(number, &saved)?;
        // As in the server: what the configuration lists is linked at each start.
        self.push(Box::new(Trust { listed: None }), number);
        Ok(())
    }

    pub(super) fn start(&mut self, number: usize, saved: &Saved) -> Result<(), Violation> {
        self.real_holds()?;
        self.servers[number].start(saved);
        self.checker.server(&self.servers[number], &self.store)
    }

    /// A real store, where there is one, holds what is durable.
    pub(super) fn real_holds(&self) -> Result<(), Violation> {
        let real = self.real.as_ref();
        real.map_or(Ok(()), |real| real.must_hold(self.checker.truth()))
    }

    /// Time goes by. Servers look at their clocks every few seconds, and an attestation has a minute: over a longer time no
    /// clock stays ahead, and none of what was judged by one is still on its way.
    pub(super) fn wait(&mut self, seconds: i64, random: &mut Random) -> Result<(), Violation> {
        if seconds > 60 {
            let (late, left) = self.tasks.drain(..).partition(|task| task.work.has_a_minute());
            self.tasks = left;
            let late: Vec<Task> = late;
            let sent: Vec<Id> = late.iter().filter_map(|task| task.phase.waits_for()).collect();
            self.store.drop_requests(|id| sent.contains(id));
            self.flush()?;
            if self.servers.iter().all(|server| server.state.is_none()) {
                self.restart(random)?;
            }
            let mut have_looked = false;
            for number in 0..self.servers.len() {
                self.servers[number].set_clock(0);
                have_looked |= self.look_at_clock(number, random)?;
            }
            // What the others knew was lost: one of them is started anew.
            if !have_looked {
                self.start(0, &self.snapshot())?;
                self.look_at_clock(0, random)?;
            }
        }
        if seconds > 60 {
            self.replicated = self.store.durable().len();
        }
        self.now += seconds;
        Ok(())
    }

    /// A server that is up doubts times of the future, and that is durable before anything else. Gives whether it is up.
    fn look_at_clock(&mut self, number: usize, random: &mut Random) -> Result<bool, Violation> {
        let head = self.store.durable().len() as u64;
        if self.servers[number].state.is_none() || !self.catch_up(number, head, random)? {
            return Ok(false);
        }
        let (place, queued) = (self.tasks.len(), self.store.queued());
        self.push(Box::new(Doubt), number);
        self.advance(place, random, true)?;
        if self.store.queued() > queued {
            let refused = self.store.take(queued);
            self.refuse(refused)?;
            self.flush()?;
            self.advance(place, random, true)?;
        }
        Ok(true)
    }

    /// Another store takes over that does not have the last records, of the last minutes at most. Who knows of them is astray.
    pub(super) fn fail_over(&mut self, lost: usize) {
        let lost = lost.min(self.store.durable().len() - self.replicated);
        if lost == 0 {
            return;
        }
        self.coverage.fail_overs += 1;
        self.store.fail_over(lost);
        let head = self.store.durable().len() as u64;
        self.checker.fail_over(&self.store);
        self.saved = self.saved.take().filter(|saved| saved.revision() <= head);
        for server in &mut self.servers {
            server.is_astray |= server.revision() > head;
        }
    }

    pub(super) fn time_out(&mut self, place: usize) {
        let Some(task) = self.tasks.get_mut(place) else { return };
        let phase = std::mem::replace(&mut task.phase, Phase::Ready);
        task.phase = match (phase, self.setup.broken) {
            (Phase::Waiting(_, _), Some(Broken::RepeatsAfterLostAnswer)) => Phase::Ready,
            (Phase::Waiting(id, intents), broken) if broken != Some(Broken::NeverAsks) => {
                self.coverage.asked += 1;
                self.store.ask(id);
                Phase::Asking(id, intents)
            }
            (phase, _) => phase,
        };
    }
}
