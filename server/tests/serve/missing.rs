//! Policies that name what was never applied.

use hallmark_policy::{DigestList, signed::FileKind};
use hallmark_server::{
    appraise::{Applied, Missing, Offered},
    journal::Act,
    run::Running,
};

use crate::lab::isolated;

async fn apply(running: &Running, kind: FileKind, content: &str, dry_run: bool) -> Applied {
    let act = Act {
        by: "uid:0".into(),
        reason: String::new(),
    };
    let appraiser = &running.server.appraiser;
    appraiser
        .apply(Offered::new(kind, content.into()), dry_run, &act)
        .await
        .unwrap()
}

#[test]
fn what_a_policy_names_and_is_not_there_is_told() {
    isolated("missing::what_a_policy_names_and_is_not_there_is_told", async |lab| {
        let running = lab.start().await;
        let policy =
            "version = 1\nname = \"p\"\nserial = 1\n[boot]\nbaselines = [\"never\"]\n[ima]\nlists = [\"image\"]\n";
        let missing = |kind, name: &str| Missing {
            policy: "p".into(),
            kind,
            name: name.into(),
        };
        let (baseline, list) = (
            missing(FileKind::Baseline, "never"),
            missing(FileKind::DigestList, "image"),
        );
        // The dry run, the first time, and the same once more.
        for dry_run in [true, false, false] {
            let applied = apply(&running, FileKind::Policy, policy, dry_run).await;
            assert_eq!(applied.missing, [baseline.clone(), list.clone()]);
        }
        let (image, _) = DigestList::import("image", 1, &format!("{}  /usr/bin/true\n", "ab".repeat(32))).unwrap();
        let applied = apply(&running, FileKind::DigestList, &image.to_json(), false).await;
        assert_eq!(
            applied.missing,
            std::slice::from_ref(&baseline),
            "the list is there now"
        );
        let act = Act {
            by: "uid:0".into(),
            reason: String::new(),
        };
        let appraiser = &running.server.appraiser;
        let withdrawn = appraiser
            .withdraw(FileKind::DigestList, "image", true, &act)
            .await
            .unwrap();
        assert_eq!(
            withdrawn.missing,
            [baseline, list],
            "a withdrawal leaves a policy without it"
        );
        lab.stop(running).await;
    });
}
