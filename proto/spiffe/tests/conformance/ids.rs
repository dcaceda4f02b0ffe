//! SPIFFE-ID: ID-01 to ID-17, ID-23 is in `chain`.

use hallmark_reason::Coded as _;
use hallmark_spiffe::{IdError, SpiffeId, TrustDomain};
use proptest::prelude::*;

fn refused(ids: &[&str], because: fn(&IdError) -> bool) {
    for id in ids {
        let error = SpiffeId::parse(id).expect_err(id);
        assert!(because(&error), "{id}: {error:?}");
        assert!(error.code().as_str().starts_with("HM-ID-"));
    }
}

fn accepted(ids: &[&str]) {
    for id in ids {
        assert_eq!(SpiffeId::parse(id).expect(id).to_string(), *id);
    }
}

#[test]
fn id_01_the_scheme_is_spiffe() {
    refused(
        &[
            "http://td/a",
            "spiff://td",
            "//td/a",
            "",
            "SPIFFE://td/a",
            "spiffe:/td/a",
            " spiffe://td/a",
        ],
        |error| matches!(error, IdError::Scheme),
    );
    accepted(&["spiffe://td/a", "spiffe://td"]);
}

#[test]
fn id_02_the_trust_domain_is_not_empty() {
    refused(&["spiffe://", "spiffe:///a"], |error| {
        matches!(error, IdError::TrustDomainMissing)
    });
    assert_eq!(TrustDomain::parse(""), Err(IdError::TrustDomainMissing));
}

#[test]
fn id_03_no_query_and_no_fragment() {
    refused(&["spiffe://td/a?", "spiffe://td/a?x=1", "spiffe://td/a#"], |error| {
        matches!(error, IdError::PathChar { found: '?' | '#' })
    });
    refused(&["spiffe://td#f", "spiffe://td?"], |error| {
        matches!(error, IdError::TrustDomainChar { found: '?' | '#' })
    });
}

#[test]
fn id_04_no_userinfo_and_no_port() {
    refused(
        &[
            "spiffe://u@td/a",
            "spiffe://td:80/a",
            "spiffe://td:/a",
            "spiffe://@td/a",
            "spiffe://u:p@td",
        ],
        |error| matches!(error, IdError::TrustDomainChar { found: '@' | ':' }),
    );
}

#[test]
fn id_05_and_17_upper_case_is_refused_not_lowered() {
    refused(&["spiffe://TD/a", "spiffe://tD"], |error| {
        matches!(error, IdError::TrustDomainChar { found: 'T' | 'D' })
    });
    refused(&["Spiffe://td/a"], |error| matches!(error, IdError::Scheme));
}

#[test]
fn id_06_every_byte_of_a_trust_domain() {
    for byte in 0..=u8::MAX {
        let allowed = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let name = format!("a{}b", char::from(byte));
        assert_eq!(TrustDomain::parse(&name).is_ok(), allowed, "byte {byte:#x}");
        // A slash ends the name; every other byte decides as it does alone.
        assert_eq!(
            SpiffeId::parse(&format!("spiffe://{name}/p")).is_ok(),
            allowed || byte == b'/'
        );
    }
}

#[test]
fn id_07_and_09_no_percent_encoding() {
    refused(&["spiffe://t%64/a"], |error| {
        matches!(error, IdError::TrustDomainChar { found: '%' })
    });
    refused(&["spiffe://td/%41"], |error| {
        matches!(error, IdError::PathChar { found: '%' })
    });
}

#[test]
fn id_08_names_are_only_names() {
    accepted(&[
        "spiffe://10.0.0.1/a",
        "spiffe://_x-.y/a",
        "spiffe://-/a",
        "spiffe://./a",
        "spiffe://../a",
    ]);
    refused(&["spiffe://[::1]/a"], |error| {
        matches!(error, IdError::TrustDomainChar { found: '[' })
    });
}

#[test]
fn id_10_no_empty_and_no_dot_segment() {
    refused(&["spiffe://td//a", "spiffe://td/a//b"], |error| {
        matches!(error, IdError::EmptySegment)
    });
    refused(
        &["spiffe://td/./a", "spiffe://td/a/..", "spiffe://td/..", "spiffe://td/."],
        |error| matches!(error, IdError::DotSegment),
    );
    accepted(&["spiffe://td/...", "spiffe://td/.a", "spiffe://td/a."]);
}

#[test]
fn id_11_no_trailing_slash() {
    refused(&["spiffe://td/", "spiffe://td/a/", "spiffe://td//"], |error| {
        matches!(error, IdError::TrailingSlash)
    });
}

#[test]
fn id_12_every_byte_of_a_segment() {
    for byte in 0..=u8::MAX {
        let allowed = byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
        let id = format!("spiffe://td/a{}b", char::from(byte));
        assert_eq!(SpiffeId::parse(&id).is_ok(), allowed, "byte {byte:#x}");
    }
}

#[test]
fn id_13_and_14_exactly_2048_bytes() {
    let longest = format!("spiffe://td/{}", "a".repeat(2048 - 12));
    assert_eq!(longest.len(), 2048);
    let id = SpiffeId::parse(&longest).unwrap();
    assert_eq!(SpiffeId::new(id.trust_domain(), id.path()).unwrap(), id);
    let longer = format!("{longest}a");
    assert_eq!(SpiffeId::parse(&longer), Err(IdError::TooLong { len: 2049 }));
    let path = longer.strip_prefix("spiffe://td").unwrap();
    assert_eq!(
        SpiffeId::new(id.trust_domain(), path),
        Err(IdError::TooLong { len: 2049 })
    );
}

#[test]
fn id_15_trust_domains_of_at_most_255_bytes() {
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
    assert_eq!(
        TrustDomain::parse(&"a".repeat(256)),
        Err(IdError::TrustDomainTooLong { len: 256 })
    );
}

#[test]
fn id_16_paths_keep_their_case() {
    let upper = SpiffeId::parse("spiffe://td/A").unwrap();
    let lower = SpiffeId::parse("spiffe://td/a").unwrap();
    assert_ne!(upper, lower);
    assert_eq!(lower, SpiffeId::parse("spiffe://td/a").unwrap());
}

#[test]
fn parts_and_wholes_agree() {
    let domain = TrustDomain::parse("td").unwrap();
    assert_eq!(domain.id().as_str(), "spiffe://td");
    assert_eq!(domain.id().path(), "");
    let id = SpiffeId::new(&domain, "/a/b").unwrap();
    assert_eq!(
        (id.as_str(), id.path(), id.trust_domain()),
        ("spiffe://td/a/b", "/a/b", &domain)
    );
    assert_eq!(SpiffeId::new(&domain, "a"), Err(IdError::NoLeadingSlash));
    assert!(id.is_member_of(&domain) && !id.is_member_of(&TrustDomain::parse("t").unwrap()));
}

#[test]
fn reserved_ids_are_spire_and_what_is_below_it() {
    for (id, reserved) in [
        ("spiffe://td/spire", true),
        ("spiffe://td/spire/server", true),
        ("spiffe://td/spire/agent/tpm2/x", true),
        ("spiffe://td/spires", false),
        ("spiffe://td/a/spire", false),
        ("spiffe://td", false),
    ] {
        assert_eq!(SpiffeId::parse(id).unwrap().is_reserved(), reserved, "{id}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(name in "[a-z0-9._-]{1,40}", segments in prop::collection::vec("[A-Za-z0-9_-][A-Za-z0-9._-]{0,12}", 0..6)) {
        let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
        let id = SpiffeId::new(&TrustDomain::parse(&name).unwrap(), &path).unwrap();
        prop_assert_eq!(&SpiffeId::parse(&id.to_string()).unwrap(), &id);
        prop_assert_eq!(id.path(), path);
        prop_assert_eq!(id.trust_domain().as_str(), name);
    }

    #[test]
    fn no_text_is_repaired(text in ".{0,60}") {
        if let Ok(id) = SpiffeId::parse(&format!("spiffe://{text}")) {
            prop_assert_eq!(id.to_string(), format!("spiffe://{text}"));
        }
    }
}
