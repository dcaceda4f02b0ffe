//! Object attributes (part 2, section 8.3, table "TPMA_OBJECT").

use crate::error::WireError;

/// `TPMA_OBJECT`: what may be done with an object, and where it may go. Reserved bits are never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectAttributes(u32);

impl ObjectAttributes {
    /// The object can not leave its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// Saved contexts of the object do not survive a TPM reset.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The object can not leave its parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM itself generated the sensitive part.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// User-role actions may be authorised with the auth value.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Admin-role actions need a policy.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// The object only has a firmware-limited lifetime (revision 1.83).
    pub const FIRMWARE_LIMITED: Self = Self(1 << 8);
    /// The object is limited to this firmware's security version number (revision 1.83).
    pub const SVN_LIMITED: Self = Self(1 << 9);
    /// Not subject to dictionary-attack protection.
    pub const NO_DA: Self = Self(1 << 10);
    /// Duplication must be encrypted.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// Only works on data of known format: a restricted signing key signs no data that could pass for the TPM's own.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// May decrypt.
    pub const DECRYPT: Self = Self(1 << 17);
    /// May sign (or, for a symmetric key, encrypt).
    pub const SIGN: Self = Self(1 << 18);
    /// An asymmetric key that signs certificates only, with TPM2_CertifyX509.
    pub const X509_SIGN: Self = Self(1 << 19);

    const NAMES: [(Self, &'static str); 14] = [
        (Self::FIXED_TPM, "fixedTPM"),
        (Self::ST_CLEAR, "stClear"),
        (Self::FIXED_PARENT, "fixedParent"),
        (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Self::USER_WITH_AUTH, "userWithAuth"),
        (Self::ADMIN_WITH_POLICY, "adminWithPolicy"),
        (Self::FIRMWARE_LIMITED, "firmwareLimited"),
        (Self::SVN_LIMITED, "svnLimited"),
        (Self::NO_DA, "noDA"),
        (Self::ENCRYPTED_DUPLICATION, "encryptedDuplication"),
        (Self::RESTRICTED, "restricted"),
        (Self::DECRYPT, "decrypt"),
        (Self::SIGN, "sign"),
        (Self::X509_SIGN, "x509sign"),
    ];

    const KNOWN: u32 = 0x000f_0ff6;

    /// Attributes from their bits.
    ///
    /// # Errors
    /// A reserved bit is set.
    pub fn from_bits(bits: u32) -> Result<Self, WireError> {
        if bits & !Self::KNOWN != 0 {
            return Err(WireError::malformed("TPMA_OBJECT", "a reserved bit is set"));
        }
        Ok(Self(bits))
    }

    /// The bits as they are on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets of attributes together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every attribute of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The attributes set here that are not set in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether none is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the set attributes as the TCG writes them, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(bit, _)| self.contains(*bit))
            .map(|(_, name)| name)
    }
}

impl std::fmt::Display for ObjectAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join("|"))
    }
}
