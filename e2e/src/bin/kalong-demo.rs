//! `cargo demo`: see `kalong_e2e::demo`.

fn main() -> std::process::ExitCode {
    kalong_e2e::demo::main()
}
