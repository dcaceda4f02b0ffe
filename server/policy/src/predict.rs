//! What a machine that boots an image will measure, computed when the image is built.
//!
//! Predicted are the registers that hang on images and keys alone, in the SHA-256 bank: PCR 4 (images), 7 (Secure Boot),
//! 9 (command line and initrd, as Linux measures them), 11 (the image's sections, as systemd-stub measures them, and
//! the phases of the boot) and, behind systemd-boot, 12 (what it hands over to the image). What cannot be known of a register leaves it out, with the reason: a baseline that guesses
//! would lock machines out.
//!
//! Assumed is firmware that boots the first image by a boot entry, with no attempt before it but those that are said, and
//! measures as the TCG PC Client Platform Firmware Profile says and EDK II does.

mod error;
mod events;
mod forecast;
#[cfg(test)]
mod golden;
mod pe;
mod phase;
mod secure_boot;
mod signature;
mod uki;
mod variables;

pub use error::PredictError;
pub use forecast::{Forecast, LeftOut};
pub use pe::MAX_IMAGE;
pub use phase::Phase;
pub use variables::MAX_VARIABLES;

use std::collections::BTreeSet;

use self::forecast::Parts;
use self::pe::PeImage;
use self::uki::{Uki, version_of};
use self::variables::Variables;

/// From what a boot is predicted.
#[derive(Debug, Clone, Default)]
pub struct Inputs<'a> {
    /// The unified kernel image.
    pub uki: &'a [u8],
    /// Images that the firmware starts before it, in their order: their names, for errors, and bytes.
    pub earlier_images: Vec<(String, &'a [u8])>,
    /// The machine's firmware variables: an `OVMF_VARS.fd`, or what `virt-fw-vars --output-json` writes of one.
    pub firmware_variables: Option<&'a [u8]>,
    /// Whether Secure Boot is on; what the variables say, if `None`.
    pub secure_boot: Option<bool>,
    /// Boot entries that the firmware tries in vain before, at most.
    pub failed_entries: u8,
    /// The phases of the boot in which a machine may be quoted; [`Phase::Ready`], if empty.
    pub phases: BTreeSet<Phase>,
}

/// Predicts a boot.
///
/// # Errors
/// [`PredictError`] when an image or the variables cannot be read, or no machine would boot so: firmware refuses an image,
/// or the variables do not give the state of Secure Boot that was said.
pub fn predict(inputs: &Inputs<'_>) -> Result<Forecast, PredictError> {
    let image = PeImage::parse("the unified kernel image", inputs.uki)?;
    let uki = Uki::of(&image)?;
    let named = inputs.earlier_images.iter();
    let earlier = named.map(|(name, bytes)| Ok((name.as_str(), PeImage::parse(name, bytes)?)));
    let earlier = earlier.collect::<Result<Vec<_>, PredictError>>()?;
    let variables = inputs.firmware_variables.map(Variables::parse).transpose()?;
    let secure_boot = secure_boot::state(inputs.secure_boot, variables.as_ref())?;
    let mut images: Vec<_> = earlier.iter().map(|(name, image)| (*name, image)).collect();
    images.push(("the unified kernel image", &image));
    let mut loader = None;
    for (_, image) in &earlier {
        loader = version_of(image, "systemd-boot ")?.or(loader);
    }
    let keys = secure_boot::events(variables.as_ref(), secure_boot, &images)?;
    let phases = match inputs.phases.is_empty() {
        true => [Phase::Ready].into(),
        false => inputs.phases.clone(),
    };
    let parts = Parts {
        earlier: earlier.iter().map(|(name, it)| (*name, it.authenticode)).collect(),
        shim: earlier.iter().any(|(_, image)| image.is_shim),
        loader,
        uki,
        secure_boot,
        failed_entries: inputs.failed_entries,
        keys,
        phases,
    };
    Ok(parts.forecast(inputs))
}
