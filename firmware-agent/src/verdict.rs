//! Why the server refused this machine, as far as it tells: the class of the refusal.

/// The class of a refusal; each has one cause and one next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The server could not read what the agent sent, or does not offer its kind of attestation.
    OtherVersion,
    /// No root and no inventory line vouches for the TPM, or its history does not hold.
    UntrustedTpm,
    /// A key has other properties than an attestation asks for.
    UnfitKey,
    /// Something ends TLS between agent and server.
    NotBound,
    /// The TPM's statements, or the logs beside them, do not prove what they must.
    Unproven,
    /// A rule of the operator's does not hold.
    NotAllowed,
    /// Operators have not approved the machine yet.
    Pending,
    /// The server knows the machine by another endorsement key of its TPM.
    OtherKey,
    /// Another class, of a server of another version.
    Other,
}

impl Verdict {
    /// The class that the server's words name with a code in brackets.
    #[must_use]
    pub fn of(words: &str) -> Self {
        let code = words
            .trim_end()
            .strip_suffix(')')
            .and_then(|words| words.rsplit_once('('))
            .map_or("", |(_, code)| code);
        match code {
            "HM-SRV-0101" | "HM-SRV-0112" => Self::OtherVersion,
            "HM-SRV-0102" => Self::UntrustedTpm,
            "HM-SRV-0103" => Self::UnfitKey,
            "HM-SRV-0105" | "HM-SRV-0110" => Self::NotBound,
            "HM-SRV-0106" => Self::Unproven,
            "HM-SRV-0108" => Self::NotAllowed,
            "HM-SRV-0301" => Self::Pending,
            "HM-SRV-0304" => Self::OtherKey,
            _ => Self::Other,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::OtherVersion => "the server cannot read this machine's evidence",
            Self::UntrustedTpm => "the server does not trust this machine's TPM",
            Self::UnfitKey => "the server does not take a key of this machine",
            Self::NotBound => "the evidence came to the server over another connection than this machine's",
            Self::Unproven => "this machine's evidence does not prove its state to the server",
            Self::NotAllowed => "the server's rules do not allow this machine",
            Self::Pending => "this machine waits for an operator's approval",
            Self::OtherKey => "the server knows this machine by another endorsement key",
            Self::Other => "the server refused this machine",
        }
    }

    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::OtherVersion => "agent and server are of versions that do not fit",
            Self::UntrustedTpm => {
                "no EK root and no inventory line of the server vouches for this TPM, its state went back in time, or another \
                 agent uses it"
            }
            Self::UnfitKey => {
                "something between the agent and the TPM changes keys, or the agent is of another version"
            }
            Self::NotBound => "a proxy between agent and server ends TLS",
            Self::Unproven => "a measurement log does not fit the TPM's registers, or the TPM was reset meanwhile",
            Self::NotAllowed => "a policy or a rule of the server's configuration does not hold",
            Self::Pending => "the server asks for the approval of new machines, and this one has none yet",
            Self::OtherKey => {
                "its TPM has proven another endorsement key before ([tpm] ek_templates was changed), or the inventory says so"
            }
            Self::Other => "the server gives a reason that this agent does not know",
        }
    }

    /// What to do; `node` is the machine's id at the server.
    pub(crate) fn next_step(self, node: &str) -> String {
        match self {
            Self::OtherVersion => "compare hallmark-agent version and hallmark-server version".into(),
            Self::NotBound => {
                "let the agent connect to the server itself, or through a proxy that passes TLS on".into()
            }
            Self::Pending => format!("on the server: hallmark node approve {node}; the agent tries again by itself"),
            Self::UntrustedTpm | Self::UnfitKey | Self::Unproven | Self::NotAllowed | Self::OtherKey | Self::Other => {
                format!("on the server: hallmark record list {node} --kind verdict")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_in_brackets_tells_the_class() {
        let told = |code: &str| Verdict::of(&format!("failed to attest: words (and more) ({code})"));
        assert_eq!(told("HM-SRV-0102"), Verdict::UntrustedTpm);
        assert_eq!(told("HM-SRV-0301"), Verdict::Pending);
        assert_eq!(told("HM-SRV-9999"), Verdict::Other);
        assert_eq!(Verdict::of("malformed param: missing params"), Verdict::Other);
        assert_eq!(Verdict::of(""), Verdict::Other);
    }
}
