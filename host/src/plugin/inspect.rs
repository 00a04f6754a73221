//! What a plugin is and wants, read from the file without compiling it.

use wasmparser::{Parser, Payload};

use crate::model::Digest;

use super::PluginError;
use super::manifest::{CONTRACT, Manifest, embedded};

/// A larger file is not read. Units: bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A plugin file, read.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
    /// Of the file.
    pub digest: Digest,
    /// Units: bytes.
    pub size: usize,
}

/// Reads a plugin file. Nothing is compiled or run.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, PluginError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(PluginError::NotAComponent(format!("{} bytes are over the limit of {FILE_BYTES_MAX}", bytes.len())));
    }
    let manifest = Manifest::parse(&embedded(bytes)?)?;
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0u32);
    for payload in Parser::new(0).parse_all(bytes) {
        let broken = |error: wasmparser::BinaryReaderError| PluginError::NotAComponent(error.to_string());
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(names) if depth == 0 => {
                for name in names {
                    imports.push(name.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(names) if depth == 0 => {
                for name in names {
                    exports.push(name.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    let wanted = format!("membrana:plugin/{}@", manifest.kind.word());
    if !exports.iter().any(|name| name.starts_with(&wanted)) {
        let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(PluginError::Contract(format!("its manifest says `{}`, but it exports {found}", manifest.kind.word())));
    }
    let spoken = format!("{wanted}{CONTRACT}.");
    if let Some(other) = exports.iter().find(|name| name.starts_with(&wanted) && !name.starts_with(&spoken)) {
        return Err(PluginError::Contract(format!("it exports `{other}`, and this host speaks {CONTRACT}")));
    }
    Ok(Inspection { manifest, imports, exports, digest: Digest::of(bytes), size: bytes.len() })
}
