//! Machines that are installed: files as disks, a real image server and a real gRPC server on loopback.

mod images;
mod lab;
mod meanwhile;
mod provisioning;
mod returned;
mod table;

use hallmark_api::provision::Step;
use hallmark_reason::Coded as _;

use super::*;
use images::{Behaviour, CHUNK, Image};
use lab::Lab;

/// A disk that is larger than the image, as disks are.
const DISK: u64 = 5 * CHUNK;

fn of(name: &str) -> Image {
    Image::new(name, 3 * CHUNK + 4096)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_disk_gets_the_image_and_its_boot_entry() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.install().await;
    lab.holds_the_image();
    assert_eq!(lab.boot_order(), [1, 0]);
    let steps = lab.provisioning.steps();
    assert_eq!(steps.first(), Some(&Step::Writing));
    assert_eq!(steps[steps.len() - 2..], [Step::Written, Step::Restarting]);
    let last = lab.provisioning.last();
    assert_eq!((last.attempt, last.chunks_done, last.chunks), (1, 4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_as_large_as_the_disk_fits() {
    let image = of("edge");
    let octets = image.disk.len().try_into().unwrap();
    let mut lab = Lab::new(image, octets).await;
    lab.install().await;
    lab.holds_the_image();
}

/// The zeros of an image are on a blank disk already, and chunks that are the same are fetched once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_fetched() {
    let mut image = of("edge");
    image.fill(1, 0);
    let mut lab = Lab::new(image, DISK).await;
    lab.install().await;
    lab.holds_the_image();
    assert_eq!(lab.images.count(&lab.image.chunk(1)), 0);
    assert_eq!(lab.images.count(&lab.image.chunk(2)), 1);

    let mut image = of("edge");
    (1..3).for_each(|number| image.fill(number, 9));
    let mut lab = Lab::new(image, DISK).await;
    lab.install().await;
    lab.holds_the_image();
    assert_eq!(lab.images.count(&lab.image.chunk(1)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_chunks_is_away_halfway_and_the_next_attempt_goes_on() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.images.behave(Behaviour::Away { of: lab.image.chunk(2) });
    let failed = lab.fails().await;
    assert_eq!(failed.code, "HM-AGENT-0037", "{failed:?}");
    // What makes a disk start is written last.
    assert!(lab.disk()[..1 << 20].iter().all(|octet| *octet == 0));
    assert_eq!(lab.boot_order(), [0]);
    assert_eq!(lab.images.count(&lab.image.chunk(1)), 1);

    lab.images.behave(Behaviour::Good);
    lab.provisioning.retry();
    lab.install().await;
    lab.holds_the_image();
    assert_eq!(
        lab.images.count(&lab.image.chunk(1)),
        1,
        "what was written before is not fetched again"
    );
    assert_eq!(lab.provisioning.last().attempt, 2);
}

/// Connections that break, and answers that say that they will not last, are tried again within one attempt.
#[tokio::test(flavor = "multi_thread")]
async fn faults_that_pass_are_waited_for() {
    for behaviour in [Behaviour::cut(1), Behaviour::cut(2), Behaviour::Unwell { answers: 2 }] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.images.behave(behaviour.clone());
        lab.install().await;
        lab.holds_the_image();
        assert!(lab.images.faults() > 0, "{behaviour:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_octets_than_the_manifest_names_are_not_written() {
    let image = of("edge");
    let (chunk, whole) = (image.chunk(2), image.content(2).to_vec());
    let mut tampered = whole.clone();
    tampered[77] ^= 1;
    let longer = [&whole[..], &[0]].concat();
    let answers = [
        (tampered, "HM-AGENT-0042"),
        (whole[..whole.len() - 1].to_vec(), "HM-AGENT-0042"),
        (Vec::new(), "HM-AGENT-0042"),
        (longer, "HM-AGENT-0037"),
    ];
    for (answer, code) in answers {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.images.put(&chunk, answer);
        assert_eq!(lab.fails().await.code, code);
        let place = usize::try_from(2 * CHUNK).unwrap();
        assert!(
            lab.disk()[place..].iter().all(|octet| *octet == 0),
            "nothing of it is on the disk"
        );
        lab.does_not_start();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_changed_or_cut_is_refused() {
    let image = of("edge");
    let changed = image.manifest.replace("edge", "gate");
    for manifest in [changed.as_str(), &image.manifest[..image.manifest.len() - 65], ""] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.images.put("manifest", manifest.as_bytes().to_vec());
        assert_eq!(lab.fails().await.code, "HM-AGENT-0040", "{manifest}");
        lab.is_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_image_that_was_not_assigned_is_refused() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let older = of("older");
    let signature = lab.signer.sign(older.manifest.as_bytes());
    lab.images.put("manifest", older.manifest.clone().into_bytes());
    lab.images.put("manifest.sig", signature);
    let failed = lab.fails().await;
    assert_eq!(failed.code, "HM-AGENT-0041");
    assert!(
        failed.reason.contains(&hex::encode(sha256(older.manifest.as_bytes()))),
        "{failed:?}"
    );
    lab.is_untouched();
}

/// Signed and assigned, and still not what is written: the one who assigned it was mistaken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_manifest_is_refused() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let other = b"image=hallmark-edge\n".to_vec();
    lab.images.put("manifest.sig", lab.signer.sign(&other));
    lab.provisioning
        .change(|assignment| assignment.manifest_sha256 = sha256(&other).to_vec().into());
    lab.images.put("manifest", other);
    assert_eq!(lab.fails().await.code, "HM-REG-0095");
    lab.is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_keys_of_this_machines_signers_count() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let stranger = lab::Signer::rsa();
    lab.images
        .put("manifest.sig", stranger.sign(lab.image.manifest.as_bytes()));
    assert_eq!(lab.fails().await.code, "HM-AGENT-0040");
    lab.is_untouched();
    // As soon as the machine's image has the certificate, it is good.
    std::fs::write(lab.places.signers.join("second.pem"), &stranger.certificate).unwrap();
    lab.provisioning.retry();
    lab.install().await;
    lab.holds_the_image();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_kinds_that_sign_images_are_read() {
    for signer in [lab::Signer::p256(), lab::Signer::p384(), lab::Signer::rsa()] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.pem"), &signer.certificate).unwrap();
        let signers = Signers::load(folder.path()).unwrap();
        let mut signature = signer.sign(b"manifest");
        signers.verify(b"manifest", &signature).unwrap();
        assert!(signers.verify(b"another", &signature).is_err());
        *signature.last_mut().unwrap() ^= 1;
        assert!(signers.verify(b"manifest", &signature).is_err());
        assert!(signers.verify(b"manifest", &[]).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_certificates_of_signers_nothing_is_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let refused = |why: &str| {
        let error = Signers::load(folder.path()).err().unwrap();
        assert!(
            error.code().as_str() == "HM-AGENT-0039" && error.compared().unwrap().contains(why),
            "{error:?}"
        );
    };
    refused("there is no *.pem");
    let file = folder.path().join("a.pem");
    std::fs::write(&file, "nothing").unwrap();
    refused("neither PEM nor DER");
    std::fs::write(&file, &lab::Signer::p256().certificate).unwrap();
    Signers::load(folder.path()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    refused("others can change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_is_not_touched() {
    let image = of("edge");
    let octets: u64 = image.disk.len().try_into().unwrap();
    let mut lab = Lab::new(image, octets - 512).await;
    let failed = lab.fails().await;
    assert_eq!(failed.code, "HM-AGENT-0044");
    assert!(failed.reason.contains(&octets.to_string()), "{failed:?}");
    lab.is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_something_is_overwritten_only_where_that_is_assigned() {
    // A boot sector, a partition table, a file system, what stands at the end of disks of an array.
    for place in [0, 510, 512, 1080, (1 << 20) - 1, DISK - 512, DISK - 65_536] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.scribble(place, b"\x55");
        let before = lab.disk();
        let failed = lab.fails().await;
        assert_eq!(failed.code, "HM-AGENT-0045", "{place}");
        assert!(failed.reason.contains(&place.to_string()), "{failed:?}");
        assert!(before == lab.disk(), "the disk is as it was");

        lab.provisioning.retry();
        lab.provisioning.change(|assignment| assignment.overwrite = true);
        lab.install().await;
        lab.holds_the_image();
    }
}

/// Otherwise firmware would find an old partition table at the end of the disk, or start what is left of an old system.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_overwritten_does_not_start_halfway() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.scribble(0, &gpt::tests::bootable());
    lab.scribble(DISK - 512, b"EFI PART");
    lab.provisioning.change(|assignment| assignment.overwrite = true);
    lab.images.behave(Behaviour::Away { of: lab.image.chunk(3) });
    assert_eq!(lab.fails().await.code, "HM-AGENT-0037");
    let disk = lab.disk();
    assert!(disk[..1 << 20].iter().all(|octet| *octet == 0) && disk.ends_with(&[0; 512]));
    assert_eq!(lab.boot_order(), [0]);
}

/// The machine was cut off before it came to the boot entry: nothing is written, and the entry is set.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_the_image_already_gets_its_boot_entry() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let image = lab.image.disk.clone();
    lab.scribble(0, &image);
    lab.install().await;
    assert_eq!(lab.boot_order(), [1, 0]);
    assert_eq!(lab.images.count(&lab.image.chunk(0)), 0);
    // One that has run since then has the machine's own data.
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.scribble(0, &image);
    lab.scribble(2 * CHUNK, b"data");
    assert_eq!(lab.fails().await.code, "HM-AGENT-0045");
}

/// Power was lost while the first chunk was written, whose beginning comes last; or the last one, at the end of the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_cut_off_is_gone_on_from() {
    let image = of("edge").disk;
    let octets = u64::try_from(image.len()).unwrap();
    let torn = [
        (4096, 1 << 20),
        (4096, 5 << 19),
        (octets - 3000, 3000),
        (octets - 70_000, 1024),
    ];
    for (place, length) in torn {
        let mut lab = Lab::new(of("edge"), octets).await;
        let from = usize::try_from(place).unwrap();
        lab.scribble(place, &image[from..from + length]);
        lab.does_not_have_a_beginning();
        lab.install().await;
        lab.holds_the_image();
    }
    // The controls: other octets among them, and one that has its beginning.
    for (place, data) in [(70_000, b"x".as_slice()), (octets - 700, b"x"), (0, &image[..4096])] {
        let mut lab = Lab::new(of("edge"), octets).await;
        lab.scribble(4096, &image[4096..1 << 20]);
        lab.scribble(place, data);
        assert_eq!(lab.fails().await.code, "HM-AGENT-0045", "{place}");
    }
}

/// The order was taken back, or corrected, while the image server was away: what is on the disk stays.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cleared_before_the_server_has_agreed() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.scribble(1080, b"a file system");
    let before = lab.disk();
    lab.provisioning.change(|assignment| assignment.overwrite = true);
    lab.provisioning.retry_at_step(Step::Writing);
    assert_eq!(lab.fails().await.code, "HM-AGENT-0045");
    assert!(before == lab.disk(), "the disk is as it was");
}

/// A ban that comes while it writes: what makes the disk start waits for the server's word.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_put_out_has_no_disk_that_starts_until_it_is_let_in() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.provisioning.deny_at(Some(3));
    lab.is_denied().await;
    lab.does_not_start();
    assert_eq!(
        lab.images.count(&lab.image.chunk(3)),
        1,
        "the control: all others are there"
    );
    lab.provisioning.deny_at(None);
    lab.install().await;
    lab.holds_the_image();
}

/// Two disks of one recipe have the same partitions: the firmware would start whichever it finds first.
#[tokio::test(flavor = "multi_thread")]
async fn beside_a_disk_with_the_same_partition_nothing_is_installed() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    for folder in [&lab.places.disks, &lab.places.devices] {
        std::fs::create_dir(folder).unwrap();
    }
    for name in ["disk", "other"] {
        std::fs::create_dir(lab.places.disks.join(name)).unwrap();
    }
    let other = lab.places.devices.join("other");
    std::fs::write(&other, &lab.image.disk[..1 << 20]).unwrap();
    let failed = lab.fails().await;
    assert!(
        failed.code == "HM-AGENT-0052" && failed.reason.contains("other"),
        "{failed:?}"
    );
    lab.is_untouched();
    std::fs::write(&other, vec![0; 1 << 20]).unwrap();
    lab.provisioning.retry();
    lab.install().await;
    lab.holds_the_image();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_a_write_is_told() {
    let mut lab = Lab::on_sealable_memory(of("edge"), DISK).await;
    // From the third chunk on the kernel takes no write.
    lab.images.behave(Behaviour::Seals {
        at: lab.image.chunk(2),
        memory: lab.memory(),
    });
    let failed = lab.fails().await;
    assert_eq!(failed.code, "HM-AGENT-0046", "{failed:?}");
    assert!(failed.reason.contains(&format!("at {}", 2 * CHUNK)), "{failed:?}");
    lab.does_not_start();
}

/// The control is every test that installs: there, the same reading finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_hold_what_was_written_is_told() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    // As the third chunk is fetched, the second goes bad.
    lab.images.behave(Behaviour::Scribbles {
        at: lab.image.chunk(2),
        disk: lab.disk.clone(),
        place: CHUNK + 5,
    });
    let failed = lab.fails().await;
    assert_eq!(failed.code, "HM-AGENT-0047", "{failed:?}");
    lab.does_not_start();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firmware_that_takes_no_entry_is_found_out_before_anything_is_written() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    std::fs::remove_dir_all(&lab.places.variables).unwrap();
    assert_eq!(lab.fails().await.code, "HM-AGENT-0049");
    lab.is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_the_only_fixed_one_or_the_one_that_is_named() {
    let (folder, devices) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let device = |name: &str| devices.path().join(name);
    let named = |name: &str| device(name).display().to_string();
    let add = |name: &str, removable: &str, size: &str| {
        std::fs::write(device(name), b"").unwrap();
        let disk = folder.path().join(name);
        std::fs::create_dir(&disk).unwrap();
        std::fs::write(disk.join("removable"), removable).unwrap();
        std::fs::write(disk.join("size"), size).unwrap();
    };
    let disks = Disks::new(folder.path().to_owned(), devices.path().to_owned());
    add("sr0", "1\n", "2048\n");
    add("loop0", "0\n", "2048\n");
    add("sda", "1\n", "2048\n");
    add("nvme0n1", "0\n", "0\n");
    let none = disks.choose("").unwrap_err();
    assert_eq!(none.code().as_str(), "HM-AGENT-0043");
    add("vda", "0\n", "2048\n");
    // The boot areas of an eMMC, and a path to an NVMe disk behind several.
    for (name, file) in [("mmcblk0boot0", "ro"), ("nvme0c0n1", "hidden")] {
        add(name, "0\n", "2048\n");
        std::fs::write(folder.path().join(name).join(file), "1\n").unwrap();
    }
    assert_eq!(disks.choose("").unwrap(), device("vda"));
    add("nvme1n1", "0\n", "4096\n");
    let several = disks.choose("").unwrap_err().compared().unwrap();
    assert!(several.contains("nvme1n1, vda"), "{several}");
    assert_eq!(disks.choose(&named("nvme1n1")).unwrap(), device("nvme1n1"));

    let queue = folder.path().join("nvme1n1/queue");
    std::fs::create_dir(&queue).unwrap();
    std::fs::write(queue.join("logical_block_size"), "512\n").unwrap();
    assert_eq!(disks.choose(&named("nvme1n1")).unwrap(), device("nvme1n1"));
    std::fs::write(queue.join("logical_block_size"), "4096\n").unwrap();
    let other = disks.choose(&named("nvme1n1")).unwrap_err();
    assert_eq!(other.code().as_str(), "HM-AGENT-0051");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_comes_later_and_a_server_that_is_busy_are_waited_for() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.provisioning.refuse_once(tonic::Status::resource_exhausted("busy"));
    lab.install().await;
    lab.holds_the_image();
}

/// An administrator has assigned something else meanwhile: the machine asks what, and tells nobody that it failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_the_server_gave_up_ends() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.provisioning.retry_at_step(Step::Written);
    lab.install().await;
    lab.holds_the_image();
    let last = lab.provisioning.last();
    assert_eq!((last.attempt, last.step()), (2, Step::Restarting));
    assert!(!lab.provisioning.steps().contains(&Step::Failed));
    assert_eq!(lab.images.count(&lab.image.chunk(1)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_image_servers_certificate_has_to_lead_to_an_authority() {
    let mut lab = Lab::over_tls(of("edge"), DISK).await;
    let authorities = lab.places.authorities.clone();
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other.path(), &lab::Signer::p256().certificate).unwrap();
    lab.places.authorities = other.path().to_owned();
    let failed = lab.fails().await;
    assert_eq!(failed.code, "HM-AGENT-0038", "{failed:?}");
    lab.places.authorities = "/nonexistent".into();
    lab.provisioning.retry();
    assert_eq!(lab.fails().await.code, "HM-AGENT-0038");
    lab.is_untouched();
    lab.places.authorities = authorities;
    lab.provisioning.retry();
    lab.install().await;
    lab.holds_the_image();
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_refusals_of_the_image_server_end_the_attempt_at_once() {
    for (status, code) in [(301, "HM-AGENT-0054"), (403, "HM-AGENT-0037"), (404, "HM-AGENT-0037")] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.images.behave(Behaviour::Answers {
            of: "manifest.sig".into(),
            status,
        });
        let failed = lab.fails().await;
        assert!(
            failed.code == code && failed.reason.contains(&status.to_string()),
            "{failed:?}"
        );
        assert_eq!(lab.images.count("manifest.sig"), 1);
        lab.is_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_server_that_says_nothing_is_not_waited_for_without_end() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.patience.answer = Duration::from_millis(200);
    lab.images.behave(Behaviour::Silent { of: lab.image.chunk(1) });
    let failed = lab.fails().await;
    assert!(
        failed.code == "HM-AGENT-0037" && failed.reason.contains("no answer in time"),
        "{failed:?}"
    );
    lab.does_not_start();
}
