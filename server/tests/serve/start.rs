//! Starts: the first, later ones, those that were cut short, and those that must fail.

use std::fs;

use hallmark_hsm::KeyKind;
use hallmark_server::{authority::key_label, clock::Clock};
use hallmark_spiffe::TrustDomain;

use crate::lab::{Lab, TRUST_DOMAIN, init_token, isolated};

async fn shifted(by: i64) -> Clock {
    let (clock, hand) = Clock::movable();
    hand.set(by).await;
    clock
}

fn forget_store(lab: &Lab) {
    fs::remove_dir_all(lab.folder.join("data")).unwrap();
}

#[test]
fn the_authority_is_made_once_and_found_again() {
    isolated("start::the_authority_is_made_once_and_found_again", async |lab| {
        let first = lab.start().await;
        let keys = first.server.keys.list().await.unwrap();
        // Beside it is the key that signs JWT-SVIDs.
        let x509 = key_label(&TrustDomain::parse(TRUST_DOMAIN).unwrap(), 1);
        let jwt = format!("hallmark-jwt-{TRUST_DOMAIN}-");
        assert!(keys.len() == 2 && keys[0].label.starts_with(&jwt) && keys[1].label == x509);
        assert!(keys.iter().all(|key| key.is_protected()));
        let bundle = first.server.authority.load().bundle.clone();
        assert_eq!((bundle.x509_authorities.len(), bundle.sequence), (1, 2));
        lab.stop(first).await;

        let second = lab.start().await;
        assert_eq!(second.server.keys.list().await.unwrap(), keys);
        assert_eq!(second.server.authority.load().bundle, bundle);
        lab.stop(second).await;
    });
}

/// The store as a first start leaves it that was cut short before it had a certificate.
fn cut_short(lab: &Lab) {
    let store = rusqlite::Connection::open(lab.folder.join("data/server.db")).unwrap();
    assert_eq!(store.execute("DELETE FROM authority_certificates", []).unwrap(), 1);
    // With a bundle it would have had one, and be damaged.
    assert_eq!(
        store
            .execute("DELETE FROM meta WHERE key = 'bundle_sequence'", [])
            .unwrap(),
        1
    );
}

#[test]
fn a_key_left_by_a_start_that_was_cut_short_is_taken_up() {
    isolated(
        "start::a_key_left_by_a_start_that_was_cut_short_is_taken_up",
        async |mut lab| {
            let first = lab.start().await;
            let keys = first.server.keys.list().await.unwrap();
            lab.stop(first).await;
            cut_short(&lab);
            lab.set("authority", "key_type", "ec-p384");
            assert_eq!(
                lab.refused(Clock::system()).await,
                "HM-SRV-0014",
                "of another kind it is not"
            );
            lab.set("authority", "key_type", "ec-p256");
            let second = lab.start().await;
            assert_eq!(second.server.keys.list().await.unwrap(), keys, "no second key was made");
            lab.stop(second).await;
        },
    );
}

#[test]
fn an_empty_store_is_not_begun_with_a_token_that_was_used_before() {
    isolated(
        "start::an_empty_store_is_not_begun_with_a_token_that_was_used_before",
        async |mut lab| {
            let first = lab.start().await;
            let bundle = first.server.authority.load().bundle.clone();
            lab.stop(first).await;
            // As where the volume of the data folder is not mounted; and of no kind of key.
            let (store, away) = (lab.folder.join("data"), lab.folder.join("away"));
            fs::rename(&store, &away).unwrap();
            for kind in ["ec-p384", "ec-p256"] {
                lab.set("authority", "key_type", kind);
                for _ in 0..2 {
                    assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0032");
                }
            }
            // Nor with half a key: the other half signed, or is in a backup.
            let whole = lab.folder.join("whole");
            let half = key_objects(&lab).swap_remove(0);
            fs::rename(&half, &whole).unwrap();
            assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0032");
            fs::rename(&whole, &half).unwrap();
            // A key under a later label counts as well.
            init_token(&lab.folder, "later");
            lab.set("hsm", "token_label", "later");
            fs::remove_dir_all(&store).unwrap();
            let other = lab.start().await;
            let later = key_label(&TrustDomain::parse(TRUST_DOMAIN).unwrap(), 3);
            other.server.keys.generate(&later, KeyKind::EcP256).await.unwrap();
            let first = other.server.authority.load().key.id.clone();
            other.server.keys.destroy(&first).await.unwrap();
            lab.stop(other).await;
            fs::remove_dir_all(&store).unwrap();
            assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0032");
            lab.set("hsm", "token_label", "hallmark");

            // The control: with its own store the server is what it was.
            fs::remove_dir_all(&store).unwrap();
            fs::rename(&away, &store).unwrap();
            let second = lab.start().await;
            assert_eq!(second.server.authority.load().bundle, bundle);
            lab.stop(second).await;
        },
    );
}

/// The objects of the only token, token.object aside.
fn key_objects(lab: &Lab) -> Vec<std::path::PathBuf> {
    let tokens = fs::read_dir(lab.folder.join("tokens")).unwrap();
    let files = tokens.flat_map(|token| fs::read_dir(token.unwrap().path()).unwrap());
    let is_key = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|ending| ending == "object") && !path.ends_with("token.object")
    };
    files.map(|file| file.unwrap().path()).filter(is_key).collect()
}

#[test]
fn half_a_key_is_passed_over_unless_it_signs() {
    isolated("start::half_a_key_is_passed_over_unless_it_signs", async |mut lab| {
        lab.set("authority", "jwt_svids", false);
        let first = lab.start().await;
        lab.stop(first).await;
        let halves = key_objects(&lab);
        assert_eq!(halves.len(), 2);
        fs::remove_file(&halves[0]).unwrap();
        assert_eq!(
            lab.refused(Clock::system()).await,
            "HM-HSM-0015",
            "the authority's own key must be whole"
        );
        cut_short(&lab);
        let second = lab.start().await;
        assert_eq!(second.server.authority.load().label, "hallmark-x509-example.org-2");
        lab.stop(second).await;
        let third = lab.start().await;
        assert_eq!(third.server.authority.load().label, "hallmark-x509-example.org-2");
        lab.stop(third).await;
    });
}

#[test]
fn every_kind_of_key_signs() {
    isolated("start::every_kind_of_key_signs", async |mut lab| {
        for kind in [KeyKind::EcP384, KeyKind::Rsa2048] {
            let label = kind.to_string();
            init_token(&lab.folder, &label);
            lab.set("hsm", "token_label", label.clone());
            lab.set("authority", "key_type", label);
            let running = lab.start().await;
            assert_eq!(running.server.authority.load().key.kind, kind);
            let client = crate::client::Client::anonymous(&running.server.authority.load().bundle);
            client.handshake(running.address).await.unwrap();
            lab.stop(running).await;
            forget_store(&lab);
        }
    });
}

#[test]
fn a_token_that_does_not_belong_to_the_store_is_refused() {
    isolated(
        "start::a_token_that_does_not_belong_to_the_store_is_refused",
        async |mut lab| {
            let first = lab.start().await;
            lab.stop(first).await;
            init_token(&lab.folder, "other");
            lab.set("hsm", "token_label", "other");
            assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0010");

            let store = lab.folder.join("data");
            fs::rename(&store, lab.folder.join("kept")).unwrap();
            let other = lab.start().await;
            lab.stop(other).await;
            fs::remove_dir_all(&store).unwrap();
            fs::rename(lab.folder.join("kept"), &store).unwrap();
            assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0011");

            lab.set("hsm", "token_label", "hallmark");
            let again = lab.start().await;
            lab.stop(again).await;
        },
    );
}

#[test]
fn a_clock_outside_the_authoritys_time_is_refused() {
    isolated("start::a_clock_outside_the_authoritys_time_is_refused", async |lab| {
        let first = lab.start().await;
        lab.stop(first).await;
        assert_eq!(lab.refused(shifted(-3600).await).await, "HM-SRV-0012");
        assert_eq!(lab.refused(shifted(9000 * 3600).await).await, "HM-SRV-0013");
        let later = lab.try_start(shifted(3600).await).await.unwrap();
        lab.stop(later).await;
    });
}

#[test]
fn what_another_server_has_is_not_taken_from_it() {
    isolated(
        "start::what_another_server_has_is_not_taken_from_it",
        async |mut lab| {
            let first = lab.start().await;
            assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0002");
            let elsewhere = lab.folder.join("elsewhere.sock").display().to_string();
            lab.set("listen", "admin_socket", elsewhere);
            assert_eq!(lab.refused(Clock::system()).await, "HM-STORE-0005");
            lab.set("listen", "address", first.address.to_string());
            assert_eq!(lab.refused(Clock::system()).await, "HM-SRV-0001");
            lab.stop(first).await;
            let second = lab.start().await;
            lab.stop(second).await;
        },
    );
}

#[test]
fn a_token_that_cannot_be_used_has_its_code() {
    isolated("start::a_token_that_cannot_be_used_has_its_code", async |mut lab| {
        let codes = async |lab: &Lab| lab.refused(Clock::system()).await;
        lab.set("hsm", "token_label", "absent");
        let missing = codes(&lab).await;
        lab.set("hsm", "token_label", "hallmark");
        lab.set("hsm", "module", "/absent/module.so");
        let unloadable = codes(&lab).await;
        lab.set("hsm", "module", "/usr/lib/softhsm/libsofthsm2.so");
        fs::write(lab.folder.join("pin"), "4711").unwrap();
        let wrong = codes(&lab).await;
        assert!(
            [&missing, &unloadable, &wrong]
                .iter()
                .all(|code| code.starts_with("HM-HSM-")),
            "{missing} {unloadable} {wrong}"
        );
        assert!(missing != unloadable && unloadable != wrong && missing != wrong);
        fs::write(lab.folder.join("pin"), "1234").unwrap();
        let running = lab.start().await;
        lab.stop(running).await;
    });
}
