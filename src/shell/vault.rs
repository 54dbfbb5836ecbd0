//! The evidence vault: what lets others prove, from the files alone, that the journal is what was received.
//!
//! The journal chains its records; the vault signs the chain's head about once a minute ([`Checkpoint`]) with a key of its own,
//! so that whoever rewrites records must also have that key. [`verify`] proves a folder from its bytes, [`links`] gives what an
//! extract needs to prove itself: `h(n) = SHA-256(h(n-1) ‖ header(n) ‖ SHA-256(payload(n)))`.
//!
//! What it cannot do: a folder that is set back as a whole, checkpoints and all, fits itself. The head in `sys/info`, a checkpoint
//! that was handed out, or a copy tells ([`verify::Options::kept`]).
//!
//! Files in the journal's folder: `checkpoints` (signed notes, appended), `key-{id}.pem` (public keys that signed them).

use crate::config::Config;
use crate::shell::journal::{self, EncryptionKey, EncryptionKeyError};
use std::path::PathBuf;
use std::sync::Arc;

mod checkpoint;
mod links;
mod notary;
mod signer;
mod verifier;
pub mod verify;

pub(super) use checkpoint::Head;
pub use checkpoint::{CHECKPOINTS, Checkpoint, CheckpointError, checkpoint_after, checkpoint_now, checkpoints};
pub use links::{Link, Links, links};
pub(super) use notary::{Ask, Desk, Notary};
pub use notary::{CHECKPOINT_EVERY, NoCheckpoint};
pub use signer::{KeyFileError, Signer};
pub use verifier::{KeyProblem, KeyRingError, TrustedKey, Verifier};

/// Where the signing key is: as configured, else in the data folder.
pub fn signer_path(config: &Config) -> PathBuf {
    config.journal.signing_key.clone().unwrap_or_else(|| config.data.join("evidence.pem"))
}

/// The signing key; at the first start without a configured one it is made.
pub fn signer(config: &Config) -> Result<Signer, KeyFileError> {
    match &config.journal.signing_key {
        Some(path) => Signer::open(path),
        None => Signer::open_or_create(&signer_path(config)),
    }
}

/// First line of every checkpoint of a site.
pub fn origin(config: &Config) -> String {
    format!("vitalguard/{}", config.site)
}

/// Makes what the configured key has encrypted readable to this process; the key that writes.
pub fn unlock(config: &Config) -> Result<Option<Arc<EncryptionKey>>, EncryptionKeyError> {
    let Some(path) = &config.journal.encryption_key else { return Ok(None) };
    let keys = EncryptionKey::read(path)?;
    journal::unlock(&keys);
    Ok(keys.into_iter().next())
}
