//! Real numbers in canonical CBOR: as the shortest decimal text that gives their bits again, without an exponent.

use minicbor::encode::Write;
use minicbor::{Decoder, Encoder};

pub(crate) fn encode<C, W: Write>(
    number: &f64,
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.str(&number.to_string())?.ok()
}

pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<f64, minicbor::decode::Error> {
    let position = d.position();
    d.str()?.parse().map_err(|_| minicbor::decode::Error::message("not a decimal number").at(position))
}
