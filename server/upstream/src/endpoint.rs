//! Where an authority's server is.

use std::net::IpAddr;

use http::Uri;

/// The address of an authority's server: scheme, host, port, and the path that the API is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) is_tls: bool,
    /// A name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What stands in the `Host` header.
    pub(crate) authority: String,
    /// The path before the API's own, without a slash at its end.
    pub(crate) base: String,
}

impl Endpoint {
    /// Reads `https://host[:port][/path]`; `default_port` is the one of an address without.
    ///
    /// Plain `http` is taken where `is_plain_allowed`, and then with an IP address of the loopback alone: a name may resolve to
    /// anything.
    pub(crate) fn parse(text: &str, is_plain_allowed: bool) -> Result<Self, String> {
        let example = "example: https://vault.example.org:8200";
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("invalid address: {error}; {example}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("invalid address; {example}"));
        };
        if authority.as_str().contains('@') {
            return Err("the address has a user name; it belongs in keys of its own".into());
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("the address has a query or fragment".into());
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'))
            .unwrap_or(host);
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let is_tls = match scheme {
            "https" => true,
            "http" if is_plain_allowed && is_loopback => false,
            "http" => {
                return Err("plain http is refused; `allow_plain_http_on_loopback = true` takes it in a lab, with an IP address of \
                            the loopback (127.0.0.1, [::1]) and no other"
                    .into());
            }
            other => return Err(format!("invalid scheme {other:?}; {example}")),
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The address as people read it.
    pub(crate) fn shown(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.base)
    }
}

/// Whether a text can stand in a path as one or more segments: mounts, issuers, labels. What would climb or need an escape cannot.
pub(crate) fn is_path(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
    text.len() <= 256 && text.split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_or_a_labs_loopback() {
        let read = |text| Endpoint::parse(text, false).map(|it| (it.host, it.port, it.base));
        let is = |host: &str, port, base: &str| Ok((host.to_owned(), port, base.to_owned()));
        assert_eq!(
            read("https://vault.example.org:8200"),
            is("vault.example.org", 8200, "")
        );
        assert_eq!(read("https://[::1]/x/"), is("::1", 443, "/x"));
        for refused in [
            "http://127.0.0.1:8200",
            "http://vault:8200",
            "https://user:pass@vault",
            "https://vault/?x=1",
            "https://vault/#x",
            "vault:8200",
            "/v1",
            "ftp://vault",
            "",
        ] {
            assert!(read(refused).is_err(), "{refused}");
        }
        let lab = |text| Endpoint::parse(text, true).map(|it| it.is_tls);
        assert_eq!(lab("http://127.0.0.1:8200"), Ok(false));
        assert_eq!(lab("http://[::1]:8200"), Ok(false));
        assert_eq!(lab("https://vault"), Ok(true), "the control");
        for refused in [
            "http://localhost:8200",
            "http://10.0.0.1:8200",
            "http://127.0.0.1.example.org",
        ] {
            assert!(lab(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn paths_climb_nowhere() {
        for good in ["pki", "team/pki-int", "a.b_c~d"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "/pki", "pki/", "a//b", "..", "a/../b", "a b", "a%2f", "a?b", "ä"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
