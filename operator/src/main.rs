//! The operator's entry: nothing is decided here.

fn main() {}
