//! Which offer to take: the best fitting, and of those that fit alike the cheapest.

use agora_sdk::Amount;
use agora_sdk::market::Offer;

/// The best offer; of equals the one that the node put first. An offer whose prices are no numbers is passed over.
pub(crate) fn best<'a>(offers: &'a [Offer], words: &[String]) -> Option<&'a Offer> {
    let rated = offers.iter().filter_map(|offer| Some((fit(offer, words), price(offer)?, offer)));
    rated.reduce(|best, next| if (next.0, best.1) > (best.0, next.1) { next } else { best }).map(|(_, _, offer)| offer)
}

/// How many of the words the offer names.
fn fit(offer: &Offer, words: &[String]) -> usize {
    let text = format!("{} {} {}", offer.name, offer.title, offer.description).to_lowercase();
    words.iter().filter(|word| text.contains(word.as_str())).count()
}

/// Atoms for a token read and a token written.
fn price(offer: &Offer) -> Option<u128> {
    let atoms = |text: &str| text.parse::<Amount>().ok().map(|amount| amount.0);
    atoms(&offer.prices.input)?.checked_add(atoms(&offer.prices.output)?)
}

#[cfg(test)]
mod tests {
    use agora_sdk::Prices;

    use super::*;

    fn offer(name: &str, output: &str) -> Offer {
        Offer {
            listing: format!("0x{name}"),
            name: name.to_owned(),
            title: String::new(),
            description: String::new(),
            owner: String::new(),
            prices: Prices { input: "1".into(), cached: "0".into(), output: output.into(), hidden: "0".into() },
            context_max: 2_048,
            output_max: 256,
        }
    }

    #[test]
    fn fit_comes_before_price_and_price_before_order() {
        let words = ["chemistry".to_owned(), "organic".to_owned()];
        let name = |offers: &[Offer]| best(offers, &words).map(|offer| offer.name.clone()).unwrap_or_default();
        assert_eq!(name(&[offer("law", "1"), offer("organic chemistry", "9")]), "organic chemistry");
        assert_eq!(name(&[offer("chemistry a", "9"), offer("chemistry b", "5")]), "chemistry b");
        assert_eq!(name(&[offer("chemistry a", "5"), offer("chemistry b", "5")]), "chemistry a");
        assert_eq!(name(&[offer("chemistry", "nonsense"), offer("law", "1")]), "law");
        assert_eq!(name(&[]), "");
    }
}
