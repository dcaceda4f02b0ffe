//! Throw-away trust domains on swtpm and SoftHSM: the library of the tests, and `hallmark-lab`.
