//! A recorded boot's events, to be changed: as another boot would have measured them, or as a forger writes them.

use hallmark_evidence::tcg::efi::{EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, UefiVariable};
use hallmark_evidence::tcg::{EventKind, TcgLog};
use hallmark_tpm_wire::HashAlg;

use crate::scene::{Logs, vector};
use crate::writer::Writer;

#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) pcr: u32,
    pub(crate) kind: EventKind,
    pub(crate) digests: Vec<(u16, Vec<u8>)>,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Events {
    banks: Vec<HashAlg>,
    pub(crate) list: Vec<Event>,
}

impl Events {
    pub(crate) fn recorded(name: &str) -> Self {
        let bytes = vector(&format!("{name}/eventlog.bin"));
        let log = TcgLog::parse(&bytes).unwrap();
        // The first event names the banks; the writer makes its own.
        let list = log.events()[1..].iter().map(|event| Event {
            pcr: event.pcr,
            kind: event.kind,
            digests: event
                .digests
                .iter()
                .map(|(bank, digest)| (bank.id(), digest.to_vec()))
                .collect(),
            data: event.data.to_vec(),
        });
        Self {
            banks: log.banks().to_vec(),
            list: list.collect(),
        }
    }

    /// As the log is written.
    pub(crate) fn logs(&self) -> Logs {
        let writer = self.list.iter().fold(Writer::new(&self.banks), |writer, event| {
            writer.with_digests(event.pcr, event.kind, &event.digests, &event.data)
        });
        Logs::firmware(writer.bytes)
    }

    fn measured(&self, pcr: u32, kind: EventKind, data: &[u8]) -> Event {
        Event {
            pcr,
            kind,
            digests: self.banks.iter().map(|bank| (bank.id(), bank.digest(data))).collect(),
            data: data.to_vec(),
        }
    }

    /// Something more is measured, at the end.
    pub(crate) fn then(mut self, pcr: u32, kind: EventKind, data: &[u8]) -> Self {
        let event = self.measured(pcr, kind, data);
        self.list.push(event);
        self
    }

    /// Something more is measured in front of the event at `place`.
    pub(crate) fn before(mut self, place: usize, pcr: u32, kind: EventKind, data: &[u8]) -> Self {
        let event = self.measured(pcr, kind, data);
        self.list.insert(place, event);
        self
    }

    /// This data was measured in that place.
    pub(crate) fn measuring(mut self, place: usize, data: &[u8]) -> Self {
        let event = &self.list[place];
        self.list[place] = self.measured(event.pcr, event.kind, data);
        self
    }

    /// Changes what the log says, whatever was measured.
    pub(crate) fn forged(mut self, place: usize, forge: impl FnOnce(&mut Event)) -> Self {
        forge(&mut self.list[place]);
        self
    }

    /// The first event of which this holds.
    pub(crate) fn place(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.list.iter().position(is).unwrap()
    }

    /// Where the firmware measured this variable.
    pub(crate) fn variable(&self, name: &str) -> usize {
        let is = |event: &Event| UefiVariable::parse(&event.data).is_some_and(|it| it.name == name);
        self.place(|event| event.pcr == 7 && event.kind == EventKind::EFI_VARIABLE_DRIVER_CONFIG && is(event))
    }

    /// The firmware found this in a variable.
    pub(crate) fn setting(self, name: &str, value: &[u8]) -> Self {
        let place = self.variable(name);
        self.measuring(place, &variable(name, value))
    }
}

/// `UEFI_VARIABLE_DATA`.
pub(crate) fn variable(name: &str, data: &[u8]) -> Vec<u8> {
    let guid: [u8; 16] = match name {
        "db" | "dbx" => EFI_IMAGE_SECURITY_DATABASE,
        _ => EFI_GLOBAL_VARIABLE,
    };
    let letters: Vec<u16> = name.encode_utf16().collect();
    [
        &guid[..],
        &u64::try_from(letters.len()).unwrap().to_le_bytes(),
        &u64::try_from(data.len()).unwrap().to_le_bytes(),
        &letters.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>(),
        data,
    ]
    .concat()
}
