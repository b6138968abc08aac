//! The `parley-load` program: nothing but the way in. All of it is in `load.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    parley_tests::load::main(std::env::args_os())
}
