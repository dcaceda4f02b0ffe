//! Parts of a boot put together.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_verify::boot::BootFacts;
use serde::Serialize;

use super::events::{Event, IMAGE, hex, register};
use super::pe::{Digest, sha256};
use super::uki::Uki;
use super::{Inputs, Phase};
use crate::baseline::{Baseline, BaselineError, Prediction};
use crate::facts::BootRecord;

/// The systemd-boot of which it is known what it hands over to an image: that of Debian 12, as a machine measured it.
const KNOWN_LOADER: u32 = 252;

/// What is predicted of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Good values by register, as `sha256:11`; several where a register may have one or the other.
    pub registers: BTreeMap<String, BTreeSet<String>>,
    /// Registers of which nothing is predicted, and why.
    pub left_out: Vec<LeftOut>,
    /// Whether Secure Boot is on; `None` if nothing says so.
    pub secure_boot: Option<bool>,
    /// The version of the image's stub: systemd's.
    pub stub: u32,
    /// From what it was computed.
    pub inputs: Prediction,
    /// The boots that give these values.
    #[serde(skip)]
    boots: Vec<BootRecord>,
}

/// A register of which nothing is predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The register.
    pub pcr: u8,
    /// Why.
    pub why: String,
}

impl Forecast {
    /// The forecast as a baseline.
    ///
    /// # Errors
    /// [`BaselineError`] when the name is none, or nothing is predicted.
    pub fn baseline(self, name: &str, serial: u64, created_at: i64) -> Result<Baseline, BaselineError> {
        Baseline::predicted(name, serial, created_at, self.inputs, self.registers, self.boots)
    }
}

/// Parts of a boot.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// Names and Authenticode hashes of images that start before the unified kernel image.
    pub(super) earlier: Vec<(&'a str, Digest)>,
    /// One of them is shim.
    pub(super) shim: bool,
    /// The version of the systemd-boot among them.
    pub(super) loader: Option<u32>,
    pub(super) uki: Uki,
    pub(super) secure_boot: Option<bool>,
    /// How many boot entries are tried before, in vain, at most.
    pub(super) failed_entries: u8,
    /// PCR 7's events, or why they are not known.
    pub(super) keys: Result<Vec<Event>, String>,
    pub(super) phases: BTreeSet<Phase>,
}

impl Parts<'_> {
    pub(super) fn forecast(&self, inputs: &Inputs<'_>) -> Forecast {
        let mut forecast = Forecast {
            registers: BTreeMap::new(),
            left_out: Vec::new(),
            secure_boot: self.secure_boot,
            stub: self.uki.stub,
            inputs: prediction(inputs),
            boots: Vec::new(),
        };
        let (keys, loaded, options) = (self.keys.clone(), self.loaded(), self.options());
        for images in self.images() {
            for phase in &self.phases {
                let sections = self.sections(*phase);
                let others = [&keys, &sections, &loaded];
                forecast
                    .boots
                    .push(self.record(&images, *phase, others, options.as_ref()));
                forecast.take(11, sections);
            }
            forecast.take(4, Ok(images));
        }
        forecast.take(7, keys);
        forecast.take(9, loaded);
        if let Some(options) = options {
            forecast.take(12, options);
        }
        forecast.left_out.sort_by_key(|left_out| left_out.pcr);
        forecast
    }

    /// Whether firmware measures the kernel inside the image; both where it hangs on the machine.
    ///
    /// A stub before 258 starts it by `LoadImage`, which measures it. With Secure Boot such a stub puts itself between,
    /// so that firmware does not see it, except where firmware (or a recent shim) does not let it. A newer stub does
    /// without `LoadImage`, unless shim has a say.
    fn kernel_is_measured(&self) -> Vec<bool> {
        match (self.uki.stub, self.secure_boot) {
            (..258, Some(false)) => vec![true],
            (..258, _) => vec![false, true],
            (_, Some(false)) => vec![false],
            _ if self.shim => vec![false, true],
            _ => vec![false],
        }
    }

    /// PCR 4, in each way in which it may come about.
    fn images(&self) -> Vec<Vec<Event>> {
        let kernels = self.kernel_is_measured().into_iter();
        let ways = kernels.flat_map(|kernel| (0..=self.failed_entries).map(move |failed| (kernel, failed)));
        ways.map(|(kernel, failed)| self.images_after(failed, kernel)).collect()
    }

    /// PCR 4 after so many boot entries that were tried in vain.
    fn images_after(&self, failed: u8, kernel: bool) -> Vec<Event> {
        let action = |action: &str| Event::over(4, "EV_EFI_ACTION", action.as_bytes(), action);
        let (calling, returning) = (
            "Calling EFI Application from Boot Option",
            "Returning from EFI Application from Boot Option",
        );
        let mut events = vec![action(calling), Event::separator(4)];
        for _ in 0..failed {
            events.extend([action(returning), action(calling)]);
        }
        let image = |digest, text: &str| Event::of(4, IMAGE, digest, text);
        events.extend(self.earlier.iter().map(|(name, digest)| image(*digest, name)));
        events.push(image(self.uki.authenticode, "the unified kernel image"));
        if kernel {
            events.push(image(self.uki.kernel, "the kernel in the unified kernel image"));
        }
        events
    }

    /// PCR 11.
    fn sections(&self, phase: Phase) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for (name, digest) in self.uki.measured.as_ref()? {
            let terminated = [name.as_bytes(), &[0]].concat();
            events.push(Event::of(11, "EV_IPL", sha256(&terminated), format!("the name {name}")));
            events.push(Event::of(11, "EV_IPL", *digest, format!("the section {name}")));
        }
        let phases = phase.words();
        events.extend(phases.map(|word| Event::over(11, "EV_IPL", word.as_bytes(), format!("the phase {word}"))));
        Ok(events)
    }

    /// PCR 9.
    fn loaded(&self) -> Result<Vec<Event>, String> {
        let line = self.uki.command_line.as_ref()?;
        let initrd = self.uki.initrd.as_ref()?;
        let text = format!("the kernel's command line {line:?}");
        Ok(vec![
            Event::of(9, "EV_EVENT_TAG", line_digest(line), text),
            Event::of(9, "EV_EVENT_TAG", *initrd, "the initrd"),
        ])
    }

    /// PCR 12, where systemd-boot starts the image: it hands over the image's own command line as options, and measures it.
    /// Started by the firmware, the image gets no options but those of the boot entry; that there are none is assumed.
    fn options(&self) -> Option<Result<Vec<Event>, String>> {
        let version = self.loader?;
        if version != KNOWN_LOADER {
            return Some(Err(format!(
                "what systemd-boot {version} hands over to the image is not known; known is {KNOWN_LOADER}"
            )));
        }
        let event = |line: String| {
            let text = format!("the image's command line, handed over by systemd-boot: {line:?}");
            vec![Event::of(12, "EV_IPL", line_digest(&line), text)]
        };
        Some(self.uki.command_line.clone().map(event))
    }

    /// The boot as a machine's log would tell it, as far as it is known.
    fn record(
        &self,
        images: &[Event],
        phase: Phase,
        others: [&Result<Vec<Event>, String>; 3],
        options: Option<&Result<Vec<Event>, String>>,
    ) -> BootRecord {
        let facts = BootFacts {
            secure_boot: self.secure_boot,
            uki_sections: self
                .uki
                .measured
                .iter()
                .flatten()
                .map(|(name, it)| ((*name).to_owned(), hex(it)))
                .collect(),
            phases: phase.words().map(str::to_owned).collect(),
            command_line: self.loaded().and(self.uki.command_line.clone()).ok(),
            ..BootFacts::default()
        };
        let others = others.into_iter().chain(options).flatten().flatten();
        let events = others.chain(images);
        BootRecord {
            facts,
            events: events
                .enumerate()
                .map(|(number, event)| event.numbered(number))
                .collect(),
        }
    }
}

/// The digest of a command line, as kernels, stubs and boot loaders measure it: UTF-16 with a terminating zero.
fn line_digest(line: &str) -> Digest {
    let utf16: Vec<u8> = line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    sha256(&utf16)
}

impl Forecast {
    /// Adds a value of a register, or says why there is none.
    fn take(&mut self, pcr: u8, events: Result<Vec<Event>, String>) {
        match events {
            Ok(events) => {
                let values = self.registers.entry(format!("sha256:{pcr}")).or_default();
                values.insert(register(&events));
            }
            Err(_) if self.left_out.iter().any(|left_out| left_out.pcr == pcr) => {}
            Err(why) => self.left_out.push(LeftOut { pcr, why }),
        }
    }
}

fn prediction(inputs: &Inputs<'_>) -> Prediction {
    let digest = |bytes: &[u8]| hex(&sha256(bytes));
    Prediction {
        uki_sha256: digest(inputs.uki),
        firmware_variables_sha256: inputs.firmware_variables.map(digest),
        earlier_images_sha256: inputs.earlier_images.iter().map(|(_, bytes)| digest(bytes)).collect(),
    }
}
