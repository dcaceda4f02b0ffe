//! List against quote.

use hallmark_evidence::ima::{ImaEvent, ImaList, ImaReplay};
use hallmark_tpm_wire::{HashAlg, PcrValues};

use super::{BootAggregate, ImaListError, aggregate};

/// A list of which a prefix is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredFiles {
    data: Vec<u8>,
    proven: u64,
    first_line: u64,
    replay: ImaReplay,
    bank: HashAlg,
    boot_aggregate: Option<BootAggregate>,
    first_violation: Option<(u64, String)>,
}

impl MeasuredFiles {
    /// The proven lines that this evidence brought, in order. Their numbers count from this evidence's first line.
    pub fn lines(&self) -> impl Iterator<Item = ImaEvent<'_>> {
        let count = self.replay.lines().saturating_sub(self.first_line);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // The prefix was read before without an error.
        ImaList::new(&self.data)
            .lines()
            .read_before()
            .take(count)
            .filter_map(Result::ok)
    }

    /// Gives away the bytes that are proven; there are no [`lines`](Self::lines) then.
    pub(crate) fn take_data(&mut self) -> Vec<u8> {
        let mut data = std::mem::take(&mut self.data);
        data.truncate(usize::try_from(self.proven).unwrap_or(usize::MAX));
        data
    }

    /// How many lines of the machine's list came with earlier evidence.
    #[must_use]
    pub const fn lines_before(&self) -> u64 {
        self.first_line
    }

    /// How many lines are proven, with those of earlier evidence.
    #[must_use]
    pub const fn line_count(&self) -> u64 {
        self.replay.lines()
    }

    /// How many bytes of this evidence's list are proven.
    #[must_use]
    pub const fn proven_bytes(&self) -> u64 {
        self.proven
    }

    /// From where the next part of the list goes on.
    #[must_use]
    pub const fn replay(&self) -> &ImaReplay {
        &self.replay
    }

    /// The bank in which the list was held against the quote.
    #[must_use]
    pub const fn bank(&self) -> HashAlg {
        self.bank
    }

    /// Whether the list's first line fits the quoted registers; `None` where it came with earlier evidence.
    #[must_use]
    pub const fn boot_aggregate(&self) -> Option<BootAggregate> {
        self.boot_aggregate
    }

    /// Whether the list is of the quoted boot. Register 10 proves its first line, and the line contradicts the registers of
    /// the same quote: they moved after the kernel had started, or were others when it did. No rule of a policy could make
    /// sense of such evidence, so it is refused, whatever the policy. That a register was not quoted, or the line is missing,
    /// contradicts nothing; whether it may be so is a rule (`ima.boot_aggregate`).
    ///
    /// # Errors
    /// It is of another.
    pub(crate) fn require_own_boot(&self) -> Result<(), ImaListError> {
        match self.boot_aggregate {
            Some(BootAggregate::Differs) => Err(ImaListError::OtherBoot),
            _ => Ok(()),
        }
    }

    /// The first violation of this evidence's lines: its number in the whole list, and the file's name for people.
    #[must_use]
    pub fn first_violation(&self) -> Option<(u64, &str)> {
        let (line, name) = self.first_violation.as_ref()?;
        Some((*line, name))
    }

    /// The list as it came; [`proven_bytes`](Self::proven_bytes) of it are proven.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

/// Holds a list, or its part behind the lines that `held` has taken, against the quoted PCR 10.
///
/// `values` must be proven by a quote's digest. Lines behind the ones that give the quoted value are not believed.
///
/// # Errors
/// [`ImaListError`]: PCR 10 was not quoted, a line cannot be read, or no prefix gives the quoted value.
pub fn measured_files(
    data: Vec<u8>,
    held: Option<ImaReplay>,
    values: &PcrValues,
) -> Result<MeasuredFiles, ImaListError> {
    let quoted = values
        .iter()
        .filter(|(bank, pcr, _)| *pcr == ImaReplay::PCR && bank.is_strong());
    let (bank, _, quoted) = quoted.min_by_key(|(bank, ..)| *bank).ok_or(ImaListError::NotQuoted)?;
    let mut replay = held.unwrap_or_else(|| ImaReplay::at_boot(bank));
    let first_line = replay.lines();
    let whole = first_line == 0;
    let mut files = MeasuredFiles {
        proven: 0,
        first_line,
        replay: replay.clone(),
        bank,
        boot_aggregate: whole.then_some(BootAggregate::Absent),
        first_violation: None,
        data: Vec::new(),
    };
    // A machine that measured nothing has the register of one that has just started.
    let mut found = replay.value() == quoted;
    let mut lines = ImaList::new(&data).lines();
    let (mut first_violation, mut boot_aggregate) = (None, BootAggregate::Absent);
    while let Some(event) = lines.next() {
        let event = event?;
        if whole && event.line == 0 {
            boot_aggregate = aggregate::judge(&event, values);
        }
        if event.is_violation() && first_violation.is_none() && event.pcr == u32::from(ImaReplay::PCR) {
            first_violation = Some((first_line.saturating_add(event.line), event.shown_name()));
        }
        replay.extend(&event);
        // The longest prefix counts: a line of another register leaves PCR 10 as it is.
        if replay.value() == quoted {
            found = true;
            files.replay = replay.clone();
            files.proven = lines.bytes_read();
            files.first_violation.clone_from(&first_violation);
            files.boot_aggregate = whole.then_some(boot_aggregate);
        }
    }
    if !found && whole && is_of_an_old_kernel(&data, bank, quoted) {
        return Err(ImaListError::OldKernel { bank: bank.to_string() });
    }
    if !found {
        return Err(ImaListError::Pcr {
            bank: bank.to_string(),
            quoted: hex::encode(quoted),
            replayed: hex::encode(replay.value()),
            lines: replay.lines(),
        });
    }
    files.data = data;
    Ok(files)
}

/// Whether the register has what a kernel before 5.8 extends it with: SHA-1, whatever the bank.
fn is_of_an_old_kernel(data: &[u8], bank: HashAlg, quoted: &[u8]) -> bool {
    let mut replay = ImaReplay::at_boot(bank);
    let mut lines = ImaList::new(data).lines().read_before().filter_map(Result::ok);
    lines.any(|event| {
        replay.extend_padded(&event);
        event.pcr == u32::from(ImaReplay::PCR) && replay.value() == quoted
    })
}
