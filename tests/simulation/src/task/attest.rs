//! An agent attests: a challenge, a verdict, and where it is accepted the node's SVID.

use std::sync::Arc;

use hallmark_policy::AppraisalResult;
use hallmark_state::{
    AttestationState, AttestedFacts, Decision, Event, Expect, Key, NewEvidence, NodeEvidence, NodeSvid, Outcome, View,
    What,
    decide::{
        Accepted, Admission, AttestRefusal, Basis, Evidence, Proven, accept, prove_names, refuse, take_back,
        wait_for_approval,
    },
};

use hallmark_verify::Trust;

use super::{Context, Next, Then, Without as _, Work, authority::most};
use crate::{
    Broken,
    invariants::Draft,
    machine::{Machine, hex},
};

const BY: &str = "attestation";
/// How long an SVID lives, in seconds.
const LIFETIME: i64 = 3600;

enum Stage {
    Challenge,
    Judge,
    Names,
    Record,
    Signed,
    TakeBack,
}

/// An attestation.
pub(crate) struct Attest {
    machine: usize,
    stage: Stage,
    before: Option<Arc<AttestationState>>,
    judged: Option<Judged>,
}

struct Judged {
    basis: Basis,
    result: AppraisalResult,
    stale_at: Option<i64>,
    evidence: Evidence,
    svid: NodeSvid,
    authority: String,
    trust: Arc<Trust>,
}

impl Attest {
    pub(crate) const fn of(machine: usize) -> Self {
        Self {
            machine,
            stage: Stage::Challenge,
            before: None,
            judged: None,
        }
    }

    /// Holds what the machine proves against the rules in force.
    fn judge(&self, context: &mut Context<'_>) -> Option<Judged> {
        let serial = context.server.serial(context.random);
        let (state, now, server_now) = (context.state(), context.now, context.server_now());
        let machine = &context.machines[self.machine];
        let facts = machine.facts(state, now, server_now);
        let held = Arc::new(machine.after(self.before.as_deref(), now, server_now)?);
        let basis = Basis {
            rules: state.rules().revision,
            trust: state.trust_revision(),
            inventory: Arc::clone(state.inventory()),
            ek_ids: vec![machine.ek_id()],
            ek_sha256: machine.ek,
            other_eks: state.listed_with(&machine.ek),
        };
        let (set, at) = (&state.rules().set, super::reappraise::time(server_now));
        let evidence = NodeEvidence {
            node: machine.id.clone(),
            judged_at: server_now,
            runs: held.runs_json(),
            file: String::new(),
            facts: serde_json::to_string(&facts).unwrap(),
            ima: String::new(),
            earlier: String::new(),
        };
        Some(Judged {
            basis,
            result: set.judge(&facts, at),
            stale_at: set.stale_at(&facts, at),
            evidence: Evidence {
                new: Arc::new(NewEvidence {
                    evidence,
                    drops_logs: true,
                    logs: Vec::new(),
                }),
                state: held,
                before: self.before.clone(),
                certificate: None,
            },
            svid: NodeSvid {
                serial,
                expires_at: most(context)?.min(server_now + LIFETIME),
            },
            authority: state.active_authority()?.label.clone(),
            trust: Arc::clone(state.inventory().configured()),
        })
    }

    fn record(&self, context: &mut Context<'_>) -> Next {
        let Some(judged) = &self.judged else { return Next::End };
        let machine = &context.machines[self.machine];
        let (ak_name, now) = (machine.ak_name(), context.server_now());
        let proven = Proven {
            id: &machine.id,
            attestation_type: "tpm2",
            ak_name: ak_name.as_bytes(),
            selectors: judged.result.selectors(),
            facts: "{}",
            basis: &judged.basis,
            stale_at: judged.stale_at,
            evidence: &judged.evidence,
        };
        if let Some(reason) = judged.result.refusal() {
            let verdict = verdict(machine, Some(reason.code.as_str()));
            return Next::commit(BY, refuse(View::new(context.state()), &proven, &verdict));
        }
        let intent = Event::svid_intent(
            machine.id.as_str().into(),
            judged.svid.serial,
            judged.svid.expires_at,
            "".into(),
            Some(machine.id.as_str().into()),
        );
        let accepted = Accepted {
            proven,
            svid: judged.svid,
            authority: &judged.authority,
            events: vec![verdict(machine, None), intent],
        };
        match accept(View::new(context.state()), &accepted, context.approval, now) {
            Ok(decision) => Next::Commit {
                actor: BY.to_owned(),
                decision: Decision {
                    expect: forgetful(decision.expect, context.broken),
                    ..decision
                },
                drafts: vec![Draft {
                    serial: judged.svid.serial,
                    expires_at: judged.svid.expires_at,
                    subject: machine.id.clone(),
                    entry: None,
                    authority: judged.authority.clone(),
                    trust: Some(Arc::clone(&judged.trust)),
                }],
            },
            Err(AttestRefusal::Admission(Admission::Pending { .. })) => {
                let view = View::new(context.state());
                let (decision, _) = wait_for_approval(view, &machine.id, &machine.ek, ak_name.as_bytes(), "{}", now);
                Next::commit(BY, decision)
            }
            Err(_) => Next::End,
        }
    }

    /// Hands out what was signed, if the node may still have it.
    fn deliver(&self, context: &mut Context<'_>) {
        let Some(judged) = &self.judged else { return };
        let node = context.state().node(&context.machines[self.machine].id);
        let is_its =
            node.is_some_and(|node| node.is_active() && [node.current, node.next].contains(&Some(judged.svid)));
        if is_its {
            context.machines[self.machine].svid = Some(judged.svid);
        }
    }
}

/// What a broken server lets its verdicts rest on.
fn forgetful(expect: Expect, broken: Option<Broken>) -> Expect {
    expect.without(|key| match broken {
        Some(Broken::ForgetsTrust) => matches!(key, Key::Rules),
        _ => false,
    })
}

fn verdict(machine: &Machine, code: Option<&'static str>) -> Event {
    let (remote, attestation_type) = ("127.0.0.1:1".parse().unwrap(), "tpm2".to_owned());
    let (outcome, what) = match code {
        None => (
            Outcome::Accepted,
            What::Accepted {
                remote,
                attestation_type,
                facts: AttestedFacts::default().into(),
                evidence_sha256: None,
            },
        ),
        Some(code) => (
            Outcome::Refused,
            What::Refused {
                remote,
                attestation_type,
                text: format!("{code} of {}", hex(&machine.ek)),
                compared: None,
                evidence_sha256: None,
            },
        ),
    };
    Event {
        subject: machine.id.as_str().into(),
        outcome,
        code: code.unwrap_or("").into(),
        what,
    }
}

impl Work for Attest {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        match self.stage {
            Stage::Challenge => {
                let (state, id) = (context.state(), &context.machines[self.machine].id);
                let known = state.node(id).is_some();
                self.before = state.attestation(id).filter(|_| known).cloned();
                self.stage = Stage::Judge;
                Next::Later
            }
            Stage::Judge => {
                self.judged = self.judge(context);
                self.stage = Stage::Names;
                if self.judged.is_some() { Next::Later } else { Next::End }
            }
            Stage::Names => {
                let machine = &context.machines[self.machine];
                let view = View::new(context.state());
                match prove_names(view, &machine.ek, &[], &machine.ak_name()) {
                    Ok(decision) => Next::commit(BY, decision),
                    Err(_) => Next::End,
                }
            }
            Stage::Record => self.record(context),
            Stage::Signed => {
                self.deliver(context);
                Next::End
            }
            Stage::TakeBack => {
                let Some(judged) = &self.judged else { return Next::End };
                let id = &context.machines[self.machine].id;
                Next::commit(BY, take_back(View::new(context.state()), id, judged.svid))
            }
        }
    }

    fn has_a_minute(&self) -> bool {
        true
    }

    fn committed(&mut self) -> Then {
        if matches!(self.stage, Stage::Names) {
            self.stage = Stage::Record;
            return Then::GoOn;
        }
        Then::End
    }

    fn signed(&mut self, is_signed: bool) -> Then {
        self.stage = if is_signed { Stage::Signed } else { Stage::TakeBack };
        Then::GoOn
    }
}
