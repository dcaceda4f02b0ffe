//! The PKCS#11 adapter of the port `KeyStore`.
