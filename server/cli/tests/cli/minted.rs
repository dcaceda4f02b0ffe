//! X509-SVIDs that are minted into files, or for certificate requests.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose, SanType};

use crate::run::Server;

const ID: &str = "spiffe://example.org/db";

type Change = fn(&mut CertificateParams);

/// The program in a folder of its own.
struct Desk {
    server: Server,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            server: Server::start(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn minted(&self) -> Vec<i32> {
        std::mem::take(&mut self.server.fake().state().minted)
    }

    /// A request with these names, changed by `change`, in a file.
    fn request(&self, uris: &[&str], dns: &[&str], change: impl FnOnce(&mut CertificateParams)) -> PathBuf {
        let mut params = CertificateParams::default();
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
        params.subject_alt_names = uris.chain(dns).collect();
        change(&mut params);
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let file = self.path("request.csr");
        fs::write(&file, csr.pem().unwrap()).unwrap();
        file
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn openssl(arguments: &[&str]) -> String {
    let out = Command::new("openssl").args(arguments).output().unwrap();
    assert!(
        out.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_minted_svid_comes_with_its_key_into_a_folder_and_takes_the_place_of_nothing() {
    let desk = Desk::new();
    let out = desk.path("tls");
    let line = format!(
        "svid mint x509 /db --dns db.example.org --ttl 2h --out {}",
        out.display()
    );
    let minted = desk.server.run(&line);
    assert_eq!(minted.code, 0, "{}", minted.stderr);
    assert!(
        minted.stdout.contains(ID) && minted.stdout.contains("key.pem"),
        "{}",
        minted.stdout
    );
    assert_eq!(desk.minted(), [7200]);
    let [svid, key, bundle] = ["svid.pem", "key.pem", "bundle.pem"].map(|name| out.join(name));
    assert_eq!([mode(&svid), mode(&key), mode(&bundle)], [0o644, 0o600, 0o644]);
    let [svid, key, bundle] = [&svid, &key, &bundle].map(|path| path.to_str().unwrap());
    openssl(&[
        "verify",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "db.example.org",
        "-CAfile",
        bundle,
        svid,
    ]);
    let public = openssl(&["pkey", "-in", key, "-pubout"]);
    assert_eq!(openssl(&["x509", "-in", svid, "-noout", "-pubkey"]), public);
    let before = fs::read(key).unwrap();

    // A second time nothing is asked for, and nothing is lost.
    let again = desk.server.run(&line);
    assert!(
        again.code == 6 && again.stderr.contains("HM-CLI-0033"),
        "{}",
        again.stderr
    );
    assert_eq!((desk.minted().len(), fs::read(key).unwrap()), (0, before.clone()));
    // Nor where one of the three is there.
    fs::remove_file(svid).unwrap();
    fs::remove_file(bundle).unwrap();
    assert_eq!(desk.server.run(&line).code, 6);
    assert!(!Path::new(svid).exists() && fs::read(key).unwrap() == before);

    let replaced = desk.server.json(&format!("{line} --key-type ec-p384 --replace"));
    assert_eq!(replaced["spiffe_id"], ID);
    assert_eq!(replaced["dns_names"][0], "db.example.org");
    assert_eq!(replaced["svid"].as_str().unwrap(), fs::read_to_string(svid).unwrap());
    assert!(
        !replaced.to_string().contains("PRIVATE KEY"),
        "a key is in its file alone"
    );
    assert_ne!(fs::read(key).unwrap(), before);
    assert!(openssl(&["pkey", "-in", key, "-noout", "-text"]).contains("384 bit"));
    assert_eq!(mode(Path::new(key)), 0o600);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "nothing is left lying about");
}

#[test]
fn a_key_goes_into_no_folder_that_others_may_change() {
    let desk = Desk::new();
    let open = desk.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let line = format!("svid mint x509 /db --out {}", open.display());
    let refused = desk.server.run(&line);
    assert!(
        refused.code == 2 && refused.stderr.contains("HM-CLI-0034"),
        "{}",
        refused.stderr
    );
    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(desk.server.run(&line).code, 0, "the control");
    // A link in the place of a file is not followed.
    let trap = desk.path("trap");
    fs::create_dir(&trap).unwrap();
    std::os::unix::fs::symlink(desk.path("elsewhere"), trap.join("key.pem")).unwrap();
    let line = format!("svid mint x509 /db --replace --out {}", trap.display());
    assert_eq!(desk.server.run(&line).code, 6);
    assert!(!desk.path("elsewhere").exists());
    let nowhere = desk.server.run("svid mint x509 /db");
    assert_eq!(nowhere.code, 2, "a key has to go somewhere: {}", nowhere.stderr);
    assert_eq!(desk.minted().len(), 1, "of all these, one was asked for");
}

#[test]
fn a_request_is_signed_for_the_names_that_the_operator_gives() {
    let desk = Desk::new();
    let file = desk.request(&[ID], &["db.example.org", "DB2.example.org"], |_| {});
    let line = |dns: &str| format!("svid mint x509 /db {dns} --csr {}", file.display());
    let both = "--dns db2.example.org --dns db.example.org";
    let minted = desk.server.run(&line(both));
    assert!(
        minted.code == 0 && minted.stdout.starts_with("-----BEGIN CERTIFICATE-----\n"),
        "{}{}",
        minted.stdout,
        minted.stderr
    );
    assert_eq!(desk.minted(), [0], "the server's default lifetime");
    // In a folder there is no key: somebody else has it.
    let out = desk.path("tls");
    assert_eq!(
        desk.server.run(&format!("{} --out {}", line(both), out.display())).code,
        0
    );
    assert!(out.join("svid.pem").exists() && !out.join("key.pem").exists());
    // Nor does it come to lie beside the key of another certificate.
    fs::write(out.join("key.pem"), "another's").unwrap();
    let mixed = desk
        .server
        .run(&format!("{} --replace --out {}", line(both), out.display()));
    assert!(
        mixed.code != 0 && mixed.stderr.contains("HM-CLI-0033"),
        "{}",
        mixed.stderr
    );
    assert_eq!(desk.minted().len(), 1, "nothing more was asked for");

    for dns in [
        "",
        "--dns db.example.org",
        "--dns db.example.org --dns db2.example.org --dns db3.example.org",
    ] {
        let refused = desk.server.run(&line(dns));
        assert!(
            refused.code == 2 && refused.stderr.contains("HM-CLI-0032"),
            "{dns}: {}",
            refused.stderr
        );
    }
    let other = line(both).replace("/db ", "/web ");
    assert!(desk.server.run(&other).stderr.contains("HM-CLI-0032"));
    assert_eq!(desk.minted().len(), 0, "nothing was asked for");
    let told = desk.server.run("svid mint x509 /db --dns not.allowed --out x");
    assert!(told.code == 3 && told.stderr.contains("HM-REG-0111"), "{}", told.stderr);
}

#[test]
fn a_hostile_request_does_not_get_as_far_as_the_server() {
    let desk = Desk::new();
    let refused = |file: &Path, code: &str| {
        let done = desk.server.run(&format!("svid mint x509 /db --csr {}", file.display()));
        assert!(done.code == 2 && done.stderr.contains(code), "{code}: {}", done.stderr);
    };
    let changes: [(&str, Change); 5] = [
        ("HM-ID-0109", |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("HM-ID-0109", |it| it.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
        ("HM-ID-0109", |it| {
            it.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
        }),
        ("HM-ID-0108", |it| {
            it.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()))
        }),
        ("HM-ID-0107", |it| {
            it.subject_alt_names
                .push(SanType::URI("spiffe://example.org/admin".try_into().unwrap()));
        }),
    ];
    for (code, change) in changes {
        refused(&desk.request(&[ID], &[], change), code);
    }
    refused(&desk.request(&[], &["db.example.org"], |_| {}), "HM-ID-0107");
    refused(&desk.request(&["https://example.org/db"], &[], |_| {}), "HM-ID-0");
    let large = desk.path("large");
    fs::write(&large, vec![b'x'; 64 * 1024 + 1]).unwrap();
    refused(&large, "HM-CLI-0102");
    let mut der = vec![0x30, 0x82, 0xf0, 0x00];
    der.resize(0xf000 + 4, 0);
    fs::write(&large, der).unwrap();
    refused(&large, "HM-ID-0105");
    fs::write(&large, "no request").unwrap();
    refused(&large, "HM-CLI-0102");
    assert_eq!(desk.minted().len(), 0);
    let good = desk.request(&[ID], &[], |it| it.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let done = desk.server.run(&format!("svid mint x509 /db --csr {}", good.display()));
    assert_eq!(done.code, 0, "the control: {}", done.stderr);
}
