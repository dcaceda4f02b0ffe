//! The module behind this one.

use std::{
    ffi::{CString, c_void},
    sync::{LazyLock, OnceLock},
};

use cryptoki_sys::*;
use libloading::Library;

/// The real module, loaded for the life of the process.
pub(crate) struct Real {
    pub(crate) list: CK_FUNCTION_LIST,
    _library: Library,
    replaced: OnceLock<usize>,
}

static REAL: LazyLock<Option<Real>> = LazyLock::new(load);

pub(crate) fn real() -> Option<&'static Real> {
    REAL.as_ref()
}

fn load() -> Option<Real> {
    let path = std::env::var_os("PKCS11_FAULTS_MODULE")?;
    // SAFETY: a PKCS#11 module that the test names; its one symbol has this type.
    unsafe {
        let library = Library::new(path).ok()?;
        let get = library
            .get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(b"C_GetFunctionList\0")
            .ok()?;
        let mut list = std::ptr::null_mut();
        if get(&raw mut list) != CKR_OK || list.is_null() {
            return None;
        }
        let list = *list;
        Some(Real {
            list,
            _library: library,
            replaced: OnceLock::new(),
        })
    }
}

impl Real {
    /// Its function list with our functions in their places.
    pub(crate) fn replaced(&self) -> *mut CK_FUNCTION_LIST {
        let address = self.replaced.get_or_init(|| {
            let mut list = self.list;
            list.C_Initialize = Some(crate::C_Initialize);
            list.C_Finalize = Some(crate::C_Finalize);
            list.C_GetFunctionList = Some(crate::C_GetFunctionList);
            list.C_GetSlotList = Some(crate::C_GetSlotList);
            list.C_GetTokenInfo = Some(crate::C_GetTokenInfo);
            list.C_GetMechanismList = Some(crate::C_GetMechanismList);
            list.C_OpenSession = Some(crate::C_OpenSession);
            list.C_CloseSession = Some(crate::C_CloseSession);
            list.C_GetSessionInfo = Some(crate::C_GetSessionInfo);
            list.C_Login = Some(crate::C_Login);
            list.C_Logout = Some(crate::C_Logout);
            list.C_FindObjectsInit = Some(crate::C_FindObjectsInit);
            list.C_FindObjects = Some(crate::C_FindObjects);
            list.C_GetAttributeValue = Some(crate::C_GetAttributeValue);
            list.C_GenerateKeyPair = Some(crate::C_GenerateKeyPair);
            list.C_DestroyObject = Some(crate::C_DestroyObject);
            list.C_SignInit = Some(crate::C_SignInit);
            list.C_Sign = Some(crate::C_Sign);
            Box::into_raw(Box::new(list)).expose_provenance()
        });
        std::ptr::with_exposed_provenance_mut(*address)
    }
}

/// The arguments of C_Initialize with `PKCS11_FAULTS_RESERVED` as what the specification reserves: NSS wants its
/// parameters there.
pub(crate) fn with_reserved(arguments: *mut c_void) -> *mut c_void {
    static TEXT: LazyLock<Option<CString>> =
        LazyLock::new(|| CString::new(std::env::var("PKCS11_FAULTS_RESERVED").ok()?).ok());
    let Some(text) = TEXT.as_ref() else {
        return arguments;
    };
    let given = if arguments.is_null() {
        // No arguments mean one thread; these mean what is asked for when there are some. They live as long as the process.
        Box::into_raw(Box::new(CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            ..Default::default()
        }))
    } else {
        arguments.cast()
    };
    // SAFETY: the specification says that these are such arguments; the text lives as long as the process.
    unsafe { (*given).pReserved = text.as_ptr().cast_mut().cast() };
    given.cast()
}
