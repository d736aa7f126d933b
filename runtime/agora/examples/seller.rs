//! A price before a route of your own: the weather for 0.001 OPEN, on a node in this process.
//!
//! ```sh
//! cargo run --release --workspace --example seller
//! ```
//!
//! It opens the network that `agora up` would, or makes a dev network, and every `agora` command reaches it. The same
//! handler stands unpaid at `/free`. An argument is how many requests a second one client may send; the usual bound is
//! 200.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, Responder, web};
use agora::node::network::{MAIN, open_or_make};
use agora::node::{PUBLIC_GRACE, Public, Running, System};
use agora_actors::clock::Clock as _;
use agora_actors::pay::{PlainTill, TillTerms};
use agora_gateway::{Bounds, Origin, Paywall, PaywallOptions, Routes};
use agora_shell::settings::{HttpPort, Overlay};
use agora_shell::{Paths, Settings};
use agora_types::{Address, Amount};
use agora_x402::wire::{Resource, Scheme};

/// Vouchers become money so often; it must be well within `withdraw_delay`.
const CLAIM_EVERY: Duration = Duration::from_secs(60);
/// Kept answers are forgotten after a week.
const KEEP_S: u64 = 7 * 24 * 3_600;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rate = std::env::args().nth(1).map(|text| text.parse::<u32>()).transpose()?;
    let paths = Paths::find(None)?;
    let settings = Settings::load(Overlay::default(), &paths, ".".as_ref())?;
    let HttpPort::Port(port) = settings.http.value else { return Err("a seller needs an HTTP port".into()) };
    let address = SocketAddr::new(settings.bind.value, port);

    let network = open_or_make(&paths, &settings)?;
    let wallet = Arc::new(network.store().open_wallet(MAIN, &network.passphrase)?);
    let node = Running::start(network, None, &paths).await?;

    let till = Arc::new(PlainTill::new(node.till_parts(Arc::clone(&wallet)), terms(wallet.address())));
    // Behind a proxy, `Origin::fixed("https://your.example")`: payments are bound to the URL that buyers see.
    let origin = Origin::Host { secure: false, bound: address };
    let paywall = Paywall::new(Arc::clone(&till) as _, PaywallOptions::new(origin));
    let routes: Routes = Arc::new(move |config| {
        let priced = web::resource("/weather").wrap(paywall.clone()).route(web::get().to(weather));
        config.service(priced).route("/free", web::get().to(weather));
    });
    let mut bounds = Bounds::default();
    if let Some(rate) = rate {
        (bounds.rate_per_s, bounds.rate_burst) = (rate, rate);
    }
    let port = node.open_public(address, Public { routes: Some(routes), bounds, ..Public::default() })?;
    let control = node.open_control(SocketAddr::new(settings.bind.value, settings.port.value)).await?;
    println!("selling http://{}/weather", port.address());

    let keeper = tokio::spawn(keep_house(Arc::clone(&till)));
    let ended = node.wait().await;
    port.close(PUBLIC_GRACE).await;
    keeper.abort();
    // What was charged until now is not paid before it is claimed.
    let claimed = till.claim().await;
    control.close().await?;
    node.stop().await;
    ended?;
    println!("paid out {} OPEN", claimed?);
    Ok(())
}

async fn weather() -> impl Responder {
    HttpResponse::Ok().json([("weather", "rain")])
}

fn terms(receiver: Address) -> TillTerms {
    TillTerms {
        receiver,
        price: Amount::from_atoms(1_000_000_000_000_000),
        schemes: vec![Scheme::BatchSettlement, Scheme::Upto, Scheme::Exact],
        resource: Resource {
            url: String::new(), // The request's own.
            description: Some("The weather".to_owned()),
            mime_type: Some("application/json".to_owned()),
            service_name: None,
            tags: None,
            icon_url: None,
        },
        timeout_s: 300,
        min_deposit: None,
        withdraw_delay: 3_600,
        needs_identifier: false,
    }
}

/// Claims vouchers and forgets old answers, again and again.
async fn keep_house(till: Arc<PlainTill>) {
    let mut every = tokio::time::interval(CLAIM_EVERY);
    loop {
        every.tick().await;
        if let Err(error) = till.claim().await {
            eprintln!("vouchers are claimed in the next round: {error}");
        }
        let old = System.now().as_secs().saturating_sub(KEEP_S);
        if let Some(before) = agora_types::Timestamp::from_secs(old)
            && let Err(error) = till.sweep(before).await
        {
            eprintln!("old answers are forgotten in the next round: {error}");
        }
    }
}
