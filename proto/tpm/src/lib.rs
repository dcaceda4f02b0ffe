//! TPM 2.0 structures on the wire, and MakeCredential.
