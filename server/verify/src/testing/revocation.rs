//! A vendor's revocation lists, also bad ones.

use super::asn1::{bit_string, element, oid, sequence, time, unsigned};
use super::certificate::{ExtensionDraft, VendorCa, oids};
use super::key::SoftwareKey;

/// A revocation list before it is signed.
#[derive(Debug, Clone)]
pub struct RevocationDraft {
    /// The issuer's Name, DER.
    pub issuer: Vec<u8>,
    /// When it was made, Unix seconds.
    pub this_update: i64,
    /// When the next one comes, Unix seconds.
    pub next_update: i64,
    /// The serial numbers that are revoked, big-endian.
    pub revoked: Vec<Vec<u8>>,
    /// The list's own number, big-endian.
    pub number: Vec<u8>,
    /// Extensions beside the number.
    pub extensions: Vec<ExtensionDraft>,
}

impl RevocationDraft {
    /// The first list of the intermediate, good from 2026-11-01 to 2026-12-01; it revokes nothing.
    #[must_use]
    pub fn of_intermediate() -> Self {
        Self {
            issuer: VendorCa::intermediate_name(),
            this_update: 1_793_491_200,
            next_update: 1_796_083_200,
            revoked: Vec::new(),
            number: vec![1],
            extensions: Vec::new(),
        }
    }

    /// The root's, likewise.
    #[must_use]
    pub fn of_root() -> Self {
        Self {
            issuer: VendorCa::root_name(),
            ..Self::of_intermediate()
        }
    }

    /// The list, DER, signed by `key`.
    #[must_use]
    pub fn sign(&self, key: &SoftwareKey) -> Vec<u8> {
        let algorithm = sequence(&[&oid(oids::ECDSA_SHA256)]);
        let entries: Vec<u8> = self
            .revoked
            .iter()
            .flat_map(|serial| sequence(&[&unsigned(serial), &time(self.this_update)]))
            .collect();
        let entries = if entries.is_empty() {
            Vec::new()
        } else {
            element(0x30, &entries)
        };
        let number = ExtensionDraft {
            oid: "2.5.29.20",
            critical: false,
            value: unsigned(&self.number),
        };
        let extensions: Vec<u8> = [number]
            .iter()
            .chain(&self.extensions)
            .flat_map(ExtensionDraft::encode)
            .collect();
        let tbs = sequence(&[
            &unsigned(&[1]),
            &algorithm,
            &self.issuer,
            &time(self.this_update),
            &time(self.next_update),
            &entries,
            &element(0xa0, &element(0x30, &extensions)),
        ]);
        sequence(&[&tbs, &algorithm, &bit_string(&key.sign_x509(&tbs))])
    }
}
