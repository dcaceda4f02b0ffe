//! A real OpenBao. Where `tests/interop/setup` has none for this machine, it says so, and so do these tests.

use std::{
    fs::File,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hallmark_upstream::{Upstream as _, VaultConfig, VaultUpstream};
use tempfile::TempDir;

use crate::{
    pki::{self, Ca, Request},
    refused, require_genuine, sign,
};

/// What a server needs to have a mount sign, and no more.
const POLICY: &str = "path \"pki/root/sign-intermediate\" { capabilities = [\"update\"] }\n\
                      path \"below/root/sign-intermediate\" { capabilities = [\"update\"] }\n\
                      path \"pki/issuer/+/sign-intermediate\" { capabilities = [\"update\"] }\n";

/// OpenBao with everything in memory, unsealed, with TLS on one port and without on another.
struct Bao {
    folder: TempDir,
    program: PathBuf,
    process: Child,
    /// For the operator, in plain HTTP.
    admin: String,
    /// For the server under test.
    url: String,
    tls: Ca,
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Bao {
    /// Starts it with mounts and a policy; nothing where there is none for this machine.
    fn start() -> Option<Self> {
        let bao = Self::bare()?;
        bao.mounts();
        Some(bao)
    }

    fn bare() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop/openbao/bao");
        if !program.exists() {
            let can = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
            assert!(!can, "run tests/interop/setup first");
            eprintln!("NOT RUN: there is no OpenBao for this machine");
            return None;
        }
        let (folder, tls) = (TempDir::new().unwrap(), Ca::root("TLS"));
        let leaf = tls.leaf("openbao");
        let certificate = pki::file(folder.path(), "server.pem", &leaf.pem);
        let key = pki::file(folder.path(), "server.key", &leaf.key.serialize_pem());
        let (plain, tls_port) = (free_port(), free_port());
        let text = format!(
            "listener \"tcp\" {{\n address = \"127.0.0.1:{tls_port}\"\n tls_cert_file = {certificate:?}\n \
             tls_key_file = {key:?}\n}}\n"
        );
        let config = pki::file(folder.path(), "config.hcl", &text);
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(&program)
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address=127.0.0.1:{plain}"))
            .arg(format!("-config={}", config.display()))
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let bao = Self {
            folder,
            program,
            process,
            admin: format!("http://127.0.0.1:{plain}"),
            url: format!("https://127.0.0.1:{tls_port}"),
            tls,
        };
        let begun = Instant::now();
        while !bao.command(&["status"], "").0 {
            let log = std::fs::read_to_string(bao.folder.path().join("log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(60), "{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(bao)
    }

    /// A root at `pki`, an authority below it at `below`, and the policy `hallmark`.
    fn mounts(&self) {
        self.told(&["secrets", "enable", "pki"]);
        self.told(&["secrets", "tune", "-max-lease-ttl=87600h", "pki"]);
        self.told(&[
            "write",
            "pki/root/generate/internal",
            "common_name=Enterprise root",
            "ttl=8760h",
            "issuer_name=main",
        ]);
        self.told(&["secrets", "enable", "-path=below", "-max-lease-ttl=87600h", "pki"]);
        let csr = self.told(&[
            "write",
            "-field=csr",
            "below/intermediate/generate/internal",
            "common_name=Issuing",
        ]);
        let signed = self.told(&[
            "write",
            "-field=certificate",
            "pki/root/sign-intermediate",
            &format!("csr={csr}"),
            "ttl=4000h",
        ]);
        let root = self.told(&["read", "-field=certificate", "pki/cert/ca"]);
        self.told(&[
            "write",
            "below/intermediate/set-signed",
            &format!("certificate={signed}\n{root}"),
        ]);
        self.piped(&["policy", "write", "hallmark", "-"], POLICY);
    }

    fn command(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("BAO_ADDR", &self.admin)
            .env("BAO_TOKEN", "root")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        // Warnings are no part of a value.
        let told = if done.status.success() {
            done.stdout
        } else {
            done.stderr
        };
        (done.status.success(), String::from_utf8_lossy(&told).trim().to_owned())
    }

    fn piped(&self, arguments: &[&str], input: &str) -> String {
        let (is_done, told) = self.command(arguments, input);
        assert!(is_done, "{arguments:?}: {told}");
        told
    }

    fn told(&self, arguments: &[&str]) -> String {
        self.piped(arguments, "")
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        pki::file(self.folder.path(), name, content)
    }

    fn config(&self, text: &str) -> VaultConfig {
        let ca = self.file("ca.pem", &self.tls.pem);
        toml::from_str(&format!("url = {:?}\nca = {ca:?}\n{text}", self.url)).unwrap()
    }

    fn upstream(&self, text: &str) -> VaultUpstream {
        VaultUpstream::new(&self.config(text), None).unwrap()
    }

    /// A role of AppRole with these settings, as the configuration names it.
    fn approle(&self, more: &[&str]) -> String {
        self.command(&["auth", "enable", "approle"], "");
        let mut settings = vec!["write", "auth/approle/role/hallmark", "token_policies=hallmark"];
        settings.extend(more);
        self.told(&settings);
        let role = self.told(&["read", "-field=role_id", "auth/approle/role/hallmark/role-id"]);
        let secret = self.told(&[
            "write",
            "-f",
            "-field=secret_id",
            "auth/approle/role/hallmark/secret-id",
        ]);
        let file = self.file("secret-id", &secret);
        format!(
            "[auth.approle]\nrole_id = {role:?}\nsecret_id = \"file:{}\"\n",
            file.display()
        )
    }

    fn token(&self, name: &str, more: &[&str]) -> (String, String) {
        let mut arguments = vec!["token", "create", "-field=token", "-policy=hallmark"];
        arguments.extend(more);
        let token = self.told(&arguments);
        let file = self.file(name, &token);
        (token, format!("[auth.token]\ntoken = \"file:{}\"\n", file.display()))
    }
}

#[tokio::test]
async fn mounts_of_a_root_and_of_an_authority_below_sign() {
    let Some(bao) = Bao::start() else { return };
    let approle = bao.approle(&[]);
    for (more, length) in [
        ("", 1),
        ("mount = \"below\"\n", 2),
        ("issuer = \"main\"\nmax_path_length = 0\n", 1),
    ] {
        let upstream = bao.upstream(&format!("{more}{approle}"));
        let request = Request::new();
        let signed = sign(&upstream, &request).await.unwrap();
        require_genuine(&signed, &request);
        assert_eq!(signed.chain.len(), length, "{more}");
        assert_eq!(upstream.roots().await.unwrap().as_ref(), Some(&signed.roots), "{more}");
        let leaf = pki::read(&signed.chain[0]);
        let constraint = leaf.basic_constraints().unwrap().unwrap().value.path_len_constraint;
        assert_eq!(
            constraint == Some(0),
            more.contains("max_path_length"),
            "{constraint:?}"
        );
        let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert!((3600..3700).contains(&life), "{life}");
        assert!(leaf.subject().to_string().contains("SPIFFE"), "{}", leaf.subject());
    }
}

#[tokio::test]
async fn every_login_works() {
    let Some(bao) = Bao::start() else { return };
    let leaf = bao.tls.leaf("hallmark-server");
    bao.told(&["auth", "enable", "cert"]);
    bao.piped(
        &[
            "write",
            "auth/cert/certs/hallmark",
            "token_policies=hallmark",
            "certificate=-",
        ],
        &leaf_signer(&bao),
    );
    let cert = format!(
        "[auth.cert]\ncertificate = {:?}\nkey = \"file:{}\"\n",
        bao.file("client.pem", &leaf.pem),
        bao.file("client.key", &leaf.key.serialize_pem()).display()
    );
    bao.told(&["auth", "enable", "jwt"]);
    let (jwt, public) = service_account(&bao);
    bao.piped(&["write", "auth/jwt/config", "jwt_validation_pubkeys=-"], &public);
    bao.told(&[
        "write",
        "auth/jwt/role/hallmark",
        "role_type=jwt",
        "user_claim=sub",
        "bound_audiences=vault",
        "token_policies=hallmark",
    ]);
    let kubernetes = format!(
        "[auth.kubernetes]\nmount = \"jwt\"\nrole = \"hallmark\"\njwt = {:?}\n",
        bao.file("jwt", &jwt)
    );
    let token = bao.token("token", &[]).1;
    for auth in [cert, kubernetes, token, bao.approle(&["token_num_uses=1"])] {
        let upstream = bao.upstream(&auth);
        // The second order shows that a token which is used up is made anew.
        for _ in 0..2 {
            let request = Request::new();
            require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
        }
    }
}

/// The authority of the client's certificate.
fn leaf_signer(bao: &Bao) -> String {
    bao.tls.pem.clone()
}

/// A JWT as Kubernetes makes them, and the key that verifies it in PEM. OpenSSL signs.
fn service_account(bao: &Bao) -> (String, String) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let private = bao.folder.path().join("jwt-key");
    let openssl = |arguments: &[&str], files: [&Path; 2]| {
        let done = Command::new("openssl")
            .args(arguments)
            .arg(files[0])
            .arg("-in")
            .arg(files[1])
            .output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(&private)
        .status();
    assert!(made.unwrap().success());
    let public = openssl(&["pkey", "-pubout", "-passin"], [Path::new("pass:"), &private]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = serde_json::json!({ "sub": "system:serviceaccount:hallmark:server", "aud": "vault", "iat": now, "exp": now + 600 });
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#);
    let payload = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let input = bao.file("jwt-input", &payload);
    let signature = openssl(&["pkeyutl", "-sign", "-rawin", "-inkey"], [&private, &input]);
    let public = String::from_utf8(public).unwrap();
    (format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature)), public)
}

#[tokio::test]
async fn a_revoked_token_is_replaced_in_its_file() {
    let Some(bao) = Bao::start() else { return };
    let (token, config) = bao.token("token", &[]);
    let upstream = bao.upstream(&config);
    sign(&upstream, &Request::new()).await.unwrap();
    bao.told(&["token", "revoke", &token]);
    let (code, report) = refused(sign(&upstream, &Request::new()).await);
    assert_eq!(code, "HM-CA-0059", "{report}");
    assert!(!report.contains(&token), "{report}");
    bao.token("token", &[]);
    let request = Request::new();
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
}

#[tokio::test]
async fn a_token_lives_on_as_long_as_it_is_renewed() {
    let Some(bao) = Bao::start() else { return };
    let (renewed, config) = bao.token("renewed", &["-period=4s"]);
    let (left, _) = bao.token("left", &["-period=4s"]);
    let upstream = bao.upstream(&config);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        upstream.roots().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let lives = |token: &str| bao.command(&["token", "lookup", token], "").0;
    assert!(lives(&renewed));
    assert!(!lives(&left), "the control: nobody renews this one");
    let request = Request::new();
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
}

#[tokio::test]
async fn what_openbao_refuses_has_its_code() {
    let Some(bao) = Bao::start() else { return };
    let approle = bao.approle(&[]);
    let root = format!(
        "[auth.token]\ntoken = \"file:{}\"\n",
        bao.file("root", "root").display()
    );
    let of = |text: String| {
        let upstream = bao.upstream(&text);
        async move { refused(sign(&upstream, &Request::new()).await) }
    };
    let (code, report) = of(format!("mount = \"nowhere\"\n{root}")).await;
    assert_eq!(code, "HM-CA-0062", "{report}");
    let (code, report) = of(format!("mount = \"nowhere\"\n{approle}")).await;
    assert_eq!(code, "HM-CA-0059", "{report}");
    let (code, report) = of(format!("namespace = \"nowhere\"\n{root}")).await;
    assert_eq!(code, "HM-CA-0062", "{report}");
    let (code, report) = of(format!("issuer = \"nobody\"\n{root}")).await;
    assert_eq!(code, "HM-CA-0062", "{report}");
    let secret = bao.file("wrong", "wrong");
    let wrong = approle.replace(
        &bao.folder.path().join("secret-id").display().to_string(),
        &secret.display().to_string(),
    );
    let (code, report) = of(wrong).await;
    assert_eq!(code, "HM-CA-0058", "{report}");
    // An issuer that allows no authority below it.
    bao.told(&["secrets", "enable", "-path=leafy", "pki"]);
    let leafy = [
        "write",
        "leafy/root/generate/internal",
        "common_name=Leafy",
        "ttl=700h",
        "max_path_length=0",
    ];
    bao.told(&leafy);
    let (code, report) = of(format!("mount = \"leafy\"\n{root}")).await;
    assert_eq!(code, "HM-CA-0063", "{report}");
    assert!(report.contains("max path length of zero"), "{report}");
    let upstream = bao.upstream(&approle);
    let request = Request::new();
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
    // Sealed: the control signed a moment ago.
    bao.told(&["operator", "seal"]);
    for (code, report) in [
        refused(sign(&upstream, &Request::new()).await),
        refused(sign(&bao.upstream(&root), &Request::new()).await),
        refused(upstream.roots().await),
    ] {
        assert_eq!(code, "HM-CA-0060", "{report}");
    }
}

#[tokio::test]
async fn a_mount_of_a_namespace_signs() {
    let Some(bao) = Bao::start() else { return };
    bao.told(&["namespace", "create", "team"]);
    bao.told(&["secrets", "enable", "-namespace=team", "pki"]);
    bao.told(&[
        "write",
        "-namespace=team",
        "pki/root/generate/internal",
        "common_name=Team root",
        "ttl=700h",
    ]);
    let root = format!(
        "[auth.token]\ntoken = \"file:{}\"\n",
        bao.file("root", "root").display()
    );
    let upstream = bao.upstream(&format!("namespace = \"team\"\n{root}"));
    let request = Request::new();
    let signed = sign(&upstream, &request).await.unwrap();
    require_genuine(&signed, &request);
    assert!(pki::read(&signed.roots[0]).subject().to_string().contains("Team root"));
}

/// The commands of the page for operators, in their order, as it has them.
#[tokio::test]
async fn the_documented_commands_give_the_rights_that_are_needed() {
    let Some(bao) = Bao::bare() else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how-to/run-below-vault-or-est.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 3, "the page was read");
    let path = format!(
        "{}:{}",
        bao.program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let done = Command::new("sh")
        .args(["-eu", "-c", &blocks.concat()])
        .current_dir(&bao.folder)
        .env("HOME", bao.folder.path())
        .env("PATH", path)
        .env("BAO_ADDR", &bao.admin)
        .env("BAO_TOKEN", "root")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    let role = bao.told(&["read", "-field=role_id", "auth/approle/role/hallmark-server/role-id"]);
    assert!(told.contains(&role), "{told}");
    let secret = bao.folder.path().join("vault-secret-id");
    let config = format!(
        "[auth.approle]\nrole_id = {role:?}\nsecret_id = \"file:{}\"\n",
        secret.display()
    );
    let upstream = bao.upstream(&config);
    let request = Request::new();
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
    // The control: without its one right the same login signs nothing.
    bao.told(&["policy", "delete", "hallmark-server"]);
    assert_eq!(refused(sign(&upstream, &request).await).0, "HM-CA-0059");
}
