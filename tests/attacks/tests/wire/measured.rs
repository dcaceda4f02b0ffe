//! Attacks 36 and 48 on the wire: IMA lists that go on, and such as do not.

use crate::scene::{Site, site};
use hallmark_attacks::attest;
use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_evidence::{Log, LogKind};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::testing::SoftwareMachine;

/// A line of the template `ima-ng` about a file.
fn line(path: &str, digit: u8) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    let digest = [&b"sha256:\0"[..], &[digit; 32]].concat();
    let data = [sized(&digest), sized(&[path.as_bytes(), &[0]].concat())].concat();
    let hash = HashAlg::Sha1.digest(&data);
    [&10_u32.to_le_bytes()[..], &hash, &sized(b"ima-ng"), &sized(&data)].concat()
}

/// The kernel has measured these lines.
fn measured(machine: &mut SoftwareMachine, lines: &[Vec<u8>]) {
    let mut replay = ImaReplay::at_boot(HashAlg::Sha256);
    let bytes = lines.concat();
    ImaList::binary(&bytes)
        .lines()
        .for_each(|line| replay.extend(&line.unwrap()));
    machine.pcrs.insert((0x000b, 10), replay.value().to_vec());
}

fn part(offset: usize, lines: &[Vec<u8>]) -> Vec<Log> {
    vec![Log::new(LogKind::Ima, u64::try_from(offset).unwrap(), lines.concat()).unwrap()]
}

async fn accepted(site: &mut Site, what: &str, machine: &SoftwareMachine) {
    if let Err(told) = attest(&site.wire().await, machine).await {
        panic!("{what}: {told}");
    }
    assert_eq!(site.verdicts().await[0].outcome, "accepted", "{what}");
}

#[test]
fn attack_36_48_a_list_goes_on_from_where_it_ended_and_nowhere_else() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let lines: Vec<Vec<u8>> = (1..6).map(|digit| line("/usr/bin/a", digit)).collect();
        let end = lines[..3].concat().len();
        measured(&mut machine, &lines[..3]);
        // The list grew while the quote was made: what is behind the quote is sent, and not taken for proven.
        machine.logs = part(0, &lines[..4]);
        accepted(site, "the first part", &machine).await;
        measured(&mut machine, &lines);
        for (what, logs, code, class) in [
            ("rewound", part(end - 1, &lines[3..]), "HM-VERIFY-0903", "HM-SRV-0104"),
            ("skipped", part(end + 1, &lines[3..]), "HM-VERIFY-0903", "HM-SRV-0104"),
            (
                "from where the unproven line ended",
                part(lines[..4].concat().len(), &lines[4..]),
                "HM-VERIFY-0903",
                "HM-SRV-0104",
            ),
            (
                "rewound by its bytes",
                part(end, &lines[2..]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
            (
                "skipped by its bytes",
                part(end, &lines[4..]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
            (
                "older than the quote",
                part(end, &lines[3..4]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
            (
                "whole, less a line",
                part(0, &lines[1..]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
        ] {
            machine.logs = logs;
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused_as(what, &told, code, class).await;
        }
        machine.logs = part(end, &lines[3..]);
        accepted(site, "the second part", &machine).await;
        // Another boot: nothing of this list is a beginning of that one.
        machine.reset_count += 1;
        let whole = lines.concat().len();
        machine.logs = part(whole, &[]);
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused_as("another boot", &told, "HM-VERIFY-0903", "HM-SRV-0104")
            .await;
        machine.logs = part(0, &lines);
        accepted(site, "whole again", &machine).await;
    });
}
