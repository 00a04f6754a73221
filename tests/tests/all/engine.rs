//! The engine in this process: what becomes of an instance that trapped or is late, and whose compiled code is
//! believed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use membrana::clock::Clock;
use membrana::model::{Fault, Timestamp, Value};
use membrana::plugin::{AnalyzeBatch, AnalyzeItem, Engine, EngineConfig, Generation, Kind, Limits, Load, PluginError};

use crate::hostile::built;

const WALL: Duration = Duration::from_millis(500);

fn engine(cache_dir: Option<&Path>) -> Arc<Engine> {
    Engine::new(EngineConfig { cache_dir: cache_dir.map(Path::to_owned), compiler: None, clock: Clock::system(), workers: 2 }).unwrap()
}

async fn load(engine: &Arc<Engine>, mode: &str) -> Result<Arc<Generation>, PluginError> {
    let limits = Limits { wall: WALL, ..Limits::of(Kind::Analyzer) };
    let bytes = std::fs::read(built()).unwrap().into();
    engine.load(Load { name: "mad".to_owned(), bytes, config: format!("{{\"mode\":\"{mode}\"}}"), door: None, limits, is_apart: false }).await
}

/// Which call of its instance answered.
async fn call(generation: &Generation, text: &str) -> Result<Value, Fault> {
    let item =
        AnalyzeItem { id: None, subject: None, text, language: None, occurred: Timestamp(0), earlier: Vec::new(), author: None, attachments: &[] };
    let batch = AnalyzeBatch { channel: "shop", kind: "checkin", items: vec![item] };
    Ok(generation.analyze(&batch).await?.remove(0).remove(0).value)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_again_until_it_traps_or_is_late() {
    let generation = load(&engine(None), "calls").await.unwrap();
    assert_eq!(call(&generation, "x").await, Ok(Value::Number(1.0)));
    assert_eq!(call(&generation, "x").await, Ok(Value::Number(2.0)));

    let trapped = call(&generation, "poison").await;
    assert!(matches!(&trapped, Err(Fault::Permanent(why)) if why.code == "trap"), "{trapped:?}");
    assert_eq!(call(&generation, "x").await, Ok(Value::Number(1.0)), "a new one");

    let late = call(&generation, "sleep").await;
    assert!(matches!(&late, Err(Fault::Transient(why)) if why.code == "timeout"), "{late:?}");
    assert_eq!(call(&generation, "x").await, Ok(Value::Number(1.0)), "a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_with_one_changed_byte_is_compiled_anew() {
    let folder = tempfile::tempdir().unwrap();
    load(&engine(Some(folder.path())), "calls").await.unwrap();
    let is_code = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "cwasm");
    let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).filter(is_code);
    let file = files.next().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();

    let generation = load(&engine(Some(folder.path())), "calls").await.unwrap();

    assert_eq!(call(&generation, "x").await, Ok(Value::Number(1.0)));
    assert_ne!(std::fs::read(&file).unwrap(), bytes, "the damaged file was written anew");
}
