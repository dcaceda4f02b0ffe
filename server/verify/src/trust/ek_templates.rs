//! Which endorsement keys count.
//!
//! A TPM has as many endorsement keys as the TCG EK Credential Profile has templates, and may have a certificate for each.
//! A machine is known by its endorsement key, so one template is to count for each TPM: with two it has two names.

use std::collections::BTreeMap;

use hallmark_node::Maker;
use hallmark_tpm_wire::PublicArea;
use hallmark_tpm_wire::templates::{EkTemplate, ek_template_named, ek_template_of};

/// The templates whose endorsement keys count, of every manufacturer or of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EkTemplates {
    usual: Vec<&'static EkTemplate>,
    /// By manufacturer.
    special: BTreeMap<Maker, Vec<&'static EkTemplate>>,
}

impl Default for EkTemplates {
    /// RSA-2048 after L-1 alone: nearly every TPM has a certificate for it.
    fn default() -> Self {
        Self::new(ek_template_named("rsa-2048-l1").into_iter().collect())
    }
}

impl EkTemplates {
    /// These templates count; with none, no endorsement key does.
    #[must_use]
    pub const fn new(usual: Vec<&'static EkTemplate>) -> Self {
        Self {
            usual,
            special: BTreeMap::new(),
        }
    }

    /// For TPMs of `manufacturer`, as EK certificates name it (`id:49465800`), these templates count instead.
    #[must_use]
    pub fn with(mut self, manufacturer: Maker, templates: Vec<&'static EkTemplate>) -> Self {
        self.special.insert(manufacturer, templates);
        self
    }

    /// The template of an endorsement key, if it counts. `makers` are the names of the TPM's manufacturer that are known:
    /// it must count for each of them, and where none is known for every manufacturer. So a machine gains nothing by not
    /// telling its manufacturer.
    ///
    /// # Errors
    /// The names of the template that the key has, and of those that count.
    pub(crate) fn require(&self, key: &PublicArea, makers: &[&Maker]) -> Result<&'static EkTemplate, OtherTemplate> {
        let found = ek_template_of(key);
        let lists: Vec<&Vec<_>> = if makers.is_empty() {
            std::iter::once(&self.usual).chain(self.special.values()).collect()
        } else {
            let of = |maker: &&Maker| self.special.get(*maker).unwrap_or(&self.usual);
            makers.iter().map(of).collect()
        };
        let counts = |template: &&EkTemplate| lists.iter().all(|list| list.contains(template));
        found.filter(counts).ok_or_else(|| {
            let counting = self.usual.iter().chain(self.special.values().flatten()).copied();
            let mut names: Vec<_> = counting.filter(counts).map(|template| template.name).collect();
            names.sort_unstable();
            names.dedup();
            OtherTemplate {
                counting: names.join(" or "),
                found: found.map_or("none of the profile's", |template| template.name),
            }
        })
    }
}

/// An endorsement key of a template that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherTemplate {
    pub(crate) counting: String,
    pub(crate) found: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_tpm_wire::templates::{EK_TEMPLATES, Unique};

    fn named(name: &str) -> Vec<&'static EkTemplate> {
        vec![ek_template_named(name).unwrap()]
    }

    /// An endorsement key of a template: a modulus, or the generator of P-256 for a point.
    fn key(name: &str) -> PublicArea {
        let template = ek_template_named(name).unwrap().template;
        if name.starts_with("rsa") {
            return PublicArea::parse(&template.marshal(Unique::Bytes(&[0xc1; 256]))).unwrap();
        }
        let point = [
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        ];
        let mut area = template.marshal(Unique::Empty);
        area.truncate(area.len() - 4);
        for coordinate in point {
            area.extend([0, 32]);
            area.extend((0..32).map(|at| u8::from_str_radix(&coordinate[2 * at..2 * at + 2], 16).unwrap()));
        }
        PublicArea::parse(&area).unwrap()
    }

    #[test]
    fn rsa_of_the_low_range_alone_counts_by_itself() {
        let templates = EkTemplates::default();
        for template in &EK_TEMPLATES[..4] {
            let counts = templates.require(&key(template.name), &[&"id:49465800".into()]);
            assert_eq!(counts.is_ok(), template.name == "rsa-2048-l1", "{}", template.name);
        }
        let refused = templates.require(&key("ecc-p256-l2"), &[]).unwrap_err();
        assert_eq!(
            (refused.counting.as_str(), refused.found),
            ("rsa-2048-l1", "ecc-p256-l2")
        );
    }

    #[test]
    fn a_manufacturer_may_have_another() {
        let templates = EkTemplates::default().with("id:53544D20".into(), named("ecc-p256-l2"));
        let (rsa, ecc) = (key("rsa-2048-l1"), key("ecc-p256-l2"));
        for (key, makers, counts) in [
            (&rsa, &["id:49465800"][..], true),
            (&ecc, &["id:49465800"], false),
            (&rsa, &["id:53544d20"], false),
            (&ecc, &["id:53544d20"], true),
            // Two that differ: the certificate's and the inventory's.
            (&ecc, &["id:53544D20", "id:49465800"], false),
            (&rsa, &["id:53544D20", "id:49465800"], false),
            // Not known: what counts for all, and that is none.
            (&rsa, &[], false),
            (&ecc, &[], false),
        ] {
            let makers: Vec<Maker> = makers.iter().map(|maker| (*maker).into()).collect();
            let makers: Vec<&Maker> = makers.iter().collect();
            assert_eq!(templates.require(key, &makers).is_ok(), counts, "{makers:?}");
        }
        let both = EkTemplates::new([named("rsa-2048-l1"), named("ecc-p256-l2")].concat())
            .with("id:53544D20".into(), named("ecc-p256-l2"));
        assert!(both.require(&ecc, &[]).is_ok() && both.require(&rsa, &[]).is_err());
    }
}
