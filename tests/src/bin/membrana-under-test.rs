//! The host's binary under another name: cargo tells a package's tests only where that package's own binaries are.

fn main() -> std::process::ExitCode {
    membrana::cli::run()
}
