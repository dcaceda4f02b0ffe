//! A PKCS#11 module that forwards to another one, and fails as it is told: what real tokens do once in a year, made at will.
//!
//! `PKCS11_FAULTS_MODULE` is the real module; `PKCS11_FAULTS_CONTROL` a file that says what fails, read at each call. See
//! [`faults`] for its form. Where there is a file of the same name with `.calls` behind it, each call is noted there.

#![allow(non_snake_case, reason = "functions are called as the specification calls them")]

mod faults;
mod real;

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::{
    faults::{Fault, at},
    real::real,
};

/// The function list of the real module, with the functions that can fail in the place of its own.
///
/// # Safety
/// `list` is a valid pointer, as the specification has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(real) = real() else {
        return CKR_GENERAL_ERROR;
    };
    // SAFETY: the caller gives a valid pointer; the list lives as long as the process.
    unsafe { *list = real.replaced() };
    CKR_OK
}

macro_rules! forward {
    ($name:ident($($argument:expr),*)) => {
        match real().and_then(|real| real.list.$name) {
            Some(function) => function($($argument),*),
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}

/// Functions that are forwarded unless a fault is set.
macro_rules! forwarded {
    ($($name:ident as $word:literal ($($argument:ident: $type:ty),*);)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                match at($word) {
                    Some(Fault::Code(code)) => code,
                    // SAFETY: what the caller gave goes on as it is.
                    _ => unsafe { forward!($name($($argument),*)) },
                }
            }
        )*
    };
}

forwarded! {
    C_GetTokenInfo as "GetTokenInfo" (slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO);
    C_OpenSession as "OpenSession" (
        slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE
    );
    C_CloseSession as "CloseSession" (session: CK_SESSION_HANDLE);
    C_GetSessionInfo as "GetSessionInfo" (session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
    C_Login as "Login" (session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, len: CK_ULONG);
    C_FindObjectsInit as "FindObjectsInit" (session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjects as "FindObjects" (
        session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG
    );
    C_GetAttributeValue as "GetAttributeValue" (
        session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
    );
    C_GenerateKeyPair as "GenerateKeyPair" (
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
        private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE,
        private_key: *mut CK_OBJECT_HANDLE
    );
    C_DestroyObject as "DestroyObject" (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
    C_SignInit as "SignInit" (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
}
unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    if let Some(Fault::Code(code)) = at("Initialize") {
        return code;
    }
    faults::initialized();
    // SAFETY: as the caller gave it, or with the text that the real module wants.
    unsafe { forward!(C_Initialize(real::with_reserved(arguments))) }
}
unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    if let Some(Fault::Code(code)) = at("Finalize") {
        return code;
    }
    // SAFETY: as the caller gave it.
    unsafe { forward!(C_Finalize(reserved)) }
}
unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    faults::logged_out();
    match at("Logout") {
        Some(Fault::Code(code)) => code,
        // SAFETY: as the caller gave it.
        _ => unsafe { forward!(C_Logout(session)) },
    }
}
unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    match at("GetSlotList") {
        Some(Fault::Code(code)) => code,
        Some(Fault::Empty) => {
            // SAFETY: the specification demands a valid pointer.
            unsafe { *count = 0 };
            CKR_OK
        }
        // SAFETY: as the caller gave it.
        _ => unsafe { forward!(C_GetSlotList(present, slots, count)) },
    }
}
unsafe extern "C" fn C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> CK_RV {
    let fault = at("GetMechanismList");
    if let Some(Fault::Code(code)) = fault {
        return code;
    }
    // SAFETY: as the caller gave it.
    let rv = unsafe { forward!(C_GetMechanismList(slot, list, count)) };
    if let (CKR_OK, false, Some(Fault::Hide(hidden))) = (rv, list.is_null(), fault) {
        // SAFETY: the real module has written so many.
        let listed = unsafe { std::slice::from_raw_parts_mut(list, usize::try_from(*count).unwrap_or(0)) };
        for mechanism in listed.iter_mut().filter(|mechanism| hidden.contains(mechanism)) {
            // One of a vendor's own, which nobody knows.
            *mechanism = CKM_VENDOR_DEFINED | 0x00fa_0175;
        }
    }
    rv
}
unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    // The call that asks for the length alone is no signature.
    let fault = if signature.is_null() { None } else { at("Sign") };
    if let Some(Fault::Code(code)) = fault {
        return code;
    }
    // SAFETY: as the caller gave it.
    let rv = unsafe { forward!(C_Sign(session, data, len, signature, signature_len)) };
    if rv == CKR_OK {
        // SAFETY: the real module has written a signature of so many bytes.
        match fault {
            Some(Fault::Flip) => unsafe { *signature.add(7) ^= 1 },
            Some(Fault::Short) => unsafe { *signature_len -= 1 },
            Some(Fault::Zero) => unsafe {
                std::ptr::write_bytes(signature, 0, usize::try_from(*signature_len).unwrap_or(0))
            },
            _ => {}
        }
    }
    rv
}
