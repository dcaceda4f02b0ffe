//! A machine with a disk, and what it is installed by.

use std::{
    fs::File,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use hallmark_api::provision::{Assignment, ReportStepRequest};
use rcgen::{CertificateParams, KeyPair};
use rustix::fs::{MemfdFlags, memfd_create};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{
    super::{Patience, Places, install, server::Server},
    images::{Image, ImageServer},
    provisioning::{Known, Service},
};
use crate::{digest::sha256, tls};

/// Whatever hangs is a fault.
const LIMIT: Duration = Duration::from_secs(60);
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// A key that signs images, with its certificate.
pub(super) struct Signer {
    key: KeyPair,
    pub(super) certificate: String,
}

impl Signer {
    pub(super) fn rsa() -> Self {
        Self::of(&rcgen::PKCS_RSA_SHA256)
    }

    pub(super) fn p256() -> Self {
        Self::of(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(super) fn p384() -> Self {
        Self::of(&rcgen::PKCS_ECDSA_P384_SHA384)
    }

    fn of(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            certificate: certificate.pem(),
            key,
        }
    }

    /// By `openssl dgst -sha256 -sign`, as images are signed.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (key, file) = (folder.path().join("key"), folder.path().join("file"));
        std::fs::write(&key, self.key.serialize_pem()).unwrap();
        std::fs::write(&file, message).unwrap();
        let mut openssl = Command::new("openssl");
        let done = openssl
            .args(["dgst", "-sha256", "-sign"])
            .args([&key, &file])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }
}

pub(super) struct Lab {
    _folder: tempfile::TempDir,
    memory: Option<Arc<File>>,
    pub(super) disk: PathBuf,
    pub(super) image: Image,
    pub(super) signer: Signer,
    pub(super) images: ImageServer,
    pub(super) provisioning: Service,
    pub(super) places: Places,
    pub(super) patience: Patience,
    server: Server<Known>,
}

impl Lab {
    pub(super) async fn new(image: Image, octets: u64) -> Self {
        Self::with(image, octets, false, false).await
    }

    pub(super) async fn over_tls(image: Image, octets: u64) -> Self {
        Self::with(image, octets, true, false).await
    }

    /// A lab whose disk can be made to take no write.
    pub(super) async fn on_sealable_memory(image: Image, octets: u64) -> Self {
        Self::with(image, octets, false, true).await
    }

    async fn with(image: Image, octets: u64, is_tls: bool, in_memory: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (memory, disk) = if in_memory {
            let memory = File::from(memfd_create("disk", MemfdFlags::ALLOW_SEALING).unwrap());
            let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
            (Some(Arc::new(memory)), path.into())
        } else {
            (None, at("disk"))
        };
        File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&disk)
            .unwrap()
            .set_len(octets)
            .unwrap();
        let places = Places {
            signers: at("signers"),
            authorities: at("authorities.pem"),
            disks: at("disks"),
            devices: at("devices"),
            variables: at("variables"),
        };
        for folder in [&places.signers, &places.variables] {
            std::fs::create_dir(folder).unwrap();
        }
        let order = places.variables.join(format!("BootOrder-{GLOBAL}"));
        std::fs::write(order, [7, 0, 0, 0, 0, 0]).unwrap();
        std::fs::write(places.variables.join(format!("Boot0000-{GLOBAL}")), [7, 0, 0, 0, 1]).unwrap();
        let signer = Signer::rsa();
        std::fs::write(places.signers.join("image.pem"), &signer.certificate).unwrap();

        let web = Signer::p256();
        std::fs::write(&places.authorities, &web.certificate).unwrap();
        let acceptor = is_tls.then(|| acceptor(&web));
        let signature = signer.sign(image.manifest.as_bytes());
        let (images, address) = ImageServer::start(&image, signature, acceptor).await;
        let scheme = if is_tls { "https" } else { "http" };
        let assignment = Assignment {
            attempt: 1,
            manifest_url: format!("{scheme}://{address}/images/manifest"),
            manifest_sha256: sha256(image.manifest.as_bytes()).to_vec().into(),
            disk: disk.display().to_string(),
            overwrite: false,
        };
        let (provisioning, address) = Service::start(assignment).await;
        Self {
            _folder: folder,
            memory,
            disk,
            image,
            signer,
            images,
            provisioning,
            places,
            patience: Patience {
                attempts: 3,
                other_chunks: 2,
                answer: Duration::from_secs(30),
                pauses: (Duration::from_millis(10), Duration::from_millis(20)),
                disk: Duration::from_secs(30),
            },
            server: Server::asked_every(Duration::from_millis(200), Known::of(address)),
        }
    }

    /// Waits until the machine is installed.
    pub(super) async fn install(&mut self) {
        let installed = install(&mut self.server, &self.places, self.patience);
        tokio::time::timeout(LIMIT, installed).await.unwrap();
    }

    /// Waits until the machine is installed; meanwhile something happens.
    pub(super) async fn install_while(&mut self, happens: impl Future<Output = ()>) {
        let installed = install(&mut self.server, &self.places, self.patience);
        tokio::time::timeout(LIMIT, async { tokio::join!(installed, happens) })
            .await
            .unwrap();
    }

    /// Waits until the server has denied a report, and turns the machine off.
    pub(super) async fn is_denied(&mut self) {
        let mut denials = self.provisioning.denials();
        denials.mark_unchanged();
        let installed = install(&mut self.server, &self.places, self.patience);
        tokio::select! {
            () = installed => panic!("it was installed"),
            denied = tokio::time::timeout(LIMIT, denials.changed()) => denied.unwrap().unwrap(),
        }
    }

    /// Waits until the machine has reported that the attempt failed.
    pub(super) async fn fails(&mut self) -> ReportStepRequest {
        let mut failures = self.provisioning.failures();
        failures.mark_unchanged();
        let installed = install(&mut self.server, &self.places, self.patience);
        tokio::select! {
            () = installed => panic!("it was installed"),
            failed = tokio::time::timeout(LIMIT, failures.changed()) => failed.unwrap().unwrap(),
        }
        self.provisioning.last()
    }

    pub(super) fn memory(&self) -> Arc<File> {
        Arc::clone(self.memory.as_ref().unwrap())
    }

    pub(super) fn disk(&self) -> Vec<u8> {
        std::fs::read(&self.disk).unwrap()
    }

    pub(super) fn scribble(&self, place: u64, octets: &[u8]) {
        let disk = File::options().write(true).open(&self.disk).unwrap();
        disk.write_all_at(octets, place).unwrap();
    }

    pub(super) fn holds_the_image(&self) {
        let disk = self.disk();
        let (image, behind) = disk.split_at(self.image.disk.len());
        assert!(image == self.image.disk, "the disk holds the image");
        assert!(behind.iter().all(|octet| *octet == 0), "nothing was written behind it");
    }

    pub(super) fn boot_order(&self) -> Vec<u16> {
        let order = std::fs::read(self.places.variables.join(format!("BootOrder-{GLOBAL}"))).unwrap();
        order[4..]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u16::from_le_bytes(*pair))
            .collect()
    }

    /// Whether neither the firmware nor what is on the disk would start anything of it.
    pub(super) fn does_not_start(&self) {
        assert_eq!(self.boot_order(), [0]);
        assert!(self.disk()[..1 << 20].iter().all(|octet| *octet == 0));
    }

    pub(super) fn does_not_have_a_beginning(&self) {
        assert!(self.disk()[..4096].iter().all(|octet| *octet == 0));
    }

    pub(super) fn is_untouched(&self) {
        assert!(self.disk().iter().all(|octet| *octet == 0));
    }
}

fn acceptor(web: &Signer) -> TlsAcceptor {
    let chain = hallmark_der::certificates(web.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(web.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.into_iter().map(Into::into).collect(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
