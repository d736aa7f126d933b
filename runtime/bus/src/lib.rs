//! Messages between peers: the in-process backend of the bus port.
