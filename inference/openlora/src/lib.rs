//! OpenLoRA: one base model, many adapters, one batch.
