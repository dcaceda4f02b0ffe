//! What the configuration file may say.

use super::*;
use hallmark_reason::Coded as _;
use secrecy::ExposeSecret as _;
use std::os::unix::fs::PermissionsExt as _;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pin = folder.path().join("pin");
        std::fs::write(&pin, "1234\n").unwrap();
        std::fs::set_permissions(pin, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self(folder)
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        let path = self.0.path().join("server.toml");
        std::fs::write(&path, text.replace("$DIR", &self.0.path().display().to_string())).unwrap();
        load(&path, None)
    }

    fn refused(&self, text: &str) -> ConfigError {
        self.load(text).expect_err(text)
    }
}

const LEAST: &str = "version = 1\ntrust_domain = \"example.org\"\ndata_dir = \"/d\"\n\
    [hsm]\nmodule = \"/m.so\"\ntoken_label = \"t\"\npin = \"file:$DIR/pin\"\n";

#[test]
fn the_least_configuration_has_safe_defaults() {
    let config = Folder::new().load(LEAST).unwrap();
    assert_eq!(config.store, Path::new("/d/server.db"));
    assert_eq!(config.hsm.pin.expose_secret(), "1234");
    assert_eq!(config.listen.address.port(), 8081);
    assert_eq!(config.hsm.probe_interval, Duration::from_secs(60));
    assert_eq!(config.key_kind, KeyKind::EcP256);
    assert_eq!(config.lifetimes.x509_svid.max, Duration::from_secs(24 * 3600));
    assert_eq!(config.lifetimes.minted_max, Duration::from_secs(24 * 3600));
    assert!(!config.tpm2.rules.allowed_classes.contains(&TpmClass::Simulator));
    assert_eq!(config.tpm2.trust.expired, ExpiredPolicy::AtEnrolment);
    assert!(!format!("{config:?}").contains("1234"), "a PIN is never shown");
}

/// Whoever writes a documented default into the file changes nothing.
#[test]
fn the_documented_defaults_are_the_true_ones() {
    let folder = Folder::new();
    let reference = hallmark_settings::reference(crate::config::REFERENCE);
    let settings = hallmark_settings::explain(reference, LEAST, &Overrides::default()).unwrap();
    assert!(settings.len() > 30, "{settings:?}");
    let written = settings.iter().map(|it| format!("{} = {}\n", it.key, it.value));
    let written: String = written.collect();
    // But for what is written, which is kept to tell what a reload changes.
    let loaded = |text: &str| {
        let config = Config {
            written: toml::Table::new(),
            ..folder.load(text).unwrap()
        };
        format!("{config:#?}")
    };
    assert_eq!(loaded(LEAST), loaded(&written));
    // The positive control: another value is another configuration.
    let other = written.replace("hsm.sessions = 4", "hsm.sessions = 5");
    assert_ne!(loaded(LEAST), loaded(&other));
}

/// What is printed as the defaults is a file to begin with: only what is required is to be filled in.
#[test]
fn the_documented_configuration_is_valid_where_its_pin_is() {
    let reference = hallmark_settings::reference(crate::config::REFERENCE);
    let with_pin = reference.replace("/etc/hallmark/pin", "$DIR/pin");
    assert_ne!(with_pin, reference);
    let config = Folder::new().load(&with_pin).unwrap();
    assert_eq!(config.trust_domain.as_str(), "example.org");
    // The control: a file that it names and that is missing is refused.
    assert!(Folder::new().load(reference).is_err());
}

#[test]
fn what_each_file_of_trust_gave_is_told() {
    const ROOT: &str = include_str!("../../../verify/tests/vectors/swtpm/root.pem");
    const ISSUER: &str = include_str!("../../../verify/tests/vectors/swtpm/issuer.pem");
    let folder = Folder::new();
    let roots = folder.0.path().join("roots");
    std::fs::create_dir(&roots).unwrap();
    // As `cat` joins files that do not end with a line's end.
    let joined = format!("{}{}{}", ROOT.trim_end(), ISSUER.trim_end(), ROOT.trim_end());
    std::fs::write(roots.join("all.pem"), joined).unwrap();
    std::fs::write(roots.join("b.CRT"), ISSUER).unwrap();
    std::fs::write(roots.join("notes.txt"), "x").unwrap();
    let config = folder
        .load(&format!("{LEAST}[attestation.tpm2]\nek_roots = [\"$DIR/roots\"]\n"))
        .unwrap();
    let told: Vec<String> = config.tpm2.trust_files.iter().map(ToString::to_string).collect();
    let at = |rest: &str| format!("attestation.tpm2.ek_roots: {}/{rest}", roots.display());
    assert_eq!(
        told,
        [
            at("all.pem: 3 certificates"),
            at("b.CRT: 1 certificate"),
            at("notes.txt: not read; of a folder: .pem, .crt, .cer, .cert, .der"),
        ]
    );
    assert_eq!(config.tpm2.trust.roots.len(), 2, "one that is there twice counts once");
}

#[test]
fn deny_rules_are_read_or_refused() {
    let deny = |rules: &str| format!("{LEAST}[attestation.tpm2.deny]\n{rules}\n");
    let eks = format!(
        "eks = [\"{}\"]\nmanufacturers = [\"id:00001014\"]\nfirmware = [\"2019102300163636\"]",
        "aB".repeat(32)
    );
    let rules = Folder::new().load(&deny(&eks)).unwrap().tpm2.rules;
    assert!(rules.denied_eks.contains(&"ab".repeat(32)) && rules.denied_firmware.contains(&0x2019_1023_0016_3636));
    assert!(rules.denied_manufacturers.contains(&"id:00001014".into()));
    for bad in ["eks = [\"ab\"]", "eks = [\"\"]", "firmware = [\"x\"]", "maker = []"] {
        assert!(
            Folder::new()
                .refused(&deny(bad))
                .code()
                .as_str()
                .starts_with("HM-CONF-000"),
            "{bad}"
        );
    }
}

#[test]
fn templates_of_endorsement_keys_are_read_or_refused() {
    let read = |keys: &str| Folder::new().load(&format!("{LEAST}[attestation.tpm2]\n{keys}\n"));
    let named = |name| vec![ek_template_named(name).unwrap()];
    let usual = read("").unwrap().tpm2.trust.ek_templates;
    assert_eq!(usual, EkTemplates::new(named("rsa-2048-l1")));
    let keys = "ek_templates = [\"ecc-p256-l2\"]\n\
        ek_templates_by_manufacturer = { \"id:53544D20\" = [\"ecc-p384-h3\"] }";
    let own = EkTemplates::new(named("ecc-p256-l2")).with("id:53544D20".into(), named("ecc-p384-h3"));
    assert_eq!(read(keys).unwrap().tpm2.trust.ek_templates, own);
    for bad in [
        "ek_templates = []",
        "ek_templates = [\"L-1\"]",
        "ek_templates = [\"rsa-1024\"]",
        "ek_templates_by_manufacturer = { \"id:53544D20\" = [] }",
        "ek_templates_by_manufacturer = { \"id:53544D20\" = [\"any\"] }",
    ] {
        assert_eq!(read(bad).unwrap_err().code().as_str(), "HM-CONF-0002", "{bad}");
    }
}

#[test]
fn a_pin_written_into_the_file_is_never_repeated() {
    for written in [
        "83521",
        "83521.5",
        "[83521]",
        "{ value = 83521 }",
        "\"83521\"",
        "83521x",
        "'83521",
    ] {
        let error = Folder::new().refused(&LEAST.replace("\"file:$DIR/pin\"", written));
        let told = format!("{error:?} {error} {:?} {:?}", error.compared(), error.next_step());
        assert!(!told.contains("83521"), "{told}");
        assert_eq!(error.code().as_str(), "HM-CONF-0002", "{told}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_line_cause_and_fix() {
    let error = Folder::new().refused(&format!("{LEAST}sesions = 4\n"));
    assert_eq!(error.code().as_str(), "HM-CONF-0003");
    assert!(error.to_string().ends_with(":8: unknown key `sesions`"), "{error}");
    assert_eq!(error.next_step().unwrap(), "write `sessions` instead of `sesions`");
    assert!(error.likely_cause().is_some());
    for table in [
        "[listne]\n",
        "[attestation]\ntmp2 = 1\n",
        "[authority]\nca_tll = \"1h\"\n",
        "[log]\nx = 1\n",
    ] {
        let error = Folder::new().refused(&format!("{LEAST}{table}"));
        assert_eq!(error.code().as_str(), "HM-CONF-0003", "{table}");
    }
}

#[test]
fn every_fault_has_its_code() {
    for (text, code) in [
        (format!("{LEAST}[log\n"), "HM-CONF-0002"),
        (format!("{LEAST}[authority]\nca_ttl = \"soon\"\n"), "HM-CONF-0002"),
        (format!("{LEAST}[attestation.tpm2]\npcrs = [0, 16]\n"), "HM-CONF-0002"),
        (format!("{LEAST}[attestation.tpm2]\npcrs = []\n"), "HM-CONF-0002"),
        (
            format!("{LEAST}[attestation.tpm2]\nallowed_classes = [\"any\"]\n"),
            "HM-CONF-0002",
        ),
        (format!("{LEAST}[authority]\nkey_type = \"ec-p521\"\n"), "HM-CONF-0002"),
        (format!("{LEAST}[log]\nlevel = \"verbose\"\n"), "HM-CONF-0002"),
        (LEAST.replace("example.org", "Example.org"), "HM-CONF-0002"),
        (LEAST.replace("\"/d\"", "\"d\""), "HM-CONF-0002"),
        (LEAST.replace("token_label", "#"), "HM-CONF-0006"),
        (
            LEAST.replace("token_label", "token = \"pkcs11:token=t\"\ntoken_label"),
            "HM-CONF-0006",
        ),
        (
            LEAST.replace("token_label = \"t\"", "token = \"pkcs11:slot-id=1\""),
            "HM-CONF-0002",
        ),
        (
            format!("{LEAST}[authority]\njwt_key_type = \"ed25519\"\n"),
            "HM-CONF-0002",
        ),
        (LEAST.replace("version = 1", ""), "HM-CONF-0004"),
        (
            LEAST.replace("version = 1", "version = 2\nfuture = true"),
            "HM-CONF-0005",
        ),
        (
            format!("{LEAST}[authority]\nca_ttl = \"1h\"\nagent_ttl = \"2h\"\n"),
            "HM-CONF-0006",
        ),
        (format!("{LEAST}[authority]\nx509_svid_ttl = \"25h\"\n"), "HM-CONF-0006"),
        (
            format!("{LEAST}[attestation.tpm2]\napproval = \"three\"\n"),
            "HM-CONF-0002",
        ),
        (
            format!("{LEAST}[attestation.tpm2]\napproval_lifetime = \"0s\"\n"),
            "HM-CONF-0002",
        ),
        (LEAST.replace("file:$DIR/pin", "1234"), "HM-CONF-0002"),
        (LEAST.replace("$DIR/pin", "$DIR/absent"), "HM-CONF-0008"),
        (
            format!("{LEAST}[attestation.tpm2]\nek_roots = [\"/absent\"]\n"),
            "HM-CONF-0010",
        ),
        (
            format!("{LEAST}[attestation.tpm2]\nek_roots = [\"$DIR/pin\"]\n"),
            "HM-VERIFY-0151",
        ),
        (
            format!("{LEAST}[attestation.tpm2]\nek_inventory = \"$DIR/pin\"\n"),
            "HM-REG-0071",
        ),
    ] {
        let error = Folder::new().refused(&text);
        assert_eq!(error.code().as_str(), code, "{text}\n{error}");
        assert!(error.likely_cause().is_some() && error.next_step().is_some(), "{code}");
    }
    assert!(load(Path::new("/absent.toml"), None).is_err_and(|error| error.code().as_str() == "HM-CONF-0001"));
}

#[test]
fn discovery_is_served_as_verifiers_can_use_it_or_not_at_all() {
    let read =
        |authority: &str, oidc: &str| Folder::new().load(&format!("{LEAST}[authority]\n{authority}\n[oidc]\n{oidc}\n"));
    let issuer = "jwt_issuer = \"https://oidc.example.org\"";
    assert!(read("", "").unwrap().oidc.is_none(), "off unless configured");
    assert!(read("jwt_issuer = \"any text\"", "").unwrap().oidc.is_none());
    for listen in ["127.0.0.1:8443", "[::1]:8443", "unix:/run/oidc/oidc.sock"] {
        let config = read(issuer, &format!("listen = \"{listen}\"\ndomains = [\"keys.internal\"]"));
        let oidc = config.unwrap().oidc.unwrap();
        let told = format!("oidc: https://oidc.example.org at {listen}, plain HTTP");
        assert_eq!(oidc.to_string(), told);
        assert_eq!((oidc.listen.to_string(), oidc.certificate), (listen.to_owned(), None));
        assert!(
            oidc.domains
                .into_iter()
                .eq(["keys.internal".to_owned(), "oidc.example.org".into()])
        );
    }
    let open = "listen = \"0.0.0.0:8443\"";
    assert!(read(issuer, &format!("{open}\nallow_plain_http = true")).is_ok());
    let local = "listen = \"127.0.0.1:8443\"";
    let long = format!("jwt_issuer = \"{}\"", "a".repeat(1021));
    for (authority, oidc, code) in [
        (issuer, open, "HM-CONF-0111"),
        (issuer, "listen = \"[::ffff:192.0.2.1]:8443\"", "HM-CONF-0111"),
        ("", local, "HM-CONF-0110"),
        ("jwt_issuer = \"any text\"", local, "HM-CONF-0110"),
        ("jwt_issuer = \"http://oidc.example.org\"", local, "HM-CONF-0110"),
        ("jwt_issuer = \"https://oidc.example.org?a\"", local, "HM-CONF-0110"),
        ("jwt_issuer = \"a\\u0007\"", "", "HM-CONF-0002"),
        (&long, "", "HM-CONF-0002"),
        (&format!("{issuer}\njwt_svids = false"), local, "HM-CONF-0006"),
        (issuer, &format!("{local}\ncertificate = \"/c\""), "HM-CONF-0006"),
        (
            issuer,
            &format!("{local}\ncertificate_key = \"file:/k\""),
            "HM-CONF-0006",
        ),
        (
            issuer,
            &format!("{open}\ncertificate = \"/absent\"\ncertificate_key = \"file:/k\""),
            "HM-CONF-0112",
        ),
        (issuer, "listen = \"unix:oidc.sock\"", "HM-CONF-0002"),
        (issuer, "listen = \"8443\"", "HM-CONF-0002"),
        (issuer, &format!("{local}\ndomains = [\"https://a\"]"), "HM-CONF-0002"),
        (issuer, &format!("{local}\ntls = true"), "HM-CONF-0003"),
    ] {
        let error = read(authority, oidc).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{authority} {oidc}: {error}");
        assert!(error.likely_cause().is_some() && error.next_step().is_some(), "{code}");
    }
}
