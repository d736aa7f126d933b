//! The sandbox port: agents, grants, budgets and what a guest may call.
