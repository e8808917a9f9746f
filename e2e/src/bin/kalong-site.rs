//! A simulated border gate whose devices speak their real protocols. See `kalong_e2e::site`.

fn main() -> std::process::ExitCode {
    kalong_e2e::site::command::main()
}
