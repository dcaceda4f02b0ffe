//! Access to facts of a boot that cannot forget to ask whether they are proven.

use hallmark_reason::ReasonCode;
use hallmark_verify::boot::{BootEvent, BootFacts};

use crate::facts::MachineFacts;
use crate::reason::{EventRef, Finding, NO_ACTION, Reason};
use crate::register::is_of_systemd;
use crate::selectors::sha256_hex;

/// A machine's boot, to be asked.
pub(super) struct Record<'a> {
    machine: &'a MachineFacts,
    events: &'a [BootEvent],
}

impl<'a> Record<'a> {
    pub(super) fn of(machine: &'a MachineFacts) -> Self {
        Self {
            machine,
            events: machine.boot.as_ref().map_or(&[], |boot| boot.events.as_slice()),
        }
    }

    /// Whether there is a proven boot log at all.
    pub(super) fn required(&self) -> Reason {
        let finding = match &self.machine.boot {
            Some(boot) => Finding::new(
                true,
                format!("the boot log is proven: {} events", boot.facts.event_count),
            ),
            None => Finding::not_proven("a boot log", "no boot log came with the quote"),
        };
        Reason::of(ReasonCode::new("HM-POLICY-0101"), "boot.required", finding)
    }

    /// The boot's facts, if they are proven in each of these registers.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) fn facts(&self, pcrs: &[u8]) -> Result<&'a BootFacts, String> {
        let boot = self.machine.boot.as_ref().ok_or("no boot log came with the quote")?;
        // Facts are read from SHA-256 digests: a quote over another bank says nothing of those.
        let quoted = |pcr: u8| self.machine.pcrs.contains_key(&format!("sha256:{pcr}"));
        match pcrs.iter().find(|pcr| !quoted(**pcr)) {
            Some(pcr) => Err(format!("PCR {pcr} was not quoted in the SHA-256 bank")),
            None => Ok(&boot.facts),
        }
    }

    /// A fact that is measured into these registers.
    ///
    /// # Errors
    /// Why it is not proven.
    pub(super) fn proven<T>(&self, pcrs: &[u8], fact: impl Fn(&'a BootFacts) -> Option<T>) -> Result<T, String> {
        fact(self.facts(pcrs)?).ok_or_else(|| "the boot log does not say it".to_owned())
    }

    /// The events that extended a register.
    pub(super) fn extended(&self, pcr: u8) -> impl Iterator<Item = &'a BootEvent> {
        let events = self.events.iter();
        events.filter(move |event| event.pcr == pcr && event.kind != NO_ACTION)
    }

    /// The events that extended a register, but for what systemd adds by itself: it says nothing of what was booted.
    pub(super) fn given(&self, pcr: u8) -> impl Iterator<Item = &'a BootEvent> {
        let facts = self.machine.boot.as_ref().map(|boot| &boot.facts);
        let is_of_systemd = move |event: &BootEvent| facts.is_some_and(|facts| is_of_systemd(event, facts));
        self.extended(pcr).filter(move |event| !is_of_systemd(event))
    }

    /// The events of a register with the digest of a separator of the firmware, whatever the log calls them.
    pub(super) fn separators(&self, pcr: u8) -> impl Iterator<Item = &'a BootEvent> {
        let digests = [[0_u8; 4], [0xff; 4]].map(|value| sha256_hex(&value));
        self.extended(pcr).filter(move |event| digests.contains(&event.digest))
    }

    /// The event with this number.
    pub(super) fn event(&self, number: u32) -> Option<&'a BootEvent> {
        self.events.iter().find(|event| event.number == number)
    }

    /// The first event in a register that no firmware makes there.
    pub(super) fn unexpected(&self, pcr: u8) -> Option<EventRef> {
        let unexpected = self.machine.boot.as_ref().map(|boot| &boot.facts.unexpected);
        let is_unexpected = |event: &&BootEvent| unexpected.is_some_and(|it| it.contains(&event.number));
        self.extended(pcr).find(is_unexpected).map(EventRef::of)
    }

    /// The first event of which `is` holds.
    pub(super) fn first(&self, is: impl Fn(&BootEvent) -> bool) -> Option<EventRef> {
        self.events.iter().find(|event| is(event)).map(EventRef::of)
    }

    /// The first event of a register whose description has a word in it.
    pub(super) fn about(&self, pcr: u8, word: &str) -> Option<EventRef> {
        self.first(|event| event.pcr == pcr && event.text.contains(word))
    }

    /// The first event with a digest.
    pub(super) fn with_digest(&self, pcr: u8, digest: &str) -> Option<EventRef> {
        self.first(|event| event.pcr == pcr && event.digest == digest)
    }
}

/// What an operator is to know of credentials that systemd-stub packed. For people: the log's word decides nothing.
pub(super) fn credentials(pcr: u8, text: &str) -> Option<&'static str> {
    (pcr == 12 && text == "Global credentials initrd").then_some(
        "the log calls it the credentials of the boot partition; systemd 259 to 261 leaves NvPCR anchors there at the first \
         boot, which are shown to be nothing else if the agent may read /run/credentials/@encrypted",
    )
}

/// A rule over a fact: `Err` says why it is not proven, and such a rule never holds.
pub(super) fn over<T>(
    fact: Result<T, String>,
    expected: impl std::fmt::Display,
    judge: impl FnOnce(T) -> Finding,
) -> Finding {
    match fact {
        Ok(fact) => {
            let finding = judge(fact);
            Finding {
                expected: Some(expected.to_string()),
                ..finding
            }
        }
        Err(why) => Finding::not_proven(expected, why),
    }
}

/// A list for people: all of a few, else how many.
pub(crate) fn listed(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let values: Vec<_> = values.into_iter().collect();
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    match values.as_slice() {
        [] => "nothing".to_owned(),
        few if few.len() <= 4 => few.join(" or "),
        [first, rest @ ..] => format!("{first} or {} others", rest.len()),
    }
}

pub(super) fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
