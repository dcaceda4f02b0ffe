//! What the TPM says about itself, for `doctor`.

use tss_esapi::constants::PropertyTag;

use super::{EsysTpm, Fault, op};
use crate::port::Properties;

impl EsysTpm {
    pub(super) fn read_properties(&mut self) -> Result<Properties, Fault> {
        let manufacturer = self.property(PropertyTag::Manufacturer)?.unwrap_or_default();
        let major = self.property(PropertyTag::FirmwareVersion1)?.unwrap_or_default();
        let minor = self.property(PropertyTag::FirmwareVersion2)?.unwrap_or_default();
        Ok(Properties {
            manufacturer: manufacturer
                .to_be_bytes()
                .into_iter()
                .filter(|byte| byte.is_ascii_graphic() || *byte == b' ')
                .map(char::from)
                .collect::<String>()
                .trim()
                .to_owned(),
            firmware: u64::from(major) << 32 | u64::from(minor),
            transient_available: self.property(PropertyTag::HrTransientAvail)?,
            lockout_counter: self.property(PropertyTag::LockoutCounter)?,
        })
    }

    fn property(&mut self, tag: PropertyTag) -> Result<Option<u32>, Fault> {
        self.run(op("TPM2_GetCapability", "owner"), |context| {
            context.get_tpm_property(tag)
        })
    }
}
