//! Holds the processes of a test run or a demo, and ends them with its parent. See `kalong_e2e::cluster::supervisor`.

fn main() -> std::process::ExitCode {
    kalong_e2e::cluster::supervisor::main()
}
