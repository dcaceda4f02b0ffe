//! SPIFFE ID, trust domain, selector, bundle and the SVID profile rules.
