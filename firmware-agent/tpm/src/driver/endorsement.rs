//! The endorsement key: its certificate, its public area, and where it is.

use hallmark_tpm_wire::{
    PublicArea,
    templates::{self, EkTemplate, TemplateKey, Unique},
};
use tss_esapi::{
    handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle},
    interface_types::resource_handles::Hierarchy,
    structures::Name,
    traits::Marshall,
};

use super::{EsysTpm, Fault, Op, op};
use crate::{
    TpmError,
    certificate::{self, CertifiedKey},
    port::Endorsement,
    response::Response,
};

const READ_PUBLIC: Op = op("TPM2_ReadPublic (endorsement key)", "endorsement");
const CREATE: Op = op("TPM2_CreatePrimary (endorsement key)", "endorsement");

/// Where a template's key lies when the maker or the operating system made it persistent: 0x81010001 and 0x81010002
/// for the low range (TCG registry of reserved handles, 2.3.1), and for the high range the certificate's index in its
/// last byte, as in use.
fn persistent_handle(place: &EkTemplate) -> u32 {
    match place.certificate_index {
        0x01c0_0002 => 0x8101_0001,
        0x01c0_000a => 0x8101_0002,
        index => 0x8101_0000 | (index & 0xff),
    }
}

/// An endorsement key that can be used now.
pub(super) struct LoadedEndorsement {
    pub(super) handle: KeyHandle,
    /// Made for the occasion, so it fills a slot; else it is persistent.
    pub(super) made: bool,
    pub(super) public: PublicArea,
}

impl EsysTpm {
    pub(super) fn find_endorsement(&mut self) -> Result<Endorsement, Fault> {
        let mut unreadable = None;
        for place in self.templates.clone() {
            let certificate = match self.nv_certificate(place.certificate_index) {
                Ok(Some(certificate)) => certificate,
                Ok(None) => continue,
                Err(fault @ Fault::Final(TpmError::EndorsementCertificate { .. })) => {
                    unreadable = Some(fault);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let public = certified_public(place, &certificate)?;
            self.load_endorsement(place, &public)?;
            return Ok(Endorsement {
                certificate: Some(certificate),
                public,
            });
        }
        match unreadable {
            Some(fault) => Err(fault),
            None => self.endorsement_without_certificate(),
        }
    }

    /// A handle for the endorsement key `public`: persistent where it is, else made.
    pub(super) fn ensure_endorsement(&mut self, public: &PublicArea) -> Result<KeyHandle, Fault> {
        if let Some(loaded) = self.endorsement.as_ref().filter(|loaded| loaded.public == *public) {
            return Ok(loaded.handle);
        }
        let place = templates::ek_template_of(public).ok_or(TpmError::NoEndorsementKey)?;
        self.load_endorsement(place, public)
    }

    /// Flushes an endorsement key that was made; returns whether there was one.
    pub(super) fn drop_made_endorsement(&mut self) -> Result<bool, Fault> {
        let Some(loaded) = self.endorsement.take_if(|loaded| loaded.made) else {
            return Ok(false);
        };
        self.flush(loaded.handle.into())?;
        Ok(true)
    }

    fn load_endorsement(&mut self, place: &EkTemplate, public: &PublicArea) -> Result<KeyHandle, Fault> {
        self.drop_made_endorsement()?;
        let expected = public.name();
        if let Some((handle, name)) = self.persistent_key(persistent_handle(place))? {
            if name.value() == expected.as_bytes() {
                self.endorsement = Some(LoadedEndorsement {
                    handle,
                    made: false,
                    public: public.clone(),
                });
                return Ok(handle);
            }
            tracing::warn!(
                handle = format_args!("0x{:08x}", persistent_handle(place)),
                "another key lies where the endorsement key should; making the endorsement key from its template"
            );
        }
        let (handle, made) =
            self.create_primary(CREATE, Hierarchy::Endorsement, &place.template.marshal(place.unique))?;
        if made != *public {
            self.flush_quietly(handle.into());
            let (certified, found) = (expected.to_string(), made.name().to_string());
            return Err(TpmError::EndorsementMismatch { certified, found }.into());
        }
        self.endorsement = Some(LoadedEndorsement {
            handle,
            made: true,
            public: made,
        });
        Ok(handle)
    }

    /// The key at a persistent handle and its Name; one command.
    fn persistent_key(&mut self, handle: u32) -> Result<Option<(KeyHandle, Name)>, Fault> {
        let handle = PersistentTpmHandle::new(handle).map_err(|error| Fault::malformed(READ_PUBLIC, error))?;
        let found = self.run(READ_PUBLIC, |context| {
            context.tr_from_tpm_public(TpmHandle::Persistent(handle))
        });
        let object: ObjectHandle = match found {
            Ok(object) => object,
            Err(Fault::Response(_, Response::NoSuchHandle)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let name = self.run(READ_PUBLIC, |context| context.tr_get_name(object))?;
        Ok(Some((KeyHandle::from(object), name)))
    }

    /// Without a certificate the key is enrolled by its hash: the persistent one, or the first template that the TPM
    /// supports.
    fn endorsement_without_certificate(&mut self) -> Result<Endorsement, Fault> {
        for place in self.templates.clone() {
            if let Some(public) = self.persistent_public(place)? {
                self.load_endorsement(place, &public)?;
                return Ok(Endorsement {
                    certificate: None,
                    public,
                });
            }
        }
        for place in self.templates.clone() {
            match self.create_primary(CREATE, Hierarchy::Endorsement, &place.template.marshal(place.unique)) {
                Ok((handle, public)) => {
                    self.endorsement = Some(LoadedEndorsement {
                        handle,
                        made: true,
                        public: public.clone(),
                    });
                    return Ok(Endorsement {
                        certificate: None,
                        public,
                    });
                }
                Err(Fault::Response(_, Response::Unsupported(_)) | Fault::Final(TpmError::Malformed { .. })) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(TpmError::NoEndorsementKey.into())
    }

    fn persistent_public(&mut self, place: &EkTemplate) -> Result<Option<PublicArea>, Fault> {
        let Some((handle, _)) = self.persistent_key(persistent_handle(place))? else {
            return Ok(None);
        };
        let (public, _, _) = self.run(READ_PUBLIC, |context| context.read_public(handle))?;
        let bytes = public
            .marshall()
            .map_err(|error| Fault::malformed(READ_PUBLIC, error))?;
        // A key of another kind may lie there; it is nobody's endorsement key then.
        Ok(PublicArea::parse(&bytes)
            .ok()
            .filter(|public| place.template.matches(public)))
    }
}

/// The public area that follows from a template and the key in a certificate.
fn certified_public(place: &EkTemplate, certificate: &[u8]) -> Result<PublicArea, Fault> {
    let unfit = |detail: &str| TpmError::EndorsementCertificate {
        index: place.certificate_index,
        detail: detail.to_owned(),
    };
    let key = certificate::certified_key(certificate).ok_or_else(|| unfit("its public key cannot be read"))?;
    let area = match (place.template.key, key) {
        (TemplateKey::Rsa(_), CertifiedKey::Rsa(modulus)) => place.template.marshal(Unique::Bytes(&modulus)),
        (TemplateKey::Ecc(_), CertifiedKey::Ecc(x, y)) => with_point(place, &x, &y),
        _ => return Err(unfit("its public key is of another kind than its NV index says").into()),
    };
    PublicArea::parse(&area).map_err(|error| unfit(&error.to_string()).into())
}

/// The template's public area with a point in it: the two empty coordinates at its end replaced.
fn with_point(place: &EkTemplate, x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut area = place.template.marshal(Unique::Empty);
    area.truncate(area.len().saturating_sub(4));
    for coordinate in [x, y] {
        area.extend(u16::try_from(coordinate.len()).unwrap_or(u16::MAX).to_be_bytes());
        area.extend_from_slice(coordinate);
    }
    area
}
