//! Every host call of a guest: count it, clamp what it brings, ask the host, translate.
//!
//! The grant was checked when the component was linked. A refusal is an ordinary value for the guest.

mod http;
mod inference;
mod market;

use agora_sandbox_api::{AgentError, Level};
use agora_types::{Amount, Prices};

use crate::bindings::agora::agent::{clock, key_value, log, types, wallet};
use crate::failure::{Refusal, bounded, within};
use crate::guest::Guest;
use crate::limits;

impl types::Host for Guest {
    fn convert_error(&mut self, refusal: Refusal) -> wasmtime::Result<types::Error> {
        match refusal {
            Refusal::Told(AgentError { code, what }) => {
                let message = format!("{}; {}", bounded(&what), code.meaning());
                Ok(types::Error { code: code.text().to_owned(), message })
            }
            Refusal::Ends(error) => Err(error),
        }
    }
}

impl wallet::Host for Guest {
    async fn budget(&mut self) -> Result<wallet::Funds, Refusal> {
        self.begin_call()?;
        let budget = self.host.budget().await?;
        Ok(wallet::Funds { granted: atoms(budget.granted), used: atoms(budget.used), per_call: atoms(budget.per_call) })
    }
}

impl key_value::Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Refusal> {
        self.begin_call()?;
        within("a key, bytes", key.len(), limits::KEY_MAX)?;
        Ok(self.host.get(&key).await?)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), Refusal> {
        self.begin_call()?;
        within("a key, bytes", key.len(), limits::KEY_MAX)?;
        within("a value, bytes", value.len(), limits::VALUE_MAX)?;
        Ok(self.host.set(&key, &value).await?)
    }

    async fn delete(&mut self, key: String) -> Result<(), Refusal> {
        self.begin_call()?;
        within("a key, bytes", key.len(), limits::KEY_MAX)?;
        Ok(self.host.delete(&key).await?)
    }

    async fn keys(&mut self, prefix: String, limit: u32) -> Result<Vec<String>, Refusal> {
        self.begin_call()?;
        within("a prefix, bytes", prefix.len(), limits::KEY_MAX)?;
        Ok(self.host.keys(&prefix, limit.min(limits::KEYS_MAX)).await?)
    }
}

impl log::Host for Guest {
    async fn log(&mut self, level: log::Level, text: String) -> Result<(), Refusal> {
        self.begin_call()?;
        within("a log line, bytes", text.len(), limits::LOG_LINE_MAX)?;
        self.take_log(text.len())?;
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        Ok(self.host.log(level, &text).await?)
    }
}

impl clock::Host for Guest {
    async fn now_ms(&mut self) -> Result<u64, Refusal> {
        self.begin_call()?;
        Ok(self.host.now().await?.as_millis())
    }
}

fn atoms(amount: Amount) -> String {
    amount.to_atoms_text()
}

fn prices(prices: &Prices) -> types::Prices {
    types::Prices {
        input: atoms(prices.input),
        cached: atoms(prices.cached),
        output: atoms(prices.output),
        hidden: atoms(prices.hidden),
    }
}
