//! Where the numbers of an adapter lie in one long vector: that of an optimiser, a gradient, or a projection.

use std::ops::Range;

use agora_inference_api::EngineError;
use agora_openlora::weights::{Role, Shape, Tuned};
use agora_types::Code;

/// Largest rank.
const RANK_MAX: usize = 256;

/// One changed matrix: A (`rank` rows of the inputs), and behind it B turned around (`rank` rows of the outputs).
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Which layer.
    pub layer: usize,
    /// Which of its matrices.
    pub role: Role,
    /// Rows of A.
    pub rank: usize,
    /// What multiplies the product of both.
    pub scale: f32,
    /// Numbers of a row of A.
    pub inputs: usize,
    /// Numbers of a row of B turned around.
    pub outputs: usize,
    /// Where A begins.
    pub start: usize,
}

impl Place {
    /// Where A lies.
    pub fn a(&self) -> Range<usize> {
        self.start..self.start + self.rank * self.inputs
    }

    /// Where B turned around lies.
    pub fn b(&self) -> Range<usize> {
        let start = self.a().end;
        start..start + self.rank * self.outputs
    }
}

/// The places of an adapter, ascending by layer and role.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    places: Vec<Place>,
    /// Per layer and role.
    index: Vec<Option<usize>>,
    size: usize,
}

impl Layout {
    /// The same rank and scale for these matrices of these layers.
    ///
    /// # Errors
    /// `engine.bad_request` for nothing to change, a layer that is not there, or a rank or scale out of bounds.
    pub fn new(
        shape: &Shape,
        rank: usize,
        scale: f32,
        roles: &[Role],
        layers: Range<usize>,
    ) -> Result<Self, EngineError> {
        let all = layers.flat_map(|layer| {
            Role::ALL.into_iter().filter(|role| roles.contains(role)).map(move |role| (layer, role, rank, scale))
        });
        Self::of(shape, all)
    }

    /// Of an adapter that is there already, with its numbers.
    ///
    /// # Errors
    /// `engine.bad_request` if it does not fit the model.
    pub fn read(shape: &Shape, tuned: &[Tuned]) -> Result<(Self, Vec<f32>), EngineError> {
        let mut tuned = Vec::from_iter(tuned);
        tuned.sort_by_key(|one| (one.layer, one.role));
        let layout = Self::of(shape, tuned.iter().map(|one| (one.layer, one.role, one.rank, one.scale)))?;
        let mut numbers = Vec::with_capacity(layout.size);
        for (place, one) in layout.places.iter().zip(&tuned) {
            if one.a.len() != place.a().len() || one.b.len() != place.b().len() {
                return Err(bad(format!("the change of {} of layer {}", one.role.peft().1, one.layer)));
            }
            numbers.extend(one.a.iter().chain(&one.b));
        }
        Ok((layout, numbers))
    }

    fn of(shape: &Shape, all: impl Iterator<Item = (usize, Role, usize, f32)>) -> Result<Self, EngineError> {
        let (mut places, mut size) = (Vec::new(), 0);
        let mut index = vec![None; shape.layers * Role::ALL.len()];
        for (layer, role, rank, scale) in all {
            let (outputs, inputs) = role.sides(shape);
            if layer >= shape.layers || !(1..=RANK_MAX).contains(&rank) || !scale.is_finite() {
                return Err(bad(format!("rank {rank} and scale {scale} at layer {layer} of {}", shape.layers)));
            }
            if index[layer * Role::ALL.len() + role as usize].replace(places.len()).is_some() {
                return Err(bad(format!("{} of layer {layer} is changed twice", role.peft().1)));
            }
            places.push(Place { layer, role, rank, scale, inputs, outputs, start: size });
            size += rank * (inputs + outputs);
        }
        match places.is_empty() {
            true => Err(bad("an adapter that changes nothing")),
            false => Ok(Self { places, index, size }),
        }
    }

    /// Of no adapter.
    pub(crate) fn empty() -> Self {
        Self { places: Vec::new(), index: Vec::new(), size: 0 }
    }

    /// Numbers in all.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The places, in the order in which they lie.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The place of a matrix, if it is changed.
    pub fn place(&self, layer: usize, role: Role) -> Option<&Place> {
        let at = *self.index.get(layer * Role::ALL.len() + role as usize)?;
        at.map(|at| &self.places[at])
    }

    /// The lowest layer that is changed, of those from `first` on.
    pub(crate) fn lowest(&self, first: usize) -> Option<usize> {
        self.places.iter().map(|place| place.layer).find(|layer| *layer >= first)
    }

    /// The numbers as an adapter.
    ///
    /// # Panics
    /// If there are not [`Layout::size`] of them.
    pub fn tuned(&self, numbers: &[f32]) -> Vec<Tuned> {
        assert_eq!(numbers.len(), self.size, "an adapter has all its numbers");
        let tuned = self.places.iter().map(|place| {
            let (a, b) = (numbers[place.a()].to_vec(), numbers[place.b()].to_vec());
            Tuned { layer: place.layer, role: place.role, rank: place.rank, scale: place.scale, a, b }
        });
        tuned.collect()
    }
}

pub(crate) fn bad(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineBadRequest, what)
}
