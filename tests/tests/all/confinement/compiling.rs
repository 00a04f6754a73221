//! What a component does to the compiler: in a process of its own, which ends alone.

use std::path::{Path, PathBuf};

use membrana::plugin::{CompileLimits, CompileStop};
use wasm_encoder::{CodeSection, Function, FunctionSection, Module, TypeSection, ValType};

use super::starts::with_bytes;
use super::*;
use crate::harness::Host;
use crate::hooks::{CONFIG, TABLE, shop};

const COMPILER: &str = env!("CARGO_BIN_EXE_membrana-under-test");

fn engine(cache: Option<&Path>, compiler: impl Into<PathBuf>) -> Arc<Engine> {
    Engine::new(EngineConfig { cache_dir: cache.map(Path::to_owned), compiler: Some(compiler.into()), clock: Clock::system(), workers: 2 }).unwrap()
}

async fn load(engine: &Arc<Engine>, bytes: Vec<u8>, compile: CompileLimits) -> Result<Arc<Generation>, PluginError> {
    engine
        .load(Load {
            name: "mad".to_owned(),
            bytes: bytes.into(),
            config: mode("well"),
            door: None,
            limits: Limits { compile, ..LIMITS },
            is_apart: false,
        })
        .await
}

/// A plugin with so many functions at its end, each of so many steps: small to read, and long to compile.
pub(super) fn bomb(n_functions: u32, n_steps: i64) -> Vec<u8> {
    let (mut types, mut functions, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    for _ in 0..n_functions {
        functions.function(0);
        let mut body = Function::new([(2, ValType::I64)]);
        for step in 0..n_steps {
            body.instructions().local_get(0).i64_const(step % 100).i64_mul().local_get(1).i64_rotl().local_set((step % 2) as u32);
        }
        body.instructions().end();
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    with_bytes(&module.finish(), 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compiled_apart_answers_the_same_and_is_compiled_once() {
    let yard = Yard::new().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = || std::fs::read(built()).unwrap();
    let apart = load(&engine(Some(folder.path()), COMPILER), bytes(), CompileLimits::DEFAULT).await.unwrap();
    assert_eq!(ask(&apart, "fine").await, yard.alone);

    let cached = load(&engine(Some(folder.path()), "/nowhere"), bytes(), CompileLimits::DEFAULT).await.unwrap();
    assert_eq!(ask(&cached, "fine").await, yard.alone, "nobody was asked to compile it again");
    let refused = load(&engine(None, "/nowhere"), bytes(), CompileLimits::DEFAULT).await.err();
    assert!(matches!(&refused, Some(PluginError::Engine(why)) if why.contains("the compiler")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_ends_the_process_that_compiles_it() {
    let engine = engine(None, COMPILER);
    let second = Duration::from_secs(1);
    let little_time = CompileLimits { memory_bytes: 4 << 30, cpu: second };
    let refused = load(&engine, bomb(1000, 3000), little_time).await.err();
    assert!(matches!(&refused, Some(PluginError::Compile(CompileStop::Cpu(cpu))) if *cpu == second), "{refused:?}");

    let little_memory = CompileLimits { memory_bytes: 200 << 20, cpu: Duration::from_secs(600) };
    let refused = load(&engine, bomb(1, 500_000), little_memory).await.err();
    assert!(matches!(&refused, Some(PluginError::Compile(CompileStop::Memory(bytes))) if *bytes == 200 << 20), "{refused:?}");

    assert_eq!(engine.guest_memory_bytes(), 0);
    assert!(load(&engine, std::fs::read(built()).unwrap(), CompileLimits::DEFAULT).await.is_ok(), "the next one is compiled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_to_the_compiler_is_told_in_its_words() {
    let broken = with_bytes(&wat::parse_str("(module (func (result i32) i64.const 0))").unwrap(), 0);
    let refused = load(&engine(None, COMPILER), broken, CompileLimits::DEFAULT).await.err();
    assert!(matches!(&refused, Some(PluginError::NotAComponent(why)) if why.contains("type mismatch")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_on_a_live_host_is_named_with_its_cure_and_the_last_good_one_stays() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let before = host.resident();
    host.write("bomb.wasm", bomb(1, 700_000));
    let limits = "limits = { compile_memory_bytes = 300000000 }";
    host.configure(&format!("{CONFIG}[[analyzer]]\nname = \"mad\"\nplugin = \"bomb.wasm\"\nconfig = {{ mode = \"well\" }}\n{limits}\n"));

    host.signal("HUP");

    assert!(eventually(async || host.log().contains("the last good one stays in force")).await, "{}", host.log());
    let log = host.log();
    let is_named = ["bomb.wasm", "more than 286 MiB of memory", "compile_memory_bytes"].iter().all(|part| log.contains(part));
    assert!(is_named, "{log}");
    assert_eq!(shop(&host).post("evt-1", membrana_world::Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);
    let is_given_back = async || host.resident() <= before + super::pipeline::RESIDENT_MORE_MAX;
    assert!(eventually(is_given_back).await, "{} MiB, before {} MiB", host.resident() >> 20, before >> 20);
    assert_eq!(host.stop(), Some(0));
}
