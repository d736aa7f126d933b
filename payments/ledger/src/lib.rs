//! Double-entry accounts and transfers: the rules by which OPEN moves.
