//! Values that check themselves while they are read, so that a fault has its line: for `#[serde(deserialize_with = "…")]`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

use crate::list::{Item, List};
use crate::{SecretReference, parse_duration};

/// A text, read by `read`.
///
/// # Errors
/// What `read` refuses.
pub fn text<'de, D: Deserializer<'de>, T>(from: D, read: impl Fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    from.deserialize_string(Item(|text: String| read(&text)))
}

/// A text that its type reads.
///
/// # Errors
/// What the type refuses.
pub fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<T, D::Error> {
    text(from, |text| text.parse().map_err(|error: T::Err| error.to_string()))
}

/// Texts that their type reads.
///
/// # Errors
/// The first that the type refuses.
pub fn each_parsed<'de, D, T, C>(from: D) -> Result<C, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
    C: FromIterator<T> + IntoIterator<Item = T>,
{
    let read = |text: String| text.parse().map_err(|error: T::Err| format!("{text:?}: {error}"));
    List::new(read).each(from)
}

/// Text with something in it.
///
/// # Errors
/// An empty text.
pub fn filled<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    text(from, |text| match text {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.to_owned()),
    })
}

/// An absolute path.
///
/// # Errors
/// A relative path.
pub fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    text(from, absolute)
}

/// An absolute path where the key is there.
///
/// # Errors
/// A relative path.
pub fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    path(from).map(Some)
}

/// An absolute path, or the empty text for none.
///
/// # Errors
/// A relative path.
pub fn path_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    text(from, |text| match text {
        "" => Ok(None),
        text => absolute(text).map(Some),
    })
}

/// Absolute paths.
///
/// # Errors
/// The first relative path.
pub fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    List::new(|text: String| absolute(&text)).each(from)
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("invalid path {text:?}: it must be absolute")),
    }
}

/// An IP address and a port.
///
/// # Errors
/// Another form.
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    text(from, |text| {
        let invalid = |_| format!("invalid address {text:?}; example: 0.0.0.0:8081");
        text.parse().map_err(invalid)
    })
}

/// An IP address and a port, where the key is there.
///
/// # Errors
/// Another form.
pub fn optional_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    address(from).map(Some)
}

/// A duration; see [`parse_duration`].
///
/// # Errors
/// Another form, zero, or more than a hundred years.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    text(from, |text| parse_duration(text).map_err(|error| error.to_string()))
}

/// A number from 1 on.
///
/// # Errors
/// Zero.
pub fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        0 => Err(D::Error::custom("must be at least 1")),
        number => Ok(number),
    }
}

/// A reference to a secret. No message repeats what is there instead, which may be the secret.
///
/// # Errors
/// Anything else.
pub fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<SecretReference, D::Error> {
    let reference = match toml::Value::deserialize(from) {
        Ok(toml::Value::String(text)) => SecretReference::parse(&text),
        _ => Err(crate::secret::NotAReference),
    };
    reference.map_err(D::Error::custom)
}

/// A reference to a secret, where there is one.
///
/// # Errors
/// As [`secret`].
pub fn optional_secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretReference>, D::Error> {
    secret(from).map(Some)
}
