//! Why a line is none that the rules let pass.

use hallmark_reason::ReasonCode;
use hallmark_verify::ima::SignatureFault;

/// Why a line is none that the rules let pass.
pub(super) enum Offence {
    Unknown,
    Unsigned,
    OtherDigest(String),
    Weak,
    Unclear,
    Buffer,
    UnknownKey([u8; 4]),
    ForeignKey(String),
    BadSignature([u8; 4]),
    Fault(SignatureFault),
}

impl Offence {
    pub(super) fn code(&self) -> ReasonCode {
        match self {
            Self::Unknown => ReasonCode::new("HM-POLICY-0209"),
            Self::OtherDigest(_) => ReasonCode::new("HM-POLICY-0210"),
            Self::Unsigned => ReasonCode::new("HM-POLICY-0211"),
            Self::Weak => ReasonCode::new("HM-POLICY-0212"),
            Self::Unclear => ReasonCode::new("HM-POLICY-0213"),
            Self::Buffer => ReasonCode::new("HM-POLICY-0214"),
            Self::UnknownKey(_) | Self::ForeignKey(_) => ReasonCode::new("HM-POLICY-0215"),
            Self::BadSignature(_) => ReasonCode::new("HM-POLICY-0216"),
            Self::Fault(SignatureFault::WeakHash | SignatureFault::OtherHash) => ReasonCode::new("HM-POLICY-0217"),
            Self::Fault(_) => ReasonCode::new("HM-POLICY-0218"),
        }
    }

    pub(super) fn text(&self) -> String {
        let text = match self {
            Self::Unknown => "a file was measured that no list has",
            Self::OtherDigest(_) => "a listed file was measured with another digest: it was changed",
            Self::Unsigned => "a file was measured that nobody signed",
            Self::Weak => "a file was measured with a digest that another file can have",
            Self::Unclear => "a line's template does not say for sure what was measured",
            Self::Buffer => "the kernel measured something, not a file, that the policy does not name",
            Self::UnknownKey(_) | Self::ForeignKey(_) => {
                "a file was measured that a key signed which is not the policy's"
            }
            Self::BadSignature(_) => "a file was measured with a signature that its key did not make for it",
            Self::Fault(fault) => return format!("a file was measured, and {fault}"),
        };
        text.to_owned()
    }

    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::OtherDigest(listed) => Some(format!("listed with {listed}")),
            Self::UnknownKey(id) | Self::BadSignature(id) => Some(format!("key id {}", crate::selectors::hex(id))),
            Self::ForeignKey(key) => Some(format!("key {key}")),
            _ => None,
        }
    }
}
