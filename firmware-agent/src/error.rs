//! What can go wrong on the way to an identity.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::SpiffeId;
use hallmark_tpm::TpmError;

use crate::verdict::Verdict;

/// Why the agent has no identity, or cannot use it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// No connection.
    #[error("the server at {address} cannot be reached")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        detail: String,
    },
    /// The agent runs.
    #[error("the agent runs on this TPM")]
    Runs {
        /// Its health socket.
        socket: String,
    },
    /// The TLS handshake failed: the server's certificate leads to no authority of the bundle, or there is another
    /// endpoint at the address.
    #[error("the endpoint at {address} is not this trust domain's server")]
    Untrusted {
        /// `host:port`.
        address: String,
        /// What the check said.
        detail: String,
    },
    /// The TLS handshake failed before any certificate was looked at.
    #[error("the endpoint at {address} does not speak TLS as a Hallmark server does")]
    OtherProtocol {
        /// `host:port`.
        address: String,
        /// What the TLS library said.
        detail: String,
    },
    /// The server's verdict on the evidence.
    #[error("{}", verdict.text())]
    Refused {
        /// The class of the refusal.
        verdict: Verdict,
        /// The server's words.
        message: String,
        /// The machine's id at the server, where it is known here.
        node: Option<String>,
    },
    /// The server has banned this machine.
    #[error("the server has banned this machine")]
    Banned {
        /// The server's words.
        message: String,
        /// The machine's id at the server, where it is known here.
        node: Option<String>,
    },
    /// An operator has suspended this machine: it may come back.
    #[error("the server has suspended this machine")]
    Suspended {
        /// The server's words.
        message: String,
        /// The machine's id at the server, where it is known here.
        node: Option<String>,
    },
    /// The identity is no longer good at the server; a new attestation is needed.
    #[error("the server no longer accepts this agent's identity")]
    NotAccepted {
        /// The server's words.
        message: String,
    },
    /// TLS: the server does not accept the certificate of the agent's SVID, so nothing was asked.
    #[error("the server refuses the connection of this agent's identity")]
    CertificateRefused {
        /// The alert (RFC 8446, section 6.2).
        alert: String,
    },
    /// The server limits how often it is asked.
    #[error("the server is busy")]
    ServerBusy {
        /// The server's words.
        message: String,
    },
    /// Another answer than the protocol allows.
    #[error("the server's answer is not what the protocol allows: {0}")]
    Protocol(&'static str),
    /// A call failed for a reason of the server's.
    #[error("the server could not answer {call}")]
    Call {
        /// The call.
        call: &'static str,
        /// The status, with the server's words.
        detail: String,
    },
    /// A message is larger than its reader takes.
    #[error("a message of {call} is larger than its reader takes")]
    TooLarge {
        /// The call.
        call: &'static str,
        /// Its size, and the limit.
        detail: String,
    },
    /// The server names more entries than an agent takes.
    #[error("{beyond} of the {named} entries of this node are more than an agent takes, and are not served")]
    EntriesBeyond {
        /// How many are not taken.
        beyond: usize,
        /// How many the server named.
        named: usize,
        /// What an agent takes.
        most: String,
    },
    /// The SVID is not the one that was asked for.
    #[error("the server issued an SVID that does not fit the request: {what}")]
    UnfitSvid {
        /// What does not fit.
        what: &'static str,
        /// Both values.
        compared: String,
    },
    /// The clocks disagree.
    #[error("the certificate is not valid at this machine's time")]
    Clock {
        /// What the check said.
        detail: String,
    },
    /// The bundle cannot be used.
    #[error("the server's trust bundle cannot be used")]
    Bundle {
        /// What is wrong.
        detail: String,
    },
    /// The state file was damaged; it has been set aside.
    #[error("the state file was damaged and has been set aside as {moved_to}")]
    StateCorrupt {
        /// Where it is now.
        moved_to: String,
        /// What was wrong.
        detail: String,
    },
    /// The data folder cannot be read or written.
    #[error("the agent's state in {path} cannot be read or written")]
    State {
        /// The file or folder.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// Others than the agent can put a state of their own in the place of its.
    #[error("others can change the agent's state in {path}")]
    StateExposed {
        /// The folder.
        path: String,
        /// Who, and where.
        detail: String,
    },
    /// A measurement log cannot be read.
    #[error("the {log} log in {path} cannot be read")]
    Log {
        /// Which log.
        log: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// A key or a request for a certificate could not be made.
    #[error("a key or its certificate request could not be made")]
    Key {
        /// What the library said.
        detail: String,
    },
    /// A part of the agent does not do its work.
    #[error("the agent is not ready: {detail}")]
    NotReady {
        /// Which parts, and why.
        detail: String,
    },
    /// Nobody answers where the agent tells how it is doing.
    #[error("no agent answers at {socket}")]
    Silent {
        /// The socket.
        socket: String,
        /// What the system said.
        detail: String,
    },
    /// This user may not ask the agent how it is doing.
    #[error("this user may not ask the agent at {socket}")]
    MayNotAsk {
        /// The socket.
        socket: String,
        /// What the system said.
        detail: String,
    },
    /// The health listener.
    #[error(transparent)]
    HealthListener(#[from] hallmark_host::health::BindError),
    /// A task of the agent's ended, which none does by itself.
    #[error("the agent's {task} task has ended")]
    TaskEnded {
        /// Which.
        task: &'static str,
        /// How.
        detail: String,
    },
    /// The operating system gave no thread, signal or socket.
    #[error("the operating system refused what the agent needs")]
    System {
        /// What it said.
        detail: String,
    },
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

impl AgentError {
    /// The same, of this machine: what operators do about it needs its id.
    #[must_use]
    pub(crate) fn of_node(mut self, id: &SpiffeId) -> Self {
        if let Self::Refused { node, .. } | Self::Banned { node, .. } | Self::Suspended { node, .. } = &mut self {
            node.get_or_insert_with(|| id.to_string());
        }
        self
    }
}

fn named(node: &Option<String>) -> &str {
    node.as_deref().unwrap_or("NODE")
}

/// The server tells a retired machine what it tells a banned one, but for the code.
fn is_retired(message: &str) -> bool {
    message.contains("HM-SRV-0303")
}

impl Coded for AgentError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Unreachable { .. } => ReasonCode::new("HM-AGENT-0001"),
            Self::Untrusted { .. } => ReasonCode::new("HM-AGENT-0002"),
            Self::OtherProtocol { .. } => ReasonCode::new("HM-AGENT-0030"),
            Self::Refused { .. } => ReasonCode::new("HM-AGENT-0003"),
            Self::Banned { .. } => ReasonCode::new("HM-AGENT-0004"),
            Self::NotAccepted { .. } => ReasonCode::new("HM-AGENT-0005"),
            Self::CertificateRefused { .. } => ReasonCode::new("HM-AGENT-0057"),
            Self::ServerBusy { .. } => ReasonCode::new("HM-AGENT-0006"),
            Self::Protocol(_) => ReasonCode::new("HM-AGENT-0007"),
            Self::Call { .. } => ReasonCode::new("HM-AGENT-0008"),
            Self::TooLarge { .. } => ReasonCode::new("HM-AGENT-0033"),
            Self::EntriesBeyond { .. } => ReasonCode::new("HM-AGENT-0034"),
            Self::UnfitSvid { .. } => ReasonCode::new("HM-AGENT-0009"),
            Self::Clock { .. } => ReasonCode::new("HM-AGENT-0010"),
            Self::Bundle { .. } => ReasonCode::new("HM-AGENT-0011"),
            Self::StateCorrupt { .. } => ReasonCode::new("HM-AGENT-0012"),
            Self::State { .. } => ReasonCode::new("HM-AGENT-0013"),
            Self::Key { .. } => ReasonCode::new("HM-AGENT-0014"),
            Self::NotReady { .. } => ReasonCode::new("HM-AGENT-0015"),
            Self::Silent { .. } => ReasonCode::new("HM-AGENT-0027"),
            Self::HealthListener(_) => ReasonCode::new("HM-AGENT-0028"),
            Self::MayNotAsk { .. } => ReasonCode::new("HM-AGENT-0029"),
            Self::Runs { .. } => ReasonCode::new("HM-AGENT-0031"),
            Self::TaskEnded { .. } => ReasonCode::new("HM-AGENT-0032"),
            Self::System { .. } => ReasonCode::new("HM-AGENT-0016"),
            Self::Log { .. } => ReasonCode::new("HM-AGENT-0017"),
            Self::StateExposed { .. } => ReasonCode::new("HM-AGENT-0018"),
            Self::Suspended { .. } => ReasonCode::new("HM-AGENT-0019"),
            Self::Tpm(error) => error.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Tpm(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Unreachable { detail, .. }
            | Self::Untrusted { detail, .. }
            | Self::OtherProtocol { detail, .. }
            | Self::Call { detail, .. }
            | Self::TooLarge { detail, .. }
            | Self::Clock { detail }
            | Self::Bundle { detail }
            | Self::StateCorrupt { detail, .. }
            | Self::State { detail, .. }
            | Self::StateExposed { detail, .. }
            | Self::Log { detail, .. }
            | Self::Key { detail }
            | Self::Silent { detail, .. }
            | Self::MayNotAsk { detail, .. }
            | Self::TaskEnded { detail, .. }
            | Self::System { detail } => Some(detail.clone()),
            Self::EntriesBeyond { named, most, .. } => Some(format!("{named} entries, at most {most}")),
            Self::Runs { socket } => Some(format!("it answers at {socket}")),
            Self::Refused { message, .. }
            | Self::Banned { message, .. }
            | Self::Suspended { message, .. }
            | Self::NotAccepted { message }
            | Self::ServerBusy { message } => Some(format!("the server says: {message}")),
            Self::CertificateRefused { alert } => Some(format!("the server's TLS alert: {alert}")),
            Self::UnfitSvid { compared, .. } => Some(compared.clone()),
            Self::HealthListener(error) => Some(error.cause.clone()),
            Self::Protocol(_) | Self::NotReady { .. } | Self::Tpm(_) => self.inner()?.compared(),
        }
    }

    fn precise_cause(&self) -> Option<String> {
        match self {
            Self::Refused { verdict, .. } => Some(verdict.cause().to_owned()),
            Self::Banned { message, .. } => {
                let did = if is_retired(message) { "retired" } else { "banned" };
                Some(format!("an operator {did} this machine"))
            }
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Refused { verdict, node, .. } => verdict.next_step(named(node)),
            Self::Banned { message, .. } if is_retired(message) => {
                "on the server: hallmark inventory import --readmit, with a file that names this machine; then start the agent"
                    .to_owned()
            }
            Self::Banned { node, .. } => {
                let node = named(node);
                format!("on the server: hallmark node show {node}; hallmark node unban {node} lifts the ban; then start the agent")
            }
            Self::Suspended { node, .. } => {
                let node = named(node);
                format!("on the server: hallmark node resume {node}; the agent tries again by itself")
            }
            Self::State { path, .. } => format!("df {path}; ls -ld {path}"),
            Self::StateExposed { path, .. } => format!("namei -l {path}; give it to the agent's user with mode 0700"),
            Self::Log { path, .. } => format!("ls -l {path}; the paths are in [measurements] of the configuration"),
            _ => return None,
        })
    }
}
