//! Log against quote.

use hallmark_evidence::{
    ima::ImaReplay,
    systemd::SystemdLog,
    tcg::{Replay, TcgLog},
};
use hallmark_tpm_wire::{HashAlg, PcrValues};

use super::{BootError, BootEvent, BootFacts, authorities, compare, logged, secure_boot, stages, user_space};

/// A boot whose log replays to the quoted registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredBoot {
    facts: BootFacts,
    events: Vec<BootEvent>,
}

impl MeasuredBoot {
    /// What is proven of the boot.
    #[must_use]
    pub const fn facts(&self) -> &BootFacts {
        &self.facts
    }

    /// The events of both logs, for people.
    #[must_use]
    pub fn events(&self) -> &[BootEvent] {
        &self.events
    }
}

/// Holds the logs against the values of the quoted registers.
///
/// `values` must be proven by a quote's digest. Every one of them must be what the logs give; registers that the logs do
/// not mention have their reset value. PCR 10 is IMA's.
///
/// # Errors
/// [`BootError`]: a log cannot be read, or does not give the quoted registers.
pub fn measured_boot(
    tcg: Option<&[u8]>,
    systemd: Option<&[u8]>,
    values: &PcrValues,
) -> Result<Option<MeasuredBoot>, BootError> {
    let systemd = systemd.map(SystemdLog::parse).transpose()?;
    // Firmware without a log leaves the kernel a file of no bytes.
    let Some(tcg) = tcg.filter(|log| !log.is_empty()) else {
        // An empty user-space log says nothing, so there is nothing that it would build on.
        let speaks = systemd.is_some_and(|log| !log.records().is_empty());
        return if speaks { Err(BootError::SystemdAlone) } else { Ok(None) };
    };
    let tcg = TcgLog::parse(tcg)?;
    let unlogged = user_space::with_unlogged_phases(&tcg, systemd.as_ref(), values);
    let phases_unlogged = unlogged.is_some();
    let systemd = unlogged.or(systemd);
    require_no_ima(&tcg, systemd.as_ref())?;
    require_quoted(&tcg, systemd.as_ref(), values)?;
    Ok(Some(MeasuredBoot {
        facts: BootFacts {
            phases_unlogged,
            ..facts(&tcg, systemd.as_ref(), values)
        },
        events: logged::short(&tcg, systemd.as_ref()),
    }))
}

fn require_no_ima(tcg: &TcgLog<'_>, systemd: Option<&SystemdLog>) -> Result<(), BootError> {
    let ima = u32::from(ImaReplay::PCR);
    let firmware = tcg
        .events()
        .iter()
        .filter(|event| event.is_measured() && event.pcr == ima)
        .map(|event| event.number);
    let user_space = systemd
        .into_iter()
        .flat_map(SystemdLog::records)
        .filter(|record| u32::from(record.pcr) == ima);
    match firmware.chain(user_space.map(|record| record.number)).next() {
        Some(event) => Err(BootError::Ima { event }),
        None => Ok(()),
    }
}

fn require_quoted(tcg: &TcgLog<'_>, systemd: Option<&SystemdLog>, values: &PcrValues) -> Result<(), BootError> {
    let mut replay = Replay::of(tcg);
    if let Some(systemd) = systemd {
        systemd.extend(&mut replay);
    }
    for (bank, pcr, quoted) in values.iter().filter(|(_, pcr, _)| *pcr != ImaReplay::PCR) {
        let Some(replayed) = replay.value(bank, pcr) else {
            let found: Vec<String> = tcg.banks().iter().map(HashAlg::to_string).collect();
            return Err(BootError::Bank {
                bank: bank.to_string(),
                found: found.join(", "),
            });
        };
        if replayed != quoted {
            let parted = compare(tcg, systemd, bank, pcr, Some(quoted));
            let named = parted
                .first_divergence
                .map(|event| format!("event {} ({} {})", event.number, event.kind, event.description));
            let extra = named.or_else(|| {
                let (first, last) = parted.among?;
                Some(format!("it may be any of its events {first} to {last}"))
            });
            return Err(BootError::Pcr {
                bank: bank.to_string(),
                pcr,
                quoted: hex::encode(quoted),
                replayed: hex::encode(replayed),
                parts_after: parted.parts_after,
                extra,
            });
        }
    }
    Ok(())
}

/// The facts of logs that hold. Only registers that were quoted have any.
fn facts(tcg: &TcgLog<'_>, systemd: Option<&SystemdLog>, values: &PcrValues) -> BootFacts {
    let records = systemd.map_or(0, |log| log.records().len());
    let mut facts = BootFacts {
        event_count: u32::try_from(tcg.events().len().saturating_add(records)).unwrap_or(u32::MAX),
        pcrs: values
            .iter()
            .map(|(bank, pcr, value)| (format!("{bank}:{pcr}"), hex::encode(value)))
            .collect(),
        ..BootFacts::default()
    };
    let quoted = |pcr: u8| values.iter().any(|(bank, other, _)| other == pcr && bank.is_strong());
    // Digests are shown of the SHA-256 bank: a quote over another says nothing of those.
    let digested = |pcr: u8| values.get(HashAlg::Sha256, pcr).is_some();
    let of = |pcr: u8| {
        let events = tcg.events().iter();
        let events: Vec<_> = events
            .filter(|event| event.is_measured() && event.pcr == u32::from(pcr))
            .collect();
        quoted(pcr).then_some(events)
    };
    if let Some(events) = of(7) {
        secure_boot::read(&events, &mut facts);
    }
    for (pcr, events) in (0..16).filter(|pcr| *pcr != 7).filter_map(|pcr| Some((pcr, of(pcr)?))) {
        authorities::read_elsewhere(&events, &mut facts);
        if pcr < 7 {
            secure_boot::read_switched_off(&events, &mut facts);
        }
    }
    stages::read(
        of,
        systemd,
        stages::Quoted {
            text: &quoted,
            digest: &digested,
        },
        &mut facts,
    );
    facts
}
