//! Agents as WASM components on wasmtime.
