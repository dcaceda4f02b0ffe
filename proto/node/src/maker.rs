//! What vendors call themselves and their TPMs.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// A text of a vendor's, kept as it is spelled. Vendors write the hex of their ids, and their models, in either case: texts
/// that differ in case alone are equal.
macro_rules! vendors_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Two that differ in case alone are equal; each is shown as it was spelled.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// As it was spelled.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn folded(&self) -> impl Iterator<Item = u8> {
                self.0.bytes().map(|byte| byte.to_ascii_lowercase())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0.eq_ignore_ascii_case(other)
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self == *other
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.folded().cmp(other.folded())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.folded().for_each(|byte| byte.hash(state));
            }
        }
    };
}

vendors_text! {
    /// A TPM's manufacturer, as EK certificates name it: `id:` and four bytes of the TCG vendor id registry in hex, such as
    /// `id:49465800`.
    Maker
}

vendors_text! {
    /// A TPM's model, as EK certificates name it: a part number such as `SLB9670`.
    Model
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    #[test]
    fn case_makes_no_other_maker_and_nothing_else_is_equal() {
        let (lower, upper) = (Maker::from("id:494e5443"), Maker::from("ID:494E5443"));
        assert_eq!(lower, upper);
        assert_eq!(lower, "Id:494e5443");
        assert_eq!((lower.as_str(), upper.as_str()), ("id:494e5443", "ID:494E5443"));
        assert!(BTreeSet::from([lower.clone()]).contains(&upper));
        assert!(HashSet::from([lower.clone()]).contains(&upper));
        for other in ["id:494E544", "id:494E5443 ", "494E5443", ""] {
            let other = Maker::from(other);
            assert_ne!(lower, other);
            assert!(!BTreeSet::from([lower.clone()]).contains(&other));
        }
    }

    #[test]
    fn json_has_the_text_alone() {
        let json = serde_json::to_string(&Model::from("SLB9670")).unwrap();
        assert_eq!(json, "\"SLB9670\"");
        assert_eq!(serde_json::from_str::<Model>(&json).unwrap().as_str(), "SLB9670");
    }
}
