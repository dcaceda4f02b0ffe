//! Where the TPM is.

use std::{fmt, io, net::TcpStream, path::Path, str::FromStr};

use tss_esapi::{
    Context,
    tcti_ldr::{DeviceConfig, NetworkTPMConfig, TctiNameConf},
};

use crate::{TpmError, response::Response};

/// The way to a TPM: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321` or `mssim:host=127.0.0.1,port=2321`.
#[derive(Clone, PartialEq, Eq)]
pub struct Tcti {
    text: String,
    conf: TctiNameConf,
}

impl Tcti {
    /// Reads a TCTI string.
    ///
    /// # Errors
    /// The string names another TCTI than the three, or their options are not understood.
    pub fn parse(text: &str) -> Result<Self, TpmError> {
        let bad = || TpmError::BadTcti(text.to_owned());
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let conf = match name {
            "device" => {
                let path = if options.is_empty() { "/dev/tpmrm0" } else { options };
                TctiNameConf::Device(DeviceConfig::from_str(path).map_err(|_| bad())?)
            }
            "swtpm" => TctiNameConf::Swtpm(NetworkTPMConfig::from_str(options).map_err(|_| bad())?),
            "mssim" => TctiNameConf::Mssim(NetworkTPMConfig::from_str(options).map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        Ok(Self {
            text: text.to_owned(),
            conf,
        })
    }

    /// Whether this process is the TPM's only user. A software TPM's socket serves one client; a device is shared
    /// with the rest of the machine.
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        matches!(self.conf, TctiNameConf::Swtpm(_) | TctiNameConf::Mssim(_))
    }

    pub(crate) fn open(&self) -> Result<Context, TpmError> {
        Context::new(self.conf.clone()).map_err(|error| self.explain(error))
    }

    /// The library says only "I/O error"; the operating system knows more.
    fn explain(&self, error: tss_esapi::Error) -> TpmError {
        if let Some(path) = self.device_path() {
            match std::fs::OpenOptions::new().read(true).write(true).open(path) {
                Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => {
                    return TpmError::PermissionDenied { path: path.to_owned() };
                }
                Err(_) if speaks_1_2(Path::new(VERSION)) => {
                    return TpmError::OldVersion {
                        tcti: self.text.clone(),
                    };
                }
                Err(other) => {
                    return TpmError::Absent {
                        tcti: self.text.clone(),
                        detail: other.to_string(),
                    };
                }
                Ok(_) => {}
            }
        }
        match Response::of(error) {
            Response::Connection(rc) | Response::Other(rc) => TpmError::Absent {
                tcti: self.text.clone(),
                detail: self
                    .refused_connection()
                    .unwrap_or_else(|| format!("TCTI answered 0x{rc:08x}")),
            },
            other => other.into_error("opening the TPM", "owner"),
        }
    }

    /// What the operating system says of a connection to a software TPM.
    fn refused_connection(&self) -> Option<String> {
        let (_, options) = self.text.split_once(':')?;
        let option = |name: &str| {
            options
                .split(',')
                .find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
        };
        let (host, port) = (option("host")?, option("port")?.parse::<u16>().ok()?);
        let refused = TcpStream::connect((host, port)).err()?;
        Some(refused.to_string())
    }

    fn device_path(&self) -> Option<&str> {
        match self.text.split_once(':') {
            Some(("device", path)) if !path.is_empty() => Some(path),
            _ if self.text.starts_with("device") => Some("/dev/tpmrm0"),
            _ => None,
        }
    }
}

/// Where the kernel says which TPM it found: of 1.2 there is no resource manager, and so no device of one.
const VERSION: &str = "/sys/class/tpm/tpm0/tpm_version_major";

fn speaks_1_2(version: &Path) -> bool {
    std::fs::read_to_string(version).is_ok_and(|major| major.trim() == "1")
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tcti({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_and_no_other() {
        assert!(Tcti::parse("swtpm:host=127.0.0.1,port=2321").unwrap().is_exclusive());
        assert!(Tcti::parse("mssim:host=127.0.0.1,port=2321").unwrap().is_exclusive());
        assert!(!Tcti::parse("device:/dev/tpmrm0").unwrap().is_exclusive());
        assert!(!Tcti::parse("device").unwrap().is_exclusive());
        for wrong in ["", "tabrmd", "swtpm:port=x", "cmd:rm -rf /", "/dev/tpm0"] {
            assert_eq!(Tcti::parse(wrong), Err(TpmError::BadTcti(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn a_chip_of_version_1_2_is_told_by_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let version = folder.path().join("tpm_version_major");
        assert!(!speaks_1_2(&version));
        for (major, is_old) in [("1\n", true), ("2\n", false), ("", false)] {
            std::fs::write(&version, major).unwrap();
            assert_eq!(speaks_1_2(&version), is_old, "{major:?}");
        }
    }

    #[test]
    fn an_absent_device_is_told_from_a_forbidden_one() {
        let absent = Tcti::parse("device:/nonexistent/tpm").unwrap().open();
        assert!(matches!(absent, Err(TpmError::Absent { .. })), "{absent:?}");
        let silent = Tcti::parse("swtpm:host=127.0.0.1,port=1").unwrap().open();
        assert!(
            matches!(&silent, Err(TpmError::Absent { detail, .. }) if detail.contains("refused")),
            "{silent:?}"
        );
    }
}
