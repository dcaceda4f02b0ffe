//! The lines that wait to be written.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// What may wait, in bytes. A reader that pauses for some seconds misses nothing.
const CAPACITY: usize = 4 * 1024 * 1024;
/// How long to wait before a descriptor that somebody made non-blocking, and that is full, is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// Lines on their way to the thread that writes them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line is being written.
    busy: bool,
    /// Lines lost since the start.
    lost: u64,
    /// How many of them the log tells of.
    told: u64,
}

impl Queue {
    /// A writer for one line.
    pub(super) fn line(self: Arc<Self>) -> Line {
        Line {
            queue: self,
            bytes: Vec::new(),
        }
    }

    /// Starts the thread that writes the lines.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn write_to(self: &Arc<Self>, to: impl Write + Send + 'static) -> io::Result<()> {
        let queue = Arc::clone(self);
        let write = move || queue.write_for_ever(to);
        thread::Builder::new().name("log".to_owned()).spawn(write).map(drop)
    }

    /// Waits until every line is written, or `limit` is over.
    pub(super) fn wait_written(&self, limit: Duration) {
        let waiting = |state: &mut State| state.busy || !state.lines.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), limit, waiting);
        drop(waited);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if line.len() > CAPACITY.saturating_sub(state.bytes) {
            state.lost = state.lost.saturating_add(1);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_all();
    }

    fn write_for_ever(&self, mut to: impl Write) {
        // Whether a line was cut off in its middle.
        let mut is_torn = false;
        loop {
            let line = self.next();
            let written = write_line(&mut to, &line, &mut is_torn);
            let untold = {
                let mut state = self.lock();
                state.busy = false;
                if written.is_err() {
                    state.lost = state.lost.saturating_add(1);
                }
                // Told once there is room for the line that tells it.
                let is_due = written.is_ok() && state.bytes < CAPACITY / 2;
                let untold = if is_due { state.lost - state.told } else { 0 };
                state.told += untold;
                untold
            };
            if untold > 0 {
                tracing::error!(
                    lost = untold,
                    "log lines are missing here: standard error took none for a time (disk full, pipe closed, or its \
                     reader too slow)"
                );
            }
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes = state.bytes.saturating_sub(line.len());
                state.busy = true;
                return line;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a whole line. After one that was cut off the next begins in a line of its own.
fn write_line(to: &mut impl Write, line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    let parts: [&[u8]; 2] = [if *is_torn { b"\n" } else { b"" }, line];
    for mut rest in parts {
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    *is_torn = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
                Err(error) => return Err(error),
            }
        }
    }
    *is_torn = false;
    Ok(())
}

/// One line of the log, handed over when it is complete.
#[derive(Debug)]
pub(super) struct Line {
    queue: Arc<Queue>,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A writer whose every call is answered as told.
    struct Told(VecDeque<io::Result<usize>>, Vec<u8>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.0.pop_front().unwrap_or(Ok(bytes.len()))?;
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn full() -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(28))
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        let answers = [
            Err(io::ErrorKind::Interrupted.into()),
            Ok(2),
            Err(io::ErrorKind::WouldBlock.into()),
            Ok(2),
            full(),
            full(),
        ];
        let (mut to, mut is_torn) = (Told(answers.into(), Vec::new()), false);
        assert!(write_line(&mut to, b"first\n", &mut is_torn).is_err());
        assert!(write_line(&mut to, b"second\n", &mut is_torn).is_err());
        for line in [b"third\n", b"forth\n"] {
            write_line(&mut to, line, &mut is_torn).unwrap();
        }
        assert_eq!(String::from_utf8(to.1).unwrap(), "firs\nthird\nforth\n");
    }

    /// A writer that is stuck until it is let go.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error says that it was let go.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_log_that_is_stuck_and_what_finds_no_room_is_counted() {
        let queue = Arc::new(Queue::default());
        let (let_go, stuck) = mpsc::channel();
        queue.write_to(Stuck(stuck)).unwrap();
        let long = vec![b'x'; CAPACITY / 64];
        for _ in 0..80 {
            Arc::clone(&queue).line().write_all(&long).unwrap();
        }
        // One may be with the writer, and 64 wait.
        let lost = queue.lost();
        assert!((15..=16).contains(&lost), "{lost}");
        queue.wait_written(Duration::from_millis(10));
        assert!(!queue.lock().lines.is_empty(), "the end does not wait for ever either");
        drop(let_go);
        queue.wait_written(Duration::from_secs(60));
        let state = queue.lock();
        assert_eq!((state.bytes, state.lost, state.told), (0, lost, lost));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let queue = Arc::new(Queue::default());
        queue.write_to(Told([full(), full()].into(), Vec::new())).unwrap();
        for number in 0..5 {
            Arc::clone(&queue)
                .line()
                .write_all(format!("{number}\n").as_bytes())
                .unwrap();
        }
        queue.wait_written(Duration::from_secs(60));
        assert_eq!((queue.lost(), queue.lock().told), (2, 2));
    }
}
