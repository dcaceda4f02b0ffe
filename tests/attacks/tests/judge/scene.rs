//! A machine that boots as logs say, what it sends, and the verdict on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_evidence::systemd::SystemdLog;
use hallmark_evidence::tcg::{Replay, TcgLog};
use hallmark_evidence::{Log, LogKind};
use hallmark_policy::{Appraisal, Listed, Policy, PolicySet, appraise};
use hallmark_reason::Coded;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::testing::{ChallengeParts, SoftwareMachine, VendorCa};
use hallmark_verify::{HeldLogs, Trust, VerifiedEvidence, VerifyError, verify_claim, verify_logs, verify_proof};
use zeroize::Zeroizing;

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

/// A file of the recorded boots.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/measured-boot/");
    std::fs::read(format!("{root}{name}")).unwrap()
}

/// systemd's log of these words, each measured into its register.
pub(crate) fn user_space(words: &[(u8, &str)]) -> Vec<u8> {
    let record = |(pcr, word): &(u8, &str)| {
        let digest = hex::encode(HashAlg::Sha256.digest(word.as_bytes()));
        let weak = hex::encode(HashAlg::Sha1.digest(word.as_bytes()));
        format!(
            "\u{1e}{{\"pcr\":{pcr},\"digests\":[{{\"hashAlg\":\"sha1\",\"digest\":\"{weak}\"}},\
             {{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\"content_type\":\"systemd\",\
             \"content\":{{\"string\":\"{word}\",\"eventType\":\"phase\"}}}}\n"
        )
    };
    words.iter().map(record).collect::<String>().into_bytes()
}

/// The logs of a boot: those that it wrote, or those that a machine shows.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    pub(crate) tcg: Option<Vec<u8>>,
    pub(crate) systemd: Vec<u8>,
    pub(crate) ima: Option<Vec<u8>>,
}

impl Logs {
    /// The firmware's log alone.
    pub(crate) fn firmware(tcg: Vec<u8>) -> Self {
        Self {
            tcg: Some(tcg),
            ..Self::default()
        }
    }

    /// Both logs of a recorded boot.
    pub(crate) fn recorded(name: &str) -> Self {
        Self {
            ima: Some(vector(&format!("{name}/ima.bin"))),
            ..Self::firmware(vector(&format!("{name}/eventlog.bin")))
        }
    }

    pub(crate) fn with_ima(mut self, lines: &[Vec<u8>]) -> Self {
        self.ima = Some(lines.concat());
        self
    }

    /// The SHA-256 registers of a machine that measured this.
    fn registers(&self) -> Vec<Vec<u8>> {
        let mut values = vec![vec![0; 32]; 16];
        if let Some(tcg) = &self.tcg {
            let mut replay = Replay::of(&TcgLog::parse(tcg).unwrap());
            SystemdLog::parse(&self.systemd).unwrap().extend(&mut replay);
            for (pcr, value) in (0..16).zip(&mut values) {
                *value = replay.value(HashAlg::Sha256, pcr).unwrap().to_vec();
            }
        }
        if let Some(ima) = &self.ima {
            let mut replay = ImaReplay::at_boot(HashAlg::Sha256);
            ImaList::new(ima).lines().for_each(|line| replay.extend(&line.unwrap()));
            values[10] = replay.value().to_vec();
        }
        values
    }

    fn sent(&self) -> Vec<Log> {
        let some = |kind, data: &Vec<u8>| Log::new(kind, 0, data.clone()).unwrap();
        let systemd = Some(&self.systemd).filter(|log| !log.is_empty());
        let logs = [
            self.tcg.as_ref().map(|log| some(LogKind::Tcg, log)),
            systemd.map(|log| some(LogKind::Systemd, log)),
            self.ima.as_ref().map(|log| some(LogKind::Ima, log)),
        ];
        logs.into_iter().flatten().collect()
    }
}

/// A verifier, its policies, and one machine that it trusts.
pub(crate) struct Scene {
    trust: Trust,
    pub(crate) machine: SoftwareMachine,
    pub(crate) policies: PolicySet,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let vendor = VendorCa::new();
        let trust = SoftwareMachine::trust(&vendor);
        Self {
            trust,
            machine: SoftwareMachine::new(&vendor),
            policies: PolicySet::default(),
        }
    }

    /// With one policy of these lines.
    pub(crate) fn under(rules: &str) -> Self {
        let mut scene = Self::new();
        let text = format!("version = 1\nname = \"p\"\nserial = 1\n{rules}\n");
        let policy = Policy::from_toml("p", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        scene.policies.apply(policy);
        scene
    }

    /// The machine measured one thing, and shows another.
    pub(crate) fn show(&mut self, measured: &Logs, shown: &Logs) -> Result<Appraisal, VerifyError> {
        for (pcr, value) in (0..16).zip(measured.registers()) {
            self.machine.pcrs.insert((0x000b, pcr), value);
        }
        let evidence = self.attest(shown.sent(), &HeldLogs::default())?;
        Ok(appraise(evidence, Listed::default(), &self.policies, now()))
    }

    /// The machine sends these logs, of which the verifier holds the beginning.
    pub(crate) fn attest(&mut self, logs: Vec<Log>, held: &HeldLogs) -> Result<VerifiedEvidence, VerifyError> {
        self.machine.logs = logs;
        let pcrs: Vec<u8> = (0..16).collect();
        let selection = PcrSelection::new([(HashAlg::Sha256, &pcrs[..])]).unwrap();
        let verified_claim = verify_claim(self.machine.claim().decode().unwrap(), &self.trust, None, now())?;
        let secret = Some(Zeroizing::new([0x7c; 32]));
        let challenge = verified_claim.challenge_with([0x6b; 32], secret, selection, now())?;
        let exporter = [0x5a; 32];
        let proof = self.machine.prove(&ChallengeParts::from(&challenge), &exporter);
        let verified_proof = verify_proof(verified_claim, challenge, proof.decode().unwrap(), &exporter, now())?;
        verify_logs(verified_proof, proof.logs, held)
    }

    /// `trusted`, or the code of the refusal.
    pub(crate) fn verdict(&mut self, measured: &Logs, shown: &Logs) -> String {
        match self.show(measured, shown) {
            Err(error) => error.code().to_string(),
            Ok(appraisal) => appraisal
                .refusal()
                .map_or("trusted".to_owned(), |reason| reason.code.to_string()),
        }
    }

    /// The verdict on a machine that shows what it measured.
    pub(crate) fn honest(&mut self, logs: &Logs) -> String {
        self.verdict(logs, logs)
    }
}

/// The verdict under these rules on a machine that shows what it measured.
pub(crate) fn verdict(rules: &str, logs: &Logs) -> String {
    Scene::under(rules).honest(logs)
}
