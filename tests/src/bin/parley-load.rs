//! The `parley-load` program: nothing but the way in. All of it is in `load.rs`.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "a program's own command line; everything below gets parsed options")]
fn main() -> ExitCode {
    parley_tests::load::main(std::env::args_os())
}
