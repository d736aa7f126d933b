//! Datanet records: contributions, kinds, weights and roots.
