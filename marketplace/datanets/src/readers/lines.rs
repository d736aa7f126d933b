//! Lines of bytes that never grow beyond a limit.

use std::io::BufRead;

use super::Problem;

/// Reads lines; remembers their number.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    limit: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, limit: usize) -> Self {
        Self { input, limit, number: 0 }
    }

    /// Number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line without its end; `None` after the last. Of a line that is too long nothing is kept, and the one
    /// after it is read next.
    pub(super) fn next(&mut self) -> Option<Result<Vec<u8>, Problem>> {
        let (mut line, mut too_long, mut any) = (Vec::new(), false, false);
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.number += u64::from(!any);
                    return Some(Err(Problem::Io { reason: error.to_string() }));
                }
            };
            if bytes.is_empty() && !any {
                return None;
            }
            if !any {
                any = true;
                self.number += 1;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            too_long |= line.len() + piece.len() > self.limit;
            if too_long {
                line = Vec::new();
            } else {
                line.extend_from_slice(piece);
            }
            let (taken, ended) = (piece.len() + usize::from(end.is_some()), end.is_some() || bytes.is_empty());
            self.input.consume(taken);
            if ended {
                break;
            }
        }
        if too_long {
            return Some(Err(Problem::LineTooLong { limit: self.limit }));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        Some(Ok(line))
    }
}
