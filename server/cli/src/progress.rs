//! What an operator sees while the server judges machines by new rules: how many are judged.

use std::{future::Future, time::Duration};

use hallmark_api::admin::{GetStatusRequest, GetStatusResponse};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::Status;

use crate::{
    client::Client,
    output::{Format, is_watched, say, say_in_place},
};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often a line is written where no terminal shows it in place.
const LINE: Duration = Duration::from_secs(5);

/// Waits for the server's `answer`, as long as the server says how far it is, and shows how many machines are judged.
/// Programs, which ask for JSON or YAML, see nothing of it. The wait ends when the server has said nothing for as long as the
/// client waits for any answer.
pub(crate) async fn with_progress<T>(
    format: Format,
    client: &Client,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let shown = match format {
        Format::Table if is_watched() => Shown::InPlace,
        Format::Table => Shown::Lines,
        Format::Json | Format::Yaml => Shown::Not,
    };
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        late = watch(client, shown) => Err(late),
    };
    if shown == Shown::InPlace {
        say_in_place("");
    }
    answer
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// A line that is written over.
    InPlace,
    /// A line now and then.
    Lines,
    /// To programs.
    Not,
}

/// Asks the server how far it is, until it no longer says so.
async fn watch(client: &Client, shown: Shown) -> Status {
    let begin = Instant::now();
    let mut tick = interval_at(begin.checked_add(EVERY).unwrap_or(begin), EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut progress, mut told, mut heard) = (Progress::default(), begin, begin);
    loop {
        tick.tick().await;
        // What is wrong with the server the answer itself will say.
        let Ok(status) = client.admin().get_status(GetStatusRequest {}).await else {
            if heard.elapsed() >= client.timeout() {
                return Status::deadline_exceeded(format!(
                    "no word from the server for {} s",
                    heard.elapsed().as_secs()
                ));
            }
            continue;
        };
        heard = Instant::now();
        let text = progress.text(status.get_ref(), begin.elapsed());
        match shown {
            Shown::InPlace => say_in_place(&text),
            Shown::Lines if told.elapsed() >= LINE => {
                say(&text);
                told = Instant::now();
            }
            Shown::Lines | Shown::Not => {}
        }
    }
}

/// How far the server is.
#[derive(Debug, Default)]
struct Progress {
    /// The most machines that were seen to wait.
    total: u64,
}

impl Progress {
    fn text(&mut self, status: &GetStatusResponse, waited: Duration) -> String {
        self.total = self.total.max(status.agents_behind);
        if self.total == 0 {
            return format!("waiting for the server for {} s", waited.as_secs());
        }
        let judged = self.total.saturating_sub(status.agents_behind);
        let mut text = format!("{judged} of {} machines judged", self.total);
        if status.agents_unjudged > 0 {
            text.push_str(&format!(", {} cannot be judged", status.agents_unjudged));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_most_that_was_seen() {
        let mut progress = Progress::default();
        let mut text = |agents_behind, agents_unjudged| {
            let status = GetStatusResponse {
                agents_behind,
                agents_unjudged,
                ..GetStatusResponse::default()
            };
            progress.text(&status, Duration::from_secs(3))
        };
        assert_eq!(text(0, 0), "waiting for the server for 3 s");
        assert_eq!(text(30, 0), "0 of 30 machines judged");
        assert_eq!(text(40, 0), "0 of 40 machines judged");
        assert_eq!(text(12, 2), "28 of 40 machines judged, 2 cannot be judged");
    }
}
