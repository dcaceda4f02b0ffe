//! What Vault answers: JSON, of which the fields are taken that are needed.

use hallmark_der::{SectionKind, sections};
use http::{StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    chain::MAX_CERTIFICATES,
    error::Fault,
    exchange::{Answer, shown},
};

/// How many errors or warnings of an answer are shown.
const MAX_MESSAGES: usize = 4;

/// What surrounds every answer.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// `data` of a signed certificate, and of a mount's chain.
#[derive(Deserialize)]
struct Certificates {
    #[serde(default)]
    certificate: String,
    #[serde(default)]
    issuing_ca: String,
    #[serde(default)]
    ca_chain: Chain,
}

/// A list of certificates in PEM, or all of them in one text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Chain {
    List(Vec<String>),
    Text(String),
    None(()),
}

impl Default for Chain {
    fn default() -> Self {
        Self::None(())
    }
}

/// `auth` of a login or a renewal.
#[derive(Deserialize)]
struct Login {
    auth: Granted,
}

/// A token and how long it lives.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) client_token: SecretText,
    /// Seconds; 0 for a token without end.
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// `data` of a token's look-up.
#[derive(Deserialize)]
pub(super) struct Life {
    /// Seconds; 0 for a token without end.
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// Text that is secret from the moment that it is read.
pub(super) struct SecretText(pub(super) SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(SecretString::from(text)))
    }
}

#[derive(Deserialize)]
struct Failure {
    errors: Vec<String>,
}

/// The certificates of an answer in DER: what was signed, or is the mount's, first where it is there, then its issuer and the chain.
///
/// For both the answer to `sign-intermediate` and to a chain's look-up; this is what is fuzzed.
///
/// # Errors
/// When the bytes are not the JSON that Vault's API says, a text is not certificates in PEM, or there are too many.
pub fn signed_answer(body: &[u8]) -> Result<SignedAnswer, Fault> {
    let Envelope { data, warnings } = json::<Envelope<Certificates>>(body)?;
    let mut certificates = pem(&data.certificate)?;
    let mut pool = pem(&data.issuing_ca)?;
    // What a chain's look-up calls the certificate is the whole chain.
    let certificate = if certificates.len() == 1 {
        certificates.pop()
    } else {
        None
    };
    pool.append(&mut certificates);
    match data.ca_chain {
        Chain::None(()) => {}
        Chain::Text(text) => pool.extend(pem(&text)?),
        Chain::List(texts) => {
            for text in texts.iter().take(MAX_CERTIFICATES + 1) {
                pool.extend(pem(text)?);
            }
        }
    }
    if pool.len() > MAX_CERTIFICATES {
        return Err(Fault::malformed(format!("more than {MAX_CERTIFICATES} certificates")));
    }
    Ok(SignedAnswer {
        certificate,
        pool,
        warnings: messages(&warnings.unwrap_or_default(), &[]),
    })
}

/// The certificates of an answer, in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAnswer {
    /// The one certificate that the answer is about; none where it has several in its place.
    pub certificate: Option<Vec<u8>>,
    /// Its issuer, and the chain, as Vault orders them.
    pub pool: Vec<Vec<u8>>,
    /// What Vault warns of, made printable; empty for nothing.
    pub warnings: String,
}

fn pem(text: &str) -> Result<Vec<Vec<u8>>, Fault> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let sections = sections(text.as_bytes()).map_err(|error| Fault::malformed(format!("not PEM: {error}")))?;
    let certificates: Vec<_> = sections
        .into_iter()
        .map(|(kind, der)| (kind == SectionKind::Certificate).then_some(der))
        .collect::<Option<_>>()
        .ok_or_else(|| Fault::malformed("a PEM section is not a certificate"))?;
    if certificates.is_empty() || certificates.len() > MAX_CERTIFICATES {
        return Err(Fault::malformed(format!("{} certificates in PEM", certificates.len())));
    }
    Ok(certificates)
}

/// A login's or a renewal's token.
pub(super) fn granted(answer: &Answer) -> Result<Granted, Fault> {
    require_json(answer)?;
    let granted = json::<Login>(&answer.body)?.auth;
    let token = granted.client_token.0.expose_secret();
    if token.is_empty() || token.len() > 8192 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::malformed("its token is empty, too long or not one word"));
    }
    Ok(granted)
}

/// A token's life.
pub(super) fn life(answer: &Answer) -> Result<Life, Fault> {
    require_json(answer)?;
    Ok(json::<Envelope<Life>>(&answer.body)?.data)
}

pub(super) fn certificates(answer: &Answer) -> Result<SignedAnswer, Fault> {
    require_json(answer)?;
    signed_answer(&answer.body)
}

fn require_json(answer: &Answer) -> Result<(), Fault> {
    match answer.media_type().as_str() {
        "application/json" => Ok(()),
        other => Err(Fault::malformed(format!(
            "its type is {other:?}, expected application/json"
        ))),
    }
}

/// What the reader says names no value: one may be the token.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "has other fields than the API's",
            _ => "is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        Fault::malformed(format!("it {what}, at line {line}, column {column}"))
    })
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Login,
    Other,
}

/// What is wrong when the status is not one of success. No text of the answer that holds one of `secrets` is shown as it is.
pub(super) fn fault(answer: &Answer, step: Step, path: &str, secrets: &[&SecretString]) -> Option<Fault> {
    let status = answer.status;
    if status.is_success() {
        return None;
    }
    let errors = match serde_json::from_slice::<Failure>(&answer.body) {
        Ok(failure) => failure.errors,
        Err(_) => Vec::new(),
    };
    let says = |word: &str| errors.iter().any(|error| error.to_lowercase().contains(word));
    let told = messages(&errors, secrets);
    let told = if told.is_empty() {
        "it says nothing more".to_owned()
    } else {
        told
    };
    let detail = format!("{} at {path}: {told}", status.as_u16());
    let is_standby = says("local node not active") || says("standby node");
    Some(match (status.as_u16(), step) {
        (503, _) if says("sealed") => Fault::Sealed { detail },
        (429 | 472 | 473, _) => Fault::Standby { detail },
        (500 | 503, _) if is_standby => Fault::Standby { detail },
        (404 | 405, _) => Fault::NotFound { detail },
        // An issuer that is not there is an error of the server's own.
        (500, Step::Other) if says("unable to find pki issuer") => Fault::NotFound { detail },
        (400 | 401 | 403, Step::Login) => Fault::LoginRefused { detail },
        (403, Step::Other) => Fault::Denied { detail },
        (_, Step::Other) if status == StatusCode::BAD_REQUEST => Fault::Refused { detail },
        _ => {
            let server = answer.header(header::SERVER);
            let server = if server.is_empty() {
                server
            } else {
                format!("; server {server:?}")
            };
            Fault::Failing {
                detail: format!("{detail}{server}"),
            }
        }
    })
}

/// Messages in one line, some of them, without secrets.
fn messages(all: &[String], secrets: &[&SecretString]) -> String {
    let some: Vec<String> = all
        .iter()
        .take(MAX_MESSAGES)
        .map(|text| message(text, secrets))
        .collect();
    let more = all.len().saturating_sub(MAX_MESSAGES);
    match more {
        0 => some.join("; "),
        more => format!("{}; and {more} more", some.join("; ")),
    }
}

fn message(text: &str, secrets: &[&SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret.expose_secret(), "[secret]");
    }
    // Vault writes lists of errors over several lines.
    shown(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_known_are_passed_over_and_others_than_the_apis_are_refused() {
        let read = |text: &str| signed_answer(text.as_bytes());
        let pem = "-----BEGIN CERTIFICATE-----\\nMAMCAQU=\\n-----END CERTIFICATE-----\\n";
        let der = vec![0x30, 3, 2, 1, 5];
        let good = format!(r#"{{"data":{{"certificate":"{pem}","ca_chain":["{pem}"],"new":[1]}},"wrap_info":null}}"#);
        let answer = read(&good).unwrap();
        assert_eq!(
            (answer.certificate, answer.pool),
            (Some(der.clone()), vec![der.clone()])
        );
        let text = format!(r#"{{"data":{{"ca_chain":"{pem}{pem}"}},"warnings":["a","b\u001b[2J"]}}"#);
        let answer = read(&text).unwrap();
        assert_eq!((answer.certificate, answer.pool.len()), (None, 2));
        assert_eq!(answer.warnings, "a; b\\u{1b}[2J");
        let answer = read(&format!(r#"{{"data":{{"certificate":"{pem}{pem}"}}}}"#)).unwrap();
        assert_eq!(
            (answer.certificate, answer.pool.len()),
            (None, 2),
            "none of them is what was signed"
        );
        let many = vec![format!("\"{pem}\""); MAX_CERTIFICATES + 1].join(",");
        for bad in [
            String::new(),
            "[]".into(),
            "null".into(),
            r#"{"data":null}"#.into(),
            r#"{"data":{"certificate":7}}"#.into(),
            r#"{"data":{"certificate":"x"}}"#.into(),
            r#"{"data":{"certificate":"","certificate":""}}"#.into(),
            format!(r#"{{"data":{{"ca_chain":[{many}]}}}}"#),
            format!("{good}x"),
            pem.replace("\\n", "\n"),
            format!(
                r#"{{"data":{{"certificate":"{}"}}}}"#,
                pem.replace("CERTIFICATE", "PRIVATE KEY")
            ),
            "[".repeat(100_000),
        ] {
            assert!(matches!(read(&bad), Err(Fault::Malformed { .. })), "{}", shown(&bad));
        }
    }

    #[test]
    fn messages_are_few_short_printable_and_without_secrets() {
        let secret = SecretString::from("hvs.abc".to_owned());
        let all = vec!["token hvs.abc is \u{202e}bad\n\n\t* x".to_owned(); 9];
        let told = messages(&all, &[&secret]);
        assert!(told.starts_with("token [secret] is \\u{202e}bad * x; "), "{told}");
        assert!(told.ends_with("; and 5 more"), "{told}");
        assert!(messages(&["x".repeat(10_000)], &[]).len() < 500);
    }
}
