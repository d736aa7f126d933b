//! The bus between peers: publish, request, subscribe, and watched keys.
