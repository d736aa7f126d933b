//! A loaded component, and how it handles an event.

use std::sync::Arc;
use std::time::Duration;

use agora_sandbox_api::{
    AgentError, AgentHost, Event, Grants, Manifest, Pending, Program, ServeRequest, ServeResponse,
};
use agora_types::{Code, Hash};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Result as WasmResult, Store};

use crate::bindings::agora::agent::{clock, events, http, inference, key_value, log, market, wallet};
use crate::bindings::seller::agora::agent::service;
use crate::bindings::seller::{Seller, SellerPre};
use crate::bindings::{Agent, AgentPre};
use crate::engine::{Clock, Engine};
use crate::failure::{self, bad_component, within};
use crate::guest::{self, Guest};
use crate::limits;

/// A component that is linked to what it was granted, and to nothing else.
pub(crate) struct WasmProgram {
    clock: Clock,
    ready: AgentPre<Guest>,
    /// The same component, where it exports `serve`.
    seller: Option<SellerPre<Guest>>,
    manifest: Manifest,
    hash: Hash,
}

impl WasmProgram {
    pub(crate) fn link(
        engine: &Engine,
        code: &Component,
        hash: Hash,
        serves: bool,
        manifest: &Manifest,
    ) -> Result<Self, AgentError> {
        let bad = |error: wasmtime::Error| bad_component(&format!("{error:#}"));
        let linker = linker(engine, &manifest.grants).map_err(bad)?;
        let ready = linker.instantiate_pre(code).map_err(bad)?;
        // A `serve` of another type is a mistake, also where nothing is sold yet.
        let seller = serves.then(|| SellerPre::new(ready.clone())).transpose().map_err(bad)?;
        let ready = AgentPre::new(ready).map_err(bad)?;
        Ok(Self { clock: engine.clock.clone(), ready, seller, manifest: manifest.clone(), hash })
    }

    async fn run(&self, event: Event, host: Arc<dyn AgentHost>) -> Result<Vec<u8>, AgentError> {
        within("an event's payload, bytes", event.payload.len(), limits::PAYLOAD_MAX)?;
        within("an event's id, bytes", event.id.len(), limits::EVENT_WORD_MAX)?;
        within("an event's kind, bytes", event.kind.len(), limits::EVENT_WORD_MAX)?;
        let time = Duration::from_secs(self.manifest.limits.event_s.into());
        let call = async |store: &mut Store<Guest>| {
            let agent: Agent = self.ready.instantiate_async(&mut *store).await?;
            let event = events::Event { id: event.id, kind: event.kind, payload: event.payload };
            agent.call_handle(&mut *store, &event).await
        };
        let answer = self.within_time(host, time, "limits.event_s", call).await?;
        within("the answer, bytes", answer.len(), limits::PAYLOAD_MAX)?;
        Ok(answer)
    }

    async fn sell(&self, request: ServeRequest, host: Arc<dyn AgentHost>) -> Result<ServeResponse, AgentError> {
        let sells = self.seller.as_ref().zip(self.manifest.serve.as_ref());
        let (seller, terms) = sells.ok_or_else(|| AgentError::new(Code::AgentSellsNothing, &self.manifest.name))?;
        request.check()?;
        within("a request's body, bytes", request.body.len(), terms.input_bytes_max())?;
        let time = Duration::from_secs(terms.timeout_s.into());
        let call = async |store: &mut Store<Guest>| {
            let seller: Seller = seller.instantiate_async(&mut *store).await?;
            seller.call_serve(&mut *store, &asked(request)).await
        };
        let answer = self.within_time(host, time, "serve.timeout_s", call).await?;
        let service::Response { status, content_type, body } = answer;
        let answer = ServeResponse { status, content_type, body };
        answer.check()?;
        Ok(answer)
    }

    /// Runs one call of a fresh instance, and sees to what it leaves open. Whoever drops this future stops the guest; the
    /// streams that it had open are then the host's to close.
    async fn within_time<T>(
        &self,
        host: Arc<dyn AgentHost>,
        time: Duration,
        bound: &str,
        call: impl AsyncFnOnce(&mut Store<Guest>) -> WasmResult<Result<T, String>>,
    ) -> Result<T, AgentError> {
        let _running = self.clock.run();
        let mut store = self.store(Arc::clone(&host));
        let outcome = tokio::time::timeout(time, call(&mut store)).await;
        let open = store.data_mut().take_open();
        // Memory first: closing may take a while.
        drop(store);
        for stream in open {
            // The node knows when this fails; the guest is gone.
            let _ = host.close(stream).await;
        }
        match outcome {
            Err(_) => {
                let what = format!("it took longer than {bound}, {} s", time.as_secs());
                Err(AgentError::new(Code::AgentOutOfTime, what))
            }
            Ok(Err(error)) => Err(failure::of_event(&error)),
            Ok(Ok(Err(words))) => Err(AgentError::new(Code::AgentFailed, failure::bounded(&words))),
            Ok(Ok(Ok(answer))) => Ok(answer),
        }
    }

    fn store(&self, host: Arc<dyn AgentHost>) -> Store<Guest> {
        let mut store = Store::new(self.ready.engine(), Guest::new(host, &self.manifest));
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

/// A request as the guest sees it.
fn asked(request: ServeRequest) -> service::Request {
    service::Request {
        id: request.id,
        payer: request.payer.map(|payer| payer.to_string()).unwrap_or_default(),
        price_paid: request.price_paid.to_atoms_text(),
        method: request.method,
        path: request.path,
        query: request.query,
        content_type: request.content_type,
        body: request.body,
    }
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
    if grants.http.is_some() {
        http::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
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
        self.seller.is_some()
    }

    fn handle(&self, event: Event, host: Arc<dyn AgentHost>) -> Pending<'_, Vec<u8>> {
        Box::pin(self.run(event, host))
    }

    fn serve(&self, request: ServeRequest, host: Arc<dyn AgentHost>) -> Pending<'_, ServeResponse> {
        Box::pin(self.sell(request, host))
    }
}
