//! Plugins that do not fit, files that were damaged, feeds that are none: refused by name or set aside, and the host stays up.

use membrana_world::{Blog, Dress, call};
use wasm_encoder::{
    CodeSection, ComponentBuilder, ComponentExportKind, ComponentValType, ExportKind, ExportSection, Function, FunctionSection, Module, ModuleArg,
    PrimitiveValType, TypeSection,
};

use crate::check::{bundled, told};
use crate::harness::{Host, eventually, text};
use crate::hooks::{CONFIG, TABLE, shop};

const MANIFEST: &str = "name = \"odd\"\nversion = \"0.1.0\"\nkind = \"analyzer\"\ncontract = \"0.1\"\nsummary = \"s\"\nlicense = \"Apache-2.0\"\n";
const ODD: &str = "[[analyzer]]\nname = \"odd\"\nplugin = \"odd\"\n";

/// A component that exports one instance with functions of no argument and no result, and its manifest.
fn exporting(instance: &str, functions: &[&str]) -> Vec<u8> {
    let mut module = Module::new();
    let (mut types, mut own, mut exports, mut code) = (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([], []);
    own.function(0);
    exports.export("f", ExportKind::Func, 0);
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    module.section(&types).section(&own).section(&exports).section(&code);

    let mut component = ComponentBuilder::default();
    let module = component.core_module(None, &module);
    let core = component.core_instantiate(None, module, [] as [(&str, ModuleArg); 0]);
    let core = component.core_alias_export(None, core, "f", ExportKind::Func);
    let (ty, mut encoder) = component.type_function(None);
    encoder.params([] as [(&str, ComponentValType); 0]).result(None::<PrimitiveValType>.map(Into::into));
    let function = component.lift_func(None, core, ty, []);
    let instance_index = component.instantiate_exports(None, functions.iter().map(|name| (*name, ComponentExportKind::Func, function)));
    component.export(instance, ComponentExportKind::Instance, instance_index, None);
    membrana::plugin::embed(&component.finish(), MANIFEST).unwrap()
}

/// What the compiler wrote of a bundled plugin, without its manifest.
fn bare(name: &str) -> Vec<u8> {
    let mut bytes = bundled(name);
    let manifest = place_of(&bytes, b"membrana:manifest");
    // Before the name stand its length, the section's length in two or three bytes, and its id.
    let start = (manifest - 5..manifest).rev().find(|at| membrana::plugin::embed(&bytes[..*at], MANIFEST).is_ok());
    bytes.truncate(start.unwrap());
    bytes
}

/// What `membrana plugin build` would write of this manifest, also if it refuses it.
fn sealed(component: &[u8], manifest: &str) -> Vec<u8> {
    let digest = membrana::model::Digest::of(&[component, manifest.as_bytes()].concat());
    let data = format!("# blake3 {digest}\n{manifest}").into_bytes();
    let mut bytes = component.to_vec();
    let section = wasm_encoder::CustomSection { name: "membrana:manifest".into(), data: data.into() };
    wasm_encoder::ComponentSection::append_to_component(&section, &mut bytes);
    bytes
}

fn place_of(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).rposition(|window| window == needle).unwrap()
}

/// Each with what must be named.
fn misfits() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = bundled("language");
    let older = {
        let mut bytes = bare("language");
        let section = wasm_encoder::CustomSection { name: "membrana:manifest".into(), data: MANIFEST.as_bytes().into() };
        wasm_encoder::ComponentSection::append_to_component(&section, &mut bytes);
        bytes
    };
    vec![
        ("empty", Vec::new(), "no Wasm component"),
        ("text", b"hello".to_vec(), "no Wasm component"),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        ("truncated", whole[..whole.len() / 3].to_vec(), "not a plugin"),
        ("no manifest", bare("language"), "membrana plugin build"),
        ("an older build", older, "membrana plugin build"),
        ("a wrong world", membrana::plugin::embed(&bare("touchpoint"), MANIFEST).unwrap(), "membrana:plugin/connector@0.1.0"),
        ("another version", exporting("membrana:plugin/analyzer@0.9.0", &["validate", "analyze"]), "membrana:plugin/analyzer@0.9.0"),
        ("a missing export", exporting("membrana:plugin/analyzer@0.1.0", &["validate"]), "analyze"),
        ("no export", exporting("membrana:plugin/analyzer@0.1.0", &[]), "validate"),
        (
            "a changed export",
            exporting("membrana:plugin/analyzer@0.1.0", &["validate", "analyze"]),
            "`membrana:plugin/analyzer@0.1.0` cannot be started: permanent (trap): failed to convert function to given type",
        ),
    ]
}

#[test]
fn a_plugin_that_does_not_fit_is_refused_with_its_place_and_what_is_wrong() {
    let host = Host::new(&format!("{CONFIG}{ODD}"), TABLE);
    std::fs::create_dir(host.dir().join("plugins")).unwrap();
    for (name, bytes, needle) in misfits() {
        host.write("plugins/odd.wasm", bytes);
        let (code, said) = told(&host, &["check"]);
        assert_eq!(code, Some(3), "{name}: {said}");
        let at_its_place = said.lines().any(|line| line.starts_with("membrana.toml:16:1: error: plugin `odd`"));
        assert!(said.contains(needle) && said.contains("odd.wasm") && said.contains("help:") && at_its_place, "{name}: {said}");
    }
    host.write("plugins/odd.wasm", bundled("impact-table"));
    let (code, said) = told(&host, &["check"]);
    assert!(code == Some(3) && said.contains("is of kind rule, not"), "{said}");
}

#[test]
fn nothing_that_a_plugin_s_file_says_is_an_order_to_the_terminal() {
    let host = Host::new(&format!("{CONFIG}{ODD}"), TABLE);
    std::fs::create_dir(host.dir().join("plugins")).unwrap();
    let key = "[config.properties.\"\\u001b[2Jkey\"]\ntype = \"string\"\ndescription = \"\\u001b[2J\"\n";
    let manifests =
        [format!("{MANIFEST}[config]\ntype = \"object\"\n{key}"), format!("{MANIFEST}# \u{1b}[2J\n"), MANIFEST.replace("\"odd\"", "\"\\u001b[2J\"")];
    for manifest in manifests {
        host.write("plugins/odd.wasm", sealed(&bare("language"), &manifest));
        for arguments in [&["plugin", "inspect", "odd"][..], &["plugin", "list"], &["check"]] {
            for form in [&[][..], &["--json"]] {
                let (code, said) = told(&host, &[arguments, form].concat());
                assert!(!said.contains('\u{1b}') && code != Some(101), "{arguments:?} {form:?}: {said:?}");
            }
        }
        let (_, said) = told(&host, &["plugin", "inspect", "odd"]);
        assert!(said.contains("[2J"), "{said}");
    }
}

#[test]
fn one_changed_byte_is_refused_wherever_it_is() {
    let host = Host::new(CONFIG, TABLE);
    let good = bundled("touchpoint");
    std::fs::create_dir(host.dir().join("plugins")).unwrap();
    host.write("plugins/touchpoint.wasm", &good);
    assert_eq!(told(&host, &["check"]).0, Some(0), "as it was built");

    let (n, manifest) = (good.len(), place_of(&good, b"membrana:manifest"));
    let code = [n / 7, n / 5, n / 3, n / 2];
    let data = place_of(&good, b"no id at");
    for place in [0, 4, 6, 8].into_iter().chain(code).chain([data, manifest - 1, manifest, manifest + 20, manifest + 40, manifest + 120, n - 1]) {
        let mut flipped = good.clone();
        flipped[place] ^= 0x01;
        host.write("plugins/touchpoint.wasm", flipped);
        let (code, said) = told(&host, &["check"]);
        assert_eq!(code, Some(3), "byte {place} of {n}: {said}");
        assert!(said.contains("touchpoint.wasm") && said.contains("help:"), "byte {place}: {said}");
    }
    let (code, said) = told(&host, &["plugin", "inspect", "touchpoint"]);
    assert!(code == Some(1) && said.contains("membrana plugin build"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_a_plugin_that_does_not_fit_leaves_the_last_good_one_in_force() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    std::fs::create_dir(host.dir().join("plugins")).unwrap();
    host.write("plugins/odd.wasm", exporting("membrana:plugin/analyzer@0.1.0", &["validate"]));
    host.configure(&format!("{}{ODD}", CONFIG.replace("\"shops\"", "\"markets\"")));

    host.signal("HUP");
    assert!(eventually(async || host.log().contains("the last good one stays in force")).await, "{}", host.log());
    assert!(host.log().contains("analyze"), "the log names the export: {}", host.log());
    assert_eq!(shop(&host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);
    host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/decisions/0/row") == "check-in")).await;
    let tasks = host.until(&["task", "list"], |tasks| !tasks.is_empty()).await;
    assert_eq!(text(&tasks[0], "/team"), "shops");
}

/// The one place that names how the pretend blog serves bytes as they are.
fn serve(blog: &Blog, bytes: Option<Vec<u8>>) {
    blog.serve_raw(bytes);
}

fn blogs(bad: &Blog, good: &Blog) -> String {
    let mut config =
        "[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"press\"\n".to_owned();
    for (name, url) in [("bad", bad.url()), ("good", good.url())] {
        config.push_str(&format!(
            "[[channel]]\nname = \"{name}\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{url}/feed/\"], comments = false }}\ngrant = {{ http = [\"{url}\"] }}\n"
        ));
    }
    config
}

/// Asks the bad blog's channel to poll until the feed was fetched.
async fn polled(host: &Host, blog: &Blog) -> bool {
    let n_fetched = || blog.ledger().calls().iter().filter(|call| call.contains("/feed/")).count();
    let before = n_fetched();
    eventually(async || {
        host.cli(&["channel", "poll", "bad"]);
        n_fetched() > before
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_none_holds_nothing_and_loses_nothing() {
    let (bad, good) = (Blog::start().await.unwrap(), Blog::start().await.unwrap());
    let table =
        "[[row]]\nname = \"blog\"\nwhen = { kind = [\"post\"] }\nresponsible = \"press\"\nwithin = \"1d\"\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&blogs(&bad, &good), table);
    host.start().await;
    let is_connected = async || host.list(&["channel", "list"]).iter().filter(|channel| text(channel, "/state") == "connected").count() == 2;
    assert!(eventually(is_connected).await, "{}", host.log());

    let rss = |title: &[u8]| {
        [b"<rss version=\"2.0\"><channel><item><guid>latin-1</guid><title>".as_slice(), title, b"</title></item></channel></rss>"].concat()
    };
    let bodies: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("nonsense", b"\0\xff\xfe nonsense".to_vec()),
        ("cut", b"<rss version=\"2.0\"><channel><item><guid>cut</guid><title>Cut".to_vec()),
        ("a page", b"<!doctype html><html><body><p>Down for maintenance".to_vec()),
        ("billion laughs", b"<!DOCTYPE r [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><rss><channel><title>&b;</title></channel></rss>".to_vec()),
        ("huge", [b"<rss><channel>".as_slice(), &b"<item><title>x</title></item>".repeat(800_000)].concat()),
        ("wrongly encoded", rss(b"Perch\xe9 no")),
    ];
    for (n, (name, body)) in bodies.into_iter().enumerate() {
        serve(&bad, Some(body));
        assert!(polled(&host, &bad).await, "{name}: no poll\n{}", host.log());
        let title = format!("post {n}");
        good.post(&title, "Anna", "<p>All is well.</p>");
        host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/channel") == "good" && text(one, "/subject") == title)).await;
        assert_eq!(call(host.address, "GET", "/healthz", &[], b"").await.unwrap().status, 200, "{name}");
    }
    host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/subject") == "Perché no")).await;

    serve(&bad, None);
    let guid = bad.post("We are back", "Bob", "<p>Sorry.</p>");
    assert!(polled(&host, &bad).await);
    host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/native/id") == guid)).await;
    assert_eq!(host.stop(), Some(0));
}
