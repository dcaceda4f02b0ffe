//! The lab's own parts: TPMs, the interposer, the token.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_kit::{EkAuthority, Fault, Swtpm, SwtpmOptions, TctiProxy, Token, TpmSocket};
use std::process::Command;

const CC_PCR_READ: u32 = 0x17e;

fn pcr_read(tcti: &str) -> std::process::Output {
    Command::new("tpm2_pcrread")
        .args(["-T", tcti, "sha256:7"])
        .env("TSS2_LOG", "all+none")
        .output()
        .unwrap()
}

#[test]
fn a_tpm_is_manufactured_boots_and_forgets_its_boot_when_reset() {
    let dir = tempfile::tempdir().unwrap();
    let maker = EkAuthority::create(&dir.path().join("maker")).unwrap();
    let mut booted = Swtpm::manufacture(&dir.path().join("a"), &maker, SwtpmOptions::default()).unwrap();
    booted.power_on().unwrap();
    assert!(maker.root().exists() && maker.issuer().exists());
    assert_eq!(booted.ek_sha256().unwrap().len(), 64);
    let first = pcr_read(&booted.tcti());
    let zero = format!("0x{}", "0".repeat(64));
    assert!(first.status.success() && !String::from_utf8_lossy(&first.stdout).contains(&zero));
    booted.extend(7, &[7; 32]).unwrap();
    assert_ne!(pcr_read(&booted.tcti()).stdout, first.stdout);
    booted.power_off();
    booted.power_on().unwrap();
    assert_eq!(
        pcr_read(&booted.tcti()).stdout,
        first.stdout,
        "a reset and the same firmware give the same PCR"
    );

    let bare = SwtpmOptions {
        ek_certificate: false,
        booted: false,
    };
    let mut bare = Swtpm::manufacture(&dir.path().join("b"), &maker, bare).unwrap();
    bare.power_on().unwrap();
    assert!(String::from_utf8_lossy(&pcr_read(&bare.tcti()).stdout).contains(&zero));
    assert!(bare.ek_certificate().is_err());
}

#[test]
fn the_interposer_counts_and_misbehaves_on_demand_only() {
    let dir = tempfile::tempdir().unwrap();
    let maker = EkAuthority::create(&dir.path().join("maker")).unwrap();
    let mut tpm = Swtpm::manufacture(&dir.path().join("a"), &maker, SwtpmOptions::default()).unwrap();
    tpm.power_on().unwrap();
    let proxy = TctiProxy::start(tpm.port()).unwrap();
    let good = pcr_read(&proxy.tcti());
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert_eq!(proxy.counts().get(&CC_PCR_READ), Some(&1));
    proxy.set_rule(|code, _| {
        if code == CC_PCR_READ {
            Fault::ResponseCode(0x101)
        } else {
            Fault::None
        }
    });
    assert!(!pcr_read(&proxy.tcti()).status.success());
    proxy.set_rule(|code, _| if code == CC_PCR_READ { Fault::Cut } else { Fault::None });
    assert!(!pcr_read(&proxy.tcti()).status.success());
    proxy.clear_rule();
    assert_eq!(pcr_read(&proxy.tcti()).stdout, good.stdout);
    proxy.reset();
    assert_eq!(proxy.total(), 0);
    let mut raw = TpmSocket::connect(tpm.port()).unwrap();
    raw.extend(7, &[1; 32]).unwrap();
}

#[test]
fn a_token_is_found_by_its_label() {
    let dir = tempfile::tempdir().unwrap();
    let token = Token::create(dir.path(), "parts").unwrap();
    let slots = Command::new("softhsm2-util")
        .arg("--show-slots")
        .env("SOFTHSM2_CONF", token.conf())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&slots.stdout).contains("parts"));
    assert!(Token::module().exists());
}
