//! The partition table on disks that are larger than the image.

use super::*;

fn with_whole_table() -> Image {
    let mut image = of("edge");
    let table = gpt::tests::whole(image.disk.len().try_into().unwrap());
    image.replace(&table);
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_second_copy_is_at_the_end_of_the_disk() {
    let mut lab = Lab::new(with_whole_table(), DISK).await;
    lab.install().await;
    let disk = lab.disk();
    assert!(gpt::tests::is_whole_to_its_end(&disk));
    assert!(
        disk[1024..lab.image.disk.len()] == lab.image.disk[1024..],
        "the rest is the image"
    );
    assert_eq!(lab.boot_order(), [1, 0]);
    // What was written is known again: nothing is to be fetched but the first chunk, and nothing is written.
    let mut again = Lab::new(with_whole_table(), DISK).await;
    again.scribble(0, &disk);
    again.install().await;
    assert!(disk == again.disk());
    assert_eq!(again.images.count(&again.image.chunk(1)), 0);
    // On a disk as large as the image it stays where it is.
    let image = with_whole_table();
    let octets = image.disk.len().try_into().unwrap();
    let mut same = Lab::new(image, octets).await;
    same.install().await;
    same.holds_the_image();
}

/// Power was lost while the second copy was written, or behind that.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_cut_off_is_gone_on_from() {
    let mut lab = Lab::new(with_whole_table(), DISK).await;
    lab.install().await;
    let whole = lab.disk();
    for length in [512, 33 * 512] {
        let mut lab = Lab::new(with_whole_table(), DISK).await;
        let at = whole.len() - 33 * 512;
        lab.scribble(at.try_into().unwrap(), &whole[at..at + length]);
        lab.install().await;
        assert!(whole == lab.disk(), "{length}");
    }
    // The control: another table there.
    let mut lab = Lab::new(with_whole_table(), DISK).await;
    lab.scribble(DISK - 512, b"EFI PART");
    assert_eq!(lab.fails().await.code, "HM-AGENT-0045");
}
