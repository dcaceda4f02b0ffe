//! What ties a proof to one challenge, one connection, one key and its logs.

use aws_lc_rs::digest;
use hallmark_tpm_wire::Name;

use crate::log::LogDigest;
#[cfg(doc)]
use crate::log::LogKind;

/// The label that keeps this hash apart from every other.
pub const BINDING_LABEL: &[u8] = b"hallmark tpm2 attestation v1";

/// The label of the TLS exporter (RFC 8446, section 7.5), used without a context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-hallmark-tpm2-attest";

/// The exporter's length in bytes.
pub const EXPORTER_LEN: usize = 32;

/// The qualifying data of both the Certify and the Quote of one attestation.
///
/// SHA-256 over, each with its length in front as 4 big-endian bytes: the label; the server's nonce; the TLS exporter
/// of the connection; the Name of the SVID key; and the boot logs, each as its kind (1 byte), offset (8 bytes,
/// big-endian) and SHA-256, in the order in which they are sent. With no boot logs the last field is empty, length zero.
///
/// The IMA list is left out ([`LogKind::is_bound`]): it grows all the time, so it is read behind the quote, and the
/// register that was quoted proves the lines that are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding;

impl Binding {
    /// Computes the binding.
    ///
    /// The Name is that of the key which the certificate request is for, computed from its public area; it is never
    /// taken from the other side.
    #[must_use]
    pub fn compute(nonce: &[u8; 32], exporter: &[u8; 32], svid_name: &Name, logs: &[LogDigest]) -> [u8; 32] {
        let logs = logs
            .iter()
            .filter(|log| log.kind.is_bound())
            .flat_map(encode)
            .collect::<Vec<u8>>();
        let mut state = digest::Context::new(&digest::SHA256);
        for field in [BINDING_LABEL, nonce, exporter, svid_name.as_bytes(), &logs] {
            // No field reaches 4 GiB: the count of logs is limited.
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            state.update(&length.to_be_bytes());
            state.update(field);
        }
        let mut binding = [0_u8; 32];
        for (slot, byte) in binding.iter_mut().zip(state.finish().as_ref()) {
            *slot = *byte;
        }
        binding
    }
}

fn encode(log: &LogDigest) -> impl Iterator<Item = u8> + use<> {
    [log.kind.number()]
        .into_iter()
        .chain(log.offset.to_be_bytes())
        .chain(log.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, LogKind};

    fn name() -> Name {
        Name::parse(&[&[0x00, 0x0b], [7_u8; 32].as_slice()].concat()).unwrap()
    }

    #[test]
    fn the_binding_without_logs_is_the_hash_of_five_fields() {
        let mut bytes = Vec::new();
        for field in [BINDING_LABEL, &[1; 32], &[2; 32], name().as_bytes(), &[]] {
            bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(field);
        }
        let expected = digest::digest(&digest::SHA256, &bytes);
        assert_eq!(Binding::compute(&[1; 32], &[2; 32], &name(), &[]), expected.as_ref());
    }

    #[test]
    fn every_part_moves_the_binding() {
        let other = Name::parse(&[&[0x00, 0x0b], [8_u8; 32].as_slice()].concat()).unwrap();
        let log = |offset, data: &[u8]| Log::new(LogKind::Tcg, offset, data.to_vec()).unwrap().digest();
        let systemd = Log::new(LogKind::Systemd, 0, b"events".to_vec()).unwrap().digest();
        let all = [
            Binding::compute(&[1; 32], &[2; 32], &name(), &[]),
            Binding::compute(&[3; 32], &[2; 32], &name(), &[]),
            Binding::compute(&[1; 32], &[3; 32], &name(), &[]),
            Binding::compute(&[1; 32], &[2; 32], &other, &[]),
            Binding::compute(&[1; 32], &[2; 32], &name(), &[log(0, b"events")]),
            Binding::compute(&[1; 32], &[2; 32], &name(), &[log(8, b"events")]),
            Binding::compute(&[1; 32], &[2; 32], &name(), &[log(0, b"Events")]),
            Binding::compute(&[1; 32], &[2; 32], &name(), &[systemd]),
            Binding::compute(&[1; 32], &[2; 32], &name(), &[systemd, log(0, b"events")]),
            Binding::compute(&[1; 32], &[2; 32], &name(), &[log(0, b"events"), systemd]),
        ];
        let distinct = all.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), all.len());
        let ima = Log::new(LogKind::Ima, 0, b"lines".to_vec()).unwrap().digest();
        let with_list = Binding::compute(&[1; 32], &[2; 32], &name(), &[log(0, b"events"), ima]);
        assert_eq!(with_list, all[4], "the list that grows is read behind the quote");
    }
}
