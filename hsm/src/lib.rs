//! The port `KeyStore`: create, find, sign, destroy.
