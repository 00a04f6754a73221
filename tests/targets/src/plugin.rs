//! The manifest of a plugin, as the host reads it.

mod credentials;
mod manifest;
mod seal;

pub use manifest::{Kind, Manifest, embed};

/// Why a plugin is not loaded; in the host it has more reasons.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Not a Wasm component at all, or a damaged one.
    #[error("not a plugin: {0}")]
    NotAComponent(String),
    /// The manifest is missing or wrong.
    #[error("manifest: {0}")]
    Manifest(String),
}

/// The manifest of a plugin's file.
pub(crate) fn embedded(file: &[u8]) -> Result<String, PluginError> {
    manifest::embedded(file)
}
