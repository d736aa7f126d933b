//! The world `agora:agent` as wasmtime sees it. Nothing outside of this crate does.

#![allow(missing_docs, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "agent",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "agora:agent/market.quote": crate::guest::HeldQuote,
        "agora:agent/inference.token-stream": crate::guest::HeldStream,
    },
    trappable_error_type: { "agora:agent/types.error" => crate::failure::Refusal },
    require_store_data_send: true,
});

/// The world `seller`: the same agent with `serve`. Its interfaces are those above.
pub(crate) mod seller {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "seller",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "agora:agent/types": crate::bindings::agora::agent::types,
            "agora:agent/market": crate::bindings::agora::agent::market,
            "agora:agent/wallet": crate::bindings::agora::agent::wallet,
            "agora:agent/inference": crate::bindings::agora::agent::inference,
            "agora:agent/http": crate::bindings::agora::agent::http,
            "agora:agent/key-value": crate::bindings::agora::agent::key_value,
            "agora:agent/log": crate::bindings::agora::agent::log,
            "agora:agent/clock": crate::bindings::agora::agent::clock,
            "agora:agent/events": crate::bindings::agora::agent::events,
        },
        require_store_data_send: true,
    });
}
