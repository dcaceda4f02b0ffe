//! What kind of TPM a certificate is about.

use hallmark_node::TpmClass;

use super::attributes::TpmAttributes;

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
    let maker = attributes.manufacturer.as_str();
    let vendor = maker.strip_prefix("id:").unwrap_or(maker).to_ascii_uppercase();
    let vendor = vendor.as_str();
    let model = attributes.model.as_str().to_ascii_lowercase();
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
}
