//! A loaded component, and how it handles an event.

use std::sync::Arc;
use std::time::Duration;

use agora_sandbox_api::{AgentError, AgentHost, Event, Grants, Limits, Manifest, Pending, Program};
use agora_types::{Code, Hash};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Result as WasmResult, Store};

use crate::bindings::agora::agent::{clock, events, inference, key_value, log, market, wallet};
use crate::bindings::{Agent, AgentPre};
use crate::engine::{Clock, Engine};
use crate::failure::{self, bad_component, within};
use crate::guest::{self, Guest};
use crate::limits;

/// A component that is linked to what it was granted, and to nothing else.
pub(crate) struct WasmProgram {
    clock: Clock,
    ready: AgentPre<Guest>,
    limits: Limits,
    hash: Hash,
    sells: bool,
}

impl WasmProgram {
    pub(crate) fn link(
        engine: &Engine,
        code: &Component,
        hash: Hash,
        sells: bool,
        manifest: &Manifest,
    ) -> Result<Self, AgentError> {
        let linker = linker(engine, &manifest.grants).map_err(|error| bad_component(&format!("{error:#}")))?;
        let ready = linker.instantiate_pre(code).and_then(AgentPre::new);
        let ready = ready.map_err(|error| bad_component(&format!("{error:#}")))?;
        Ok(Self { clock: engine.clock.clone(), ready, limits: manifest.limits, hash, sells })
    }

    /// Whoever drops this future stops the guest; the streams that it had open are then the host's to close.
    async fn run(&self, event: Event, host: Arc<dyn AgentHost>) -> Result<Vec<u8>, AgentError> {
        within("an event's payload, bytes", event.payload.len(), limits::PAYLOAD_MAX)?;
        within("an event's id, bytes", event.id.len(), limits::EVENT_WORD_MAX)?;
        within("an event's kind, bytes", event.kind.len(), limits::EVENT_WORD_MAX)?;
        let _running = self.clock.run();
        let mut store = self.store(Arc::clone(&host));
        let time = Duration::from_secs(self.limits.event_s.into());
        let outcome = tokio::time::timeout(time, call(&self.ready, &mut store, event)).await;
        let open = store.data_mut().take_open();
        // Memory first: closing may take a while.
        drop(store);
        for stream in open {
            // The node knows when this fails; the guest is gone.
            let _ = host.close(stream).await;
        }
        match outcome {
            Err(_) => {
                let what = format!("its event took longer than limits.event_s, {} s", self.limits.event_s);
                Err(AgentError::new(Code::AgentOutOfTime, what))
            }
            Ok(Err(error)) => Err(failure::of_event(&error)),
            Ok(Ok(Err(words))) => Err(AgentError::new(Code::AgentFailed, failure::bounded(&words))),
            Ok(Ok(Ok(answer))) => {
                within("the answer, bytes", answer.len(), limits::PAYLOAD_MAX)?;
                Ok(answer)
            }
        }
    }

    fn store(&self, host: Arc<dyn AgentHost>) -> Store<Guest> {
        let mut store = Store::new(self.ready.engine(), Guest::new(host, &self.limits));
        store.limiter(|guest| &mut guest.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(guest::tick);
        store.set_hostcall_fuel(limits::CALL_BYTES_MAX);
        store.set_max_component_handles(limits::HANDLES_MAX);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(limits::HANDLES_MAX);
        }
        store
    }
}

async fn call(ready: &AgentPre<Guest>, store: &mut Store<Guest>, event: Event) -> WasmResult<Result<Vec<u8>, String>> {
    let agent: Agent = ready.instantiate_async(&mut *store).await?;
    let event = events::Event { id: event.id, kind: event.kind, payload: event.payload };
    agent.call_handle(&mut *store, &event).await
}

/// The screen has refused imports without a grant; an interface that is not linked could not be called even so.
fn linker(engine: &Engine, grants: &Grants) -> WasmResult<Linker<Guest>> {
    let mut linker = Linker::new(&engine.wasmtime);
    if grants.market.is_some() {
        market::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    }
    if grants.wallet.is_some() {
        wallet::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    }
    if grants.inference.is_some() {
        inference::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    }
    if grants.key_value.is_some() {
        key_value::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    }
    if grants.log.is_some() {
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    }
    if grants.clock.is_some() {
        clock::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    }
    Ok(linker)
}

impl Program for WasmProgram {
    fn hash(&self) -> Hash {
        self.hash
    }

    fn sells(&self) -> bool {
        self.sells
    }

    fn handle(&self, event: Event, host: Arc<dyn AgentHost>) -> Pending<'_, Vec<u8>> {
        Box::pin(self.run(event, host))
    }
}
