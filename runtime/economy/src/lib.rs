//! The whole economy as one pure state machine, and the ports it is reached by.
