//! Attack 45: what is in PCR 11 behind the firmware's log, where systemd keeps no log of it (before 255).

use crate::scene::{Logs, Scene, user_space, vector, verdict};

/// A boot of a unified kernel image, and these words behind it.
fn then(words: &[(u8, &str)]) -> Logs {
    Logs {
        systemd: user_space(words),
        ..firmware()
    }
}

fn firmware() -> Logs {
    Logs::firmware(vector("base/eventlog.bin"))
}

#[test]
fn attack_45_what_passes_for_a_phase_that_was_not_logged() {
    let boots = [
        &["enter-initrd"][..],
        &["enter-initrd", "leave-initrd"],
        &["enter-initrd", "leave-initrd", "sysinit"],
        &["enter-initrd", "leave-initrd", "sysinit", "ready"],
        &["sysinit"],
        &["sysinit", "ready"],
    ];
    for boot in boots {
        let words: Vec<_> = boot.iter().map(|word| (11, *word)).collect();
        let measured = then(&words);
        let rules = format!("[boot]\nconsistent = true\nphases = [\"{}\"]", boot.last().unwrap());
        // As with a log of it, and no better.
        assert_eq!(verdict(&rules, &measured), "trusted", "{boot:?}");
        assert_eq!(
            Scene::under(&rules).verdict(&measured, &firmware()),
            "trusted",
            "{boot:?}"
        );
        let other = "[boot]\nphases = [\"shutdown\"]";
        let told = verdict(other, &measured);
        assert!(told.starts_with("HM-POLICY-"), "{told}");
        assert_eq!(Scene::under(other).verdict(&measured, &firmware()), told, "{boot:?}");
    }
    for words in [
        &[(11, "rogue")][..],
        &[(11, "ready"), (11, "sysinit")],
        &[(11, "sysinit"), (11, "ready"), (11, "ready")],
        &[(11, "sysinit"), (11, "ready"), (11, "rogue")],
        &[(12, "ready")],
        &[(9, "sysinit"), (11, "ready")],
    ] {
        let verdict = Scene::new().verdict(&then(words), &firmware());
        assert_eq!(verdict, "HM-VERIFY-0703", "{words:?}");
    }
    // A log that has phases is held to them.
    let cut = then(&[(11, "sysinit")]);
    let whole = then(&[(11, "sysinit"), (11, "ready")]);
    assert_eq!(Scene::new().verdict(&whole, &cut), "HM-VERIFY-0703");
    assert_eq!(Scene::new().verdict(&whole, &firmware()), "trusted");
}
