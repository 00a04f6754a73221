//! Generated from `wit/`: types and imports once, then one module a world that shares them. Authors never name these.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code; its documentation is the WIT's")]

pub mod everything {
    wit_bindgen::generate!({
        path: "wit/0.1",
        world: "everything",
        generate_unused_types: true,
        additional_derives: [PartialEq, Clone],
    });
}

macro_rules! world {
    ($module:ident, $world:literal $(, $path:literal: $interface:ident)*) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit/0.1",
                world: $world,
                pub_export_macro: true,
                additional_derives: [PartialEq, Clone],
                with: {
                    "membrana:plugin/types@0.1.0": crate::bindings::everything::membrana::plugin::types,
                    $($path: crate::bindings::everything::membrana::plugin::$interface,)*
                },
            });
        }
    };
}
world!(
    connector,
    "connector-plugin",
    "membrana:plugin/log@0.1.0": log,
    "membrana:plugin/config@0.1.0": config,
    "membrana:plugin/clock@0.1.0": clock,
    "membrana:plugin/state@0.1.0": state,
    "membrana:plugin/http@0.1.0": http,
    "membrana:plugin/net@0.1.0": net
);
world!(stream, "stream-alone");
world!(media, "media-alone");
world!(
    analyzer,
    "analyzer-plugin",
    "membrana:plugin/log@0.1.0": log,
    "membrana:plugin/config@0.1.0": config,
    "membrana:plugin/http@0.1.0": http
);
world!(
    rule,
    "rule-plugin",
    "membrana:plugin/log@0.1.0": log,
    "membrana:plugin/config@0.1.0": config
);
