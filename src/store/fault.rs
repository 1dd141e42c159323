//! A disk that dies on demand, for tests.
