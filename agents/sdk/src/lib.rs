//! Write an agent for Agora.
//!
//! An agent handles one event at a time and keeps nothing between events except what it stores by [`kv`]. It may use
//! only what its `agent.toml` grants; a component that uses more is refused when it is deployed. A refused call is an
//! ordinary [`Error`] with a stable code, and the agent may go on.
//!
//! ```no_run
//! use agora_sdk::{Agent, Error, Event, inference, kv, log, market};
//!
//! struct Oracle;
//!
//! impl Agent for Oracle {
//!     fn handle(event: Event) -> Result<Vec<u8>, Error> {
//!         let question = String::from_utf8_lossy(&event.payload);
//!         let offers = market::find("chemistry", 5)?;
//!         let best = offers.first().ok_or_else(|| Error::new("oracle.nobody", "no listing fits"))?;
//!         let quote = market::quote(&best.listing, &market::Question::new(&question).output_max(64))?;
//!         let mut text = String::new();
//!         for batch in inference::open(quote)? {
//!             text += &batch?.text;
//!         }
//!         log::info(&format!("{} answered", best.name));
//!         kv::set("last", text.as_bytes())?;
//!         Ok(text.into_bytes())
//!     }
//! }
//!
//! agora_sdk::export!(Oracle);
//! ```

mod amount;
/// The raw bindings of the world `agora:agent`, for what the modules above them do not offer.
#[allow(missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "agent",
        pub_export_macro: true,
        export_macro_name: "export_world",
        generate_all,
    });
}
/// The raw bindings of the world `seller`, whose interfaces are those of [`bindings`].
#[allow(missing_docs)]
pub mod seller_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "seller",
        pub_export_macro: true,
        export_macro_name: "export_seller_world",
        with: {
            "agora:agent/types@0.1.0": crate::bindings::agora::agent::types,
            "agora:agent/market@0.1.0": crate::bindings::agora::agent::market,
            "agora:agent/wallet@0.1.0": crate::bindings::agora::agent::wallet,
            "agora:agent/inference@0.1.0": crate::bindings::agora::agent::inference,
            "agora:agent/http@0.1.0": crate::bindings::agora::agent::http,
            "agora:agent/key-value@0.1.0": crate::bindings::agora::agent::key_value,
            "agora:agent/log@0.1.0": crate::bindings::agora::agent::log,
            "agora:agent/clock@0.1.0": crate::bindings::agora::agent::clock,
            "agora:agent/events@0.1.0": crate::bindings::agora::agent::events,
        },
        generate_all,
    });
}
pub mod clock;
pub mod http;
pub mod inference;
pub mod kv;
pub mod log;
pub mod market;
pub mod serve;
pub mod wallet;

pub use amount::Amount;
pub use bindings::agora::agent::events::Event;
pub use bindings::agora::agent::types::{Error, Prices};
pub use serve::Seller;

/// An agent: what it does with an event.
pub trait Agent {
    /// Handles an event; what it returns is the answer, at most 64 KiB.
    ///
    /// # Errors
    /// Whatever the agent says; the node reports it as `agent.failed` with these words.
    fn handle(event: Event) -> Result<Vec<u8>, Error>;
}

impl Error {
    /// An error of the agent's own; host calls bring theirs.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// Makes a type the agent of this component. Once per component.
#[macro_export]
macro_rules! export {
    ($agent:ty) => {
        const _: () = {
            struct Exported;

            impl $crate::bindings::Guest for Exported {
                fn handle(event: $crate::Event) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    <$agent as $crate::Agent>::handle(event).map_err(|error| $crate::words(&error))
                }
            }

    $crate::bindings::export_world!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Makes a type the agent of this component, where it sells too. Once per component, instead of [`export!`].
#[macro_export]
macro_rules! export_seller {
    ($agent:ty) => {
        const _: () = {
            struct Exported;

            impl $crate::seller_bindings::Guest for Exported {
                fn handle(event: $crate::Event) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    <$agent as $crate::Agent>::handle(event).map_err(|error| $crate::words(&error))
                }

                fn serve(
                    request: $crate::serve::Request,
                ) -> ::core::result::Result<$crate::serve::Response, ::std::string::String> {
                    <$agent as $crate::Seller>::serve(request).map_err(|error| $crate::words(&error))
                }
            }

    $crate::seller_bindings::export_seller_world!(Exported with_types_in $crate::seller_bindings);
        };
    };
}

/// How an error is told to the node.
#[doc(hidden)]
pub fn words(error: &Error) -> String {
    format!("{}: {}", error.code, error.message)
}
