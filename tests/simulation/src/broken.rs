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
}

impl Broken {
    /// Every one.
    pub const ALL: [Self; 16] = [
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
    ];
}
