//! The numbers that training begins with.

use agora_gradient::Layout;

use crate::random::{Purpose, stream};

/// As PEFT begins: A from Kaiming's uniform distribution with a = sqrt(5), which is plus or minus one over the root of the
/// inputs; B all zero, so that the adapter changes nothing yet.
#[allow(clippy::cast_precision_loss, reason = "a matrix has far fewer than 2^24 inputs")]
pub fn start(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut random = stream(seed, Purpose::Start);
    let mut numbers = vec![0.0; layout.size()];
    for place in layout.places() {
        let bound = (place.inputs as f32).sqrt().recip();
        numbers[place.a()].iter_mut().for_each(|number| *number = random.symmetric() * bound);
    }
    numbers
}
