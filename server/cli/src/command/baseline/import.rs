//! `baseline import`: what somebody signed becomes a baseline.

use std::path::{Path, PathBuf};

use hallmark_policy::{
    Baseline, PolicySet,
    signed::{FileKind, OpenedFile, OperatorKeys, SignedFile, SignedFileError},
};
use hallmark_spiffe::TrustDomain;

use super::{
    super::{
        Context,
        evidence::read::limited,
        policy::{Offered, apply, operator_key, save},
    },
    operators,
};
use crate::{
    args::{RuleChange, out_path},
    error::CliError,
    exit::Exit,
    output::say,
    timestamp,
};

/// The largest certificate that is read.
const MAX_CERTIFICATE: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The signed file, or a CoRIM (CBOR)
    file: PathBuf,
    /// Public keys of those who may sign, PEM
    #[arg(long, value_name = "FILE", required_unless_present_any = ["unsigned", "signer"])]
    operator_key: Vec<PathBuf>,
    /// The certificate of the key that signs machine images, PEM or DER. Without -o the baseline is put in force
    #[arg(long, value_name = "FILE", conflicts_with_all = ["operator_key", "unsigned", "name"])]
    signer: Option<PathBuf>,
    /// The trust domain that a signed file must be for; else it is told which one it names
    #[arg(long, value_name = "NAME", value_parser = TrustDomain::parse)]
    trust_domain: Option<TrustDomain>,
    /// Take a CoRIM that nobody signed
    #[arg(long, conflicts_with = "operator_key", requires = "name")]
    unsigned: bool,
    /// The baseline's name, for a CoRIM
    #[arg(long)]
    name: Option<String>,
    /// The baseline's serial number, for a CoRIM
    #[arg(long, default_value_t = 1)]
    serial: u64,
    /// The baseline file to write; `-o OUT` says the same here
    #[arg(long, value_name = "OUT", value_parser = out_path, required_unless_present = "signer", conflicts_with_all = ["dry_run", "yes", "reason"])]
    out: Option<PathBuf>,
    /// An operator's private key, where only files that operators signed count: P-256, PKCS #8, PEM
    #[arg(long, value_name = "FILE", requires = "signer", conflicts_with = "out")]
    key: Option<PathBuf>,
    /// Take the place of a baseline of the same name that another signer signed
    #[arg(long, requires = "signer", conflicts_with = "out")]
    replace_signer: bool,
    #[command(flatten)]
    how: RuleChange,
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let keys = self.keys()?;
        let bytes = limited(&self.file, SignedFile::MAX_BYTES)?;
        let Some(out) = &self.out else {
            // Only the signer of images goes without it.
            let keys = keys.ok_or(CliError::NothingToChange)?;
            return self.promote(context, bytes, &keys).await;
        };
        if Baseline::is_corim(&bytes) {
            return self.corim(&bytes, keys.as_ref(), out);
        }
        let keys = keys.ok_or_else(|| unfit(&self.file, &"only a CoRIM is taken unsigned"))?;
        let opened = self.open(bytes, self.trust_domain.as_ref(), &keys)?;
        if self.trust_domain.is_none() {
            say(&format!("{}: signed for {}", self.file.display(), opened.trust_domain));
        }
        save(out, &String::from_utf8_lossy(&opened.payload))
    }

    /// Those who may have signed; none where nobody needs to.
    fn keys(&self) -> Result<Option<OperatorKeys>, CliError> {
        let Some(signer) = &self.signer else {
            return (!self.unsigned).then(|| operators(&self.operator_key)).transpose();
        };
        let mut keys = OperatorKeys::default();
        keys.add_certificate(&limited(signer, MAX_CERTIFICATE)?, timestamp::now())
            .map_err(|cause| signed(signer, cause))?;
        Ok(Some(keys))
    }

    /// Puts the baseline of an image in force, once its signature was checked; with an operator's signature beside it where only operators'
    /// files count.
    async fn promote(&self, context: &Context, bytes: Vec<u8>, keys: &OperatorKeys) -> Result<Exit, CliError> {
        // A file of another trust domain is not this server's, whatever was asked for.
        let trust_domain = context.connect().await?.trust_domain().await?;
        if let Some(asked) = &self.trust_domain {
            self.open(bytes.clone(), Some(asked), keys)?;
        }
        self.open(bytes.clone(), Some(&trust_domain), keys)?;
        let ours = |cause| signed(&self.file, cause);
        let file = SignedFile::parse(&String::from_utf8_lossy(&bytes)).and_then(|file| file.of_image_signer(keys));
        let mut file = file.map_err(ours)?;
        if let Some(key) = &self.key {
            file = file.countersigned(&operator_key(key)?).map_err(ours)?;
        }
        let offered = Offered {
            replace_signer: self.replace_signer,
            ..Offered::new(FileKind::Baseline, file.to_json().into_bytes(), "in force")
        };
        apply(context, offered, self.how.clone()).await
    }

    /// The baseline of a file that one of `keys` signed.
    fn open(
        &self,
        bytes: Vec<u8>,
        audience: Option<&TrustDomain>,
        keys: &OperatorKeys,
    ) -> Result<OpenedFile, CliError> {
        let text = String::from_utf8(bytes).map_err(|error| unfit(&self.file, &error))?;
        let opened = SignedFile::parse(&text).and_then(|file| file.open(FileKind::Baseline, audience, keys));
        let opened = opened.map_err(|cause| signed(&self.file, cause))?;
        PolicySet::default().add_file(FileKind::Baseline, &self.file.display().to_string(), &opened.payload)?;
        Ok(opened)
    }

    fn corim(&self, bytes: &[u8], keys: Option<&OperatorKeys>, out: &Path) -> Result<Exit, CliError> {
        let name = self.name.as_deref();
        let name = name.ok_or_else(|| {
            unfit(
                &self.file,
                &"a CoRIM does not say what its baseline is called: add --name",
            )
        })?;
        let (baseline, left_out) = Baseline::from_corim(bytes, name, self.serial, timestamp::now(), keys)?;
        for what in left_out {
            say(&format!("{}: not taken: {what}", self.file.display()));
        }
        save(out, &(baseline.to_json() + "\n"))
    }
}

fn unfit(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::Unfit {
        what: "signed file",
        file: path.to_owned(),
        detail: error.to_string(),
    }
}

fn signed(path: &Path, cause: SignedFileError) -> CliError {
    CliError::Signed {
        file: path.to_owned(),
        cause,
    }
}
