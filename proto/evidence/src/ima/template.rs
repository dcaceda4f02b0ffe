//! Templates: which fields a line has.

/// A field of a line (Linux, security/integrity/ima/ima_template.c, `supported_fields`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// `d`: a digest of 20 bytes.
    Digest,
    /// `n`: a name of at most 255 bytes.
    Name,
    /// `d-ng`: `alg:` NUL digest.
    DigestNg,
    /// `d-ngv2`: `ima:alg:` or `verity:alg:`, NUL, digest.
    DigestNgV2,
    /// `n-ng`: a name of any length, with a NUL.
    NameNg,
    /// `sig`: the file's signature; empty without one.
    Signature,
    /// `buf`: the measured buffer itself.
    Buffer,
    /// `d-modsig`: the digest that a signature appended to the file is over.
    ModsigDigest,
    /// `modsig`: the appended signature.
    Modsig,
    /// `evmsig`: the EVM portable signature.
    EvmSignature,
    /// `xattrnames`: names of extended attributes.
    XattrNames,
    /// `xattrlengths`: their lengths.
    XattrLengths,
    /// `xattrvalues`: their values.
    XattrValues,
    /// `iuid`: the file's owner.
    Uid,
    /// `igid`: the file's group.
    Gid,
    /// `imode`: the file's mode.
    Mode,
}

impl Field {
    fn parse(id: &str) -> Option<Self> {
        Some(match id {
            "d" => Self::Digest,
            "n" => Self::Name,
            "d-ng" => Self::DigestNg,
            "d-ngv2" => Self::DigestNgV2,
            "n-ng" => Self::NameNg,
            "sig" => Self::Signature,
            "buf" => Self::Buffer,
            "d-modsig" => Self::ModsigDigest,
            "modsig" => Self::Modsig,
            "evmsig" => Self::EvmSignature,
            "xattrnames" => Self::XattrNames,
            "xattrlengths" => Self::XattrLengths,
            "xattrvalues" => Self::XattrValues,
            "iuid" => Self::Uid,
            "igid" => Self::Gid,
            "imode" => Self::Mode,
            _ => return None,
        })
    }
}

/// A template: a list of fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    name: String,
    fields: Vec<Field>,
}

/// The most fields in one template (`IMA_TEMPLATE_NUM_FIELDS_MAX`).
const MAX_FIELDS: usize = 15;

impl Template {
    /// A template by the name or the format that the list gives; `None` for one that the kernel does not have.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let format = match name {
            "ima" => "d|n",
            "ima-ng" => "d-ng|n-ng",
            "ima-ngv2" => "d-ngv2|n-ng",
            "ima-sig" => "d-ng|n-ng|sig",
            "ima-sigv2" => "d-ngv2|n-ng|sig",
            "ima-buf" => "d-ng|n-ng|buf",
            "ima-modsig" => "d-ng|n-ng|sig|d-modsig|modsig",
            "evm-sig" => "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode",
            // A format of the administrator's (ima_template_fmt=) stands in the list as it was given.
            custom => custom,
        };
        let fields: Vec<Field> = format.split('|').map(Field::parse).collect::<Option<_>>()?;
        (fields.len() <= MAX_FIELDS).then(|| Self {
            name: name.to_owned(),
            fields,
        })
    }

    /// The name as the list gives it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether digest and name stand where all of the kernel's own templates have them, first and second, and nowhere
    /// else. Of another template, what its name calls digest and name may be anything that was hashed.
    #[must_use]
    pub fn leads_with_digest_and_name(&self) -> bool {
        let is_digest = |field: &Field| matches!(field, Field::Digest | Field::DigestNg | Field::DigestNgV2);
        let is_name = |field: &Field| matches!(field, Field::Name | Field::NameNg);
        match self.fields.as_slice() {
            [digest, name, rest @ ..] => {
                is_digest(digest) && is_name(name) && !rest.iter().any(|field| is_digest(field) || is_name(field))
            }
            _ => false,
        }
    }

    /// The oldest template, whose lines have a form of their own.
    pub(super) fn is_original(&self) -> bool {
        self.name == "ima"
    }
}
