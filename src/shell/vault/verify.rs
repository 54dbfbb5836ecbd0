//! Proves a journal's folder from its bytes.
