//! Reading certificates from NV.

use hallmark_tpm_wire::HashAlg;
use tss_esapi::{
    handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle},
    interface_types::{resource_handles::NvAuth, session_handles::AuthSession},
};

use super::{EsysTpm, Fault, Op, op};
use crate::{TpmError, certificate, response::Response};

const NV_READ_PUBLIC: Op = op("TPM2_NV_ReadPublic", "owner");
const NV_READ: Op = op("TPM2_NV_Read", "owner");

/// The chain's indices (TCG EK credential profile 2.5, section 2.2.1.5).
const CHAIN_FIRST: u32 = 0x01c0_0100;
const CHAIN_LAST: u32 = 0x01c0_01ff;

/// Sizes of one read, the largest first: `TPM_PT_NV_BUFFER_MAX` is at least 512, usually 1024 or more. Trying costs
/// nothing where the first fits, asking would cost a command always.
const READ_SIZES: [u16; 3] = [1024, 768, 512];

/// No endorsement certificate is longer; NV areas padded to more are read so far only.
const MOST_BYTES: usize = 8192;

/// The largest NV area of common TPMs (`TPM_PT_NV_INDEX_MAX`) is 2048 bytes.
const MOST_GUESSED: u16 = 2048;

impl EsysTpm {
    /// The certificate at an NV index: DER without wrapper and padding. `None` where the index does not exist.
    pub(super) fn nv_certificate(&mut self, index: u32) -> Result<Option<Vec<u8>>, Fault> {
        let Some(contents) = self.nv_contents(index)? else {
            return Ok(None);
        };
        hallmark_der::first(&contents)
            .map(|der| Some(der.to_vec()))
            .ok_or_else(|| {
                TpmError::EndorsementCertificate {
                    index,
                    detail: format!("{} bytes that are not a DER certificate", contents.len()),
                }
                .into()
            })
    }

    /// The chain's certificates: the indices' contents put together, then taken apart by their DER lengths.
    pub(super) fn read_chain(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        let mut indices: Vec<u32> = self
            .handles_from(CHAIN_FIRST)?
            .into_iter()
            .map(u32::from)
            .filter(|index| (CHAIN_FIRST..=CHAIN_LAST).contains(index))
            .collect();
        indices.sort_unstable();
        let mut contents = Vec::new();
        for index in indices {
            contents.extend(self.nv_contents(index)?.unwrap_or_default());
        }
        Ok(certificate::all_der(&contents).map(<[u8]>::to_vec).collect())
    }

    fn nv_contents(&mut self, index: u32) -> Result<Option<Vec<u8>>, Fault> {
        let handle = NvIndexTpmHandle::new(index).map_err(|error| Fault::malformed(NV_READ_PUBLIC, error))?;
        let mut object = match self.run(NV_READ_PUBLIC, |context| {
            context.tr_from_tpm_public(TpmHandle::NvIndex(handle))
        }) {
            Ok(object) => object,
            Err(Fault::Response(_, Response::NoSuchHandle)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let contents = self.nv_read_whole(index, object);
        // Only the library's own bookkeeping: no command.
        let _ = self.run(NV_READ, |context| context.tr_close(&mut object));
        contents
    }

    fn nv_read_whole(&mut self, handle: u32, object: ObjectHandle) -> Result<Option<Vec<u8>>, Fault> {
        let index = NvIndexHandle::from(object);
        let Some((auth, size)) = self.nv_geometry(handle, object, index)? else {
            return Ok(None);
        };
        let size = size.min(MOST_BYTES);
        let mut contents: Vec<u8> = Vec::with_capacity(size);
        while contents.len() < size {
            let part = self.nv_read_part(auth, index, size, contents.len())?;
            if part.is_empty() {
                return Err(Fault::malformed(NV_READ, "an empty answer"));
            }
            contents.extend(part);
        }
        Ok(Some(contents))
    }

    /// Who may read an index and how long it is; `None` where it was never written. ESYS has asked for the public area
    /// already and shows only its Name; where the Name gives the size away, a second question is saved.
    fn nv_geometry(
        &mut self,
        handle: u32,
        object: ObjectHandle,
        index: NvIndexHandle,
    ) -> Result<Option<(NvAuth, usize)>, Fault> {
        let name = self.run(NV_READ_PUBLIC, |context| context.tr_get_name(object))?;
        if let Some(size) = size_from_name(handle, name.value()) {
            return Ok(Some((NvAuth::NvIndex(index), usize::from(size))));
        }
        let (public, _name) = self.run(NV_READ_PUBLIC, |context| context.nv_read_public(index))?;
        let attributes = public.attributes();
        let auth = if attributes.auth_read() {
            NvAuth::NvIndex(index)
        } else {
            NvAuth::Owner
        };
        Ok(attributes.written().then_some((auth, public.data_size())))
    }

    fn nv_read_part(&mut self, auth: NvAuth, index: NvIndexHandle, size: usize, from: usize) -> Result<Vec<u8>, Fault> {
        let offset = u16::try_from(from).map_err(|error| Fault::malformed(NV_READ, error))?;
        let left = u16::try_from(size.saturating_sub(from)).unwrap_or(u16::MAX);
        let mut smaller = READ_SIZES.into_iter();
        loop {
            let Some(most) = smaller.next() else {
                return Err(Fault::malformed(NV_READ, "no size of read is accepted"));
            };
            let read = self.run(NV_READ, |context| {
                context.execute_with_session(Some(AuthSession::Password), |context| {
                    context.nv_read(auth, index, left.min(most), offset)
                })
            });
            match read {
                Ok(part) => return Ok(part.value().to_vec()),
                Err(Fault::Response(_, Response::Unsupported(_))) if left > 512 && most > 512 => {}
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// Attributes that the EK credential profile gives a certificate's index (section 2.2.1.4), as makers write them:
/// PPWRITE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, WRITTEN, PLATFORMCREATE.
const CERTIFICATE_ATTRIBUTES: u32 = 0x6207_0001;
/// What they add or not: WRITELOCKED, WRITEALL, WRITEDEFINE.
const OPTIONAL_ATTRIBUTES: [u32; 8] = [0x2800, 0x2000, 0x0000, 0x0800, 0x1000, 0x1800, 0x3000, 0x3800];

/// An index's size, found by computing the Name (part 1, section 16) for each size it may have. A Name that matches
/// proves index, attributes and size at once; no match only means that the TPM has to be asked.
fn size_from_name(index: u32, name: &[u8]) -> Option<u16> {
    let digest = name.strip_prefix(&HashAlg::Sha256.id().to_be_bytes())?;
    OPTIONAL_ATTRIBUTES.iter().find_map(|optional| {
        let mut area = index.to_be_bytes().to_vec();
        area.extend(HashAlg::Sha256.id().to_be_bytes());
        area.extend((CERTIFICATE_ATTRIBUTES | optional).to_be_bytes());
        // An empty authPolicy.
        area.extend([0, 0]);
        (1..=MOST_GUESSED).find(|size| {
            let mut area = area.clone();
            area.extend(size.to_be_bytes());
            HashAlg::Sha256.digest(&area) == digest
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_the_size_away() {
        // Made with tpm2_nvreadpublic: index 0x01c00002, attributes 0x62072801, 1016 bytes.
        let name: Vec<u8> = "000bb5d3a23a70e478f7e05c57e9157d9c0391150c5b99795828088f2c552060eb4f"
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(size_from_name(0x01c0_0002, &name), Some(1016));
        assert_eq!(size_from_name(0x01c0_0016, &name), None);
    }
}
