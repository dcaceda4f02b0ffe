//! Events as operators read them: what was decided, when, about whom, and why.

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordKind {
    /// An attestation was judged.
    Verdict,
    /// An SVID is about to be signed.
    SvidIntent,
    /// What became of intents.
    SvidOutcome,
    /// An operator changed something.
    Admin,
    /// A step of a machine's installation over the network.
    Provision,
}

impl RecordKind {
    const ALL: [Self; 5] = [
        Self::Verdict,
        Self::SvidIntent,
        Self::SvidOutcome,
        Self::Admin,
        Self::Provision,
    ];

    /// The kind's name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::SvidIntent => "svid-intent",
            Self::SvidOutcome => "svid-outcome",
            Self::Admin => "admin",
            Self::Provision => "provision",
        }
    }

    /// The number under which the kind is stored.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Verdict => 1,
            Self::SvidIntent => 2,
            Self::SvidOutcome => 3,
            Self::Admin => 4,
            Self::Provision => 5,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// How it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// The verdict was: trusted.
    Accepted,
    /// The verdict was: refused.
    Refused,
    /// Not yet known: an intent.
    Pending,
    /// The SVIDs were signed.
    Issued,
    /// It was tried and failed.
    Failed,
    /// The server stopped between intent and outcome; the signatures may or may not exist.
    Interrupted,
    /// The operator's change was made.
    Done,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Refused,
        Self::Pending,
        Self::Issued,
        Self::Failed,
        Self::Interrupted,
        Self::Done,
    ];

    /// The outcome's name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Pending => "pending",
            Self::Issued => "issued",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Done => "done",
        }
    }

    /// The number under which the outcome is stored.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Accepted => 1,
            Self::Refused => 2,
            Self::Pending => 3,
            Self::Issued => 4,
            Self::Failed => 5,
            Self::Interrupted => 6,
            Self::Done => 7,
        }
    }

    /// The outcome with this number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.number() == number)
    }
}

/// An event, as operators read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadableRecord {
    /// When, in Unix seconds.
    pub at: i64,
    /// What it is about.
    pub kind: RecordKind,
    /// Whom: a SPIFFE ID, an EK hash or an entry id.
    pub subject: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The reason code; empty when nothing was refused.
    pub code: String,
    /// A JSON object, or empty.
    pub detail: String,
}

/// A record, as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its sequence number: positive, rising in the order of commits.
    pub sequence: u64,
    /// The record. An SVID intent's detail is
    /// `{"serial":hex,"expires_at":seconds,"entry":id,"holder":id}`; an SVID outcome's
    /// `{"first":sequence,"last":sequence}`, naming the intents it settles.
    pub record: ReadableRecord,
}

/// Which kinds of record to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordFilter {
    /// All.
    #[default]
    All,
    /// Verdicts.
    Verdicts,
    /// SVID intents and outcomes.
    Svids,
    /// Operators' acts.
    Admin,
    /// Steps of installations.
    Provision,
}

/// Which records to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Only records with a higher sequence number (lower, when `newest_first` and this is not 0).
    pub after: u64,
    /// At most this many.
    pub limit: u32,
    /// Only these kinds.
    pub filter: RecordFilter,
    /// Only about this subject.
    pub subject: Option<String>,
    /// From the newest down, instead of from the oldest up.
    pub newest_first: bool,
    /// Only records of this time or later, in Unix seconds; 0 for all.
    pub since: i64,
    /// Only records before this time, in Unix seconds; 0 for all.
    pub until: i64,
}

/// How many records of a kind came out in one way, since the store was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The kind. For [`RecordKind::SvidOutcome`] the count is of SVIDs, not of records.
    pub kind: RecordKind,
    /// The outcome.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}
