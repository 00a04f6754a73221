//! Builds every plugin of this workspace for `wasm32-wasip2`, embeds its manifest, and writes an index for `include!`.
//!
//! The plugins are built into one folder of their own under the target directory, so that dev, test and release builds share them.

#![expect(clippy::disallowed_methods, reason = "a build script is told everything by its environment")]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "../../host/src/plugin/seal.rs"]
mod seal;

const TARGET: &str = "wasm32-wasip2";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    for watched in ["wit", "sdk", "Cargo.toml", "Cargo.lock", "plugins", "host/src/plugin/seal.rs"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let offered = plugins(&root)?;
    if !offered.is_empty() {
        ensure_target()?;
        let extra = if env::var_os("CARGO_FEATURE_DEMO").is_some() { Some(mad(&root)?) } else { None };
        build(&root, &out, offered.iter().chain(&extra))?;
    }
    write_index(&out, &offered)
}

struct Plugin {
    name: String,
    package: String,
    manifest: String,
}

/// Crates under `plugins/` that have a manifest.
fn plugins(root: &Path) -> Result<Vec<Plugin>, Box<dyn Error>> {
    let mut plugins = Vec::new();
    for entry in fs::read_dir(root.join("plugins"))? {
        let dir = entry?.path();
        let manifest = dir.join("plugin.toml");
        if manifest.is_file() {
            let name = dir.file_name().ok_or("a plugin folder has no name")?.to_string_lossy().into_owned();
            plugins.push(Plugin { package: format!("membrana-{name}"), manifest: fs::read_to_string(manifest)?, name });
        }
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plugins)
}

/// The demo's own, which is built with the others and not offered with them.
fn mad(root: &Path) -> Result<Plugin, Box<dyn Error>> {
    let dir = root.join("tests/guests/mad");
    println!("cargo::rerun-if-changed={}", dir.display());
    Ok(Plugin { package: "membrana-mad".to_owned(), manifest: fs::read_to_string(dir.join("plugin.toml"))?, name: "mad".to_owned() })
}

/// Adds the target where the toolchain lacks it.
fn ensure_target() -> Result<(), Box<dyn Error>> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let lib = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
    if Path::new(String::from_utf8_lossy(&lib.stdout).trim()).is_dir() {
        return Ok(());
    }
    println!("cargo::warning=adding the target {TARGET}, which plugins are built for");
    let status = Command::new("rustup").args(["target", "add", TARGET]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("the target {TARGET} is missing: run `rustup target add {TARGET}`").into()),
    }
}

/// Where the shared folder of built plugins lies: beside the profile folders of the target directory in use.
fn target_dir(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    // OUT_DIR is <target>/<profile>/build/<crate>/out, with a target's name between where one is given.
    let profile = out.ancestors().nth(3).ok_or("OUT_DIR is not where cargo puts it")?;
    Ok(profile.parent().ok_or("OUT_DIR has no target directory")?.join("guests"))
}

fn build<'p>(root: &Path, out: &Path, plugins: impl Iterator<Item = &'p Plugin> + Clone) -> Result<(), Box<dyn Error>> {
    let target_dir = target_dir(out)?;
    let mut cargo = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(root).args(["build", "--quiet", "--locked", "--profile", "guest", "--target", TARGET]).arg("--target-dir").arg(&target_dir);
    for plugin in plugins.clone() {
        cargo.args(["--package", &plugin.package]);
    }
    // Flags of the outer build are for another machine than Wasm's.
    for (name, _) in env::vars() {
        let is_cargo = name.starts_with("CARGO_")
            && !matches!(name.as_str(), "CARGO_HOME" | "CARGO_MAKEFLAGS")
            && !name.starts_with("CARGO_HTTP")
            && !name.starts_with("CARGO_NET")
            && !name.starts_with("CARGO_REGISTR")
            && !name.starts_with("CARGO_SOURCE");
        if is_cargo
            || name.starts_with("RUSTC")
            || matches!(name.as_str(), "RUSTFLAGS" | "RUSTDOC" | "TARGET" | "HOST" | "OUT_DIR" | "PROFILE" | "OPT_LEVEL" | "DEBUG")
        {
            cargo.env_remove(name);
        }
    }
    if !cargo.status()?.success() {
        return Err("the plugins do not build; see above".into());
    }
    for plugin in plugins {
        let built = target_dir.join(TARGET).join("guest").join(format!("{}.wasm", plugin.package.replace('-', "_")));
        fs::write(out.join(format!("{}.wasm", plugin.name)), seal::sealed(&fs::read(&built)?, &plugin.manifest))?;
    }
    Ok(())
}

fn write_index(out: &Path, plugins: &[Plugin]) -> Result<(), Box<dyn Error>> {
    let mut index = String::from("const PLUGINS: &[Bundled] = &[\n");
    for Plugin { name, .. } in plugins {
        writeln!(index, "    Bundled {{ name: {name:?}, bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.wasm\")) }},")?;
    }
    index.push_str("];\n");
    fs::write(out.join("index.rs"), index)?;
    Ok(())
}
