//! Where plugin files are: a path, the host's own folder, or bundled; the first that has the name wins.

use std::path::Path;
use std::sync::Arc;

use crate::plugin::FILE_BYTES_MAX;

/// A plugin's file.
#[derive(Clone)]
pub struct Found {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// A path, or `bundled`.
    pub origin: String,
}

/// Finds what a section's `plugin` names. Errors: in words, with the next step.
pub fn find(name: &str, folder: &Path) -> Result<Found, (String, String)> {
    let is_path = name.ends_with(".wasm");
    let path = if is_path { Path::new(name).to_owned() } else { folder.join(format!("{name}.wasm")) };
    if let Some(bytes) = too_large(&path) {
        let message = format!("the plugin `{}` of {bytes} bytes is over the limit of {FILE_BYTES_MAX}", path.display());
        return Err((message, "build it as a release, stripped".to_owned()));
    }
    match std::fs::read(&path) {
        Ok(bytes) => return Ok(Found { bytes: bytes.into(), origin: path.display().to_string() }),
        Err(error) if is_path || error.kind() != std::io::ErrorKind::NotFound => {
            return Err((
                format!("cannot read the plugin `{}`: {error}", path.display()),
                "paths are relative to the folder of membrana.toml".to_owned(),
            ));
        }
        Err(_) => {}
    }
    if let Some((_, bytes)) = bundled().find(|(known, _)| *known == name) {
        return Ok(Found { bytes: bytes.into(), origin: "bundled".to_owned() });
    }
    let known: Vec<&str> = bundled().map(|(name, _)| name).collect();
    let near = crate::config::nearest(name, &known).map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
    Err((format!("there is no plugin `{name}`"), format!("{near}bundled: {}; or put {name}.wasm into `{}`", known.join(", "), folder.display())))
}

/// How large a file is that is over the limit: it is not read at all.
fn too_large(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.len()).filter(|bytes| *bytes > FILE_BYTES_MAX as u64)
}

/// Every plugin there is by name, with its file; none that is too large.
pub fn listed(folder: &Path) -> Vec<(String, Found)> {
    let mut all: Vec<(String, Found)> = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let (Some(stem), true) = (path.file_stem(), path.extension().is_some_and(|extension| extension == "wasm")) else { continue };
        if too_large(&path).is_some() {
            continue;
        }
        if let Ok(bytes) = std::fs::read(&path) {
            all.push((stem.to_string_lossy().into_owned(), Found { bytes: bytes.into(), origin: path.display().to_string() }));
        }
    }
    for (name, bytes) in bundled() {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), Found { bytes: bytes.into(), origin: "bundled".to_owned() }));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[cfg(feature = "bundled")]
fn bundled() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    membrana_bundle::plugins().iter().map(|plugin| (plugin.name, plugin.bytes))
}

#[cfg(not(feature = "bundled"))]
fn bundled() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    std::iter::empty()
}
