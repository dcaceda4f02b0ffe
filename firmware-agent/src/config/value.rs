//! The values that only an agent's configuration has. They check themselves while they are read, so that a fault has its line.

use std::path::PathBuf;

use hallmark_settings::{List, value};
use hallmark_tpm::Tcti;
use hallmark_tpm_wire::templates::{EkTemplate, UnknownTemplate};
use serde::Deserializer;

use crate::socket_path::socket_path;

/// Where the server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerAddress {
    /// A name or an IP address.
    pub(super) host: String,
    pub(super) port: u16,
}

/// `host:port`, `[v6]:port`; the port may be left out.
pub(super) fn server<'de, D: Deserializer<'de>>(from: D) -> Result<ServerAddress, D::Error> {
    value::text(from, server_address)
}

fn server_address(text: &str) -> Result<ServerAddress, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, None),
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let invalid = |what: &str| format!("invalid address {text:?}: {what}");
    let port = match port {
        Some(port) => port
            .parse()
            .map_err(|_| invalid("the port must be a number from 1 to 65535"))?,
        None => 8081,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || rustls::pki_types::ServerName::try_from(host).is_err() {
        return Err(invalid("the host must be a name or an IP address"));
    }
    let host = host.to_owned();
    Ok(ServerAddress { host, port })
}

/// Where the TPM is, where that is said.
pub(super) fn tcti<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tcti>, D::Error> {
    value::text(from, |text| {
        Tcti::parse(text).map(Some).map_err(|error| error.to_string())
    })
}

/// Templates of endorsement keys, by name; at least one.
pub(super) fn ek_templates<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<&'static EkTemplate>, D::Error> {
    let named = |name: String| name.parse().map_err(|error: UnknownTemplate| error.to_string());
    List::new(named).not_empty("name at least one template").each(from)
}

/// The Workload API's socket.
pub(super) fn socket<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    value::text(from, |text| socket_path(text).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_four_forms() {
        for (text, host, port) in [
            ("h.example", "h.example", 8081),
            ("h.example:1", "h.example", 1),
            ("[::1]:2", "::1", 2),
            ("::1", "::1", 8081),
        ] {
            let host = host.to_owned();
            assert_eq!(server_address(text), Ok(ServerAddress { host, port }));
        }
        for text in ["h:x", "h:70000", "", ":1", "a b:1"] {
            assert!(server_address(text).is_err(), "{text}");
        }
    }
}
