//! AdamW, and gradients kept from growing: the same sums as PyTorch's, in the same f32.

use crate::Settings;

/// The mean gradient and the mean squared gradient of each number, and how often they moved.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Of the gradient.
    pub first: Vec<f32>,
    /// Of its square.
    pub second: Vec<f32>,
    /// Steps that were made.
    pub steps: u32,
}

impl AdamW {
    /// Before the first step, for so many numbers.
    pub fn new(size: usize) -> Self {
        Self { first: vec![0.0; size], second: vec![0.0; size], steps: 0 }
    }

    /// One step of `torch.optim.AdamW` at a learning rate: the decay is apart from the gradient.
    ///
    /// # Panics
    /// If the numbers are not as many.
    #[allow(clippy::cast_possible_truncation, reason = "PyTorch rounds its factors to f32 at the same places")]
    pub fn step(&mut self, settings: &Settings, rate: f64, gradient: &[f32], numbers: &mut [f32]) {
        let size = self.first.len();
        assert!(gradient.len() == size && numbers.len() == size, "a gradient has a number for each of the adapter's");
        self.steps += 1;
        let (beta1, beta2) = (settings.beta1, settings.beta2);
        let left = |beta: f64| 1.0 - beta.powf(f64::from(self.steps));
        let root = left(beta2).sqrt() as f32;
        let keep = (1.0 - rate * settings.weight_decay) as f32;
        let (fresh1, kept2, fresh2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
        let (size, epsilon) = (-(rate / left(beta1)) as f32, settings.epsilon as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((number, gradient), (first, second)) in numbers.iter_mut().zip(gradient).zip(moments) {
            *first += fresh1 * (gradient - *first);
            *second = *second * kept2 + fresh2 * gradient * gradient;
            *number = *number * keep + size * *first / (second.sqrt() / root + epsilon);
        }
    }
}

/// Shortens a gradient to a longest length, as `torch.nn.utils.clip_grad_norm_` does, and gives the length it had.
/// A bound of 0 is none.
#[allow(clippy::cast_possible_truncation, reason = "PyTorch's factor is an f32")]
pub fn clip(gradient: &mut [f32], longest: f64) -> f64 {
    let length = gradient.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    let factor = (longest / (length + 1e-6)) as f32;
    if longest > 0.0 && factor < 1.0 {
        gradient.iter_mut().for_each(|number| *number *= factor);
    }
    length
}
