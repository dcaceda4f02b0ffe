//! The port `Tpm` and its tss-esapi driver.
