//! The X.509 authority, whose key lives in the token and its certificate in the store, and the keys that sign JWT-SVIDs.
//!
//! The first start makes both; later starts find them again and check that they belong together. A start that was
//! cut short between the two leaves a key that the next start takes up, never a second one. A key whose making the store
//! has no record of belongs to another store: with that, nothing is begun unless an operator says so.

mod active;
mod ageing;
mod begin;
mod bootstrap;
mod error;
mod jwt;
mod older;
mod published;
mod renew;

pub use active::ActiveAuthority;
pub(crate) use ageing::{AuthorityAge, keep_telling};
pub(crate) use bootstrap::is_key_label;
pub use bootstrap::{Keeper, key_label};
pub use error::AuthorityError;
pub(crate) use error::date;
pub(crate) use jwt::keep_jwt_keys;
pub use jwt::{ActiveJwtKey, JwtKeeper};
pub(crate) use older::require_usable;
pub(crate) use published::keep_published_keys;
pub use published::{PublishError, PublishedKeys};
pub use renew::Renewal;
