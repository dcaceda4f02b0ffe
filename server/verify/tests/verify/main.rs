//! The verifier against a machine in software: the good ways, and the attacks. Each attack changes one thing of a run that
//! otherwise passes, and names the code of its refusal.

mod attack_ek_certificate;
mod attack_identity;
mod attack_key;
mod attack_quote;
mod foreign;
mod honest;
mod scene;
mod swtpm;
