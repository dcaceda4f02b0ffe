//! Where an image is: its manifest, the signature beside it, its chunks.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// The address of an image's manifest, `http://` or `https://`: one that a machine can use as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUrl {
    text: String,
    is_tls: bool,
    host: String,
    port: u16,
}

/// Why an address is not one that images are fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ImageUrlFault(&'static str);

impl ImageUrl {
    /// Most bytes of an address.
    pub const MAX_BYTES: usize = 1024;

    /// Reads an address.
    ///
    /// # Errors
    /// It has another scheme, no host or one that is no name, a user, a port that is none, a query, a fragment, or is too long.
    pub fn parse(text: &str) -> Result<Self, ImageUrlFault> {
        let fault = |what| Err(ImageUrlFault(what));
        if text.len() > Self::MAX_BYTES {
            return fault("it is longer than 1024 bytes");
        }
        let (is_tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return fault("it does not begin with http:// or https://");
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return fault("it has a user, which is not used");
        }
        if path.contains('?') {
            return fault("it has a query: signature and chunks have addresses of their own");
        }
        if path.contains('#') {
            return fault("it has a fragment, which no server is told");
        }
        let is_plain = |c: u8| c.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&c);
        if !path.bytes().all(is_plain) {
            return fault("its path has characters that are to be written as %XX");
        }
        if !path.split('%').skip(1).all(is_escape) {
            return fault(
                "its path has a % that is not followed by two hexadecimal digits, or stands for a control character",
            );
        }
        if path.is_empty() || path.ends_with('/') {
            return fault("it names a folder, and not the manifest in it");
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Self {
            text: text.to_owned(),
            is_tls,
            host: host.to_owned(),
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
        })
    }

    /// The manifest's address.
    #[must_use]
    pub fn manifest(&self) -> &str {
        &self.text
    }

    /// The address of the manifest's signature.
    #[must_use]
    pub fn signature(&self) -> String {
        format!("{}.sig", self.text)
    }

    /// The address of a chunk.
    #[must_use]
    pub fn chunk(&self, sha256: &[u8; 32]) -> String {
        let folder = self.text.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{}", hex::encode(sha256))
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host without brackets, as names are resolved.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether both are of one server, and asked in the same way.
    #[must_use]
    pub fn is_same_origin(&self, is_tls: bool, host: &str, port: u16) -> bool {
        self.is_tls == is_tls && self.host.eq_ignore_ascii_case(host) && self.port == port
    }
}

impl fmt::Display for ImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether what follows a % stands for a character that is no control character.
fn is_escape(rest: &str) -> bool {
    let digits = rest
        .get(..2)
        .filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        .is_some_and(|byte| byte > 0x1f && byte != 0x7f)
}

/// The host, with its brackets, and the port.
fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), ImageUrlFault> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(authority.len(), |at| at.saturating_add(2)),
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end.min(authority.len()));
    if host.is_empty() {
        return Err(ImageUrlFault("it names no host"));
    }
    if !is_host(host) {
        return Err(ImageUrlFault("its host is no name and no address"));
    }
    let is_number = |digits: &str| digits.bytes().all(|c| c.is_ascii_digit());
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if is_number(digits) => digits.parse().ok().filter(|port| *port > 0).map(Some).ok_or(BAD_PORT)?,
        _ => return Err(BAD_PORT),
    };
    Ok((host, port))
}

const BAD_PORT: ImageUrlFault = ImageUrlFault("its port is not 1 to 65535");

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.strip_suffix(']').is_some_and(|it| {
            it.parse::<Ipv6Addr>()
                .is_ok_and(|it| !it.is_unspecified() && !it.is_multicast())
        });
    }
    let is_label = |label: &str| {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_address = last.bytes().all(|c| c.is_ascii_digit());
    host.len() <= 253
        && host.split('.').all(is_label)
        && (!is_address
            || host
                .parse::<Ipv4Addr>()
                .is_ok_and(|it| !it.is_unspecified() && !it.is_multicast()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_and_chunks_are_beside_the_manifest() {
        let url = ImageUrl::parse("http://images.example:8080/edge/1.0.0/manifest").unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("images.example", 8080, false));
        assert_eq!(url.signature(), "http://images.example:8080/edge/1.0.0/manifest.sig");
        let chunk = url.chunk(&[0xab; 32]);
        assert_eq!(
            chunk,
            format!("http://images.example:8080/edge/1.0.0/{}", "ab".repeat(32))
        );
        let six = ImageUrl::parse("https://[::1]/manifest").unwrap();
        assert_eq!((six.host(), six.port(), six.is_tls()), ("::1", 443, true));
        assert_eq!(six.server(), "[::1]:443");
        for good in [
            "http://10.0.5.1/m",
            "http://a:65535/m",
            "http://a_b.c-d/e@f/%20m",
            "https://a:1/m",
        ] {
            assert_eq!(ImageUrl::parse(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn other_addresses_are_refused_with_what_is_wrong() {
        let long = format!("http://images/{}", "m".repeat(ImageUrl::MAX_BYTES));
        for (wrong, what) in [
            ("", "begin"),
            ("manifest", "begin"),
            ("/manifest", "begin"),
            ("ftp://images/manifest", "begin"),
            ("HTTP://images/manifest", "begin"),
            ("file:///manifest", "begin"),
            ("http:///manifest", "host"),
            ("http://:80/manifest", "host"),
            ("http://images", "folder"),
            ("http://images/", "folder"),
            ("http://user@images/manifest", "user"),
            ("http://user:password@images/manifest", "user"),
            ("http://images/manifest?version=1", "query"),
            ("http://images?x/manifest", "query"),
            ("http://images/manifest#x", "fragment"),
            ("http://images/mani fest", "%XX"),
            ("http://images/mani\nfest", "%XX"),
            ("http://images/m\u{e4}nifest", "%XX"),
            ("http://images:99999/manifest", "port"),
            ("http://images:0/manifest", "port"),
            ("http://images:/manifest", "port"),
            ("http://images:+80/manifest", "port"),
            ("http://images:80:80/manifest", "port"),
            ("http://[::1]80/manifest", "port"),
            ("http://im ages/manifest", "host"),
            ("http://-images/manifest", "host"),
            ("http://images./manifest", "host"),
            ("http://10.0.0.256/manifest", "host"),
            ("http://[::1/manifest", "host"),
            ("http://[10.0.0.1]/manifest", "host"),
            ("http://0.0.0.0/manifest", "host"),
            ("http://[::]/manifest", "host"),
            ("http://224.0.0.1/manifest", "host"),
            ("http://images/m%", "hexadecimal"),
            ("http://images/m%2", "hexadecimal"),
            ("http://images/m%zz", "hexadecimal"),
            ("http://images/m%00", "control"),
            (&long, "1024"),
        ] {
            let fault = ImageUrl::parse(wrong).expect_err(wrong);
            assert!(fault.to_string().contains(what), "{wrong:?}: {fault}");
        }
    }
}
