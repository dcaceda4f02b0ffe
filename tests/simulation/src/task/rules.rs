//! An operator changes the rules.

use std::sync::Arc;

use hallmark_policy::signed::FileKind;
use hallmark_state::{
    Expect, Manifest, PolicyFile, View,
    decide::{PolicyFileChange, policy_files, put_policy_file},
};

use super::{Context, Next, Work};
use crate::machine::rules;

/// Rules that are to be in force.
pub(crate) struct Rules {
    number: usize,
    /// What the change is made of.
    basis: Option<(Expect, u64)>,
}

impl Rules {
    pub(crate) const fn of(number: usize) -> Self {
        Self { number, basis: None }
    }
}

impl Work for Rules {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let state = context.state();
        let Some((expect, serial)) = self.basis.take() else {
            let there = state.policy_files().get(&(FileKind::Policy, "p".to_owned()));
            let serial = there.map_or(1, |file| file.serial + 1);
            self.basis = Some((policy_files(View::new(state)), serial));
            return Next::Later;
        };
        let number = u8::try_from(self.number).unwrap();
        let change = PolicyFileChange {
            kind: FileKind::Policy,
            file: Arc::new(PolicyFile {
                kind: "policy".to_owned(),
                name: "p".to_owned(),
                serial,
                payload: vec![number],
                signed: String::new(),
                applied_at: context.server_now(),
                in_force: true,
            }),
            act: "apply",
            set: Arc::new(rules(self.number)),
            manifest: Manifest::new([("p".to_owned(), [number; 32])]),
            replaced_signer: None,
            reason: "",
        };
        Next::commit("operator", put_policy_file(expect, &change))
    }
}
