//! The one binary: arguments in, exit code out. Everything else is in the library.

fn main() -> std::process::ExitCode {
    membrana::cli::run(membrana::clock::Clock::system())
}
