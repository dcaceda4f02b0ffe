//! What can go wrong, in four lines and an exit code.

use std::{io, path::PathBuf};

use hallmark_evidence::EvidenceError;
use hallmark_node::DiskImageError;
use hallmark_policy::{
    BaselineError, DigestListError, PolicyError, RuleFileError, predict::PredictError, signed::SignedFileError,
};
use hallmark_reason::{Coded, ReasonCode, Report, lookup};
use hallmark_spiffe::{BundleError, IdError, SelectorError};
use hallmark_state::{AuthorityStepError, EntryError, ProvisionError};
use hallmark_verify::TrustError;
use tonic::Code;

use crate::{command::svid::MintError, exit::Exit, timestamp::rfc3339};

/// What a file of `entry apply` is in messages.
pub(crate) const ENTRIES_FILE: &str = "list of entries";

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("the server's admin socket {socket} cannot be reached: {cause}", socket = socket.display())]
    Connect { socket: PathBuf, cause: String },
    #[error("the server's admin socket {socket} may not be used by this user", socket = socket.display())]
    SocketForbidden { socket: PathBuf },
    #[error("the request is not valid: {message}")]
    Invalid { message: String },
    #[error("the server does not permit this: {message}")]
    Forbidden { message: String },
    #[error("the server cannot do it now: {message}")]
    Unavailable { message: String },
    #[error("not found: {message}")]
    Missing { message: String },
    #[error("it conflicts with what is there: {message}")]
    Conflict { message: String },
    #[error("the endpoint at the socket does not know this call{}", colon(message))]
    Unimplemented { message: String },
    #[error("the server failed: {message}")]
    Server { message: String },
    #[error("the server's answer did not arrive: whether the change was made is not known")]
    OutcomeUnknown { cause: String, look: &'static str },
    #[error("the connection to the server broke before it answered")]
    Broken { cause: String },
    #[error("the changes were cut off: {answered} of {all} were answered")]
    CutOff {
        answered: usize,
        all: usize,
        /// Those of which nobody knows whether they were made.
        unknown: String,
        exit: Exit,
        cause: String,
        look: String,
    },
    #[error("a message between this program and the server is larger than its reader takes")]
    TooLarge { sizes: String },
    #[error("the server's answer cannot be read: {what}")]
    Answer { what: String },
    #[error("no id starts with {prefix:?}")]
    NoMatch { prefix: String, what: &'static str },
    #[error("{prefix:?} is the start of more than one id")]
    Ambiguous {
        prefix: String,
        found: Vec<String>,
        what: &'static str,
    },
    #[error("destructive command not confirmed")]
    NotConfirmed,
    #[error("there is no reason code {code}")]
    UnknownReason { code: String, near: Option<String> },
    #[error("no record can be in this span of time: it ends before it begins")]
    Reversed { since: i64, until: i64 },
    #[error("no change of the entry is given")]
    NothingToChange,
    #[error("similar entry already exists")]
    Similar { id: String },
    #[error("{0}")]
    Id(#[from] IdError),
    #[error("{0}")]
    Selector(#[from] SelectorError),
    #[error("{0}")]
    Entry(#[from] EntryError),
    #[error("the server's bundle cannot be shown in this form: {0}")]
    Bundle(#[from] BundleError),
    #[error("the file {file} cannot be read: {cause}", file = file.display())]
    File { file: PathBuf, cause: io::Error },
    #[error("the file {file} cannot be written: {cause}", file = file.display())]
    Write { file: PathBuf, cause: io::Error },
    #[error("the {what} in {file} cannot be used: {detail}", file = file.display())]
    Unfit {
        what: &'static str,
        file: PathBuf,
        detail: String,
    },
    #[error("{file}: {cause}", file = file.display())]
    Evidence { file: PathBuf, cause: EvidenceError },
    #[error("{file}: {cause}", file = file.display())]
    Signed { file: PathBuf, cause: SignedFileError },
    #[error("{0}")]
    Policy(#[from] PolicyError),
    #[error("{0}")]
    Baseline(#[from] BaselineError),
    #[error("{0}")]
    Rules(#[from] RuleFileError),
    #[error("{0}")]
    Predict(#[from] PredictError),
    #[error("{0}")]
    Trust(#[from] TrustError),
    #[error("{0}")]
    Provision(#[from] ProvisionError),
    #[error("{0}")]
    AuthorityStep(#[from] AuthorityStepError),
    #[error("{0}")]
    Mint(#[from] MintError),
    #[error("{file}: {cause}", file = file.display())]
    DiskImage { file: PathBuf, cause: DiskImageError },
    #[error("{file}: {cause}", file = file.display())]
    DigestList { file: PathBuf, cause: DigestListError },
    #[error("the file {file} is neither a server's nor an agent's configuration", file = file.display())]
    UnknownConfig { file: PathBuf },
    #[error("the program {program} cannot be run: {cause}")]
    Program { program: String, cause: io::Error },
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    #[error("the program cannot start: {0}")]
    Runtime(io::Error),
}

impl CliError {
    /// What the shell is told.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Connect { .. } | Self::Unavailable { .. } | Self::Broken { .. } => Exit::Unreachable,
            Self::SocketForbidden { .. } | Self::Forbidden { .. } => Exit::NotPermitted,
            Self::Missing { .. }
            | Self::Conflict { .. }
            | Self::NoMatch { .. }
            | Self::Ambiguous { .. }
            | Self::Similar { .. }
            | Self::Provision(_)
            | Self::AuthorityStep(_)
            | Self::UnknownReason { .. } => Exit::NotFound,
            Self::Invalid { .. }
            | Self::NotConfirmed
            | Self::NothingToChange
            | Self::Reversed { .. }
            | Self::Unimplemented { .. }
            | Self::Id(_)
            | Self::Selector(_)
            | Self::Entry(_)
            | Self::File { .. }
            | Self::Unfit { .. }
            | Self::Evidence { .. }
            | Self::Signed { .. }
            | Self::Policy(_)
            | Self::Baseline(_)
            | Self::Rules(_)
            | Self::Predict(_)
            | Self::Trust(_)
            | Self::DigestList { .. }
            | Self::DiskImage { .. }
            | Self::UnknownConfig { .. } => Exit::Usage,
            Self::CutOff { exit, .. } => *exit,
            Self::Mint(cause) => cause.exit(),
            Self::Server { .. }
            | Self::OutcomeUnknown { .. }
            | Self::TooLarge { .. }
            | Self::Answer { .. }
            | Self::Bundle(_)
            | Self::Program { .. }
            | Self::Write { .. }
            | Self::Output(_)
            | Self::Runtime(_) => Exit::Unexpected,
        }
    }

    /// The four lines. A server that says its own code is quoted; what it leaves out the catalogue knows.
    pub(crate) fn report(&self) -> String {
        let said = match self {
            Self::Invalid { message }
            | Self::Forbidden { message }
            | Self::Unavailable { message }
            | Self::Missing { message }
            | Self::Conflict { message }
            | Self::Server { message } => coded(message),
            _ => None,
        };
        match said {
            Some((code, text)) => complete(text, code),
            None => Report(self).to_string(),
        }
    }

    /// Of a change that was asked for: where the connection broke, or the wait ended, the server may have made it. `look` shows
    /// whether it did.
    pub(crate) fn of_change(status: tonic::Status, look: &'static str) -> Self {
        let is_lost = matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) || is_broken(&status);
        if is_lost && coded(status.message()).is_none() {
            let cause = hallmark_host::printable(status.message());
            return Self::OutcomeUnknown { cause, look };
        }
        Self::from(status)
    }

    /// The outcome of one item of a batch.
    pub(crate) fn of_item(code: i32, message: &str) -> Self {
        Self::of_code(Code::from_i32(code), message.to_owned())
    }

    fn of_code(code: Code, message: String) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid { message },
            Code::PermissionDenied | Code::Unauthenticated => Self::Forbidden { message },
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
                Self::Unavailable { message }
            }
            Code::NotFound => Self::Missing { message },
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Self::Conflict { message },
            Code::Unimplemented => Self::Unimplemented { message },
            _ => Self::Server { message },
        }
    }
}

/// A report with the lines that it lacks: cause and next step, as the catalogue has them for its code.
fn complete(report: String, code: &str) -> String {
    const CAUSE: &str = "\n  cause: ";
    const NEXT: &str = "\n  next: ";
    let Some(reason) = lookup(code) else { return report };
    let (mut told, next) = match report.split_once(NEXT) {
        Some((before, next)) => (before.to_owned(), Some(next)),
        None => (report.clone(), reason.next_step),
    };
    if let Some(cause) = reason.likely_cause.filter(|_| !told.contains(CAUSE)) {
        told.push_str(CAUSE);
        told.push_str(cause);
    }
    if let Some(next) = next {
        told.push_str(NEXT);
        told.push_str(next);
    }
    told
}

/// A server's words as a report, with their code: it stands before them, or behind them in brackets.
fn coded(message: &str) -> Option<(&str, String)> {
    if let Some((code, _)) = message.split_once(':').filter(|(code, _)| is_code(code)) {
        return Some((code, message.to_owned()));
    }
    let (text, code) = message.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
    is_code(code).then(|| (code, format!("{code}: {text}")))
}

/// Whether a text is a reason code: `HM-ROOM-0000`.
fn is_code(code: &str) -> bool {
    let mut parts = code.split('-');
    parts.next() == Some("HM")
        && parts
            .next()
            .is_some_and(|room| !room.is_empty() && room.chars().all(|c| c.is_ascii_uppercase()))
        && parts
            .next()
            .is_some_and(|number| number.len() == 4 && number.chars().all(|c| c.is_ascii_digit()))
        && parts.next().is_none()
}

fn colon(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(": {message}"),
    }
}

/// Where the form of a file is said that cannot be used as `what`.
fn form_of(what: &str) -> &'static str {
    match what {
        ENTRIES_FILE => "hallmark entry export shows the form; docs/how-to/manage-entries.md names the fields",
        "signed file" => "hallmark policy --help and hallmark baseline --help name the forms of signed files",
        "output" => "name another file for the output",
        "certificate request" => {
            "openssl req -new makes one; hallmark svid mint x509 --help says what it has to ask for"
        }
        _ => "hallmark evidence import --help and hallmark evidence explain --help name the form of each file",
    }
}

/// The command that lists what was looked for.
fn list_of(message: &str) -> &'static str {
    let names = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if names(&["baseline"]) {
        "hallmark baseline list"
    } else if names(&["policy", "digest-list"]) {
        "hallmark policy list"
    } else if names(&["entry"]) {
        "hallmark entry list"
    } else {
        "hallmark node list"
    }
}

/// Whether no server said this: the connection ended before an answer.
fn is_broken(status: &tonic::Status) -> bool {
    status.code() == Code::Unknown || std::error::Error::source(status).is_some()
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> Self {
        if let (Code::OutOfRange, Some(sizes)) = (status.code(), hallmark_api::too_large(status.message())) {
            let sizes = hallmark_host::printable(sizes);
            return Self::TooLarge { sizes };
        }
        let is_late = matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded);
        if !is_late && is_broken(&status) && coded(status.message()).is_none() {
            let cause = hallmark_host::printable(status.message());
            return Self::Broken { cause };
        }
        Self::of_code(status.code(), hallmark_host::printable_lines(status.message()))
    }
}

impl Coded for CliError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Connect { .. } => ReasonCode::new("HM-CLI-0001"),
            Self::SocketForbidden { .. } => ReasonCode::new("HM-CLI-0002"),
            Self::Invalid { .. } => ReasonCode::new("HM-CLI-0003"),
            Self::Forbidden { .. } => ReasonCode::new("HM-CLI-0004"),
            Self::Unavailable { .. } => ReasonCode::new("HM-CLI-0005"),
            Self::Missing { .. } => ReasonCode::new("HM-CLI-0006"),
            Self::Conflict { .. } => ReasonCode::new("HM-CLI-0007"),
            Self::Unimplemented { .. } => ReasonCode::new("HM-CLI-0008"),
            Self::Server { .. } => ReasonCode::new("HM-CLI-0009"),
            Self::Answer { .. } => ReasonCode::new("HM-CLI-0010"),
            Self::OutcomeUnknown { .. } => ReasonCode::new("HM-CLI-0024"),
            Self::CutOff { .. } => ReasonCode::new("HM-CLI-0030"),
            Self::Broken { .. } => ReasonCode::new("HM-CLI-0031"),
            Self::TooLarge { .. } => ReasonCode::new("HM-CLI-0025"),
            Self::Reversed { .. } => ReasonCode::new("HM-CLI-0026"),
            Self::NoMatch { .. } => ReasonCode::new("HM-CLI-0011"),
            Self::Ambiguous { .. } => ReasonCode::new("HM-CLI-0012"),
            Self::NotConfirmed => ReasonCode::new("HM-CLI-0013"),
            Self::Similar { .. } => ReasonCode::new("HM-CLI-0014"),
            Self::NothingToChange => ReasonCode::new("HM-CLI-0020"),
            Self::UnknownReason { .. } => ReasonCode::new("HM-CLI-0022"),
            Self::Id(cause) => cause.code(),
            Self::Selector(cause) => cause.code(),
            Self::Entry(cause) => cause.code(),
            Self::Bundle(cause) => cause.code(),
            Self::File { .. } => ReasonCode::new("HM-CLI-0015"),
            Self::UnknownConfig { .. } => ReasonCode::new("HM-CLI-0016"),
            Self::Program { .. } => ReasonCode::new("HM-CLI-0017"),
            Self::Output(_) => ReasonCode::new("HM-CLI-0018"),
            Self::Runtime(_) => ReasonCode::new("HM-CLI-0019"),
            Self::Write { .. } => ReasonCode::new("HM-CLI-0101"),
            Self::Unfit { .. } => ReasonCode::new("HM-CLI-0102"),
            Self::Evidence { cause, .. } => cause.code(),
            Self::Signed { cause, .. } => cause.code(),
            Self::Policy(cause) => cause.code(),
            Self::Baseline(cause) => cause.code(),
            Self::Rules(cause) => cause.code(),
            Self::Predict(cause) => cause.code(),
            Self::Trust(cause) => cause.code(),
            Self::DigestList { cause, .. } => cause.code(),
            Self::Provision(cause) => cause.code(),
            Self::AuthorityStep(cause) => cause.code(),
            Self::Mint(cause) => cause.code(),
            Self::DiskImage { cause, .. } => cause.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        Some(match self {
            Self::Id(cause) => cause,
            Self::Selector(cause) => cause,
            Self::Entry(cause) => cause,
            Self::Bundle(cause) => cause,
            Self::Evidence { cause, .. } => cause,
            Self::Signed { cause, .. } => cause,
            Self::Policy(cause) => cause,
            Self::Baseline(cause) => cause,
            Self::Rules(cause) => cause,
            Self::Predict(cause) => cause,
            Self::Trust(cause) => cause,
            Self::DigestList { cause, .. } => cause,
            Self::Provision(cause) => cause,
            Self::AuthorityStep(cause) => cause,
            Self::Mint(cause) => cause,
            Self::DiskImage { cause, .. } => cause,
            _ => return None,
        })
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { sizes } => Some(sizes.clone()),
            Self::OutcomeUnknown { cause, .. } | Self::Broken { cause } => Some(cause.clone()),
            Self::CutOff { unknown, cause, .. } => {
                Some(format!("not known whether they were made: {unknown}; {cause}"))
            }
            Self::Reversed { since, until } => Some(format!(
                "since {}, until {}",
                rfc3339(*since).unwrap_or_default(),
                rfc3339(*until).unwrap_or_default()
            )),
            Self::Ambiguous { found, .. } => Some(format!("among others {}", found.join(", "))),
            Self::Similar { id } => Some(format!("entry {id} has the same SPIFFE ID, parent and selectors")),
            Self::UnknownReason { near, .. } => Some(format!("the nearest is {}", near.as_ref()?)),
            _ => self.inner()?.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Missing { message } => list_of(message).to_owned(),
            Self::OutcomeUnknown { look, .. } => {
                format!("{look} shows whether it was; then do it again where it was not")
            }
            Self::CutOff { look, .. } => look.clone(),
            Self::NoMatch { what, .. } => format!("hallmark {what} list"),
            Self::Ambiguous { what, .. } => format!("type more of the id: hallmark {what} list"),
            Self::File { file, .. } => format!("ls -l {}", file.display()),
            Self::Similar { id } => format!("hallmark entry show {id}"),
            Self::Write { file, .. } => format!("ls -ld {}; df", file.display()),
            Self::Unfit { what, .. } => form_of(what).to_owned(),
            Self::UnknownReason { near: Some(near), .. } => format!("hallmark reason {near}"),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_its_code_is_quoted() {
        let said = "HM-REG-0007: an entry needs at least one selector\n  next: add one";
        let error = CliError::from(tonic::Status::invalid_argument(said));
        let (first, next) = said.split_once('\n').unwrap();
        let report = error.report();
        assert!(report.starts_with(first) && report.ends_with(next), "{report}");
        assert!(report.contains("\n  cause: "), "{report}");
        assert_eq!(error.exit(), Exit::Usage);
        let error = CliError::from(tonic::Status::invalid_argument("no selectors"));
        assert_eq!(
            error.report(),
            "HM-CLI-0003: the request is not valid: no selectors\n  cause: a value that the server does not accept\n  next: \
             correct the value; --help of the command says what each option takes"
        );
    }

    #[test]
    fn a_change_whose_answer_was_lost_may_have_been_made() {
        let change = |status| CliError::of_change(status, "hallmark entry list");
        let late = change(tonic::Status::cancelled("Timeout expired"));
        assert_eq!(
            (late.report(), late.exit()),
            (
                "HM-CLI-0024: the server's answer did not arrive: whether the change was made is not known\n  compared: Timeout \
                 expired\n  cause: the connection broke after the request was sent, as when the server was stopped, or the \
                 answer took longer than `--timeout`\n  next: hallmark entry list shows whether it was; then do it again \
                 where it was not"
                    .replace('`', ""),
                Exit::Unexpected
            )
        );
        let broken = tonic::Status::from_error(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert_eq!(change(broken.clone()).code().as_str(), "HM-CLI-0024");
        // A question changes nothing: that the connection broke is no fault of the server's.
        let asked = CliError::from(broken);
        assert_eq!(
            (asked.code().as_str(), asked.exit()),
            ("HM-CLI-0031", Exit::Unreachable)
        );
        let late = CliError::from(tonic::Status::cancelled("Timeout expired"));
        assert_eq!(late.code().as_str(), "HM-CLI-0005");
        let failed = CliError::from(tonic::Status::internal("x"));
        assert_eq!(failed.code().as_str(), "HM-CLI-0009", "the control");
        // The control: what the server says itself is known.
        for said in [
            tonic::Status::unavailable("the server cannot record this now (HM-STORE-0003)"),
            tonic::Status::permission_denied("x"),
            tonic::Status::internal("x"),
        ] {
            assert_ne!(change(said).code().as_str(), "HM-CLI-0024");
        }
    }

    #[test]
    fn codes_are_recognised() {
        assert!(coded("HM-REG-0007: x").is_some());
        assert_eq!(
            coded("a: b (HM-REG-0003)"),
            Some(("HM-REG-0003", "HM-REG-0003: a: b".to_owned()))
        );
        for other in [
            "HM-REG-7: x",
            "HM-reg-0007: x",
            "x HM-REG-0007",
            "HM--0007:",
            "HM-REG-0007-1:",
            "x (HM-REG-7)",
            "x (y)",
            "(HM-REG-0003)",
        ] {
            assert!(coded(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_the_server_leaves_out_is_said() {
        let lines = |status: tonic::Status| {
            let report = CliError::from(status).report();
            let line = |begin: &str| {
                report
                    .lines()
                    .any(|line| line.starts_with(begin) && line.len() > begin.len())
            };
            assert!(
                line("  cause: ") && line("  next: ") && !report.contains('`'),
                "{report}"
            );
            report
        };
        let known = lines(tonic::Status::not_found("HM-REG-0061: agent not found"));
        assert!(
            known.starts_with("HM-REG-0061: agent not found\n") && known.ends_with("next: hallmark node list"),
            "{known}"
        );
        let behind = lines(tonic::Status::invalid_argument(
            "failed to convert entry: of another trust domain (HM-REG-0003)",
        ));
        assert!(behind.starts_with("HM-REG-0003: failed to convert entry: "), "{behind}");
        assert!(
            lines(tonic::Status::not_found("no baseline named x was ever applied"))
                .ends_with("next: hallmark baseline list")
        );
        assert!(lines(tonic::Status::not_found("agent not found")).ends_with("next: hallmark node list"));
        let socket = CliError::from(tonic::Status::unimplemented(""));
        assert_eq!(socket.exit(), Exit::Usage);
        let socket = socket.report();
        assert!(
            socket.starts_with("HM-CLI-0008: the endpoint at the socket does not know this call\n"),
            "{socket}"
        );
        for status in [
            tonic::Status::permission_denied("x"),
            tonic::Status::unavailable("x"),
            tonic::Status::already_exists("x"),
            tonic::Status::internal("x"),
            tonic::Status::unimplemented("x"),
        ] {
            lines(status);
        }
    }

    #[test]
    fn a_message_above_a_limit_is_told_as_what_it_is() {
        let words = "Error, decoded message length too large: found 4206090 bytes, the limit is: 4194304 bytes";
        let report = CliError::from(tonic::Status::out_of_range(words)).report();
        assert!(
            report.starts_with("HM-CLI-0025: ")
                && report.contains("found 4206090 bytes, the limit is: 4194304 bytes")
                && !report.contains("Error,"),
            "{report}"
        );
        let other = CliError::from(tonic::Status::out_of_range("x")).report();
        assert!(other.starts_with("HM-CLI-0003: "), "the control: {other}");
    }

    #[test]
    fn what_the_server_sends_cannot_move_the_cursor() {
        let error = CliError::from(tonic::Status::not_found("a\u{1b}[2Jb"));
        assert!(!error.report().contains('\u{1b}'));
    }
}
