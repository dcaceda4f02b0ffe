//! Which token is meant: by its label, or by a PKCS#11 URI (RFC 7512).

use std::{fmt, str::FromStr};

use cryptoki::slot::TokenInfo;

/// The longest URI.
const MAX_LEN: usize = 1024;

/// What tells the token from others. What is not given matches every token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSelector {
    label: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    /// As it was written.
    uri: Option<String>,
}

/// Why a text is no PKCS#11 URI of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTokenUri(String);

impl fmt::Display for BadTokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTokenUri {}

impl TokenSelector {
    /// The token with this label.
    #[must_use]
    pub fn labelled(label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            serial: None,
            manufacturer: None,
            model: None,
            uri: None,
        }
    }

    /// What the token is called in messages: its label, or the whole URI where that has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.label.as_deref().or(self.uri.as_deref()).unwrap_or_default()
    }

    pub(crate) const fn is_by_label(&self) -> bool {
        self.uri.is_none()
    }

    pub(crate) fn selects(&self, info: &TokenInfo) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == found.trim_end_matches(['\0', ' ']))
        };
        // Labels are blank-padded to their field, and so is what is asked for.
        fits(&self.label, info.label())
            && fits(&self.serial, info.serial_number())
            && fits(&self.manufacturer, info.manufacturer_id())
            && fits(&self.model, info.model())
    }
}

/// In words, to follow "no token is".
impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.uri, &self.label) {
            (Some(uri), _) => write!(f, "{uri}"),
            (None, label) => write!(f, "labelled {:?}", label.as_deref().unwrap_or_default()),
        }
    }
}

/// Reads a PKCS#11 URI (RFC 7512, section 2.3) of a token. Of the attributes of its path `token`, `serial`, `manufacturer` and
/// `model` are taken, each once; those that name a slot, an object or a library, and every query, are refused: slots are
/// renumbered, and module and PIN have settings of their own.
impl FromStr for TokenSelector {
    type Err = BadTokenUri;

    fn from_str(uri: &str) -> Result<Self, BadTokenUri> {
        let bad = |why: String| Err(BadTokenUri(why));
        if uri.len() > MAX_LEN {
            return bad(format!("longer than {MAX_LEN} bytes"));
        }
        let Some(path) = uri.strip_prefix("pkcs11:") else {
            return bad("a PKCS#11 URI begins with pkcs11:".to_owned());
        };
        if path.contains('?') {
            return bad("it has a query; module and PIN have settings of their own".to_owned());
        }
        let mut selector = Self {
            label: None,
            serial: None,
            manufacturer: None,
            model: None,
            uri: Some(uri.to_owned()),
        };
        for attribute in path.split(';') {
            let Some((name, value)) = attribute.split_once('=') else {
                return bad(format!("{attribute:?} is not NAME=VALUE"));
            };
            let place = match name {
                "token" => &mut selector.label,
                "serial" => &mut selector.serial,
                "manufacturer" => &mut selector.manufacturer,
                "model" => &mut selector.model,
                "slot-id" => return bad("slot-id: tokens are renumbered; name one by token or serial".to_owned()),
                other => {
                    return bad(format!(
                        "{other:?} does not name a token; known: token, serial, manufacturer, model"
                    ));
                }
            };
            if place.replace(decoded(value)?).is_some() {
                return bad(format!("{name} is given twice"));
            }
        }
        if selector.label.is_none() && selector.serial.is_none() {
            return bad("it names neither token nor serial".to_owned());
        }
        Ok(selector)
    }
}

/// A value without its percent-encoding (RFC 3986, section 2.1); only the characters that RFC 7512 allows may stand bare.
fn decoded(value: &str) -> Result<String, BadTokenUri> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits
                    .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or_else(|| BadTokenUri(format!("{value:?}: % is not followed by two hex digits")))?);
                rest = after.get(2..).unwrap_or_default();
            }
            bare if bare.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(bare) => bytes.push(*bare),
            other => {
                return Err(BadTokenUri(format!(
                    "{value:?}: {:?} must be percent-encoded",
                    char::from(*other)
                )));
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) => Err(BadTokenUri("a value is empty".to_owned())),
        Err(_) => Err(BadTokenUri(format!("{value:?} is not UTF-8"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<TokenSelector, String> {
        uri.parse().map_err(|error: BadTokenUri| error.to_string())
    }

    #[test]
    fn a_token_is_named_by_what_a_uri_says() {
        let found =
            read("pkcs11:token=The%20Software%20Token;serial=0a1b;manufacturer=Snake%20Oil,%20Inc.;model=1.0").unwrap();
        assert_eq!(found.label.as_deref(), Some("The Software Token"));
        assert_eq!(found.serial.as_deref(), Some("0a1b"));
        assert_eq!(found.manufacturer.as_deref(), Some("Snake Oil, Inc."));
        assert_eq!(found.name(), "The Software Token");
        let serial = read("pkcs11:serial=1234").unwrap();
        assert_eq!(
            (serial.name(), serial.to_string().as_str()),
            ("pkcs11:serial=1234", "pkcs11:serial=1234")
        );
        assert_eq!(TokenSelector::labelled("a").to_string(), "labelled \"a\"");
        assert_eq!(read("pkcs11:token=%C3%BC").unwrap().name(), "ü");
    }

    #[test]
    fn what_does_not_name_a_token_is_refused() {
        for (uri, why) in [
            ("token=a", "begins with"),
            ("PKCS11:token=a", "begins with"),
            ("pkcs11:", "NAME=VALUE"),
            ("pkcs11:token=a;", "NAME=VALUE"),
            ("pkcs11:tokn=a", "does not name a token"),
            ("pkcs11:Token=a", "does not name a token"),
            ("pkcs11:token=a;object=b", "does not name a token"),
            ("pkcs11:slot-id=1", "renumbered"),
            ("pkcs11:token=a;token=a", "twice"),
            ("pkcs11:token=a?pin-value=1234", "query"),
            ("pkcs11:model=x", "neither"),
            ("pkcs11:token=", "empty"),
            ("pkcs11:token=a b", "percent-encoded"),
            ("pkcs11:token=a%2", "two hex digits"),
            ("pkcs11:token=a%+1", "two hex digits"),
            ("pkcs11:token=%ff", "UTF-8"),
        ] {
            let told = read(uri).unwrap_err();
            assert!(told.contains(why), "{uri}: {told}");
        }
        assert!(read(&format!("pkcs11:token={}", "a".repeat(MAX_LEN))).is_err());
    }
}
