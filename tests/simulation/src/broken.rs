//! What is wrong on purpose: the proof that the harness finds it.

/// A fault that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The store does not look at what a transaction rests on.
    IgnoresExpectations,
    /// Records get their numbers when they are sent, not when they become durable.
    NumbersBeforeCommit,
    /// The store answers before the flush, and loses what was not flushed.
    AnswersBeforeFlush,
    /// The store refuses a transaction and writes it all the same.
    KeepsRefused,
    /// A server now and then goes over a record.
    LosesRecord,
    /// A snapshot leaves out the node that changed last.
    TornSnapshot,
    /// A server now and then takes in a record's events in another order.
    ReordersEvents,
    /// A server signs when it has sent the intent, not when the intent is durable.
    SignsBeforeCommit,
    /// Serial numbers begin anew after a restart.
    RepeatsSerials,
    /// A server whose answer is lost waits for it.
    NeverAsks,
    /// A server whose answer is lost decides again without asking.
    RepeatsAfterLostAnswer,
    /// A server decides again after a conflict without catching up.
    NeverCatchesUp,
    /// Intents do not rest on the node's row.
    ForgetsNode,
    /// Intents do not rest on the entries.
    ForgetsEntries,
    /// Intents do not rest on the rules.
    ForgetsRules,
    /// Intents do not rest on the authority.
    ForgetsAuthority,
    /// The keeper of authorities has a new one sign at once.
    ActivatesUnpublished,
    /// What keepers of authorities do does not rest on the authorities.
    ForgetsOtherKeepers,
    /// SVIDs outlive the authority that signs them.
    OutlivesAuthority,
    /// Verdicts do not rest on the trust anchors and rules that they were made by.
    ForgetsTrust,
    /// Intents are granted whatever the age of the verdict is.
    IgnoresStaleness,
    /// A verdict on a quote that was seen while the clock was ahead counts on.
    KeepsDoubtfulVerdicts,
    /// A quote that was seen while the clock was ahead keeps its time.
    NeverDoubts,
    /// What the configuration lists as one machine's is not looked at.
    NeverLinks,
    /// What administrators over TLS do does not rest on their role.
    ForgetsRole,
    /// One administrator over TLS gives back what was taken from a machine.
    OneGivesBack,
    /// The store takes what was decided on records that a fail-over has lost.
    IgnoresFailOver,
    /// The store looks only at how many records a server knows, not at which.
    ComparesNumbersOnly,
}

impl Broken {
    /// Every one.
    pub const ALL: [Self; 28] = [
        Self::IgnoresExpectations,
        Self::NumbersBeforeCommit,
        Self::AnswersBeforeFlush,
        Self::KeepsRefused,
        Self::LosesRecord,
        Self::TornSnapshot,
        Self::ReordersEvents,
        Self::SignsBeforeCommit,
        Self::RepeatsSerials,
        Self::NeverAsks,
        Self::RepeatsAfterLostAnswer,
        Self::NeverCatchesUp,
        Self::ForgetsNode,
        Self::ForgetsEntries,
        Self::ForgetsRules,
        Self::ForgetsAuthority,
        Self::ActivatesUnpublished,
        Self::ForgetsOtherKeepers,
        Self::OutlivesAuthority,
        Self::ForgetsTrust,
        Self::IgnoresStaleness,
        Self::KeepsDoubtfulVerdicts,
        Self::NeverDoubts,
        Self::NeverLinks,
        Self::ForgetsRole,
        Self::OneGivesBack,
        Self::IgnoresFailOver,
        Self::ComparesNumbersOnly,
    ];

    /// With how few servers it can be seen: who is alone never sees the others' records under numbers that it knows.
    #[must_use]
    pub const fn least_servers(self) -> usize {
        match self {
            Self::ComparesNumbersOnly => 2,
            _ => 1,
        }
    }
}
