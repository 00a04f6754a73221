//! Compiling in a process of its own: what a component makes the compiler do ends that process and nothing else.
//!
//! The process is this binary once more, under a hidden command. It gets the component on its input and gives machine code on its
//! output. It has no environment of ours, may write no file, and bounds its own memory and processor time before it reads a byte. Its code is
//! believed as this process's own would be: it is the same compiler, at work on the same bytes.

use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::bindings::take::shown;
use super::engine::{chain, wasmtime_config};
use super::{FILE_BYTES_MAX, PluginError};

/// This process's own binary, also where another one was put in its place since it began.
pub const THIS_BINARY: &str = "/proc/self/exe";
/// The hidden command of the other process.
const COMMAND: &str = "compile-component";

/// On a machine of many cores the stacks and heaps of its threads alone would fill the bound, as would a gibibyte that the allocator
/// reserves ahead of use; with 0 it reserves none.
const CHILD_ENV: [(&str, &str); 3] = [("RAYON_NUM_THREADS", "2"), ("MALLOC_ARENA_MAX", "2"), ("MIMALLOC_ARENA_RESERVE", "0")];

/// What the other process exits with where the component is none; a panic exits with 101.
pub const NO_COMPONENT: u8 = 1;
/// Of one component. Units: bytes.
const CODE_BYTES_MAX: usize = 256 << 20;
/// What the other process may say of a component that is none. Units: bytes.
const WORDS_MAX: usize = 1 << 10;
/// Of the time that it may compute: on a busy machine it waits for its turn.
const WALL_FACTOR: u32 = 4;
/// And to begin with.
const STARTING: Duration = Duration::from_secs(10);
/// Looks at one that has said all, until it has ended.
const ENDING_TRIES: u32 = 10_000;
/// Between two looks.
const ENDING_PAUSE: Duration = Duration::from_millis(1);

/// What compiling one component may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// The process as a whole, with its binary. Units: bytes.
    pub memory_bytes: u64,
    /// Shape: whole seconds, rounded up.
    pub cpu: Duration,
}

impl CompileLimits {
    /// Far more than the largest known takes, on a slow day: 19 MiB of Python take 16 s and between 384 and 448 MiB.
    pub const DEFAULT: Self = Self { memory_bytes: 768 << 20, cpu: Duration::from_secs(30) };

    /// With what an admin says, at most 4 GiB and 10 min.
    pub fn with(self, memory_bytes: Option<u64>, cpu_ms: Option<u64>) -> Self {
        Self {
            memory_bytes: memory_bytes.unwrap_or(self.memory_bytes).min(4 << 30),
            cpu: cpu_ms.map_or(self.cpu, Duration::from_millis).min(Duration::from_secs(600)),
        }
    }

    fn cpu_s(&self) -> u64 {
        self.cpu.as_secs() + u64::from(self.cpu.subsec_nanos() > 0)
    }
}

/// Why compiling was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompileStop {
    /// Its processor time.
    #[error("it takes more than {} s of processor time", .0.as_secs())]
    Cpu(Duration),
    /// Its memory. Units: bytes.
    #[error("it takes more than {} MiB of memory", .0 >> 20)]
    Memory(u64),
    /// Its time.
    #[error("it is not done within {} s", .0.as_secs())]
    Wall(Duration),
    /// Its output. Units: bytes.
    #[error("its code is over {} MiB", .0 >> 20)]
    Code(usize),
    /// The compiler itself failed.
    #[error("the compiler fails at it ({0})")]
    Crash(ExitStatus),
}

/// Compiles in another process. Waits for it, so this is for a thread that may. Errors: no component, or why it was ended.
pub(super) fn compile(program: &Path, component: &[u8], limits: CompileLimits) -> Result<Vec<u8>, PluginError> {
    let failed = |error: std::io::Error| PluginError::Engine(format!("the compiler's process: {error}"));
    let mut child = Command::new(program)
        .args([COMMAND, &limits.memory_bytes.to_string(), &limits.cpu_s().to_string()])
        .env_clear()
        .envs(CHILD_ENV)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let wall = limits.cpu * WALL_FACTOR + STARTING;
    let (answer, status, words) = exchange(&mut child, component, wall);
    let status = status.map_err(failed)?;
    match answer {
        None => Err(PluginError::Compile(CompileStop::Wall(wall))),
        Some(code) if code.len() > CODE_BYTES_MAX => Err(PluginError::Compile(CompileStop::Code(CODE_BYTES_MAX))),
        Some(code) if status.success() => Ok(code),
        Some(_) => Err(refused(status, &words, limits)),
    }
}

/// Hands the component over and takes what comes: the code, or none where it is late; how it ended; and words.
fn exchange(child: &mut Child, component: &[u8], wall: Duration) -> (Option<Vec<u8>>, std::io::Result<ExitStatus>, String) {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // Errors: it ended before it read all; its status tells why.
        scope.spawn(move || input.map(|mut input| input.write_all(component).is_ok()));
        let words = scope.spawn(move || read(errors, WORDS_MAX));
        let (done, code) = mpsc::sync_channel(1);
        scope.spawn(move || done.send(read(output, CODE_BYTES_MAX)).is_ok());
        let answer = match code.recv_timeout(wall) {
            Ok(code) => Some(code),
            Err(RecvTimeoutError::Disconnected) => Some(Vec::new()),
            Err(RecvTimeoutError::Timeout) => None,
        };
        let is_whole = answer.as_ref().is_some_and(|code| code.len() <= CODE_BYTES_MAX);
        // The threads end with its pipes.
        let status = end(child, if is_whole { ENDING_TRIES } else { 0 });
        (answer, status, shown(&String::from_utf8_lossy(&words.join().unwrap_or_default()), WORDS_MAX))
    })
}

/// Waits a little for it to end by itself.
fn end(child: &mut Child, tries: u32) -> std::io::Result<ExitStatus> {
    for _ in 0..tries {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(ENDING_PAUSE);
    }
    child.kill()?;
    child.wait()
}

/// To the end, or one byte more than it may be.
fn read(from: Option<impl Read>, max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let n = from.and_then(|from| from.take(max as u64 + 1).read_to_end(&mut bytes).ok());
    if n.is_some() { bytes } else { Vec::new() }
}

/// What a process says that gave no code.
fn refused(status: ExitStatus, words: &str, limits: CompileLimits) -> PluginError {
    let is_short_of_memory = words.contains("memory allocation of") || words.contains("annot allocate memory");
    let is_out_of_time = status.signal() == Some(Signal::XCPU.as_raw());
    match status.code() {
        _ if is_short_of_memory => PluginError::Compile(CompileStop::Memory(limits.memory_bytes)),
        _ if is_out_of_time => PluginError::Compile(CompileStop::Cpu(limits.cpu)),
        Some(code) if code == i32::from(NO_COMPONENT) => PluginError::NotAComponent(words.trim().to_owned()),
        _ => PluginError::Compile(CompileStop::Crash(status)),
    }
}

/// The other process: reads a component, writes its machine code. Errors: in words, for the process that began it.
pub fn compile_here(memory_bytes: u64, cpu_s: u64) -> Result<(), String> {
    let bounds = [
        (Resource::As, memory_bytes, memory_bytes),
        (Resource::Cpu, cpu_s, cpu_s.saturating_add(1)),
        (Resource::Fsize, 0, 0),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, maximum) in bounds {
        // Who runs it may allow less already, and nobody may raise that again.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let bound = Rlimit { current: Some(current.min(allowed)), maximum: Some(maximum.min(allowed)) };
        setrlimit(resource, bound).map_err(|error| format!("cannot be bounded: {error}"))?;
    }
    let mut component = Vec::new();
    let input = std::io::stdin().lock().take(FILE_BYTES_MAX as u64);
    std::io::BufReader::new(input).read_to_end(&mut component).map_err(|error| error.to_string())?;
    let engine = wasmtime::Engine::new(&wasmtime_config()).map_err(|error| chain(&error))?;
    let code = engine.precompile_component(&component).map_err(|error| chain(&error))?;
    std::io::stdout().lock().write_all(&code).map_err(|error| error.to_string())
}
