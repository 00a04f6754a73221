//! The contract as Rust types, generated from `wit/`, and the only conversions between them and the model.

pub(super) mod give;
pub(super) mod take;

/// What guests may call, generated once for all worlds.
pub(super) mod host {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "everything",
        imports: { default: async | trappable },
        with: { "membrana:plugin/net.connection": crate::plugin::host::Conn },
    });
}

macro_rules! world {
    ($module:ident, $world:literal, [$($interface:literal => $path:ident),*]) => {
        pub(super) mod $module {
            wasmtime::component::bindgen!({
                path: "../wit/0.1",
                world: $world,
                imports: { default: async | trappable },
                exports: { default: async },
                with: { $($interface: crate::plugin::bindings::host::membrana::plugin::$path),* },
            });
        }
    };
}

world!(
    connector,
    "connector-plugin",
    [
        "membrana:plugin/types" => types, "membrana:plugin/log" => log, "membrana:plugin/config" => config,
        "membrana:plugin/clock" => clock, "membrana:plugin/state" => state, "membrana:plugin/http" => http,
        "membrana:plugin/net" => net
    ]
);
world!(
    analyzer,
    "analyzer-plugin",
    ["membrana:plugin/types" => types, "membrana:plugin/log" => log, "membrana:plugin/config" => config, "membrana:plugin/http" => http]
);
world!(stream, "stream-alone", ["membrana:plugin/types" => types]);
world!(media, "media-alone", ["membrana:plugin/types" => types]);
world!(rule, "rule-plugin", ["membrana:plugin/types" => types, "membrana:plugin/log" => log, "membrana:plugin/config" => config]);

pub(super) use analyzer::exports::membrana::plugin::analyzer as analyze;
pub(super) use connector::exports::membrana::plugin::connector as connect;
pub(super) use host::membrana::plugin as api;
pub(super) use media::exports::membrana::plugin::connector_media as fetching;
pub(super) use rule::exports::membrana::plugin::rule as decide;
pub(super) use stream::exports::membrana::plugin::connector_stream as streaming;
