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
