//! Why a signed statement does not prove what it must.

use hallmark_reason::ReasonCode;
use hallmark_tpm_wire::WireError;

use crate::refusal::{RefusalClass, Row, coded_by_row, expected};

/// Which statement is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// TPM2_Certify of the SVID key.
    Certify,
    /// TPM2_Quote.
    Quote,
}

impl std::fmt::Display for StatementKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certify => "certification of the SVID key",
            Self::Quote => "quote",
        })
    }
}

/// What is wrong with a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementFault {
    /// Not a well-formed TPMS_ATTEST.
    #[error("is malformed: {0}")]
    Malformed(WireError),
    /// It does not begin with TPM_GENERATED_VALUE.
    #[error("was not made by a TPM")]
    Magic {
        /// What it begins with.
        found: u32,
    },
    /// It is a statement of another type.
    #[error("is a statement of another type")]
    Type {
        /// TPM_ST of the type found.
        found: u16,
    },
    /// The signature is not a well-formed TPMT_SIGNATURE of an accepted algorithm.
    #[error("has a malformed or weak signature: {0}")]
    SignatureForm(WireError),
    /// The signature is of another scheme than the AK's.
    #[error("is signed with another scheme than the AK's")]
    Scheme {
        /// The AK's scheme.
        key: String,
        /// The signature's.
        signature: String,
    },
    /// A number of the signature is out of range.
    #[error("has a signature with a value out of range: {0}")]
    SignatureValue(&'static str),
    /// The signature is not the AK's.
    #[error("is not signed by the AK")]
    Signature,
    /// The signer is no primary key of the endorsement hierarchy.
    #[error("is signed by a key outside the endorsement hierarchy")]
    Signer {
        /// The AK's Qualified Name as endorsement primary.
        expected: String,
        /// The statement's.
        actual: String,
    },
    /// It is bound to another connection, nonce, key or log.
    #[error("is not bound to this connection, nonce and key")]
    NotBound {
        /// The binding of this exchange, hex.
        expected: String,
        /// The statement's, hex.
        actual: String,
    },
    /// Certify: another object was certified.
    #[error("is about another key")]
    OtherKey {
        /// Name of the SVID key.
        expected: String,
        /// The Name that was certified.
        actual: String,
    },
    /// Certify: the key is no primary key of the null hierarchy, so it would still be there after the next boot.
    #[error("is about a key that outlives the boot")]
    OutlivesBoot {
        /// The Qualified Name that such a primary key would have.
        expected: String,
        /// The certified key's Qualified Name.
        actual: String,
    },
    /// Quote: another selection.
    #[error("covers another PCR selection")]
    Selection {
        /// What was asked for.
        expected: String,
        /// What was quoted.
        actual: String,
    },
    /// Quote: a value was supplied that no signature covers.
    #[error("does not cover a PCR whose value was supplied beside it")]
    Unquoted {
        /// The bank.
        bank: &'static str,
        /// The register.
        pcr: u8,
    },
    /// Quote: a quoted register's value was not supplied.
    #[error("covers a PCR whose value was not supplied")]
    NoValue {
        /// The bank.
        bank: &'static str,
        /// The register.
        pcr: u8,
    },
    /// Quote: the supplied values are not the quoted ones.
    #[error("does not match the supplied PCR values")]
    Digest {
        /// Digest over the supplied values, hex.
        supplied: String,
        /// The quoted digest, hex.
        quoted: String,
    },
    /// Quote: no log of a file gives the quoted values.
    #[error("covers PCR values that the given logs do not lead to")]
    Unreplayed {
        /// The quoted digest, hex.
        quoted: String,
    },
    /// Quote: nothing was ever measured into the bank.
    #[error("is over a PCR bank that the firmware did not extend")]
    Unextended {
        /// The bank.
        bank: String,
    },
    /// The two statements were made in different boots.
    #[error("is of another boot than the certification")]
    OtherBoot {
        /// The certification's resetCount, restartCount and firmwareVersion.
        certified: String,
        /// The quote's.
        quoted: String,
    },
}

/// A signed statement does not prove what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} {fault}")]
pub struct StatementError {
    /// Which statement.
    pub kind: StatementKind,
    /// What is wrong with it.
    pub fault: StatementFault,
}

impl StatementError {
    pub(crate) fn row(&self) -> Row {
        let class = match &self.fault {
            StatementFault::Malformed(_) | StatementFault::SignatureForm(_) => RefusalClass::Malformed,
            StatementFault::NotBound { .. } => RefusalClass::NotBound,
            _ => RefusalClass::UnprovenStatement,
        };
        Row::new(self.code_of(), class, self.both_values())
    }

    fn both_values(&self) -> Option<String> {
        match &self.fault {
            StatementFault::Magic { found } => expected("0xff544347", format!("0x{found:08x}")),
            StatementFault::Type { found } => {
                let wanted = match self.kind {
                    StatementKind::Certify => "0x8017",
                    StatementKind::Quote => "0x8018",
                };
                expected(wanted, format!("0x{found:04x}"))
            }
            StatementFault::Scheme { key, signature } => expected(key, signature),
            StatementFault::Signer {
                expected: wanted,
                actual,
            }
            | StatementFault::NotBound {
                expected: wanted,
                actual,
            }
            | StatementFault::OtherKey {
                expected: wanted,
                actual,
            }
            | StatementFault::OutlivesBoot {
                expected: wanted,
                actual,
            }
            | StatementFault::Selection {
                expected: wanted,
                actual,
            } => expected(wanted, actual),
            StatementFault::Unquoted { bank, pcr } | StatementFault::NoValue { bank, pcr } => {
                expected("exactly the selected registers", format!("{bank}:{pcr}"))
            }
            StatementFault::Digest { supplied, quoted } => Some(format!("values give {supplied}, quoted {quoted}")),
            StatementFault::Unextended { bank } => expected("a measured boot", format!("reset values in {bank}")),
            StatementFault::Unreplayed { quoted } => Some(format!("quoted {quoted}")),
            StatementFault::OtherBoot { certified, quoted } => Some(format!("certified {certified}, quoted {quoted}")),
            StatementFault::Malformed(_)
            | StatementFault::SignatureForm(_)
            | StatementFault::SignatureValue(_)
            | StatementFault::Signature => None,
        }
    }

    fn code_of(&self) -> ReasonCode {
        match self.kind {
            StatementKind::Certify => self.certify_code(),
            StatementKind::Quote => self.quote_code(),
        }
    }

    const fn certify_code(&self) -> ReasonCode {
        match &self.fault {
            StatementFault::Magic { .. } => ReasonCode::new("HM-VERIFY-0402"),
            StatementFault::Type { .. } => ReasonCode::new("HM-VERIFY-0403"),
            StatementFault::SignatureForm(_) => ReasonCode::new("HM-VERIFY-0404"),
            StatementFault::Scheme { .. } => ReasonCode::new("HM-VERIFY-0405"),
            StatementFault::SignatureValue(_) => ReasonCode::new("HM-VERIFY-0406"),
            StatementFault::Signature => ReasonCode::new("HM-VERIFY-0407"),
            StatementFault::Signer { .. } => ReasonCode::new("HM-VERIFY-0408"),
            StatementFault::NotBound { .. } => ReasonCode::new("HM-VERIFY-0409"),
            StatementFault::OtherKey { .. } => ReasonCode::new("HM-VERIFY-0410"),
            StatementFault::OutlivesBoot { .. } => ReasonCode::new("HM-VERIFY-0411"),
            _ => ReasonCode::new("HM-VERIFY-0401"),
        }
    }

    const fn quote_code(&self) -> ReasonCode {
        match &self.fault {
            StatementFault::Magic { .. } => ReasonCode::new("HM-VERIFY-0502"),
            StatementFault::Type { .. } => ReasonCode::new("HM-VERIFY-0503"),
            StatementFault::SignatureForm(_) => ReasonCode::new("HM-VERIFY-0504"),
            StatementFault::Scheme { .. } => ReasonCode::new("HM-VERIFY-0505"),
            StatementFault::SignatureValue(_) => ReasonCode::new("HM-VERIFY-0506"),
            StatementFault::Signature => ReasonCode::new("HM-VERIFY-0507"),
            StatementFault::Signer { .. } => ReasonCode::new("HM-VERIFY-0508"),
            StatementFault::NotBound { .. } => ReasonCode::new("HM-VERIFY-0509"),
            StatementFault::Selection { .. } => ReasonCode::new("HM-VERIFY-0510"),
            StatementFault::Unquoted { .. } => ReasonCode::new("HM-VERIFY-0511"),
            StatementFault::NoValue { .. } => ReasonCode::new("HM-VERIFY-0512"),
            StatementFault::Digest { .. } => ReasonCode::new("HM-VERIFY-0513"),
            StatementFault::Unextended { .. } => ReasonCode::new("HM-VERIFY-0514"),
            StatementFault::OtherBoot { .. } => ReasonCode::new("HM-VERIFY-0515"),
            StatementFault::Unreplayed { .. } => ReasonCode::new("HM-VERIFY-0516"),
            _ => ReasonCode::new("HM-VERIFY-0501"),
        }
    }
}

coded_by_row!(StatementError);
