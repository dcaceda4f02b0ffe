//! The claims of a token.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::JwtError;
use crate::SpiffeId;

/// The most audiences that a token may have.
pub(super) const MAX_AUDIENCES: usize = 64;

/// A JWT Claims Set (RFC 7519, section 4) in which no name stands twice.
pub(super) struct Claims(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.contains_key(&name) {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                    claims.insert(name, value);
                }
                Ok(Claims(claims))
            }
        }
        deserializer.deserialize_map(Unique)
    }
}

impl Claims {
    /// Whose token it is (JWT-08).
    pub(super) fn subject(&self) -> Result<SpiffeId, JwtError> {
        let text = self.0.get("sub").and_then(Value::as_str);
        let id = SpiffeId::parse(text.ok_or(JwtError::Claim { name: "sub" })?).map_err(JwtError::Subject)?;
        if id.path().is_empty() {
            return Err(JwtError::SubjectIsTrustDomain { id });
        }
        Ok(id)
    }

    /// For whom it is: one text, or several (RFC 7519, section 4.1.3).
    pub(super) fn audience(&self) -> Result<Vec<String>, JwtError> {
        let wrong = || JwtError::Claim { name: "aud" };
        match self.0.get("aud").ok_or_else(wrong)? {
            Value::String(one) => Ok(vec![one.clone()]),
            Value::Array(several) if (1..=MAX_AUDIENCES).contains(&several.len()) => {
                let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
                several.iter().map(text).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// When it ends (JWT-13).
    pub(super) fn expires_at(&self) -> Result<i64, JwtError> {
        self.seconds("exp")?.ok_or(JwtError::Claim { name: "exp" })
    }

    /// A NumericDate (RFC 7519, section 2) in whole seconds; `None` where it is not there.
    pub(super) fn seconds(&self, name: &'static str) -> Result<Option<i64>, JwtError> {
        let wrong = || JwtError::Claim { name };
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let Value::Number(number) = value else {
            return Err(wrong());
        };
        if let Some(seconds) = number.as_i64() {
            return Ok(Some(seconds));
        }
        // A fraction of a second never makes a token last longer.
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').ok_or_else(wrong)?;
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return Err(wrong());
        }
        whole.parse().map(Some).map_err(|_| wrong())
    }
}
