//! The methods of attribution by the stable names that receipts state.

use std::fmt;
use std::str::FromStr;

use agora_types::Code;
use minicbor::{Decode, Decoder, Encode, Encoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scan::Order;

/// How influence is measured. In CBOR and receipts it is its name, at most 32 bytes; a name is never given to another
/// method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Gradients under EK-FAC curvature (arXiv 2308.03296), projected; non-negative least squares over cluster owners.
    InfluenceEkfacNnls,
    /// Positive dot products of plain gradients (TracIn at one checkpoint, arXiv 2002.08484). For comparison: gameable.
    GradientDot,
    /// Positive cosines of plain gradients. For comparison: gameable by repetition.
    GradientCosine,
    /// DataInf (arXiv 2310.00902): the query carries the inverse curvature, the rule is the dot product.
    Datainf,
    /// Okapi BM25 over token ids; no gradients.
    Bm25,
    /// Cosines of embeddings of the texts; no gradients.
    EmbeddingSimilarity,
    /// Nothing is measured: members are paid by the weights their datanets declare.
    DeclaredWeights,
}

/// What is computed from the matrix, in whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// [`crate::Problem`] over the best rows by cosine.
    LeastSquares,
    /// [`crate::baseline`] by this order.
    Positive(Order),
    /// No matrix.
    None,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 7] = [
        Self::InfluenceEkfacNnls,
        Self::GradientDot,
        Self::GradientCosine,
        Self::Datainf,
        Self::Bm25,
        Self::EmbeddingSimilarity,
        Self::DeclaredWeights,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InfluenceEkfacNnls => "influence-ekfac-nnls",
            Self::GradientDot => "gradient-dot",
            Self::GradientCosine => "gradient-cosine",
            Self::Datainf => "datainf",
            Self::Bm25 => "bm25",
            Self::EmbeddingSimilarity => "embedding-similarity",
            Self::DeclaredWeights => "declared-weights",
        }
    }

    /// What is computed from the matrix.
    pub const fn rule(self) -> Rule {
        match self {
            Self::InfluenceEkfacNnls => Rule::LeastSquares,
            Self::GradientDot | Self::Datainf => Rule::Positive(Order::Dot),
            Self::GradientCosine | Self::EmbeddingSimilarity => Rule::Positive(Order::Cosine),
            Self::Bm25 | Self::DeclaredWeights => Rule::None,
        }
    }

    /// True when rows are gradients, so that projection, modules and layers mean something.
    pub const fn has_gradients(self) -> bool {
        matches!(self, Self::InfluenceEkfacNnls | Self::GradientDot | Self::GradientCosine | Self::Datainf)
    }

    /// True when curvature factors are part of the method.
    pub const fn has_curvature(self) -> bool {
        matches!(self, Self::InfluenceEkfacNnls)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = Code;

    fn from_str(text: &str) -> Result<Self, Code> {
        Self::ALL.into_iter().find(|method| method.name() == text).ok_or(Code::AttributionSpec)
    }
}

impl<C> Encode<C> for Method {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.name())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Method {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let position = d.position();
        let unknown = |_| minicbor::decode::Error::message("no attribution method of this name").at(position);
        d.str()?.parse().map_err(unknown)
    }
}
