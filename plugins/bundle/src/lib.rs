//! The first-party plugins, built for Wasm by this crate's build script and embedded, each with its manifest.

/// One plugin, ready to load.
#[derive(Debug, Clone, Copy)]
pub struct Bundled {
    /// As in its manifest.
    pub name: &'static str,
    /// The component with its manifest.
    pub bytes: &'static [u8],
}

/// Every bundled plugin, by name.
pub fn plugins() -> &'static [Bundled] {
    PLUGINS
}

/// An analyzer that never answers, for the demo.
#[cfg(feature = "demo")]
pub const MAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mad.wasm"));

include!(concat!(env!("OUT_DIR"), "/index.rs"));
