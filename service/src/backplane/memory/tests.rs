//! Tests of the embedded backplane.
