//! How a manifest is put into a component: its last section, opened by a digest of the component and of the manifest's text, so that
//! one changed byte anywhere is seen before anything is compiled.
//!
//! This guards against damage, not against forgery: whoever can write the file can seal it again. The build script of the bundled
//! plugins compiles this very file, so it names nothing of the host.

use wasm_encoder::{CustomSection, Encode as _, Section as _};

/// Where the manifest lies in a component.
pub(super) const SECTION: &str = "membrana:manifest";
/// What opens the section's first line, which is a comment to a reader of TOML.
pub(super) const SEAL: &str = "# blake3 ";

/// The component with its manifest appended. Shape: `component` has no manifest yet.
pub(super) fn sealed(component: &[u8], manifest: &str) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(component).update(manifest.as_bytes());
    let data = format!("{SEAL}{}\n{manifest}", hasher.finalize());
    let section = CustomSection { name: SECTION.into(), data: data.into_bytes().into() };
    let mut bytes = component.to_vec();
    bytes.push(section.id());
    section.encode(&mut bytes);
    bytes
}
