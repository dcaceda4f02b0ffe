//! What PKCS#11 return values mean here.

use cryptoki::{
    context::Function,
    error::{Error, RvError},
};
use hallmark_hsm::HsmError;

/// Why a piece of work with the token failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// Trying again would not help; told as it is.
    Final(HsmError),
    /// The session, the token or the way to it may be gone: worth opening it again and one more try.
    Gone(HsmError),
    /// An object that was known is not there under its handle any more.
    StaleHandle,
}

impl From<HsmError> for Failure {
    fn from(error: HsmError) -> Self {
        Self::Final(error)
    }
}

/// Reads an error of the module. `label` is the token's, `what` names the work in an operator's words.
pub(crate) fn failure(label: &str, what: &str, error: &Error) -> Failure {
    let (rv, function) = match error {
        Error::Pkcs11(rv, function) => (*rv, *function),
        Error::NullFunctionPointer | Error::NotSupported => {
            return Failure::Final(not_supported(what, error));
        }
        other => return Failure::Final(device_error(what, other)),
    };
    let label = label.to_owned();
    match rv {
        RvError::PinIncorrect => Failure::Final(HsmError::PinWrong { label }),
        RvError::PinLocked => Failure::Final(HsmError::PinLocked { label }),
        RvError::PinExpired | RvError::UserPinNotInitialized => {
            Failure::Final(HsmError::PinUnset { label, cause: code(rv) })
        }
        RvError::PinInvalid | RvError::PinLenRange => Failure::Final(HsmError::PinUnfit { label, cause: code(rv) }),
        // Some drivers answer so when they have lost their device.
        RvError::DeviceMemory if !matches!(function, Function::GenerateKeyPair) => {
            Failure::Gone(device_error(what, error))
        }
        RvError::DeviceMemory => Failure::Final(HsmError::TokenFull { label }),
        RvError::TokenWriteProtected | RvError::SessionReadOnly => Failure::Final(HsmError::WriteProtected { label }),
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Failure::StaleHandle,
        _ if is_unsupported(rv) => Failure::Final(not_supported(what, error)),
        _ if is_removal(rv) => Failure::Gone(HsmError::DeviceRemoved {
            label,
            cause: describe(rv, function),
        }),
        _ if is_fault(rv) => Failure::Gone(device_error(what, error)),
        // A call to sign that has failed may leave the session with an operation that has begun.
        _ if matches!(function, Function::Sign | Function::SignInit) => Failure::Gone(device_error(what, error)),
        _ => Failure::Final(device_error(what, error)),
    }
}

const fn is_unsupported(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::KeySizeRange
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::FunctionNotSupported
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::TemplateInconsistent
            | RvError::TemplateIncomplete
            | RvError::KeyTypeInconsistent
            | RvError::KeyFunctionNotPermitted
    )
}

const fn is_removal(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::SlotIdInvalid
            | RvError::CryptokiNotInitialized
            | RvError::UserNotLoggedIn
    )
}

/// Errors that say little; many drivers answer so when the way to the device broke.
const fn is_fault(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::DeviceError
            | RvError::GeneralError
            | RvError::FunctionFailed
            | RvError::OperationActive
            | RvError::OperationNotInitialized
            | RvError::HostMemory
            | RvError::FunctionCanceled
            | RvError::VendorDefined(_)
    )
}

fn not_supported(what: &str, error: &Error) -> HsmError {
    HsmError::NotSupported {
        what: what.to_owned(),
        cause: short(error),
    }
}

pub(crate) fn device_error(what: &str, error: &Error) -> HsmError {
    HsmError::DeviceError {
        function: what.to_owned(),
        cause: short(error),
    }
}

/// The function and the return value, without the specification's long text.
pub(crate) fn short(error: &Error) -> String {
    match error {
        Error::Pkcs11(rv, function) => describe(*rv, *function),
        other => other.to_string(),
    }
}

fn describe(rv: RvError, function: Function) -> String {
    format!("C_{function:?} returned {}", code(rv))
}

fn code(rv: RvError) -> String {
    match rv {
        RvError::VendorDefined(value) | RvError::UnknownErrorCode(value) => {
            format!("{value:#x}")
        }
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rv: RvError, function: Function) -> Failure {
        failure("hallmark", "a test", &Error::Pkcs11(rv, function))
    }

    #[test]
    fn each_fault_that_an_operator_must_tell_apart_has_its_own_error() {
        let label = || "hallmark".to_owned();
        let expected = [
            (RvError::PinIncorrect, HsmError::PinWrong { label: label() }),
            (RvError::PinLocked, HsmError::PinLocked { label: label() }),
            (
                RvError::TokenWriteProtected,
                HsmError::WriteProtected { label: label() },
            ),
        ];
        for (rv, error) in expected {
            let Failure::Final(found) = read(rv, Function::Login) else {
                panic!("{rv:?} must be final");
            };
            assert_eq!(found, error);
        }
        let full = read(RvError::DeviceMemory, Function::GenerateKeyPair);
        assert!(matches!(full, Failure::Final(HsmError::TokenFull { .. })), "{full:?}");
    }

    #[test]
    fn what_may_be_a_lost_token_is_worth_another_try_and_a_refusal_is_not() {
        for rv in [
            RvError::DeviceRemoved,
            RvError::TokenNotPresent,
            RvError::SessionHandleInvalid,
            RvError::CryptokiNotInitialized,
            RvError::UserNotLoggedIn,
            RvError::GeneralError,
            RvError::VendorDefined(0x8000_0001),
            // No room for a signature is no full token; and what else C_Sign answers may leave an operation under way.
            RvError::DeviceMemory,
            RvError::DataLenRange,
        ] {
            assert!(matches!(read(rv, Function::Sign), Failure::Gone(_)), "{rv:?}");
        }
        for rv in [RvError::MechanismInvalid, RvError::KeySizeRange] {
            let Failure::Final(HsmError::NotSupported { cause, .. }) = read(rv, Function::GenerateKeyPair) else {
                panic!("{rv:?} must be final");
            };
            assert!(cause.starts_with("C_GenerateKeyPair returned "), "{cause}");
        }
    }
}
