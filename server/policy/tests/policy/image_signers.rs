//! Baselines that the key of machine images signed: which keys, what an operator makes of such a file, and whose name a baseline has.

use hallmark_policy::signed::{
    FileKind, KeyId, OperatorKey, OperatorKeys, SignedFile, SignedFileError, Signer, require_same_signer,
};
use hallmark_reason::Coded as _;

use crate::signed::{KEY, OTHER_KEY, keys, td};

const BASELINE: &[u8] = b"{}";

/// A baseline that a signer of images signed, as an operator sends it on.
fn of_images(pem: &str, kind: FileKind) -> (SignedFile, OperatorKeys) {
    let key = OperatorKey::from_pem(pem.as_bytes()).unwrap();
    let mut signers = OperatorKeys::default();
    signers.add_spki(&key.spki()).unwrap();
    let file = SignedFile::seal(kind, &td("example.org"), BASELINE.to_vec(), &key).unwrap();
    (file.of_image_signer(&signers).unwrap(), signers)
}

fn opened(text: &str, keys: &OperatorKeys) -> Result<Signer, String> {
    let opened = SignedFile::parse(text).and_then(|file| file.open(FileKind::Baseline, Some(&td("example.org")), keys));
    opened
        .map(|opened| opened.signer)
        .map_err(|error| error.code().to_string())
}

#[test]
fn who_signed_the_image_is_known_with_and_without_operators_keys() {
    let (file, signers) = of_images(OTHER_KEY, FileKind::Baseline);
    let signer = Signer::Images(signers.ids().next().unwrap());
    let text = file.to_json();
    assert_eq!(opened(&text, &OperatorKeys::default()), Ok(signer));
    assert_eq!(SignedFile::signer_of(&text), signer);
    // Where operators sign, the signer of images alone is not enough.
    assert_eq!(opened(&text, &keys()), Err("HM-POLICY-0425".to_owned()));
    let operator = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    let both = file.countersigned(&operator).unwrap().to_json();
    assert_eq!(opened(&both, &keys()), Ok(signer));
    assert_eq!(SignedFile::signer_of(&both), signer);
    // What an operator alone signed, and what nobody did, is the operators'.
    let own = SignedFile::seal(FileKind::Baseline, &td("example.org"), BASELINE.to_vec(), &operator).unwrap();
    assert_eq!(opened(&own.to_json(), &keys()), Ok(Signer::Operators));
    assert_eq!(SignedFile::signer_of(""), Signer::Operators);
}

#[test]
fn a_signature_of_an_image_has_to_be_right_wherever_there_is_one() {
    let operator = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    let (file, _) = of_images(OTHER_KEY, FileKind::Baseline);
    let good = file.countersigned(&operator).unwrap().to_json();
    let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
    let right = json["image_signature"].clone();
    // The operator's own key, with the signature of the other: nobody passes as somebody else.
    let (own, _) = of_images(KEY, FileKind::Baseline);
    let own: serde_json::Value = serde_json::from_str(&own.to_json()).unwrap();
    for (field, code) in [
        ("public_key", Some("HM-POLICY-0426")),
        ("signature", Some("HM-POLICY-0426")),
        ("both", None),
    ] {
        json["image_signature"] = right.clone();
        match field {
            "both" => {}
            field => json["image_signature"][field] = own["image_signature"][field].clone(),
        }
        assert_eq!(opened(&json.to_string(), &keys()).err().as_deref(), code, "{field}");
    }
    json["image_signature"]["public_key"] = "AAAA".into();
    assert_eq!(opened(&json.to_string(), &keys()), Err("HM-POLICY-0422".to_owned()));
    // Images say what they measure, and nothing else.
    let (policy, _) = of_images(OTHER_KEY, FileKind::Policy);
    assert_eq!(
        SignedFile::parse(&policy.to_json()).unwrap_err().code().as_str(),
        "HM-POLICY-0422"
    );
    // Without any signature it is no signed file.
    json.as_object_mut()
        .unwrap()
        .retain(|field, _| !["image_signature", "key_id", "signature"].contains(&field.as_str()));
    assert_eq!(
        opened(&json.to_string(), &OperatorKeys::default()),
        Err("HM-POLICY-0422".to_owned())
    );
}

/// `openssl dgst -sha256 -sign` with a key of P-384, over the message of [`BASELINE`] for example.org; and the key's SPKI.
const P384_SIGNATURE: &str = "MGQCMD2XvdcT6R2tzhGZoWFH03cTcUlGlVcVyAtbT4soEfkr+HUjKnT0SCGIK8HqD5W8FgIwUbk82NwpNJCfHRP7h/BbLIoqk8gcRZ0CYrF+i7HnKUDZb5Hhp9poZwlTGt8YKZPF";
const P384_SPKI: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEt++VfBnPmpWLelmxJKSh5qof0wsDB1eimjzhnAlP/0U1Nk+QcYf5nnamGB2/Aey6OPKwSnj58bR6boeLpK8EwjekjVKiUiIwW17eO/GO6zqZjMVYVnT0JrBN3t4tQQKw";

#[test]
fn a_key_of_p384_signs_images() {
    let text = |payload: &str| {
        serde_json::json!({
            "hallmark_signed_file": 2, "kind": "baseline", "trust_domain": "example.org", "payload": payload,
            "image_signature": { "public_key": P384_SPKI, "signature": P384_SIGNATURE },
        })
        .to_string()
    };
    let spki = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, P384_SPKI).unwrap();
    let signer = Signer::Images(KeyId::of_spki(&spki));
    assert_eq!(opened(&text("e30="), &OperatorKeys::default()), Ok(signer));
    assert_eq!(
        opened(&text("e30K"), &OperatorKeys::default()),
        Err("HM-POLICY-0426".to_owned())
    );
}

#[test]
fn attack_52_a_signer_of_images_takes_no_other_ones_name() {
    let id = |pem| Signer::Images(of_images(pem, FileKind::Baseline).1.ids().next().unwrap());
    let (edge, server) = (id(KEY), id(OTHER_KEY));
    let may = |applied, offered, retired, replace| {
        require_same_signer("server-os", applied, offered, retired, replace).map_err(|error| error.code().to_string())
    };
    let refused = || Err("HM-POLICY-0436".to_owned());
    // A name that is free, and one's own.
    assert_eq!(may(None, edge, false, false), Ok(()));
    for own in [edge, server, Signer::Operators] {
        assert_eq!(may(Some(own), own, false, false), Ok(()));
        assert_eq!(may(Some(own), own, true, false), Ok(()));
    }
    // Another's, whoever it is: a baseline that is retired is one too.
    for (applied, offered) in [(server, edge), (Signer::Operators, edge), (server, Signer::Operators)] {
        assert_eq!(may(Some(applied), offered, false, false), refused());
        assert_eq!(
            may(Some(applied), offered, false, true),
            Ok(()),
            "by the operators' word"
        );
    }
    assert_eq!(
        may(Some(server), edge, true, false),
        refused(),
        "nor does one signer retire another's"
    );
    assert_eq!(
        may(Some(server), Signer::Operators, true, false),
        Ok(()),
        "operators do"
    );
    let error: SignedFileError = require_same_signer("server-os", Some(server), edge, false, false).unwrap_err();
    assert_eq!(
        error.compared().unwrap(),
        format!("the name is that of {server}, this one was signed by {edge}")
    );
}
