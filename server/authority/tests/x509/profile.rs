//! The profile of SVIDs and authorities (X509-01 to X509-20), read by OpenSSL.

use std::{fs, path::Path, process::Command, time::Duration};

use hallmark_authority::{AuthorityError, Serial, SubjectKey, prepare, prepare_authority};
use hallmark_spiffe::{SpiffeId, TrustDomain, x509};
use hallmark_state::{Grant, mint, server_identity};

use crate::software::{NOW, SoftwareKey, now, trust_domain};

const ID: &str = "spiffe://example.org/payments/db";

fn grant(dns_names: &[&str], ttl: u64) -> Grant {
    let names = dns_names.iter().map(|name| (*name).to_owned()).collect();
    mint(
        &trust_domain(),
        SpiffeId::parse(ID).unwrap(),
        names,
        Duration::from_secs(ttl),
        Duration::MAX,
    )
    .unwrap()
}

fn openssl(args: &[&str], folder: &Path) -> String {
    let out = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{args:?}: {text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

fn text_of(der: &[u8], folder: &Path) -> String {
    fs::write(folder.join("der"), der).unwrap();
    let text = openssl(
        &[
            "x509", "-inform", "DER", "-in", "der", "-noout", "-text", "-nameopt", "RFC2253",
        ],
        folder,
    );
    // One space between words, so that lines can be compared.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check(text: &str, rows: &[(&str, &str)]) {
    for (rule, expected) in rows {
        assert!(text.contains(expected), "{rule}: {expected:?} is not in {text}");
    }
}

#[test]
fn every_authority_and_leaf_keeps_the_profile_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let subjects = SoftwareKey::kinds();
    for (ca_kind, ca_key) in SoftwareKey::kinds() {
        let authority = ca_key.authority();
        check_authority(&text_of(authority.certificate(), folder));
        fs::write(folder.join("ca"), authority.certificate()).unwrap();
        openssl(&["x509", "-inform", "DER", "-in", "ca", "-out", "ca.pem"], folder);
        for (kind, key) in &subjects {
            let key = SubjectKey::from_spki(&key.spki()).unwrap();
            let serial = Serial::from_random([0xfe; 16]);
            let draft = prepare(
                &grant(&["db.example.org", "db2"], 3600),
                &key,
                &authority,
                serial,
                now(),
            )
            .unwrap();
            let tbs = draft.tbs().to_vec();
            let signature = ca_key.sign(draft.tbs());
            let svid = draft.seal(&signature).unwrap();
            // What was signed is what was linted: the certificate starts with these bytes, after its own header.
            assert_eq!(svid.certificate()[4..4 + tbs.len()], tbs, "{ca_kind} {kind}");
            check_leaf(&text_of(svid.certificate(), folder), kind);
            let at = NOW.to_string();
            openssl(&["x509", "-inform", "DER", "-in", "der", "-out", "leaf.pem"], folder);
            openssl(
                &[
                    "verify",
                    "-x509_strict",
                    "-purpose",
                    "sslserver",
                    "-attime",
                    &at,
                    "-CAfile",
                    "ca.pem",
                    "leaf.pem",
                ],
                folder,
            );
            openssl(
                &[
                    "verify",
                    "-x509_strict",
                    "-purpose",
                    "sslclient",
                    "-attime",
                    &at,
                    "-CAfile",
                    "ca.pem",
                    "leaf.pem",
                ],
                folder,
            );
            let id = x509::verify_chain(
                &[svid.certificate()],
                &[authority.certificate()],
                &trust_domain(),
                now(),
            );
            assert_eq!(id.unwrap().to_string(), ID, "{ca_kind} {kind}");
        }
    }
}

fn check_authority(text: &str) {
    check(
        text,
        &[
            (
                "X509-07, -08, -09",
                "X509v3 Subject Alternative Name: URI:spiffe://example.org Signature",
            ),
            ("X509-11, -12", "X509v3 Basic Constraints: critical CA:TRUE X509v3"),
            (
                "X509-15, -16",
                "X509v3 Key Usage: critical Certificate Sign, CRL Sign X509v3",
            ),
            (
                "subject",
                "Subject: serialNumber=12009965891327239886942633203474172169,O=Hallmark",
            ),
            ("SKI", "X509v3 Subject Key Identifier:"),
            ("AKI", "X509v3 Authority Key Identifier:"),
            (
                "validity",
                "Not Before: Nov 18 11:06:30 2026 GMT Not After : Nov 18 11:06:40 2027 GMT",
            ),
        ],
    );
    assert!(
        !text.contains("Extended Key Usage") && !text.contains("Digital Signature"),
        "{text}"
    );
}

fn check_leaf(text: &str, kind: &str) {
    let usage = if kind.starts_with("rsa") {
        "X509v3 Key Usage: critical Digital Signature, Key Encipherment X509v3"
    } else {
        "X509v3 Key Usage: critical Digital Signature X509v3"
    };
    check(
        text,
        &[
            (
                "X509-01, -03, -05",
                "Subject Alternative Name: URI:spiffe://example.org/payments/db, DNS:db.example.org, DNS:db2",
            ),
            ("X509-12", "X509v3 Basic Constraints: critical CA:FALSE X509v3"),
            ("X509-15, -17, -18", usage),
            (
                "X509-19, -20",
                "X509v3 Extended Key Usage: TLS Web Server Authentication, TLS Web Client Authentication X509v3",
            ),
            ("SKI", "X509v3 Subject Key Identifier:"),
            ("AKI", "X509v3 Authority Key Identifier:"),
            ("X509-06: there is a subject", "Subject: CN=db.example.org,O=Hallmark"),
            (
                "serial",
                "Serial Number: fe:fe:fe:fe:fe:fe:fe:fe:fe:fe:fe:fe:fe:fe:fe:fe",
            ),
            (
                "validity",
                "Not Before: Nov 18 11:06:30 2026 GMT Not After : Nov 18 12:06:40 2026 GMT",
            ),
        ],
    );
    assert_eq!(text.matches("URI:").count(), 1, "X509-01");
}

#[test]
fn subjects_without_a_fitting_dns_name_have_no_common_name() {
    let folder = tempfile::tempdir().unwrap();
    let ca = SoftwareKey::p256();
    let authority = ca.authority();
    let key = SubjectKey::from_spki(&SoftwareKey::p256().spki()).unwrap();
    let long = format!("{}.{}", "a".repeat(40), "b".repeat(40));
    for names in [&[][..], &[long.as_str()]] {
        let draft = prepare(&grant(names, 60), &key, &authority, Serial::from_random([1; 16]), now()).unwrap();
        let signature = ca.sign(draft.tbs());
        let text = text_of(draft.seal(&signature).unwrap().certificate(), folder.path());
        assert!(text.contains("Subject: O=Hallmark Subject Public Key"), "{text}");
    }
}

#[test]
fn a_leaf_never_outlives_its_authority_nor_begins_before_it() {
    let ca = SoftwareKey::p256();
    let authority = ca.authority();
    let key = SubjectKey::from_spki(&SoftwareKey::p256().spki()).unwrap();
    let serial = Serial::from_random([1; 16]);
    let day = 86_400;
    let at = |offset: u64| now() + Duration::from_secs(offset);
    let end = i64::try_from(NOW + 365 * day).unwrap();
    assert_eq!(authority.not_after(), end);
    let draft = prepare(&grant(&[], day), &key, &authority, serial, at(364 * day + 1)).unwrap();
    assert_eq!(draft.not_after(), end, "capped");
    let draft = prepare(&grant(&[], day), &key, &authority, serial, at(363 * day)).unwrap();
    assert_eq!(draft.not_after(), end - i64::try_from(day).unwrap(), "not capped");
    let expired = prepare(&grant(&[], day), &key, &authority, serial, at(365 * day));
    assert!(matches!(expired, Err(AuthorityError::Expired { .. })), "{expired:?}");
    let early = prepare(
        &grant(&[], day),
        &key,
        &authority,
        serial,
        now() - Duration::from_secs(11),
    );
    assert!(matches!(early, Err(AuthorityError::NotYetValid { .. })), "{early:?}");
    assert!(
        prepare(
            &grant(&[], day),
            &key,
            &authority,
            serial,
            now() - Duration::from_secs(10)
        )
        .is_ok()
    );
}

#[test]
fn nothing_is_issued_for_others_nor_for_the_authority_itself() {
    let ca = SoftwareKey::p256();
    let authority = ca.authority();
    let serial = Serial::from_random([1; 16]);
    let key = SubjectKey::from_spki(&SoftwareKey::p256().spki()).unwrap();
    let ttl = Duration::from_secs(60);
    let own = server_identity(&trust_domain(), ttl).unwrap();
    assert!(prepare(&own, &key, &authority, serial, now()).is_ok(), "the control");
    let other = TrustDomain::parse("example.com").unwrap();
    let foreign = server_identity(&other, ttl).unwrap();
    let refused = prepare(&foreign, &key, &authority, serial, now());
    assert!(
        matches!(refused, Err(AuthorityError::ForeignTrustDomain { .. })),
        "X509-09: {refused:?}"
    );
    let ca_key = SubjectKey::from_spki(authority.spki()).unwrap();
    let refused = prepare(&own, &ca_key, &authority, serial, now());
    assert_eq!(refused, Err(AuthorityError::SubjectIsAuthority), "X509-10");
}

#[test]
fn only_a_signature_of_the_right_key_seals_an_authority() {
    let (key, other) = (SoftwareKey::p256(), SoftwareKey::p256());
    let prepare = || {
        let year = Duration::from_secs(365 * 86_400);
        prepare_authority(&trust_domain(), &key.spki(), year, Serial::from_random([3; 16]), now()).unwrap()
    };
    let draft = prepare();
    let signature = key.sign(draft.tbs());
    assert!(draft.seal(&signature).is_ok(), "the control");
    let draft = prepare();
    let signature = other.sign(draft.tbs());
    assert_eq!(draft.seal(&signature), Err(AuthorityError::AuthoritySignature));
    assert!(matches!(
        prepare().seal(&[0; 64]),
        Err(AuthorityError::SignatureForm { .. })
    ));
}
