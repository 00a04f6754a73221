//! What a component does while it is compiled and started: a good plugin, with a module behind it that is none.

use membrana::plugin::embed;
use wasm_encoder::{Component, ComponentSection, ComponentTypeSection, ComponentValType, InstanceSection, ModuleArg, PrimitiveValType, RawSection};
use wasmparser::{Parser, Payload};

use super::*;

const MANIFEST: &str = include_str!("../../../guests/hostile/plugin.toml");
/// The smallest component there is.
const EMPTY: &[u8] = &Component::HEADER;
/// Units: bytes.
const PAGE: usize = 64 << 10;

/// The hostile guest as the compiler wrote it: its manifest is its last section.
fn bare() -> Vec<u8> {
    let mut bytes = std::fs::read(built()).unwrap();
    bytes.truncate(bytes.len() + EMPTY.len() - embed(EMPTY, MANIFEST).unwrap().len());
    bytes
}

/// A plugin with these sections at its end.
fn with_sections(sections: &[&dyn ComponentSection]) -> Vec<u8> {
    let mut bytes = bare();
    for section in sections {
        section.append_to_component(&mut bytes);
    }
    embed(&bytes, MANIFEST).unwrap()
}

/// A plugin with this core module at its end, started so many times.
pub(super) fn with_module(module: &str, n_instances: usize) -> Vec<u8> {
    with_bytes(&wat::parse_str(module).unwrap(), n_instances)
}

/// As [`with_module`], with the module's bytes.
pub(super) fn with_bytes(module: &[u8], n_instances: usize) -> Vec<u8> {
    let mut instances = InstanceSection::new();
    for _ in 0..n_instances {
        instances.instantiate(n_modules(), [] as [(&str, ModuleArg); 0]);
    }
    /// Of a core module in a component.
    const MODULE: u8 = 1;
    with_sections(&[&RawSection { id: MODULE, data: module }, &instances])
}

/// How many core modules the guest has by itself.
fn n_modules() -> u32 {
    let (mut depth, mut n) = (0, 0);
    for payload in Parser::new(0).parse_all(&bare()) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => {
                n += u32::from(depth == 0);
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    n
}

fn memories(n: usize, pages: usize) -> String {
    format!("(module {})", format!("(memory {pages})").repeat(n))
}

fn at_start(before: &str, body: &str) -> String {
    format!("(module {before} (func $f {body}) (start $f))")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_for_a_start_is_refused_by_its_cause() {
    let yard = Yard::new().await;
    let cases = [
        ("an endless loop", at_start("", "(loop $l (br $l))"), 1, "cpu", "200 ms"),
        (
            "bulk operations",
            at_start("(memory 64)", "(loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 4194304)) (br $l))"),
            1,
            "cpu",
            "200 ms",
        ),
        ("a trap", at_start("", "unreachable"), 1, "trap", "unreachable"),
        ("deep recursion", at_start("", "(call $f)"), 1, "trap", "call stack exhausted"),
        ("1 GiB at once", memories(1, 16_384), 1, "memory", "16 MiB"),
        ("growth without end", at_start("(memory 1)", "(loop $l (drop (memory.grow (i32.const 1))) (br $l))"), 1, "memory", "16 MiB"),
        ("100 memories in a module", memories(100, 0), 1, "trap", "memory count too high"),
        ("100 memories in as many instances", memories(1, 0), 100, "trap", "count too high"),
        ("900 instances", "(module)".to_owned(), 900, "trap", "instance count too high"),
        ("100 tables", format!("(module {})", "(table 0 funcref)".repeat(100)), 1, "trap", "table count too high"),
        ("a table of a million", "(module (table 1000000 funcref))".to_owned(), 1, "memory", "100000 elements"),
        (
            "a table that grows",
            at_start("(table 0 funcref)", "(loop $l (drop (table.grow (ref.null func) (i32.const 1000))) (br $l))"),
            1,
            "memory",
            "100000 elements",
        ),
        ("ten tables that are too much together", format!("(module {})", "(table 11000 funcref)".repeat(10)), 1, "memory", "100000 elements"),
    ];
    for (case, module, n_instances, code, says) in cases {
        let refused = yard.try_load(with_module(&module, n_instances), mode("well"), LIMITS, None).await.err();
        let is_right = |error: &PluginError| matches!(error, PluginError::Start { fault, .. } if is_permanent(fault, code, says));
        assert!(refused.as_ref().is_some_and(is_right), "{case}: {refused:?}");
        yard.is_whole(case).await;
    }
    yard.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_summed_over_all_memories_of_all_instances() {
    let yard = Yard::new().await;
    let n_free = (LIMITS.memory_bytes - yard.held) / PAGE;
    for (n_memories, n_instances) in [(10, 1), (1, 10), (2, 5)] {
        // What is left over is less than a page each.
        let each = n_free / (n_memories * n_instances);
        let module = |more: usize| memories(n_memories, each + more);
        let fits = yard.try_load(with_module(&module(0), n_instances), mode("well"), LIMITS, None).await.unwrap();
        let held = yard.engine.guest_memory_bytes() - yard.held;
        assert!(held <= LIMITS.memory_bytes && held > LIMITS.memory_bytes / 20 * 19, "{held}");
        assert_eq!(ask(&fits, "fine").await, yard.alone);
        drop(fits);
        yard.is_whole("what fits").await;

        let refused = yard.try_load(with_module(&module(1), n_instances), mode("well"), LIMITS, None).await.err();
        assert!(matches!(&refused, Some(PluginError::Start { fault, .. }) if is_permanent(fault, "memory", "16 MiB")), "{refused:?}");
        yard.is_whole("a page too much each").await;
    }
    yard.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_instances_are_no_component() {
    let yard = Yard::new().await;
    let refused = yard.try_load(with_module("(module)", 10_000), mode("well"), LIMITS, None).await.err();
    assert!(matches!(&refused, Some(PluginError::NotAComponent(why)) if why.contains("instances count exceeds limit")), "{refused:?}");
    yard.is_whole("10,000 instances").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_of_a_million_fields_is_no_component() {
    let yard = Yard::new().await;
    let fields: Vec<(String, ComponentValType)> = (0..1_000_000).map(|n| (format!("f{n}"), PrimitiveValType::Bool.into())).collect();
    let mut types = ComponentTypeSection::new();
    types.defined_type().record(fields.iter().map(|(name, ty)| (name.as_str(), *ty)));
    let refused = yard.try_load(with_sections(&[&types]), mode("well"), LIMITS, None).await.err();
    assert!(matches!(&refused, Some(PluginError::NotAComponent(why)) if why.contains("record")), "{refused:?}");
    yard.is_whole("a million fields").await;
}
