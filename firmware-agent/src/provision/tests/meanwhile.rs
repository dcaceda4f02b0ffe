//! What changes while a machine waits, and what an image server answers beside files.

use std::time::Duration;

use tokio::time::sleep;

use super::*;

/// An operator corrects the assignment while the image server says nothing: its patience is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_assignment_and_a_removal_are_heard_while_the_image_server_says_nothing() {
    for (silent, is_removed) in [("manifest", false), ("chunk", false), ("chunk", true)] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        let silent = if silent == "chunk" {
            lab.image.chunk(1)
        } else {
            silent.to_owned()
        };
        // Longer than any test.
        lab.patience.answer = Duration::from_secs(3600);
        lab.images.behave(Behaviour::Silent { of: silent.clone() });
        let (images, server) = (lab.images.clone(), lab.provisioning.clone());
        lab.install_while(async {
            while images.count(&silent) == 0 {
                sleep(Duration::from_millis(10)).await;
            }
            if is_removed {
                server.remove();
                // Once while it fetches, and once when it asks what to do.
                while server.idle() < 2 {
                    sleep(Duration::from_millis(10)).await;
                }
            }
            images.behave(Behaviour::Good);
            server.retry();
        })
        .await;
        lab.holds_the_image();
        assert_eq!(lab.provisioning.last().attempt, 2);
        assert!(!lab.provisioning.steps().contains(&Step::Failed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_within_the_server_alone() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.images.put("elsewhere", lab.image.content(1).to_vec());
    lab.images.behave(Behaviour::Redirects {
        of: lab.image.chunk(1),
        to: "/images/elsewhere".into(),
    });
    lab.install().await;
    lab.holds_the_image();
    assert_eq!(lab.images.count("elsewhere"), 1);

    let around = "/images/manifest.sig";
    for (to, told) in [
        ("http://127.0.0.2:1/images/manifest.sig", "127.0.0.2"),
        ("https://images.example/images/manifest.sig", "images.example"),
        ("//images.example/images/manifest.sig", "images.example"),
        (around, "5 redirects at most"),
    ] {
        let mut lab = Lab::new(of("edge"), DISK).await;
        lab.images.behave(Behaviour::Redirects {
            of: "manifest.sig".into(),
            to: to.into(),
        });
        let failed = lab.fails().await;
        assert!(
            failed.code == "HM-AGENT-0054" && failed.reason.contains(told),
            "{failed:?}"
        );
        assert_eq!(lab.images.count("manifest.sig"), if to == around { 6 } else { 1 });
        lab.is_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_is_refused_by_its_name() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    lab.images.behave(Behaviour::Encodes { of: lab.image.chunk(1) });
    let failed = lab.fails().await;
    assert!(
        failed.code == "HM-AGENT-0055" && failed.reason.contains("gzip"),
        "{failed:?}"
    );
    lab.does_not_start();
}

/// A controller that takes its time; one that never has the disk is not waited for without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_comes_late_is_waited_for() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let away = lab.disk.with_extension("away");
    std::fs::rename(&lab.disk, &away).unwrap();
    std::fs::create_dir(&lab.places.disks).unwrap();
    lab.patience.disk = Duration::ZERO;
    let failed = lab.fails().await;
    assert!(
        failed.code == "HM-AGENT-0043" && failed.reason.contains("there is no"),
        "{failed:?}"
    );
    lab.patience.disk = Duration::from_secs(60);
    lab.provisioning.retry();
    let (images, disk) = (lab.images.clone(), lab.disk.clone());
    lab.install_while(async {
        while images.count("manifest.sig") < 2 {
            sleep(Duration::from_millis(10)).await;
        }
        std::fs::rename(away, disk).unwrap();
    })
    .await;
    lab.holds_the_image();
}

/// By the names that stay; the kernel's may change from start to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_found_by_its_serial_number() {
    let mut lab = Lab::new(of("edge"), DISK).await;
    let list = lab.places.disks.clone();
    std::fs::create_dir(&lab.places.devices).unwrap();
    for (name, serial) in [("vda", "a-1"), ("vdb", "b-2"), ("vdc", "b-2")] {
        let disk = list.join(name);
        std::fs::create_dir_all(&disk).unwrap();
        for (file, content) in [("removable", "0"), ("size", "2048"), ("serial", serial)] {
            std::fs::write(disk.join(file), content).unwrap();
        }
        std::fs::write(lab.places.devices.join(name), b"").unwrap();
    }
    std::fs::remove_file(lab.places.devices.join("vda")).unwrap();
    std::os::unix::fs::symlink(&lab.disk, lab.places.devices.join("vda")).unwrap();
    lab.patience.disk = Duration::ZERO;
    for (name, told) in [("serial:c-3", "vda, vdb, vdc"), ("serial:b-2", "vdb, vdc")] {
        lab.provisioning.change(|assignment| assignment.disk = name.into());
        let failed = lab.fails().await;
        assert!(
            failed.code == "HM-AGENT-0043" && failed.reason.contains(told),
            "{failed:?}"
        );
        lab.provisioning.retry();
    }
    lab.provisioning
        .change(|assignment| assignment.disk = "serial:a-1".into());
    lab.install().await;
    lab.holds_the_image();
}
