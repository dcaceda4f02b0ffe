//! Response codes of the TPM and of the layers above it, as [`TpmError`]s.
//!
//! Codes: TPM 2.0 part 2, section 6.6 "TPM_RC"; layers and base codes: TSS 2.0 overview, section 3.3.

use tss_esapi::{Error, WrapperErrorKind, constants::response_code::Tss2ResponseCode};

use crate::TpmError;

const LAYER_TCTI: u32 = 10;
const LAYER_RESMGR: u32 = 11;
const LAYER_RESMGR_TPM: u32 = 12;

const RC_INITIALIZE: u32 = 0x100;
const RC_FAILURE: u32 = 0x101;
const RC_LOCKOUT: u32 = 0x921;

const FMT1: u32 = 0x80;
const FMT1_VALUE: u32 = 0x84;
const FMT1_HIERARCHY: u32 = 0x85;
const FMT1_HANDLE: u32 = 0x8b;
const FMT1_AUTH_FAIL: u32 = 0x8e;
const FMT1_BAD_AUTH: u32 = 0xa2;

const BASE_MALFORMED: [u32; 5] = [6, 16, 17, 18, 19];
const BASE_BAD_SEQUENCE: u32 = 7;
const BASE_RSP_AUTH_FAILED: u32 = 27;

/// A TPM or TSS response code with what it means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    /// Try again a little later.
    Busy(u32),
    /// No room for an object or a session.
    NoRoom(u32),
    /// There is nothing at the handle.
    NoSuchHandle,
    /// A handle of ours no longer exists: the TPM was reset.
    Stale(u32),
    /// The TPM was not started.
    NotStarted(u32),
    /// The way to the TPM is broken.
    Connection(u32),
    /// The library's context is of no further use after an earlier failure.
    BadSequence(u32),
    /// The response does not decode.
    Malformed(u32),
    /// The response's authorization does not verify.
    Tampered,
    /// Failure mode.
    Failure(u32),
    /// Dictionary-attack lockout.
    Lockout,
    /// The hierarchy is disabled.
    Hierarchy(u32),
    /// A wrong authorization value.
    Auth(u32),
    /// A parameter is not acceptable or not supported (`VALUE` and its like).
    Unsupported(u32),
    /// Anything else.
    Other(u32),
}

impl Response {
    pub(crate) fn of(error: Error) -> Self {
        match error {
            Error::WrapperError(WrapperErrorKind::WrongValueFromTpm | WrapperErrorKind::InvalidParam) => {
                Self::Malformed(0)
            }
            Error::WrapperError(_) => Self::Other(0),
            Error::Tss2Error(code) => Self::of_code(raw(code)),
        }
    }

    pub(crate) fn of_code(rc: u32) -> Self {
        let base = rc & 0xffff;
        match (rc >> 16) & 0xff {
            0 | LAYER_RESMGR | LAYER_RESMGR_TPM => Self::of_tpm(base),
            LAYER_TCTI if BASE_MALFORMED.contains(&base) => Self::Malformed(rc),
            LAYER_TCTI => Self::Connection(rc),
            _ if base == BASE_RSP_AUTH_FAILED => Self::Tampered,
            _ if base == BASE_BAD_SEQUENCE => Self::BadSequence(rc),
            _ if BASE_MALFORMED.contains(&base) => Self::Malformed(rc),
            _ => Self::Other(rc),
        }
    }

    fn of_tpm(rc: u32) -> Self {
        if rc & FMT1 != 0 {
            // Bits 8-11 and bit 6 only say which handle, session or parameter it is about.
            return match rc & 0xbf {
                FMT1_HIERARCHY => Self::Hierarchy(rc),
                FMT1_HANDLE => Self::NoSuchHandle,
                FMT1_AUTH_FAIL | FMT1_BAD_AUTH => Self::Auth(rc),
                // ASYMMETRIC, ATTRIBUTES, HASH, VALUE, KEY_SIZE, MODE, TYPE, KDF, SCHEME, SIZE, SYMMETRIC, CURVE.
                0x81..=FMT1_VALUE | 0x87 | 0x89 | 0x8a | 0x8c | 0x92 | 0x95 | 0x96 | 0xa6 => Self::Unsupported(rc),
                _ => Self::Other(rc),
            };
        }
        match rc {
            RC_INITIALIZE => Self::NotStarted(rc),
            RC_FAILURE => Self::Failure(rc),
            RC_LOCKOUT => Self::Lockout,
            0x902..=0x906 => Self::NoRoom(rc),
            0x910..=0x91e => Self::Stale(rc),
            0x908 | 0x909 | 0x90a | 0x920 | 0x922 | 0x923 => Self::Busy(rc),
            _ => Self::Other(rc),
        }
    }

    /// The error that a caller sees, for `command` working in `hierarchy`.
    pub(crate) fn into_error(self, command: &'static str, hierarchy: &'static str) -> TpmError {
        match self {
            Self::Busy(rc) => TpmError::Busy { command, rc },
            Self::NoRoom(_) => TpmError::SlotsExhausted { command },
            Self::NotStarted(rc) | Self::Failure(rc) => TpmError::NotOperational { rc },
            Self::Connection(_) | Self::BadSequence(_) => TpmError::ConnectionLost { command },
            Self::Malformed(rc) => TpmError::Malformed {
                command,
                detail: format!("response code 0x{rc:08x}"),
            },
            Self::Tampered => TpmError::ResponseTampered { command },
            Self::Lockout => TpmError::LockedOut,
            Self::Hierarchy(_) => TpmError::HierarchyDisabled(hierarchy),
            Self::Auth(_) => TpmError::HierarchyAuthSet(hierarchy),
            Self::NoSuchHandle => TpmError::Refused {
                command,
                rc: FMT1_HANDLE,
            },
            Self::Stale(rc) | Self::Unsupported(rc) | Self::Other(rc) => TpmError::Refused { command, rc },
        }
    }
}

/// The whole response code. tss-esapi shows it only in the text form of its inner types.
fn raw(code: Tss2ResponseCode) -> u32 {
    let text = match code {
        Tss2ResponseCode::Success => return 0,
        Tss2ResponseCode::FormatZero(inner) => inner.to_string(),
        Tss2ResponseCode::FormatOne(inner) => inner.to_string(),
    };
    text.rsplit_once("0x")
        .and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_code_survives_the_library() {
        for rc in [0x100, 0x18b, 0x921, 0x9a2, 0x000a_000a, 0x0007_001b] {
            assert_eq!(raw(Tss2ResponseCode::from(rc)), rc);
        }
    }

    #[test]
    fn codes_mean_what_part_2_says() {
        assert_eq!(Response::of_code(0x9a2), Response::Auth(0x9a2));
        assert_eq!(Response::of_code(0x98e), Response::Auth(0x98e));
        assert_eq!(Response::of_code(0x185), Response::Hierarchy(0x185));
        assert_eq!(Response::of_code(0x18b), Response::NoSuchHandle);
        assert_eq!(Response::of_code(0x921), Response::Lockout);
        assert_eq!(Response::of_code(0x922), Response::Busy(0x922));
        assert_eq!(Response::of_code(0x902), Response::NoRoom(0x902));
        assert_eq!(Response::of_code(0x1c4), Response::Unsupported(0x1c4));
        assert_eq!(Response::of_code(0x0007_001b), Response::Tampered);
        assert_eq!(Response::of_code(0x000a_000a), Response::Connection(0x000a_000a));
        assert_eq!(Response::of_code(0x000b_0902), Response::NoRoom(0x902));
        // A base code of the TCTI layer is no TPM code, though the low bits are equal.
        assert_eq!(Response::of_code(0x000a_0011), Response::Malformed(0x000a_0011));
    }
}
