//! Eigenvectors of symmetric matrices, the same bits on any machine: sums, products, quotients and roots in a fixed order.
//!
//! Householder's reflections make the matrix tridiagonal, rotations with implicit shifts make it diagonal (the classic pair
//! `tred2` and `tql2`). About 9 n^3 operations, all on whole rows: half a second for the 576 inputs of a small model, ten
//! for 1,536. A library would be several times faster, weigh more than this whole crate, and give other bits where the
//! processor has other instructions.

/// Rotations for one eigenvalue; two or three are usual.
const ROUNDS_MAX: usize = 60;

/// Eigenvalues and eigenvectors of a symmetric matrix of `side` rows, in no particular order; the vectors lie in rows.
///
/// # Panics
/// If the matrix has another size.
pub fn eigen(matrix: Vec<f64>, side: usize) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(matrix.len(), side * side, "a matrix has all its numbers");
    let (mut diagonal, mut beside, mut vectors) = tridiagonal(matrix, side);
    for low in 0..side {
        let mut rounds = 0;
        while let Some(high) = unfinished(&diagonal, &beside, low) {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                // What is left is noise: it has not shrunk for dozens of rounds.
                beside[low] = 0.0;
                break;
            }
            sweep(&mut diagonal, &mut beside, &mut vectors, side, low..high);
        }
    }
    (diagonal, vectors)
}

/// The end of the part that begins at `low`, unless it is one number.
fn unfinished(diagonal: &[f64], beside: &[f64], low: usize) -> Option<usize> {
    let small = |at: usize| beside[at].abs() <= f64::EPSILON * (diagonal[at].abs() + diagonal[at + 1].abs());
    let high = (low..diagonal.len() - 1).find(|at| small(*at)).unwrap_or(diagonal.len() - 1);
    (high > low).then_some(high)
}

/// One implicit step of QL on a part.
fn sweep(diagonal: &mut [f64], beside: &mut [f64], vectors: &mut [f64], side: usize, part: std::ops::Range<usize>) {
    let (low, high) = (part.start, part.end);
    let ahead = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low]);
    let mut g = diagonal[high] - diagonal[low] + beside[low] / (ahead + length(ahead, 1.0).copysign(ahead));
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for at in part.rev() {
        let (f, b) = (sine * beside[at], cosine * beside[at]);
        let r = length(f, g);
        beside[at + 1] = r;
        if r == 0.0 {
            // The part falls in two.
            diagonal[at + 1] -= shift;
            beside[high] = 0.0;
            return;
        }
        (sine, cosine) = (f / r, g / r);
        g = diagonal[at + 1] - shift;
        let r = (diagonal[at] - g) * sine + 2.0 * cosine * b;
        shift = sine * r;
        diagonal[at + 1] = g + shift;
        g = cosine * r - b;
        let (upper, lower) = vectors[at * side..(at + 2) * side].split_at_mut(side);
        for (one, other) in upper.iter_mut().zip(lower) {
            let (a, b) = (*one, *other);
            *other = sine * a + cosine * b;
            *one = cosine * a - sine * b;
        }
    }
    diagonal[low] -= shift;
    beside[low] = g;
    beside[high] = 0.0;
}

/// The diagonal, what lies beside it, and the basis in which the matrix is so, in rows.
fn tridiagonal(mut matrix: Vec<f64>, side: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut diagonal, mut beside) = (vec![0.0; side], vec![0.0; side]);
    let mut factors = vec![0.0; side];
    let mut towards = vec![0.0; side];
    for at in 0..side {
        let (above, below) = matrix.split_at_mut((at + 1) * side);
        let own = &mut above[at * side..];
        diagonal[at] = own[at];
        let mirror = &mut own[at + 1..];
        if mirror.len() < 2 {
            beside[at] = mirror.first().copied().unwrap_or(0.0);
            continue;
        }
        let rest: f64 = mirror[1..].iter().map(|number| number * number).sum();
        if rest == 0.0 {
            beside[at] = mirror[0];
            continue;
        }
        // The reflection that turns this row into one number, kept where the row was.
        let whole = (mirror[0] * mirror[0] + rest).sqrt().copysign(-mirror[0]);
        beside[at] = whole;
        mirror[0] -= whole;
        let factor = 2.0 / (mirror[0] * mirror[0] + rest);
        factors[at] = factor;
        let towards = &mut towards[..mirror.len()];
        for (to, row) in towards.iter_mut().zip(below.chunks_exact(side)) {
            *to = factor * dot(&row[at + 1..], mirror);
        }
        let half = factor / 2.0 * dot(towards, mirror);
        towards.iter_mut().zip(&*mirror).for_each(|(to, number)| *to -= half * number);
        for (row, (v, w)) in below.chunks_exact_mut(side).zip(mirror.iter().zip(&*towards)) {
            for (number, (other, to)) in row[at + 1..].iter_mut().zip(mirror.iter().zip(&*towards)) {
                *number -= v * to + w * other;
            }
        }
    }
    (diagonal, beside, turned(&reflections(&matrix, &factors, side), side))
}

/// The product of all reflections, from the last to the first, so that each touches what is behind it only.
fn reflections(matrix: &[f64], factors: &[f64], side: usize) -> Vec<f64> {
    let mut product = vec![0.0; side * side];
    (0..side).for_each(|at| product[at * side + at] = 1.0);
    let mut along = vec![0.0; side];
    for at in (0..side).rev().filter(|at| factors[*at] != 0.0) {
        let mirror = &matrix[at * side + at + 1..(at + 1) * side];
        let along = &mut along[..mirror.len()];
        along.fill(0.0);
        let rows = &mut product[(at + 1) * side..];
        for (v, row) in mirror.iter().zip(rows.chunks_exact(side)) {
            along.iter_mut().zip(&row[at + 1..]).for_each(|(sum, number)| *sum += v * number);
        }
        for (v, row) in mirror.iter().zip(rows.chunks_exact_mut(side)) {
            let by = factors[at] * v;
            row[at + 1..].iter_mut().zip(&*along).for_each(|(number, along)| *number -= by * along);
        }
    }
    product
}

fn turned(matrix: &[f64], side: usize) -> Vec<f64> {
    (0..side * side).map(|at| matrix[at % side * side + at / side]).collect()
}

fn length(a: f64, b: f64) -> f64 {
    (a * a + b * b).sqrt()
}

/// Eight sums side by side, so that the order is fixed and the processor need not wait.
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (left_chunks, left_rest) = left.as_chunks::<8>();
    let (right_chunks, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        (0..8).for_each(|lane| sums[lane] += left[lane] * right[lane]);
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of products of rows from a seed, of so many directions.
    fn positive(side: usize, directions: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let mut matrix = vec![0.0; side * side];
        for _ in 0..directions {
            let row: Vec<f64> = (0..side).map(|_| random()).collect();
            for i in 0..side {
                for j in 0..side {
                    matrix[i * side + j] += row[i] * row[j];
                }
            }
        }
        matrix
    }

    #[test]
    fn vectors_are_orthonormal_and_give_the_matrix_back() {
        for (side, directions) in [(1, 1), (2, 1), (3, 9), (8, 3), (40, 100), (65, 20), (30, 0)] {
            let matrix = positive(side, directions, 7);
            let (values, vectors) = eigen(matrix.clone(), side);
            let size = matrix.iter().map(|number| number.abs()).fold(1.0, f64::max);
            for i in 0..side {
                for j in 0..side {
                    let product = dot(&vectors[i * side..][..side], &vectors[j * side..][..side]);
                    let right = if i == j { 1.0 } else { 0.0 };
                    assert!((product - right).abs() < 1e-12, "{side}: {i} {j}: {product}");
                    let again: f64 = (0..side).map(|k| values[k] * vectors[k * side + i] * vectors[k * side + j]).sum();
                    assert!((again - matrix[i * side + j]).abs() < 1e-11 * size, "{side}: {again}");
                }
            }
            assert!(values.iter().all(|value| *value > -1e-12 * size), "{side}: no negative values");
        }
    }
}
