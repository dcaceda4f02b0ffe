//! What kind of TPM a certificate is about.

use super::attributes::TpmAttributes;

/// The kind of TPM, from certificate facts alone. It says how the TPM is built, not that it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TpmClass {
    /// A chip of its own.
    Discrete,
    /// Firmware inside the CPU or chipset (Intel PTT, AMD fTPM, Qualcomm, Microsoft Pluton).
    Firmware,
    /// Part of a cloud or hypervisor vendor's platform.
    Virtual,
    /// A software TPM for development; whoever runs it can copy its keys.
    Simulator,
    /// No verified certificate says anything; the EK was enrolled by the inventory.
    Unknown,
}

impl TpmClass {
    /// Lower-case name, as in configuration and selectors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Firmware => "firmware",
            Self::Virtual => "virtual",
            Self::Simulator => "simulator",
            Self::Unknown => "unknown",
        }
    }

    /// The class of a name that [`as_str`](Self::as_str) gives; `None` for any other.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Discrete,
            Self::Firmware,
            Self::Virtual,
            Self::Simulator,
            Self::Unknown,
        ]
        .into_iter()
        .find(|class| class.as_str() == name)
    }
}

impl std::fmt::Display for TpmClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// TCG vendor ids of simulators: IBM's and Microsoft's reference code, and swtpm's default (IBM's PCI id).
const SIMULATORS: [&str; 4] = ["00001014", "49424D00", "49424D20", "58595A5A"];
/// Intel, AMD, Qualcomm, Samsung's and Huawei's firmware TPMs are named by their CPU vendors.
const FIRMWARE: [&str; 5] = ["494E5443", "414D4400", "414D4420", "51434F4D", "48495349"];
/// Google Compute Engine, Amazon, VMware, Alibaba, and Nitro's spelling.
const VIRTUAL: [&str; 5] = ["474F4F47", "414D5A4E", "564D5700", "564D5720", "414C4942"];
/// Microsoft makes both virtual TPMs (Hyper-V, Azure) and firmware ones (Pluton).
const MICROSOFT: &str = "4D534654";

/// Judges by manufacturer id, then model and issuer where a manufacturer makes several kinds.
///
/// A simulator is recognised first and by any of its marks, since that is the class with the least trust.
pub(crate) fn classify(attributes: &TpmAttributes, issuer: &str) -> TpmClass {
    let vendor = attributes
        .manufacturer
        .strip_prefix("id:")
        .unwrap_or(&attributes.manufacturer)
        .to_ascii_uppercase();
    let vendor = vendor.as_str();
    let model = attributes.model.to_ascii_lowercase();
    let issuer = issuer.to_ascii_lowercase();
    if SIMULATORS.contains(&vendor)
        || ["swtpm", "simulator"]
            .iter()
            .any(|mark| model.contains(mark) || issuer.contains(mark))
    {
        return TpmClass::Simulator;
    }
    if vendor == MICROSOFT {
        let pluton = model.contains("pluton") || issuer.contains("pluton");
        return if pluton { TpmClass::Firmware } else { TpmClass::Virtual };
    }
    if FIRMWARE.contains(&vendor) {
        TpmClass::Firmware
    } else if VIRTUAL.contains(&vendor) || ["aliyun", "alibaba"].iter().any(|mark| issuer.contains(mark)) {
        TpmClass::Virtual
    } else {
        TpmClass::Discrete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_have_their_class() {
        for (manufacturer, model, issuer, class) in [
            ("id:00001014", "swtpm", "CN=swtpm-localca", TpmClass::Simulator),
            ("id:49424d00", "SW TPM", "CN=x", TpmClass::Simulator),
            ("id:49465800", "swtpm", "CN=x", TpmClass::Simulator),
            ("id:494E5443", "ADL", "CN=Intel", TpmClass::Firmware),
            ("id:414D4400", "AMD", "CN=AMDTPM", TpmClass::Firmware),
            ("id:4D534654", "Pluton", "CN=x", TpmClass::Firmware),
            ("id:4D534654", "vTPM", "CN=Azure Virtual TPM CA - 03", TpmClass::Virtual),
            ("id:474F4F47", "vTPM", "O=Google LLC", TpmClass::Virtual),
            ("id:12345678", "vTPM", "CN=Aliyun TPM EKMF CA", TpmClass::Virtual),
            ("id:49465800", "SLB9670", "CN=Infineon", TpmClass::Discrete),
            ("id:53544D20", "ST33", "CN=STM", TpmClass::Discrete),
        ] {
            let attributes = TpmAttributes {
                manufacturer: manufacturer.into(),
                model: model.into(),
                version: "id:1".into(),
            };
            assert_eq!(classify(&attributes, issuer), class, "{manufacturer} {model} {issuer}");
        }
    }

    #[test]
    fn names_go_round() {
        for name in ["discrete", "firmware", "virtual", "simulator", "unknown"] {
            assert_eq!(TpmClass::from_name(name).map(TpmClass::as_str), Some(name));
        }
        assert_eq!(TpmClass::from_name("Discrete"), None);
    }
}
