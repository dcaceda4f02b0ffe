//! What a portable EVM signature is over (Linux, security/integrity/evm/evm_crypto.c, `evm_calc_hmac_or_hash`): the
//! values of the protected extended attributes, then owner, group and mode. The template `evm-sig` tells them all.

use hallmark_evidence::ima::{Field, ImaEvent};
use hallmark_tpm_wire::HashAlg;

use super::signature::hash_id;

/// `IMA_XATTR_DIGEST_NG`: a digest behind its type and algorithm.
const DIGEST_NG: u8 = 4;

/// The digest that the signature is over; `None` unless the metadata names the very digest of the line: only then does
/// the signature vouch for the contents.
pub(super) fn signed(event: &ImaEvent<'_>, hash: HashAlg) -> Option<Vec<u8>> {
    let field = |wanted: Field| {
        event
            .fields()
            .find(|(field, _)| *field == wanted)
            .map(|(_, bytes)| bytes)
    };
    let values = field(Field::XattrValues)?;
    let measured = HashAlg::from_name(&event.digest.algorithm).filter(|hash| hash.is_strong())?;
    let named = attribute(
        field(Field::XattrNames)?,
        field(Field::XattrLengths)?,
        values,
        b"security.ima",
    )?;
    if named != [&[DIGEST_NG, hash_id(measured)], &event.digest.value[..]].concat() {
        return None;
    }
    let metadata = metadata(field(Field::Uid)?, field(Field::Gid)?, field(Field::Mode)?)?;
    Some(hash.digest(&[values, &metadata].concat()))
}

/// The value of the attribute `wanted`. Names are joined by `|`; lengths are 32-bit words.
fn attribute<'a>(names: &[u8], lengths: &[u8], values: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let names = names.strip_suffix(&[0]).unwrap_or(names);
    let (lengths, odd) = lengths.as_chunks::<4>();
    let names: Vec<&[u8]> = names.split(|byte| *byte == b'|').collect();
    if names.len() != lengths.len() || !odd.is_empty() {
        return None;
    }
    let (mut found, mut rest) = (None, values);
    for (name, length) in names.iter().zip(lengths) {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (value, behind) = rest.split_at_checked(length)?;
        rest = behind;
        if *name == wanted {
            if found.is_some() {
                return None;
            }
            found = Some(value);
        }
    }
    found.filter(|_| rest.is_empty())
}

/// `struct h_misc` of a 64-bit kernel: inode number and generation, which portable signatures leave zero, owner, group,
/// mode, and what fills it up.
fn metadata(uid: &[u8], gid: &[u8], mode: &[u8]) -> Option<Vec<u8>> {
    let fits = uid.len() == 4 && gid.len() == 4 && mode.len() == 2;
    fits.then(|| [&[0; 12], uid, gid, mode, &[0; 2]].concat())
}
