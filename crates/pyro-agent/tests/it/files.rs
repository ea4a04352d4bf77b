//! Tests of file requests, to come.
