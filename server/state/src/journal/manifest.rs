//! What rules and trust are made of.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use hallmark_verify::Trust;

use super::encoding::line_bytes;

/// The parts that decide verdicts (the configuration's rules, files, anchors, lists), each by its name and its SHA-256. Rules
/// or trust with the same parts are the same; of others it tells which part differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(Arc<BTreeMap<String, [u8; 32]>>);

impl Manifest {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = (String, [u8; 32])>) -> Self {
        Self(Arc::new(parts.into_iter().collect()))
    }

    /// Of trust anchors, revocation lists, the configured inventory, and what they mean.
    #[must_use]
    pub fn of_trust(trust: &Trust) -> Self {
        let named = |kind: &str, name: &str, digest: [u8; 32]| {
            let [a, b, c, d, ..] = digest;
            // Two of one subject or issuer have different names.
            (format!("{kind} {name} ({a:02x}{b:02x}{c:02x}{d:02x})"), digest)
        };
        let roots = trust
            .roots
            .certificates()
            .map(|(subject, der)| named("root", subject, sha256(der)));
        let lists = trust.revocation.digests();
        let lists = lists.map(|(issuer, digest)| named("revocation list", issuer, *digest));
        let inventory: Vec<u8> = trust.inventory.iter().flat_map(|line| line_bytes(line)).collect();
        let (required, grace) = (trust.revocation.required, trust.revocation.grace.as_secs());
        let settings = format!("{:?} {:?} {required} {grace}", trust.ek_templates, trust.expired);
        let others = [
            ("inventory".to_owned(), sha256(&inventory)),
            ("settings".to_owned(), sha256(settings.as_bytes())),
        ];
        Self::new(roots.chain(lists).chain(others))
    }

    /// The parts, by name.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &[u8; 32])> {
        self.0.iter().map(|(name, sha256)| (name.as_str(), sha256))
    }

    /// What tells it from others: SHA-256 over the length of each name (8 bytes, big-endian), the name and the part's SHA-256.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        for (name, sha256) in self.parts() {
            context.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(name.as_bytes());
            context.update(sha256);
        }
        finish(context)
    }

    /// The names of the parts that differ from `other`'s, or that only one of them has.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut names: Vec<String> = names
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The SHA-256 of a body.
#[must_use]
pub fn sha256(body: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(body);
    finish(context)
}

fn finish(context: Context) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
