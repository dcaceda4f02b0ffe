//! Machines that were installed before and come back from the network.

use super::*;

/// Whatever the system on the disk has written since, nothing is written and nothing fetched: the firmware's entry is set again.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_installed_is_sent_to_its_disk_and_nothing_is_written() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let image = lab.image.disk.clone();
    lab.scribble(0, &image);
    lab.scribble(2 * CHUNK, b"data of the machine");
    lab.scribble(DISK - 512, b"EFI PART");
    let before = lab.disk();
    lab.provisioning.is_installed();
    // Not even where the image may overwrite.
    lab.provisioning.change(|assignment| assignment.overwrite = true);
    lab.install().await;
    assert!(before == lab.disk(), "the disk is as it was");
    assert_eq!(lab.boot_order(), [1, 0]);
    assert_eq!(lab.provisioning.steps(), [Step::Returned]);
    assert_eq!(lab.images.count("manifest"), 0);
    // The control: to a machine that was not, it is written.
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.scribble(2 * CHUNK, b"data of the machine");
    lab.install().await;
    lab.holds_the_image();
}

/// The disk was replaced: an operator says whether the new one is written.
#[tokio::test(flavor = "multi_thread")]
async fn an_installed_machine_without_what_was_installed_waits_for_an_operator() {
    for content in [b"".as_slice(), b"a file system"] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.scribble(1 << 20, content);
        let before = lab.disk();
        lab.provisioning.is_installed();
        let failed = lab.fails().await;
        assert_eq!(failed.code, "HM-AGENT-0053", "{failed:?}");
        assert!(before == lab.disk(), "the disk is as it was");
        assert_eq!(lab.boot_order(), [0]);
        lab.provisioning.retry();
        lab.install().await;
        assert_eq!(lab.boot_order(), [1, 0]);
    }
}
