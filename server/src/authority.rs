//! The X.509 authorities, whose keys live in the token and their certificates in the store, and the keys that sign JWT-SVIDs.
//!
//! The first start makes the first of each; later starts find them again and check that they belong together. While the server runs
//! they are followed by the next ones, each before it ends. A start that was
//! cut short between the two leaves a key that the next start takes up, never a second one. A key whose making the store
//! has no record of belongs to another store: with that, nothing is begun unless an operator says so.

mod above;
mod active;
mod ageing;
mod begin;
mod bootstrap;
mod error;
mod jwt;
mod older;
mod published;
mod renew;
mod token_keys;
mod x509;

pub use above::Above;
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
pub(crate) use x509::keep_x509_authorities;
pub use x509::{X509Keeper, X509KeySettings};
