//! OpenID Connect discovery: where it is served, under which name, and with which certificate.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hallmark_host::health::Address;
use hallmark_settings::{List, SecretReference, value as settings};
use serde::{Deserialize, Deserializer};

use super::{CertificateFiles, ConfigError, certificate::KEY, secret};

/// The longest issuer: what AWS takes of a provider's URL, in bytes.
const MAX_ISSUER_LEN: usize = 255;

/// OpenID Connect discovery for JWT-SVIDs.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// Where it is served.
    pub listen: Address,
    /// Who issues the tokens.
    pub issuer: IssuerUrl,
    /// Host names that requests may name: the issuer's, and others.
    pub domains: BTreeSet<String>,
    /// The certificate; `None` for plain HTTP.
    pub certificate: Option<CertificateFiles>,
}

impl fmt::Display for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oidc: {} at {}, ", self.issuer.as_str(), self.listen)?;
        match &self.certificate {
            Some(files) => write!(f, "TLS with {}", files.certificate.display()),
            None => f.write_str("plain HTTP"),
        }
    }
}

/// An issuer that verifiers of OpenID Connect can look up: an https URL without user, query and fragment (OpenID Connect Core 1.0,
/// section 2, `iss`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    url: String,
    host: String,
    path: String,
}

impl IssuerUrl {
    /// Reads it as `jwt_issuer` has it.
    ///
    /// # Errors
    /// What keeps it from being looked up.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > MAX_ISSUER_LEN {
            return Err("it is longer than 255 bytes");
        }
        let rest = text.strip_prefix("https://").ok_or("it does not begin with https://")?;
        if rest.contains(['?', '#']) {
            return Err("it has a query or a fragment");
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        // A URL may end with one slash that means nothing (Discovery, section 4.1).
        let path = path.strip_suffix('/').unwrap_or(path);
        if !path.split('/').skip(1).all(is_segment) {
            return Err("its path has something else than letters, digits and -._~ between single slashes");
        }
        Ok(Self {
            url: text.to_owned(),
            host: host_of(authority)
                .ok_or("its host is no name or address with an optional port")?
                .to_owned(),
            path: path.to_owned(),
        })
    }

    /// As it is configured, and as tokens say it: verifiers compare it byte by byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The host, in small letters.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path that all documents are below: empty, or with a slash at its beginning and none at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The URL of something below it.
    #[must_use]
    pub fn join(&self, name: &str) -> String {
        format!("{}/{name}", self.url.strip_suffix('/').unwrap_or(&self.url))
    }
}

fn is_segment(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
}

/// The host of an authority (RFC 3986, section 3.2) in small letters: a DNS name, an IPv4 address, or an IPv6 address in its brackets;
/// `None` where it is something else, or the port is none.
#[must_use]
pub fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (authority.strip_suffix(port)?, port)
        }
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|it| it > 0)
        }
        None => port.is_empty(),
    };
    (port_is_valid && (host.starts_with('[') || is_domain(host))).then_some(host)
}

/// Letters, digits, dots and dashes; small letters alone, so that there is one way to write it.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The table as it is written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OidcTable {
    #[serde(deserialize_with = "listen")]
    listen: Option<Address>,
    #[serde(deserialize_with = "settings::optional_path")]
    certificate: Option<PathBuf>,
    #[serde(deserialize_with = "settings::optional_secret")]
    certificate_key: Option<SecretReference>,
    #[serde(deserialize_with = "domains")]
    domains: Vec<String>,
    allow_plain_http: bool,
}

/// `unix:` and a path, or an address.
fn listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Address>, D::Error> {
    let read = |text: &str| match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(Some(Address::Unix(path.into()))),
        Some(path) => Err(format!("invalid path {path:?}: it must be absolute")),
        None => text
            .parse()
            .map(|address| Some(Address::Tcp(address)))
            .map_err(|_| format!("invalid address {text:?}; examples: 0.0.0.0:443, unix:/run/oidc/oidc.sock")),
    };
    settings::text(from, read)
}

fn domains<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let read = |text: String| match is_domain(&text) {
        true => Ok(text),
        false => Err(format!(
            "invalid host name {text:?}: small letters, digits, dots and dashes"
        )),
    };
    List::new(read).each(from)
}

/// `iss` where it is not looked up: any text that fits into a token.
pub(super) fn issuer<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    settings::text(from, |text| match text {
        text if text.len() > 4 * MAX_ISSUER_LEN => Err("longer than 1020 bytes".to_owned()),
        text if text.chars().any(char::is_control) => Err("it has control characters".to_owned()),
        text => Ok(text.to_owned()),
    })
}

impl OidcTable {
    /// Checks it whole, for tokens of `issuer`; `None` where nothing is to be served. The certificate is read once, so that a start
    /// does not succeed without it.
    pub(super) fn resolve(
        self,
        path: &Path,
        credentials: Option<&Path>,
        issuer: &str,
        has_jwt_svids: bool,
    ) -> Result<Option<Oidc>, ConfigError> {
        let contradiction = |message: &str, compared: String| {
            Err(ConfigError::Contradiction {
                path: path.to_owned(),
                message: message.to_owned(),
                compared,
            })
        };
        let Some(listen) = self.listen else {
            return Ok(None);
        };
        if !has_jwt_svids {
            return contradiction(
                "oidc.listen serves keys of JWT-SVIDs, and none are issued",
                "authority.jwt_svids is false".to_owned(),
            );
        }
        let issuer = IssuerUrl::parse(issuer).map_err(|why| ConfigError::Issuer {
            issuer: issuer.to_owned(),
            why,
        })?;
        let mut domains: BTreeSet<String> = self.domains.into_iter().collect();
        domains.insert(issuer.host().to_owned());
        let certificate = match (self.certificate, self.certificate_key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles {
                certificate,
                key: secret::file_of(KEY, &key, credentials)?,
            }),
            (None, None) => None,
            (certificate, _) => {
                let (there, missing) = match certificate {
                    Some(_) => ("certificate", "certificate_key"),
                    None => ("certificate_key", "certificate"),
                };
                return contradiction(
                    "oidc.certificate and oidc.certificate_key belong together",
                    format!("{there} is set, {missing} is not"),
                );
            }
        };
        match &certificate {
            Some(files) => drop(files.load(&domains)?),
            None if self.allow_plain_http => {}
            None => plain_is_local(&listen)?,
        }
        Ok(Some(Oidc {
            listen,
            issuer,
            domains,
            certificate,
        }))
    }
}

/// Refuses plain HTTP over a network: whoever is on the way puts keys of their own in the place of ours.
fn plain_is_local(listen: &Address) -> Result<(), ConfigError> {
    match listen {
        Address::Tcp(address) if !is_loopback(*address) => Err(ConfigError::PlainHttp { listen: *address }),
        _ => Ok(()),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_can_be_looked_up_or_is_refused() {
        for (text, host, path, keys) in [
            (
                "https://oidc.example.org",
                "oidc.example.org",
                "",
                "https://oidc.example.org/keys",
            ),
            ("https://example.org/", "example.org", "", "https://example.org/keys"),
            (
                "https://example.org:8443/spiffe/a_~b",
                "example.org",
                "/spiffe/a_~b",
                "https://example.org:8443/spiffe/a_~b/keys",
            ),
            ("https://192.0.2.1", "192.0.2.1", "", "https://192.0.2.1/keys"),
            ("https://[::1]:444/x/", "[::1]", "/x", "https://[::1]:444/x/keys"),
        ] {
            let issuer = IssuerUrl::parse(text).unwrap();
            assert_eq!((issuer.host(), issuer.path(), issuer.as_str()), (host, path, text));
            assert_eq!(issuer.join("keys"), keys);
        }
        let long = format!("https://example.org/{}", "a".repeat(236));
        for bad in [
            "",
            "example.org",
            "spiffe://example.org",
            "http://example.org",
            "HTTPS://example.org",
            "https://",
            "https:///keys",
            "https://Example.org",
            "https://user@example.org",
            "https://example.org:0",
            "https://example.org:",
            "https://example.org:+1",
            "https://example.org:65536",
            "https://exa mple.org",
            "https://-.org",
            "https://example..org",
            "https://[::1",
            "https://[::g]",
            "https://[::1]x",
            "https://example.org?",
            "https://example.org/#",
            "https://example.org//a",
            "https://example.org/a//",
            "https://example.org/../a",
            "https://example.org/%41",
            "https://example.org/a\n",
            long.as_str(),
        ] {
            assert!(IssuerUrl::parse(bad).is_err(), "{bad:?}");
        }
        assert!(IssuerUrl::parse(&long[..255]).is_ok(), "the control");
    }
}
