//! Reads a component before anything is compiled: what it is, how much is inside, and what it imports.

use agora_sandbox_api::{AgentError, Grants};
use agora_types::Code;
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload};

use crate::failure::bad_component;
use crate::limits;

const PACKAGE: &str = "agora:agent/";

/// What the screen saw.
#[derive(Debug)]
pub(crate) struct Screened {
    /// It exports `serve`.
    pub(crate) serves: bool,
}

/// Refuses what is no component, what holds too much, and imports without a grant. The compiler checks the rest.
pub(crate) fn screen(bytes: &[u8], grants: &Grants) -> Result<Screened, AgentError> {
    let malformed = |error: wasmparser::BinaryReaderError| bad_component(&error.to_string());
    let (mut depth, mut inner, mut serves) = (0_usize, 0_usize, false);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(bad_component("a core module; link it with wasm-component-ld, or wrap it as a component"));
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                inner += 1;
                if inner > limits::INNER_MAX {
                    return Err(bad_component(&format!("more than {} modules inside", limits::INNER_MAX)));
                }
                // The modules of the innermost components are one deeper.
                if depth > limits::DEPTH_MAX {
                    return Err(bad_component(&format!(
                        "components stand in one another over {} deep",
                        limits::DEPTH_MAX
                    )));
                }
            }
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    let import = import.map_err(malformed)?;
                    // A type is a word; there is nothing to call.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        granted(import.name.name, grants)?;
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let export = export.map_err(malformed)?;
                    serves |= export.name.name == "serve" && export.kind == ComponentExternalKind::Func;
                }
            }
            _ => {}
        }
    }
    Ok(Screened { serves })
}

/// Is this import granted? The answer names the line to add.
fn granted(import: &str, grants: &Grants) -> Result<(), AgentError> {
    let refused = |hint: &str| Err(AgentError::new(Code::AgentImport, format!("{import}: {hint}")));
    let name = import.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')).map(|(name, _)| name);
    let (given, table) = match name {
        // Words only; nothing to call.
        Some("types" | "events" | "service") => return Ok(()),
        Some("market") => (grants.market.is_some(), "[grants.market]"),
        Some("wallet") => (grants.wallet.is_some(), "[grants.wallet] with budget = \"5\" and per_call = \"0.5\""),
        Some("inference") => (grants.inference.is_some(), "[grants.inference]"),
        Some("http") => (grants.http.is_some(), "[grants.http] with hosts = [\"api.example.com\"]"),
        Some("key-value") => (grants.key_value.is_some(), "[grants.key_value] with max_kib = 64"),
        Some("log") => (grants.log.is_some(), "[grants.log]"),
        Some("clock") => (grants.clock.is_some(), "[grants.clock]"),
        _ if import.starts_with("wasi:") => {
            return refused("no grant covers WASI; build for wasm32-unknown-unknown, or with WASI stubbed out");
        }
        _ => return refused("no such interface here; see wit/agent.wit"),
    };
    if given { Ok(()) } else { refused(&format!("add {table} to agent.toml")) }
}
