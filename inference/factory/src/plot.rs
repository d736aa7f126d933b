//! The loss as a picture.

use std::fmt::Write as _;

use crate::HeldOut;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Left, right, top and bottom of the frame.
const FRAME: [f64; 4] = [56.0, 704.0, 28.0, 320.0];
/// Most points of the line; more steps share one.
const POINTS_MAX: usize = 600;
const TICKS: u32 = 4;

/// An SVG of the loss of each step and of the examples that are held out. The same arguments give the same text.
#[allow(clippy::cast_precision_loss, reason = "steps are far fewer than 2^52")]
pub fn loss_plot(losses: &[f64], held_out: &[HeldOut]) -> String {
    let all = || losses.iter().copied().chain(held_out.iter().map(|held| held.loss));
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), loss| (low.min(loss), high.max(loss)));
    let (low, high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
    let margin = ((high - low) * 0.05).max(0.01);
    let (low, high) = ((low - margin).max(0.0), high + margin);
    let [left, right, top, bottom] = FRAME;
    let steps = losses.len().max(1) as f64;
    let x = |step: f64| left + (right - left) * step / steps;
    let y = |loss: f64| bottom - (bottom - top) * (loss - low) / (high - low);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\"><title>Loss by step</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         fill=\"#fff\"/>\n"
    );
    let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(text).expect("writing to memory cannot fail");
    for tick in 0..=TICKS {
        let part = f64::from(tick) / f64::from(TICKS);
        let (loss, step) = (low + (high - low) * part, (steps * part).round());
        let (at, across) = (y(loss), x(step));
        put(format_args!("<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/>\n"));
        put(format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.2}</text>\n", left - 6.0, at + 4.0));
        put(format_args!("<text x=\"{across:.1}\" y=\"{}\" text-anchor=\"middle\">{step}</text>\n", bottom + 16.0));
    }
    let middle = f64::midpoint(left, right);
    put(format_args!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">step</text>\n", bottom + 32.0));
    put(format_args!("<text x=\"{left}\" y=\"18\" fill=\"#1f6feb\">loss (nats per token)</text>\n"));
    let size = losses.len().div_ceil(POINTS_MAX).max(1);
    let mut points = String::new();
    for (at, chunk) in losses.chunks(size).enumerate() {
        let step = (at * size) as f64 + (chunk.len() as f64 + 1.0) / 2.0;
        let mean = chunk.iter().sum::<f64>() / chunk.len() as f64;
        write!(points, "{:.1},{:.1} ", x(step), y(mean)).expect("writing to memory cannot fail");
    }
    put(format_args!("<polyline fill=\"none\" stroke=\"#1f6feb\" points=\"{}\"/>\n", points.trim_end()));
    if !held_out.is_empty() {
        put(format_args!("<text x=\"{right}\" y=\"18\" text-anchor=\"end\" fill=\"#d1242f\">held out</text>\n"));
    }
    for held in held_out {
        let (across, at) = (x(f64::from(held.step)), y(held.loss));
        put(format_args!("<circle cx=\"{across:.1}\" cy=\"{at:.1}\" r=\"4\" fill=\"#d1242f\"/>\n"));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::{POINTS_MAX, loss_plot};
    use crate::HeldOut;

    #[test]
    fn a_plot_holds_every_point_within_its_frame_however_many_there_are() {
        for count in [0_usize, 1, 2, 100, 5_000] {
            let losses: Vec<f64> = (0..count).map(|step| 3.0 / (1.0 + step as f64)).collect();
            let held = [HeldOut { step: 0, loss: 3.2 }, HeldOut { step: u32::try_from(count).unwrap(), loss: 1.0 }];
            let svg = loss_plot(&losses, &held);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
            let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            let points: Vec<&str> = points.split_whitespace().collect();
            assert!(points.len() <= POINTS_MAX && points.len() >= count.min(100), "{count}: {}", points.len());
            for point in points {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((56.0..=704.0).contains(&x) && (28.0..=320.0).contains(&y), "{count}: {point}");
            }
            assert_eq!(svg.matches("<circle").count(), 2);
        }
    }
}
