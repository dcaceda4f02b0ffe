//! Configurations that the server does not start with.

use crate::kept::{CONFIGURATION, Kept};

const CHECK: &str = "next: correct it; then hallmark-server config check";
const UNREADABLE: &str = "cause: the path is wrong, or the server's user may not read it";

/// What is written in its place, and how that is told.
fn slips(file: &str) -> [(&'static str, &'static str, String); 8] {
    [
        (
            "sessions = 4",
            "sesions = 4",
            format!(
                "HM-CONF-0003: {file}:*: unknown key `sesions`\n  compared: found sesions, known are *\n  cause: a \
                 misspelt key, or one that belongs to another table\n  next: write `sessions` instead of `sesions`"
            ),
        ),
        (
            "sessions = 4",
            "sessions = \"four\"",
            format!("HM-CONF-0002: {file}:*: *\n  cause: typo or wrong value type on this line\n  {CHECK} --config {file}"),
        ),
        (
            "[hsm]",
            "[hsm",
            format!("HM-CONF-0002: {file}:*: *\n  cause: typo or wrong value type on this line\n  {CHECK} --config {file}"),
        ),
        (
            "token_label = ",
            "# ",
            format!(
                "HM-CONF-0006: {file}: hsm: name the token by token_label or by token, a PKCS#11 URI\n  compared: \
                 token_label is not set, token is not set\n  cause: one of the two was changed without the other\n  \
                 next: correct it; then hallmark-server config check"
            ),
        ),
        (
            "version = 1",
            "version = 2",
            format!(
                "HM-CONF-0005: {file}: version 2 of this file is not supported\n  compared: version = 2, this program reads \
                 1\n  cause: the file was written for another version of Hallmark\n  next: set version = 1, and correct \
                 what is then reported"
            ),
        ),
        (
            "[authority]",
            "[authority]\nca_ttl = \"1h\"\nagent_ttl = \"2h\"",
            format!(
                "HM-CONF-0006: {file}: agent_ttl is longer than ca_ttl\n  compared: agent_ttl is 7200 s, ca_ttl 3600 s\n  \
                 cause: one of the two was changed without the other\n  {CHECK}"
            ),
        ),
        (
            "pin = \"file:",
            "pin = \"",
            format!(
                "HM-CONF-0002: {file}:*: hsm.pin: not a reference to a secret: write \"file:/path\" or \"credential:NAME\"\n  \
                 cause: typo or wrong value type on this line\n  {CHECK} --config {file}"
            ),
        ),
        (
            "pin = \"file:",
            "pin = \"credential:pin\" # ",
            "HM-CONF-0009: hsm.pin refers to the credential pin, and there are no credentials\n  cause: the server was \
             started without systemd, or the unit has no LoadCredential=\n  next: add LoadCredential=pin:/path to the \
             unit, or use file:"
                .into(),
        ),
    ]
}

#[test]
fn a_configuration_that_is_wrong_is_told_and_harms_nothing() {
    let mut kept = Kept::filled();
    let missing = kept.path("missing.toml");
    kept.must_refuse_file(
        &missing,
        &[],
        CONFIGURATION,
        &format!(
            "HM-CONF-0001: cannot read the configuration {0}\n  compared: No such file or directory (os error 2)\n  \
             {UNREADABLE}\n  next: ls -l {0}",
            missing.display()
        ),
    );
    let good = kept.config().to_string();
    let file = kept.path("faulty.toml").display().to_string();
    for (from, to, expected) in slips(&file) {
        let faulty = good.replacen(from, to, 1);
        assert_ne!(faulty, good, "{from} stands in the configuration");
        kept.must_refuse_text(&faulty, &[], CONFIGURATION, &expected);
    }
    kept.must_refuse_text(
        &good,
        &[("HALLMARK_SERVER__HSM__SESIONS", "4")],
        CONFIGURATION,
        "HM-CONF-0011: HALLMARK_SERVER__HSM__SESIONS: unknown key `sesions`; did you mean `sessions`?\n  cause: a misspelt name, or a value of another kind than the \
         key's\n  next: unset HALLMARK_SERVER__HSM__SESIONS, or correct it: its value is read as in the file, text may go \
         without quotes",
    );
    let config = kept.with("log", "level", "verbose");
    kept.must_refuse(
        &config,
        CONFIGURATION,
        "HM-CONF-0002: *: \"verbose\" is not a log level: off, error, warn, info, debug or trace, or PART=LEVEL as in \
         \"info,hyper=warn\"\n  cause: typo or wrong value type on this line\n  next: correct it; then hallmark-server config check --config *",
    );
    kept.must_refuse_text(
        &good,
        &[("HALLMARK_SERVER__LOG__LEVEL", "verbose")],
        CONFIGURATION,
        "HM-CONF-0011: HALLMARK_SERVER__LOG__LEVEL: \"verbose\" is not a log level: *\n  cause: a misspelt name, or a value of \
         another kind than the key's\n  next: unset HALLMARK_SERVER__LOG__LEVEL, or correct it: its value is read as in the \
         file, text may go without quotes",
    );
    kept.must_go_on();
}

#[test]
fn files_that_the_configuration_names_are_read_before_anything_else() {
    let mut kept = Kept::filled();
    let (missing, empty, text) = (
        kept.path("missing"),
        kept.file("empty", ""),
        kept.file("roots.pem", "these are no certificates\n"),
    );
    let pin = |path: &std::path::Path| format!("file:{}", path.display());
    let secret = "cause: the file is missing or empty, or the server's user may not read it";
    for path in [&missing, &empty] {
        let config = kept.with("hsm", "pin", pin(path));
        kept.must_refuse(
            &config,
            CONFIGURATION,
            &format!(
                "HM-CONF-0008: the secret for hsm.pin cannot be read from {0}\n  compared: *\n  {secret}\n  next: ls -l {0}",
                path.display()
            ),
        );
    }
    let roots = |path: &std::path::Path| vec![path.display().to_string()];
    let config = kept.with("attestation.tpm2", "ek_roots", roots(&missing));
    kept.must_refuse(
        &config,
        CONFIGURATION,
        &format!(
            "HM-CONF-0010: attestation.tpm2.ek_roots: cannot read {0}\n  compared: No such file or directory (os error \
             2)\n  {UNREADABLE}\n  next: ls -l {0}",
            missing.display()
        ),
    );
    let config = kept.with("attestation.tpm2", "ek_roots", roots(&text));
    kept.must_refuse(
        &config,
        CONFIGURATION,
        &format!(
            "HM-VERIFY-0151: EK roots: {}: *\n  cause: not a certificate file, or a section of it was damaged when files were \
             joined\n  next: put DER or PEM certificates there: openssl x509 -in FILE -noout -text (of PKCS #7: openssl \
             pkcs7 -print_certs)",
            text.display()
        ),
    );
    let config = kept.with("attestation.tpm2", "ek_inventory", missing.display().to_string());
    kept.must_refuse(
        &config,
        CONFIGURATION,
        &format!(
            "HM-CONF-0010: attestation.tpm2.ek_inventory: cannot read {0}\n  compared: No such file or directory (os \
             error 2)\n  {UNREADABLE}\n  next: ls -l {0}",
            missing.display()
        ),
    );
    kept.must_go_on();
}
