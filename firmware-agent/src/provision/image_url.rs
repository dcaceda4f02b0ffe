//! Where an image is: its manifest, the signature beside it, its chunks.

use http::{Uri, uri::Scheme};

use super::error::ProvisionError;

const MAX_LENGTH: usize = 2048;

/// The address of an image's manifest, `http://` or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageUrl {
    text: String,
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl ImageUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// It has another scheme, no host, a user, a query, or is too long.
    pub(super) fn parse(text: &str) -> Result<Self, ProvisionError> {
        let unfit = |detail: &str| ProvisionError::Address {
            url: text.chars().take(MAX_LENGTH).collect(),
            detail: detail.to_owned(),
        };
        if text.len() > MAX_LENGTH {
            return Err(unfit("longer than 2048 octets"));
        }
        let uri: Uri = text
            .parse()
            .map_err(|error: http::uri::InvalidUri| unfit(&error.to_string()))?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(unfit("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| unfit("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(unfit("a user in it is not used"));
        }
        if uri.query().is_some() {
            return Err(unfit(
                "a query in it is not used: signature and chunks have addresses of their own",
            ));
        }
        if uri.path().ends_with('/') {
            return Err(unfit("it names a folder, and not the manifest in it"));
        }
        Ok(Self {
            is_tls,
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri.path().to_owned(),
            text: text.to_owned(),
        })
    }

    /// The manifest's address.
    pub(super) fn manifest(&self) -> &str {
        &self.text
    }

    /// The address of the manifest's signature.
    pub(super) fn signature(&self) -> String {
        format!("{}.sig", self.text)
    }

    /// The address of a chunk.
    pub(super) fn chunk(&self, sha256: &[u8; 32]) -> String {
        let folder = self.text.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{}", hex::encode(sha256))
    }

    /// Whether TLS is spoken.
    pub(super) const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host without brackets, as names are resolved.
    pub(super) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub(super) fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
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
    }

    #[test]
    fn other_addresses_are_refused() {
        let long = format!("http://images/{}", "m".repeat(MAX_LENGTH));
        for wrong in [
            "",
            "manifest",
            "/manifest",
            "ftp://images/manifest",
            "file:///manifest",
            "http://images",
            "http://images/",
            "http://user@images/manifest",
            "http://images/manifest?version=1",
            "http://images/mani fest",
            &long,
        ] {
            let error = ImageUrl::parse(wrong).expect_err(wrong);
            assert!(matches!(error, ProvisionError::Address { .. }), "{wrong}");
        }
    }
}
